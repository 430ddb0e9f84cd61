"""Windowed attention from its definition: one target and one tap at a time, in float64."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from oracle import border, drawn, source_position

PADDING = ("mask", "zeros", "shift", "replicate", "reflect")


@dataclass(frozen=True)
class Attention:
    """One geometry of ``local_attention``."""

    sizes: tuple[int, ...]
    targets: tuple[int, ...]
    kernel_size: tuple[int, ...]
    batch: int = 2
    channels: int = 4
    values: int = 6
    heads: int = 1
    dilation: tuple[int, ...] = ()
    padding_mode: str = "mask"
    alignment: str = "corner"
    scale: float | None = None
    biased: bool = False
    taps: tuple[int, ...] | None = None

    @property
    def spacing(self) -> tuple[int, ...]:
        return self.dilation or (1,) * len(self.sizes)

    def tensors(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
        """Query, key, value, and bias where there is one."""
        generator = torch.Generator("cpu").manual_seed(seed)
        count = len(self.taps) if self.taps else math.prod(self.kernel_size)
        shapes = [
            (self.batch, self.channels, *self.targets),
            (self.batch, self.channels, *self.sizes),
            (self.batch, self.values, *self.sizes),
            *([(self.heads, count)] if self.biased else []),
        ]
        return [drawn(s, generator, dtype) for s in shapes]

    @property
    def options(self) -> dict:
        return {
            "heads": self.heads,
            "scale": self.scale,
            "taps": self.taps,
            "dilation": self.spacing,
            "padding_mode": self.padding_mode,
            "alignment": self.alignment,
        }


def shifted(centre: int, tap: int, size: int, k: int, d: int) -> int:
    """Slide the window of one residue class until it is inside."""
    places = [p for p in range(size) if p % d == centre % d]
    first = places.index(centre) - (k - 1) // 2
    while first < 0:
        first += 1
    while first + k > len(places):
        first -= 1
    return places[first + tap]


def read(case: Attention, axis: int, y: int, tap: int) -> int | None:
    size, k, d = case.sizes[axis], case.kernel_size[axis], case.spacing[axis]
    centre = source_position(y, size, case.targets[axis], case.alignment)
    if case.padding_mode == "shift":
        return shifted(centre, tap, size, k, d)
    mode = "zeros" if case.padding_mode == "mask" else case.padding_mode
    return border(centre + (tap - (k - 1) // 2) * d, size, mode)


def attention_loop(case: Attention, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    Q, K, V = (t.double().cpu().numpy() for t in (query, key, value))
    per_key, per_value = case.channels // case.heads, case.values // case.heads
    scale = case.scale if case.scale is not None else per_key**-0.5
    out = np.zeros((case.batch, case.values, *case.targets))
    numbers = list(case.taps) if case.taps else list(range(math.prod(case.kernel_size)))
    all_taps = list(itertools.product(*map(range, case.kernel_size)))
    for p in itertools.product(*map(range, case.targets)):
        for n, h in itertools.product(range(case.batch), range(case.heads)):
            logits, values = [], []
            for place, number in enumerate(numbers):
                q = tuple(read(case, axis, p[axis], i) for axis, i in enumerate(all_taps[number]))
                outside = None in q
                if outside and case.padding_mode == "mask":
                    continue
                channels = slice(h * per_key, (h + 1) * per_key)
                inner = 0.0 if outside else float((Q[(n, channels, *p)] * K[(n, channels, *q)]).sum())
                logits.append(scale * inner + (float(bias[h, place]) if bias is not None else 0.0))
                block = slice(h * per_value, (h + 1) * per_value)
                values.append(np.zeros(per_value) if outside else V[(n, block, *q)])
            if not logits:
                continue
            weights = np.exp(np.array(logits) - max(logits))
            weights /= weights.sum()
            out[(n, slice(h * per_value, (h + 1) * per_value), *p)] = sum(
                w * v for w, v in zip(weights, values, strict=True)
            )
    return torch.from_numpy(out)


@st.composite
def attentions(draw: st.DrawFn) -> Attention:
    dims = draw(st.integers(1, 3))
    largest, widest = {1: (9, 6), 2: (6, 4), 3: (3, 3)}[dims]
    kernel_size = draw(st.tuples(*[st.integers(1, widest)] * dims))
    dilation = draw(st.tuples(*[st.integers(1, 2)] * dims))
    padding_mode = draw(st.sampled_from(PADDING))
    least = [k * d if padding_mode == "shift" else 1 for k, d in zip(kernel_size, dilation, strict=True)]
    sizes = tuple(draw(st.integers(n, max(n, largest))) for n in least)
    whole = draw(st.booleans())
    targets = tuple(draw(st.integers(1, 2)) * s if whole else draw(st.integers(1, largest + 3)) for s in sizes)
    heads, count = draw(st.integers(1, 2)), math.prod(kernel_size)
    taps = draw(st.none() | st.lists(st.integers(0, count - 1), min_size=1, unique=True).map(tuple))
    return Attention(
        sizes,
        targets,
        kernel_size,
        batch=draw(st.integers(1, 2)),
        channels=heads * draw(st.integers(1, 3)),
        values=heads * draw(st.integers(1, 3)),
        heads=heads,
        dilation=dilation,
        padding_mode=padding_mode,
        alignment=draw(st.sampled_from(("corner", "center", "align_corners"))),
        scale=draw(st.none() | st.sampled_from((1.0, -0.5, 3.0))),
        biased=draw(st.booleans()),
        taps=taps,
    )
