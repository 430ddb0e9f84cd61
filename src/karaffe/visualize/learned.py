"""What an upsampler learned: the kernels it predicts, the places it samples, and where the content mattered.

Any module that has ``kernels(x)`` (CARAFE, CARAFE++ down, SAPA, FADE, the network ``sharp``) or ``offsets(x)``
(DySample, SAPA-D). Pictures are drawn with Pillow; the numbers behind them come from :func:`measure_importance`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn import functional as F

from karaffe.errors import ArgumentError, ShapeError
from karaffe.evaluation.images import check_image, peak
from karaffe.models.luma import to_luma
from karaffe.models.predictor import KernelPredictor
from karaffe.ops.normalize import shuffle
from karaffe.visualize.colours import HEAT, SIGNED, colour

Pixels = npt.NDArray[np.uint8]
Point = tuple[int, int]

INK, PAPER, MARK = (23, 26, 31), (255, 255, 255), (0, 170, 120)
PICTURE, CELL, GAP, LINE = 320, 160, 14, 20


@dataclass(frozen=True)
class Importance:
    """How much the kernels of each target decide, ``(*targets)`` each, between 0 and 1, the mean over the groups.

    Attributes:
        entropy: of the absolute weights, by that of equal ones: 1 where every tap counts the same, 0 where one counts.
        off_centre: share of the absolute weights that is not the centre tap's: 0 copies the source pixel.
    """

    entropy: Tensor
    off_centre: Tensor


def measure_importance(kernels: Tensor) -> Importance:
    r"""Entropy and off-centre mass of kernels ``(N, groups, taps, *targets)``, of the first map of the batch.

    .. math::
        w_t = |A_t| / \sum_u |A_u|, \qquad H = -\sum_t w_t \log w_t / \log T, \qquad M = 1 - w_{centre}

    Raises:
        ShapeError: fewer than four dimensions, or one tap.
    """
    if kernels.dim() < 4 or kernels.shape[2] < 2:
        raise ShapeError(
            f"kernels must be (N, groups, taps, *targets) with at least two taps; got {tuple(kernels.shape)}"
        )
    weights = kernels[0].abs().double()
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-300)
    taps = weights.shape[1]
    entropy = torch.special.entr(weights).sum(1) / math.log(taps)
    return Importance(entropy.mean(0), (1 - weights[:, (taps - 1) // 2]).mean(0))


def kernels(module: nn.Module, image: Any, at: Point | Sequence[Point], *, guide: Tensor | None = None) -> Image.Image:
    """Draw the kernels of some targets: where each lies, the source window that it reads, and its weights.

    Args:
        module: has ``kernels``; takes two spatial axes.
        image: what the module takes, ``(C, H, W)`` or ``(1, C, H, W)``, or an image array ``(H, W)``, ``(H, W, C)``.
        at: a target's row and column, or several, a row of the figure each.
        guide: for guided modules, ``(1, C, *targets)``.

    Returns:
        An RGB picture. Non-negative kernels are dark to bright from 0 to their largest weight, signed ones blue to
        red; the centre tap is framed.

    Raises:
        ArgumentError: a module without kernels, or a point outside of the target.
        ShapeError: an image that is none.
    """
    x = as_input(module, image)
    predicted = predicted_kernels(module, x, guide)[0]
    points = [cast(Point, at)] if isinstance(at[0], int) else list(cast(Sequence[Point], at))
    groups, taps, height, width = predicted.shape
    side = math.isqrt(taps)
    for y, x_ in points:
        if not (0 <= y < height and 0 <= x_ < width):
            raise ArgumentError(f"at must lie within the {height} x {width} targets; got ({y}, {x_})")
    shown = picture(x)
    rows = []
    for y, x_ in points:
        source = (y * x.shape[2] // height, x_ * x.shape[3] // width)
        weights = predicted[:, :, y, x_].reshape(groups, side, side)
        rows.append(_kernel_row(shown, source, weights, f"target ({y}, {x_})"))
    return _stacked(rows)


def importances(networks: Mapping[str, nn.Module], image: Any) -> Image.Image | None:
    """Draw :func:`importance` of several networks, a row each; ``None`` where none of them predicts kernels."""
    rows = [importance(network, image, title=name) for name, network in networks.items() if predicts_kernels(network)]
    return _stacked(rows) if rows else None


def predicts_kernels(module: nn.Module) -> bool:
    """Whether :func:`kernels` and :func:`importance` can draw ``module``."""
    return callable(getattr(module, "kernels", None))


def importance(module: nn.Module, image: Any, *, guide: Tensor | None = None, title: str = "input") -> Image.Image:
    """Draw where the content mattered: the picture, and the entropy and off-centre mass of the predicted kernels.

    Arguments as in :func:`kernels`; ``title`` stands above the picture. Each source pixel shows the mean of its
    targets. Low entropy and high off-centre mass: the module took a decision there that a fixed kernel could not.

    Raises:
        ArgumentError: a module without kernels.
        ShapeError: an image that is none.
    """
    x = as_input(module, image)
    measured = measure_importance(predicted_kernels(module, x, guide))
    cells = [(_fitted(picture(x)), title)]
    for values, what in ((measured.entropy, "entropy"), (measured.off_centre, "off-centre mass")):
        # Sub-pixels differ whatever the content is; their mean is what the source pixel decides.
        size = (min(values.shape[0], x.shape[2]), min(values.shape[1], x.shape[3]))
        array = F.adaptive_avg_pool2d(values[None], size)[0].numpy()
        low, high = float(array.min()), float(array.max())
        scaled = (array - low) / max(high - low, 1e-12)
        cells.append((_fitted(colour(scaled, HEAT)), f"{what}: {low:.2f} dark, {high:.2f} bright"))
    return _row(cells)


def offsets(module: nn.Module, image: Any, at: Point | None = None, *, guide: Tensor | None = None) -> Image.Image:
    """Draw where targets look: direction as hue and length as brightness, and a target's sampling points.

    Args:
        module: has ``offsets``; takes two spatial axes.
        image: as in :func:`kernels`.
        at: a target's row and column, whose points are drawn on the source around it; ``None``: the target that
            looks furthest.
        guide: as in :func:`kernels`; offsets do not depend on it.

    Raises:
        ArgumentError: a module without offsets, or a point outside of the target.
        ShapeError: an image that is none.
    """
    x = as_input(module, image)
    moved = _predict(module, "offsets", x, None)[0]
    height, width = moved.shape[-2:]
    mean = moved.mean((0, 1))
    if at is None:
        furthest = int(mean.square().sum(0).flatten().argmax())
        at = (furthest // width, furthest % width)
    if not (0 <= at[0] < height and 0 <= at[1] < width):
        raise ArgumentError(f"at must lie within the {height} x {width} targets; got {at}")
    longest = float(mean.square().sum(0).sqrt().max())
    shown = picture(x)
    points = moved[:, :, :, at[0], at[1]].reshape(-1, 2).flip(1)
    regular = torch.tensor([(p + 0.5) * n / t - 0.5 for p, n, t in zip(at, x.shape[2:], (height, width), strict=True)])
    if getattr(module, "num_point", None):  # counted from the source pixel, not from the target's place
        regular = torch.tensor([float(p * n // t) for p, n, t in zip(at, x.shape[2:], (height, width), strict=True)])
    cells = [
        (_fitted(shown), "input"),
        (_fitted(_flow(mean.numpy(), longest)), f"mean offset, up to {longest:.2f} pixels"),
        (_points(shown, regular.numpy(), (regular + points).numpy()), f"points of target ({at[0]}, {at[1]})"),
    ]
    return _row(cells)


def as_input(module: nn.Module, image: Any) -> Tensor:
    """An image array or tensor as ``(1, C, H, W)`` on the module's device and in its dtype; arrays in [0, 1].

    Raises:
        ShapeError: neither an image array nor one map with two spatial axes.
    """
    if isinstance(image, np.ndarray):
        check_image(image, "image")
        scaled = torch.from_numpy(image.astype(np.float32) / peak(image))
        image = scaled[None] if scaled.dim() == 2 else scaled.permute(2, 0, 1)
    if not isinstance(image, Tensor):
        raise ShapeError(f"image must be an array or a tensor; got {type(image).__name__}")
    x = image[None] if image.dim() == 3 else image
    if x.dim() != 4 or x.shape[0] != 1 or 0 in x.shape:
        raise ShapeError(f"image must be (C, H, W) or (1, C, H, W); got {tuple(image.shape)}")
    like = next(module.parameters(), None)
    return x if like is None else x.to(like.device, like.dtype)


def picture(x: Tensor) -> Pixels:
    """``(1, C, H, W)`` for eyes: one or three channels in [0, 1] as they are, else the channels' mean, stretched."""
    values = x[0].detach().float().cpu()
    if values.shape[0] not in (1, 3) or values.min() < 0 or values.max() > 1:
        values = values if values.shape[0] == 3 else values.mean(0, keepdim=True)
        values = (values - values.min()) / (values.max() - values.min()).clamp(min=1e-12)
    array = (values.permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


@torch.no_grad()
def predicted_kernels(module: nn.Module, x: Tensor, guide: Tensor | None = None) -> Tensor:
    """The kernels that ``module`` applies to ``x (1, C, H, W)``: ``(1, groups, taps, *targets)`` in float32.

    Raises:
        ArgumentError: a module that predicts none.
    """
    if isinstance(module, KernelPredictor):
        phases = module.kernels(to_luma(x)).unflatten(1, (module.scale**2, module.kernel_size**2))
        return shuffle(phases.transpose(1, 2).flatten(1, 2), (module.scale, module.scale)).float().cpu()[:, None]
    return _predict(module, "kernels", x, guide)


@torch.no_grad()
def _predict(module: nn.Module, what: str, x: Tensor, guide: Tensor | None) -> Tensor:
    method = getattr(module, what, None)
    if not callable(method):
        raise ArgumentError(f"{type(module).__name__} predicts no {what}")
    found: Tensor = method(x) if guide is None else method(x, guide)
    return found.detach().float().cpu()


def _fitted(pixels: Pixels, size: int = PICTURE) -> Image.Image:
    """Enlarged by whole factors without smoothing, or reduced, to about ``size`` pixels of width."""
    drawn = Image.fromarray(pixels)
    if drawn.width > size:
        return drawn.resize((size, max(1, round(drawn.height * size / drawn.width))), Image.Resampling.LANCZOS)
    factor = max(1, size // drawn.width)
    return drawn.resize((drawn.width * factor, drawn.height * factor), Image.Resampling.NEAREST)


def _window(pixels: Pixels, centre: Point, radius: int) -> Pixels:
    """The pixels around ``centre``; outside repeats the border."""
    rows, columns = (
        np.clip(np.arange(c - radius, c + radius + 1), 0, n - 1) for c, n in zip(centre, pixels.shape[:2], strict=True)
    )
    return pixels[rows][:, columns]


def _kernel_row(shown: Pixels, source: Point, weights: Tensor, title: str) -> Image.Image:
    side = weights.shape[-1]
    overview = _fitted(shown)
    scale = overview.width / shown.shape[1]
    box = [(c + d) * scale for d in (-(side // 2), side // 2 + 1) for c in (source[1], source[0])]
    ImageDraw.Draw(overview).rectangle([round(v) for v in box], outline=MARK, width=2)
    cells = [(overview, title), (_fitted(_window(shown, source, side // 2), CELL), "source window")]
    for group, kernel in enumerate(weights.numpy()):
        top = float(np.abs(kernel).max())
        signed = kernel.min() < 0
        values = (kernel / max(top, 1e-12) + 1) / 2 if signed else kernel / max(top, 1e-12)
        drawn = _fitted(colour(values, SIGNED if signed else HEAT), CELL)
        tap = drawn.width // side
        start = side // 2 * tap
        ImageDraw.Draw(drawn).rectangle((start, start, start + tap - 1, start + tap - 1), outline=MARK, width=2)
        cells.append((drawn, f"kernel, largest {top:.2f}" if len(weights) == 1 else f"group {group}, {top:.2f}"))
    return _row(cells)


def _flow(mean: npt.NDArray[np.float32], longest: float) -> Pixels:
    hue = (np.arctan2(mean[1], mean[0]) / (2 * np.pi)) % 1
    length = np.clip(np.hypot(mean[0], mean[1]) / max(longest, 1e-12), 0, 1)
    hsv = np.stack([hue, np.full_like(hue, 0.8), length], axis=-1)
    return np.asarray(Image.fromarray((hsv * 255).astype(np.uint8), "HSV").convert("RGB"))


def _points(shown: Pixels, regular: npt.NDArray[Any], points: npt.NDArray[Any]) -> Image.Image:
    """The source around a target, a ring at its regular place and a dot at each of its points."""
    reach = int(np.ceil(np.abs(points - regular).max())) + 2
    centre = (round(float(regular[0])), round(float(regular[1])))
    drawn = _fitted(_window(shown, centre, reach))
    scale = drawn.width / (2 * reach + 1)
    draw = ImageDraw.Draw(drawn)

    def place(point: npt.NDArray[Any]) -> tuple[float, float]:
        return (point[1] - centre[1] + reach + 0.5) * scale, (point[0] - centre[0] + reach + 0.5) * scale

    here = place(regular)
    for point in points:
        there = place(point)
        draw.line((*here, *there), fill=MARK, width=1)
        draw.circle(there, 4, fill=MARK, outline=PAPER)
    draw.circle(here, 6, outline=PAPER, width=2)
    return drawn


def _row(cells: Sequence[tuple[Image.Image, str]]) -> Image.Image:
    font = ImageFont.load_default(13)
    widths = [max(drawn.width, math.ceil(font.getlength(title))) for drawn, title in cells]
    height = max(drawn.height for drawn, _ in cells)
    canvas = Image.new("RGB", (sum(widths) + GAP * (len(cells) + 1), height + LINE + 2 * GAP), PAPER)
    draw, left = ImageDraw.Draw(canvas), GAP
    for (drawn, title), width in zip(cells, widths, strict=True):
        draw.text((left, GAP), title, INK, font)
        canvas.paste(drawn, (left, GAP + LINE))
        left += width + GAP
    return canvas


def _stacked(rows: Sequence[Image.Image]) -> Image.Image:
    canvas = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), PAPER)
    top = 0
    for drawn in rows:
        canvas.paste(drawn, (0, top))
        top += drawn.height
    return canvas
