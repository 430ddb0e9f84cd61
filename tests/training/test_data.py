"""Batches are a function of (seed, step); pictures that cannot serve are named."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from karaffe.errors import ArgumentError, FileError
from karaffe.evaluation import imresize
from karaffe.models.luma import LUMA
from karaffe.training.config import DataSection
from karaffe.training.data import middle, read_folder
from karaffe.training.degradation import make_pair
from karaffe.training.module import load_pictures
from karaffe.training.patches import PairStore, PatchSampler, hashed


def pictures(count: int = 3, size: int = 40) -> list[tuple[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [(f"{i}.png", generator.integers(0, 256, (size + i, size + 3 * i, 3), dtype=np.uint8)) for i in range(count)]


def crops_of(batches: PatchSampler, step: int) -> list[list[int]]:
    return batches.crops(torch.tensor([step]))[0].tolist()


def sampler(named=None, **options) -> PatchSampler:
    options = {"scale": 2, "patch": 12, "batch": 6, "seed": 5} | options
    of_store = {name: options.pop(name) for name in ("scale", "patch", "reductions") if name in options}
    return PatchSampler(PairStore(named or pictures(), **of_store), **options)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    first, again = sampler(), sampler()
    for step in (7, 3):
        first(step)
    for a, b in zip(first(4), again(4), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first(4)[0], first(5)[0])
    assert not torch.equal(first(4)[0], sampler(seed=6)(4)[0])


def test_the_draws_are_fixed_for_good() -> None:
    assert crops_of(sampler(batch=2), 0) == [[0, 1, 1, 3], [0, 1, 3, 3]]


def splitmix(x: int) -> int:
    """The finaliser, on Python's own integers."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def test_the_hash_is_splitmix64() -> None:
    golden = 0x9E3779B97F4A7C15
    for seed, step, number in itertools.product((0, 7, 2**63 - 1), (0, 1, 123456), (0, 1, 991)):
        key = splitmix(splitmix((seed + golden) % 2**64) ^ step)
        expected = splitmix((key + (number + 1) * golden) % 2**64) % 2**63
        assert int(hashed(seed, torch.tensor(step), torch.tensor(number))) == expected


def test_many_steps_are_drawn_at_once() -> None:
    batches = sampler(candidates=3)
    together = batches.crops(torch.arange(5))
    assert together.shape == (5, 6, 4)
    assert together.tolist() == [crops_of(batches, step) for step in range(5)]


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("candidates", [1, 3])
def test_sources_are_the_reduced_targets(scale: int, candidates: int) -> None:
    named = [(name, np.repeat(np.repeat(p, scale, 0), scale, 1)) for name, p in pictures()]
    batches = sampler(named, scale=scale, patch=12, batch=6, candidates=candidates)
    source, target = batches(0)
    assert source.shape == (6, 1, 12, 12)
    assert target.shape == (6, 1, 12 * scale, 12 * scale)
    for (plane, top, left, symmetry), crop in zip(crops_of(batches, 0), target[:, 0], strict=True):
        rgb = dict(named)[batches.names[plane]]
        full = torch.from_numpy((rgb / 255.0) @ np.array(LUMA)).float()
        edge = 12 * scale
        expected = full[top * scale : top * scale + edge, left * scale : left * scale + edge]
        turned = [t for f in ([], [0], [1], [0, 1]) for t in (expected.flip(f), expected.flip(f).T)]
        assert any(torch.allclose(t, crop, atol=1e-6) for t in turned)
        assert 0 <= symmetry < 8
    # A mean of the target lies near the mean of the source: they show the same place.
    torch.testing.assert_close(source.mean((1, 2, 3)), target.mean((1, 2, 3)), atol=0.03, rtol=0)


def test_every_symmetry_and_picture_comes_up() -> None:
    batches = sampler(batch=64)
    crops = crops_of(batches, 0)
    assert {symmetry for *_, symmetry in crops} == set(range(8))
    assert {plane for plane, *_ in crops} == {0, 1, 2}
    assert set(batches.names_at(0)) == {"0.png", "1.png", "2.png"}


