"""How long every upsampler takes, and what it saves over the plain way: ``python benchmarks/upsamplers.py``.

Forward, training step (forward and all gradients), peak memory of that step, parameters and multiply-adds, at
C = 256, 64 x 64 and C = 64, 128 x 128, by 2; beside each method that calls an operator of karaffe, the same module with
the operators' plain PyTorch forms in their places (``plain_upsamplers.py``), and these calls alone, convolutions
excluded. Nothing is timed before it was compared with the plain form. Both take turns, and a ratio is the median of the
rounds' ratios. Every measurement is written to ``results`` when it is done, and one that is there is not made again
(``--again`` does): ``--for 30`` stops before it would last longer, and the next call goes on.
"""

from __future__ import annotations

import argparse
import ctypes
import fnmatch
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from common import machine, results_path, write_results
from plain_upsamplers import GRID_SAMPLE, UNFOLD, NoPlainForm, Recorded, calls_of, plainly
from torch import Tensor

from karaffe.evaluation.speed import Times
from karaffe.upsamplers import MaxUnpool, Upsampler, create_upsampler, describe_upsampler, list_upsamplers

SHAPES = ((1, 256, 64, 64), (1, 64, 128, 128))
QUICK = ((1, 32, 12, 12),)
TOLERANCE = 1e-4
# Published variants of a method that have a line of their own.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dysample, dynamic scope": ("dysample", {"dyscope": True}),
    "dysample, pl": ("dysample", {"style": "pl", "groups": 8}),
    "dysample, pl, dynamic scope": ("dysample", {"style": "pl", "groups": 8, "dyscope": True}),
    "freqfusion, sampler": ("freqfusion", {"feature_resample": True}),
}
# The plain way of a step is left out where one of its tensors would have more values, 1 and 1.4 GiB in float32: it
# keeps several. Of the training step, which keeps them all, a smaller one.
LARGEST, LARGEST_OF_STEP = 360_000_000, 260_000_000
# A call that takes longer is not warmed up: its first round counts.
LONG = 4.0


def labels(pattern: str) -> list[str]:
    """Every method, each followed by its variants, that match."""
    every = [
        label for name in list_upsamplers() for label in (name, *(v for v, (of, _) in VARIANTS.items() if of == name))
    ]
    return [label for label in every if any(fnmatch.fnmatchcase(label, p) for p in pattern.split(";"))]


def take_turns(calls: dict[str, Callable[[], Any]], device: str, seconds: float) -> dict[str, Times]:
    """Time the calls in rounds, each once a round, at least three rounds, after one to warm up.

    With one CPU thread it is the processor's time, which other processes on the machine lengthen less than they do the
    wall clock's.
    """
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in calls}
    began, rounds = time.perf_counter(), 0
    long = False
    while rounds < 4 or (time.perf_counter() - began < seconds * len(calls) and rounds < 200):
        for name, call in calls.items():
            start = clock()
            call()
            wait()
            times[name].append(1e3 * (clock() - start))
        rounds += 1
        if rounds == 1:
            long = time.perf_counter() - began > LONG
        if long and time.perf_counter() - began > 2 * LONG:
            break
    return {name: Times(tuple(found if long else found[1:])) for name, found in times.items()}


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


def step_of(call: Callable[[], list[Tensor]], leaves: list[Tensor]) -> Callable[[], Any]:
    """Forward and all gradients of the results that ``call`` gives."""
    upstream = [torch.randn_like(y) for y in call()]
    return lambda: torch.autograd.grad(call(), leaves, upstream, allow_unused=True)


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


def shaken(name: str, channels: int, device: str, options: dict[str, Any]) -> Upsampler:
    """Parameters away from their start, so that a comparison means something."""
    torch.manual_seed(0)
    module = create_upsampler(name, channels, **options).to(device).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return module


