"""What the studio's page may send, and what it is told."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import unquote

from fastapi import Header, Query
from pydantic import BaseModel

from karaffe.imaging.formats import suffixes
from karaffe.models import list_models
from karaffe.studio.enlarge.job import State
from karaffe.studio.enlarge.limits import LARGEST_SCALE

LONGEST_NAME = 200
# A Zarr is a folder, which browsers neither send nor take.
SUFFIXES = tuple(suffix for suffix in suffixes() if suffix != ".zarr")
# Signs that end lines, or that some systems refuse in the names of files.
_ODD = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u2028\u2029\u202a-\u202e\u2066-\u2069]')

CsrfHeader = Annotated[str, Header(alias="x-csrf-token", min_length=1, max_length=128)]
NameHeader = Annotated[
    str, Header(alias="x-name", max_length=4096, description="The picture's file name, percent-encoded as UTF-8")
]
Scale = Annotated[float, Query(gt=0, le=LARGEST_SCALE, allow_inf_nan=False)]
# What is named here is checked where it is used, which says more of a wrong name; the schema lists what there is.
Models = Annotated[
    list[Annotated[str, Query(max_length=64, json_schema_extra={"enum": list_models()})]],
    Query(min_length=1, max_length=32, json_schema_extra={"uniqueItems": True}),
]
Suffix = Annotated[
    str,
    Query(
        max_length=16,
        description="Of the results, such as .tif; empty: as the picture",
        json_schema_extra={"enum": ["", *SUFFIXES]},
    ),
]

Judge = Annotated[
    bool, Query(description="Reduce the picture by the scale first, and measure what the models make of that")
]
Learned = Annotated[bool, Query(description="Also map where the content mattered to models that predict kernels")]


class BandOut(BaseModel):
    """Rows that can be looked at, from ``top`` on; of a deep picture there are high and low bytes."""

    top: int
    images: list[str]


class ResultOut(BaseModel):
    """What one model has made so far; ``views`` can be looked at (``whole``: all are there), ``file`` is the result.

    PSNR in dB and SSIM where the picture was reduced first; ``importance`` is a map of where the content mattered.
    """

    model: str
    state: State
    share: float
    seconds: float | None
    psnr: float | None
    psnr_infinite: bool
    ssim: float | None
    reason: str | None
    whole: bool
    views: list[BandOut]
    importance: str | None
    file: str | None
    name: str | None
    bytes: int | None


class JobOut(BaseModel):
    """A picture and its results; sizes are those of the results, in pixels. ``judged``: it was reduced first."""

    id: str
    name: str
    scale: float
    judged: bool
    state: State
    reason: str | None
    width: int | None
    height: int | None
    deep: bool | None
    source: list[str] | None
    crops: list[tuple[int, int, int, int]]
    results: list[ResultOut]


def clean_name(header: str) -> str:
    """A file name that can be shown and given to a file, from one that a browser sent: no folders, no odd signs."""
    name = unquote(header, errors="replace").replace("\\", "/").rpartition("/")[2]
    name = _ODD.sub("_", name).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if len(name) > LONGEST_NAME:
        name = f"{stem[: LONGEST_NAME - len(suffix) - 1]}{dot}{suffix}" if len(suffix) < 16 else name[:LONGEST_NAME]
    return name or "picture"
