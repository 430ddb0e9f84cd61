"""Train segmentation networks on labelled images."""

from karaffe.training.segmentation.config import SegConfig
from karaffe.training.segmentation.dataset import Labelled, load_dataset, load_split, pack
from karaffe.training.segmentation.layouts import find_pairs
from karaffe.training.segmentation.measure import Measured, measure
from karaffe.training.segmentation.sampler import CropSampler
from karaffe.training.segmentation.train import SegTrainingResult, train_seg

__all__ = [
    "CropSampler",
    "Labelled",
    "Measured",
    "SegConfig",
    "SegTrainingResult",
    "find_pairs",
    "load_dataset",
    "load_split",
    "measure",
    "pack",
    "train_seg",
]
