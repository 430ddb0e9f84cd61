"""Tiles of a band side by side: the same image, torch's threads divided and given back, one error."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

from karaffe.imaging import upscale
from karaffe.imaging.tile_threads import tile_threads, tiles_at_once
from karaffe.models import SuperResolver


@pytest.fixture(autouse=True)
def four_threads(set_threads):
    set_threads(4)


class Doubling(SuperResolver):
    """Every pixel four times; notes how many threads are in it at a time, and how many torch may use there."""

    def __init__(self, together: int = 1) -> None:
        super().__init__(2, 0)
        self.meeting = threading.Barrier(together)
        self.threads: set[int] = set()

    def enlarge(self, x):
        self.threads.add(torch.get_num_threads())
        self.meeting.wait(20)
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (21, 64, 3), dtype=np.uint8)


def test_tiles_of_a_band_meet_and_the_image_is_the_same(picture):
    network = Doubling(together=4).eval()
    result = upscale(picture, 2, network, tile=16)
    np.testing.assert_array_equal(result, picture.repeat(2, 0).repeat(2, 1))
    assert network.threads == {1}


@pytest.mark.parametrize("width", [1, 17, 33, 40, 64])
@pytest.mark.parametrize("model", ["sharp", "lanczos"])
def test_the_image_does_not_depend_on_the_number_of_threads(picture, width, model):
    picture = picture[:, :width]
    many = upscale(picture, 2, model, tile=16)
    torch.set_num_threads(1)
    assert np.abs(upscale(picture, 2, model, tile=16).astype(int) - many).max() <= 1


def test_one_tile_has_all_the_threads(picture):
    network = Doubling().eval()
    upscale(picture, 2, network, tile=0)
    assert network.threads == {4}


def test_modules_of_others_are_called_one_at_a_time(picture):
    inside = threading.Lock()

    class Module(nn.Module):
        scale, halo = 2, 0

        def forward(self, x):
            assert inside.acquire(blocking=False), "two threads at a time"
            result = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            inside.release()
            return result

    upscale(picture, 2, Module().eval(), tile=4)


def test_the_number_of_threads_is_given_back():
    with tile_threads(tiles_at_once()) as pool:
        assert pool is not None
        assert {pool.submit(torch.get_num_threads).result() for _ in range(8)} == {1}
        assert torch.get_num_threads() == 4
    found = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert (torch.get_num_threads(), found) == (4, [4])


def test_a_failure_in_one_tile_is_the_callers(picture):
    class Failing(Doubling):
        def enlarge(self, x):
            if x[0, 0, 0, 0] == picture[0, 16, 0] / np.float32(255):
                raise RuntimeError("this tile does not work")
            return super().enlarge(x)

    with pytest.raises(RuntimeError, match="this tile does not work"):
        upscale(picture, 2, Failing().eval(), tile=16)
    assert torch.get_num_threads() == 4
