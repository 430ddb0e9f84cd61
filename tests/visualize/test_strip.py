import numpy as np
import pytest
from PIL import Image

from karaffe.errors import ArgumentError
from karaffe.visualize import Box, Panel, Scene, strip
from karaffe.visualize.colours import HEAT, absolute_map, colour, error_limit


def find(haystack, needle):
    """Return the places (y, x) at which ``needle`` stands in ``haystack``."""
    tall, wide = needle.shape[:2]
    candidates = np.argwhere((haystack == needle[0, 0]).all(-1))
    return [(y, x) for y, x in candidates if np.array_equal(haystack[y : y + tall, x : x + wide], needle)]


def enlarged(pixels, zoom):
    return pixels.repeat(zoom, 0).repeat(zoom, 1)


def test_the_crops_of_the_strip_are_the_crops_of_the_pictures(scene):
    box = Box(25, 12, 16, 10)
    figure = np.asarray(strip(scene, crops=[box], zoom=3))
    places = [find(figure, enlarged(box.of(p), 3)) for p in (scene.reference, *(q.pixels for q in scene.panels))]
    # "second" equals the reference in this box, so that both are found twice; "first" once, between them.
    assert [len(place) for place in places] == [2, 1, 2]
    columns = [places[0][0][1], places[1][0][1], places[0][1][1]]
    assert columns == sorted(columns)
    assert len({place[0] for group in places for place in group}) == 1


def test_the_error_below_a_crop_is_that_crops_error_on_one_scale(scene):
    box = Box(25, 12, 16, 10)
    figure = np.asarray(strip(scene, crops=[box], zoom=3))
    errors = [box.of(scene.error(panel)) for panel in scene.panels]
    limit = error_limit(errors)
    assert np.abs(errors[0]).max() > 30
    assert not errors[1].any()
    for panel, error in zip(scene.panels, errors, strict=True):
        (top, left), *_ = find(figure, enlarged(absolute_map(error, limit), 3))
        above = [x for _, x in find(figure[:top], enlarged(box.of(panel.pixels), 3))]
        assert left in above


def test_the_strip_is_the_same_every_time_and_the_crops_are_chosen(scene):
    one, two = strip(scene), strip(scene)
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != strip(scene, crops=[Box(0, 0, 48, 48)]).tobytes()


def test_grey_sixteen_bit_and_tall_pictures_are_drawn():
    reference = np.linspace(0, 65535, 300 * 40).reshape(300, 40).astype(np.uint16)
    figure = strip(Scene("tall", reference, (Panel("m", reference // 2),), 2), note="a note " * 40)
    assert isinstance(figure, Image.Image)
    assert figure.mode == "RGB"


@pytest.mark.parametrize(
    ("crops", "zoom", "says"),
    [
        ([Box(100, 0, 48, 48)], 5, "does not lie within the 120x90"),
        ([Box(-1, 0, 8, 8)], 5, "does not lie within"),
        ([Box(0, 0, 8, 8), Box(20, 20, 9, 8)], 5, "one size"),
        ([Box(0, 0, 8, 8)], 0, "zoom"),
    ],
)
def test_wrong_crops_are_refused(scene, crops, zoom, says):
    with pytest.raises(ArgumentError, match=says):
        strip(scene, crops=crops, zoom=zoom)


def test_colours_end_where_they_say():
    values = np.array([-1.0, 0.0, 0.2, 1.0, 7.0])
    mapped = colour(values, HEAT)
    np.testing.assert_array_equal(mapped[[0, 1]], [HEAT[0]] * 2)
    np.testing.assert_array_equal(mapped[2], HEAT[1])
    np.testing.assert_array_equal(mapped[[3, 4]], [HEAT[-1]] * 2)
    assert error_limit([np.full((10, 10), -9, np.int16)]) == 16
    assert error_limit([np.zeros((10, 10), np.int16)]) == 4
    assert error_limit([np.full((10, 10), 255, np.int16)]) == 255
