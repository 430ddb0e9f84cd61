"""Swap the upsampling in anybody's network and keep the rest."""

from karaffe.surgery.examples import Inputs
from karaffe.surgery.find import find_upsamplers
from karaffe.surgery.install import restore_upsamplers
from karaffe.surgery.replace import load_original_state_dict, replace_upsamplers
from karaffe.surgery.report import Left, Replaced, Report
from karaffe.surgery.site import Site, Sites, Unreached

__all__ = [
    "Inputs",
    "Left",
    "Replaced",
    "Report",
    "Site",
    "Sites",
    "Unreached",
    "find_upsamplers",
    "load_original_state_dict",
    "replace_upsamplers",
    "restore_upsamplers",
]
