"""Upsamplers: one module a method, behind one call, with promises that are tested."""

from karaffe.upsamplers.base import Cost, Upsampler
from karaffe.upsamplers.carafe import CARAFE, CARAFEPack
from karaffe.upsamplers.carafe_down import CARAFEDown
from karaffe.upsamplers.checkpoints import load_checkpoint, register_layout
from karaffe.upsamplers.deconv import Deconv
from karaffe.upsamplers.dysample import DySample
from karaffe.upsamplers.fade import FADE, FADELite
from karaffe.upsamplers.interpolation import Area, Bicubic, Bilinear, Lanczos, Nearest, NearestExact
from karaffe.upsamplers.max_unpool import MaxUnpool
from karaffe.upsamplers.pixel_shuffle import PixelShuffle
from karaffe.upsamplers.registry import (
    UpsamplerInfo,
    create_upsampler,
    describe_upsampler,
    list_upsamplers,
    register,
)
from karaffe.upsamplers.resize_conv import ResizeConv
from karaffe.upsamplers.sapa import SAPA
from karaffe.upsamplers.sapa_deform import SAPADeform

__all__ = [
    "CARAFE",
    "FADE",
    "SAPA",
    "Area",
    "Bicubic",
    "Bilinear",
    "CARAFEDown",
    "CARAFEPack",
    "Cost",
    "Deconv",
    "DySample",
    "FADELite",
    "Lanczos",
    "MaxUnpool",
    "Nearest",
    "NearestExact",
    "PixelShuffle",
    "ResizeConv",
    "SAPADeform",
    "Upsampler",
    "UpsamplerInfo",
    "create_upsampler",
    "describe_upsampler",
    "list_upsamplers",
    "load_checkpoint",
    "register",
    "register_layout",
]
