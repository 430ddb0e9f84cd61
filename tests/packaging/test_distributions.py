"""What a wheel and an sdist hold, and that the wheel works with and without its native library."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
IGNORED = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "site", "_native", "__pycache__", "runs", ".*_cache"
)


def run(*command: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without anything built, so that nothing of the working tree gets in by accident."""
    copy = tmp_path_factory.mktemp("sources") / "karaffe"
    shutil.copytree(REPOSITORY, copy, ignore=IGNORED)
    (copy / "benchmarks" / "runs" / "left-over").mkdir(parents=True)
    (copy / "benchmarks" / "runs" / "left-over" / "state").write_bytes(b"weights of a live run")
    return copy


def build(sources: Path, kind: str, **environment: str) -> Path:
    out = sources.parent / f"dist-{kind}-{len(environment)}"
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(out)]
    run(*command, cwd=sources, environment=environment)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(sources: Path) -> Path:
    return build(sources, "wheel")


def installed(wheel: Path, folder: Path) -> Path:
    """The wheel unpacked as pip would, to be put before this environment's packages."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def imported(folder: Path) -> str:
    """What a Python says that imports karaffe from ``folder`` and computes something with it."""
    program = (
        "import warnings; warnings.simplefilter('always')\n"
        "import karaffe, torch\n"
        "out = karaffe.CARAFE(8)(torch.randn(1, 8, 4, 4))\n"
        "print('file', karaffe.__file__); print('shape', tuple(out.shape))\n"
        "print('cpu', {b.name: b.reason for b in karaffe.ops.backends()}['cpu'])\n"
    )
    # -S: an editable installation's import hook would come before any path
    path = os.pathsep.join([str(folder), sysconfig.get_path("purelib")])
    return run(sys.executable, "-S", "-c", program, cwd=folder, environment={"PYTHONPATH": path})


def test_wheel_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    assert re.fullmatch(r"karaffe-[\d.]+-py3-none-\w+\.whl", wheel.name), "one wheel serves every Python"
    tops = {n.split("/")[0] for n in names}
    assert tops == {"karaffe", f"karaffe-{wheel.name.split('-')[1]}.dist-info"}
    for needed in ("karaffe/py.typed", "karaffe/_native/libkaraffe_cpu.so"):
        assert needed in names
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert any(n.startswith("karaffe/models/weights/") and n.endswith(".safetensors") for n in names)
    assert any(n.startswith("karaffe/models/weights/") and n.endswith(".md") for n in names), "the model card"
    assert any(n.endswith((".css", ".js", ".html")) for n in names), "the page's assets"
    unwanted = [n for n in names if re.search(r"tests?/|benchmarks|\.cpp$|\.hpp$|__pycache__|left-over", n)]
    assert not unwanted
    assert "License-Expression: Apache-2.0" in metadata
    for extra in ("imaging", "train", "studio", "docs", "dev", "all"):
        assert f"Provides-Extra: {extra}\n" in metadata
    assert "torchvision" not in metadata
    assert wheel.stat().st_size < 8_000_000


def test_sdist_contents(sources: Path) -> None:
    built = build(sources, "sdist")
    with tarfile.open(built) as archive:
        names = {n.split("/", 1)[1] for n in archive.getnames() if "/" in n}
    for needed in ("pyproject.toml", "CMakeLists.txt", "LICENSE", "README.md", "src/karaffe/__init__.py"):
        assert needed in names
    assert any(n.startswith("csrc/") and n.endswith(".cpp") for n in names)
    assert any(n.startswith("tests/") for n in names)
    assert not [n for n in names if n.startswith("benchmarks/runs") or n.endswith(".so") or "/shared/" in n]


def test_wheel_works_with_its_native_library(wheel: Path, tmp_path: Path) -> None:
    said = imported(installed(wheel, tmp_path))
    assert str(tmp_path) in said
    assert "shape (1, 8, 8, 8)" in said
    assert "cpu None" in said
    assert "Warning" not in said


def test_wheel_works_without_its_native_library(wheel: Path, tmp_path: Path) -> None:
    folder = installed(wheel, tmp_path)
    shutil.rmtree(folder / "karaffe" / "_native")
    said = imported(folder)
    assert "shape (1, 8, 8, 8)" in said
    assert said.count("RuntimeWarning") == 1
    assert "cpu the native library is not built" in said


def test_a_machine_without_a_compiler_gets_the_pure_package(sources: Path) -> None:
    pure = build(sources, "wheel", CC="/bin/false", CXX="/bin/false")
    with zipfile.ZipFile(pure) as archive:
        names = archive.namelist()
    assert "karaffe/__init__.py" in names
    assert not [n for n in names if n.endswith(".so")]
