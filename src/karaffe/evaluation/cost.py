"""What an enlargement costs: parameters, multiply-adds as executed, time and memory.

The papers' yardstick: one luma plane enlarged to 1280x720.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from karaffe.errors import ArgumentError, BackendError
from karaffe.models import describe_model, list_models, multiply_adds, open_model

WIDTH, HEIGHT = 1280, 720
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """Of enlarging one channel to 1280x720 (or the largest multiple of the scale below).

    Attributes:
        parameters: Learned numbers. macs: Multiply-adds that are executed.
        milliseconds: Median wall clock of a forward pass on the CPU with ``threads`` threads; ``spread``: between
            its quartiles.
        peak_bytes: Memory beyond what a process holds that has loaded torch and the model, at its highest; None where
            the system is not Linux.
    """

    model: str
    parameters: int
    macs: int
    milliseconds: float
    spread: float
    threads: int
    peak_bytes: int | None


def measure_cost(model: str, scale: int, *, repeats: int = 7) -> Cost:
    """Measure one of :func:`karaffe.models.list_models`, or a file of weights, on the CPU, in float32.

    Raises:
        UnknownNameError, ArgumentError: No such model, no such scale, or ``repeats`` below one.
        FileError: The weights cannot be read.
        BackendError: The process that measures memory fails.
    """
    if repeats < 1:
        raise ArgumentError(f"repeats must be at least 1, got {repeats}")
    network = open_model(model, scale)
    known = model in list_models()
    macs = describe_model(model).macs_per_source_pixel(scale) if known else multiply_adds(network)
    x = _input(scale)
    times = []
    with torch.inference_mode():
        network(x)
        for _ in range(repeats):
            start = time.perf_counter()
            network(x)
            times.append(1000 * (time.perf_counter() - start))
    quartiles = statistics.quantiles(times, n=4) if repeats > 1 else [times[0]] * 3
    return Cost(
        model,
        parameters=sum(p.numel() for p in network.parameters()),
        macs=macs * x.shape[2] * x.shape[3],
        milliseconds=statistics.median(times),
        spread=quartiles[2] - quartiles[0],
        threads=torch.get_num_threads(),
        peak_bytes=_peak_of_a_process(model, scale),
    )


def _input(scale: int) -> Tensor:
    return torch.rand(1, 1, HEIGHT // scale, WIDTH // scale, generator=torch.Generator().manual_seed(0))


def _peak_of_a_process(model: str, scale: int) -> int | None:
    """Run one pass in a process of its own, whose memory nobody has used before; None where there is no /proc."""
    if not _CLEAR.exists():
        return None
    code = "import sys; from karaffe.evaluation.cost import peak_here; print(peak_here(sys.argv[1], int(sys.argv[2])))"
    found = subprocess.run([sys.executable, "-c", code, model, str(scale)], capture_output=True, text=True, check=False)
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or ["no message"])[-1]
        raise BackendError(f"cannot measure the memory of {model!r} in a process of its own: {reason}")
    return int(found.stdout)


def peak_here(model: str, scale: int) -> int:
    """Return by how many bytes one pass raises the memory of this process."""
    network, x = open_model(model, scale), _input(scale)
    with torch.inference_mode():
        network(x[:, :, :32, :32])
        _CLEAR.write_text("5")  # Linux forgets the highest use so far.
        before = _memory("VmRSS")
        network(x)
    return _memory("VmHWM") - before


def _memory(field: str) -> int:
    return 1024 * int(re.findall(rf"^{field}:\s*(\d+) kB", _STATUS.read_text(), re.MULTILINE)[0])