def test_candidates_choose_detail() -> None:
    flat = np.zeros((64, 64, 3), dtype=np.uint8)
    busy = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    options = {"scale": 2, "patch": 12, "batch": 32}
    few = crops_of(sampler([("flat", flat), ("busy", busy)], **options), 0)
    many = crops_of(sampler([("flat", flat), ("busy", busy)], candidates=8, **options), 0)
    assert sum(plane for plane, *_ in many) > 30 > sum(plane for plane, *_ in few)


def test_the_detail_of_a_crop_is_its_vertical_gradient() -> None:
    batches = sampler(reductions=(1.0, 0.7))
    plane, top, left, _ = batches.crops(torch.tensor([3]))[0].unbind(1)
    found = batches.store.detail(plane, top, left, 12)
    straight = torch.stack((plane, top, left, torch.zeros_like(plane)), 1)
    source = batches.cut(straight)[0][:, 0].double()
    torch.testing.assert_close(found, source.diff(dim=1).abs().sum((1, 2)), atol=1e-9, rtol=0)


def test_reductions_add_smaller_copies_where_a_patch_fits() -> None:
    batches = sampler(reductions=(1.0, 0.65, 0.1))
    assert batches.names == ["0.png", "0.png", "1.png", "1.png", "2.png", "2.png"]


def test_a_picture_smaller_than_a_patch_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"picture 0\.png is 40x40, smaller than a patch of 64x64 target pixels"):
        sampler(patch=32)


def test_the_fingerprint_is_of_the_pixels() -> None:
    changed = pictures()
    changed[1][1][0, 0, 0] ^= 1
    assert sampler().fingerprint == sampler(seed=9).fingerprint
    assert sampler().fingerprint != sampler(changed).fingerprint


def test_a_pair_is_cut_to_the_scale_and_reduced_as_matlab_does() -> None:
    _, picture = pictures()[1]
    pair = make_pair("x", picture, 4)
    assert pair.target.shape == (40, 40, 3)
    np.testing.assert_array_equal(pair.source, imresize(pair.target, 0.25))
    assert middle(picture, 16).shape == (16, 16, 3)
    assert middle(picture, 999) is not None
    assert middle(picture, 999).shape == picture.shape


def test_a_folder_is_read_in_order_as_rgb(tmp_path) -> None:
    Image.new("L", (5, 4), 7).save(tmp_path / "b.png")
    Image.new("RGBA", (5, 4), (1, 2, 3, 0)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    found = read_folder(tmp_path)
    assert [name for name, _ in found] == ["a.png", "b.png"]
    assert found[1][1].shape == (4, 5, 3)
    assert (found[1][1] == 7).all()
    Image.fromarray(np.full((4, 5), 7 * 257, dtype=np.uint16)).save(tmp_path / "c.png")
    assert (dict(read_folder(tmp_path))["c.png"] == 7).all()


def test_folders_that_cannot_serve(tmp_path) -> None:
    with pytest.raises(FileError, match="no folder"):
        read_folder(tmp_path / "none")
    with pytest.raises(FileError, match="holds no picture"):
        read_folder(tmp_path)
    Image.new("RGB", (64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    with pytest.raises(FileError, match=r"torn\.png"):
        read_folder(tmp_path)


def test_pictures_can_be_held_out_by_name(tmp_path) -> None:
    for name, picture in pictures():
        Image.fromarray(picture).save(tmp_path / name)
    section = DataSection(folder="", patch=12, held_out=("1.png",))
    loaded = load_pictures(section, 2, tmp_path)
    assert [pair.name for pair in loaded.held_out] == ["1.png"]
    assert loaded.store.names == ["0.png", "2.png"]
    section = DataSection(folder="", patch=12, held_out=("1.png",), most=1)
    assert load_pictures(section, 2, tmp_path).store.names == ["0.png"]
    with pytest.raises(ArgumentError, match=r"data\.held_out: there is no 9\.png in"):
        load_pictures(DataSection(folder="", patch=12, held_out=("1.png", "9.png")), 2, tmp_path)
    with pytest.raises(ArgumentError, match="no picture is left"):
        load_pictures(DataSection(folder="", patch=12, held_out=("0.png", "1.png", "2.png")), 2, tmp_path)
