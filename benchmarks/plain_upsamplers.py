"""Every method's resampling as plain PyTorch code usually writes it: unfold the windows, multiply, sum.

What :mod:`upsamplers` (the script beside this file) compares with. Each operator of karaffe that a method calls has a
plain form here with the same arguments, for whole factors up or down; windows are unfolded at source resolution, which
is several times faster than the copies that unfold the enlarged map. ``plainly()`` puts the plain forms in the
operators' places, so that a whole module runs the plain way; ``calls_of`` says which calls a module makes, so that
these can be timed alone, without its convolutions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from karaffe import ops
from karaffe.ops.geometry import tap_table
from karaffe.upsamplers import Upsampler, sapa_deform
from karaffe.upsamplers.sampling import sample as our_sample
from karaffe.upsamplers.sapa_deform import attend_at

PADDING = {"zeros": "constant", "mask": "constant", "replicate": "replicate", "reflect": "reflect"}


class NoPlainForm(Exception):  # noqa: N818
    """A geometry that the plain forms do not have."""


def windows(x: Tensor, k: int, stride: tuple[int, int], dilation: int, padding_mode: str) -> Tensor:
    """``(N, C, taps, 1, positions)``."""
    n, c, height, width = x.shape
    if padding_mode == "shift":  # the windows that lie inside: no unfolding knows them
        rows, columns = (tap_table(torch.arange(s), s, k, dilation, "shift") for s in (height, width))
        taken = x[:, :, rows[:, None, :, None], columns[None, :, None, :]]
        return taken.permute(0, 1, 4, 5, 2, 3).reshape(n, c, k * k, 1, height * width)
    before, after = (k - 1) // 2 * dilation, k // 2 * dilation
    x = F.pad(x, (before, after, before, after), mode=PADDING[padding_mode])
    return F.unfold(x, k, dilation=dilation, stride=stride).unflatten(1, (c, k * k))[:, :, :, None]


def geometry(source: Tensor, target: Tensor) -> tuple[tuple[int, int], int]:
    """Stride at the source and factor of the target: one of them is 1."""
    (height, width), (tall, wide) = source.shape[2:], target.shape[2:]
    if tall % height == 0 and tall // height * width == wide:
        return (1, 1), tall // height
    if height % tall == 0 and width % wide == 0:
        return (height // tall, width // wide), 1
    raise NoPlainForm(f"{(height, width)} to {(tall, wide)}")


def by_phase(x: Tensor, factor: int) -> Tensor:
    """Target maps as ``(N, C, sub-pixels, positions)``."""
    return F.pixel_unshuffle(x, factor).unflatten(1, (x.shape[1], factor**2)).flatten(3)


def to_target(x: Tensor, factor: int, height: int) -> Tensor:
    """The inverse."""
    return F.pixel_shuffle(x.flatten(1, 2).unflatten(2, (height // factor, -1)), factor)


def one_size(kernel_size: Any) -> int:
    """The size of a square window."""
    sizes = {kernel_size} if isinstance(kernel_size, int) else set(kernel_size)
    if len(sizes) > 1:
        raise NoPlainForm(f"windows of {kernel_size}")
    (size,) = sizes
    return int(size)


def reassemble(
    x: Tensor, kernels: Tensor, kernel_size: Any, *, groups: int = 1, dilation: int = 1, padding_mode: str = "zeros"
) -> Tensor:
    stride, factor = geometry(x, kernels)
    cut = windows(x, one_size(kernel_size), stride, dilation, padding_mode).unflatten(1, (groups, -1))
    weights = by_phase(kernels, factor).unflatten(1, (groups, 1, -1))
    return to_target((cut * weights).sum(3).flatten(1, 2), factor, kernels.shape[2])


def correlate(
    x: Tensor, query: Tensor, kernel_size: Any, *, groups: int = 1, dilation: int = 1, padding_mode: str = "zeros"
) -> Tensor:
    stride, factor = geometry(x, query)
    cut = windows(x, one_size(kernel_size), stride, dilation, padding_mode).unflatten(1, (groups, -1))
    asked = by_phase(query, factor).unflatten(1, (groups, -1))[:, :, :, None]
    return to_target((cut * asked).sum(2).flatten(1, 2), factor, query.shape[2])


def reassemble_logits(
    x: Tensor, logits: Tensor, kernel_size: Any, *, scale_factor: Any, size: Any = None, groups: int = 1, **options: Any
) -> Tensor:
    factor = one_size(scale_factor)
    if options.pop("normalizer", "softmax") != "softmax":
        raise NoPlainForm("another normalizer")
    if size is not None and tuple(size) != tuple(factor * n for n in x.shape[2:]):
        raise NoPlainForm(f"{tuple(x.shape[2:])} to {tuple(size)}")
    shuffled = F.pixel_shuffle(logits, factor)
    kernels = shuffled.unflatten(1, (groups, -1)).softmax(2).flatten(1, 2)
    return reassemble(x, kernels, kernel_size, groups=groups, **options)


def local_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kernel_size: Any,
    *,
    heads: int = 1,
    scale: float | None = None,
    padding_mode: str = "mask",
    alignment: str = "corner",  # the same for whole factors
) -> Tensor:
    scale = (query.shape[1] // heads) ** -0.5 if scale is None else scale
    options: dict[str, Any] = {"groups": heads, "padding_mode": padding_mode}
    logits = (correlate(key, query, kernel_size, **options) * scale).unflatten(1, (heads, -1))
    if padding_mode == "mask":
        inside = correlate(torch.ones_like(key[:1, :1]), torch.ones_like(query[:1, :1]), kernel_size)
        logits = logits.masked_fill(inside[:, None] == 0, -torch.inf)
    return reassemble(value, logits.softmax(2).flatten(1, 2), kernel_size, **options)


def pixel_grid(position: Tensor, x: Tensor) -> Tensor:
    size = position.new_tensor([x.shape[3], x.shape[2]])
    return (2 * position.permute(0, 2, 3, 1) + 1) / size - 1


def sample(x: Tensor, position: Tensor, padding_mode: str) -> Tensor:
    mode = "zeros" if padding_mode == "zeros" else "border"
    return F.grid_sample(x, pixel_grid(position, x), padding_mode=mode, align_corners=False)


def attend(query: Tensor, key: Tensor, value: Tensor, positions: Tensor, padding_mode: str) -> Tensor:
    """All points sampled at once."""
    points, height = positions.shape[1], query.shape[2]
    position = positions.transpose(1, 2).flatten(2, 3)

    def sampled(v: Tensor) -> Tensor:
        return sample(v, position, padding_mode).unflatten(2, (points, height))

    weights = (query[:, :, None] * sampled(key)).sum(1, keepdim=True).softmax(2)
    return (weights * sampled(value)).sum(2)


UNFOLD, GRID_SAMPLE = "unfold", "grid_sample"


@dataclass(frozen=True)
class Form:
    """One operator, ours and the plain way; ``holders``: whose attribute ``name`` is what modules call."""

    name: str
    ours: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    by: str
    holders: tuple[object, ...]


def _modules_with(name: str, ours: Callable[..., Tensor]) -> tuple[object, ...]:
    found = (module for n, module in list(sys.modules.items()) if n.startswith("karaffe.upsamplers."))
    return tuple(module for module in found if getattr(module, name, None) is ours)


FORMS = (
    *(
        Form(plain.__name__, getattr(ops, plain.__name__), plain, UNFOLD, (ops,))
        for plain in (reassemble, correlate, reassemble_logits, local_attention)
    ),
    # SAPA-D's sampling is part of its attention.
    Form("sample", our_sample, sample, GRID_SAMPLE, tuple({*_modules_with("sample", our_sample)} - {sapa_deform})),
    Form("attend_at", attend_at, attend, GRID_SAMPLE, (sapa_deform,)),
)


@contextmanager
def replaced(make: Callable[[Form], Callable[..., Tensor]]) -> Iterator[None]:
    """Every operator replaced by what ``make`` says of it."""
    with ExitStack() as stack:
        for form in FORMS:
            instead = make(form)
            for holder in form.holders:
                stack.enter_context(mock.patch.object(holder, form.name, instead))
        yield


def plainly() -> Any:
    """A context in which modules compute by the plain forms."""
    return replaced(lambda form: form.plain)


@dataclass(frozen=True)
class Recorded:
    """One call of an operator, on tensors that no longer hang together with what made them."""

    form: Form
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def tensors(self) -> list[Tensor]:
        return [a for a in self.arguments if isinstance(a, Tensor)]

    def ours(self) -> Tensor:
        return self.form.ours(*self.arguments, **self.options)

    def plain(self) -> Tensor:
        return self.form.plain(*self.arguments, **self.options)

    def largest(self) -> int:
        """Values of the largest tensor that the plain form makes: products of all channels, taps and targets."""
        with torch.no_grad():
            targets = self.ours().shape[2:].numel()
        taps = 1 if self.form.by == GRID_SAMPLE else one_size(self.arguments[len(self.tensors)]) ** 2
        n, channels = self.tensors[0].shape[:2]
        if self.form.name == "local_attention":
            channels = max(channels, self.tensors[2].shape[1])
        return int(n * channels * taps * targets)


def calls_of(module: Upsampler, arguments: list[Tensor]) -> list[Recorded]:
    """The operators' calls of one forward pass."""
    calls: list[Recorded] = []

    def recording(form: Form) -> Callable[..., Tensor]:
        def call(*given: Any, **options: Any) -> Tensor:
            loose = tuple(a.detach().clone().requires_grad_() if isinstance(a, Tensor) else a for a in given)
            calls.append(Recorded(form, loose, options))
            return form.ours(*given, **options)

        return call

    with torch.no_grad(), replaced(recording):
        module(*arguments)
    return calls
