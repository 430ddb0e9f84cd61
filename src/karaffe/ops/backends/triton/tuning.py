"""Which block a kernel runs with: timed once for calls of about the same size, and remembered.

A choice changes no bit of a result (:class:`.call.Block`). No timing takes place while a CUDA graph is captured, in
the interpreter, or with ``KARAFFE_TRITON_TUNE=0``: there the first block of the list serves: the one whose
compiled code for sm_90 spills nothing and keeps the most in registers. None of them has been timed on a GPU yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

Choice = TypeVar("Choice")
RUNS = 5

_chosen: dict[tuple[Any, ...], Any] = {}


def best(
    kernel: Any,
    key: tuple[Any, ...],
    choices: Sequence[Choice],
    run: Callable[[Choice], None],
    device: torch.device,
    capturing: bool,
) -> Choice:
    """The fastest of ``choices`` by ``run``; the first where nothing may be timed."""
    key = (kernel.__name__, *key)
    if key in _chosen:
        return _chosen[key]
    if capturing or len(choices) == 1 or device.type != "cuda" or os.environ.get("KARAFFE_TRITON_TUNE") == "0":
        return choices[0]
    times = [_milliseconds(lambda: run(choice)) for choice in choices]  # noqa: B023 (called at once)
    _chosen[key] = choices[times.index(min(times))]
    return _chosen[key]


def forget() -> None:
    """Time again at the next call."""
    _chosen.clear()


def _milliseconds(run: Callable[[], None]) -> float:
    """The shortest of a few runs behind one that compiles."""
    run()
    times = []
    for _ in range(RUNS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return min(times)
