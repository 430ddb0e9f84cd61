"""The image-guided attention methods, A2U and DLU: loops, bounded memory, released defects and their cures."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from test_sampling_methods import read
from torch import Tensor

from karaffe.errors import ArgumentError, ShapeError
from karaffe.upsamplers import A2U, DLU, JAFAR, NAF, AnyUp, JBUStack, LocalAttender, LoftUp, UPLiFT, load_checkpoint
from karaffe.upsamplers import image_attention as shared


def shaken(m: torch.nn.Module, std: float = 0.4) -> torch.nn.Module:
    for parameter in m.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return m.double().eval()


def rotated(x: Tensor, angle: Tensor) -> Tensor:
    """``(D, H, W)``, both."""
    half = x.shape[0] // 2
    out = torch.empty_like(x)
    for c in range(half):
        out[c] = x[c] * angle[c].cos() - x[c + half] * angle[c].sin()
        out[c + half] = x[c + half] * angle[c + half].cos() + x[c] * angle[c + half].sin()
    return out


@pytest.mark.parametrize("target", [(8, 10), (12, 10), (7, 9)])
def test_naf_against_the_loop(target):
    m = shaken(NAF(4, 2, 16, 2, 3, 1), 0.6)
    x, image = torch.randn(1, 4, 4, 5, dtype=torch.float64), torch.randn(1, 3, 14, 9, dtype=torch.float64)
    with torch.no_grad():
        e = m.image_encoder
        code = F.adaptive_avg_pool2d(torch.cat([e.encoder(image), e.sem_encoder(image)], 1), target)[0]
        query = torch.empty_like(code)
        for head in range(2):
            angle = torch.empty(8, *target, dtype=torch.float64)
            for axis, i in itertools.product(range(2), range(2)):
                places = [((2 * p + 1) / target[axis] - 1) for p in range(target[axis])]
                # The periods are a float32 buffer, as released.
                period = float(torch.tensor(100.0) ** torch.tensor(2 * i / 4))
                line = 2 * math.pi * torch.tensor(places, dtype=torch.float64) / period
                for repeat in (0, 4):
                    angle[repeat + 2 * axis + i] = line[:, None] if axis == 0 else line
            query[head * 8 : head * 8 + 8] = rotated(code[head * 8 : head * 8 + 8], angle)
        key = F.adaptive_avg_pool2d(query, (4, 5))
        got = m(x, image, size=target)
        for head, i, j in itertools.product(range(2), *map(range, target)):
            starts = []
            for p, n, t in zip((i, j), (4, 5), target, strict=True):
                centre = math.floor((p + 0.5) * n / t)
                starts.append(min(max(centre - 1, 0), n - 3))
            rows, columns = (slice(s, s + 3) for s in starts)
            channels, values = slice(head * 8, head * 8 + 8), slice(head * 2, head * 2 + 2)
            logits = (query[channels, i, j, None] * key[channels, rows, columns].flatten(1)).sum(0) * 8**-0.5
            wanted = x[0, values, rows, columns].flatten(1) @ logits.softmax(0)
            torch.testing.assert_close(got[0, values, i, j], wanted, rtol=1e-5, atol=1e-6)


def test_naf_sees_a_small_source_whole():
    m = shaken(NAF(4, 2, 16, 2))
    assert m(torch.randn(1, 4, 2, 3).double(), torch.randn(1, 3, 8, 8).double()).isfinite().all()


def test_naf_reduces_a_large_image_first():
    m = NAF(4, 2, 16, 2).eval()
    x, image = torch.randn(1, 4, 3, 4), torch.randn(1, 3, 40, 100)
    reduced = F.interpolate(image, size=(24, 24), mode="bilinear")
    torch.testing.assert_close(m(x, image), m(x, reduced))


ROWS_IN_TURN = {"jafar": lambda: JAFAR(6, 2, 16, 2), "anyup": lambda: AnyUp(6, 2, 16, 2, window_ratio=0.2)}


def results(m: torch.nn.Module, x: Tensor, image: Tensor, target: tuple[int, int]) -> list[Tensor]:
    """Output and all gradients."""
    x = x.clone().requires_grad_()
    y = m(x, image, size=target)
    leaves = [x, *(p for p in m.parameters() if p.requires_grad)]
    return [y.detach(), *torch.autograd.grad(y, leaves, torch.cos(torch.arange(y.numel())).double().view_as(y))]


@pytest.mark.parametrize("name", ROWS_IN_TURN)
@pytest.mark.parametrize("target", [(10, 12), (7, 3), (3, 3)])
def test_rows_in_turn_change_nothing(name, target, monkeypatch):
    m = shaken(ROWS_IN_TURN[name]())
    x, image = torch.randn(2, 6, 5, 6).double(), torch.randn(2, 3, 13, 8).double()
    at_once = results(m, x, image, target)
    monkeypatch.setattr(shared, "LARGEST_CHUNK", 600)
    for found, wanted in zip(results(m, x, image, target), at_once, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ROWS_IN_TURN)
def test_memory_is_bounded(name, training, monkeypatch):
    """Weights of targets by sources are made a chunk at a time, and none of them wait for the gradients."""
    m = shaken(ROWS_IN_TURN[name]())
    x, image = torch.randn(1, 6, 24, 24).double(), torch.randn(1, 3, 40, 40).double()
    pairs, kept, chunks, mixed = 2 * 40**2 * 24**2, [], [], shared._mixed

    def recording(query: Tensor, key: Tensor, *others: object) -> Tensor:
        chunks.append(query.shape[:4].numel() * key.shape[2:4].numel())
        return mixed(query, key, *others)

    monkeypatch.setattr(shared, "LARGEST_CHUNK", pairs // 20)
    monkeypatch.setattr(shared, "_mixed", recording)
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t)
    with torch.set_grad_enabled(training), hooks:
        y = m(x, image, size=40)
    assert len(chunks) > 1
    assert max(chunks) <= pairs // 20
    if training:
        forward = len(chunks)
        y.sum().backward()
        assert len(chunks) == 2 * forward  # each once again
    # The encoders keep some maps a layer; weights of all pairs would be several times as much.
    assert sum({t.untyped_storage().data_ptr(): t.numel() for t in kept}.values()) < pairs


def test_windows():
    """Targets at 1/8, 3/8, 5/8, 7/8 of a map of ten see what lies within 0.1 of it."""
    w = shared.around(10, 4, 0.1)
    assert (w.first, w.last) == ([0, 2, 5, 7], [3, 5, 8, 10])
    assert shared.whole(3, 2) == shared.Window([0, 0], [3, 3])


def test_anyup_follows_the_order_of_channels_only_as_released():
    x, image = torch.randn(1, 6, 5, 6).double(), torch.randn(1, 3, 10, 12).double()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for released in (True, False):
        m = shaken(AnyUp(6, 2, 16, 2, released_order=released))
        same = torch.allclose(m(x[:, order], image), m(x, image)[:, order])
        assert same != released


def test_anyup_takes_the_weights_of_any_width():
    few, many = AnyUp(3), AnyUp(48)
    many.load_state_dict(few.state_dict(), strict=True)


def test_loftup_pictures_of_a_batch():
    x, image = (
        torch.randn(2, 4, 3, 3).double(),
        torch.rand(2, 3, 6, 6).double() * torch.tensor([1, 5])[:, None, None, None],
    )
    for whole in (True, False):
        m = shaken(LoftUp(4, frequencies=2, whole_batch=whole))
        alone = torch.cat([m(x[i : i + 1], image[i : i + 1]) for i in range(2)])
        assert torch.allclose(m(x, image), alone) != whole


def test_loftup_with_a_learned_code():
    m = shaken(LoftUp(4, frequencies=2, place_code="learned", place_size=3))
    x, image = torch.randn(1, 4, 3, 3).double(), torch.rand(1, 3, 6, 6).double()
    assert m.lr_pe.shape == (1, 9, 4)
    placed = m._placed(x)
    torch.testing.assert_close(placed, x + m.lr_pe.mT.reshape(1, 4, 3, 3))
    assert m(x, image).shape == (1, 4, 6, 6)


def test_uplift_repeats_its_step():
    m, once = shaken(UPLiFT(4, 4, width=20)), UPLiFT(4, 2, width=20)
    once.double().eval().load_state_dict(m.state_dict(), strict=True)
    x, image = torch.randn(1, 4, 3, 4).double(), torch.randn(1, 3, 12, 16).double()
    torch.testing.assert_close(m(x, image), once(once(x, image), image))


@pytest.mark.parametrize("count", [5, 9, 13, 17, 25])
def test_attender_against_the_loop(count):
    m = shaken(LocalAttender(30, count))
    x, guide = torch.randn(1, 2, 3, 4).double(), torch.randn(1, 30, 6, 8).double()
    weights = (m.conv1(guide) + guide[:, :count]).softmax(1)
    reach = m.kernel_size // 2
    offsets = [divmod(p, m.kernel_size) for p in m.places]
    got = m(x, guide)
    for i, j in itertools.product(range(6), range(8)):
        wanted = torch.zeros(2).double()
        for t, (a, b) in enumerate(offsets):
            r, c = (min(max(p // 2 + q - reach, 0), n - 1) for p, q, n in ((i, a, 3), (j, b, 4)))
            wanted = wanted + weights[0, t, i, j] * x[0, :, r, c]
        torch.testing.assert_close(got[0, :, i, j], wanted)


def a2u_parts(m: torch.nn.Module, y: Tensor) -> Tensor:
    """The affinity map of one picture."""
    maps = []
    for make, norm in ((m.bconv_U, m.bnu), (m.bconv_V, m.bnv)):
        k = m.encode_kernel
        means = F.adaptive_avg_pool2d(y, k)
        filters = torch.einsum("oc,chw->ohw", make[1].weight[:, :, 0, 0], means[0]) + make[1].bias[:, None, None]
        padded = F.pad(y[0], [(k - 1) // 2, k, (k - 1) // 2, k])
        out = torch.zeros(1, y.shape[1], y.shape[2] // 2, y.shape[3] // 2, dtype=y.dtype)
        for c, i, j in itertools.product(*map(range, out.shape[1:])):
            window = padded[c, 2 * i : 2 * i + k, 2 * j : 2 * j + k]
            out[0, c, i, j] = (window * filters[c if len(filters) > 1 else 0]).sum()
        out = norm(out)
        maps.append(torch.where(out > 0, out, 0.01 * out))
    return (maps[0] * maps[1]).sum(1)[0] / math.sqrt(y.shape[1])


@pytest.mark.parametrize(("encode_kernel", "share"), [(5, True), (6, False)])
def test_a2u_against_the_loop(encode_kernel, share):
    down, up = A2U.make_pair(4, 3, encode_kernel, share, norm_groups=2)
    shaken(down)
    y, x = torch.randn(1, 4, 8, 6).double(), torch.randn(1, 4, 4, 3).double()
    m = A2U(4, 2, 3, encode_kernel, share, norm_groups=2).double()
    m.load_state_dict({k: v for k, v in down.state_dict().items() if "DP" not in k}, strict=True)
    with torch.no_grad():
        a = a2u_parts(down, y)
        means = y.mean((2, 3))[0]
        vectors = [b[1].weight[:, :, 0, 0] @ means + b[1].bias for b in (down.bconv_UP, down.bconv_DP)]
        pooled, kernels = down(y)
        torch.testing.assert_close(m(x, y), up(x, kernels))
        torch.testing.assert_close(m.kernels(x, y)[:, 0], kernels)
        wide, around = F.pad(y[0], [2, 3, 2, 3]), F.pad(x[0], [1] * 4)
        for i, j in itertools.product(range(4), range(3)):
            weights = (vectors[1] * a[i, j]).softmax(0)
            wanted = wide[:, 2 * i : 2 * i + 6, 2 * j : 2 * j + 6].flatten(1) @ weights
            torch.testing.assert_close(pooled[0, :, i, j], wanted)
            for r, q in itertools.product(range(2), range(2)):
                weights = (vectors[0][2 * r + q :: 4] * a[i, j]).sigmoid().softmax(0)
                wanted = around[:, i : i + 3, j : j + 3].flatten(1) @ weights
                torch.testing.assert_close(up(x, kernels)[0, :, 2 * i + r, 2 * j + q], wanted)


@pytest.mark.parametrize("target", [(8, 10), (7, 9), (1, 3)])
@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
def test_dlu_against_the_loop(target, padding_mode):
    m = shaken(DLU(3, 2, 3, compressed_channels=4, padding_mode=padding_mode), 0.8)
    x = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        compressed = m.channel_compressor(x)
        bank = m.kernel_space_generator(compressed).softmax(1)[0]
        moved = m.conv_offset(compressed)[0].unflatten(0, (2, 2, 2))
        got = m(x, size=target)
        for i, j in itertools.product(*map(range, target)):
            (pr, dy), (pc, dx) = (divmod(y * n * 2 // t, 2) for y, n, t in ((i, 4, target[0]), (j, 5, target[1])))
            r, c = i * 4 // target[0], j * 5 // target[1]
            u, v = moved[:, dy, dx, pr, pc].tolist()
            kernel = read(bank, r + v, c + u, "replicate")
            wanted = torch.zeros(3).double()
            for t, (a, b) in enumerate(itertools.product(range(r - 1, r + 2), range(c - 1, c + 2))):
                wanted += kernel[t] * read(x[0], a, b, padding_mode)
            torch.testing.assert_close(got[0, :, i, j], wanted)


def test_dlu_begins_with_one_kernel_a_source_pixel():
    m = DLU(4)
    kernels = m.kernels(torch.randn(1, 4, 3, 3))
    torch.testing.assert_close(kernels, kernels[..., ::2, ::2].repeat_interleave(2, 3).repeat_interleave(2, 4))
    assert m.offsets(torch.randn(1, 4, 3, 3)).abs().max() == 0


def test_released_checkpoints_with_the_features_normalisation_in_front():
    m = JBUStack(4, 4)
    state = {f"upsampler.{k}": torch.randn_like(v) for k, v in m.state_dict().items()}
    load_checkpoint(m, state | {"model.1.norm.weight": torch.ones(4), "model.1.norm.bias": torch.zeros(4)})
    assert torch.equal(m.up2.range_proj[0].weight, state["upsampler.up2.range_proj.0.weight"])


@pytest.mark.parametrize("make", [lambda: JAFAR(16, 2, 16), lambda: JAFAR(6, 2, 16), lambda: AnyUp(6, 2, 16)])
def test_unused_projections_are_kept_without_gradients(make):
    m = make()
    unused = {k for k, p in m.named_parameters() if not p.requires_grad}
    assert {"cross_decode.cross_attn.attention.out_proj.weight"} <= unused
    packed = "cross_decode.cross_attn.attention.in_proj_weight" in m.state_dict()
    assert packed == (isinstance(m, AnyUp) or m.channels == 16)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: JAFAR(8, qk_dim=30), ArgumentError, "qk_dim must be a multiple of heads=4"),
        (lambda: AnyUp(8, window_ratio=0), ArgumentError, "window_ratio must be above 0"),
        (lambda: AnyUp(8, filter_kernel=4), ArgumentError, "filter_kernel must be odd"),
        (lambda: NAF(6), ArgumentError, "heads must divide the 6 channels"),
        (lambda: NAF(8, qk_dim=24), ArgumentError, "qk_dim must be a multiple"),
        (lambda: UPLiFT(8, 3), ArgumentError, "a power of 2"),
        (lambda: UPLiFT(8, num_connected=7), ArgumentError, r"num_connected must be one of \(5, 9, 13, 17, 25\)"),
        (lambda: LoftUp(7), ArgumentError, "heads must divide the 27 channels"),
        (lambda: LoftUp(8, place_code="none"), ArgumentError, "place_code must be one of"),
        (lambda: A2U(8), ArgumentError, "norm_groups must divide the guide's 8 channels"),
        (lambda: A2U(32, 4), ArgumentError, "scale_factor must be 2"),
        (lambda: A2U.make_pair(32)[0](torch.randn(1, 32, 5, 6)), ShapeError, "even H and W"),
        (lambda: DLU(8, 1.5), ArgumentError, "whole number"),
        (lambda: JAFAR(8)(torch.randn(1, 8, 4, 4)), ShapeError, r"needs a guide \(1, 3, any size, any size\)"),
        (lambda: JAFAR(8)(torch.randn(1, 8, 4, 4), torch.randn(1, 4, 9, 9)), ShapeError, r"got \(1, 4, 9, 9\)"),
        (lambda: LoftUp(8)(torch.randn(1, 8, 4, 4), torch.randn(1, 3, 9, 9)), ShapeError, "of the target size"),
    ],
)
def test_wrong_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()
