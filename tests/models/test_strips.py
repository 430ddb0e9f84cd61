"""Strips change nothing: the same result as in one piece, whatever the height of a strip."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from karaffe.models import Sharp, create_model, strips


@settings(max_examples=30, deadline=None)
@given(
    pixels=st.integers(1, 400),
    shape=st.tuples(st.integers(1, 3), st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 12)),
    scale=st.sampled_from([2, 3]),
)
def test_strips_equal_the_whole(pixels: int, shape: tuple[int, ...], scale: int) -> None:
    model = Sharp(scale, channels=4, depth=1).double()
    torch.nn.init.normal_(model.head.weight, 0, 0.1)
    x = torch.rand(shape, dtype=torch.float64)
    whole = model(x)
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "STRIP_PIXELS", pixels)
        torch.testing.assert_close(model(x), whole, rtol=0, atol=1e-12)


def test_kernels_of_a_large_image_are_never_whole() -> None:
    sizes = []
    image = torch.rand(1, 3, 300, 200)

    def part(image: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        sizes.append(image[:, 0].numel())
        return image.repeat_interleave(2, 2).repeat_interleave(2, 3)

    with torch.no_grad():
        result = strips.in_strips(part, image, image, 2)
    torch.testing.assert_close(result, part(image, image), rtol=0, atol=0)
    assert len(sizes) > 2
    assert max(sizes[:-1]) <= strips.STRIP_PIXELS + 4 * 200


def test_training_takes_the_whole_patch() -> None:
    x = torch.rand(1, 1, 200, 200)
    model = create_model("sharp", 2)
    assert model(x).grad_fn is not None