@dataclass
class Subject:
    """One method at one shape, and what there is to measure of it."""

    label: str
    shape: tuple[int, ...]
    device: str
    seconds: float
    name: str = field(init=False)
    module: Upsampler = field(init=False)

    def __post_init__(self) -> None:
        self.name, options = VARIANTS.get(self.label, (self.label, {}))
        self.module = shaken(self.name, self.shape[1], self.device, options)

    @cached_property
    def arguments(self) -> list[Tensor]:
        return arguments_of(self.name, self.module, self.shape, self.device)

    @cached_property
    def calls(self) -> list[Recorded]:
        """The operators' calls; none where a plain form is missing."""
        calls = calls_of(self.module, self.arguments)
        try:
            with torch.no_grad():
                for call in calls:
                    if call.largest() <= LARGEST:
                        compare(call.ours(), call.plain(), f"{self.label}'s {call.form.name}")
        except NoPlainForm as reason:
            print(f"{self.label}: no plain form of {reason}")
            return []
        return calls

    def ways(self, limit: int) -> dict[str, Callable[[], list[Tensor]]]:
        """The whole module, ours and, where it fits, plainly."""

        def plain() -> list[Tensor]:
            with plainly():
                return [self.module(*self.arguments)]

        found: dict[str, Callable[[], list[Tensor]]] = {"ours": lambda: [self.module(*self.arguments)]}
        if self.calls and max(c.largest() for c in self.calls) <= limit:
            found["plain"] = plain
        return found

    @property
    def leaves(self) -> list[Tensor]:
        of_call = [a.requires_grad_() for a in self.arguments if a.is_floating_point()]
        return of_call + [p for p in self.module.parameters() if p.requires_grad]

    def forward(self) -> dict[str, Any]:
        with torch.no_grad():
            ways = self.ways(LARGEST)
            if "plain" in ways:
                compare(ways["ours"]()[0], ways["plain"]()[0], self.label)
            return summary(take_turns(ways, self.device, self.seconds))

    def steps(self) -> dict[str, Callable[[], Any]]:
        return {way: step_of(call, self.leaves) for way, call in self.ways(LARGEST_OF_STEP).items()}

    def step(self) -> dict[str, Any]:
        return summary(take_turns(self.steps(), self.device, self.seconds))

    def memory(self) -> dict[str, Any]:
        return {way: peak_memory(step, self.device) for way, step in self.steps().items()}

    def alone(self, by: str, limit: int) -> dict[str, Callable[[], list[Tensor]]] | None:
        """The calls of one kind, ours and plainly; ``None``: there are none, or they do not fit."""
        calls = [c for c in self.calls if c.form.by == by]
        if not calls or max(c.largest() for c in calls) > limit:
            return None
        return {"ours": lambda: [c.ours() for c in calls], "plain": lambda: [c.plain() for c in calls]}

    def calls_forward(self, by: str) -> dict[str, Any] | None:
        ways = self.alone(by, LARGEST)
        if ways is None:
            return None
        with torch.no_grad():
            return summary(take_turns(ways, self.device, self.seconds))

    def calls_step(self, by: str) -> dict[str, Any] | None:
        ways = self.alone(by, LARGEST_OF_STEP)
        if ways is None:
            return None
        leaves = [t for c in self.calls if c.form.by == by for t in c.tensors]
        return summary(
            take_turns({way: step_of(call, leaves) for way, call in ways.items()}, self.device, self.seconds)
        )


MEASUREMENTS: dict[str, Callable[[Subject], dict[str, Any] | None]] = {
    "forward": Subject.forward,
    "step": Subject.step,
    "memory": Subject.memory,
    "reassembly": lambda s: s.calls_forward(UNFOLD),
    "reassembly_step": lambda s: s.calls_step(UNFOLD),
    "sampling": lambda s: s.calls_forward(GRID_SAMPLE),
    "sampling_step": lambda s: s.calls_step(GRID_SAMPLE),
}


def summary(times: dict[str, Times]) -> dict[str, Any]:
    """Medians and quartiles in ms, and how many times the plain way's time is ours, round by round."""
    found: dict[str, Any] = {
        way: [t.median, *(t.quartiles if len(t.rounds) > 1 else (t.median, t.median))] for way, t in times.items()
    }
    if "plain" in times:
        found["ratio"] = times["plain"].over(times["ours"])
    return found


