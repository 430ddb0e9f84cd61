"""Show methods side by side: the strip that papers print, and a page to look at them closely.

Needs Pillow (``pip install karaffe[imaging]``).
"""

from karaffe.visualize.crops import Box, find_crops
from karaffe.visualize.latex import latex
from karaffe.visualize.learned import Importance, importance, importances, kernels, measure_importance, offsets
from karaffe.visualize.maps import importance_map
from karaffe.visualize.page import page
from karaffe.visualize.pdf import pdf
from karaffe.visualize.scene import Panel, Scene
from karaffe.visualize.stored import StoredScene, read_page
from karaffe.visualize.strip import strip

__all__ = [
    "Box",
    "Importance",
    "Panel",
    "Scene",
    "StoredScene",
    "find_crops",
    "importance",
    "importance_map",
    "importances",
    "kernels",
    "latex",
    "measure_importance",
    "offsets",
    "page",
    "pdf",
    "read_page",
    "strip",
]
