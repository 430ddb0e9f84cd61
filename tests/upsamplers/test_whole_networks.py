"""UPLiFT, LoftUp and NAF as wholes, against float64 versions written from their equations (``by_equation.py``)."""

from __future__ import annotations

import by_equation
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from karaffe.upsamplers import NAF, LoftUp, UPLiFT

# (row, column) of UPLiFT's neighbours: the 3 x 3, and every second of the ring around it.
SEVENTEEN = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if max(abs(y), abs(x)) < 2 or (y % 2, x % 2) == (0, 0)]
CROSS = [(-1, 0), (0, -1), (0, 0), (0, 1), (1, 0)]


def shaken(module: nn.Module, std: float) -> nn.Module:
    """Random parameters and statistics of batches."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return module.double().eval()


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {k: v.double().numpy() for k, v in module.state_dict().items()}


def compare(got: Tensor, wanted: list[np.ndarray], bound: float) -> None:
    expected = torch.from_numpy(np.stack(wanted))
    assert got.shape == expected.shape
    error = (got.double() - expected).abs().max() / expected.abs().max()
    assert error < bound, f"{error:.1e}"


def maps(channels: int, size: tuple[int, int], image: tuple[int, int], batch: int = 2) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, channels, *size).double(), torch.randn(batch, 3, *image).double()


@pytest.mark.parametrize(
    ("factor", "count", "footprint", "image"),
    [(2, 17, SEVENTEEN, (6, 8)), (4, 17, SEVENTEEN, (13, 9)), (2, 5, CROSS, (3, 4))],
)
def test_uplift(factor, count, footprint, image):
    m = shaken(UPLiFT(4, factor, count, width=20), 0.15)
    x, guide = maps(4, (3, 4), image)
    steps = factor.bit_length() - 1
    with torch.no_grad():
        got = m(x, guide)
    wanted = [
        by_equation.uplift(arrays(m), *pair, steps, footprint) for pair in zip(x.numpy(), guide.numpy(), strict=True)
    ]
    compare(got, wanted, 1e-12)


@pytest.mark.parametrize(("layers", "heads", "frequencies"), [(2, 4, 20), (1, 2, 3)])
def test_loftup(layers, heads, frequencies):
    m = shaken(LoftUp(4, 2, heads, layers, frequencies, whole_batch=False), 0.3)
    x, guide = maps(4, (3, 4), (6, 8))
    with torch.no_grad():
        got = m(x, guide)
    wanted = [
        by_equation.loftup(arrays(m), a, b, heads, frequencies) for a, b in zip(x.numpy(), guide.numpy(), strict=True)
    ]
    compare(got, wanted, 1e-9)


def test_loftup_in_float32():
    """What float32 loses is lost in rounding the inputs: of the rounded ones, the equation's result to 1e-5."""
    m = shaken(LoftUp(4, 2, 4, 2, 20, whole_batch=False), 0.3).float()
    x, guide = (t.float() for t in maps(4, (3, 4), (6, 8)))
    with torch.no_grad():
        got = m(x, guide)
    pairs = zip(x.double().numpy(), guide.double().numpy(), strict=True)
    compare(got, [by_equation.loftup(arrays(m), a, b, 4, 20) for a, b in pairs], 1e-5)


@pytest.mark.parametrize("target", [(8, 10), (12, 10), (7, 9)])
def test_naf(target):
    m = shaken(NAF(4, 2, 16, 2, 3, 2), 0.4)
    m.image_encoder.rope.periods.copy_(100.0 ** (torch.arange(2).double() / 2))  # a float32 buffer, as released
    x, guide = maps(4, (4, 5), (14, 9))
    with torch.no_grad():
        got = m(x, guide, size=target)
    pairs = zip(x.numpy(), guide.numpy(), strict=True)
    compare(got, [by_equation.naf(arrays(m), a, b, target, 2, 3, 2) for a, b in pairs], 1e-12)
