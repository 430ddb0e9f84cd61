"""Training of super-resolution networks: start one from a configuration, or go on with a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from karaffe.errors import ArgumentError
from karaffe.training.config import SRConfig, load_config, parse_config
from karaffe.training.module import SRTraining, load_pictures
from karaffe.training.run import Run


@dataclass(frozen=True)
class TrainingResult:
    """What a finished training left: its folder, the file of weights, and the held-out PSNR in dB."""

    run: Path
    weights: Path
    psnr: float
    steps: int


def train_sr(
    config: str | os.PathLike[str] | None = None,
    *,
    resume: str | os.PathLike[str] | None = None,
    runs: str | os.PathLike[str] = "benchmarks/runs",
    name: str | None = None,
    data: str | os.PathLike[str] | None = None,
    loggers: Sequence[str] = (),
    devices: int = 1,
    progress: bool = True,
) -> TrainingResult:
    """Train a super-resolution network, or go on with a run that was interrupted.

    The run's folder ``runs/name`` gets ``config.toml``, ``log.jsonl`` (mean loss and learning rate every
    ``log_every`` steps, held-out PSNR), while it lives ``state``, and at the end ``weights.safetensors``: the running
    mean of the weights, which ``karaffe.models.load_weights`` reads.

    Args:
        config: a TOML file as :class:`karaffe.training.SRConfig` describes it.
        resume: the folder of an unfinished run, instead of ``config``.
        runs, name: where the folder of a new run is made; the name is the configuration file's by default.
        data: the folder of pictures, if not the configuration's.
        loggers: ``"tensorboard"``, ``"csv"``: what the log is also written to, in the run's folder.
        devices: how many processes train, each with its share of every batch (DistributedDataParallel).
        progress: draw a progress bar.

    Returns:
        Where the results are, and the PSNR (papers' protocol) on the held-out pictures.

    Raises:
        ArgumentError: not exactly one of ``config`` and ``resume``; a configuration, picture, checkpoint or run that
            does not fit.
        FileError: something cannot be read or written, or the new run exists already.
        TrainingError: the loss is no longer finite; the last good state is kept.
    """
    if (config is None) == (resume is None):
        raise ArgumentError(f"give either config or resume; got {config=}, {resume=}")
    if config is not None:
        settings: SRConfig = load_config(config)
        run = None
    else:
        run = Run.open(Path(resume or ""))
        settings = parse_config(run.config_path.read_text(encoding="utf-8"), str(run.config_path))
    begun = run is not None and run.state_path.exists()
    pictures = load_pictures(settings.data, settings.model.scale, Path(data or settings.data.folder))
    training = SRTraining(settings, pictures, begun=begun)
    training.use(loggers=loggers, devices=devices)
    if run is None:
        path = Path(os.fspath(config or ""))
        run = Run.create(Path(runs) / (name or path.stem), path.read_text(encoding="utf-8"))
    value = training.fit(run, progress=progress)["psnr"]
    return TrainingResult(run.folder, run.weights_path, value, settings.optimisation.steps)
