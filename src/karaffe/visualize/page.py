"""One HTML file that holds a whole comparison: pictures, viewer and figures, and asks the network for nothing.

Pictures are PNG in base64, each in its own inert element, so that a page of many pictures decodes only those one
looks at; they stand behind the viewer, which shows the first while the browser still reads the others. A content
security policy lets exactly this page's script and style run, by their hashes; every text that comes from outside
is escaped, names of files included.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from string import Template
from typing import Any

import numpy as np

from karaffe.errors import ArgumentError
from karaffe.evaluation.statistics import bootstrap_interval, paired_test
from karaffe.visualize.colours import error_limit
from karaffe.visualize.crops import find_crops
from karaffe.visualize.pngs import to_pngs
from karaffe.visualize.scene import Panel, Scene, rgb, rgb16
from karaffe.visualize.viewer import inert_json, viewer_asset, viewer_markup, viewer_script, viewer_style

_FIGURES = ("psnr", "ssim", "seconds")

# Stands where the pictures and figures go, which are written one by one and never held together.
_SPLIT = "\0content\0"

_NO_PIXELS = np.zeros((1, 1), np.uint8)


def page(
    scenes: Iterable[Scene],
    *,
    title: str = "Comparison",
    note: str = "",
    crop_size: int = 48,
    crops: int = 4,
) -> Iterator[str]:
    """Yield the parts of the page; joined, they are one HTML document.

    Scenes are taken one by one and not held, so a page of many large pictures needs the memory of one.

    Args:
        scenes: At least one; all that have an original with the same labels in the same order.
        title: Heading, plain text.
        note: How the figures were taken, plain text.
        crop_size, crops: Side and number of the places that key C visits in each picture.

    Raises:
        ArgumentError: No scene, or scenes with different labels.
    """
    style, script = viewer_style(), viewer_script(viewer_asset("stored.js"))
    whole = Template(viewer_asset("page.html")).substitute(
        policy=_policy(style, script),
        title=html.escape(title),
        style=style,
        script=script,
        viewer=viewer_markup(title, note),
        content=_SPLIT,
    )
    head, tail = whole.split(_SPLIT)
    yield head
    figures: list[list[Panel]] = []
    i = -1
    for i, scene in enumerate(scenes):
        if scene.measured:
            figures.append([replace(panel, pixels=_NO_PIXELS, importance=None) for panel in scene.panels])
            labels = [[panel.label for panel in panels] for panels in (figures[0], figures[-1])]
            if labels[-1] != labels[0]:
                raise ArgumentError(f"page: every scene must have the panels {labels[0]}; {scene.name!r} differs")
        for j, pixels in enumerate([scene.reference, *(panel.pixels for panel in scene.panels)]):
            yield _picture(f"p{i}-{j}", pixels, scene.deep)
        for j, panel in enumerate(scene.panels, start=1):
            yield _importance(f"p{i}-{j}", panel)
        yield _inert("scene", _describe(scene, i, crop_size, crops))
    if i < 0:
        raise ArgumentError("page: at least one scene is needed")
    means = [_means(list(column)) for column in zip(*figures, strict=True)]
    yield _inert("summary", {"means": means, "pairs": _pairs(figures)})
    yield tail


def _policy(style: str, script: str) -> str:
    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src data:; style-src {source(style)}; script-src {source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _inert(kind: str, value: Any) -> str:
    return f'<script type="application/json" class="{kind}">{inert_json(value)}</script>\n'


def _names(identity: str, deep: bool) -> list[str]:
    """Elements of a picture: one, or of a deep one those of its high and of its low bytes."""
    return [identity, f"{identity}-low"] if deep else [identity]


def _picture(identity: str, pixels: Any, deep: bool) -> str:
    pngs = to_pngs(rgb16(pixels) if deep else rgb(pixels))
    return "".join(_inert_png(name, png) for name, png in zip(_names(identity, deep), pngs, strict=True))


def _importance(identity: str, panel: Panel) -> str:
    """Where the content mattered to a method, as the red and the green of a picture."""
    if panel.importance is None:
        return ""
    channels = np.floor(np.clip(panel.importance, 0, 1) * 255 + 0.5).astype(np.uint8)
    (png,) = to_pngs(np.dstack([channels, np.zeros(channels.shape[:2], np.uint8)]))
    return _inert_png(f"{identity}-importance", png)


def _inert_png(identity: str, png: bytes) -> str:
    return f'<script type="text/plain" id="{identity}">{base64.b64encode(png).decode()}</script>\n'


def _describe(scene: Scene, number: int, crop_size: int, crops: int) -> dict[str, Any]:
    height, width = scene.reference.shape[:2]
    return {
        "name": scene.name,
        "width": width,
        "height": height,
        "deep": scene.deep,
        "limit": error_limit([scene.error(panel) for panel in scene.panels]),
        "crops": find_crops(scene, size=crop_size, count=crops),
        "reference": {"label": scene.reference_label, "images": _names(f"p{number}-0", scene.deep)},
        "panels": [
            {
                "label": panel.label,
                "images": _names(f"p{number}-{j}", scene.deep),
                "importance": None if panel.importance is None else f"p{number}-{j}-importance",
                **_figures(panel),
            }
            for j, panel in enumerate(scene.panels, start=1)
        ],
    }


def _figures(panel: Panel) -> dict[str, Any]:
    """The panel's figures; JSON has no infinity, so an infinite one is null with a mark beside it."""
    figures: dict[str, Any] = {}
    for key in _FIGURES:
        value = getattr(panel, key)
        figures[key] = value if value is not None and math.isfinite(value) else None
        if value == math.inf:
            figures[f"{key}_infinite"] = True
    return figures


def _means(panels: list[Panel]) -> dict[str, Any]:
    """One method's means over all scenes, with intervals of PSNR and SSIM."""
    means, intervals = {}, {}
    for key in _FIGURES:
        values = [getattr(panel, key) for panel in panels]
        if None in values:
            continue
        means[key] = sum(values) / len(values)
        interval = bootstrap_interval(values) if key != "seconds" else None
        if interval:
            intervals[f"{key}_interval"] = list(interval)
    label = panels[0].label
    return {"label": label, **_figures(Panel(label, _NO_PIXELS, **means)), **intervals}


def _pairs(figures: list[list[Panel]]) -> list[dict[str, Any]]:
    """The method of the highest mean PSNR tested against every other one; none for fewer than three scenes."""
    columns = {panels[0].label: [p.psnr for p in panels] for panels in zip(*figures, strict=True)}
    known = {label: [v for v in values if v is not None and math.isfinite(v)] for label, values in columns.items()}
    known = {label: values for label, values in known.items() if len(values) == len(figures)}
    if len(figures) < 3 or len(known) < 2:
        return []
    best = max(known, key=lambda label: sum(known[label]))
    others = [label for label in known if label != best]
    tests = [paired_test(known[best], known[other], names=(best, other)) for other in others]
    return [{**asdict(test), "count": len(figures)} for test in tests]
