"""Which upsampler, or which network, for my data: train each alike, compare, recommend."""

from karaffe.training.choose.outcome import Choice, Outcome, Recommendation, recommend
from karaffe.training.choose.report import Report, write_report
from karaffe.training.choose.segmentation import choose_seg
from karaffe.training.choose.super_resolution import choose_sr

__all__ = ["Choice", "Outcome", "Recommendation", "Report", "choose_seg", "choose_sr", "recommend", "write_report"]
