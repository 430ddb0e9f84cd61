"""The strip as LaTeX: one PNG a cell at whole zoom, and a ``tabular`` with labels and figures in the paper's type."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from karaffe.visualize.colours import absolute_map
from karaffe.visualize.crops import Box
from karaffe.visualize.scene import Panel, Scene, rgb
from karaffe.visualize.strip import choose, enlarge

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    **{sign: f"{{{sign}}}" for sign in "<>|\"'`-"},
}


def latex(
    scene: Scene,
    stem: str,
    *,
    crops: Sequence[Box] | None = None,
    crop_size: int = 48,
    count: int = 2,
    zoom: int = 5,
) -> dict[str, bytes]:
    """Return the files of the figure by name: ``STEM.tex`` and the PNGs that it includes.

    ``\\input`` it inside a ``figure``; it needs the package ``graphicx`` and is as wide as ``\\linewidth``. The best
    PSNR is bold. Arguments as in :func:`karaffe.visualize.strip`; ``stem`` must be a plain file name.

    Raises:
        ArgumentError: As :func:`karaffe.visualize.strip`.
    """
    boxes, limit = choose(scene, crops, crop_size, count, zoom)
    files: dict[str, bytes] = {}

    def cell(name: str, pixels: npt.NDArray[np.uint8]) -> str:
        files[f"{stem}-{name}.png"] = _png(enlarge(pixels, zoom))
        return rf"\includegraphics[width=\karaffecell]{{{stem}-{name}}}"

    rows = []
    for number, box in enumerate(boxes, start=1):
        shown = [scene.reference, *(panel.pixels for panel in scene.panels)]
        rows.append(" & ".join(cell(f"crop{number}-{i}", rgb(box.of(image))) for i, image in enumerate(shown)))
        errors = [absolute_map(box.of(scene.error(panel)), limit) for panel in scene.panels]
        maps = [cell(f"error{number}-{i}", error) for i, error in enumerate(errors, start=1)]
        what = "error" if scene.measured else "difference"
        rows.append(" & ".join([rf"\footnotesize $|\mathrm{{{what}}}|$, 0 to {limit} of 255", *maps]))
    best = max((p.psnr for p in scene.panels if p.psnr is not None), default=None)
    heads = [_escape(scene.reference_label), *(_escape(panel.label) for panel in scene.panels)]
    figures = ["PSNR (dB) / SSIM" if scene.measured else "", *(_figures(panel, best) for panel in scene.panels)]
    columns = len(heads)
    lines = [
        f"% {scene.name!a}, enlarged by {scene.scale}; crops " + "; ".join(str(tuple(box)) for box in boxes),
        r"\begingroup",
        r"\setlength{\tabcolsep}{1pt}%",
        r"\ifdefined\karaffecell\else\newlength{\karaffecell}\fi",
        rf"\setlength{{\karaffecell}}{{\dimexpr(\linewidth-{2 * columns}pt)/{columns}\relax}}%",
        rf"\noindent\begin{{tabular}}{{*{{{columns}}}{{p{{\karaffecell}}}}}}",
        r"\centering " + r" & \centering ".join(heads) + r" \tabularnewline",
        r"\centering\footnotesize " + r" & \centering\footnotesize ".join(figures) + r" \tabularnewline",
        *(row + r" \tabularnewline" for row in rows),
        r"\end{tabular}",
        r"\endgroup",
    ]
    files[f"{stem}.tex"] = ("\n".join(lines) + "\n").encode()
    return files


def _figures(panel: Panel, best: float | None) -> str:
    psnr = "" if panel.psnr is None else f"{panel.psnr:.2f}"
    if panel.psnr is not None and panel.psnr == best:
        psnr = rf"\textbf{{{psnr}}}"
    return " / ".join(part for part in (psnr, "" if panel.ssim is None else f"{panel.ssim:.4f}") if part)


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(c, c if c.isprintable() else "?") for c in text)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
