import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from karaffe.errors import ArgumentError, ShapeError
from karaffe.visualize import Box, Panel, Scene, find_crops


def grey_scene(*pictures, scale=1):
    reference = np.zeros_like(pictures[0])
    return Scene("p", reference, tuple(Panel(str(i), p) for i, p in enumerate(pictures)), scale)


def test_the_crops_are_where_the_methods_differ_most(scene):
    first, second = find_crops(scene, size=20, count=2)
    assert first == Box(20, 10, 20, 20)
    # The second difference is 10 x 20 and lies wholly inside the second crop, the uppermost such.
    assert (second.x, second.width, second.height) == (80, 20, 20)
    assert second.y <= 60
    assert second.y + 20 >= 70


def test_where_all_methods_are_equally_wrong_there_is_nothing_to_see():
    wrong = np.zeros((40, 40), np.uint8)
    wrong[5:10, 5:10] = 200
    one, two = wrong.copy(), wrong.copy()
    two[30:33, 30:33] = 20
    assert find_crops(grey_scene(one, two), size=3, count=1) == [Box(30, 30, 3, 3)]
    assert find_crops(grey_scene(one), size=5, count=1) == [Box(5, 5, 5, 5)]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 12), st.integers(1, 5), st.integers(0, 99))
def test_crops_lie_inside_and_apart_and_the_first_is_the_best(height, width, size, count, seed):
    rng = np.random.default_rng(seed)
    pictures = [rng.integers(0, 4, (height, width)).astype(np.uint8) for _ in range(3)]
    boxes = find_crops(grey_scene(*pictures), size=size, count=count)
    assert boxes == find_crops(grey_scene(*pictures), size=size, count=count)
    covered = np.zeros((height, width), int)
    for box in boxes:
        assert box.of(covered).shape == (min(size, height), min(size, width))
        box.of(covered)[:] += 1
    assert covered.max() == 1
    telling = np.var(np.stack(pictures).astype(float), axis=0)
    rim = 1 if min(height, width) - size > 1 else 0
    best = max(
        telling[y : y + size, x : x + size].sum()
        for y in range(rim, max(height - size, 0) + 1 - rim)
        for x in range(rim, max(width - size, 0) + 1 - rim)
    )
    assert boxes[0].of(telling).sum() == pytest.approx(best)


def test_the_border_that_scores_leave_out_is_left_out():
    picture = np.zeros((60, 60), np.uint8)
    picture[:4] = 255
    picture[30:32, 30:32] = 30
    assert find_crops(grey_scene(picture, scale=4), size=8, count=1)[0].y >= 4


def test_wrong_questions_are_refused(scene):
    with pytest.raises(ArgumentError, match="size=0"):
        find_crops(scene, size=0)
    with pytest.raises(ArgumentError, match="count=0"):
        find_crops(scene, count=0)


def test_a_scene_holds_pictures_of_one_size_and_different_labels():
    small, large = np.zeros((4, 4), np.uint8), np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(ShapeError, match=r"'b' has \(4, 5, 3\)"):
        Scene("p", small, (Panel("a", small), Panel("b", large)), 2)
    with pytest.raises(ArgumentError, match="different labels"):
        Scene("p", small, (Panel("a", small), Panel("a", small)), 2)
    with pytest.raises(ArgumentError, match="panels"):
        Scene("p", small, (), 2)
