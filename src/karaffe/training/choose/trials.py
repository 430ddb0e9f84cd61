"""Runs that belong together: each is started, resumed or left alone, one after the other or several at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karaffe.errors import TrainingError
from karaffe.training.run import Run

Told = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """One run: a candidate, a seed, and the configuration that they make.

    Attributes:
        task: command of ``karaffe train`` that runs it.
        config: the TOML text.
    """

    task: str
    candidate: str
    seed: int
    config: str

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return f"{self.candidate}-seed{self.seed}"


def run_trials(
    trials: Sequence[Trial], folder: Path, *, jobs: int = 1, deadline: float | None = None, told: Told = print
) -> list[Trial]:
    """Bring every trial to its end; return those that the deadline left undone.

    A trial whose run is finished is not run again; one that was stopped goes on from its state. Each trial is a
    process of its own, ``jobs`` of them at a time. When this process is interrupted they are stopped, and what they
    saved stays.

    Args:
        trials: in the order to run them.
        folder: gets ``configs/`` and ``runs/``.
        jobs: how many at a time.
        deadline: of :func:`time.monotonic`; no trial is started after it.
        told: called with a line about every trial.

    Raises:
        TrainingError: a trial failed; its own message is repeated. The others are stopped.
    """
    waiting = [trial for trial in trials if not Run(folder / "runs" / trial.name).finished()]
    running: dict[subprocess.Popen[str], Trial] = {}
    try:
        while waiting or running:
            late = deadline is not None and time.monotonic() >= deadline
            while waiting and len(running) < jobs and not late:
                trial = waiting.pop(0)
                told(f"{trial.name}: training")
                running[_start(trial, folder)] = trial
            if not running:
                break
            _reap(running, told)
            time.sleep(0.05)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.communicate()
    return waiting


def _start(trial: Trial, folder: Path) -> subprocess.Popen[str]:
    run = folder / "runs" / trial.name
    command = [sys.executable, "-m", "karaffe", "train", trial.task, "--quiet"]
    if (run / "config.toml").exists():
        command += ["--resume", str(run)]
    else:
        config = folder / "configs" / f"{trial.name}.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(trial.config, encoding="utf-8")
        command += [str(config), "--runs", str(folder / "runs")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _reap(running: dict[subprocess.Popen[str], Trial], told: Told) -> None:
    for process in [p for p in running if p.poll() is not None]:
        trial = running.pop(process)
        message = process.communicate()[1].strip()
        if process.returncode:
            raise TrainingError(f"the training {trial.name} failed: {message or f'exit code {process.returncode}'}")
        told(f"{trial.name}: finished")


def to_toml(config: Mapping[str, Any]) -> str:
    """Return sections of plain values as TOML."""
    parts = []
    for section, values in config.items():
        lines = [f"{key} = {_value(value)}" for key, value in values.items() if value is not None]
        parts.append("\n".join([f"[{section}]", *lines]))
    return "\n\n".join(parts) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON's strings, numbers and booleans are TOML's.
    return json.dumps(value, ensure_ascii=False)
