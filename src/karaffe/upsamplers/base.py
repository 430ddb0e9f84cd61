"""What every upsampler is: a module that takes a map, perhaps a guide, and a target size, and gives one tensor.

All argument checks of a call are here, once. A method defines :meth:`Upsampler.upsample`, which may rely on them,
and :meth:`Upsampler.macs`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from karaffe.errors import ArgumentError, DtypeError, ShapeError

ScaleFactor = int | float | Sequence[int | float]
Size = int | Sequence[int]

CONVOLUTIONS: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Cost:
    """What a module costs: learned parameters, and multiply-adds for one map of a batch."""

    parameters: int
    macs: int


class Upsampler(nn.Module, ABC):
    """Enlarge feature maps.

    Args:
        channels: of the input and the output; ``None``, for methods without parameters: any.
        scale_factor: a positive number, or one an axis; the target has ``floor(H * scale_factor)`` pixels.
        dims: how many spatial axes the input has, 1 to 3; ``None``, for methods without parameters: any.
        guide_channels: of the guide; ``None``: as many as ``channels``.

    Attributes:
        channels, scale_factor, dims, guide_channels: as given, with the defaults filled in.
        sizes: which targets the method can do: ``"any"``; ``"crop"``: those for which ``ceil(H' / s) = H``, as the
            bottom and right of ``s * H`` cropped; ``"pooled"``: those that pooling by s reduces to H,
            ``floor(H' / s) = H``; ``"exact"``: one.
        needs_guide: whether the method reads a guide; the others ignore it.
        guide_at: the guide's size: ``"target"``, that of the result, or ``"any"``, for methods that resize it.

    Raises:
        ArgumentError: an argument out of range.
    """

    sizes: str = "any"
    needs_guide: bool = False
    guide_at: str = "target"

    def __init__(
        self,
        channels: int | None,
        scale_factor: ScaleFactor = 2,
        *,
        dims: int | None = 2,
        guide_channels: int | None = None,
    ) -> None:
        super().__init__()
        if dims not in (None, 1, 2, 3):
            raise ArgumentError(f"dims must be 1, 2 or 3; got {dims=}")
        self.channels = None if channels is None else positive(channels, "channels")
        self.guide_channels = self.channels if guide_channels is None else positive(guide_channels, "guide_channels")
        self.dims = dims
        self.scale_factor = scale_factor if isinstance(scale_factor, int | float) else tuple(scale_factor)
        per_axis_factors(self.scale_factor, dims or _length(self.scale_factor))

    def forward(self, x: Tensor, guide: Tensor | None = None, *, size: Size | None = None) -> Tensor:
        """Enlarge ``x``.

        Args:
            x: ``(N, channels, *sizes)``; float32, float64, bfloat16 or float16.
            guide: for guided methods ``(N, guide_channels, *targets)``, or of any size where ``guide_at`` says so; the
                others ignore it.
            size: target sizes, an int or one an axis, in place of ``scale_factor``.

        Returns:
            ``(N, channels, *targets)`` in the dtype of ``x``.

        Raises:
            ShapeError: rank, channels, batch or sizes that do not fit; a guide that is missing or does not fit.
            ArgumentError: a target size that the method cannot do.
            DtypeError: ``x`` or the guide is not floating.
        """
        dims = self.check_input(x)
        targets = self.target_sizes(x.shape[2:], size)
        self.check_targets(x.shape[2:], targets, dims)
        if self.needs_guide:
            self.check_guide(x, guide, targets)
        return self.upsample(x, guide, targets)

    @abstractmethod
    def upsample(self, x: Tensor, guide: Tensor | None, targets: tuple[int, ...]) -> Tensor:
        """Enlarge ``x`` to ``targets``; the arguments are checked already."""

    @abstractmethod
    def macs(self, sizes: tuple[int, ...], targets: tuple[int, ...]) -> int:
        """Multiply-adds for one map of ``sizes`` enlarged to ``targets``."""

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as the constructor's ``init`` says."""

    def init_weights(self) -> None:
        """Same as :meth:`reset_parameters`, under the name that the OpenMMLab frameworks call."""
        self.reset_parameters()

    def cost(self, input_size: Size, *, size: Size | None = None) -> Cost:
        """What one map costs, by formula.

        Convolutions, reassemblies and correlations are counted by their products, bilinear sampling as ``2**dims``
        a value; biases, normalisations, softmax and activations are not counted.

        Args:
            input_size: spatial sizes of the input, an int or one an axis.
            size: target sizes, in place of ``scale_factor``.

        Raises:
            ArgumentError: sizes out of range, or targets that the method cannot do.
        """
        dims = self.dims or (len(input_size) if not isinstance(input_size, int) else _length(self.scale_factor) or 2)
        sizes = check_sizes(input_size, dims, "input_size")
        targets = self.target_sizes(sizes, size)
        self.check_targets(sizes, targets, dims)
        parameters = sum(p.numel() for p in self.parameters())
        return Cost(parameters, self.macs(sizes, targets))

    def factors(self, dims: int) -> tuple[int | float, ...]:
        """``scale_factor``, one an axis."""
        return per_axis_factors(self.scale_factor, dims)

    def target_sizes(self, sizes: Sequence[int], size: Size | None) -> tuple[int, ...]:
        """The target sizes that a call with ``size`` asks for."""
        if size is not None:
            return check_sizes(size, len(sizes), "size")
        return tuple(
            n * f if isinstance(f, int) else math.floor(n * f)
            for n, f in zip(sizes, self.factors(len(sizes)), strict=True)
        )

    def check_input(self, x: Tensor) -> int:
        """Check rank, channels and dtype of ``x``; return its number of spatial axes."""
        dims = x.dim() - 2
        if not 1 <= dims <= 3 or (self.dims is not None and dims != self.dims):
            wanted = "one to three axes" if self.dims is None else f"{self.dims} spatial axes"
            raise ShapeError(f"x must be (batch, channels, {wanted}); got {tuple(x.shape)}")
        if self.channels is not None and x.shape[1] != self.channels:
            raise ShapeError(
                f"x must have the {self.channels} channels that this module was made for; "
                f"got {x.shape[1]} ({tuple(x.shape)})"
            )
        if 0 in x.shape[1:]:
            raise ShapeError(f"x may be empty only in its batch; got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise DtypeError(f"x must be floating point; got {x.dtype}")
        return dims

    def check_targets(self, sizes: Sequence[int], targets: Sequence[int], dims: int) -> None:
        """Refuse targets that the method cannot do."""
        if any(t < 1 for t in targets):
            raise ArgumentError(f"target sizes must be at least 1; got {tuple(targets)} for input {tuple(sizes)}")
        if self.sizes == "any":
            return
        usual = self.target_sizes(sizes, None)
        reach = [math.ceil(f) - 1 for f in self.factors(dims)]
        below, above = (reach if self.sizes == which else [0] * dims for which in ("crop", "pooled"))
        bounds = [(u - b, u + a) for u, b, a in zip(usual, below, above, strict=True)]
        if any(not low <= t <= high for t, (low, high) in zip(targets, bounds, strict=True)):
            accepted = ", ".join(str(low) if low == high else f"{low} to {high}" for low, high in bounds)
            raise ArgumentError(
                f"{type(self).__name__} with scale_factor={self.scale_factor} cannot give {tuple(targets)} from "
                f"{tuple(sizes)}; accepted an axis: {accepted}"
            )

    def check_guide(self, x: Tensor, guide: Tensor | None, targets: Sequence[int]) -> None:
        """Refuse a guide that is missing or does not fit."""
        name = type(self).__name__
        anywhere = self.guide_at == "any"
        sizes = ("any size",) * len(targets) if anywhere else tuple(targets)
        shape = f"({', '.join(map(str, (x.shape[0], self.guide_channels, *sizes)))})"
        if guide is None:
            raise ShapeError(f"{name} needs a guide {shape}{'' if anywhere else ' at the target size'}; got none")
        if guide.dim() != x.dim() or guide.shape[0] != x.shape[0] or guide.shape[1] != self.guide_channels:
            raise ShapeError(f"the guide of {name} must be {shape}; got {tuple(guide.shape)}")
        if anywhere and 0 in guide.shape[2:]:
            raise ShapeError(f"the guide of {name} must not be empty; got {tuple(guide.shape)}")
        if not anywhere and any(g != t for g, t in zip(guide.shape[2:], targets, strict=True)):
            raise ShapeError(
                f"the guide of {name} must be of the target size, {shape}; got {tuple(guide.shape)}; "
                f"size=guide.shape[2:] makes the guide's size the target"
            )
        if not guide.is_floating_point():
            raise DtypeError(f"the guide must be floating point; got {guide.dtype}")

    def extra_repr(self) -> str:
        parts = [] if self.channels is None else [str(self.channels)]
        parts.append(f"scale_factor={self.scale_factor}")
        if self.dims not in (None, 2):
            parts.append(f"dims={self.dims}")
        if self.needs_guide and self.guide_channels is not None:
            parts.append(f"guide_channels={self.guide_channels}")
        return ", ".join(parts)


def positive(value: int, name: str) -> int:
    """Return ``value`` if it is a positive int."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{name} must be a positive int; got {name}={value!r}")
    return value


def one_of(value: str, accepted: Sequence[str], name: str) -> str:
    """Return ``value`` if it is one of ``accepted``."""
    if value not in accepted:
        raise ArgumentError(f"{name} must be one of {', '.join(map(repr, accepted))}; got {name}={value!r}")
    return value


def per_axis_factors(value: ScaleFactor, dims: int | None) -> tuple[int | float, ...]:
    """``scale_factor`` as one positive, finite number an axis; integral floats become ints."""
    values = (value,) * (dims or 1) if isinstance(value, int | float) else tuple(value)
    if len(values) != (dims or len(values)) or not all(_is_factor(v) for v in values):
        count = "one an axis" if dims is None else f"{dims} of them, one an axis"
        raise ArgumentError(f"scale_factor must be a positive number, or {count}; got scale_factor={value!r}")
    return tuple(int(v) if v == int(v) else v for v in values)


def whole_factors(value: ScaleFactor, dims: int) -> tuple[int, ...]:
    """``scale_factor`` for methods that can only do whole ones."""
    values = per_axis_factors(value, dims)
    if not all(isinstance(v, int) for v in values):
        raise ArgumentError(f"scale_factor must be a whole number for this method; got scale_factor={value!r}")
    return tuple(int(v) for v in values)


def check_sizes(value: Size, dims: int, name: str) -> tuple[int, ...]:
    """Sizes as one positive int an axis."""
    values = (value,) * dims if isinstance(value, int) else tuple(value)
    if len(values) != dims or any(v < 1 for v in values):
        raise ArgumentError(f"{name} must be a positive int, or {dims} of them, one an axis; got {name}={value!r}")
    return values


def crop(x: Tensor, targets: Sequence[int]) -> Tensor:
    """The top left of ``x``'s spatial axes."""
    for axis, target in enumerate(targets):
        if x.shape[2 + axis] != target:
            x = x.narrow(2 + axis, 0, target)
    return x


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _length(value: int | float | tuple[int | float, ...]) -> int | None:
    return None if isinstance(value, int | float) else len(value)
