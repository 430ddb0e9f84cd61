"""Read, tile, enlarge and write real images."""

from karaffe.imaging.batch import (
    BatchReport,
    FileAdvanced,
    FileFinished,
    FileStarted,
    upscale_batch,
)
from karaffe.imaging.files import open_reader, open_writer
from karaffe.imaging.in_memory import upscale
from karaffe.imaging.info import ImageInfo, Window
from karaffe.imaging.one_file import Advance, FileSummary, Settings, upscale_file
from karaffe.imaging.protocols import Reader, Writer

__all__ = [
    "Advance",
    "BatchReport",
    "FileAdvanced",
    "FileFinished",
    "FileStarted",
    "FileSummary",
    "ImageInfo",
    "Reader",
    "Settings",
    "Window",
    "Writer",
    "open_reader",
    "open_writer",
    "upscale",
    "upscale_batch",
    "upscale_file",
]
