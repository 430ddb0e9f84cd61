"""``karaffe doctor``: what works here, and the reason where something does not."""

from __future__ import annotations

import importlib.util
import platform
import sys
from dataclasses import asdict
from typing import Any

import torch

import karaffe
from karaffe.cli.common import Json, console, print_json, table
from karaffe.ops.backends import cpu

EXTRAS = {
    "imaging": ("PIL", "tifffile", "imagecodecs", "typer", "rich"),
    "train": ("lightning", "pydantic"),
    "studio": ("fastapi", "uvicorn", "sqlalchemy", "alembic", "jinja2", "yaml"),
    "export": ("onnx", "onnxscript"),
}


def _missing(modules: tuple[str, ...]) -> list[str]:
    return [m for m in modules if importlib.util.find_spec(m) is None]


def _facts() -> dict[str, Any]:
    return {
        "karaffe": karaffe.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "simd": cpu.simd(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "backends": [asdict(b) for b in karaffe.ops.backends()],
        "extras": {name: _missing(modules) for name, modules in EXTRAS.items()},
    }


def doctor(as_json: Json = False) -> None:
    """Say which backends and extras work here, and why the others do not."""
    facts = _facts()
    if as_json:
        print_json(facts)
        return
    console.print(
        f"karaffe {facts['karaffe']}, torch {facts['torch']}, Python {facts['python']}, {facts['platform']}, "
        f"{facts['threads']} threads",
        highlight=False,
    )
    rows = table("Backends", "backend", "works", "what it is, or why not")
    for backend in facts["backends"]:
        summary = backend["summary"]
        if backend["name"] == "cpu" and facts["simd"]:
            summary = f"{summary} ({facts['simd']})"
        rows.add_row(backend["name"], "no" if backend["reason"] else "yes", backend["reason"] or summary)
    console.print(rows, highlight=False)
    rows = table("Extras", "extra", "installed", "missing")
    for name, missing in facts["extras"].items():
        advice = f"{', '.join(missing)}: pip install 'karaffe[{name}]'" if missing else ""
        rows.add_row(name, "no" if missing else "yes", advice)
    console.print(rows, highlight=False, markup=False)
    sys.stdout.flush()
