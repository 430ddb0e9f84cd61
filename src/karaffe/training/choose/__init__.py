"""Which upsampler, or which network, for my data: train each alike, compare, recommend."""

from karaffe.training.choose.outcome import Outcome, Recommendation, recommend
from karaffe.training.choose.segmentation import SegChoice, choose_seg

__all__ = ["Outcome", "Recommendation", "SegChoice", "choose_seg", "recommend"]
