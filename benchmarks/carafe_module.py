"""What does a CARAFE module cost: beside its own convolutions, in calls, with two threads, in memory? See README.md."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from common import bound_calls, earlier, machine, write_results
from super_resolution import replace_figures
from torch import Tensor, nn

import karaffe
from karaffe import ops
from karaffe.evaluation.speed import Call, Times, interleave
from karaffe.ops.backends import cpu

CHANNELS, SIZE = 256, 64
SMALL = (1, 16, 8, 8)


def inference(function: object, *tensors: Tensor) -> Call:
    def call() -> Tensor:
        with torch.inference_mode():
            return function(*tensors)

    return call


def training(module: nn.Module, x: Tensor) -> Call:
    x = x.detach().requires_grad_()

    def call() -> None:
        out = module(x)
        torch.autograd.grad(out, (x, *module.parameters()), torch.ones_like(out))

    return call


class Convolutions(nn.Module):
    """The two convolutions of a CARAFE module, alone."""

    def __init__(self, of: karaffe.CARAFE) -> None:
        super().__init__()
        self.compressor, self.encoder = of.channel_compressor, of.content_encoder

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(self.compressor(x))


def upsamplers() -> dict[str, nn.Module]:
    module = karaffe.CARAFE(CHANNELS)
    sub_pixel = nn.Sequential(nn.Conv2d(CHANNELS, 4 * CHANNELS, 3, padding=1), nn.PixelShuffle(2))
    return {
        "CARAFE": module,
        "its two convolutions alone": Convolutions(module),
        "ConvTranspose2d(256, 256, 4, 2, 1)": nn.ConvTranspose2d(CHANNELS, CHANNELS, 4, 2, 1),
        "3x3 sub-pixel convolution": sub_pixel,
    }


def module_times(rounds: int, memory_format: torch.memory_format, with_training: bool) -> dict[str, Times]:
    x = torch.randn(1, CHANNELS, SIZE, SIZE).contiguous(memory_format=memory_format)
    modules = {name: m.to(memory_format=memory_format) for name, m in upsamplers().items()}
    if with_training:
        return interleave({name: training(m, x) for name, m in modules.items()}, rounds)
    calls = {name: inference(m.eval(), x) for name, m in modules.items()}
    logits = torch.randn(1, 100, SIZE, SIZE).contiguous(memory_format=memory_format)
    alone = {"its reassembly alone": inference(lambda *t: ops.reassemble_logits(*t, 5), x, logits)}
    return interleave(calls | alone, rounds)


def overhead_times(rounds: int) -> dict[str, Times]:
    """Calls on tensors so small that nothing but the call is measured."""
    x, kernels = torch.randn(SMALL), torch.randn(1, 25, 16, 16).softmax(1)
    logits = torch.randn(1, 100, 8, 8)
    return interleave(
        {
            "F.interpolate bilinear": inference(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), x),
            "F.interpolate nearest": inference(lambda x: F.interpolate(x, scale_factor=2), x),
            "reassemble": inference(lambda *t: ops.reassemble(*t, 5), x, kernels),
            "reassemble_logits": inference(lambda *t: ops.reassemble_logits(*t, 5), x, logits),
        },
        rounds,
    )


def alternating_times(rounds: int, threads: int) -> dict[str, Times]:
    """A torch convolution and reassembly by turns, as in a network, and the convolution alone."""
    torch.set_num_threads(threads)
    x, logits = torch.randn(1, CHANNELS, SIZE, SIZE), torch.randn(1, 100, SIZE, SIZE)
    convolution = nn.Conv2d(CHANNELS, 64, 1)

    def both(x: Tensor) -> Tensor:
        convolution(x)
        return ops.reassemble_logits(x, logits, 5)

    return interleave({"both": inference(both, x), "convolution": inference(convolution, x)} | bound_calls(), rounds)


PEAK = """
import sys, torch, karaffe
from karaffe import ops
torch.set_num_threads(1)
def peak(): return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) * 1024
def reset(): open('/proc/self/clear_refs', 'w').write('5')
n, c, h, w = {shape}
def tensors():
    return torch.randn(n, c, h, w), torch.randn(n, 100, h, w)
def run(x, logits):
    {body}
