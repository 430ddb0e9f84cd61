"""The viewer's parts, for every page that has it: markup, style, and a script that runs in a scope of its own."""

from __future__ import annotations

import html
import json
from importlib import resources
from string import Template
from typing import Any

from karaffe.visualize.colours import HEAT, SIGNED

_SCRIPTS = ("maps.js", "loaded.js", "viewer.js", "table.js", "main.js")


def viewer_markup(title: str, note: str = "", aside: str = "") -> str:
    """Return the body's markup.

    Args:
        title: Heading, plain text. note: At the end of the figures, plain text. aside: Markup before the figures.
    """
    return Template(viewer_asset("viewer.html")).substitute(
        title=html.escape(title),
        note=html.escape(note),
        aside=aside,
        colours=inert_json({"heat": HEAT, "signed": SIGNED}),
    )


def viewer_style() -> str:
    """Return the style sheet."""
    return viewer_asset("page.css")


def viewer_script(last: str) -> str:
    """Return the script; ``last`` brings the pictures."""
    return f'"use strict";\n(() => {{\n{"".join(map(viewer_asset, _SCRIPTS))}{last}}})();\n'


def viewer_asset(name: str) -> str:
    """Return the text of one of the viewer's files."""
    return resources.files("karaffe.visualize").joinpath("assets", name).read_text(encoding="utf-8")


def inert_json(value: Any) -> str:
    """JSON that cannot end the element it stands in, nor open a comment or another element there."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
