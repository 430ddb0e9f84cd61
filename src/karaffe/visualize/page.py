"""One HTML file that holds a whole comparison: pictures, viewer and figures, and asks the network for nothing.

Pictures are PNG in base64, each in its own inert element, so that a page of many pictures decodes only those one
looks at. A content security policy lets exactly this page's script and style run, by their hashes; every text that
comes from outside is escaped, names of files included.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any

from PIL import Image

from karaffe.errors import ArgumentError
from karaffe.visualize.colours import HEAT, SIGNED, error_limit
from karaffe.visualize.crops import find_crops
from karaffe.visualize.scene import Panel, Scene, rgb

_SCRIPTS = ("maps.js", "viewer.js", "table.js", "main.js")
_FIGURES = ("psnr", "ssim", "seconds")

# Stands where the pictures go, so that they are written one by one and never held together.
_SPLIT = "\0pictures\0"


def page(
    scenes: Sequence[Scene],
    *,
    title: str = "Comparison",
    note: str = "",
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
    crop_size: int = 48,
    crops: int = 4,
) -> Iterator[str]:
    """Yield the parts of the page; joined, they are one HTML document.

    Args:
        scenes: At least one; all with the same labels in the same order.
        title: Heading, plain text.
        note: How the figures were taken, plain text.
        intervals: For each label, for ``"psnr"`` and ``"ssim"``, the interval of the mean over the scenes.
        crop_size, crops: Side and number of the places that key C visits in each picture.

    Raises:
        ArgumentError: No scene, or scenes with different labels.
    """
    if not scenes:
        raise ArgumentError("page: at least one scene is needed")
    labels = [panel.label for panel in scenes[0].panels]
    for scene in scenes:
        if [panel.label for panel in scene.panels] != labels:
            raise ArgumentError(f"page: every scene must have the panels {labels}; {scene.name!r} differs")
    described = [_describe(scene, i, crop_size, crops) for i, scene in enumerate(scenes)]
    data = {"scenes": described, "means": _means(scenes, intervals or {}), "heat": HEAT, "signed": SIGNED}
    style = _asset("page.css")
    script = f'"use strict";\n(() => {{\n{"".join(map(_asset, _SCRIPTS))}}})();\n'
    whole = Template(_asset("page.html")).substitute(
        policy=_policy(style, script),
        title=html.escape(title),
        note=html.escape(note),
        style=style,
        script=script,
        data=_inert_json(data),
        images=_SPLIT,
    )
    head, tail = whole.split(_SPLIT)
    yield head
    for i, scene in enumerate(scenes):
        yield _picture(f"p{i}-0", scene.reference)
        for j, panel in enumerate(scene.panels, start=1):
            yield _picture(f"p{i}-{j}", panel.pixels)
    yield tail


def _asset(name: str) -> str:
    return resources.files("karaffe.visualize").joinpath("assets", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src data:; style-src {source(style)}; script-src {source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _inert_json(value: Any) -> str:
    """JSON that cannot end the element it stands in, nor open a comment or another element there."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _picture(identity: str, pixels: Any) -> str:
    buffer = io.BytesIO()
    Image.fromarray(rgb(pixels)).save(buffer, "PNG", compress_level=4)
    return f'<script type="text/plain" id="{identity}">{base64.b64encode(buffer.getvalue()).decode()}</script>\n'


def _describe(scene: Scene, number: int, crop_size: int, crops: int) -> dict[str, Any]:
    height, width = scene.reference.shape[:2]
    return {
        "name": scene.name,
        "width": width,
        "height": height,
        "limit": error_limit([scene.error(panel) for panel in scene.panels]),
        "crops": find_crops(scene, size=crop_size, count=crops),
        "reference": {"label": "reference", "image": f"p{number}-0"},
        "panels": [
            {"label": panel.label, "image": f"p{number}-{j}", **_figures(panel)}
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


def _means(scenes: Sequence[Scene], intervals: Mapping[str, Mapping[str, tuple[float, float]]]) -> list[dict[str, Any]]:
    rows = []
    for column, panel in enumerate(scenes[0].panels):
        means = {}
        for key in _FIGURES:
            values = [getattr(scene.panels[column], key) for scene in scenes]
            means[key] = None if None in values else sum(values) / len(values)
        row: dict[str, Any] = {"label": panel.label, **_figures(Panel(panel.label, panel.pixels, **means))}
        for key, interval in intervals.get(panel.label, {}).items():
            row[f"{key}_interval"] = list(interval)
        rows.append(row)
    return rows
