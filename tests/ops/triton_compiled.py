"""What the launchers would run, compiled ahead of time for a GPU that is not there; run by ``test_triton.py``.

A recorder stands in the kernels' place; it compiles for the target with the argument types, the specialisations and
the constants that Triton's own launcher would see.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from karaffe.ops.backends.triton import fused, launch
from karaffe.ops.backends.triton.call import Call

TYPES = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int32: "*i32",
}


def describe(arguments: tuple[Any, ...], names: list[str]) -> tuple[dict, dict, dict]:
    """Signature, constants and attributes: an argument of one is a constant, one divisible by 16 is said to be so."""
    signature, constants, attributes = {}, {}, {}
    for i, (name, value) in enumerate(zip(names, arguments, strict=False)):
        if isinstance(value, Tensor):
            signature[name] = TYPES[value.dtype]
            attributes[(i,)] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        elif value == 1:
            signature[name], constants[name] = "constexpr", 1
        else:
            signature[name] = "i32" if value < 2**31 else "i64"
            if value % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
    return signature, constants, attributes


def compiled(kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any], warps: int, target: GPUTarget) -> Any:
    signature, ones, attributes = describe(arguments, kernel.arg_names)
    source = ASTSource(kernel, signature | dict.fromkeys(constants, "constexpr"), ones | constants, attributes)
    return triton.compile(source, target=target, options={"num_warps": warps})


@contextmanager
def recording(target: GPUTarget, every: bool = False) -> Iterator[list[tuple[str, Any]]]:
    """Compile instead of launching; the first block of each kernel, or every one."""
    made: list[tuple[str, Any]] = []
    before = Call.launch

    def launch(call: Call, kernel: Any, blocks: Any, key: Any, prepared: Any) -> None:
        for block in blocks if every else blocks[:1]:
            _, arguments, constants = prepared(block)
            result = compiled(kernel, arguments, {**constants, **call.types}, block.warps, target)
            made.append((kernel.__name__, result))

    Call.launch = launch
    try:
        yield made
    finally:
        Call.launch = before


def tensor(dtype: torch.dtype, *shape: int) -> Tensor:
    layout = torch.channels_last if dtype in (torch.bfloat16, torch.float16) else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device="meta", memory_format=layout)


def call_everything() -> None:
    """Every kernel at least once, in both layouts and all dtypes among them; channels-last where two bytes wide."""
    geometry = ([2, 3], 1, [1, 1], "zeros", "corner")
    for dtype in (torch.float32, torch.bfloat16):
        x, weights, wide = (tensor(dtype, 2, c, n, n) for c, n in ((32, 16), (6, 32), (32, 32)))
        launch.reassemble(x, weights, *geometry)
        launch.correlate(x, wide, *geometry)
        launch.scatter(weights, wide, [16, 16], *geometry)
    x, weights, wide = (tensor(torch.float64, 2, c, n, n) for c, n in ((3, 16), (144, 24), (3, 24)))
    many = ([12, 12], 1, [1, 1], "reflect", "corner")
    launch.reassemble(x, weights, *many)
    launch.correlate(x, wide, *many)
    launch.scatter(weights, wide, [16, 16], *many)
    x, logits, wide = (tensor(torch.float16, 2, c, n, n) for c, n in ((32, 16), (16, 16), (32, 32)))
    options = ([2, 2], [2, 2], 1, [1, 1], "mask", "softmax")
    fused.reassemble_logits(x, logits, *options)
    fused.reassemble_logits_backward(wide, x, logits, *options)
    query, key = (tensor(torch.float32, 2, 32, n, n) for n in (32, 16))
    bias = torch.empty(2, 18, device="meta")
    options = ([3, 3], 2, 0.5, [0, 4, 8], [1, 1], "mask", "corner")
    out, log_sum = fused.local_attention(query, key, key, bias, *options)
    fused.local_attention_backward(out, query, key, key, bias, log_sum, *options)


def main() -> None:
    backend, architecture, warp = sys.argv[1:]
    target = GPUTarget(backend, int(architecture) if architecture.isdigit() else architecture, int(warp))
    with recording(target) as made:
        call_everything()
    for name, result in made:
        code = result.asm["hsaco" if backend == "hip" else "cubin"]
        text = result.asm["amdgcn" if backend == "hip" else "ptx"]
        assert len(code) > 1000, name
        assert "atomic" not in text, name
        assert "red.global" not in text, name
        print(name)


if __name__ == "__main__":
    main()
