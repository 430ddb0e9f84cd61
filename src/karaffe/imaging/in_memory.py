"""``upscale``: images in memory, whatever library they belong to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from karaffe.errors import DtypeError, ShapeError
from karaffe.imaging.arrays import ArrayReader, ArrayWriter, array_info
from karaffe.imaging.engine import Enlarger, Tile
from karaffe.imaging.formats._pillow import array_image, image_array, image_info
from karaffe.imaging.info import Array, ImageInfo
from karaffe.imaging.labelled import is_labelled, unpack_labelled
from karaffe.imaging.network import find_network
from karaffe.imaging.sizing import Size, wanted_grid
from karaffe.imaging.values import check_range, compute_dtype

Image = TypeVar("Image")
# Frames (frames, h, w, bands), what they are, and the way back to the caller's kind.
_Unpacked = tuple[Array, ImageInfo, Callable[[Array, ImageInfo], Any]]


def upscale(
    image: Image,
    scale: float = 4,
    model: str | nn.Module = "sharp",
    *,
    size: Size | None = None,
    tile: Tile = "auto",
    value_range: tuple[float, float] | None = None,
    alpha: bool = False,
    nodata: float | None = None,
    consistent: bool = False,
    device: str | torch.device | None = None,
    backend: str | None = None,
    runtime: str = "torch",
) -> Image:
    """Enlarge (or reduce) an image and return the same kind of object.

    Values ``v`` are mapped by ``(v - lo) / (hi - lo)``, enlarged, mapped back; integers are rounded half up and
    clipped to their type, floats are not. NaN, infinities and ``nodata`` stay where they are and do not bleed.
    Tiled results equal untiled ones: within 1e-5 of the range for floats, one count for integers.

    Args:
        image: NumPy ``(H, W)`` or ``(H, W, C)``; torch ``(C, H, W)`` or ``(N, C, H, W)``; a Pillow image; or an
            xarray.DataArray with dimensions for rows and columns, whose coordinates are made for the new grid.
            Integers or floats; 3 channels are RGB, any other number goes channel by channel as grey.
        scale: Factor; any positive number. The size is rounded half up. Below 1 the image is reduced, antialiased.
        model: A name of :func:`karaffe.models.list_models`, or a module with ``scale`` and ``halo``.
        size: Rows and columns instead of ``scale``; one of them may be None and follows from the other.
        tile: Source pixels a side of a tile, ``"auto"``, or 0 for the whole image at once.
        value_range: Values of black and white; default: all of an integer type, [0, 1] for floats.
        alpha: The last channel is opacity, not premultiplied (Pillow images say so themselves): hidden colours
            do not show as fringes.
        nodata: Value of absent pixels; default: what a DataArray declares, else none.
        consistent: Correct the result so that the mean of the targets of a source pixel is that pixel: to the last
            bit for integers, to rounding for floats. The factors must be integers.
        device: Where to compute; default: where a tensor or module is.
        backend: Name of the operator backend (:func:`karaffe.ops.backends`); default: the best there is.
        runtime: ``"torch"``, or ``"onnx"``: onnxruntime, in float32 on the CPU; the same image to 1e-4.

    Raises:
        ShapeError, DtypeError: Another kind of object, shape or type.
        ArgumentError: A scale, size, tile or range that is not accepted, or floats far outside the range.
        UnknownNameError: No such model or runtime.
        BackendError: onnxruntime is asked for and not installed.
    """
    check_range(value_range)
    frames, info, repack = _unpack(image, alpha)
    info = replace(info, nodata=info.nodata if nodata is None else nodata, value_range=value_range or info.value_range)
    rows_columns = wanted_grid(info, scale, size)[:2]
    if device is None and isinstance(image, Tensor):
        device = image.device
    factor = max(rows_columns[0] / info.height, rows_columns[1] / info.width)
    network = find_network(model, factor, compute_dtype(info), device, backend, runtime)
    enlarger = Enlarger(info, info.with_size(*rows_columns), network, tile, consistent=consistent)
    writer = ArrayWriter(enlarger.target)
    for _ in enlarger.run(ArrayReader(frames, info), writer):
        pass
    writer.close()
    return cast(Image, repack(writer.frames, enlarger.target))


def _unpack(image: Any, alpha: bool) -> _Unpacked:
    if isinstance(image, Tensor):
        return _unpack_tensor(image, alpha)
    if isinstance(image, np.ndarray):
        return _unpack_numpy(image, alpha)
    if is_labelled(image):
        return unpack_labelled(image, alpha)
    if type(image).__module__.startswith("PIL.") or any(c.__module__ == "PIL.Image" for c in type(image).__mro__):
        return _unpack_pillow(image)
    kind = f"{type(image).__module__}.{type(image).__qualname__}"
    raise DtypeError(f"image must be a NumPy array, a torch tensor, a Pillow image or an xarray.DataArray, got {kind}")


def _unpack_numpy(image: Array, alpha: bool) -> _Unpacked:
    if image.ndim not in (2, 3):
        raise ShapeError(f"a NumPy image must be (H, W) or (H, W, C), got {image.shape}")
    flat = image.ndim == 2
    frames = image[None, :, :, None] if flat else image[None]
    info = array_info(frames, alpha=alpha)

    def repack(result: Array, _: ImageInfo) -> Array:
        return (result[0, :, :, 0] if flat else result[0]).astype(image.dtype, copy=False)

    return frames.astype(info.dtype, copy=False), info, repack


def _unpack_tensor(image: Tensor, alpha: bool) -> _Unpacked:
    if image.ndim not in (3, 4):
        raise ShapeError(f"a torch image must be (C, H, W) or (N, C, H, W), got {tuple(image.shape)}")
    single = image.ndim == 3
    pixels = image.detach().float() if image.dtype == torch.bfloat16 else image.detach()
    frames = (pixels[None] if single else pixels).permute(0, 2, 3, 1).cpu().numpy()
    info = array_info(frames, alpha=alpha)

    def repack(result: Array, _: ImageInfo) -> Tensor:
        enlarged = torch.from_numpy(result).permute(0, 3, 1, 2).to(image.device, image.dtype).contiguous()
        return enlarged[0] if single else enlarged

    return frames.astype(info.dtype, copy=False), info, repack


def _unpack_pillow(image: Any) -> _Unpacked:
    frames, info = image_array(image)[None], image_info(image)

    def repack(result: Array, target: ImageInfo) -> Any:
        enlarged = array_image(result[0], target)
        enlarged.info = {k: v for k, v in image.info.items() if k != "transparency"}
        return enlarged

    return frames, info, repack
