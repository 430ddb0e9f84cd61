"""One segmentation training: the network, the labelled crops, the loss, and how it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from karaffe.errors import ArgumentError, FileError
from karaffe.evaluation.segmentation import IGNORE
from karaffe.models.segmentation import Segmenter, VGGUNet, load_torchvision, save_segmenter
from karaffe.ops import use_backend
from karaffe.training.base import Training
from karaffe.training.run import Run
from karaffe.training.segmentation.augment import Pipeline
from karaffe.training.segmentation.config import SegConfig
from karaffe.training.segmentation.dataset import Dataset, class_shares, class_weights
from karaffe.training.segmentation.measure import agreement, measure
from karaffe.training.segmentation.sampler import CropSampler


class SegTraining(Training):
    """The network, its running mean, and the labelled images of one configuration.

    Args:
        config: what to train, and how.
        dataset: its data, read already.
        begun: the weights will come from a run's state, so that ``config.network.encoder`` is not needed.

    Raises:
        ArgumentError: an image smaller than a crop, weights or an augmentation that do not fit.
        FileError: a file of weights or an augmentation that cannot be read.
    """

    score = "miou"
    keeps_best = True
    network: Segmenter
    sampler: CropSampler

    def __init__(self, config: SegConfig, dataset: Dataset, *, begun: bool = False) -> None:
        super().__init__(config.optimisation, config.run)
        self.config, self.dataset, data = config, dataset, config.data
        self.classes = data.table()
        train = dataset["train"]
        rows, columns = (min(item.labels.shape[axis] for item in train) for axis in (0, 1))
        self.sampler = CropSampler(
            train,
            crop=data.crop or (rows, columns),
            batch=config.optimisation.batch,
            scales=data.scales,
            flip=data.flip,
            jitter=data.jitter,
            augment=Pipeline(Path(data.augmentation)) if data.augmentation else None,
            seed=config.optimisation.seed,
        )
        count = len(self.classes.names)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.optimisation.seed)
            self.network = config.network.make(count)
        if config.network.encoder is not None and not begun:
            start_encoder(self.network, Path(config.network.encoder))
        self.weights: Tensor | None
        self.register_buffer("weights", class_weights(data.class_weights, class_shares(train, count)), persistent=False)
        self.mean = {k: v.clone() for k, v in self.plain_weights().items()}
        self.trainer_options = {"precision": config.run.precision, "deterministic": config.run.deterministic}

    def fit(self, run: Run, *, progress: bool) -> dict[str, Any]:
        with use_backend(self.config.run.backend):
            return super().fit(run, progress=progress)

    def optimizer(self) -> torch.optim.Optimizer:
        # At a rate of 1 the decay is multiplied by the step's own rate, as AdamW means it.
        decay = self.config.optimisation.weight_decay
        return torch.optim.AdamW(self.network.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=decay)

    def loss(self, source: Tensor, target: Tensor) -> Tensor:
        logits = self.network(source).float()
        return F.cross_entropy(logits, target, weight=self.weights, ignore_index=IGNORE)

    def measure(self) -> dict[str, Any]:
        """Return mIoU and accuracy on the selection split."""
        found = measure(self.mean_network(), self.dataset["selection"], boundaries=False, device=self.device).scores
        return {"miou": found.miou, "accuracy": found.accuracy}

    def conclude(self, path: Path) -> dict[str, Any]:
        """Measure the checkpoint that is kept on the test split, where the configuration asks for it."""
        if not self.config.run.test:
            return {}
        from karaffe.models.segmentation import load_segmenter

        model = load_segmenter(path)[0].to(self.device)
        return {"test": agreement(measure(model, self.dataset["test"], device=self.device))}

    def mean_network(self) -> Segmenter:
        """Return the network with the running mean of the weights, on the device that trains."""
        network = self.config.network.make(len(self.classes.names)).to(self.device).eval()
        network.load_state_dict(self.mean)
        return network

    def write_weights(self, path: Path) -> None:
        network = self.config.network
        save_segmenter(
            self.mean_network(),
            path,
            network=network.name,
            upsampler=network.upsampler,
            classes=self.classes,
            width=network.width,
            options=network.options,
        )


def start_encoder(network: Segmenter, path: Path) -> None:
    """Load torchvision's ``vgg16_bn`` weights into the encoder.

    Raises:
        ArgumentError: the network has no VGG-16 encoder, or the weights are others.
        FileError: the file cannot be read.
    """
    if not isinstance(network, VGGUNet):
        raise ArgumentError("network.encoder needs a network with a VGG-16 encoder: vgg-unet or vgg-segnet")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FileError(f"cannot read weights {path}: {error}") from error
    load_torchvision(network.encoder, weights)
