"""Measure enlarged images as the super-resolution papers do, and compare methods side by side."""

from karaffe.evaluation.images import luma, to_uint8
from karaffe.evaluation.metrics import psnr, ssim, ssim_map
from karaffe.evaluation.protocol import PAPERS, PROTOCOLS, Protocol, Scores, get_protocol
from karaffe.evaluation.resize import imresize

__all__ = [
    "PAPERS",
    "PROTOCOLS",
    "Protocol",
    "Scores",
    "get_protocol",
    "imresize",
    "luma",
    "psnr",
    "ssim",
    "ssim_map",
    "to_uint8",
]
