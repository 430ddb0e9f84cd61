"""Timing calls side by side, and the plain-PyTorch forms of reassembly that the operators are compared with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Call = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Milliseconds a call, one entry a round."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, _, high = statistics.quantiles(self.rounds, n=4)
        return low, high

    def over(self, other: Times) -> float:
        """Median of the rounds' ratios ``self / other``: what slows a whole round cancels."""
        return statistics.median(a / b for a, b in zip(self.rounds, other.rounds, strict=True))


def interleave(calls: Mapping[str, Call], rounds: int, seconds: float = 0.01) -> dict[str, Times]:
    """Time every call once a round, each for about ``seconds``, after one call to warm up.

    The calls take turns, so that what slows the machine for a while meets all alike.
    """
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, min(200, int(seconds / (time.perf_counter() - start))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - start) / repeats[name] * 1e3)
    return {name: Times(tuple(t)) for name, t in times.items()}


def unfold_copy(x: Tensor, kernels: Tensor, k: int, s: int) -> Tensor:
    """Reassembly as it is usually written in plain PyTorch: unfold, multiply, sum, at source resolution.

    Args:
        x: ``(N, C, H, W)``.
        kernels: ``(N, k*k, s*H, s*W)``.
        k: taps an axis, odd.
        s: targets a source pixel, an axis.
    """
    n, c, h, w = x.shape
    windows = F.unfold(x, k, padding=k // 2).view(n, c, k * k, h, 1, w, 1)
    return (windows * kernels.view(n, 1, k * k, h, s, w, s)).sum(2).view(n, c, s * h, s * w)


def enlarged_unfold_copy(x: Tensor, kernels: Tensor, k: int, s: int) -> Tensor:
    """The other usual way, which enlarges the unfolded map before it multiplies; arguments as :func:`unfold_copy`."""
    n, c, h, w = x.shape
    windows = F.unfold(x, k, padding=k // 2).view(n, c * k * k, h, w)
    enlarged = F.interpolate(windows, scale_factor=s, mode="nearest").view(n, c, k * k, s * h, s * w)
    return (enlarged * kernels.unsqueeze(1)).sum(2)


def shifted_slices(x: Tensor, kernels: Tensor, k: int, s: int) -> Tensor:
    """k² shifted slices of the padded map, each multiplied and added: the form to compile; arguments as above."""
    n, c, h, w = x.shape
    padded = F.pad(x, (k // 2,) * 4)
    by_tap = kernels.view(n, k * k, 1, h, s, w, s)
    out = torch.zeros(n, c, h, s, w, s)
    for t in range(k * k):
        i, j = divmod(t, k)
        out = out + padded[:, :, i : i + h, j : j + w].reshape(n, c, h, 1, w, 1) * by_tap[:, t]
    return out.reshape(n, c, s * h, s * w)
