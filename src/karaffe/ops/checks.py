"""Argument checks that the operators share: one function a rule, one message a rule."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from karaffe.errors import ArgumentError, DtypeError, ShapeError
from karaffe.ops.geometry import ALIGNMENTS, PADDING_MODES

FLOATING = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def per_axis(value: int | Sequence[int], dims: int, name: str) -> list[int]:
    """``value`` as one positive int an axis."""
    values = [value] * dims if isinstance(value, int) else list(value)
    if len(values) != dims or not all(isinstance(v, int) and v >= 1 for v in values):
        raise ArgumentError(f"{name} must be a positive int, or {dims} of them for this input; got {name}={value!r}")
    return values


def choice(value: str, accepted: Sequence[str], name: str) -> None:
    if value not in accepted:
        raise ArgumentError(f"{name} must be one of {', '.join(map(repr, accepted))}; got {name}={value!r}")


def same_kind(x: Tensor, y: Tensor, x_name: str, y_name: str) -> None:
    """Both floating, of one dtype (autocast may mend that) and on one device."""
    if x.device != y.device:
        raise DtypeError(f"{x_name} and {y_name} must be on one device; got {x.device} and {y.device}")
    if x.dtype not in FLOATING or y.dtype not in FLOATING:
        raise DtypeError(
            f"{x_name} and {y_name} must be float32, float64, bfloat16 or float16; got {x.dtype} and {y.dtype}"
        )
    if x.dtype != y.dtype and not torch.is_autocast_enabled(x.device.type):
        raise DtypeError(f"{x_name} and {y_name} must have one dtype; got {x.dtype} and {y.dtype}")


def spatial_pair(x: Tensor, y: Tensor, x_name: str, y_name: str) -> int:
    """Both ``(N, channels, *sizes)`` with one to three axes, of one rank and batch; returns the axes' number."""
    dims = x.dim() - 2
    if not 1 <= dims <= 3:
        raise ShapeError(
            f"{x_name} must have 3, 4 or 5 dimensions (batch, channels, one to three axes); got {tuple(x.shape)}"
        )
    if y.dim() != x.dim():
        raise ShapeError(
            f"{y_name} must have as many dimensions as {x_name}; got {y_name} {tuple(y.shape)}, "
            f"{x_name} {tuple(x.shape)}"
        )
    if x.shape[0] != y.shape[0]:
        raise ShapeError(
            f"{x_name} and {y_name} must have one batch size; got {x.shape[0]} and {y.shape[0]} "
            f"({tuple(x.shape)}, {tuple(y.shape)})"
        )
    return dims


def divisible_groups(channels: int, groups: int, name: str, argument: str = "groups") -> None:
    if not isinstance(groups, int) or groups < 1 or channels % groups:
        raise ArgumentError(
            f"{argument} must be a positive int that divides the {channels} channels of {name}; "
            f"got {argument}={groups!r}"
        )


def kernel_channels(kernels: Tensor, kernel_size: Sequence[int], groups: int) -> None:
    expected = groups * math.prod(kernel_size)
    if kernels.shape[1] != expected:
        raise ShapeError(
            f"kernels must have groups * taps = {groups} * {math.prod(kernel_size)} = {expected} channels for "
            f"kernel_size={tuple(kernel_size)}; got {kernels.shape[1]} ({tuple(kernels.shape)})"
        )


def non_empty(x: Tensor, name: str) -> None:
    """Only the batch may be empty: a window needs a source pixel under it."""
    if 0 in x.shape[1:]:
        raise ShapeError(f"{name} may be empty only in its batch; got {tuple(x.shape)}")


def geometry(
    dims: int,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int],
    padding_mode: str = "zeros",
    alignment: str = "corner",
    padding_modes: Sequence[str] = PADDING_MODES,
) -> tuple[list[int], list[int]]:
    """``kernel_size`` and ``dilation`` an axis, after checking everything that does not depend on tensors."""
    choice(padding_mode, padding_modes, "padding_mode")
    choice(alignment, ALIGNMENTS, "alignment")
    return per_axis(kernel_size, dims, "kernel_size"), per_axis(dilation, dims, "dilation")


def same_channels(x: Tensor, y: Tensor, x_name: str, y_name: str) -> None:
    if x.shape[1] != y.shape[1]:
        raise ShapeError(
            f"{x_name} and {y_name} must have as many channels; got {x.shape[1]} and {y.shape[1]} "
            f"({tuple(x.shape)}, {tuple(y.shape)})"
        )


def same_targets(x: Tensor, y: Tensor, x_name: str, y_name: str) -> None:
    if x.shape[2:] != y.shape[2:]:
        raise ShapeError(
            f"{x_name} and {y_name} must have the same target sizes; got {tuple(x.shape[2:])} and {tuple(y.shape[2:])}"
        )


def same_sizes(x: Tensor, y: Tensor, x_name: str, y_name: str) -> None:
    if x.shape[2:] != y.shape[2:]:
        raise ShapeError(
            f"{x_name} and {y_name} must have the same sizes; got {tuple(x.shape[2:])} and {tuple(y.shape[2:])}"
        )


def source_sizes(value: Sequence[int], dims: int, name: str) -> None:
    if len(value) != dims or any(size < 1 for size in value):
        raise ArgumentError(f"{name} must be {dims} positive ints, one an axis; got {tuple(value)}")
