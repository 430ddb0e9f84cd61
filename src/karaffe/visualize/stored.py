"""The pictures of a comparison page, read back: the page is also how a comparison is kept."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karaffe.errors import FileError
from karaffe.evaluation.images import Image
from karaffe.visualize.pngs import from_pngs
from karaffe.visualize.scene import REFERENCE

# As :func:`karaffe.visualize.page` writes them: an element a line.
_PICTURE = re.compile(r'<script type="text/plain" id="(p\d+-[\w-]+)">([A-Za-z0-9+/=]*)</script>$')
_SCENE = re.compile(r'<script type="application/json" class="scene">(.*)</script>$')


@dataclass(frozen=True)
class StoredScene:
    """One picture of a comparison, as the page shows it: on 8 or 16 bit, with three channels.

    Attributes:
        name: Of the picture. reference: The original, None where there was none.
        panels: What each method made of it, by label, in order.
    """

    name: str
    reference: Image | None
    panels: dict[str, Image]


def read_page(path: str | os.PathLike[str]) -> Iterator[StoredScene]:
    """Yield the scenes of a page that :func:`karaffe.visualize.page` made, one by one.

    Raises:
        FileError: The file cannot be read, is no such page, or is damaged.
    """
    path, found = Path(path), False
    pictures: dict[str, bytes] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if picture := _PICTURE.match(line.rstrip("\n")):
                    pictures[picture[1]] = base64.b64decode(picture[2], validate=True)
                elif scene := _SCENE.match(line.rstrip("\n")):
                    yield _scene(json.loads(scene[1]), pictures)
                    pictures, found = {}, True
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise FileError(f"cannot read {path}: it is no page of 'karaffe compare', or damaged ({error})") from error
    if not found:
        raise FileError(f"cannot read {path}: it is no page of 'karaffe compare'")


def _scene(described: dict[str, Any], pictures: dict[str, bytes]) -> StoredScene:
    def image(item: dict[str, Any]) -> Image:
        return from_pngs([pictures[name] for name in item["images"]])

    first = described["reference"]
    panels = {panel["label"]: image(panel) for panel in described["panels"]}
    if first["label"] == REFERENCE:
        return StoredScene(described["name"], image(first), panels)
    return StoredScene(described["name"], None, {first["label"]: image(first), **panels})
