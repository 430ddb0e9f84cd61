"""The diagram of each method: boxes and arrows from a description of one line a path."""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

# A path is boxes from left to right; a box named on two paths is drawn once, where it was named first.
FAMILIES: dict[str, list[list[str]]] = {
    "interpolation": [["x", "fixed kernel\nby position", "result"]],
    "deconv": [["x", "stamp k x k kernel\nat every s-th target", "sum overlaps", "result"]],
    "resize-conv": [["x", "interpolate x s", "convolution\nat target size", "result"]],
    "pixel-shuffle": [["x", "convolution\nC -> C s²", "shuffle channels\ninto s x s targets", "result"]],
    "max-unpool": [["x", "put back", "result"], ["indices of\nmax-pooling", "put back"]],
    "carafe": [
        [
            "x",
            "compress 1 x 1\nC -> 64",
            "encode 3 x 3\n64 -> k² s²",
            "shuffle,\nsoftmax over k²",
            "reassemble",
            "result",
        ],
        ["x", "reassemble"],
    ],
    "carafe-down": [
        [
            "x",
            "compress 1 x 1\nC -> 16",
            "encode 3 x 3,\nstride s, 16 -> k²",
            "softmax over k²",
            "reassemble",
            "result",
        ],
        ["x", "reassemble"],
    ],
    "dysample": [
        ["x", "offsets 1 x 1\nC -> 2 G s²", "shuffle,\nadd the regular grid", "sample bilinearly", "result"],
        ["x", "sample bilinearly"],
    ],
    "sapa": [
        ["guide", "query 1 x 1", "similarity with\nk² source keys", "softmax over k²", "reassemble", "result"],
        ["x", "key 1 x 1", "similarity with\nk² source keys"],
        ["x", "reassemble"],
    ],
    "sapa-d": [
        ["guide", "query 1 x 1", "similarity at\n9 learned points", "softmax", "mix samples", "result"],
        ["x", "key, offsets 1 x 1", "similarity at\n9 learned points"],
        ["x", "mix samples"],
    ],
    "fade": [
        ["guide", "compress,\nencode 3 x 3", "add,\nsoftmax over k²", "reassemble", "gate", "result"],
        ["x", "compress, encode\n3 x 3 (shared)", "add,\nsoftmax over k²"],
        ["x", "reassemble"],
        ["guide", "gate"],
    ],
    "indexnet": [
        ["guide", "network, stride 2\nC -> 4 a block", "sigmoid,\nshuffle", "multiply", "result"],
        ["x", "nearest x 2", "multiply"],
    ],
    "lda-aqu": [
        [
            "x",
            "query 1 x 1,\nbilinear",
            "offsets from\nthe query",
            "similarity at\n9 moved points",
            "mix samples",
            "result",
        ],
        ["x", "key 1 x 1", "similarity at\n9 moved points"],
        ["x", "mix samples"],
    ],
    "freqfusion": [
        ["guide", "compress,\nraise detail", "encode 3 x 3", "add, softmax,\nHamming window", "reassemble", "result"],
        ["x", "compress,\nencode 3 x 3", "reassemble by\nfirst kernels", "add, softmax,\nHamming window"],
        ["x", "reassemble"],
    ],
    "jbu": [
        ["guide", "distance to the\nreduced guide", "Gaussian x\nGaussian of place", "reassemble", "result"],
        ["x", "reassemble"],
    ],
    "jbu-learned": [
        [
            "guide",
            "project",
            "similarity with\n7 x 7 targets",
            "softmax, Gaussian\nof place, correct",
            "filter",
            "result",
        ],
        ["x", "bicubic", "filter"],
    ],
    "jbu-stack": [
        ["guide", "means at x 2,\nx 4, ...", "stages x 2,\none by one", "1 x 1, added", "result"],
        ["x", "stages x 2,\none by one"],
    ],
    "attention": [
        [
            "guide",
            "encode, place code,\nmeans at targets",
            "similarity with\nsource keys",
            "softmax",
            "mix x",
            "result",
        ],
        ["guide", "means at sources"],
        ["x", "keys", "similarity with\nsource keys"],
        ["means at sources", "keys"],
        ["x", "mix x"],
    ],
    "uplift": [
        ["guide", "encode image", "decode x 2,\none by one", "17 weights,\nsoftmax", "reassemble", "result"],
        ["x", "decode x 2,\none by one"],
        ["x", "reassemble"],
    ],
    "loftup": [
        ["guide", "Fourier code,\nconvolve", "attend to x,\ntwice", "1 x 1,\nnormalise", "result"],
        ["x", "code of place", "attend to x,\ntwice"],
    ],
    "a2u": [
        [
            "guide",
            "two dynamic\nfilters, stride 2",
            "affinity map x\nvector a tap",
            "sigmoid,\nsoftmax over 9",
            "reassemble",
            "result",
        ],
        ["x", "reassemble"],
    ],
    "dlu": [
        ["x", "compress 1 x 1", "a kernel a\nsource pixel", "sample kernels\nat offsets", "reassemble", "result"],
        ["compress 1 x 1", "offsets 3 x 3", "sample kernels\nat offsets"],
        ["x", "reassemble"],
    ],
}
ALIASES = {
    **dict.fromkeys(("nearest", "nearest-exact", "bilinear", "area", "bicubic", "lanczos"), "interpolation"),
    "fade-lite": "fade",
    **dict.fromkeys(("jafar", "anyup", "naf"), "attention"),
}
WIDTH, HEIGHT, GAP = 2.0, 0.9, 0.7
SCALE, BEND = 0.62, 0.12  # inches a unit; how far an arrow over boxes rises, by its length
INK, INPUT, STEP = "#24292f", "#cfe8e4", "#eef1f4"


