"""How fast is local attention? Against the same by three operators, by unfolding, by torch's own. See README.md."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch
import torch.nn.functional as F
from common import ROOT, bound, bound_calls, earlier, machine, write_results
from torch import Tensor

from karaffe import ops
from karaffe.evaluation.speed import Call, Times, interleave
from karaffe.ops import fused
from karaffe.ops.backends import cpu, reference_attention
from oracle import assert_close

LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}
UNFOLDED_AT_MOST = 1 << 27  # values; beyond, the routes that hold windows or a mask are left out
PASSES = ("forward", "forward + backward")


@dataclass(frozen=True)
class Shape:
    """One call: channels are of query and key, and of the value; sizes of the square source."""

    name: str
    key_channels: int
    value_channels: int
    size: int
    factor: int
    kernel: int
    heads: int = 1
    padding_mode: str = "mask"

    @property
    def targets(self) -> int:
        return (self.factor * self.size) ** 2

    def tensors(self) -> list[Tensor]:
        """Query, key, value, and a gradient of the output."""
        small, large = (self.size,) * 2, (self.factor * self.size,) * 2
        channels = ((self.key_channels, large), (self.key_channels, small))
        values = ((self.value_channels, small), (self.value_channels, large))
        return [torch.randn(1, c, *size) for c, size in (*channels, *values)]

    def multiply_adds(self, pass_: str) -> int:
        """Two contractions forward; five backward, the scores among them again."""
        backward = 0 if pass_ == "forward" else 3 * self.key_channels + 2 * self.value_channels
        return self.targets * self.kernel**2 * (self.key_channels + self.value_channels + backward)

    def moved_bytes(self, pass_: str) -> int:
        return 4 * sum(t.numel() for t in self.tensors()) * (1 if pass_ == "forward" else 3)


SHAPES = (
    Shape("SAPA's, x2", 64, 256, 64, 2, 5, padding_mode="zeros"),
    Shape("narrow, x2", 64, 64, 128, 2, 5),
    Shape("NAF's, x4, 4 heads", 256, 384, 32, 4, 9, heads=4, padding_mode="shift"),
    Shape("neighbourhood, 4 heads", 128, 128, 64, 1, 7, heads=4, padding_mode="shift"),
)


def ours(shape: Shape, query: Tensor, key: Tensor, value: Tensor, backend: str | None = None) -> Tensor:
    options = {"heads": shape.heads, "padding_mode": shape.padding_mode, "backend": backend}
    return ops.local_attention(query, key, value, shape.kernel, **options)


def by_operators(shape: Shape, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Correlate, softmax, reassemble, each native: what writes the weights to memory."""
    scale = (shape.key_channels // shape.heads) ** -0.5
    options = ([shape.kernel] * 2, shape.heads, scale, None, [1, 1], shape.padding_mode)
    return reference_attention.local_attention(fused.OPERATORS, query, key, value, None, *options)[0]


def by_unfolding(shape: Shape, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Every window gathered at source resolution, multiplied and summed; taps outside are zeros."""
    n, s, k, heads = shape.size, shape.factor, shape.kernel, shape.heads
    windows = [F.unfold(t, k, padding=k // 2).view(heads, -1, k * k, n, 1, n, 1) for t in (key, value)]
    targets = query.view(heads, -1, 1, n, s, n, s)
    scores = (targets * windows[0]).sum(1) * (shape.key_channels // heads) ** -0.5
    out = (scores.softmax(1).unsqueeze(1) * windows[1]).sum(2)
    return out.reshape(1, -1, s * n, s * n)


def by_masked_attention(shape: Shape, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's scaled_dot_product_attention over the whole source, all but each target's window masked."""
    heads = [t.view(1, shape.heads, -1, t.shape[2] * t.shape[3]).mT for t in (query, key, value)]
    out = F.scaled_dot_product_attention(*heads, attn_mask=window_mask(shape))
    return out.mT.reshape(1, -1, *query.shape[2:])


def window_mask(shape: Shape) -> Tensor:
    """Which source pixels each target reads, bool ``(targets, sources)``."""
    centre = torch.arange(shape.factor * shape.size) // shape.factor
    near = (centre[:, None] - torch.arange(shape.size)).abs() <= shape.kernel // 2
    both = near[:, None, :, None] & near[None, :, None, :]
    return both.reshape(shape.targets, shape.size**2)


ROUTES: dict[str, Callable[..., Tensor]] = {
    "three operators": by_operators,
    "unfolded windows": by_unfolding,
    "masked attention of torch": by_masked_attention,
}


def contenders(shape: Shape) -> dict[str, tuple[Callable[..., Tensor], list[Tensor]]]:
    tensors = shape.tensors()
    found = {
        f"karaffe {name}": (partial(ours, shape), [t.contiguous(memory_format=layout) for t in tensors])
        for name, layout in LAYOUTS.items()
    }
    windows = shape.targets * shape.kernel**2 * max(shape.key_channels, shape.value_channels)
    held = {"unfolded windows": windows, "masked attention of torch": shape.targets * shape.size**2 * shape.heads}
    for name, route in ROUTES.items():
        if held.get(name, 0) <= UNFOLDED_AT_MOST:
            found[name] = (partial(route, shape), tensors)
    return found


def call_of(pass_: str, function: Callable[..., Tensor], tensors: list[Tensor]) -> Call:
    *inputs, grad = tensors
    if pass_ == "forward":
        return lambda: torch.no_grad()(function)(*inputs)
    leaves = [t.detach().requires_grad_() for t in inputs]
    return lambda: torch.autograd.grad(function(*leaves), leaves, grad)


@dataclass(frozen=True)
class Row:
    """One contender at one shape: times in ms, and what it is compared with."""

    shape: str
    threads: int
    pass_: str
    contender: str
    median: float
    quartiles: tuple[float, float]
    ratios: dict[str, float]
    share_of_bound: float | None
    share_of_exponentials: float | None


def gate() -> None:
    """What is going to be timed, on a part of its channels, against the reference in float64."""
    for shape in SHAPES:
        small = Shape(shape.name, 4 * shape.heads, 4 * shape.heads, 12, shape.factor, shape.kernel, shape.heads)
        small = Shape(**{**asdict(small), "padding_mode": shape.padding_mode})
        for layout in LAYOUTS.values():
            *inputs, grad = [t.contiguous(memory_format=layout) for t in small.tensors()]
            results = []
            for dtype, backend in ((torch.float32, None), (torch.float64, "reference")):
                leaves = [t.to(dtype).requires_grad_() for t in inputs]
                out = ours(small, *leaves, backend=backend)
                results.append([out, *torch.autograd.grad(out, leaves, grad.to(dtype))])
            for got, wanted in zip(*results, strict=True):
                assert_close(got, wanted, shape.name, 1e-4)


def measure(shape: Shape, threads: int, pass_: str, rounds: int) -> list[Row]:
    torch.set_num_threads(threads)
    logits = torch.randn(shape.heads, shape.targets * shape.kernel**2)
    result = torch.empty_like(logits)
    calls = {name: call_of(pass_, *found) for name, found in contenders(shape).items()}
    times = interleave(calls | bound_calls() | {"exponentials": lambda: torch.exp(logits, out=result)}, rounds)
    limit = bound(times, shape.multiply_adds(pass_), shape.moved_bytes(pass_))
    passes = 1 if pass_ == "forward" else 2
    rows = []
    for name in calls:
        own = name.startswith("karaffe")
        ratios = {r: times[r].over(times[name]) for r in ROUTES if r in calls and r != name}
        share = limit.over(times[name]) if own else None
        exponentials = passes * times["exponentials"].over(times[name]) if own else None
        rows.append(row_of(shape, threads, pass_, name, times[name], ratios, share, exponentials))
    return [*rows, row_of(shape, threads, pass_, "bound", limit, {}, None, None)]


def row_of(shape: Shape, threads: int, pass_: str, name: str, times: Times, ratios: dict, *shares: float | None) -> Row:
    return Row(shape.name, threads, pass_, name, times.median, times.quartiles, ratios, *shares)


PEAK = """
import sys; sys.path.insert(0, "benchmarks")
import torch, local_attention as b
torch.set_num_threads(1)
shape, name = next(s for s in b.SHAPES if s.name == sys.argv[1]), sys.argv[2]
function, tensors = b.contenders(shape)[name]
def peak(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) / 1024
before = peak()
b.call_of(sys.argv[3], function, tensors)()
print(peak() - before)
"""


def peaks(shapes: list[Shape]) -> list[dict]:
    """How far each call lets the memory of a fresh process rise, in MB; its result among it."""
    found = []
    for shape in shapes:
        for name in ("karaffe NCHW", "karaffe channels-last", "three operators"):
            for pass_ in PASSES:
                command = [sys.executable, "-c", PEAK, shape.name, name, pass_]
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
                found.append({"shape": shape.name, "contender": name, "pass": pass_, "MB": float(done.stdout)})
    return found


def table(rows: list[Row], threads: int, pass_: str) -> str:
    lines = [
        f"### {pass_}, {threads} thread{'s' if threads > 1 else ''}\n",
        "| shape | contender | ms (quartiles) | "
        + " | ".join(f"times faster than {r}" for r in ROUTES)
        + " | share of the bound | torch's exp alone, of the time |",
        "|---|---|---|" + "---|" * (len(ROUTES) + 2),
    ]
    for row in rows:
        if (row.threads, row.pass_) != (threads, pass_):
            continue
        ratios = " | ".join(f"{row.ratios[r]:.2f}" if r in row.ratios else "" for r in ROUTES)
        shares = [f"{s:.0%}" if s is not None else "" for s in (row.share_of_bound, row.share_of_exponentials)]
        low, high = row.quartiles
        lines.append(
            f"| {row.shape} | {row.contender} | {row.median:.3g} ({low:.3g} to {high:.3g}) | {ratios} "
            f"| {' | '.join(shares)} |"
        )
    return "\n".join(lines) + "\n"


def report(rows: list[Row], memory: list[dict], who: dict[str, str]) -> str:
    parts = ["# Local attention\n", "float32; the shapes (channels of query and value, source, factor, kernel):\n"]
    parts += ["".join(f"- {asdict(shape)}\n" for shape in SHAPES), "".join(f"- {k}: {v}\n" for k, v in who.items())]
    for threads in sorted({row.threads for row in rows}):
        parts += [table(rows, threads, pass_) for pass_ in PASSES]
    if memory:
        lines = ["### Peak memory over a call, its result among it, 1 thread\n", "| shape | contender | pass | MB |"]
        lines += ["|---|---|---|---|"]
        lines += [f"| {m['shape']} | {m['contender']} | {m['pass']} | {m['MB']:.1f} |" for m in memory]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def completed(new: list[dict], before: list[dict], keys: tuple[str, ...]) -> list[dict]:
    """What an earlier run measured and this one did not, and what this one did, in the shapes' order."""
    again = {tuple(each[key] for key in keys) for each in new}
    all_ = [each for each in before if tuple(each[key] for key in keys) not in again] + new
    names = [shape.name for shape in SHAPES]
    return sorted(all_, key=lambda each: names.index(each["shape"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--shapes", type=int, nargs="+", default=range(len(SHAPES)), help="which, by number from 0")
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory out")
    parser.add_argument("--no-times", action="store_true", help="leave the times out")
    options = parser.parse_args()
    who = machine() | {"instruction set": cpu.simd() or f"none: {cpu.why_not()}"}
    shapes = [SHAPES[number] for number in options.shapes]
    gate()
    rows: list[Row] = []
    for threads in () if options.no_times else options.threads:
        for pass_ in PASSES:
            for shape in shapes:
                rows += measure(shape, threads, pass_, options.rounds)
            print(table(rows, threads, pass_), flush=True)
    memory = [] if options.no_memory else peaks(shapes)
    before = earlier("local_attention", who)
    times = completed([asdict(row) for row in rows], before.get("rows", []), ("shape", "threads", "pass_"))
    memory = completed(memory, before.get("memory", []), ("shape", "pass"))
    payload = {"machine": who, "rows": times, "memory": memory}
    print(write_results("local_attention", payload, report([Row(**row) for row in times], memory, who)))


if __name__ == "__main__":
    main()
