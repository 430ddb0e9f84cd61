"""Collapsible convolutions: train a product of two matrices, keep the product.

A 3x3 convolution's weight is written ``W = B · A`` with ``A: (width, 9 C_in)`` and ``B: (C_out, width)``, and the
product is formed on the weights, so that an image costs what it costs without. The factors change the path of the
optimiser and nothing else. Bhardwaj et al., *SESR: single-image super resolution with collapsible linear blocks*,
MLSys 2022, section 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class Product(nn.Module):
    """The weight ``(C_out, C_in, k, k)`` as the product of two matrices."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, outer: Tensor, inner: Tensor) -> Tensor:
        k = math.isqrt(inner.shape[1] // self.channels)
        return (outer @ inner).view(outer.shape[0], self.channels, k, k)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Draw factors whose product is ``weight``: what the outer one cannot see of the inner one is random."""
        self.channels = weight.shape[1]
        flat = weight.flatten(1)
        outer = torch.randn(len(flat), self.width, dtype=flat.dtype) * math.sqrt(2 / self.width)
        inner = torch.randn(self.width, flat.shape[1], dtype=flat.dtype) / math.sqrt(flat.shape[1])
        return outer, inner + torch.linalg.pinv(outer) @ (flat - outer @ inner)


def _convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]


def expand(model: nn.Module, width: int) -> None:
    """Write the weight of every 3x3 convolution of ``model`` as a product of inner width ``width``.

    The product equals the weight if ``width`` is at least the number of output channels.
    """
    for layer in _convolutions(model):
        parametrize.register_parametrization(layer, "weight", Product(width), unsafe=True)


def collapse(model: nn.Module) -> None:
    """Multiply the products out; ``model`` computes what it did and has its plain ``state_dict`` again."""
    for layer in _convolutions(model):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the ``state_dict`` that ``model`` has once collapsed, without changing it."""
    plain = {k: v.detach() for k, v in model.state_dict().items() if ".parametrizations." not in k}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d) and parametrize.is_parametrized(layer, "weight"):
            plain[f"{name}.weight"] = layer.weight.detach()
    return plain
