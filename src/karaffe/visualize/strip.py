"""The figure that papers print: the whole picture, and zoomed crops of every method with its error below.

Crops are enlarged by whole factors with nearest neighbour, so that a pixel of the file is a square of the figure;
all error maps of one figure share one scale. The picture on the left alone is fitted smoothly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from karaffe.errors import ArgumentError
from karaffe.visualize.colours import HEAT, absolute_map, colour, error_limit
from karaffe.visualize.crops import Box, check_crops, find_crops
from karaffe.visualize.scene import Panel, Scene, rgb

INK, FAINT, RULE, PAPER, BEST = (23, 26, 31), (104, 110, 120), (208, 212, 218), (255, 255, 255), (0, 105, 92)

# Signs that Pillow's built-in font has no shape for.
_SPELLED = {"×": "x", "≥": ">=", "σ": "sigma", "−": "-"}
FRAMES = ((224, 72, 46), (24, 119, 189), (46, 145, 84), (150, 80, 170))


@dataclass(frozen=True)
class Layout:
    """Sizes of a strip in pixels; ``zoom`` is the whole factor at which crops are shown, ``crop`` their size then."""

    zoom: int
    crop: tuple[int, int]
    margin: int = 28
    gap: int = 10
    head: int = 58
    text: int = 19
    small: int = 15
    line: int = 24

    @property
    def cell(self) -> tuple[int, int]:
        """Room for a crop, its labels and the colour bar."""
        return max(self.crop[0], 170), max(self.crop[1], 84)

    def left(self, aspect: float) -> int:
        """Width of the column with the whole picture, more for a wide one."""
        cells = 3 if aspect > 1.2 else 2
        return max(cells * self.cell[0] + (cells - 1) * self.gap, 420)


def strip(
    scene: Scene,
    *,
    crops: Sequence[Box] | None = None,
    crop_size: int = 48,
    count: int = 2,
    zoom: int = 5,
    note: str = "",
) -> Image.Image:
    """Draw the comparison of one scene.

    Args:
        scene: The picture and its panels, shown in their order.
        crops: Boxes in pixels of the reference, all of one size; default :func:`find_crops` chooses ``count`` of
            ``crop_size`` pixels.
        zoom: Whole factor of the crops.
        note: How the figures were taken; printed under the picture.

    Raises:
        ArgumentError: A crop outside the picture, crops of different sizes, a zoom below one.
    """
    boxes, limit = choose(scene, crops, crop_size, count, zoom)
    layout = Layout(zoom, (boxes[0].width * zoom, boxes[0].height * zoom))
    columns, rows = 1 + len(scene.panels), 2 * len(boxes)
    wide, tall = layout.cell
    height, width = scene.reference.shape[:2]
    room = layout.left(width / height)
    left = layout.margin + room + 3 * layout.gap
    size = (
        left + columns * (wide + layout.gap) - layout.gap + layout.margin,
        layout.margin + layout.head + rows * (tall + layout.gap) - layout.gap + layout.margin,
    )
    canvas = Image.new("RGB", size, PAPER)
    _draw_left(canvas, scene, boxes, layout, room, note)
    for column, panel in enumerate([None, *scene.panels]):
        x = left + column * (wide + layout.gap)
        _draw_head(canvas, (x, layout.margin), scene, panel, layout)
        for row, box in enumerate(boxes):
            y = layout.margin + layout.head + 2 * row * (tall + layout.gap)
            pixels = scene.reference if panel is None else panel.pixels
            _paste(canvas, (x, y), rgb(box.of(pixels)), layout, FRAMES[row % len(FRAMES)])
            y += tall + layout.gap
            if panel is not None:
                _paste(canvas, (x, y), absolute_map(box.of(scene.error(panel)), limit), layout, None)
            else:
                _draw_scale(canvas, (x, y), _difference(scene), limit, layout)
    return canvas


def choose(scene: Scene, crops: Sequence[Box] | None, crop_size: int, count: int, zoom: int) -> tuple[list[Box], int]:
    """Return the crops, given or found, and the error at which the colours of all their maps end.

    Raises:
        ArgumentError: As :func:`strip`.
    """
    boxes = list(crops) if crops else find_crops(scene, size=crop_size, count=count)
    if isinstance(zoom, bool) or not isinstance(zoom, int) or zoom < 1:
        raise ArgumentError(f"strip: zoom must be a whole factor of at least 1, not {zoom!r}")
    check_crops(scene, boxes)
    return boxes, error_limit([box.of(scene.error(panel)) for panel in scene.panels for box in boxes])


def enlarge(pixels: npt.NDArray[np.uint8], zoom: int) -> npt.NDArray[np.uint8]:
    """Return ``pixels (H, W, 3)`` with every pixel as a square of ``zoom``."""
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _paste(
    canvas: Image.Image,
    at: tuple[int, int],
    pixels: npt.NDArray[np.uint8],
    layout: Layout,
    frame: tuple[int, int, int] | None,
) -> None:
    """Paste a crop at whole zoom; a frame is drawn outside of it and covers none of its pixels."""
    left, top = at[0] + (layout.cell[0] - layout.crop[0]) // 2, at[1]
    canvas.paste(Image.fromarray(enlarge(pixels, layout.zoom)), (left, top))
    if frame is not None:
        box = (left - 3, top - 3, left + layout.crop[0] + 2, top + layout.crop[1] + 2)
        ImageDraw.Draw(canvas).rectangle(box, outline=frame, width=3)


def _draw_head(canvas: Image.Image, at: tuple[int, int], scene: Scene, panel: Panel | None, layout: Layout) -> None:
    draw = ImageDraw.Draw(canvas)
    centre, y = at[0] + layout.cell[0] // 2, at[1]
    title = scene.reference_label if panel is None else panel.label
    _text(draw, (centre, y + 8), _fit(title, layout.cell[0], layout.text), INK, layout.text, anchor="ma")
    score = _score(panel) if panel is not None else "PSNR / SSIM" if scene.measured else ""
    known = [p.psnr for p in scene.panels if p.psnr is not None]
    best = panel is not None and len(known) > 1 and panel.psnr == max(known)
    place = (centre, y + 33)
    _text(draw, place, score, BEST if best else FAINT, layout.small, anchor="ma", bold=best)


def _difference(scene: Scene) -> str:
    return "absolute error of luma" if scene.measured else "difference of luma"


def _score(panel: Panel) -> str:
    parts = [] if panel.psnr is None else [f"{panel.psnr:.2f} dB"]
    return " / ".join(parts if panel.ssim is None else [*parts, f"{panel.ssim:.4f}"])


def _draw_left(canvas: Image.Image, scene: Scene, boxes: list[Box], layout: Layout, room: int, note: str) -> None:
    """The whole picture with the crops marked; below it a table, and how the figures were taken."""
    draw = ImageDraw.Draw(canvas)
    height, width = scene.reference.shape[:2]
    x, y = layout.margin, layout.margin + layout.head
    _text(draw, (x, layout.margin + 8), _fit(scene.name, room, layout.text), INK, layout.text)
    shape = f"{width} x {height} pixels, enlarged {scene.scale} x"
    _text(draw, (x, layout.margin + 33), shape, FAINT, layout.small)

    lines = _wrap(note, room, layout.small)
    below = (len(scene.panels) + 1 + len(lines)) * layout.line + 3 * layout.gap
    factor = min(room / width, (canvas.height - layout.margin - y - below) / height)
    fitted = (max(1, round(width * factor)), max(1, round(height * factor)))
    canvas.paste(Image.fromarray(rgb(scene.reference)).resize(fitted, Image.Resampling.LANCZOS), (x, y))
    for row, box in enumerate(boxes):
        near = (x + round(box.x * factor), y + round(box.y * factor))
        far = (near[0] + round(box.width * factor), near[1] + round(box.height * factor))
        for grow, width, ink in ((4, 1, PAPER), (3, 3, FRAMES[row % len(FRAMES)])):
            frame = (near[0] - grow, near[1] - grow, far[0] + grow, far[1] + grow)
            draw.rectangle(frame, outline=ink, width=width)

    y += fitted[1] + 2 * layout.gap
    _draw_table(draw, (x, y), scene, layout, room)
    y = canvas.height - layout.margin - len(lines) * layout.line
    for line in lines:
        _text(draw, (x, y), line, FAINT, layout.small)
        y += layout.line


def _draw_table(draw: ImageDraw.ImageDraw, at: tuple[int, int], scene: Scene, layout: Layout, room: int) -> None:
    x, y = at
    rows: list[list[str]] = [["", "PSNR (dB)", "SSIM", "seconds"]]
    for panel in scene.panels:
        figures = ((panel.psnr, ".2f"), (panel.ssim, ".4f"), (panel.seconds, ".3f"))
        rows.append([panel.label, *("" if v is None else format(v, style) for v, style in figures)])
    ends = [x + round(room * part) for part in (0.6, 0.8, 1.0)]
    for number, (label, *values) in enumerate(rows):
        ink = INK if number else FAINT
        _text(draw, (x, y), _fit(label, room // 3, layout.small), ink, layout.small)
        for end, value in zip(ends, values, strict=True):
            _text(draw, (end, y), value, ink, layout.small, anchor="ra")
        if number == 0:
            draw.line((x, y + layout.line - 2, x + room, y + layout.line - 2), fill=RULE)
        y += layout.line


def _draw_scale(canvas: Image.Image, at: tuple[int, int], what: str, limit: int, layout: Layout) -> None:
    """The colour bar, in the place where the reference's own error would be."""
    draw = ImageDraw.Draw(canvas)
    wide, tall = layout.cell
    x, y = at[0], at[1] + tall // 2 - 8
    bar = colour(np.linspace(0, 1, wide)[None].repeat(16, 0), HEAT)
    _text(draw, (x, y - 28), what, INK, layout.small)
    canvas.paste(Image.fromarray(bar), (x, y))
    _text(draw, (x, y + 22), "0", FAINT, layout.small)
    _text(draw, (x + wide, y + 22), f"≥ {limit} of 255", FAINT, layout.small, anchor="ra")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    ink: tuple[int, int, int],
    size: int,
    *,
    anchor: str = "la",
    bold: bool = False,
) -> None:
    draw.text(at, _spell(text), ink, _font(size), anchor=anchor, stroke_width=0.4 if bold else 0)


def _spell(text: str) -> str:
    for sign, spelled in _SPELLED.items():
        text = text.replace(sign, spelled)
    return "".join(character if character.isprintable() else "?" for character in text)


def _length(text: str, size: int) -> float:
    return _font(size).getlength(_spell(text))


def _fit(text: str, width: int, size: int) -> str:
    """Shorten ``text`` with an ellipsis until it is at most ``width`` pixels long."""
    if _length(text, size) <= width:
        return text
    while text and _length(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def _wrap(text: str, width: int, size: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and _length(joined, size) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines
