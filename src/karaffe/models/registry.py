"""The super-resolution networks there are, by name: frozen descriptions and how to make each one."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from karaffe.errors import ArgumentError, unknown_name
from karaffe.models.base import SuperResolver
from karaffe.models.checkpoint import load_weights, read_tensors
from karaffe.models.cost import multiply_adds
from karaffe.models.espcn import ESPCN
from karaffe.models.faithful import Faithful
from karaffe.models.fsrcnn import FSRCNN
from karaffe.models.interpolation import Interpolation
from karaffe.models.sharp import Sharp
from karaffe.models.srcnn import SRCNN
from karaffe.models.srresnet import SRResNetSmall
from karaffe.models.stack import Stack

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class ModelInfo:
    """What a super-resolution network is.

    Attributes:
        name: what :func:`create_model` is called with.
        summary: one line for people.
        scales: factors that can be used at once: for a network that learns, those whose weights ship with karaffe,
            maybe none; ``None``: any positive integer.
        trainable: factors that a network that learns can be trained for; empty for interpolations.
        source: paper, or where the method comes from.
        licence: of the weights, or of the code where there are none.
        learned: whether it has weights.
    """

    name: str
    summary: str
    scales: tuple[int, ...] | None
    trainable: tuple[int, ...]
    source: str
    licence: str
    learned: bool
    factory: Callable[..., SuperResolver]
    macs: Callable[[int, int], int]

    @property
    def parameters(self) -> int:
        """Learned parameters, at the largest of its scales."""
        if not self.learned:
            return 0
        with torch.random.fork_rng(devices=[]):
            return sum(p.numel() for p in self.factory(max(self.scales or self.trainable)).parameters())

    def macs_per_source_pixel(self, scale: int, channels: int = 1) -> int:
        """Multiply-adds that are executed for one source pixel of an image with ``channels`` channels (1 or 3)."""
        return self.macs(self.check_scale(scale, pretrained=False), channels)

    def check_scale(self, scale: int, *, pretrained: bool = True) -> int:
        """Return ``scale`` if the network has it: with weights, or, without ``pretrained``, at all.

        Raises:
            ArgumentError: it does not; the message names the scales there are.
        """
        if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
            raise ArgumentError(f"scale must be a positive integer; got {scale!r}")
        if self.scales is None or scale in (self.scales if pretrained else self.trainable):
            return scale
        if pretrained and not self.scales:
            raise ArgumentError(
                f"no weights of model {self.name!r} ship with karaffe; train them with `karaffe train sr`, or make the "
                "network with pretrained=False and load your own"
            )
        raise ArgumentError(
            f"model {self.name!r} has no scale {scale}; it has {_join(self.scales if pretrained else self.trainable)}"
        )


def list_models(filter: str = "*", *, pretrained: bool = True) -> list[str]:
    """Return the names of the networks that match the shell pattern ``filter``.

    Without ``pretrained`` also those that have no weights yet and can be trained.
    """
    names = [name for name, info in REGISTRY.items() if not pretrained or info.scales != ()]
    return fnmatch.filter(names, filter)


def describe_model(name: str) -> ModelInfo:
    """Return the description of network ``name``.

    Raises:
        UnknownNameError: there is none of that name; the message names close ones.
    """
    if name not in REGISTRY:
        raise unknown_name("model", name, REGISTRY)
    return REGISTRY[name]


def create_model(name: str, scale: int, *, pretrained: bool = True, **options: Any) -> SuperResolver:
    """Make the network ``name`` for factor ``scale``, in evaluation mode if ``pretrained``.

    Args:
        name: one of :func:`list_models`.
        scale: the factor.
        pretrained: load the weights that ship with the package; otherwise they are drawn from torch's generator.
            Interpolations have none.
        options: keyword arguments of the network's class, such as ``channels``; the weights that ship are for the
            defaults.

    Raises:
        UnknownNameError: no network of that name.
        ArgumentError: the network does not have that scale, or not such an option.
        FileError: the weights cannot be read.
    """
    info = describe_model(name)
    info.check_scale(scale, pretrained=pretrained)
    if options and (pretrained or not info.learned):
        raise ArgumentError(f"options of a network go with pretrained=False; got {', '.join(options)} for {name!r}")
    try:
        model = info.factory(scale, **options)
    except TypeError as error:
        raise ArgumentError(f"model {name!r} has no such option: {error}") from error
    if pretrained and info.learned:
        load_weights(model, WEIGHTS / f"{name}_x{scale}.safetensors", name=name, scale=scale)
    return model.eval() if pretrained else model


def load_model(path: str | os.PathLike[str]) -> SuperResolver:
    """Make the network whose weights :func:`karaffe.models.save_weights` wrote, in evaluation mode.

    Raises:
        FileError: the file cannot be read.
        ArgumentError: it does not say which network it is of, or holds weights that do not fit that network.
    """
    _, metadata = read_tensors(path)
    try:
        name, scale = metadata["model"], int(metadata["scale"])
        options = json.loads(metadata.get("options", "{}"))
    except (KeyError, ValueError) as error:
        raise ArgumentError(f"{path} does not say which network it is of: {metadata}") from error
    model = create_model(name, scale, pretrained=False, **options)
    load_weights(model, path, name=name, scale=scale)
    return model.eval()


def open_model(source: str, scale: int) -> SuperResolver:
    """Make a network with weights for factor ``scale``: one that ships, by its name, or a ``.safetensors`` file's.

    Raises:
        UnknownNameError, ArgumentError, FileError: as :func:`create_model` and :func:`load_model`; or the file is of
            another scale.
    """
    if not source.endswith(".safetensors"):
        return create_model(source, scale)
    model = load_model(source)
    if model.scale != scale:
        raise ArgumentError(f"{source} holds weights for scale {model.scale}, not {scale}")
    return model


def _join(scales: tuple[int, ...]) -> str:
    texts = [str(s) for s in scales]
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else texts[0]


def _interpolation(name: str, summary: str, taps: int, source: str) -> ModelInfo:
    def macs(scale: int, channels: int) -> int:
        # Rows first: each of the s source rows' worth of targets, then s² targets a source pixel.
        return channels * taps * (scale + scale**2) if taps > 1 else 0

    factory = partial(Interpolation, name)
    return ModelInfo(name, summary, None, (), source, "Apache-2.0", False, factory, macs)


def _network(
    name: str,
    factory: Callable[..., SuperResolver],
    summary: str,
    source: str,
    *,
    scales: tuple[int, ...] = (),
    trainable: tuple[int, ...] = (2, 3, 4),
) -> ModelInfo:
    def macs(scale: int, channels: int) -> int:
        with torch.random.fork_rng(devices=[]):
            return multiply_adds(factory(scale), channels)

    return ModelInfo(name, summary, scales, trainable, source, "Apache-2.0", True, factory, macs)


_KEYS = "R. Keys, IEEE TASSP 29(6), 1981, a = -1/2, as MATLAB"
_OURS = "karaffe; reassembly after Wang et al., CARAFE, ICCV 2019"
REGISTRY = MappingProxyType(
    {
        info.name: info
        for info in (
            _interpolation("nearest", "every source pixel becomes a block", 1, "classic"),
            _interpolation("bilinear", "separable triangle kernel", 2, "classic"),
            _interpolation("bicubic", "separable cubic kernel, equal to MATLAB's imresize", 4, _KEYS),
            _interpolation("lanczos", "separable windowed sinc with three lobes", 6, "C. Lanczos; Duchon, 1979"),
            _network(
                "sharp",
                Sharp,
                "a small network predicts signed kernels from the luma and reassembles the image with them",
                _OURS,
                scales=(2, 3, 4),
            ),
            _network(
                "faithful",
                Faithful,
                "as sharp with convex kernels: no value leaves the range of its surroundings",
                _OURS,
                scales=(2, 3, 4),
            ),
            _network("srcnn", SRCNN, "three convolutions on the interpolated image", "Dong et al., ECCV 2014"),
            _network("espcn", ESPCN, "three convolutions and sub-pixels", "Shi et al., CVPR 2016"),
            _network("fsrcnn", FSRCNN, "a narrow trunk and a transposed convolution", "Dong et al., ECCV 2016"),
            _network("stack", Stack, "3x3 convolutions and sub-pixels or kernels", "after Zhang et al., ACM MM 2021"),
            _network(
                "srresnet-small",
                SRResNetSmall,
                "residual blocks, and any upsampler of the family",
                "after Ledig et al., CVPR 2017",
            ),
        )
    }
)
