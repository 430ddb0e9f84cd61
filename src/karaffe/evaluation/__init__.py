"""Measure enlarged images as the super-resolution papers do, and compare methods side by side."""

import importlib
from typing import TYPE_CHECKING, Any

from karaffe.evaluation.images import luma, to_uint8
from karaffe.evaluation.metrics import psnr, ssim, ssim_map
from karaffe.evaluation.protocol import PAPERS, PROTOCOLS, Protocol, Scores, get_protocol
from karaffe.evaluation.resize import imresize

if TYPE_CHECKING:
    from karaffe.evaluation.comparison import Comparison, compare
    from karaffe.evaluation.cost import Cost, measure_cost
    from karaffe.evaluation.look import Look
    from karaffe.evaluation.super_resolution import Evaluation, evaluate_sr

__all__ = [
    "PAPERS",
    "PROTOCOLS",
    "Comparison",
    "Cost",
    "Evaluation",
    "Look",
    "Protocol",
    "Scores",
    "compare",
    "evaluate_sr",
    "get_protocol",
    "imresize",
    "luma",
    "measure_cost",
    "psnr",
    "ssim",
    "ssim_map",
    "to_uint8",
]

# What reads files and draws needs the extra `imaging`; measuring arrays does not.
_LAZY = {
    "Comparison": "comparison",
    "Look": "look",
    "compare": "comparison",
    "Cost": "cost",
    "measure_cost": "cost",
    "Evaluation": "super_resolution",
    "evaluate_sr": "super_resolution",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"karaffe.evaluation.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
