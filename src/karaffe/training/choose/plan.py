"""How long to train: measured step times, and the number of steps that a budget allows."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from karaffe.errors import ArgumentError, FileError
from karaffe.training.choose.outcome import Cost

# Measuring, reading and writing take their part too.
USABLE = 0.85
FEWEST, MOST, GRAIN = 200, 40_000, 50
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_budget(text: str) -> float:
    """Return seconds of ``"90s"``, ``"20m"``, ``"2h"`` or ``"1.5h"``.

    Raises:
        ArgumentError: text of another form, or no time at all.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d)\s*", text)
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not seconds:
        raise ArgumentError(f"budget must be a time such as 90s, 20m or 2h; got {text!r}")
    return seconds


def measure_step(network: nn.Module, source: Tensor, loss: Callable[[Tensor], Tensor], *, repeats: int = 3) -> Cost:
    """Measure a training step (forward, ``loss``, backward, AdamW) on the tensors' device, and count its costs."""
    parameters = sum(p.numel() for p in network.parameters())
    network.eval()  # Batch normalisation cannot be trained on one value a channel.
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(source[:1])
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    times = []
    for repeat in range(repeats + 1):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss(network(source)).backward()
        optimizer.step()
        if source.is_cuda:
            torch.cuda.synchronize()
        if repeat:  # The first warms up.
            times.append(time.perf_counter() - start)
    return Cost(parameters, counter.get_total_flops() // 2, statistics.median(times))


def steps_within(budget: float, costs: Mapping[str, Cost], seeds: int, jobs: int) -> int:
    """Return how many steps every run can take, so that all of them fit into ``budget`` seconds.

    Raises:
        ArgumentError: fewer than 200, with which nothing can be learned; the message says what would do.
    """
    together = seeds * sum(cost.seconds for cost in costs.values()) / jobs
    steps = int(USABLE * budget / together + 1e-6) // GRAIN * GRAIN
    if steps < FEWEST:
        needed = FEWEST * together / USABLE
        raise ArgumentError(
            f"a budget of {budget:.0f} s is too small: {seeds * len(costs)} runs of {FEWEST} steps take about "
            f"{needed:.0f} s here; give at least that, or fewer upsamplers, seeds, or a smaller size"
        )
    return min(steps, MOST)


def load_plan(path: Path, wanted: Mapping[str, Any]) -> tuple[int, dict[str, Cost]] | None:
    """Return steps and costs of a choice that was begun, or None.

    Raises:
        ArgumentError: it was begun with other settings; they are named.
        FileError: the file cannot be read.
    """
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        costs = {name: Cost(**cost) for name, cost in kept["costs"].items()}
        steps, settings = int(kept["steps"]), kept["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"cannot read {path}: {error}") from error
    plain = json.loads(json.dumps(wanted))
    changed = [key for key in plain if plain[key] != settings.get(key)]
    if changed:
        lines = "; ".join(f"{key} was {settings.get(key)!r} and is {plain[key]!r}" for key in changed)
        raise ArgumentError(f"{path.parent} holds a choice with other settings ({lines}); choose another folder")
    return steps, costs


def save_plan(path: Path, steps: int, costs: Mapping[str, Cost], settings: Mapping[str, Any]) -> None:
    """Write steps, costs, where these were measured, and settings; a choice goes on with them."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    value = {
        "steps": steps,
        "device": device,
        "costs": {k: asdict(v) for k, v in costs.items()},
        "settings": settings,
    }
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    scratch.replace(path)
