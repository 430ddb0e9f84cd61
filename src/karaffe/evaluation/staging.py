"""A folder of results that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from karaffe.errors import FileError


@contextmanager
def staged_folder(
    output: str | os.PathLike[str], *, overwrite: bool = False, names: Sequence[str] = ()
) -> Iterator[Path]:
    """Give a hidden folder beside ``output`` to write into; when the block ends well, its files move there.

    A new folder appears by one rename. In one that exists, each file is replaced whole and other files are left
    alone. When the block fails or is interrupted, nothing of it stays.

    Args:
        output: The folder of results. Folders above it are made.
        overwrite: Replace files of the same name; else they are refused.
        names: Files that are going to be written, so that they are refused before the work is done.

    Raises:
        FileError: The folder cannot be written, or a file exists and ``overwrite`` is not given.
    """
    output = Path(output).absolute()
    _refuse(output, names, overwrite)
    with _file_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(prefix=f".{output.name}.karaffe-", dir=output.parent))
        # Inside of it, so that the renamed folder has the usual permissions and not those of a private one.
        stage = holder / "stage"
        stage.mkdir()
    try:
        with _file_errors(output):
            yield stage
            written = sorted(stage.iterdir())
            _refuse(output, [path.name for path in written], overwrite)
            if output.exists():
                for path in written:
                    os.replace(path, output / path.name)
            else:
                os.replace(stage, output)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _refuse(output: Path, names: Sequence[str], overwrite: bool) -> None:
    if output.exists() and not output.is_dir():
        raise FileError(f"cannot write into {output}: it is a file, and a folder is needed")
    taken = [name for name in names if (output / name).exists()]
    if taken and not overwrite:
        raise FileError(f"{output / taken[0]} exists; give overwrite=True (--overwrite) to replace it")


@contextmanager
def _file_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot write into {output}: {error.strerror or error}") from error
