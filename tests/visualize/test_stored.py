"""A comparison page read back."""

import numpy as np
import pytest

from karaffe.errors import FileError
from karaffe.evaluation import compare
from karaffe.visualize import Panel, Scene, page, read_page


def write(path, *scenes):
    path.write_text("".join(page(scenes, title="</script>", note="a\nb")), encoding="utf-8")
    return path


def test_the_pictures_come_back_to_the_bit(scene, tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (20, 30)).astype(np.uint16)
    panels = tuple(Panel(p.label, deep[:, ::-1].copy()) for p in scene.panels)
    path = write(tmp_path / "p.html", scene, Scene('<b>"deep"', deep, panels, 2))
    first, second = read_page(path)
    assert (first.name, second.name) == ("a picture.png", '<b>"deep"')
    np.testing.assert_array_equal(first.reference, scene.reference)
    for panel in scene.panels:
        np.testing.assert_array_equal(first.panels[panel.label], panel.pixels)
    np.testing.assert_array_equal(second.reference, np.repeat(deep[..., None], 3, 2))
    np.testing.assert_array_equal(second.panels["second"][..., 1], deep[:, ::-1])


def test_importance_is_no_picture_of_a_method(tmp_path):
    from karaffe.evaluation import Look

    pixels = np.random.default_rng(0).integers(0, 256, (32, 40, 3)).astype(np.uint8)
    look = Look(learned=True, crop_size=8)
    result = compare({"one": pixels}, 2, ["bicubic", "sharp"], output=tmp_path / "out", look=look)
    (stored,) = read_page(tmp_path / "out" / "comparison.html")
    assert list(stored.panels) == ["bicubic", "sharp"]
    assert "p0-2-importance" in result.files[0].read_text()
    assert "p0-1-importance" not in result.files[0].read_text()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: "<html></html>", "is no page of 'karaffe compare'"),
        (lambda text: text.replace('id="p0-1"', 'id="x0-1"'), "damaged"),
        (lambda text: text.replace('class="scene">{', 'class="scene">{{'), "damaged"),
        (lambda text: text.replace("iVBOR", "iVBOX"), "cannot read a picture"),
    ],
)
def test_another_file_is_refused(scene, tmp_path, spoil, says):
    path = write(tmp_path / "p.html", scene)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(FileError, match=says):
        list(read_page(path))
    with pytest.raises(FileError, match=r"cannot read .*none.html: No such file"):
        list(read_page(tmp_path / "none.html"))
