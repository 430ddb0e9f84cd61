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


COMPILE = """
import itertools
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from karaffe.ops.backends.triton import kernels

backend, architecture, warp = sys.argv[1:]
target = GPUTarget(backend, int(architecture) if architecture.isdigit() else architecture, int(warp))
names = (("reassemble", "BLOCK_C"), ("correlate", "BLOCK_T"), ("scatter", "BLOCK_C"))
kinds = (("fp32", "_p"), ("bf16", "_c"), ("fp64", "_p"))
for (name, second), (dtype, last) in itertools.product(names, kinds):
    kernel = getattr(kernels, name + "_kernel")
    constants = {"TAPS_Z": 1, "TAPS_Y": 5, "TAPS_X": 5, "BLOCK_X": 64, second: 8}
    constants["ACCUMULATE"] = triton.language.float64 if dtype == "fp64" else triton.language.float32
    # Triton makes an argument of one a constant: the channel's stride in channels-last, the pixel's otherwise
    ones = [a for a in kernel.arg_names if a.endswith(last)] + ["groups"]
    constants |= dict.fromkeys(ones, 1)
    signature = {}
    for argument in kernel.arg_names:
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument in ("source", "kernels", "query", "out"):
            signature[argument] = "*" + dtype
        elif argument.startswith(("reads_", "first_", "target_of_", "tap_of_")):
            signature[argument] = "*i32"
        else:
            signature[argument] = "i64" if argument.endswith("_n") else "i32"
    compiled = triton.compile(ASTSource(kernel, signature, constexprs=constants), target=target)
    code = compiled.asm["hsaco" if backend == "hip" else "cubin"]
    text = compiled.asm["amdgcn" if backend == "hip" else "ptx"]
    assert len(code) > 1000, name
    assert "atomic" not in text and "red.global" not in text, name
    print(name, dtype)
"""


@pytest.mark.parametrize("target", [("cuda", "80", "32"), ("cuda", "90", "32"), ("hip", "gfx942", "64")], ids="-".join)
def test_the_kernels_compile(target: tuple[str, str, str], tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE, *target],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    wanted = [
        f"{name} {dtype}" for name in ("reassemble", "correlate", "scatter") for dtype in ("fp32", "bf16", "fp64")
    ]
    assert done.stdout.splitlines() == wanted


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("operator", ["reassemble", "correlate", "scatter"])
def test_on_a_gpu(operator: str) -> None:
    from oracle import FIXED, check

    op = getattr(torch.ops.karaffe, operator).default

    def on_gpu(*arguments: object) -> torch.Tensor:
        return op(*(a.cuda() if isinstance(a, torch.Tensor) else a for a in arguments)).cpu()

    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        check(operator, on_gpu, FIXED, dtype)
