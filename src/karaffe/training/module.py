"""One super-resolution training as a Lightning module.

Everything that decides a step (the crops, the learning rate, the weight of the running mean) is a function of the
configuration and the step's number, so that a run that was killed goes on to the bit from its last saved state.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from karaffe.errors import ArgumentError, TrainingError
from karaffe.evaluation import PAPERS, psnr
from karaffe.models import SuperResolver, create_model, save_weights
from karaffe.models.checkpoint import read_tensors
from karaffe.training.config import OptimisationSection, SRConfig
from karaffe.training.data import Pair, PatchSampler, check_size, make_pair, middle, read_folder
from karaffe.training.expansion import expand, plain_weights
from karaffe.training.loop import Bar, Steps, interruptible, quiet
from karaffe.training.run import Run, all_finite


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


class SRTraining(L.LightningModule):
    """The network, its running mean, and the pictures of one configuration.

    Args:
        config: what to train, and how.
        folder: holds ``train/`` and ``held-out/``.
        begun: the weights will come from a run's state, so that ``config.model.start`` is not needed.
    """

    def __init__(self, config: SRConfig, folder: Path, *, begun: bool = False) -> None:
        super().__init__()
        self.config = config
        settings, scale = config.optimisation, config.model.scale
        self.sampler = PatchSampler(
            read_folder(folder / "train"),
            scale=scale,
            patch=config.data.patch,
            batch=settings.batch,
            candidates=config.data.candidates,
            reductions=config.data.reductions,
            seed=settings.seed,
        )
        crop = config.data.validation_crop
        self.held_out = [
            make_pair(name, middle(check_size(name, picture, config.data.patch * scale), crop), scale)
            for name, picture in read_folder(folder / "held-out")
        ]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = create_model(config.model.name, scale, pretrained=False)
            if config.model.start is not None and not begun:
                start_from(self.network, Path(config.model.start), config.model.name)
            if settings.expansion:
                expand(self.network, settings.expansion)
        self.mean = {k: v.clone() for k, v in plain_weights(self.network).items()}
        self.start_step = 0
        self.losses: list[float] = []

    def fit(self, run: Run, *, progress: bool) -> float:
        """Train to the end, beginning at the run's state if it has one; return the held-out PSNR."""
        self.run_folder = run
        # Adam is made here, since its moments are part of the state that is restored before Lightning starts.
        self.adam = torch.optim.Adam(self.network.parameters(), lr=1.0, betas=(0.9, 0.99))
        self._restore(run)
        steps = self.config.optimisation.steps
        loader = DataLoader(Steps(self.sampler, self.start_step, steps), batch_size=None)
        with quiet():
            trainer = L.Trainer(
                max_steps=steps - self.start_step,
                max_epochs=1,
                accelerator="auto",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=progress,
                callbacks=[Bar(self.start_step, steps)] if progress else [],
                gradient_clip_val=self.config.optimisation.clip,
            )
            if self.start_step < steps:
                with interruptible():
                    trainer.fit(self, loader)
        return self._finish(run)

    def training_step(self, batch: tuple[int, Tensor, Tensor], index: int) -> Tensor:
        step, source, target = batch
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(self.config.optimisation, step)
        measure = F.l1_loss if self.config.optimisation.loss == "l1" else F.mse_loss
        loss = measure(self.network(source), target)
        if not torch.isfinite(loss):
            self._diverged(step, float(loss.detach()))
        self.losses.append(float(loss.detach()))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: tuple[int, Tensor, Tensor], batch_idx: int) -> None:
        done = batch[0] + 1
        self._update_mean(done)
        every = self.config.run
        if done % every.log_every == 0:
            rate = learning_rate(self.config.optimisation, batch[0])
            loss = math.fsum(self.losses) / len(self.losses)
            self.run_folder.log({"step": done, "loss": loss, "learning_rate": rate})
            self.losses.clear()
        if done % every.validate_every == 0 and done < self.config.optimisation.steps:
            value = self.measure()
            self.run_folder.log({"step": done, "psnr": value})
            self.log("psnr", value, prog_bar=True)
        if done % every.save_every == 0:
            self._save(done)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.adam

    def measure(self) -> float:
        """Return the mean PSNR in dB of the running mean of the weights on the held-out pictures."""
        measured = self.mean_network().to(self.device)
        return float(np.mean([_pair_psnr(measured, pair, self.device) for pair in self.held_out]))

    def mean_network(self) -> SuperResolver:
        """Return the plain network with the running mean of the weights."""
        network = create_model(self.config.model.name, self.config.model.scale, pretrained=False).eval()
        network.load_state_dict(self.mean)
        return network

    def _update_mean(self, done: int) -> None:
        # The decay grows with the step, so that the random start does not weigh on the mean.
        decay = min(self.config.optimisation.ema, done / (done + 9))
        for key, value in plain_weights(self.network).items():
            self.mean[key].lerp_(value.to(self.mean[key].device), 1 - decay)

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
            self._diverged(step, float("nan"))
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
                self.adam.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": tensors[f"exp_avg/{name}"],
                    "exp_avg_sq": tensors[f"exp_avg_sq/{name}"],
                }
        except (RuntimeError, KeyError) as error:
            raise ArgumentError(
                f"the state in {run.folder} is not of the network its config.toml names: {error}"
            ) from error
        self.start_step = step
        run.rewind(step)

    def _diverged(self, step: int, loss: float) -> None:
        self.run_folder.log({"step": step, "event": "diverged", "pictures": self.sampler.names_at(step)})
        saved = self.run_folder.load_state()
        kept = f"the state of step {saved[1]} is kept" if saved else "no state had been saved yet"
        raise TrainingError(
            f"the loss is {loss} at step {step} of run {self.run_folder.folder}; {kept}. "
            f"Pictures of that step: {', '.join(self.sampler.names_at(step))}"
        )

    def _finish(self, run: Run) -> float:
        value, model = self.measure(), self.config.model
        save_weights(self.mean_network(), run.weights_path, name=model.name, scale=model.scale)
        run.finish({"step": self.config.optimisation.steps, "event": "finished", "psnr": value})
        return value


def start_from(network: SuperResolver, path: Path, name: str) -> None:
    """Take over the weights of another checkpoint of network ``name``; of another scale, all but the head.

    Raises:
        FileError: the file cannot be read.
        ArgumentError: it holds another network.
    """
    tensors, metadata = read_tensors(path)
    own = network.state_dict()
    if metadata.get("model") != name or set(tensors) != set(own):
        raise ArgumentError(f"cannot start {name!r} from {path}: it holds weights of model {metadata.get('model')!r}")
    network.load_state_dict(own | {k: v for k, v in tensors.items() if v.shape == own[k].shape})


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{prefix}/"): value for key, value in tensors.items() if key.startswith(f"{prefix}/")}


def _pair_psnr(model: SuperResolver, pair: Pair, device: torch.device) -> float:
    source = torch.from_numpy(pair.source.astype(np.float32) / 255).permute(2, 0, 1)[None].to(device)
    with torch.no_grad():
        enlarged = model(source)[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy()
    x, y = PAPERS.prepare(enlarged), PAPERS.prepare(pair.target)
    return psnr(x, y, border=PAPERS.border(model.scale))
