"""Super-resolution networks: interpolations, and `sharp`, which upsamples by reassembly."""

from karaffe.models.base import SuperResolver
from karaffe.models.checkpoint import load_weights, save_weights
from karaffe.models.interpolation import Interpolation
from karaffe.models.registry import ModelInfo, create_model, describe_model, list_models
from karaffe.models.sharp import Sharp

__all__ = [
    "Interpolation",
    "ModelInfo",
    "Sharp",
    "SuperResolver",
    "create_model",
    "describe_model",
    "list_models",
    "load_weights",
    "save_weights",
]
