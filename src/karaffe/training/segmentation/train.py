"""Training of segmentation networks: start one from a configuration, or go on with a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from karaffe.errors import ArgumentError
from karaffe.training.config import load_config, parse_config
from karaffe.training.run import Run
from karaffe.training.segmentation.config import SegConfig
from karaffe.training.segmentation.dataset import load_dataset
from karaffe.training.segmentation.module import SegTraining


@dataclass(frozen=True)
class SegTrainingResult:
    """What a finished training left: its folder, the best checkpoint, and that one's mIoU on the selection split."""

    run: Path
    weights: Path
    miou: float
    steps: int


def train_seg(
    config: str | os.PathLike[str] | None = None,
    *,
    resume: str | os.PathLike[str] | None = None,
    runs: str | os.PathLike[str] = "benchmarks/runs",
    name: str | None = None,
    data: str | os.PathLike[str] | None = None,
    loggers: Sequence[str] = (),
    devices: int = 1,
    progress: bool = True,
) -> SegTrainingResult:
    """Train a segmentation network, or go on with a run that was interrupted.

    The run's folder ``runs/name`` gets ``config.toml``, ``log.jsonl``, while it lives ``state`` and ``best``, and at
    the end ``weights.safetensors``, the best checkpoint on the selection split, and ``last.safetensors``; both hold
    running means of the weights, which :func:`karaffe.models.segmentation.load_segmenter` reads.

    Args:
        config: a TOML file as :class:`karaffe.training.segmentation.SegConfig` describes it.
        resume: the folder of an unfinished run, instead of ``config``.
        runs, name: where the folder of a new run is made; the name is the configuration file's by default.
        data: the data set, if not the configuration's.
        loggers: ``"tensorboard"``, ``"csv"``: what the log is also written to, in the run's folder.
        devices: how many processes train, each with its share of every batch (DistributedDataParallel).
        progress: draw a progress bar.

    Raises:
        ArgumentError: not exactly one of ``config`` and ``resume``; a configuration, label map, image, checkpoint or
            run that does not fit.
        FileError: something cannot be read or written, or the new run exists already.
        TrainingError: the loss is no longer finite; the last good state is kept.
    """
    if (config is None) == (resume is None):
        raise ArgumentError(f"give either config or resume; got {config=}, {resume=}")
    run = None
    if config is not None:
        settings = load_config(config, SegConfig)
    else:
        run = Run.open(Path(resume or ""), state_limit=None)
        settings = parse_config(run.config_path.read_text(encoding="utf-8"), str(run.config_path), SegConfig)
    section = settings.data
    dataset = load_dataset(data or section.path, section.table(), section.size)
    training = SegTraining(settings, dataset, begun=run is not None and run.state_path.exists())
    training.use(loggers=loggers, devices=devices)
    if run is None:
        path = Path(os.fspath(config or ""))
        folder = Path(runs) / (name or path.stem)
        run = Run.create(folder, path.read_text(encoding="utf-8"), state_limit=None)
    figures = training.fit(run, progress=progress)
    return SegTrainingResult(run.folder, run.weights_path, figures["miou"], settings.optimisation.steps)
