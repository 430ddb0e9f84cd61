"""Layers: what is imported from where, and what ``import karaffe`` brings along."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ["lightning", "torchvision", "matplotlib", "fastapi", "PIL", "typer", "rich", "scipy", "pydantic", "tifffile"]
HEAVY += ["triton", "skimage", "onnx", "tqdm"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the package in ``folder``; -S keeps an editable installation's hook away."""
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    path = os.pathsep.join([str(folder), sysconfig.get_path("purelib")])
    return subprocess.run(
        [sys.executable, "-S", "-c", program, "--config", str(REPOSITORY / "pyproject.toml"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def package_copy(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "src" / "karaffe", tmp_path / "karaffe", ignore=shutil.ignore_patterns("*.so"))
    return tmp_path


def test_layers_hold_and_a_violation_is_caught(package_copy: Path) -> None:
    clean = lint(package_copy)
    assert clean.returncode == 0, clean.stdout
    module = package_copy / "karaffe" / "ops" / "carafe.py"
    module.write_text(module.read_text() + "\nimport karaffe.upsamplers\n")
    broken = lint(package_copy)
    assert broken.returncode != 0
    assert "karaffe.ops.carafe -> karaffe.upsamplers" in broken.stdout


def test_import_brings_nothing_heavy() -> None:
    program = (
        "import sys, torch; before = set(sys.modules); import karaffe\n"
        f"print([m for m in {HEAVY!r} if m in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_work_is_imported_when_it_is_named() -> None:
    program = (
        "import sys, karaffe\n"
        "assert 'karaffe.imaging' not in sys.modules and 'karaffe.evaluation' not in sys.modules\n"
        "assert callable(karaffe.upscale) and callable(karaffe.compare)\n"
        "assert 'karaffe.imaging' in sys.modules and 'upscale' in dir(karaffe)\n"
        "try: karaffe.no_such_thing\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no_such_thing" in done.stdout