def draw(name: str, into: Path) -> None:
    """Draw the diagram of method ``name`` as an SVG file."""
    paths = FAMILIES[ALIASES.get(name, name)]
    places = _places(paths)
    columns = 1 + max(column for column, _ in places.values())
    rows = 1 + max(row for _, row in places.values())
    top, bottom = _top(paths, places), -(rows - 1) * 1.6 - HEIGHT
    figure, axes = plt.subplots(figsize=(columns * (WIDTH + GAP) * SCALE, (top - bottom) * SCALE))
    for box, place in places.items():
        _box(axes, box, place)
    for path in paths:
        for a, b in itertools.pairwise(path):
            _arrow(axes, places[a], places[b])
    axes.set_xlim(-0.2, columns * (WIDTH + GAP) - GAP + 0.2)
    axes.set_ylim(bottom, top)
    axes.axis("off")
    figure.savefig(into, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def _places(paths: list[list[str]]) -> dict[str, tuple[int, int]]:
    """Column and row of every box: a column a step, a row a path that has boxes of its own."""
    places: dict[str, tuple[int, int]] = {}
    row = 0
    for path in paths:
        new = [box for box in path if box not in places]
        for box in new:
            places[box] = (path.index(box), row)
        row += bool(new)
    return places


def _top(paths: list[list[str]], places: dict[str, tuple[int, int]]) -> float:
    """Above the first row's boxes, and above the arrows that pass over some of them."""
    pairs = [(places[a], places[b]) for path in paths for a, b in itertools.pairwise(path)]
    longest = max((b[0] - a[0] for a, b in pairs if a[1] == b[1] == 0 and b[0] - a[0] > 1), default=0)
    return HEIGHT + BEND / 2 * longest * (WIDTH + GAP)


def _centre(place: tuple[int, int]) -> tuple[float, float]:
    return place[0] * (WIDTH + GAP) + WIDTH / 2, -place[1] * 1.6


def _box(axes: Axes, text: str, place: tuple[int, int]) -> None:
    x, y = _centre(place)
    face = INPUT if text in ("x", "guide", "result", "indices of\nmax-pooling") else STEP
    corner = (x - WIDTH / 2, y - HEIGHT / 2)
    axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, "round,pad=0.02,rounding_size=0.12", fc=face, ec=INK, lw=0.9))
    axes.text(x, y, text, ha="center", va="center", fontsize=8.5, color=INK)


def _arrow(axes: Axes, start: tuple[int, int], end: tuple[int, int]) -> None:
    (x0, y0), (x1, y1) = _centre(start), _centre(end)
    style = {"arrowstyle": "-|>", "color": INK, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    if start[1] == end[1] and end[0] - start[0] == 1:
        axes.annotate("", (x1 - WIDTH / 2, y1), (x0 + WIDTH / 2, y0), arrowprops=style)
        return
    if start[1] == end[1]:  # over the boxes between
        bend = {**style, "connectionstyle": f"arc3,rad=-{BEND}"}
        axes.annotate("", (x1, y1 + HEIGHT / 2), (x0, y0 + HEIGHT / 2), arrowprops=bend)
        return
    up = 1 if y1 > y0 else -1
    axes.annotate("", (x1, y1 - up * HEIGHT / 2), (x0 + WIDTH / 2, y0), arrowprops=style)
