"""How long every upsampler takes, and what it saves over the plain way: ``python benchmarks/upsamplers.py``.

Forward, training step (forward and all gradients), peak memory of that step, parameters and multiply-adds, at
C = 256, 64 x 64 and C = 64, 128 x 128, by 2; beside each method whose resampling has a plain PyTorch form
(``plain_upsamplers.py``), that form, and the resampling alone, convolutions excluded. Nothing is timed before it was
compared with the plain form. Medians, with the range of the middle half. Writes a table (``--out``) and JSON beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from plain_upsamplers import RESAMPLINGS, plain_module
from torch import Tensor

import karaffe
from karaffe.upsamplers import MaxUnpool, Upsampler, create_upsampler, describe_upsampler, list_upsamplers

SHAPES = ((1, 256, 64, 64), (1, 64, 128, 128))
QUICK = ((1, 32, 12, 12),)
TOLERANCE = 1e-4


def measure(call: Callable[[], Any], device: str, seconds: float) -> tuple[float, float, float]:
    """Median and quartiles in milliseconds; one call to warm up, at least three measured.

    With one CPU thread it is the processor's time, which other processes on the machine do not lengthen as they do the
    wall clock's.
    """
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    call()
    wait()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < 3 or (time.perf_counter() < until and len(times) < 200):
        start = clock()
        call()
        wait()
        times.append(1e3 * (clock() - start))
    low, _, high = statistics.quantiles(times, n=4)
    return statistics.median(times), low, high


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
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmHWM")
        call()
        return (resident("VmHWM") - before) / 2**10
    except OSError:
        return None


def resident(field: str) -> int:
    """A line of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field)))


def training_step(call: Callable[[], Tensor], leaves: list[Tensor]) -> Callable[[], Any]:
    upstream = torch.randn_like(call())
    return lambda: torch.autograd.grad(call(), leaves, upstream)


def arguments_of(name: str, shape: tuple[int, ...], device: str) -> list[Tensor]:
    x = torch.randn(shape, device=device)
    guide = torch.randn(*shape[:2], *(2 * n for n in shape[2:]), device=device)
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
    module = create_upsampler(name, channels).to(device)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return module


def row(name: str, shape: tuple[int, ...], device: str, seconds: float) -> dict[str, Any]:
    """Everything about one method at one shape."""
    module = shaken(name, shape[1], device)
    arguments = arguments_of(name, shape, device)
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
    for way, call in ways:
        with torch.no_grad():
            result[f"{way}_forward"] = measure(call, device, seconds)
        step = training_step(call, leaves)
        result[f"{way}_step"] = measure(step, device, seconds)
        result[f"{way}_memory"] = peak_memory(step, device)
    if name in RESAMPLINGS:
        result.update(resampling(name, module, x, guide, device, seconds))
    return result


def resampling(name: str, module: Upsampler, x: Tensor, guide: Tensor, device: str, seconds: float) -> dict[str, Any]:
    """The method without its convolutions, on tensors that these have computed."""
    parts = RESAMPLINGS[name]
    tensors = [t.detach().requires_grad_() for t in parts.prepare(module, x, guide)]
    result: dict[str, Any] = {"against": parts.by}
    for way, function in (("ours", parts.ours), ("plain", parts.plain)):
        with torch.no_grad():
            result[f"{way}_resampling"] = measure(lambda f=function: f(*tensors), device, seconds)
        step = training_step(lambda f=function: f(*tensors), tensors)
        result[f"{way}_resampling_step"] = measure(step, device, seconds)
    return result


def machine(device: str) -> str:
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        name = names[0] if names else name
    threads = torch.get_num_threads()
    where = torch.cuda.get_device_name() if device == "cuda" else f"{name}, {threads} thread{'s' * (threads > 1)}"
    load = f", load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores" if device == "cpu" else ""
    return f"{where}{load}; torch {torch.__version__}, karaffe {karaffe.__version__}"


def table(rows: list[dict[str, Any]], where: str) -> str:
    """Markdown, one section a shape; losses are in it as everything else."""
    lines = ["# Upsamplers, by 2, float32", "", "`python benchmarks/upsamplers.py` wrote this.", "", where, ""]
    for shape in dict.fromkeys(tuple(r["shape"]) for r in rows):
        lines += [
            f"## {shape}",
            "",
            "ms: median [middle half]; processor time where one thread was used. "
            "plain: the method in plain PyTorch. × : plain / ours. "
            "Resampling: convolutions excluded, forward / training step, against the named form.",
            "",
            "| method | parameters | MMAC | forward ms | plain × | training step ms | plain × | step MiB | plain MiB "
            "| resampling × |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        lines += [line(r) for r in rows if tuple(r["shape"]) == shape]
        lines.append("")
    return "\n".join(lines)


def line(r: dict[str, Any]) -> str:
    def times(key: str) -> str:
        middle, low, high = r[key]
        return f"{middle:.2f} [{low:.2f}–{high:.2f}]"

    def ratio(key: str) -> str:
        return f"{r[f'plain_{key}'][0] / r[f'ours_{key}'][0]:.1f}" if f"plain_{key}" in r else "–"

    def memory(key: str) -> str:
        return "–" if r.get(key) is None else f"{r[key]:.0f}"

    parts = f"{ratio('resampling')} / {ratio('resampling_step')} {r['against']}" if "against" in r else "–"
    cells = [r["name"], f"{r['parameters']:,}", f"{r['macs'] / 1e6:,.1f}", times("ours_forward"), ratio("forward")]
    cells += [times("ours_step"), ratio("step"), memory("ours_memory"), memory("plain_memory"), parts]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="markdown file; the numbers go beside it as .json")
    parser.add_argument("--filter", default="*", help="shell pattern of names")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="per measurement")
    parser.add_argument("--quick", action="store_true", help="one tiny shape, to see that everything runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    rows = []
    for shape in QUICK if options.quick else SHAPES:
        for name in list_upsamplers(options.filter):
            rows.append(row(name, shape, options.device, options.seconds))
            print(line(rows[-1]), flush=True)
    where = machine(options.device)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(table(rows, where))
        options.out.with_suffix(".json").write_text(json.dumps({"machine": where, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
