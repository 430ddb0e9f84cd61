"""What the benchmarks share: the machine's own bounds, results as JSON and Markdown.

The rules they keep are in README.md beside this file.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import torch

from karaffe.evaluation.speed import Call, Times

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
sys.path.insert(0, str(ROOT / "tests"))  # the oracle and its cases

GEMM_SIZE = 1024
COPY_VALUES = 1 << 22


def bound_calls() -> dict[str, Call]:
    """A matrix product and a copy, to be timed in the same rounds as what they bound."""
    a, b = torch.randn(GEMM_SIZE, GEMM_SIZE), torch.randn(GEMM_SIZE, GEMM_SIZE)
    source, target = torch.randn(COPY_VALUES), torch.empty(COPY_VALUES)
    product = torch.empty(GEMM_SIZE, GEMM_SIZE)
    return {"sgemm": lambda: torch.mm(a, b, out=product), "memory copy": lambda: target.copy_(source)}


def bound(times: dict[str, Times], multiply_adds: int, moved_bytes: int) -> Times:
    """The longer of the multiply-adds at sgemm's rate and the bytes at the copy's, round by round, in ms."""
    by_flops = multiply_adds / GEMM_SIZE**3
    by_bytes = moved_bytes / (8 * COPY_VALUES)
    pairs = zip(times["sgemm"].rounds, times["memory copy"].rounds, strict=True)
    return Times(tuple(max(by_flops * gemm, by_bytes * copy) for gemm, copy in pairs))


def commit() -> str:
    """The checkout's commit, marked where files under version control differ from it."""
    run = lambda *a: subprocess.run(["git", *a], cwd=ROOT, capture_output=True, text=True, check=False).stdout  # noqa: E731
    changed = run("status", "--porcelain", "--untracked-files=no", "csrc", "src/karaffe/ops", "benchmarks/*.py")
    return run("rev-parse", "--short", "HEAD").strip() + (" with local changes" if changed.strip() else "")


def machine() -> dict[str, str]:
    """Who measured: processor, cores, versions, commit."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.*)$", info, re.MULTILINE))
    name = fields.get("model name", platform.processor() or platform.machine())
    if fields.get("cpu family"):
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return {
        "processor": name,
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def results_path(name: str, where: dict[str, str]) -> Path:
    """NAME--MACHINE.json."""
    slug = re.sub(r"[^a-z0-9]+", "-", where["processor"].lower()).strip("-")
    return RESULTS / f"{name}--{slug}-{where['cores']}-cores.json"


def earlier(name: str, where: dict[str, str]) -> dict:
    """What an earlier run on the same machine, commit, torch and instruction set wrote, if any, to be completed."""
    path = results_path(name, where)
    before = json.loads(path.read_text()) if path.exists() else {"machine": {}}
    same = ("processor", "commit", "torch", "instruction set")
    return before if all(before["machine"].get(key) == where[key] for key in same) else {}


def write_results(name: str, payload: dict, markdown: str) -> Path:
    """Write NAME--MACHINE.json and .md, each to a temporary name first."""
    stem = results_path(name, payload["machine"]).with_suffix("")
    RESULTS.mkdir(exist_ok=True)
    for suffix, text in ((".json", json.dumps(payload, indent=1) + "\n"), (".md", markdown)):
        path = stem.with_suffix(suffix)
        temporary = path.with_name(path.name + ".part")
        temporary.write_text(text)
        temporary.replace(path)
    return stem.with_suffix(".md")


def write_into(page: Path, name: str, text: str) -> None:
    """Replace what a page holds between ``<!-- name -->`` and the next ``<!-- end -->``."""
    start = f"<!-- {name} -->\n"
    before, found, rest = page.read_text().partition(start)
    if not found:
        raise SystemExit(f"{page} has no line {start!r}")
    temporary = page.with_name(page.name + ".part")
    temporary.write_text(f"{before}{start}{text}<!-- end -->{rest.partition('<!-- end -->')[2]}")
    temporary.replace(page)
