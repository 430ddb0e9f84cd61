"""Files appear whole or not at all.

A result is written inside a hidden folder beside its destination (so that the rename stays on one file
system), then renamed onto it. The folder is locked while its writer lives; one that a killed process left
behind is recognised by its free lock and removed when the same destination is written again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from karaffe.errors import FileError
from karaffe.imaging.guard import file_errors
from karaffe.imaging.info import Array, ImageInfo, Window
from karaffe.imaging.protocols import Writer

try:
    import fcntl
except ImportError:  # Windows: folders of killed processes stay until they are removed by hand
    fcntl = None  # type: ignore[assignment]

_MARK = ".karaffe-"


class Draft:
    """The place where a file is written before it gets its name.

    Args:
        path: The final name. Its folder is made where absent.
        overwrite: Whether an existing file may be replaced (by the finished one).

    Raises:
        FileError: The destination exists, or its folder cannot be made or written.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.target = Path(path)
        self.overwrite = overwrite
        self._refuse_existing()
        with file_errors("write", self.target):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            remove_stale(self.target)
            prefix = f".{self.target.name}{_MARK}"
            self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.target.parent))
        self._lock = _lock(self._folder)
        self.path = self._folder / self.target.name

    def _refuse_existing(self) -> None:
        if self.target.is_dir() and not self.target.suffix:
            raise FileError(f"cannot write {self.target}: it is a folder")
        if self.target.exists() and not self.overwrite:
            raise FileError(f"{self.target} exists; give overwrite=True (--overwrite) to replace it")

    def commit(self) -> None:
        """Give the finished file its name."""
        try:
            with file_errors("write", self.target):
                self._refuse_existing()
                if self.target.is_dir():
                    shutil.rmtree(self.target)
                os.replace(self.path, self.target)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove whatever was written; harmless when called again."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class AtomicWriter:
    """Wrap a format's writer on a draft: closing it renames, an error removes."""

    def __init__(self, writer: Writer, draft: Draft) -> None:
        self._writer = writer
        self._draft = draft

    @property
    def info(self) -> ImageInfo:
        return self._writer.info

    def write(self, window: Window, array: Array, frame: int = 0) -> None:
        with file_errors("write", self._draft.target):
            self._writer.write(window, array, frame)

    def close(self) -> None:
        try:
            with file_errors("write", self._draft.target):
                self._writer.close()
            self._draft.commit()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        with suppress(Exception):
            self._writer.abort()
        self._draft.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def remove_stale(target: Path) -> None:
    """Remove the folders of drafts for ``target`` whose writers are dead."""
    if fcntl is None:
        return
    for folder in target.parent.glob(f".{_escaped(target.name)}{_MARK}*"):
        with suppress(OSError):
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _lock(folder: Path) -> int | None:
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
