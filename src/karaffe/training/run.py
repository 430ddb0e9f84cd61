"""A run as a folder: ``config.toml``, ``log.jsonl``, and while it lives ``state``, from which it goes on to the bit.

A finished run has ``weights.safetensors``; one that keeps its best checkpoint has ``last.safetensors`` beside it, and
``best`` while it lives.

The state is one safetensors file (no pickle): weights, Adam's moments and the mean of the weights, with the step and
the fingerprint of the pictures in its metadata. It is written to a temporary name and renamed, after the log up to
that step is on the disk; log lines beyond the state are dropped when a run is resumed.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from karaffe.errors import ArgumentError, FileError
from karaffe.models.checkpoint import read_tensors, write_tensors

STATE_LIMIT = 2 * 2**20


def follows() -> bool:
    """Say whether this process is another than the first of several that share a training.

    Lightning and torchrun start every process from the beginning, so each of them comes by where a run is made.
    """
    return any(os.environ.get(name, "0") != "0" for name in ("LOCAL_RANK", "RANK"))


class Run:
    """The folder of one training run.

    Args:
        folder: where it is.
        state_limit: largest state in bytes that is saved; ``None``: any.
    """

    def __init__(self, folder: Path, *, state_limit: int | None = STATE_LIMIT) -> None:
        self.folder, self.state_limit = folder, state_limit
        self.config_path = folder / "config.toml"
        self.log_path = folder / "log.jsonl"
        self.state_path = folder / "state"
        self.best_path = folder / "best"
        self.weights_path = folder / "weights.safetensors"
        self.last_path = folder / "last.safetensors"

    @classmethod
    def create(cls, folder: Path, config_text: str, *, state_limit: int | None = STATE_LIMIT) -> Run:
        """Make a new run's folder with its configuration; of several processes the first one does.

        Raises:
            FileError: the folder holds a run already, or cannot be written.
        """
        run = cls(folder, state_limit=state_limit)
        if follows():
            return run
        if run.config_path.exists():
            raise FileError(f"{folder} holds a run already; resume it, or choose another name")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            run._replace(run.config_path, config_text)
        except OSError as error:
            raise FileError(f"cannot write to run folder {folder}: {error}") from error
        return run

    @classmethod
    def open(cls, folder: Path, *, state_limit: int | None = STATE_LIMIT) -> Run:
        """Open the folder of an unfinished run.

        Raises:
            FileError: there is no run.
            ArgumentError: the run is finished.
        """
        run = cls(folder, state_limit=state_limit)
        if not run.config_path.is_file():
            raise FileError(f"{folder} is not a training run: it has no config.toml")
        if run.finished():
            raise ArgumentError(f"run {folder} is finished; there is nothing to resume")
        return run

    def log(self, line: Mapping[str, Any]) -> None:
        """Append one line to the log and force it to the disk."""
        with self.log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def lines(self) -> list[dict[str, Any]]:
        """Return the whole lines of the log; one that a kill cut short is left out."""
        if not self.log_path.exists():
            return []
        lines = []
        for text in self.log_path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break
        return lines

    def best(self, score: str) -> float:
        """Return the highest value of ``score`` in the log; minus infinity where there is none."""
        return max((line[score] for line in self.lines() if score in line), default=-math.inf)

    def finished(self) -> bool:
        """Say whether the run went to its end."""
        lines = self.lines()
        return bool(lines) and lines[-1].get("event") == "finished" and not self.state_path.exists()

    def write_csv(self) -> None:
        """Write the log as ``log.csv``: a row a line, a column a figure."""
        lines = [{k: v for k, v in line.items() if not isinstance(v, dict | list)} for line in self.lines()]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(key for line in lines for key in line)))
        writer.writeheader()
        writer.writerows(lines)
        self._replace(self.folder / "log.csv", text.getvalue())

    def rewind(self, step: int) -> None:
        """Drop what the log says of steps after ``step``; of several processes the first one does."""
        if follows():
            return
        kept = [line for line in self.lines() if line["step"] <= step and "event" not in line]
        self._replace(self.log_path, "".join(json.dumps(line) + "\n" for line in kept))

    def save_state(self, tensors: Mapping[str, Tensor], step: int, fingerprint: str) -> None:
        """Replace the state.

        Raises:
            ArgumentError: it would be larger than the limit; a smaller network or expansion is needed.
            FileError: it cannot be written.
        """
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        if self.state_limit is not None and size > self.state_limit:
            raise ArgumentError(
                f"the state of this run takes {size} bytes, more than {self.state_limit}; "
                "choose fewer channels, less depth or a smaller expansion"
            )
        metadata = {"format": "karaffe-run", "step": str(step), "pictures": fingerprint}
        write_tensors(self.state_path, tensors, metadata)

    def load_state(self) -> tuple[dict[str, Tensor], int, str] | None:
        """Return tensors, step and fingerprint of the state, or ``None`` if the run has none yet.

        Raises:
            FileError: the state cannot be read.
        """
        if not self.state_path.exists():
            return None
        tensors, metadata = read_tensors(self.state_path)
        try:
            return tensors, int(metadata["step"]), metadata["pictures"]
        except (KeyError, ValueError) as error:
            raise FileError(f"{self.state_path} is not the state of a run: {error}") from error

    def finish(self, line: Mapping[str, Any]) -> None:
        """Log the last line and remove the state."""
        self.log(line)
        self.state_path.unlink(missing_ok=True)

    def _replace(self, path: Path, text: str) -> None:
        scratch = path.with_name(f".{path.name}.tmp")
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, path)


def all_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Say whether no tensor holds a NaN or an infinity."""
    return all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point())