def table(rows: list[dict[str, Any]], where: dict[str, str]) -> str:
    """Markdown, one section a shape; losses are in it as everything else."""
    lines = [
        "# Upsamplers",
        "",
        "By 2, float32. Median [quartiles] of the rounds' times in ms; with one thread it is processor time. ×: the",
        "plain way's time by ours, in the same rounds. Plain: the module with its operators' plain PyTorch forms in",
        "their places. Reassembly, sampling: these calls alone, without convolutions, against unfolding and against",
        "`F.grid_sample`, forward / training step. –: there is no such call, or the plain way would not fit.",
        "MMAC and memory: of one map; image-guided methods with an image of the target's size.",
        "",
    ]
    commits = sorted({r["commit"] for r in rows})
    lines += [f"- {key}: {value}" for key, value in (where | {"commit": ", ".join(commits)}).items()]
    for shape in dict.fromkeys(tuple(r["shape"]) for r in rows):
        lines += [
            "",
            f"## {'×'.join(map(str, shape))}",
            "",
            "| method | parameters | MMAC | forward ms | plain × | training step ms | plain × | step MiB | plain MiB "
            "| reassembly × | sampling × |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        lines += [line(r) for r in rows if tuple(r["shape"]) == shape]
    return "\n".join(lines) + "\n"


def line(r: dict[str, Any]) -> str:
    def times(key: str) -> str:
        if not r.get(key):
            return "–"
        middle, low, high = r[key]["ours"]
        return f"{middle:.2f} [{low:.2f}–{high:.2f}]"

    def ratio(key: str) -> str:
        return f"{r[key]['ratio']:.2f}"[:4].rstrip(".") if (r.get(key) or {}).get("ratio") else "–"

    def memory(way: str) -> str:
        found = (r.get("memory") or {}).get(way)
        return "–" if found is None else f"{found:.0f}"

    cells = [r["label"], f"{r['parameters']:,}", f"{r['macs'] / 1e6:,.1f}", times("forward"), ratio("forward")]
    cells += [times("step"), ratio("step"), memory("ours"), memory("plain")]
    cells += [f"{ratio(k)} / {ratio(k + '_step')}".replace("– / –", "–") for k in ("reassembly", "sampling")]
    return f"| {' | '.join(cells)} |"


class Results:
    """The rows of this machine, in a file that grows with every measurement."""

    def __init__(self, device: str, threads: int) -> None:
        self.where = machine() | {"threads": str(threads)}
        if device == "cuda":
            self.where["accelerator"] = torch.cuda.get_device_name()
        self.name = "upsamplers" if device == "cpu" else "upsamplers_cuda"
        path = results_path(self.name, self.where)
        stored = json.loads(path.read_text())["rows"] if path.is_file() else []
        self.rows = {(r["label"], tuple(r["shape"])): r for r in stored if "label" in r}

    def row(self, label: str, shape: tuple[int, ...]) -> dict[str, Any]:
        return self.rows.setdefault((label, shape), {"label": label, "shape": list(shape)})

    def save(self) -> Path:
        order = [(label, shape) for shape in SHAPES for label in labels("*")]
        rows = [self.rows[at] for at in order if "parameters" in self.rows.get(at, {})]
        return write_results(self.name, {"machine": self.where, "rows": rows}, table(rows, self.where))


def todo(results: Results, chosen: list[str], wanted: list[str], again: bool) -> Iterator[tuple[dict, list[str]]]:
    """Rows and what there is to measure of each."""
    for shape in SHAPES:
        for label in chosen:
            row = results.row(label, shape)
            missing = [m for m in wanted if again or m not in row]
            if missing:
                yield row, missing


def measured(subject: Subject, missing: list[str], row: dict[str, Any]) -> Iterator[str]:
    """Fill the row, one measurement after the other."""
    cost = subject.module.cost(subject.shape[2:])
    row |= {"parameters": cost.parameters, "macs": cost.macs}
    for name in missing:
        row[name] = MEASUREMENTS[name](subject)
        yield name


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filter", default="*", help="shell patterns of names, separated by semicolons")
    parser.add_argument("--measure", default=",".join(MEASUREMENTS), help="which measurements, separated by commas")
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="a call and measurement")
    parser.add_argument("--for", dest="limit", type=float, default=float("inf"), help="start nothing after so many s")
    parser.add_argument("--list", action="store_true", help="say what is missing, measure nothing")
    parser.add_argument("--quick", action="store_true", help="one tiny shape, nothing written: does everything run?")
    return parser.parse_args()


def main() -> None:
    began, options = time.monotonic(), parsed()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    chosen, wanted = labels(options.filter), options.measure.split(",")
    if options.quick:
        for shape in QUICK:
            for label in chosen:
                row: dict[str, Any] = {"label": label, "shape": shape}
                list(measured(Subject(label, shape, options.device, 0.0), wanted, row))
                print(line(row), flush=True)
        return
    results = Results(options.device, options.threads)
    for row, missing in todo(results, chosen, wanted, options.again):
        if options.list:
            print(row["label"], row["shape"], *missing)
            continue
        subject = Subject(row["label"], tuple(row["shape"]), options.device, options.seconds)
        for name in measured(subject, missing, row):
            row["commit"] = results.where["commit"]
            results.save()
            print(row["label"], row["shape"], name, row[name], flush=True)
            if time.monotonic() - began > options.limit:
                return
        del subject
    if not options.list:
        print(results.save())


if __name__ == "__main__":
    main()
