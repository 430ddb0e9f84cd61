"""The fidelity report beside a result: figures as JSON, figures and maps as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from pathlib import Path

import numpy as np

from karaffe.imaging.fidelity import Assessment
from karaffe.imaging.guard import file_errors
from karaffe.imaging.info import Array
from karaffe.imaging.libraries import library

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .35rem .6rem; vertical-align: top }
tr + tr { border-top: 1px solid #ccc } td:first-child { white-space: nowrap }
td:nth-child(2) { font-variant-numeric: tabular-nums }
figure { margin: 1.5rem 0 } img { width: 100%; image-rendering: pixelated; border: 1px solid #888 }
.note { border-left: .3rem solid #a40; padding: .3rem 1rem; background: #fdf3ea }
"""
_NOT_FOR_DIAGNOSIS = (
    "This image is derived and not for diagnosis: detail between source pixels is inferred, not measured."
)


def write_report(
    assessment: Assessment, source: Path, result: Path, history: str, *, medical: bool
) -> tuple[Path, Path]:
    """Write ``RESULT.fidelity.json`` and ``RESULT.fidelity.html``; return their paths.

    Raises:
        FileError: They cannot be written.
    """
    data = {"source": str(source), "result": str(result), "history": history, **assessment.fidelity.as_dict()}
    if medical:
        data["note"] = _NOT_FOR_DIAGNOSIS
    pages = (json.dumps(data, indent=1) + "\n", _page(assessment, source, result, history, medical))
    paths = (result.with_name(result.name + ".fidelity.json"), result.with_name(result.name + ".fidelity.html"))
    for path, text in zip(paths, pages, strict=True):
        with file_errors("write", path):
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                draft.write_text(text, encoding="utf-8")
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
    return paths


def _page(assessment: Assessment, source: Path, result: Path, history: str, medical: bool) -> str:
    note = f'<p class="note">{_NOT_FOR_DIAGNOSIS}</p>' if medical else ""
    title = f"Fidelity of {html.escape(result.name)}"
    rows = "".join(
        f"<tr><td>{name}</td><td>{value}</td><td>{text}</td></tr>" for name, value, text in _rows(assessment)
    )
    maps = _figure(
        assessment.difference_map, "Difference of the reduced result from the source (white: none)"
    ) + _figure(assessment.lean_map, "Where the result leans on the network: distance from Lanczos interpolation")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>Made from {html.escape(source.name)} by {html.escape(history)}.</p>{note}"
        "<p>Figures are percent of the value range, places and shifts are pixels of the source.</p>"
        f"<table><tr><th>Measure</th><th>Value</th><th>Meaning</th></tr>{rows}</table>{maps}</html>\n"
    )


def _rows(assessment: Assessment) -> list[tuple[str, str, str]]:
    f = assessment.fidelity
    places = ", ".join(f"row {row} column {column} (frame {frame})" for frame, row, column in f.places) or "none"
    return [
        (
            "Difference",
            f"{f.difference_mean:.3g} % mean, {f.difference_max:.3g} % largest",
            "reduced result and source",
        ),
        ("Brightness", f"{f.brightness:+.3g} %", "mean of the signed difference: drift"),
        ("Shift", f"{f.shift[0]:+.3f} down, {f.shift[1]:+.3f} right", "translation against the source, first order"),
        (
            "Beyond the local range",
            f"{f.beyond_share:.3g} % of pixels, by {f.beyond_max:.3g} % at most",
            "brighter or darker than anything in the 3 x 3 source pixels around",
        ),
        ("Lean", f"{f.lean_mean:.3g} % mean, {f.lean_max:.3g} % largest", "distance from Lanczos interpolation"),
        ("Leans most at", places, "look here before relying on a detail"),
    ]


def _figure(values: Array, caption: str) -> str:
    # Below a tenth of a percent there is nothing to see, and rounding noise is not made to look like a picture.
    largest = max(0.1, float(values.max()))
    shade = np.rint(255 * (1 - values / largest))
    buffer = io.BytesIO()
    library("PIL.Image", "imaging").fromarray(shade.astype(np.uint8)).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    text = f"{caption}; black is {largest:.3g} %."
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
