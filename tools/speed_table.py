"""Put the operator benchmark's main ratios into a document, between ``<!-- speed -->`` and ``<!-- end -->``.

python benchmarks/reassemble.py
python tools/speed_table.py benchmarks/results/reassemble--MACHINE.json README.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

LAYOUTS = ("karaffe NCHW", "karaffe channels-last")


def ratio(rows: list[dict], shape: list[int], threads: int, pass_: str, contender: str, reference: str) -> str:
    """How many times faster a contender was than a reference, as text; a dash where it was not measured."""
    for row in rows:
        if (row["shape"], row["threads"], row["pass_"], row["contender"]) == (shape, threads, pass_, contender):
            value = row["ratios"].get(reference)
            return "–" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"
    return "–"


def table(measured: dict) -> str:
    """The Markdown table with who measured it."""
    rows, machine = measured["rows"], measured["machine"]
    shapes = [s for i, s in enumerate(r["shape"] for r in rows) if s not in [r["shape"] for r in rows[:i]]]
    columns: tuple[tuple[str, str, str], ...] = (
        ("forward", "copy", "forward, x the copy"),
        ("forward", "shifted slices, torch.compile", "x torch.compile of shifted slices"),
        ("forward", "bilinear NCHW", "x bilinear"),
        ("forward + backward", "copy", "forward + backward, x the copy"),
    )
    found = {(row["pass_"], reference) for row in rows for reference in row["ratios"]}
    columns = tuple(column for column in columns if column[:2] in found)
    lines = [
        f"Times faster, NCHW / channels-last, one thread of {machine['processor']} ({machine['instruction set']}), "
        f"torch {machine['torch']}, float32, kernel 5, x2. The copy is `F.unfold`, multiply, sum; "
        "bilinear is `F.interpolate` on NCHW. Below 1 is slower.",
        "",
        "| source map | " + " | ".join(title for *_, title in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for shape in shapes:
        cells = [" / ".join(ratio(rows, shape, 1, p, c, r) for c in LAYOUTS) for p, r, _ in columns]
        lines.append(f"| {'×'.join(map(str, shape))} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "`make bench` makes the figures on your machine, with the bounds it measured."])


def main(results: str, document: str) -> None:
    text = Path(document).read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- speed -->\n")
    _, _, after = rest.partition("<!-- end -->")
    new = table(json.loads(Path(results).read_text(encoding="utf-8")))
    Path(document).write_text(f"{before}<!-- speed -->\n{new}\n<!-- end -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
