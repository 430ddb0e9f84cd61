"""Super-resolution networks: interpolations, networks of the literature, and those that upsample by reassembly."""

from karaffe.models.base import SuperResolver
from karaffe.models.checkpoint import load_weights, save_weights
from karaffe.models.cost import multiply_adds
from karaffe.models.espcn import ESPCN
from karaffe.models.faithful import Faithful
from karaffe.models.fsrcnn import FSRCNN
from karaffe.models.interpolation import Interpolation
from karaffe.models.luma import LumaNetwork
from karaffe.models.registry import ModelInfo, create_model, describe_model, list_models, load_model, open_model
from karaffe.models.sharp import Sharp
from karaffe.models.srcnn import SRCNN
from karaffe.models.srresnet import SRResNetSmall
from karaffe.models.stack import Stack

__all__ = [
    "ESPCN",
    "FSRCNN",
    "SRCNN",
    "Faithful",
    "Interpolation",
    "LumaNetwork",
    "ModelInfo",
    "SRResNetSmall",
    "Sharp",
    "Stack",
    "SuperResolver",
    "create_model",
    "describe_model",
    "list_models",
    "load_model",
    "load_weights",
    "multiply_adds",
    "open_model",
    "save_weights",
]
