"""The kernels under other compilers and processors, without torch: a driver compares them with plain loops.

Each build compiles the same sources as the library's, for one instruction set, and runs ``kernels.cpp``.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ("csrc/problem.cpp", "csrc/attention.cpp", "tests/native/kernels.cpp")
OF_A_SET = (
    "csrc/kernel_set.cpp",
    "csrc/reassemble.cpp",
    "csrc/correlate.cpp",
    "csrc/scatter.cpp",
    "csrc/attention_set.cpp",
    "csrc/attention_forward.cpp",
    "csrc/attention_planes.cpp",
    "csrc/attention_backward.cpp",
)
LANGUAGE = ("-std=gnu++20", "-Wall", "-Wextra", "-Wno-psabi", "-ffp-contract=fast", "-Icsrc")
AVX2 = ("-mavx2", "-mfma", "-mf16c")


@dataclass(frozen=True)
class Build:
    """A compiler with its flags, the instruction set's name, and what runs the result."""

    compiler: str
    instruction_set: str
    flags: tuple[str, ...] = ()
    runner: tuple[str, ...] = ()
    machine: str | None = None  # the only processor it runs on

    def missing(self) -> str | None:
        if self.machine is not None and platform.machine() != self.machine:
            return f"it is for {self.machine}, and this is {platform.machine()}"
        needed = (self.compiler, *self.runner[:1])
        absent = [name for name in needed if shutil.which(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    def command(self, *more: str) -> list[str]:
        defined = [f"-DKARAFFE_SET={self.instruction_set}", f'-DKARAFFE_SET_NAME="{self.instruction_set}"']
        return [self.compiler, *LANGUAGE, *self.flags, *defined, *more]


SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
BUILDS = {
    "neon, emulated": Build("aarch64-linux-gnu-g++", "neon", ("-O1", "-static"), ("qemu-aarch64",)),
    "clang, avx2": Build("clang++", "avx2", ("-O1", *AVX2), machine="x86_64"),
    "gcc, portable, sanitized": Build("g++", "portable", ("-O1", *SANITIZED)),
}


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False)


def compiled(build: Build, source: str, folder: Path) -> Path:
    result = folder / (Path(source).stem + ".o")
    done = run(build.command("-c", source, "-o", str(result)))
    assert done.returncode == 0, f"{source}: {done.stderr[-3000:]}"
    assert "warning" not in done.stderr, f"{source}: {done.stderr[:3000]}"
    return result


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
def test_kernels_equal_plain_loops(name: str, tmp_path: Path) -> None:
    build = BUILDS[name]
    if (reason := build.missing()) is not None:
        pytest.skip(f"{name}: {reason}")
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        objects = list(pool.map(lambda source: compiled(build, source, tmp_path), (*OF_A_SET, *SHARED)))
    program = tmp_path / "kernels"
    linked = run(build.command(*map(str, objects), "-o", str(program)))
    assert linked.returncode == 0, linked.stderr[-3000:]
    done = run([*build.runner, str(program)])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"{build.instruction_set}: 0 of" in done.stdout


@pytest.mark.parametrize("name", ["clang, avx2"])
def test_sources_are_understood(name: str) -> None:
    """What costs seconds: the compiler reads everything, without making code of it."""
    build = BUILDS[name]
    if (reason := build.missing()) is not None:
        pytest.skip(f"{name}: {reason}")
    done = run(build.command("-fsyntax-only", *OF_A_SET, *SHARED))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "warning" not in done.stderr, done.stderr[:3000]
