"""What every fast path is compared with, and the cases it is compared on; benchmarks import the same.

Two independent judges: :func:`loop`, a float64 loop over targets and taps written from the definition alone, judges
the reference; the reference judges every backend through :func:`check`, in output and in every gradient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from karaffe.ops.backends import reference

FORMULAS = {"reassemble": reference.reassemble, "correlate": reference.correlate, "scatter": reference.scatter}

# Largest error relative to the largest value, for sums of some hundred products.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}


def drawn(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Standard normal numbers, the same on every device."""
    values = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
    return values.to(dtype).to(torch.get_default_device())


@dataclass(frozen=True)
class Case:
    """One geometry, from which the tensors of all three operators are made."""

    sizes: tuple[int, ...]
    targets: tuple[int, ...]
    kernel_size: tuple[int, ...]
    batch: int = 2
    channels: int = 4
    groups: int = 1
    dilation: tuple[int, ...] = field(default=())
    padding_mode: str = "zeros"
    alignment: str = "corner"

    @property
    def geometry(self) -> tuple:
        dilation = list(self.dilation) or [1] * len(self.sizes)
        return (list(self.kernel_size), self.groups, dilation, self.padding_mode, self.alignment)

    def tensors(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> dict[str, Tensor]:
        """Source V, kernels A and query Q, standard normal."""
        generator = torch.Generator("cpu").manual_seed(seed)
        taps = self.groups * math.prod(self.kernel_size)
        shapes = {
            "V": (self.batch, self.channels, *self.sizes),
            "A": (self.batch, taps, *self.targets),
            "Q": (self.batch, self.channels, *self.targets),
        }
        return {k: drawn(s, generator, dtype) for k, s in shapes.items()}

    def arguments(self, operator: str, tensors: dict[str, Tensor]) -> tuple:
        """Positional arguments of the low-level operator."""
        V, A, Q = tensors["V"], tensors["A"], tensors["Q"]
        if operator == "reassemble":
            return (V, A, *self.geometry)
        if operator == "correlate":
            return (V, Q, *self.geometry)
        return (A, Q, list(self.sizes), *self.geometry)


def source_position(y: int, size: int, target: int, alignment: str) -> int:
    if alignment == "corner":
        return math.floor(y * size / target)
    if alignment == "center":
        return math.floor((y + 0.5) * size / target)
    return math.floor(y * (size - 1) / (target - 1) + 0.5) if target > 1 else 0


def border(position: int, size: int, padding_mode: str) -> int | None:
    """The source index a position reads, ``None`` for nothing."""
    if padding_mode == "replicate":
        return min(max(position, 0), size - 1)
    if padding_mode == "reflect":
        while not 0 <= position < size:
            position = -position if position < 0 else 2 * (size - 1) - position
            if size == 1:
                return 0
        return position
    return position if 0 <= position < size else None


def loop(operator: str, case: Case, tensors: dict[str, Tensor]) -> Tensor:
    """The operator's definition, one target and one tap at a time, in float64."""
    V, A, Q = (tensors[k].double().cpu().numpy() for k in "VAQ")
    per_group, taps = case.channels // case.groups, math.prod(case.kernel_size)
    out = np.zeros({"reassemble": Q, "correlate": A, "scatter": V}[operator].shape)
    kernel, groups, dilation, padding_mode, alignment = case.geometry
    for p in itertools.product(*map(range, case.targets)):
        for t, tap in enumerate(itertools.product(*map(range, kernel))):
            q = []
            for axis, i in enumerate(tap):
                centre = source_position(p[axis], case.sizes[axis], case.targets[axis], alignment)
                position = centre + (i - (kernel[axis] - 1) // 2) * dilation[axis]
                q.append(border(position, case.sizes[axis], padding_mode))
            if None in q:
                continue
            for g in range(groups):
                c = slice(g * per_group, (g + 1) * per_group)
                m = g * taps + t
                at_p, at_q = (slice(None), c, *p), (slice(None), c, *q)
                weight = A[(slice(None), slice(m, m + 1), *p)]
                if operator == "reassemble":
                    out[at_p] += weight * V[at_q]
                elif operator == "scatter":
                    out[at_q] += weight * Q[at_p]
                else:
                    out[(slice(None), m, *p)] += (Q[at_p] * V[at_q]).sum(1)
    return torch.from_numpy(out)


def assert_close(got: Tensor, wanted: Tensor, what: str, tolerance: float | None = None) -> None:
    """Largest difference within ``tolerance`` of the largest wanted value."""
    assert got.shape == wanted.shape, f"{what}: shape {tuple(got.shape)}, wanted {tuple(wanted.shape)}"
    if not got.numel():
        return
    limit = tolerance if tolerance is not None else TOLERANCE[got.dtype]
    error = (got.double() - wanted.double().to(got.device)).abs().max().item()
    largest = max(wanted.double().abs().max().item(), 1.0)
    assert error <= limit * largest, (
        f"{what}: error {error:.2e}, largest value {largest:.2e}, allowed {limit:.0e} of it"
    )


def with_gradients(function: Callable[..., Tensor], arguments: tuple, grad: Tensor) -> list[Tensor]:
    """Output and the gradients of ``<output, grad>`` by both tensor arguments."""
    x, y, *rest = arguments
    x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
    out = function(x, y, *rest)
    return [out.detach(), *torch.autograd.grad(out, (x, y), grad.to(out.dtype))]


def check(
    operator: str,
    candidate: Callable[..., Tensor],
    cases: Iterable[Case],
    dtype: torch.dtype = torch.float64,
    memory_format: torch.memory_format = torch.contiguous_format,
    tolerance: float | None = None,
) -> None:
    """Compare ``candidate`` with the reference on every case, in output, layout and both gradients."""
    for case in cases:
        tensors = case.tensors(dtype)
        laid_out = {k: t.contiguous(memory_format=memory_format) for k, t in tensors.items()}
        exact = {k: t.double() for k, t in tensors.items()}
        wanted_out = FORMULAS[operator](*case.arguments(operator, exact))
        grad = drawn(wanted_out.shape, torch.Generator("cpu").manual_seed(1), dtype)
        wanted = with_gradients(FORMULAS[operator], case.arguments(operator, exact), grad.double())
        got = with_gradients(
            candidate, case.arguments(operator, laid_out), grad.contiguous(memory_format=memory_format)
        )
        for name, a, b in zip(("output", "first gradient", "second gradient"), got, wanted, strict=True):
            assert a.dtype == dtype, f"{operator} {name} {case}: {a.dtype}"
            kept = not a.numel() or a.is_contiguous(memory_format=memory_format)
            assert kept, f"{operator} {name} {case}: strides {a.stride()}"
            assert_close(a, b, f"{operator} {name} {case}", tolerance)


@st.composite
def cases(draw: st.DrawFn, dims: st.SearchStrategy[int] | None = None, largest: int = 6) -> Case:
    """Any geometry: one to three axes, whole and odd factors, enlarging and shrinking, every border."""
    d = draw(dims if dims is not None else st.integers(1, 3))
    sizes = draw(st.tuples(*[st.integers(1, largest)] * d))
    if draw(st.booleans()):
        targets = tuple(s * draw(st.integers(1, 3)) for s in sizes)
    else:
        targets = draw(st.tuples(*[st.integers(1, 2 * largest)] * d))
    groups = draw(st.integers(1, 3))
    return Case(
        sizes=sizes,
        targets=targets,
        kernel_size=draw(st.tuples(*[st.integers(1, 5 if d < 3 else 3)] * d)),
        batch=draw(st.integers(1, 2)),
        channels=groups * draw(st.integers(1, 5)),
        groups=groups,
        dilation=draw(st.tuples(*[st.integers(1, 2)] * d)),
        padding_mode=draw(st.sampled_from(("zeros", "replicate", "reflect"))),
        alignment=draw(st.sampled_from(("corner", "center", "align_corners"))),
    )


# Shapes at the edges of vectors, blocks and rows, for the fast paths.
FIXED = [
    Case((5, 7), (10, 14), (5, 5), channels=8, groups=2),
    Case((3, 33), (6, 66), (5, 5), channels=19),
    Case((9, 16), (27, 48), (3, 3), channels=6, groups=3),
    Case((6, 20), (24, 80), (7, 7), batch=1, channels=5),
    Case((6, 18), (6, 18), (3, 3), channels=33),
    Case((2, 3), (4, 6), (7, 7), channels=3, padding_mode="replicate"),
    Case((7, 35), (14, 70), (5, 5), channels=20, padding_mode="replicate"),
    Case((4, 17), (8, 34), (5, 5), channels=16, padding_mode="reflect"),
    Case((4, 5), (7, 9), (5, 5), channels=4),
    Case((8, 9), (4, 3), (5, 5), channels=4),
    Case((5, 6), (10, 12), (5, 5), channels=4, dilation=(2, 1)),
    Case((7,), (14,), (5,), channels=6, groups=2),
    Case((3, 4, 5), (6, 8, 10), (3, 3, 3), channels=4),
    Case((6, 7), (12, 14), (4, 6), channels=4),
    Case((5, 7), (10, 14), (5, 5), batch=0, channels=4),
]
