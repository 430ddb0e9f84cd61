import base64
import hashlib
import io
import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from karaffe.errors import ArgumentError
from karaffe.visualize import Panel, Scene, find_crops, page

HOSTILE = "</script ><img src=x onerror=alert(1)>\"'&<!--.png"


class Page(HTMLParser):
    """The elements of a page, with their attributes and texts, as a browser would find them."""

    VOID = frozenset({"meta", "link", "img", "br", "input", "hr"})

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.open = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))
        if tag not in self.VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1][2].append(data)

    def all(self, tag):
        return [(attributes, "".join(texts)) for name, attributes, texts in self.elements if name == tag]

    def by_id(self, identity):
        return next("".join(texts) for _, attributes, texts in self.elements if attributes.get("id") == identity)


def render(*scenes, **options):
    return Page("".join(page(scenes, **options)))


def blocks(parsed, kind):
    return [json.loads(text) for attributes, text in parsed.all("script") if attributes.get("class") == kind]


def decoded(parsed, identity):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(parsed.by_id(identity)))))


def test_the_pictures_inside_are_the_pictures(scene):
    parsed = render(scene)
    np.testing.assert_array_equal(decoded(parsed, "p0-0"), scene.reference)
    for number, panel in enumerate(scene.panels, start=1):
        np.testing.assert_array_equal(decoded(parsed, f"p0-{number}"), panel.pixels)


def test_deep_pictures_keep_every_bit():
    reference = np.random.default_rng(0).integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    floats = np.random.default_rng(1).random((20, 30))
    parsed = render(Scene("p", reference, (Panel("m", floats),), 2))
    assert blocks(parsed, "scene")[0]["deep"] is True

    def joined(identity):
        return decoded(parsed, identity).astype(int) * 256 + decoded(parsed, f"{identity}-low")

    np.testing.assert_array_equal(joined("p0-0"), reference)
    np.testing.assert_array_equal(joined("p0-1")[..., 1], np.floor(floats * 65535 + 0.5))


def test_the_data_says_what_the_scene_says(scene):
    (described,) = blocks(render(scene), "scene")
    assert (described["name"], described["width"], described["height"]) == ("a picture.png", 120, 90)
    assert [tuple(box) for box in described["crops"]] == find_crops(scene, count=4)
    assert [(p["label"], p["psnr"], p["ssim"], p["seconds"]) for p in described["panels"]] == [
        ("first", 21.5, 0.81, 0.5),
        ("second", 30.25, 0.93, 1.25),
    ]


def test_text_from_outside_stays_text(picture):
    reference = picture(20, 20)
    hostile = Scene(HOSTILE, reference, (Panel(HOSTILE, reference, 1.0, 1.0, 1.0),), 2)
    harmless = Scene("p", reference, (Panel("m", reference, 1.0, 1.0, 1.0),), 2)
    parsed = render(hostile, title=HOSTILE, note=HOSTILE)
    expected = render(harmless, title="t", note="n")
    # The same elements in the same order, however names are spelled.
    assert [tag for tag, *_ in parsed.elements] == [tag for tag, *_ in expected.elements]
    assert parsed.all("title")[0][1] == HOSTILE
    assert parsed.by_id("note") == HOSTILE
    (described,) = blocks(parsed, "scene")
    inert = [text for attributes, text in parsed.all("script") if attributes.get("type") == "application/json"]
    assert not any(set(text) & set("<>&") for text in inert)
    assert described["name"] == described["panels"][0]["label"] == HOSTILE


def test_the_script_writes_no_markup(picture):
    reference = picture(20, 20)
    parsed = render(Scene("p", reference, (Panel("m", reference),), 2))
    script = next(text for attributes, text in parsed.all("script") if "type" not in attributes)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script)


def test_only_this_script_and_this_style_may_run_and_nothing_is_fetched(scene):
    parsed = render(scene)
    policy = next(a["content"] for a, _ in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        texts = [text for attributes, text in parsed.all(tag) if "type" not in attributes]
        assert len(texts) == 1
        digest = base64.b64encode(hashlib.sha256(texts[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    for _, attributes, _ in parsed.elements:
        assert not {"src", "href", "srcset", "style"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    script = next(text for attributes, text in parsed.all("script") if "type" not in attributes)
    assert "http" not in script
    assert "fetch(" not in script


def test_means_intervals_and_tests_are_over_all_scenes(picture):
    rng = np.random.default_rng(0)
    figures = rng.normal(30, 2, 8)
    scenes = []
    for i, value in enumerate(figures):
        pixels = picture(20, 20, seed=i)
        gain = rng.normal(0.5, 0.1)
        panels = (Panel("a", pixels, value, 0.9, 1.0), Panel("b", pixels, value + gain, 0.95, 2.0))
        scenes.append(Scene(f"{i}", pixels, panels, 2))
    (data,) = blocks(render(*scenes), "summary")
    first, second = data["means"]
    assert first["psnr"] == pytest.approx(figures.mean())
    assert first["psnr_interval"][0] < first["psnr"] < first["psnr_interval"][1]
    (pair,) = data["pairs"]
    assert (pair["first"], pair["second"], pair["wins"], pair["losses"]) == ("b", "a", 8, 0)
    assert pair["difference"] == pytest.approx(second["psnr"] - first["psnr"])
    assert pair["t_test"] < 0.001
    assert blocks(render(*scenes[:2]), "summary")[0]["pairs"] == []


def test_an_infinite_figure_is_marked(picture):
    reference = picture(20, 20)
    parsed = render(Scene("p", reference, (Panel("m", reference, math.inf, 1.0),), 2))
    (described,), (summary,) = blocks(parsed, "scene"), blocks(parsed, "summary")
    assert described["panels"][0]["psnr"] is None
    assert described["panels"][0]["psnr_infinite"] is True
    assert summary["means"][0]["psnr_infinite"] is True


def test_scenes_are_taken_one_by_one(scene):
    taken = []

    def scenes():
        for number in range(3):
            taken.append(number)
            yield scene

    parts = page(scenes())
    next(parts)
    assert taken == []
    next(parts)
    assert taken == [0]
    assert "".join(parts).count('type="text/plain"') == 8  # nine pictures, one part taken


def test_no_scene_and_other_labels_are_refused(scene):
    with pytest.raises(ArgumentError, match="at least one"):
        render()
    other = Scene("other", scene.reference, scene.panels[:1], 4)
    with pytest.raises(ArgumentError, match="'other' differs"):
        render(scene, other)
