"""Which upsampler, or which network, for my data: train each alike, compare, recommend."""

from karaffe.training.choose.outcome import Choice, Outcome, Recommendation, recommend
from karaffe.training.choose.report import Report, write_report
from karaffe.training.choose.segmentation import choose_seg

__all__ = ["Choice", "Outcome", "Recommendation", "Report", "choose_seg", "recommend", "write_report"]
