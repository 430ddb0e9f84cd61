"""How fast are the operators? Against what people use instead, and against the machine's bounds. See README.md."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch
import torch.nn.functional as F
from common import bound, bound_calls, earlier, machine, write_results
from torch import Tensor

from karaffe import ops
from karaffe.evaluation.speed import Call, Times, enlarged_unfold_copy, interleave, shifted_slices, unfold_copy
from karaffe.ops.backends import cpu
from oracle import Case, check

SHAPES = ((1, 256, 64, 64), (2, 256, 32, 32), (1, 64, 128, 128), (8, 64, 24, 24), (1, 32, 512, 512), (1, 3, 512, 512))
COPY_AT_MOST = 1 << 26  # values of the copy's unfolded map; beyond, it is left out
KERNEL, FACTOR = 5, 2
LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
PASSES = {"forward": 1, "correlate": 1, "scatter": 1, "forward + backward": 3}  # contractions in each

ours = partial(ops.reassemble, kernel_size=KERNEL)
copy = partial(unfold_copy, k=KERNEL, s=FACTOR)
copy_enlarged = partial(enlarged_unfold_copy, k=KERNEL, s=FACTOR)
slices = partial(shifted_slices, k=KERNEL, s=FACTOR)


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


def gate(shapes: list[tuple[int, ...]]) -> None:
    """Compare what is going to be timed with the reference, in output and gradients."""
    for n, c, h, w in shapes:
        channels = min(c, 32) if h * w > 1 << 16 else c  # the float64 reference of the largest would not fit
        case = Case((h, w), (FACTOR * h, FACTOR * w), (KERNEL, KERNEL), batch=n, channels=channels)
        for memory_format in LAYOUTS.values():
            check("reassemble", torch.ops.karaffe.reassemble, [case], torch.float32, memory_format, tolerance=1e-4)


def contenders(shape: tuple[int, ...], compiled: Callable[..., Tensor] | None) -> dict[str, dict[str, Call]]:
    """Calls by pass and name."""
    n, c, h, w = shape
    x, logits = torch.randn(shape), torch.randn(n, KERNEL**2, FACTOR * h, FACTOR * w)
    kernels, grad = logits.softmax(1), torch.randn(n, c, FACTOR * h, FACTOR * w)
    size = (FACTOR * h, FACTOR * w)
    calls: dict[str, dict[str, Call]] = {pass_: {} for pass_ in PASSES}
    for layout, memory_format in LAYOUTS.items():
        for dtype in (torch.float32, torch.bfloat16):
            name = f"karaffe {layout}" + ("" if dtype == torch.float32 else " bfloat16")
            v, a, q = (t.to(dtype).contiguous(memory_format=memory_format) for t in (x, kernels, grad))
            calls["forward"][name] = no_grad(ours, v, a)
            calls["correlate"][name] = no_grad(partial(ops.correlate, kernel_size=KERNEL), v, q)
            calls["scatter"][name] = no_grad(partial(ops.scatter, kernel_size=KERNEL, input_size=(h, w)), a, q)
            calls["forward + backward"][name] = with_backward(ours, v, a, q)
        bilinear = partial(F.interpolate, size=size, mode="bilinear")
        calls["forward"][f"bilinear {layout}"] = no_grad(bilinear, x.contiguous(memory_format=memory_format))
    calls["forward"]["nearest NCHW"] = no_grad(partial(F.interpolate, size=size, mode="nearest"), x)
    if n * c * KERNEL**2 * h * w <= COPY_AT_MOST:
        calls["forward"]["copy"] = no_grad(copy, x, kernels)
        calls["forward"]["copy, enlarged first"] = no_grad(copy_enlarged, x, kernels)
        calls["forward + backward"]["copy"] = with_backward(copy, x, kernels, grad)
        if compiled is not None:
            calls["forward"]["shifted slices, torch.compile"] = no_grad(compiled, x, kernels)
    return calls


REFERENCES = (
    "copy",
    "copy, enlarged first",
    "shifted slices, torch.compile",
    "bilinear NCHW",
    "bilinear channels-last",
    "karaffe NCHW",
)


def measure(shape: tuple[int, ...], threads: int, rounds: int, compiled: Callable[..., Tensor] | None) -> list[Row]:
    torch.set_num_threads(threads)
    n, c, h, w = shape
    products = n * c * KERNEL**2 * FACTOR**2 * h * w
    moved = 4 * n * h * w * (c + KERNEL**2 * FACTOR**2 + c * FACTOR**2)
    rows = []
    for pass_, calls in contenders(shape, compiled).items():
        times = interleave(calls | bound_calls(), rounds)
        limit = bound(times, PASSES[pass_] * products, PASSES[pass_] * moved)
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
        parts += [table(rows, threads, pass_) for pass_ in PASSES]
    return "\n".join(parts)


def kept(who: dict[str, str], measured: list[Row]) -> list[Row]:
    """The rows of an earlier run on the same machine and commit that this run did not measure again."""
    again = {(row.shape, row.threads) for row in measured}
    rows = [
        Row(**{**row, "shape": tuple(row["shape"]), "quartiles": tuple(row["quartiles"])})
        for row in earlier("reassemble", who).get("rows", ())
    ]
    return [row for row in rows if (row.shape, row.threads) not in again]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--shapes", type=int, nargs="+", default=range(len(SHAPES)), help="which, by number from 0")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    options = parser.parse_args()
    shapes = [SHAPES[number] for number in options.shapes]
    who = machine() | {"instruction set": cpu.simd() or f"none: {cpu.why_not()}"}
    gate(shapes)
    compiled = None if options.no_compile else torch.compile(slices, dynamic=False)
    rows = []
    for threads in options.threads:
        for shape in shapes:
            rows += measure(shape, threads, options.rounds, compiled)
        for pass_ in PASSES:
            print(table(rows, threads, pass_), flush=True)
    rows = sorted(kept(who, rows) + rows, key=lambda row: (row.threads, SHAPES.index(row.shape)))
    print(write_results("reassemble", {"machine": who, "rows": [asdict(row) for row in rows]}, report(rows, who)))


if __name__ == "__main__":
    main()
