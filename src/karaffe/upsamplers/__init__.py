"""Upsamplers: one module a method, behind one call, with promises that are tested."""

from karaffe.upsamplers.base import Cost, Upsampler
from karaffe.upsamplers.carafe import CARAFE, CARAFEPack
from karaffe.upsamplers.deconv import Deconv
from karaffe.upsamplers.interpolation import Area, Bicubic, Bilinear, Lanczos, Nearest, NearestExact
from karaffe.upsamplers.pixel_shuffle import PixelShuffle
from karaffe.upsamplers.registry import (
    UpsamplerInfo,
    create_upsampler,
    describe_upsampler,
    list_upsamplers,
    register,
)
from karaffe.upsamplers.resize_conv import ResizeConv

__all__ = [
    "CARAFE",
    "Area",
    "Bicubic",
    "Bilinear",
    "CARAFEPack",
    "Cost",
    "Deconv",
    "Lanczos",
    "Nearest",
    "NearestExact",
    "PixelShuffle",
    "ResizeConv",
    "Upsampler",
    "UpsamplerInfo",
    "create_upsampler",
    "describe_upsampler",
    "list_upsamplers",
    "register",
]
