"""Upsamplers: one module a method, behind one call, with promises that are tested."""

from karaffe.upsamplers.a2u import A2U, A2UPool, A2UUnpool
from karaffe.upsamplers.anyup import AnyUp
from karaffe.upsamplers.base import Cost, Upsampler
from karaffe.upsamplers.carafe import CARAFE, CARAFEPack
from karaffe.upsamplers.carafe_down import CARAFEDown
from karaffe.upsamplers.checkpoints import load_checkpoint, register_layout
from karaffe.upsamplers.deconv import Deconv
from karaffe.upsamplers.dlu import DLU
from karaffe.upsamplers.dysample import DySample
from karaffe.upsamplers.fade import FADE, FADELite
from karaffe.upsamplers.freqfusion import FreqFusion
from karaffe.upsamplers.indexnet import IndexNet, IndexPool, IndexUnpool
from karaffe.upsamplers.interpolation import Area, Bicubic, Bilinear, Lanczos, Nearest, NearestExact
from karaffe.upsamplers.jafar import JAFAR
from karaffe.upsamplers.jbu import JBU
from karaffe.upsamplers.jbu_learned import JBULearned, JBUStack
from karaffe.upsamplers.lda_aqu import LDAAQU
from karaffe.upsamplers.loftup import LoftUp
from karaffe.upsamplers.max_unpool import MaxUnpool
from karaffe.upsamplers.naf import NAF
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
from karaffe.upsamplers.uplift import LocalAttender, UPLiFT

__all__ = [
    "A2U",
    "CARAFE",
    "DLU",
    "FADE",
    "JAFAR",
    "JBU",
    "LDAAQU",
    "NAF",
    "SAPA",
    "A2UPool",
    "A2UUnpool",
    "AnyUp",
    "Area",
    "Bicubic",
    "Bilinear",
    "CARAFEDown",
    "CARAFEPack",
    "Cost",
    "Deconv",
    "DySample",
    "FADELite",
    "FreqFusion",
    "IndexNet",
    "IndexPool",
    "IndexUnpool",
    "JBULearned",
    "JBUStack",
    "Lanczos",
    "LocalAttender",
    "LoftUp",
    "MaxUnpool",
    "Nearest",
    "NearestExact",
    "PixelShuffle",
    "ResizeConv",
    "SAPADeform",
    "UPLiFT",
    "Upsampler",
    "UpsamplerInfo",
    "create_upsampler",
    "describe_upsampler",
    "list_upsamplers",
    "load_checkpoint",
    "register",
    "register_layout",
]
