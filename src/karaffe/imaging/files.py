"""Open image files for windowed reading and writing."""

from __future__ import annotations

import os
from pathlib import Path

from karaffe.errors import FileError
from karaffe.imaging.formats import format_for_writing, formats, identify
from karaffe.imaging.guard import file_errors
from karaffe.imaging.info import ImageInfo
from karaffe.imaging.protocols import Reader, Writer
from karaffe.imaging.storage import AtomicWriter, Draft


def open_reader(path: str | os.PathLike[str]) -> Reader:
    """Open an image for reading. The format is told from the content; the name does not matter.

    Formats that are compressed as a whole (PNG, JPEG, WebP) are decoded once, at the first read; TIFF and the
    scientific formats give windows without reading the rest.

    Raises:
        FileError: The file is absent, empty, of no known format, truncated, damaged, or declares so many pixels
            that it is taken for a decompression bomb.
        BackendError: The format's library is not installed; the message names the extra.
    """
    path = Path(path)
    found = identify(path)
    if found is None:
        known = ", ".join(f.name for f in formats())
        raise FileError(f"cannot read {path}: {_content(path)} is no known image format; known are {known}")
    with file_errors("read", path):
        return found.read(path)


def open_writer(path: str | os.PathLike[str], info: ImageInfo, *, overwrite: bool = False) -> Writer:
    """Open an image for writing full-width bands from the top down. The format is told from the suffix.

    The file appears under its name when the writer is closed; an exception inside the ``with`` block, or a killed
    process, leaves nothing under that name.

    Raises:
        FileError: An unknown suffix, an image the format cannot hold, an existing file without ``overwrite``, a
            folder that cannot be written.
    """
    path = Path(path)
    chosen = format_for_writing(path, info)
    draft = Draft(path, overwrite=overwrite)
    try:
        with file_errors("write", path):
            return AtomicWriter(chosen.write(draft.path, info), draft)
    except BaseException:
        draft.discard()
        raise


def stored_as(path: str | os.PathLike[str], info: ImageInfo) -> ImageInfo:
    """Return how ``info`` is described once it is stored in the format of ``path``; raises as :func:`open_writer`."""
    return format_for_writing(Path(path), info).stores(info)


def _content(path: Path) -> str:
    if path.is_dir():
        return "the folder"
    with path.open("rb") as file:
        return f"content starting with {file.read(8)!r}"
