"""The super-resolution networks there are, by name: frozen descriptions and how to make each one."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from karaffe.errors import ArgumentError, unknown_name
from karaffe.models.base import SuperResolver
from karaffe.models.checkpoint import load_weights
from karaffe.models.interpolation import Interpolation
from karaffe.models.sharp import FIRST_KERNEL, Sharp

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class ModelInfo:
    """What a super-resolution network is.

    Attributes:
        name: what :func:`create_model` is called with.
        summary: one line for people.
        scales: factors that have weights; ``None``: any positive integer.
        parameters: learned parameters, at the largest of its scales.
        source: paper, or where the method comes from.
        licence: of the weights, or of the code where there are none.
        learned: whether it has weights.
    """

    name: str
    summary: str
    scales: tuple[int, ...] | None
    parameters: int
    source: str
    licence: str
    learned: bool
    factory: Callable[[int], SuperResolver]
    macs: Callable[[int, int], int]

    def macs_per_source_pixel(self, scale: int, channels: int = 1) -> int:
        """Multiply-adds that are executed for one source pixel of an image with ``channels`` channels (1 or 3)."""
        return self.macs(self.check_scale(scale), channels)

    def check_scale(self, scale: int) -> int:
        """Return ``scale`` if the network has it.

        Raises:
            ArgumentError: it does not; the message names the scales there are.
        """
        if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
            raise ArgumentError(f"scale must be a positive integer; got {scale!r}")
        if self.scales is not None and scale not in self.scales:
            raise ArgumentError(f"model {self.name!r} has no scale {scale}; it has {_join(self.scales)}")
        return scale


def list_models(filter: str = "*") -> list[str]:
    """Return the names of the networks that match the shell pattern ``filter``."""
    return fnmatch.filter(REGISTRY, filter)


def describe_model(name: str) -> ModelInfo:
    """Return the description of network ``name``.

    Raises:
        UnknownNameError: there is none of that name; the message names close ones.
    """
    if name not in REGISTRY:
        raise unknown_name("model", name, REGISTRY)
    return REGISTRY[name]


def create_model(name: str, scale: int, *, pretrained: bool = True) -> SuperResolver:
    """Make the network ``name`` for factor ``scale``, in evaluation mode if ``pretrained``.

    Args:
        name: one of :func:`list_models`.
        scale: the factor.
        pretrained: load the weights that ship with the package; otherwise they are drawn from torch's generator.
            Interpolations have none.

    Raises:
        UnknownNameError: no network of that name.
        ArgumentError: the network does not have that scale.
        FileError: the weights cannot be read.
    """
    info = describe_model(name)
    model = info.factory(info.check_scale(scale))
    if pretrained and info.learned:
        load_weights(model, WEIGHTS / f"{name}_x{scale}.safetensors", name=name, scale=scale)
    return model.eval() if pretrained else model


def _join(scales: tuple[int, ...]) -> str:
    return " and ".join(str(s) for s in scales)


def _interpolation(name: str, summary: str, taps: int, source: str) -> ModelInfo:
    def macs(scale: int, channels: int) -> int:
        # Rows first: each of the s source rows' worth of targets, then s² targets a source pixel.
        return channels * taps * (scale + scale**2) if taps > 1 else 0

    factory = partial(Interpolation, name)
    return ModelInfo(name, summary, None, 0, source, "Apache-2.0", False, factory, macs)


def _sharp(channels: int, depth: int, kernel_size: int) -> ModelInfo:
    scales = (2, 4)
    taps = kernel_size**2

    def macs(scale: int, image_channels: int) -> int:
        trunk = FIRST_KERNEL**2 * channels + depth * 9 * channels**2
        return trunk + taps * scale**2 * (channels + image_channels)

    def factory(scale: int) -> SuperResolver:
        return Sharp(scale, channels=channels, depth=depth, kernel_size=kernel_size)

    weights = FIRST_KERNEL**2 * channels + depth * 9 * channels**2 + channels * taps * max(scales) ** 2
    biases = channels * (depth + 1) + taps * max(scales) ** 2
    summary = "a small network predicts signed kernels from the luma and reassembles the image with them"
    source = "karaffe; reassembly after Wang et al., CARAFE, ICCV 2019"
    return ModelInfo("sharp", summary, scales, weights + biases, source, "Apache-2.0", True, factory, macs)


_KEYS = "R. Keys, IEEE TASSP 29(6), 1981, a = -1/2, as MATLAB"
REGISTRY = MappingProxyType(
    {
        info.name: info
        for info in (
            _interpolation("nearest", "every source pixel becomes a block", 1, "classic"),
            _interpolation("bilinear", "separable triangle kernel", 2, "classic"),
            _interpolation("bicubic", "separable cubic kernel, equal to MATLAB's imresize", 4, _KEYS),
            _interpolation("lanczos", "separable windowed sinc with three lobes", 6, "C. Lanczos; Duchon, 1979"),
            _sharp(channels=32, depth=4, kernel_size=5),
        )
    }
)
