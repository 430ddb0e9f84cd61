"""Segmentation networks whose every upsampling step is a parameter."""

from karaffe.models.segmentation.base import Segmenter
from karaffe.models.segmentation.checkpoint import ClassTable, load_segmenter, save_segmenter
from karaffe.models.segmentation.fpn import LightFPN
from karaffe.models.segmentation.registry import create_segmenter, list_segmenters
from karaffe.models.segmentation.unet import VGGUNet
from karaffe.models.segmentation.vgg import VGG16, load_torchvision

__all__ = [
    "VGG16",
    "ClassTable",
    "LightFPN",
    "Segmenter",
    "VGGUNet",
    "create_segmenter",
    "list_segmenters",
    "load_segmenter",
    "load_torchvision",
    "save_segmenter",
]
