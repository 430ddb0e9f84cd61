"""How long every upsampler takes, and what it saves over the plain way: ``python benchmarks/upsamplers.py``.

Forward, training step (forward and all gradients), peak memory of that step, parameters and multiply-adds, at
C = 256, 64 x 64 and C = 64, 128 x 128, by 2; beside each method whose resampling has a plain PyTorch form
(``plain_upsamplers.py``), that form, and the resampling alone, convolutions excluded. Nothing is timed before it was
compared with the plain form. Both take turns, and a ratio is the median of the rounds' ratios. Writes to ``results``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import machine, results_path, write_results
from plain_upsamplers import RESAMPLINGS, plain_module
from torch import Tensor

from karaffe.evaluation.speed import Times
from karaffe.upsamplers import MaxUnpool, Upsampler, create_upsampler, describe_upsampler, list_upsamplers

SHAPES = ((1, 256, 64, 64), (1, 64, 128, 128))
QUICK = ((1, 32, 12, 12),)
TOLERANCE = 1e-4


def take_turns(calls: dict[str, Callable[[], Any]], device: str, seconds: float) -> dict[str, Times]:
    """Time the calls in rounds, each once a round, at least three rounds, after one to warm up.

    With one CPU thread it is the processor's time, which other processes on the machine lengthen less than they do the
    wall clock's.
    """
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    until = time.perf_counter() + seconds * len(calls)
    rounds = 0
    while rounds < 4 or (time.perf_counter() < until and rounds < 200):
        for name, call in calls.items():
            start = clock()
            call()
            wait()
            times[name].append(1e3 * (clock() - start))
        rounds += 1
    return {name: Times(tuple(found[1:])) for name, found in times.items()}


def peak_memory(call: Callable[[], Any], device: str) -> float | None:
    """MiB that a call takes on top of what was held before; on the CPU from the kernel's high-water mark."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what the allocator holds free would not show as new
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmHWM")
        call()
        return (resident("VmHWM") - before) / 2**10
    except (OSError, AttributeError):
        return None


def resident(field: str) -> int:
    """A line of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field)))


def training_step(call: Callable[[], Tensor], leaves: list[Tensor]) -> Callable[[], Any]:
    upstream = torch.randn_like(call())
    return lambda: torch.autograd.grad(call(), leaves, upstream)


def arguments_of(name: str, module: Upsampler, shape: tuple[int, ...], device: str) -> list[Tensor]:
    x = torch.randn(shape, device=device)
    channels = module.guide_channels or shape[1]
    guide = torch.randn(shape[0], channels, *(2 * n for n in shape[2:]), device=device)
    if name == "max-unpool":
        return [x, MaxUnpool.make_pair()[0](guide)[1]]
    return [x, guide] if describe_upsampler(name).needs_guide else [x]


def compare(got: Tensor, wanted: Tensor, name: str) -> None:
    error = (got - wanted).abs().max().item()
    if error > TOLERANCE * max(1.0, wanted.abs().max().item()):
        sys.exit(f"{name}: ours and the plain way differ by {error:.1e}; nothing is reported")


def shaken(name: str, channels: int, device: str) -> Upsampler:
    """Parameters away from their start, so that a comparison means something."""
    torch.manual_seed(0)
    module = create_upsampler(name, channels).to(device).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return module


def row(name: str, shape: tuple[int, ...], device: str, seconds: float) -> dict[str, Any]:
    """Everything about one method at one shape."""
    module = shaken(name, shape[1], device)
    arguments = arguments_of(name, module, shape, device)
    x, guide = arguments[0], arguments[-1]
    cost = module.cost(shape[2:])
    result: dict[str, Any] = {"name": name, "shape": list(shape), "parameters": cost.parameters, "macs": cost.macs}
    leaves = [a.requires_grad_() for a in arguments if a.is_floating_point()] + list(module.parameters())
    with torch.no_grad():
        plain = plain_module(module, x, guide)
        if plain is not None:
            compare(module(*arguments), plain, name)
    ways: list[tuple[str, Callable[[], Tensor]]] = [("ours", lambda: module(*arguments))]
    if plain is not None:
        ways.append(("plain", lambda: plain_module(module, x, guide)))  # type: ignore[return-value, arg-type]
    del plain
    calls = dict(ways)
    with torch.no_grad():
        result["forward"] = summary(take_turns(calls, device, seconds))
    steps = {way: training_step(call, leaves) for way, call in calls.items()}
    result["step"] = summary(take_turns(steps, device, seconds))
    result["memory"] = {way: peak_memory(step, device) for way, step in steps.items()}
    if name in RESAMPLINGS:
        result |= resampling(name, module, x, guide, device, seconds)
    return result


def summary(times: dict[str, Times]) -> dict[str, Any]:
    """Medians and quartiles in ms, and how many times the plain way's time is ours, round by round."""
    found: dict[str, Any] = {way: [t.median, *t.quartiles] for way, t in times.items()}
    if "plain" in times:
        found["ratio"] = times["plain"].over(times["ours"])
    return found


