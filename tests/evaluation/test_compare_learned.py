"""The picture of where the content mattered, beside the strips of a comparison."""

import numpy as np
from PIL import Image

from karaffe.evaluation import Look, compare

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 40, 3)).astype(np.uint8)


def test_models_that_predict_kernels_get_a_picture(tmp_path):
    result = compare(
        {"one": PICTURE}, 2, ["bicubic", "sharp"], output=tmp_path / "out", look=Look(learned=True, crop_size=8)
    )
    path = tmp_path / "out" / "one-x2-learned.png"
    assert path in result.files
    with Image.open(path) as drawn:
        assert drawn.width > 900


def test_interpolations_get_none(tmp_path):
    look = Look(learned=True, crop_size=8)
    result = compare({"one": PICTURE}, 2, ["nearest", "bicubic"], output=tmp_path / "out", look=look)
    assert not [path for path in result.files if "learned" in path.name]


def test_nothing_is_drawn_unasked(tmp_path):
    compare({"one": PICTURE}, 2, ["sharp"], output=tmp_path / "out", look=Look(crop_size=8))
    assert not list((tmp_path / "out").glob("*learned*"))
