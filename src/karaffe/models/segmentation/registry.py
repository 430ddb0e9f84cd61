"""The segmentation networks there are, by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from karaffe.errors import unknown_name
from karaffe.models.segmentation.base import Segmenter
from karaffe.models.segmentation.fpn import LightFPN
from karaffe.models.segmentation.unet import VGGUNet


class _Make(Protocol):
    def __call__(
        self, classes: int, upsampler: str, *, width: float, options: Mapping[str, Any] | None
    ) -> Segmenter: ...


_NETWORKS: Mapping[str, _Make] = MappingProxyType(
    {
        "vgg-unet": VGGUNet,
        "vgg-segnet": partial(VGGUNet, skip=False),
        "light-fpn": LightFPN,
    }
)


def list_segmenters() -> list[str]:
    """Return the names of the segmentation networks."""
    return list(_NETWORKS)


def create_segmenter(
    network: str,
    classes: int,
    upsampler: str = "carafe",
    *,
    width: float = 1.0,
    options: Mapping[str, Any] | None = None,
) -> Segmenter:
    """Make a segmentation network, with weights drawn from torch's generator.

    Args:
        network: one of :func:`list_segmenters`.
        classes: how many.
        upsampler: a name that :func:`karaffe.list_upsamplers` gives; it serves at every upsampling step.
        width: factor on all numbers of channels.
        options: of the upsampler.

    Raises:
        UnknownNameError: no network, upsampler or option of that name; the message names close ones.
        ArgumentError: a value out of range.
    """
    if network not in _NETWORKS:
        raise unknown_name("segmentation network", network, _NETWORKS)
    return _NETWORKS[network](classes, upsampler, width=width, options=options)
