"""The Triton backend where there is no GPU: in the interpreter, and compiled ahead of time for three of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import karaffe
from karaffe import ops

triton = pytest.importorskip("triton")
HERE = Path(__file__).parent
BUILT_FOR_GPUS = torch.version.cuda is not None or torch.version.hip is not None


def test_the_kernels_equal_the_formula_in_the_interpreter() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, str(HERE / "triton_interpreted.py")],
        env=environment,
        capture_output=True,
        text=True,
        cwd=HERE.parent.parent,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("target", [("cuda", "80", "32"), ("cuda", "90", "32"), ("hip", "gfx942", "64")], ids="-".join)
def test_the_kernels_compile(target: tuple[str, str, str], tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "triton_compiled.py"), *target],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert set(done.stdout.split()) == {
        "reassemble_window",
        "reassemble_taps",
        "correlate_window",
        "correlate_taps",
        "scatter_window",
        "scatter_readers",
        "attention_forward",
        "attention_by_query",
        "attention_by_source",
    }


@pytest.mark.skipif(BUILT_FOR_GPUS, reason="this torch is built for GPUs")
def test_the_reason_why_it_cannot_serve_is_said() -> None:
    backend = {b.name: b for b in ops.backends()}["triton"]
    assert not backend.available
    assert backend.reason == "this torch is built without CUDA and ROCm"
    x = torch.zeros(1, 2, 3, 3)
    with pytest.raises(karaffe.errors.BackendError, match="serves cuda tensors, and these are on cpu"):
        ops.reassemble(x, torch.zeros(1, 9, 6, 6), 3, backend="triton")


def test_importing_karaffe_does_not_import_triton() -> None:
    code = "import sys, torch; before = set(sys.modules); import karaffe; print('triton' in set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