def resampling(name: str, module: Upsampler, x: Tensor, guide: Tensor, device: str, seconds: float) -> dict[str, Any]:
    """The method without its convolutions, on tensors that these have computed."""
    parts = RESAMPLINGS[name]
    tensors = [t.detach().requires_grad_() for t in parts.prepare(module, x, guide)]
    calls = {"ours": lambda: parts.ours(*tensors), "plain": lambda: parts.plain(*tensors)}
    with torch.no_grad():
        forward = take_turns(calls, device, seconds)
    steps = take_turns({way: training_step(call, tensors) for way, call in calls.items()}, device, seconds)
    return {"against": parts.by, "resampling": summary(forward), "resampling_step": summary(steps)}


def table(rows: list[dict[str, Any]], where: dict[str, str]) -> str:
    """Markdown, one section a shape; losses are in it as everything else."""
    lines = ["# Upsamplers", "", "By 2, float32. Median [quartiles] of the rounds' times in ms; with one thread it is"]
    lines += [
        "processor time. Plain: the method in plain PyTorch; ×: its time by ours, in the same rounds. Resampling:"
    ]
    lines += ["without convolutions, forward / training step, by the named form. MMAC and memory: of one map.", ""]
    lines += [f"- {key}: {value}" for key, value in where.items()]
    for shape in dict.fromkeys(tuple(r["shape"]) for r in rows):
        lines += ["", f"## {'×'.join(map(str, shape))}", ""]
        lines += [
            "| method | parameters | MMAC | forward ms | plain × | training step ms | plain × | step MiB | plain MiB "
            "| resampling × |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        lines += [line(r) for r in rows if tuple(r["shape"]) == shape]
    return "\n".join(lines) + "\n"


def with_earlier(rows: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The rows of an earlier run on this machine, those measured now replaced, in the registry's order."""
    earlier = json.loads(path.read_text())["rows"] if path.is_file() else []
    every = {(r["name"], tuple(r["shape"])): r for r in (*earlier, *rows)}
    return [every[name, shape] for shape in SHAPES for name in list_upsamplers() if (name, shape) in every]


def line(r: dict[str, Any]) -> str:
    def times(key: str) -> str:
        middle, low, high = r[key]["ours"]
        return f"{middle:.2f} [{low:.2f}–{high:.2f}]"

    def ratio(key: str) -> str:
        return f"{r[key]['ratio']:.1f}" if "ratio" in r[key] else "–"

    def memory(way: str) -> str:
        return "–" if r["memory"].get(way) is None else f"{r['memory'][way]:.0f}"

    parts = f"{ratio('resampling')} / {ratio('resampling_step')} {r['against']}" if "against" in r else "–"
    cells = [r["name"], f"{r['parameters']:,}", f"{r['macs'] / 1e6:,.1f}", times("forward"), ratio("forward")]
    cells += [times("step"), ratio("step"), memory("ours"), memory("plain"), parts]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filter", default="*", help="shell pattern of names; the others' rows are kept as they were")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="a call and measurement")
    parser.add_argument("--quick", action="store_true", help="one tiny shape, nothing written: does everything run?")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    rows = []
    for shape in QUICK if options.quick else SHAPES:
        for name in list_upsamplers(options.filter):
            rows.append(row(name, shape, options.device, options.seconds))
            print(line(rows[-1]), flush=True)
    where = machine() | {"threads": str(options.threads)}
    if options.device == "cuda":
        where["accelerator"] = torch.cuda.get_device_name()
    if not options.quick:
        name = "upsamplers" if options.device == "cpu" else "upsamplers_cuda"
        rows = with_earlier(rows, results_path(name, where))
        print(write_results(name, {"machine": where, "rows": rows}, table(rows, where)))


if __name__ == "__main__":
    main()
