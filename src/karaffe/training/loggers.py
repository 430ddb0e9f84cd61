"""Where a run's log is also written to: TensorBoard as it grows, CSV when it is finished."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lightning.pytorch.loggers import TensorBoardLogger

from karaffe.errors import ArgumentError

LOGGERS = ("tensorboard", "csv")


def check_loggers(names: Sequence[str]) -> None:
    """Refuse a logger that there is not, or that is not installed.

    Raises:
        ArgumentError: such a name.
    """
    for name in names:
        if name not in LOGGERS:
            raise ArgumentError(f"loggers must be among {', '.join(LOGGERS)}; got {name!r}")
    if "tensorboard" in names and find_spec("tensorboard") is None:
        raise ArgumentError("the logger 'tensorboard' needs it installed: pip install 'karaffe[train]'")


def make_loggers(names: Sequence[str], folder: Path, start: int) -> list[TensorBoardLogger] | bool:
    """Return Lightning's loggers; what TensorBoard has of steps after ``start`` is dropped when a run is resumed."""
    if "tensorboard" not in names:
        return False
    return [TensorBoardLogger(folder, name="tensorboard", version="", purge_step=start + 1)]