run(torch.randn(1, c, 8, 8), torch.randn(1, 100, 8, 8))
reset(); before = peak()
run(*tensors())
print(peak() - before)
"""
FORWARD = "with torch.inference_mode(): return ops.reassemble_logits(x, logits, 5)"
BACKWARD = (
    "out = ops.reassemble_logits(x.requires_grad_(), logits.requires_grad_(), 5); "
    "return torch.autograd.grad(out, (x, logits), torch.ones_like(out))"
)


def peak_bytes(shape: tuple[int, ...], body: str) -> int:
    """How far the memory of a fresh process rises over a call and its tensors."""
    code = PEAK.format(shape=shape, body=body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


def peak_rows() -> list[dict]:
    rows = []
    for shape in ((1, 256, 128, 128), (1, 64, 256, 256)):
        n, c, h, w = shape
        given, result = 4 * n * h * w * (c + 100), 4 * n * h * w * 4 * c
        for name, body, needed in (
            ("forward", FORWARD, given + result),
            ("training", BACKWARD, 2 * given + 2 * result),
        ):
            rows.append({"shape": shape, "pass": name, "peak": peak_bytes(shape, body), "tensors": needed})
    return rows


def ratio_table(title: str, times: dict[str, Times], reference: str) -> str:
    lines = [f"### {title}\n", f"| | ms (quartiles) | time / {reference} |", "|---|---|---|"]
    for name, each in times.items():
        low, high = each.quartiles
        lines.append(f"| {name} | {each.median:.4g} ({low:.4g} to {high:.4g}) | {each.over(times[reference]):.2f} |")
    return "\n".join(lines) + "\n"


def threads_table(by_threads: dict[int, dict[str, Times]]) -> str:
    lines = [
        "### A torch convolution and reassembly by turns\n",
        "| threads | both, ms | convolution, ms | reassembly, ms | its efficiency | the convolution's "
        "| the matrix product's | a memory copy's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    alone = {}
    for threads, times in by_threads.items():
        rest = times["both"].median - times["convolution"].median
        alone[threads] = (rest, *(times[name].median for name in ("convolution", "sgemm", "memory copy")))
        shares = [one / (threads * here) for one, here in zip(alone[1], alone[threads], strict=True)]
        lines.append(
            f"| {threads} | {times['both'].median:.3g} | {times['convolution'].median:.3g} | {rest:.3g} "
            f"| {' | '.join(f'{share:.0%}' for share in shares)} |"
        )
    return "\n".join(lines) + "\n"


def peak_table(rows: list[dict]) -> str:
    lines = [
        "### Peak memory of reassemble_logits, float32, kernel 5, x2\n",
        "Over what the process had: in `forward` the tensors are input, logits and result; in `training` these and a "
        "gradient of each.\n",
        "| source map | pass | peak, MB | tensors, MB | peak / tensors |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        shape = "×".join(map(str, row["shape"]))
        peak, tensors = row["peak"] / 1e6, row["tensors"] / 1e6
        lines.append(f"| {shape} | {row['pass']} | {peak:.1f} | {tensors:.1f} | {peak / tensors:.3f} |")
    return "\n".join(lines) + "\n"


def report(measured: dict[str, dict[str, Times]], peaks: list[dict]) -> str:
    own = "its two convolutions alone"
    tables = [ratio_table(title, times, own) for title, times in measured.items() if title.startswith("module")]
    if "calls" in measured:
        tables.append(ratio_table(f"Calls on {SMALL}", measured["calls"], "F.interpolate bilinear"))
    by_threads = {int(title.split()[0]): times for title, times in measured.items() if title.endswith("threads")}
    if 1 in by_threads:
        tables.append(threads_table(by_threads))
    return "\n".join([*tables, peak_table(peaks)] if peaks else tables)


def parts(rounds: int, threads: list[int]) -> dict[str, Callable[[], dict[str, Times]]]:
    """What is timed, by title; each can be measured alone."""
    planes, last = torch.contiguous_format, torch.channels_last
    return {
        "module, NCHW": partial(module_times, rounds, planes, False),
        "module, channels-last": partial(module_times, rounds, last, False),
        "module in training, NCHW": partial(module_times, rounds, planes, True),
        "calls": partial(overhead_times, rounds),
        **{f"{n} threads": partial(alternating_times, rounds, n) for n in threads},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    parser.add_argument("--only", nargs="+", help="titles of parts to measure, 'peaks' among them; the rest is kept")
    parser.add_argument("--into", type=Path, help="document to put the tables into, as figures")
    options = parser.parse_args()
    who = machine() | {"instruction set": cpu.simd() or f"none: {cpu.why_not()}"}
    before = earlier("carafe_module", who) if options.only else {}
    titles = parts(options.rounds, options.threads)
    rounds: dict[str, dict[str, Sequence[float]]] = dict(before.get("milliseconds", {}))
    for title, measure in titles.items():
        torch.set_num_threads(1)
        if options.only is None or title in options.only:
            rounds[title] = {name: times.rounds for name, times in measure().items()}
    peaks = peak_rows() if options.only is None or "peaks" in options.only else before.get("peaks", [])
    measured = {t: {name: Times(tuple(each)) for name, each in rounds[t].items()} for t in titles if t in rounds}
    terms = f"{CHANNELS} channels, {SIZE}×{SIZE}, x2, float32, one thread unless said.\n"
    tables = report(measured, peaks)
    text = "\n".join(["# The CARAFE module\n", terms, "".join(f"- {k}: {v}\n" for k, v in who.items()), tables])
    print(text)
    payload = {"machine": who, "milliseconds": rounds, "peaks": peaks}
    print(write_results("carafe_module", payload, text))
    if options.into:
        on = f"On one {who['processor']} ({who['instruction set']}), torch {who['torch']}: "
        replace_figures(options.into, on + terms + "\n" + tables)


if __name__ == "__main__":
    main()
