"""The three contractions as one value, so that a formula built of them says once who computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from karaffe.ops.backends import reference


class Contractions(NamedTuple):
    """Who computes each operator, all with the low-level signatures."""

    reassemble: Callable[..., Tensor]
    correlate: Callable[..., Tensor]
    scatter: Callable[..., Tensor]


FORMULAS = Contractions(reference.reassemble, reference.correlate, reference.scatter)


@dataclass(frozen=True)
class Bound:
    """The contractions at one geometry: kernel size, groups, dilation, padding mode and alignment."""

    by: Contractions
    geometry: tuple[Any, ...]

    def reassemble(self, source: Tensor, kernels: Tensor) -> Tensor:
        return self.by.reassemble(source, kernels, *self.geometry)

    def correlate(self, source: Tensor, query: Tensor) -> Tensor:
        return self.by.correlate(source, query, *self.geometry)

    def scatter(self, kernels: Tensor, query: Tensor, size: Sequence[int]) -> Tensor:
        return self.by.scatter(kernels, query, size, *self.geometry)
