"""One super-resolution training as a Lightning module: what it trains, on what, and how it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.evaluation import PAPERS, psnr
from karaffe.models import SuperResolver, create_model, save_weights
from karaffe.models.checkpoint import read_tensors
from karaffe.training.base import Training
from karaffe.training.config import SRConfig
from karaffe.training.data import Pair, PatchSampler, check_size, make_pair, middle, read_folder
from karaffe.training.expansion import expand, plain_weights


class SRTraining(Training):
    """The network, its running mean, and the pictures of one configuration.

    Args:
        config: what to train, and how.
        folder: holds ``train/`` and ``held-out/``.
        begun: the weights will come from a run's state, so that ``config.model.start`` is not needed.
    """

    score = "psnr"
    network: SuperResolver
    sampler: PatchSampler

    def __init__(self, config: SRConfig, folder: Path, *, begun: bool = False) -> None:
        super().__init__(config.optimisation, config.run)
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

    def loss(self, source: Tensor, target: Tensor) -> Tensor:
        measure = F.l1_loss if self.config.optimisation.loss == "l1" else F.mse_loss
        return measure(self.network(source), target)

    def plain_weights(self) -> Mapping[str, Tensor]:
        return plain_weights(self.network)

    def measure(self) -> dict[str, float]:
        """Return the mean PSNR in dB of the running mean of the weights on the held-out pictures."""
        measured = self.mean_network().to(self.device)
        return {"psnr": float(np.mean([_pair_psnr(measured, pair, self.device) for pair in self.held_out]))}

    def mean_network(self) -> SuperResolver:
        """Return the plain network with the running mean of the weights."""
        network = create_model(self.config.model.name, self.config.model.scale, pretrained=False).eval()
        network.load_state_dict(self.mean)
        return network

    def write_weights(self, path: Path) -> None:
        save_weights(self.mean_network(), path, name=self.config.model.name, scale=self.config.model.scale)


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


def _pair_psnr(model: SuperResolver, pair: Pair, device: torch.device) -> float:
    source = torch.from_numpy(pair.source.astype(np.float32) / 255).permute(2, 0, 1)[None].to(device)
    with torch.no_grad():
        enlarged = model(source)[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy()
    x, y = PAPERS.prepare(enlarged), PAPERS.prepare(pair.target)
    return psnr(x, y, border=PAPERS.border(model.scale))
