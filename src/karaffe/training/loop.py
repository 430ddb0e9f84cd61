"""What Lightning's loop is fed and how it shows itself: numbered batches, a bar over the whole run, no chatter."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import Tensor
from torch.utils.data import IterableDataset


class Steps(IterableDataset[tuple[int, Tensor, Tensor]]):
    """The batches of steps ``start`` to ``stop``, each with its number."""

    def __init__(self, sampler: Callable[[int], tuple[Tensor, Tensor]], start: int, stop: int) -> None:
        self.sampler, self.start, self.stop = sampler, start, stop

    def __iter__(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        for step in range(self.start, self.stop):
            yield (step, *self.sampler(step))


class Bar(TQDMProgressBar):
    """A progress bar that counts the run's steps, also those before it was resumed."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__(refresh_rate=20)
        self.first, self.last = start, stop

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        bar = self.train_progress_bar
        bar.initial = self.first
        bar.reset(self.last)
        bar.set_description("training")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        bar = self.train_progress_bar
        done = self.first + trainer.global_step
        if done % self.refresh_rate == 0 or done == self.last:
            bar.n = done
            bar.set_postfix(self.get_metrics(trainer, pl_module))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's advertisements and its own deprecations off the terminal while it runs."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec.*")
            # One worker is what makes a batch cheap here: it is cut from tensors in memory.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C reach the caller as KeyboardInterrupt; Lightning makes it an exit of the process."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from None
