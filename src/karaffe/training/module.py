"""One super-resolution training as a Lightning module: what it trains, on what, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from karaffe.errors import ArgumentError
from karaffe.evaluation import PAPERS, psnr
from karaffe.models import SuperResolver, create_model, save_weights
from karaffe.models.checkpoint import read_tensors
from karaffe.training.base import Training
from karaffe.training.config import DataSection, SRConfig
from karaffe.training.data import Pair, check_size, middle, read_folder
from karaffe.training.degradation import make_pair
from karaffe.training.expansion import expand, plain_weights
from karaffe.training.patches import PairStore, PatchSampler


def charbonnier(x: Tensor, y: Tensor) -> Tensor:
    """The mean of sqrt((x - y)² + 1e-6), L1 that is smooth at zero (Charbonnier et al., ICIP 1994)."""
    return ((x - y).square() + 1e-6).sqrt().mean()


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"l1": F.l1_loss, "l2": F.mse_loss, "charbonnier": charbonnier}
)


@dataclass(frozen=True)
class Pictures:
    """What a training sees, and the pairs that decide."""

    store: PairStore
    held_out: list[Pair]


def load_pictures(data: DataSection, scale: int, folder: Path) -> Pictures:
    """Read the pictures of ``folder``, divided by subfolders or by ``data.held_out``, and reduce them.

    Raises:
        FileError: a folder or a picture that cannot be read.
        ArgumentError: a picture that is smaller than a patch, or one to be held out that there is not.
    """
    if data.held_out:
        found = read_folder(folder)
        missing = set(data.held_out) - {name for name, _ in found}
        if missing:
            raise ArgumentError(f"data.held_out: there is no {', '.join(sorted(missing))} in {folder}")
        if len(data.held_out) == len(found):
            raise ArgumentError(f"data.held_out: no picture is left to train on in {folder}")
        train = [picture for picture in found if picture[0] not in data.held_out]
        if 0 < data.most < len(train):
            train = [train[i * len(train) // data.most] for i in range(data.most)]
        deciding = [picture for picture in found if picture[0] in data.held_out]
    else:
        train, deciding = read_folder(folder / "train"), read_folder(folder / "held-out")
    store = PairStore(train, scale=scale, patch=data.patch, reductions=data.reductions, degradation=data.degradation)
    held_out = [
        make_pair(
            name, middle(check_size(name, picture, data.patch * scale), data.validation_crop), scale, data.degradation
        )
        for name, picture in deciding
    ]
    return Pictures(store, held_out)


class SRTraining(Training):
    """The network, its running mean, and the pictures of one configuration.

    Args:
        config: what to train, and how.
        pictures: of :func:`load_pictures`; trainings on the same data can share them.
        begun: the weights will come from a run's state, so that ``config.model.start`` is not needed.
    """

    score = "psnr"
    network: SuperResolver
    sampler: PatchSampler

    def __init__(self, config: SRConfig, pictures: Pictures, *, begun: bool = False) -> None:
        super().__init__(config.optimisation, config.run)
        self.config = config
        settings, scale = config.optimisation, config.model.scale
        self.trainer_options = {"precision": config.run.precision}
        self.sampler = PatchSampler(
            pictures.store, batch=settings.batch, candidates=config.data.candidates, seed=settings.seed
        )
        self.held_out = pictures.held_out
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = create_model(config.model.name, scale, pretrained=False, **config.model.options)
            if config.model.start is not None and not begun:
                start_from(self.network, Path(config.model.start), config.model.name)
            if settings.expansion:
                expand(self.network, settings.expansion)
        if config.run.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean = {k: v.clone() for k, v in plain_weights(self.network).items()}

    def loss(self, source: Tensor, target: Tensor) -> Tensor:
        return LOSSES[self.config.optimisation.loss](self.network(source).to(target.dtype), target)

    def plain_weights(self) -> Mapping[str, Tensor]:
        return plain_weights(self.network)

    def measure(self) -> dict[str, float]:
        """Return the mean PSNR in dB of the running mean of the weights on the held-out pictures."""
        measured = self.mean_network().to(self.device)
        return {"psnr": float(np.mean([_pair_psnr(measured, pair, self.device) for pair in self.held_out]))}

    def mean_network(self) -> SuperResolver:
        """Return the plain network with the running mean of the weights."""
        model = self.config.model
        network = create_model(model.name, model.scale, pretrained=False, **model.options).eval()
        network.load_state_dict(self.mean)
        return network

    def write_weights(self, path: Path) -> None:
        model = self.config.model
        save_weights(self.mean_network(), path, name=model.name, scale=model.scale, options=model.options)


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
