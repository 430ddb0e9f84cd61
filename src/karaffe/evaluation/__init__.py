"""Measure enlarged images as the super-resolution papers do, and compare methods side by side."""

from typing import TYPE_CHECKING, Any

from karaffe.evaluation.images import luma, to_uint8
from karaffe.evaluation.metrics import psnr, ssim, ssim_map
from karaffe.evaluation.protocol import PAPERS, PROTOCOLS, Protocol, Scores, get_protocol
from karaffe.evaluation.resize import imresize

if TYPE_CHECKING:
    from karaffe.evaluation.comparison import Comparison, Look, compare

__all__ = [
    "PAPERS",
    "PROTOCOLS",
    "Comparison",
    "Look",
    "Protocol",
    "Scores",
    "compare",
    "get_protocol",
    "imresize",
    "luma",
    "psnr",
    "ssim",
    "ssim_map",
    "to_uint8",
]

# What reads files and draws needs the extra `imaging`; measuring arrays does not.
_LAZY = frozenset({"Comparison", "Look", "compare"})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from karaffe.evaluation import comparison

        return getattr(comparison, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
