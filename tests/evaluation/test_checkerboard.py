"""Checkerboard energy is the spectrum's power at the stride's frequencies."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from karaffe.errors import ArgumentError, ShapeError
from karaffe.evaluation.checkerboard import checkerboard_energy


@given(st.integers(2, 5), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_it_is_the_spectrum(stride: int, rows: int, columns: int, seed: int) -> None:
    image = np.random.default_rng(seed).normal(size=(stride * rows, stride * columns))
    power = np.abs(np.fft.fft2(image)) ** 2
    power[0, 0] = 0
    assert checkerboard_energy(image, stride) == pytest.approx(power[::rows, ::columns].sum() / power.sum())


def test_a_checkerboard_is_all_of_it_and_a_constant_nothing() -> None:
    board = np.indices((8, 10)).sum(0) % 2
    assert checkerboard_energy(board.astype(float), 2) == pytest.approx(1)
    assert checkerboard_energy(np.ones((8, 8)), 2) == 0
    assert checkerboard_energy(np.random.default_rng(0).normal(size=(256, 256, 3)), 2) < 1e-3


def test_an_uneven_overlap_shows_and_an_even_one_does_not() -> None:
    """A transposed convolution of 3 taps at stride 2 covers pixels 1 to 4 times; one of 4 taps covers all alike."""
    x = torch.ones(1, 1, 32, 32) + 0.01 * torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    uneven, even = (F.conv_transpose2d(x, torch.ones(1, 1, k, k), stride=2)[0, 0, 4:60, 4:60].numpy() for k in (3, 4))
    assert checkerboard_energy(uneven, 2) > 0.99
    assert checkerboard_energy(even, 2) < 0.01


def test_what_is_not_accepted() -> None:
    with pytest.raises(ArgumentError, match="stride"):
        checkerboard_energy(np.zeros((8, 8)), 1)
    with pytest.raises(ShapeError, match="at least 4"):
        checkerboard_energy(np.zeros((3, 8)), 4)
