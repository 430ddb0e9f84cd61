"""One error for whatever a format's library raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from karaffe.errors import FileError, KaraffeError


@contextmanager
def file_errors(action: str, path: Path | str) -> Iterator[None]:
    """Turn whatever a library raises inside into one FileError ``cannot <action> <path>: <reason>``."""
    try:
        yield
    except KaraffeError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise FileError(f"cannot {action} {path}: {reason}") from error
