"""How fast are the operators? Against what people use instead, and against the machine's bounds. See README.md."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from common import Call, Times, bound, bound_calls, interleave, machine, write_results
from torch import Tensor

from karaffe import ops
from karaffe.ops.backends import cpu
from oracle import Case, check

SHAPES = ((1, 256, 64, 64), (2, 256, 32, 32), (1, 64, 128, 128), (8, 64, 24, 24), (1, 32, 512, 512), (1, 3, 512, 512))
COPY_AT_MOST = 1 << 26  # values of the copy's unfolded map; beyond, it is left out
KERNEL, FACTOR = 5, 2


def copy(x: Tensor, kernels: Tensor) -> Tensor:
    """The usual pure-PyTorch copy: unfold, multiply, sum, at source resolution."""
    n, c, h, w = x.shape
    unfolded = F.unfold(x, KERNEL, padding=KERNEL // 2).view(n, c, KERNEL**2, h, 1, w, 1)
    weighted = unfolded * kernels.view(n, 1, KERNEL**2, h, FACTOR, w, FACTOR)
    return weighted.sum(2).reshape(n, c, FACTOR * h, FACTOR * w)


def copy_enlarged(x: Tensor, kernels: Tensor) -> Tensor:
    """The other common one, which enlarges the unfolded map before it multiplies."""
    n, c, h, w = x.shape
    unfolded = F.unfold(x, KERNEL, padding=KERNEL // 2).view(n, c * KERNEL**2, h, w)
    enlarged = F.interpolate(unfolded, scale_factor=FACTOR, mode="nearest")
    return (enlarged.view(n, c, KERNEL**2, FACTOR * h, FACTOR * w) * kernels.unsqueeze(1)).sum(2)


def shifted_slices(x: Tensor, kernels: Tensor) -> Tensor:
    """k² shifted slices of the padded map, each multiplied and added."""
    n, c, h, w = x.shape
    padded = F.pad(x, (KERNEL // 2,) * 4)
    by_tap = kernels.view(n, KERNEL**2, 1, h, FACTOR, w, FACTOR)
    out = torch.zeros(n, c, h, FACTOR, w, FACTOR)
    for t in range(KERNEL**2):
        i, j = divmod(t, KERNEL)
        out = out + padded[:, :, i : i + h, j : j + w].reshape(n, c, h, 1, w, 1) * by_tap[:, t]
    return out.reshape(n, c, FACTOR * h, FACTOR * w)


def ours(x: Tensor, kernels: Tensor) -> Tensor:
    return ops.reassemble(x, kernels, KERNEL)


def last(t: Tensor) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last)


def no_grad(function: Callable[..., Tensor], *tensors: Tensor) -> Call:
    def call() -> Tensor:
        with torch.no_grad():
            return function(*tensors)

    return call


def with_backward(function: Callable[..., Tensor], x: Tensor, kernels: Tensor, grad: Tensor) -> Call:
    x, kernels = x.detach().requires_grad_(), kernels.detach().requires_grad_()
    return lambda: torch.autograd.grad(function(x, kernels), (x, kernels), grad)


@dataclass(frozen=True)
class Row:
    """One contender at one shape: times in ms, and what it is compared with."""

    shape: tuple[int, ...]
    threads: int
    pass_: str
    contender: str
    median: float
    quartiles: tuple[float, float]
    ratios: dict[str, float]
    share_of_bound: float | None


def gate(shapes: tuple[tuple[int, ...], ...]) -> None:
    """Compare what is going to be timed with the reference, in output and gradients."""
    for n, c, h, w in shapes:
        channels = min(c, 32) if h * w > 1 << 16 else c  # the float64 reference of the largest would not fit
        case = Case((h, w), (FACTOR * h, FACTOR * w), (KERNEL, KERNEL), batch=n, channels=channels)
        for memory_format in (torch.contiguous_format, torch.channels_last):
            check("reassemble", torch.ops.karaffe.reassemble, [case], torch.float32, memory_format, tolerance=1e-4)


def contenders(shape: tuple[int, ...], compiled: Callable[..., Tensor] | None) -> dict[str, dict[str, Call]]:
    """Calls by pass and name."""
    n, c, h, w = shape
    x, logits = torch.randn(shape), torch.randn(n, KERNEL**2, FACTOR * h, FACTOR * w)
    kernels, grad = logits.softmax(1), torch.randn(n, c, FACTOR * h, FACTOR * w)
    xl, kl, gl = last(x), last(kernels), last(grad)
    size = (FACTOR * h, FACTOR * w)
    forward = {
        "karaffe NCHW": no_grad(ours, x, kernels),
        "karaffe channels-last": no_grad(ours, xl, kl),
        "karaffe NCHW bfloat16": no_grad(ours, x.bfloat16(), kernels.bfloat16()),
        "bilinear NCHW": no_grad(lambda: F.interpolate(x, size, mode="bilinear")),
        "bilinear channels-last": no_grad(lambda: F.interpolate(xl, size, mode="bilinear")),
        "nearest NCHW": no_grad(lambda: F.interpolate(x, size, mode="nearest")),
    }
    both = {
        "karaffe NCHW": with_backward(ours, x, kernels, grad),
        "karaffe channels-last": with_backward(ours, xl, kl, gl),
    }
    if n * c * KERNEL**2 * h * w <= COPY_AT_MOST:
        forward["copy"] = no_grad(copy, x, kernels)
        forward["copy, enlarged first"] = no_grad(copy_enlarged, x, kernels)
        both["copy"] = with_backward(copy, x, kernels, grad)
        if compiled is not None:
            forward["shifted slices, torch.compile"] = no_grad(compiled, x, kernels)
    return {"forward": forward, "forward + backward": both}


REFERENCES = (
    "copy",
    "copy, enlarged first",
    "shifted slices, torch.compile",
    "bilinear NCHW",
    "bilinear channels-last",
)


def measure(shape: tuple[int, ...], threads: int, rounds: int, compiled: Callable[..., Tensor] | None) -> list[Row]:
    torch.set_num_threads(threads)
    n, c, h, w = shape
    products = n * c * KERNEL**2 * FACTOR**2 * h * w
    moved = 4 * n * h * w * (c + KERNEL**2 * FACTOR**2 + c * FACTOR**2)
    rows = []
    for pass_, calls in contenders(shape, compiled).items():
        times = interleave(calls | bound_calls(), rounds)
        passes = 1 if pass_ == "forward" else 3
        limit = bound(times, passes * products, passes * moved)
        for name in calls:
            ratios = {r: times[r].over(times[name]) for r in REFERENCES if r in calls and r != name}
            ours_here = name.startswith("karaffe") and "bfloat16" not in name
            share = limit.over(times[name]) if ours_here else None
            rows.append(Row(shape, threads, pass_, name, times[name].median, times[name].quartiles, ratios, share))
        rows.extend(bound_rows(shape, threads, pass_, times, limit))
    return rows


def bound_rows(shape: tuple[int, ...], threads: int, pass_: str, times: dict[str, Times], limit: Times) -> list[Row]:
    found = {"bound": limit, **{name: times[name] for name in ("sgemm", "memory copy")}}
    return [Row(shape, threads, pass_, name, t.median, t.quartiles, {}, None) for name, t in found.items()]


def table(rows: list[Row], threads: int, pass_: str) -> str:
    lines = [
        f"### {pass_}, {threads} thread{'s' if threads > 1 else ''}\n",
        "| shape | contender | ms (quartiles) | "
        + " | ".join(f"times faster than {r}" for r in REFERENCES)
        + " | share of the bound |",
        "|---|---|---|" + "---|" * (len(REFERENCES) + 1),
    ]
    for row in rows:
        if (row.threads, row.pass_) != (threads, pass_) or row.contender in ("sgemm", "memory copy"):
            continue
        ratios = " | ".join(f"{row.ratios[r]:.2f}" if r in row.ratios else "" for r in REFERENCES)
        low, high = row.quartiles
        share = f"{row.share_of_bound:.0%}" if row.share_of_bound is not None else ""
        lines.append(
            f"| {'×'.join(map(str, row.shape))} | {row.contender} | {row.median:.3g} ({low:.3g} to {high:.3g}) "
            f"| {ratios} | {share} |"
        )
    return "\n".join(lines) + "\n"


def report(rows: list[Row], who: dict[str, str]) -> str:
    parts = ["# Reassembly\n", f"Kernel size {KERNEL}, factor {FACTOR}, float32 unless said.\n"]
    parts += ["".join(f"- {k}: {v}\n" for k, v in who.items())]
    for threads in sorted({row.threads for row in rows}):
        parts += [table(rows, threads, pass_) for pass_ in ("forward", "forward + backward")]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--shapes", type=int, default=len(SHAPES), help="how many of the shapes, from the first")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    options = parser.parse_args()
    shapes = SHAPES[: options.shapes]
    who = machine() | {"instruction set": cpu.simd() or f"none: {cpu.why_not()}"}
    gate(shapes)
    compiled = None if options.no_compile else torch.compile(shifted_slices, dynamic=False)
    rows = []
    for threads in options.threads:
        for shape in shapes:
            rows += measure(shape, threads, options.rounds, compiled)
        for pass_ in ("forward", "forward + backward"):
            print(table(rows, threads, pass_), flush=True)
    print(write_results("reassemble", {"machine": who, "rows": [asdict(row) for row in rows]}, report(rows, who)))


if __name__ == "__main__":
    main()
