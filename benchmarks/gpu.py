"""How fast are the operators on a GPU? Against what people use instead, and against the memory's own rate.

A time is the median of CUDA-event timings with the L2 cache cleared between runs (``triton.testing.do_bench``). The
bound of a pass is its bytes, each tensor read or written once, at the rate of a large copy on the same GPU. Results
are compared with the float64 formula first.

mmcv's CUDA kernel takes part where ``--mmcv FILE`` names its source, which is no part of this project.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from common import machine, write_results
from gpu_kernels import build
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from triton.testing import do_bench

import karaffe
from karaffe import ops

SHAPES = ((8, 256, 64, 64), (2, 256, 96, 160), (16, 64, 128, 128), (1, 256, 64, 64))
ATTENTION = ((8, 1, 64, 64, 64), (4, 4, 64, 64, 64))  # batch, heads, channels a head, height, width
KERNEL, FACTOR = 5, 2
LAST = torch.channels_last
FORWARD, BOTH = "forward", "forward + backward"
Call = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One contender: milliseconds, and its bytes at the copy's rate over them."""

    what: str
    shape: tuple[int, ...]
    dtype: str
    pass_: str
    contender: str
    ms: float
    share_of_bound: float | None


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, device="cuda").to(dtype)


def time(call: Call) -> float:
    return do_bench(call, warmup=10, rep=40, return_mode="median")


def copy_rate() -> float:
    """Bytes a millisecond, read and written, of a copy of one gigabyte."""
    source = torch.empty(1 << 28, device="cuda").normal_()
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / time(lambda: target.copy_(source))


