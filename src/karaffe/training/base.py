"""What every training shares: Lightning's loop around a network whose every step is a function of its number.

The batch, the learning rate and the weight of the running mean depend on the configuration and the step alone, so a
run that was killed goes on to the bit from its last saved state. A kind of training adds its network, its data, its
loss and its measurement.
"""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Protocol, runtime_checkable

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from karaffe.errors import ArgumentError, TrainingError
from karaffe.training.config import OptimisationSection, RunSection
from karaffe.training.loggers import check_loggers, make_loggers
from karaffe.training.loop import Bar, Steps, interruptible, quiet
from karaffe.training.run import Run, all_finite, follows

Batch = tuple[int, Tensor, Tensor]


class Sampler(Protocol):
    """Batches by number.

    Attributes:
        fingerprint: of the data, so that a run is not resumed on others.
    """

    fingerprint: str

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the batch of ``step``: what the network reads, and what it is compared with."""
        ...

    def names_at(self, step: int) -> list[str]:
        """Return the names of the pictures in the batch of ``step``."""
        ...


@runtime_checkable
class OnDevice(Protocol):
    """A sampler that makes its batches on the device that trains."""

    def use(self, device: torch.device) -> None:
        """Make batches on ``device`` from now on."""
        ...


def learning_rate(settings: OptimisationSection, step: int) -> float:
    """Return the rate of step ``step``: a linear warm-up, a plateau, and a half cosine down to zero at the end.

    With a ``cooldown`` the steps before it do not depend on how many there are in all, so that a run can be made
    longer or ended early (Hägele et al., *Scaling laws and compute-optimal training beyond fixed training durations*,
    NeurIPS 2024).
    """
    cooldown = min(settings.cooldown or settings.steps, settings.steps)
    falling = max(0.0, step - (settings.steps - cooldown)) / cooldown
    warm = min(1.0, (step + 1) / max(1, settings.warmup))
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * falling))


class Training(L.LightningModule):
    """One training; a subclass sets ``network``, ``sampler`` and ``mean`` and defines the abstract methods.

    Args:
        settings: steps, rates and the seed.
        rhythm: how often to log, save and measure.

    Attributes:
        score: the figure of :meth:`measure` that decides; higher is better.
        keeps_best: the weights of a finished run are those that measured best, and the last ones lie beside them;
            else they are the last ones.
        trainer_options: further arguments of Lightning's trainer.
    """

    score: ClassVar[str]
    keeps_best: ClassVar[bool] = False
    network: nn.Module
    sampler: Sampler
    mean: dict[str, Tensor]

    def __init__(self, settings: OptimisationSection, rhythm: RunSection) -> None:
        super().__init__()
        self.settings, self.rhythm = settings, rhythm
        self.trainer_options: dict[str, Any] = {}
        self.loggers_wanted: tuple[str, ...] = ()
        self.start_step = 0
        self.losses: list[float] = []
        self.in_lightning = False

    @abstractmethod
    def loss(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch."""

    @abstractmethod
    def measure(self) -> dict[str, Any]:
        """Return figures of the running mean of the weights on held-out data."""

    @abstractmethod
    def write_weights(self, path: Path) -> None:
        """Write the running mean of the weights as a checkpoint."""

    def conclude(self, path: Path) -> dict[str, Any]:
        """Return what the log's last line also says, of the finished checkpoint ``path``."""
        return {}

    def use(self, *, loggers: Sequence[str] = (), devices: int = 1) -> None:
        """Write the log to ``"tensorboard"`` or ``"csv"`` too; share every batch between ``devices`` processes.

        Raises:
            ArgumentError: another logger, one that is not installed, or fewer than one device.
        """
        check_loggers(loggers)
        if devices < 1 or self.settings.batch % devices:
            raise ArgumentError(f"devices must divide the batch of {self.settings.batch}; got {devices}")
        self.loggers_wanted = tuple(loggers)
        if devices > 1:
            self.trainer_options |= {"devices": devices, "strategy": "ddp", "use_distributed_sampler": False}

    def optimizer(self) -> torch.optim.Optimizer:
        """Return Adam, or a kin of it with the same two moments; the rate is set at every step."""
        return torch.optim.Adam(self.network.parameters(), lr=1.0, betas=(0.9, 0.99))

    def plain_weights(self) -> Mapping[str, Tensor]:
        """Return the weights that the running mean is of."""
        return {key: value.detach() for key, value in self.network.state_dict().items()}

    def fit(self, run: Run, *, progress: bool) -> dict[str, Any]:
        """Train to the end, beginning at the run's state if it has one; return the last figures."""
        self.begin(run)
        self.in_lightning = True
        steps = self.settings.steps
        loader = DataLoader(Steps(self.sampler, self.start_step, steps), batch_size=None)
        options: dict[str, Any] = {"accelerator": "auto", "devices": 1} | self.trainer_options
        with quiet():
            trainer = L.Trainer(
                max_steps=steps - self.start_step,
                max_epochs=1,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=progress,
                callbacks=[Bar(self.start_step, steps)] if progress else [],
                gradient_clip_val=self.settings.clip,
                logger=make_loggers(self.loggers_wanted, run.folder, self.start_step),
                **options,
            )
            if self.start_step < steps:
                with interruptible():
                    trainer.fit(self, loader)
        return self.finish(trainer.is_global_zero)

    def begin(self, run: Run) -> None:
        """Take up ``run`` where its state was saved."""
        self.run_folder = run
        # Adam is made here, since its moments are part of the state that is restored before the first step.
        self.adam = self.optimizer()
        self._restore(run)

    def on_fit_start(self) -> None:
        if isinstance(self.sampler, OnDevice):
            self.sampler.use(self.device)
        self.mean = {key: value.to(self.device) for key, value in self.mean.items()}

    def training_step(self, batch: Batch, index: int) -> Tensor:
        step, source, target = batch
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(self.settings, step)
        if self.trainer.world_size > 1:
            share = slice(self.trainer.global_rank, None, self.trainer.world_size)
            source, target = source[share], target[share]
        loss = self.loss(source, target)
        of_all = loss.detach()
        if self.trainer.world_size > 1:
            # All processes have to stop where one must, else the others wait for it for ever.
            of_all = self.trainer.strategy.reduce(of_all.clone(), reduce_op="mean")
        if not torch.isfinite(of_all):
            self.diverged(step, float(of_all))
        self.losses.append(float(of_all))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        done = batch[0] + 1
        self._update_mean(done)
        if self.trainer.is_global_zero:
            self.account(done)

    def account(self, done: int) -> None:
        """After ``done`` steps whose losses are in :attr:`losses`: log, measure and save what is due."""
        if done % self.rhythm.log_every == 0:
            loss = math.fsum(self.losses) / len(self.losses)
            self._log({"step": done, "loss": loss, "learning_rate": learning_rate(self.settings, done - 1)})
            self.losses.clear()
        if done % self.rhythm.validate_every == 0 and done < self.settings.steps:
            self._validate(done)
        if done % self.rhythm.save_every == 0:
            self._save(done)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.adam

    def _validate(self, done: int) -> None:
        figures = self.measure()
        self._keep_best(figures[self.score])
        self._log({"step": done, **figures})
        if self.in_lightning:
            self.log(self.score, figures[self.score], prog_bar=True)

    def _keep_best(self, value: float) -> None:
        if self.keeps_best and value > self.run_folder.best(self.score):
            self.write_weights(self.run_folder.best_path)

    def _log(self, line: dict[str, Any]) -> None:
        self.run_folder.log(line)
        for logger in self.loggers:
            logger.log_metrics({k: v for k, v in line.items() if k != "step"}, step=line["step"])

    def _update_mean(self, done: int) -> None:
        # The decay grows with the step, so that the random start does not weigh on the mean.
        decay = min(self.settings.ema, done / (done + 9))
        values = {key: value.to(self.mean[key].device) for key, value in self.plain_weights().items()}
        floating = [key for key, value in values.items() if value.is_floating_point()]
        # One launch for all of them.
        torch._foreach_lerp_([self.mean[key] for key in floating], [values[key] for key in floating], 1 - decay)
        for key in values.keys() - set(floating):
            self.mean[key].copy_(values[key])

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"weights/{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"mean/{k}": v for k, v in self.mean.items()}
        for name, parameter in self.network.named_parameters():
            for moment in ("exp_avg", "exp_avg_sq"):
                tensors[f"{moment}/{name}"] = self.adam.state[parameter][moment]
        return tensors

    def _save(self, step: int) -> None:
        tensors = self._tensors()
        if not all_finite(tensors):
            self.diverged(step, float("nan"))
        self.run_folder.save_state(tensors, step, self.sampler.fingerprint)

    def _restore(self, run: Run) -> None:
        saved = run.load_state()
        if saved is None:
            run.rewind(0)
            return
        tensors, step, fingerprint = saved
        if fingerprint != self.sampler.fingerprint:
            raise ArgumentError(
                f"the training pictures (fingerprint {self.sampler.fingerprint}) are not those that run {run.folder} "
                f"began with ({fingerprint})"
            )
        try:
            self.network.load_state_dict(_part(tensors, "weights"))
            self.mean = {key: tensors[f"mean/{key}"] for key in self.mean}
            for name, parameter in self.network.named_parameters():
                moments = {key: tensors[f"{key}/{name}"] for key in ("exp_avg", "exp_avg_sq")}
                # In the parameter's own layout, in which they were computed: the bits may depend on it.
                moments = {key: torch.empty_like(parameter).copy_(value) for key, value in moments.items()}
                self.adam.state[parameter] = {"step": torch.tensor(float(step)), **moments}
        except (RuntimeError, KeyError) as error:
            raise ArgumentError(
                f"the state in {run.folder} is not of the network its config.toml names: {error}"
            ) from error
        self.start_step = step
        run.rewind(step)

    def diverged(self, step: int, loss: float) -> NoReturn:
        """Record that the loss of ``step`` is not finite, and stop; the last saved state stays.

        Raises:
            TrainingError: always.
        """
        if not follows():
            self.run_folder.log({"step": step, "event": "diverged", "pictures": self.sampler.names_at(step)})
        saved = self.run_folder.load_state()
        kept = f"the state of step {saved[1]} is kept" if saved else "no state had been saved yet"
        raise TrainingError(
            f"the loss is {loss} at step {step} of run {self.run_folder.folder}; {kept}. "
            f"Pictures of that step: {', '.join(self.sampler.names_at(step))}"
        )

    def finish(self, first: bool = True) -> dict[str, Any]:
        """Measure and return the figures; the ``first`` process of several writes the weights and closes the run."""
        run, figures = self.run_folder, self.measure()
        if not first:
            return figures
        if self.keeps_best:
            self._keep_best(figures[self.score])
            self.write_weights(run.last_path)
            if run.best_path.exists():  # else a kill came between this line and the end, and it is in place
                os.replace(run.best_path, run.weights_path)
            figures[self.score] = max(figures[self.score], run.best(self.score))
        else:
            self.write_weights(run.weights_path)
        line = {"step": self.settings.steps, "event": "finished", **figures}
        run.finish(line | self.conclude(run.weights_path))
        if "csv" in self.loggers_wanted:
            run.write_csv()
        return figures


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{prefix}/"): value for key, value in tensors.items() if key.startswith(f"{prefix}/")}