def unfold(x: Tensor, kernels: Tensor) -> Tensor:
    """The usual pure-PyTorch copy: unfold, multiply, sum, at source resolution."""
    n, c, h, w = x.shape
    unfolded = F.unfold(x, KERNEL, padding=KERNEL // 2).view(n, c, KERNEL**2, h, 1, w, 1)
    weighted = unfolded * kernels.view(n, 1, KERNEL**2, h, FACTOR, w, FACTOR)
    return weighted.sum(2).reshape(n, c, FACTOR * h, FACTOR * w)


def shifted_slices(x: Tensor, kernels: Tensor) -> Tensor:
    """k² shifted slices of the padded map, each multiplied and added."""
    n, c, h, w = x.shape
    padded = F.pad(x, (KERNEL // 2,) * 4)
    by_tap = kernels.view(n, KERNEL**2, 1, h, FACTOR, w, FACTOR)
    out = 0
    for t in range(KERNEL**2):
        i, j = divmod(t, KERNEL)
        out = out + padded[:, :, i : i + h, j : j + w].reshape(n, c, h, 1, w, 1) * by_tap[:, t]
    return out.reshape(n, c, FACTOR * h, FACTOR * w)


def ours(x: Tensor, kernels: Tensor) -> Tensor:
    return ops.reassemble(x, kernels, KERNEL)


def mmcv_carafe(source: Path) -> Callable[..., Tensor]:
    """mmcv's operator around its CUDA kernel, with the buffers that its Python makes."""
    from torch.utils.cpp_extension import load

    extension = load("mmcv_carafe", [str(source)], extra_cuda_cflags=["-O3"])

    class Carafe(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, masks):
            n, c, h, w = x.shape
            out = x.new_zeros(n, c, FACTOR * h, FACTOR * w)
            buffers = [torch.zeros_like(t) for t in (x, out, masks)]
            extension.carafe_forward(x, masks, *buffers, out, KERNEL, 1, FACTOR)
            ctx.save_for_backward(x, masks, buffers[0])
            return out

        @staticmethod
        def backward(ctx, grad):
            x, masks, by_pixel = ctx.saved_tensors
            buffers = [torch.zeros_like(t) for t in (grad, grad, x, masks)]
            by_x, by_masks = torch.zeros_like(x), torch.zeros_like(masks)
            tensors = (grad.contiguous(), by_pixel, masks, *buffers, by_x, by_masks)
            extension.carafe_backward(*tensors, KERNEL, 1, FACTOR)
            return by_x, by_masks

    return Carafe.apply


def passes(function: Callable[..., Tensor], tensors: tuple[Tensor, ...], grad: Tensor) -> dict[str, Call]:
    """The forward pass without derivatives, and both passes."""
    leaves = [t.detach().clone(memory_format=torch.preserve_format).requires_grad_() for t in tensors]

    def forward() -> Tensor:
        with torch.no_grad():
            return function(*tensors)

    return {FORWARD: forward, BOTH: lambda: torch.autograd.grad(function(*leaves), leaves, grad)}


def gate(functions: dict[str, Callable[..., Tensor]]) -> None:
    """Outputs and gradients of everything that is going to be timed equal the float64 formula's."""
    x, kernels, grad = randn(1, 256, 32, 48), randn(1, KERNEL**2, 64, 96).softmax(1), randn(1, 256, 64, 96)
    formula = passes(
        lambda a, b: ops.reassemble(a, b, KERNEL, backend="reference"), (x.double(), kernels.double()), grad.double()
    )
    for name, function in functions.items():
        for layout in (torch.contiguous_format, LAST) if name == "karaffe" else (torch.contiguous_format,):
            tensors = [t.contiguous(memory_format=layout) for t in (x, kernels, grad)]
            calls = passes(function, tuple(tensors[:2]), tensors[2])
            got, wanted = (calls[FORWARD](), *calls[BOTH]()), (formula[FORWARD](), *formula[BOTH]())
            for a, b in zip(got, wanted, strict=True):
                error = ((a.double() - b).abs().max() / b.abs().max()).item()
                assert error < 1e-5, f"{name}: error {error:.1e}"


def reassembly(
    shape: tuple[int, ...], dtype: torch.dtype, others: dict[str, Callable[..., Tensor]], rate: float
) -> list[Row]:
    n, c, h, w = shape
    x, grad = randn(*shape, dtype=dtype), randn(n, c, FACTOR * h, FACTOR * w, dtype=dtype)
    kernels = randn(n, KERNEL**2, FACTOR * h, FACTOR * w).softmax(1).to(dtype)
    last = [t.contiguous(memory_format=LAST) for t in (x, kernels, grad)]
    contenders = {"karaffe NCHW": passes(ours, (x, kernels), grad)}
    contenders["karaffe channels-last"] = passes(ours, (last[0], last[1]), last[2])
    if dtype == torch.float32:
        contenders |= {name: passes(function, (x, kernels), grad) for name, function in others.items()}
    size = [FACTOR * h, FACTOR * w]
    contenders["bilinear NCHW"] = passes(lambda a: F.interpolate(a, size, mode="bilinear"), (x,), grad)
    moved = x.element_size() * (x.numel() + kernels.numel() + grad.numel())
    rows = []
    for name, calls in contenders.items():
        for pass_, call in calls.items():
            bound = (1 if pass_ == FORWARD else 3) * moved / rate
            ms = time(call)
            share = bound / ms if name.startswith("karaffe") else None
            rows.append(Row("reassemble", shape, str(dtype)[6:], pass_, name, ms, share))
    return rows


def fused(shape: tuple[int, ...], rate: float) -> list[Row]:
    """The fused reassembly from logits, against shuffle, softmax and reassembly one after another."""
    n, c, h, w = shape
    rows = []
    for layout, name in ((torch.contiguous_format, "NCHW"), (LAST, "channels-last")):
        x, logits, grad = (
            randn(*s).contiguous(memory_format=layout)
            for s in (shape, (n, (KERNEL * FACTOR) ** 2, h, w), (n, c, FACTOR * h, FACTOR * w))
        )
        apart = lambda a, b: ours(a, F.pixel_shuffle(b, FACTOR).softmax(1))  # noqa: E731
        contenders = {f"fused {name}": lambda a, b: ops.reassemble_logits(a, b, KERNEL), f"one by one {name}": apart}
        moved = 4 * (x.numel() + logits.numel() + grad.numel())
        for contender, function in contenders.items():
            for pass_, call in passes(function, (x, logits), grad).items():
                bound, ms = (1 if pass_ == FORWARD else 3) * moved / rate, time(call)
                rows.append(Row("reassemble_logits", shape, "float32", pass_, contender, ms, bound / ms))
    return rows


def unfold_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Windows of keys and values enlarged by nearest and unfolded, softmax over the taps, weighted sum."""
    n, c, h, w = query.shape
    windows = [
        F.interpolate(F.unfold(t, KERNEL, padding=KERNEL // 2).view(n, c * KERNEL**2, *t.shape[2:]), (h, w)).view(
            n, heads, c // heads, KERNEL**2, h, w
        )
        for t in (key, value)
    ]
    scores = (query.view(n, heads, -1, 1, h, w) * windows[0]).sum(2, keepdim=True) * (c // heads) ** -0.5
    return (scores.softmax(3) * windows[1]).sum(3).reshape(n, c, h, w)


def flex(height: int, width: int, heads: int) -> Callable[..., Tensor]:
    """PyTorch's flex_attention over the same windows, pixels in raster order."""
    reach, across = KERNEL // 2, FACTOR * width

    def near(b, h, q, k):
        down = (q // across // FACTOR - k // width).abs()
        return (down <= reach) & ((q % across // FACTOR - k % width).abs() <= reach)

    mask = create_block_mask(near, None, None, FACTOR**2 * height * width, height * width, device="cuda")
    compiled = torch.compile(flex_attention)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        split = [t.unflatten(1, (heads, -1)).flatten(3).mT for t in (query, key, value)]
        return compiled(*split, block_mask=mask).mT.reshape(query.shape)

    return attend


def attention(shape: tuple[int, ...], dtype: torch.dtype) -> list[Row]:
    n, heads, per, h, w = shape
    c = heads * per
    query, grad = (randn(n, c, FACTOR * h, FACTOR * w, dtype=dtype) for _ in range(2))
    key, value = (randn(n, c, h, w, dtype=dtype) for _ in range(2))
    local = lambda q, k, v: ops.local_attention(q, k, v, KERNEL, heads=heads)  # noqa: E731
    last = [t.contiguous(memory_format=LAST) for t in (query, key, value, grad)]
    by_flex = flex(h, w, heads)
    wanted = local(query.double(), key.double(), value.double())
    for function, tensors in ((local, (query, key, value)), (local, last[:3]), (by_flex, last[:3])):
        error = ((function(*tensors).double() - wanted).abs().max() / wanted.abs().max()).item()
        assert error < (3e-2 if dtype == torch.bfloat16 else 3e-3), f"attention: error {error:.1e}"
    contenders = {
        "karaffe NCHW": passes(local, (query, key, value), grad),
        "karaffe channels-last": passes(local, tuple(last[:3]), last[3]),
        "flex_attention channels-last": passes(by_flex, tuple(last[:3]), last[3]),
        "flex_attention NCHW": passes(by_flex, (query, key, value), grad),
    }
    if n * c * KERNEL**2 * h * w * FACTOR**2 < 1 << 31:
        unfolded = lambda q, k, v: unfold_attention(q, k, v, heads)  # noqa: E731
        contenders["unfold"] = passes(unfolded, (query, key, value), grad)
    name = str(dtype)[6:]
    return [
        Row("local_attention", shape, name, pass_, contender, time(call), None)
        for contender, calls in contenders.items()
        for pass_, call in calls.items()
    ]


def peak(call: Call) -> int:
    """Bytes that a call has at its peak beyond what was there."""
    call()
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return torch.cuda.max_memory_allocated() - before


def module(shape: tuple[int, ...]) -> list[Row]:
    """The CARAFE module against its own two convolutions, and against other learned upsampling."""
    c = shape[1]
    x, grad = randn(*shape), randn(shape[0], c, FACTOR * shape[2], FACTOR * shape[3])
    carafe = karaffe.CARAFE(c).cuda()
    contenders: dict[str, nn.Module] = {
        "CARAFE": carafe,
        "CARAFE, compiled": torch.compile(carafe, fullgraph=True),
        "deconvolution 4x4": nn.ConvTranspose2d(c, c, 4, 2, 1).cuda(),
    }
    rows = []
    for name, layer in contenders.items():
        parameters = list(layer.parameters())

        def forward(layer: nn.Module = layer) -> Tensor:
            with torch.no_grad():
                return layer(x)

        def both(layer: nn.Module = layer, parameters: list[Tensor] = parameters) -> object:
            return torch.autograd.grad(layer(x), parameters, grad)

        for pass_, call in ((FORWARD, forward), (BOTH, both)):
            rows.append(Row("module", shape, "float32", pass_, name, time(call), None))
            rows.append(Row("module, peak MB", shape, "float32", pass_, name, peak(call) / 1e6, None))
    with torch.no_grad():
        ms = time(lambda: carafe.kernel_logits(x))
    rows.append(Row("module", shape, "float32", FORWARD, "its two convolutions alone", ms, None))
    return rows


def table(rows: list[Row], what: str, pass_: str) -> str:
    """Times, ratios to every other contender of the same shape, shares of the bound."""
    lines = [
        f"### {what}, {pass_}\n",
        "| shape | dtype | contender | ms | share of the bound | times of karaffe |",
        "|---|---|---|---|---|---|",
    ]
    chosen = [r for r in rows if (r.what, r.pass_) == (what, pass_)]
    for row in chosen:
        same = [r for r in chosen if (r.shape, r.dtype) == (row.shape, row.dtype)]
        own = min((r.ms for r in same if r.contender.startswith(("karaffe", "fused", "CARAFE"))), default=row.ms)
        share = "" if row.share_of_bound is None else f"{row.share_of_bound:.0%}"
        shape = "×".join(map(str, row.shape))
        lines.append(f"| {shape} | {row.dtype} | {row.contender} | {row.ms:.4g} | {share} | {row.ms / own:.2f} |")
    return "\n".join(lines) + "\n"


def report(rows: list[Row], who: dict[str, str]) -> str:
    parts = ["# Operators on a GPU\n", f"Kernel size {KERNEL}, factor {FACTOR}. Milliseconds, medians.\n"]
    parts.append("".join(f"- {k}: {v}\n" for k, v in who.items()))
    kinds = dict.fromkeys((r.what, r.pass_) for r in rows)
    return "\n".join([*parts, *(table(rows, *kind) for kind in kinds)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mmcv", type=Path, help="source of mmcv's CUDA kernel, with a binding")
    parser.add_argument("--workers", type=int, default=0, help="compile on this many cores first")
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many of the shapes, from the first")
    options = parser.parse_args()
    if options.workers:
        build(options.workers)
    gate({"karaffe": ours})
    rate = copy_rate()
    gpu = torch.cuda.get_device_properties(0)
    who = machine() | {"processor": gpu.name, "cores": str(gpu.multi_processor_count)}
    who["copy rate"] = f"{rate / 1e9:.2f} TB/s"
    rows: list[Row] = []

    def keep(more: list[Row]) -> None:
        """Results so far, so that a run that is cut short leaves what it has."""
        rows.extend(more)
        write_results("gpu", {"machine": who, "rows": [asdict(row) for row in rows]}, report(rows, who))

    keep(fused(SHAPES[0], rate))
    keep(reassembly(SHAPES[0], torch.bfloat16, {}, rate))
    for dtype in (torch.float32, torch.bfloat16):
        for shape in ATTENTION[: options.shapes]:
            keep(attention(shape, dtype))
    others: dict[str, Callable[..., Tensor]] = {"unfold": unfold}
    if options.mmcv:
        others["mmcv's CUDA kernel"] = mmcv_carafe(options.mmcv)
    gate(others)
    for shape in SHAPES[: options.shapes]:
        keep(reassembly(shape, torch.float32, others, rate))
    keep(module(SHAPES[0]))
    compiled = torch.compile(shifted_slices, dynamic=False)
    keep(reassembly(SHAPES[0], torch.float32, {"shifted slices, torch.compile": compiled}, rate))
    print(report(rows, who))


if __name__ == "__main__":
    main()
