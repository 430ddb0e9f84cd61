"""Reports: at any time, whole or not at all, with the figures that the votes hold and no script in them."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from karaffe.cli.main import run
from karaffe.errors import FileError, UnknownNameError
from karaffe.studio.mos.report import write_report
from karaffe.studio.mos.store import Store, Viewing

FILES = {"report.html", "report.json", "methods.csv", "pictures.csv", "raters.csv", "votes.csv"}
VIEWING = Viewing(2.0, True, "")
MakeStore = Callable[..., Store]
GRADES = {"sharp": 4, "bicubic": 2, "reference": 5}


def rate_all(store: Store, raters: int, grade: Callable[[str, int], int]) -> None:
    """Let raters grade everything by method and number of the rater."""
    for number in range(raters):
        link = store.join()
        store.consent(link)
        while (turn := store.state(link).turn) is not None:
            method = store.shown(link)[-1][1]
            store.answer(link, turn.position, grade(method, number), 1000, VIEWING)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_figures_are_those_of_the_votes(make_store: MakeStore, where: str, tmp_path: Path) -> None:
    store = make_store(design="acr-hr", training=["p0.png"], repeats=2)
    rate_all(store, 4, lambda method, number: GRADES[method] - number % 2)
    write_report(where, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    figures = json.loads((tmp_path / "out" / "report.json").read_text())
    by_method = {row["method"]: row for row in figures["methods"]}
    assert {m: row["mos"] for m, row in by_method.items()} == {"sharp": 3.5, "bicubic": 1.5, "reference": 4.5}
    assert (by_method["sharp"]["dmos"], by_method["bicubic"]["dmos"]) == (4.0, 2.0)
    assert by_method["sharp"]["dmos_halfwidth"] == 0
    assert by_method["sharp"]["votes"] == 4 * 3
    assert [row["method"] for row in figures["methods"]] == ["reference", "sharp", "bicubic"]
    assert len(figures["pictures"]) == 9
    assert figures["needed"]["now"] == 4
    votes = rows_of(tmp_path / "out" / "votes.csv")
    assert len(votes) == 4 * (3 + 9 + 2)
    assert {vote["kind"] for vote in votes} == {"training", "test"}
    assert {vote["device_pixel_ratio"] for vote in votes} == {"2.0"}
    assert [row["repeat_difference"] for row in rows_of(tmp_path / "out" / "raters.csv")] == ["0.0"] * 4


def test_the_strengths_are_those_of_the_votes(make_store: MakeStore, where: str, tmp_path: Path) -> None:
    store = make_store(design="pair", ties=True)
    for number in range(6):
        link = store.join()
        store.consent(link)
        while (turn := store.state(link).turn) is not None:
            better = "sharp" if number < 4 else "bicubic"
            value = 0 if number == 3 else 1 + [m for _, m in store.shown(link)].index(better)
            store.answer(link, turn.position, value, 1000, VIEWING)
    write_report(where, tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "report.json").read_text())
    best, other = figures["methods"]
    assert (best["method"], best["wins"], best["losses"], best["ties"]) == ("sharp", 12, 8, 4)
    assert best["strength"] - other["strength"] == pytest.approx(np.log(12 / 8))
    assert figures["warning"] is None


def test_pairs_that_cannot_be_ranked_are_said(make_store: MakeStore, where: str, tmp_path: Path) -> None:
    store = make_store(design="pair")
    link = store.join()
    store.consent(link)
    while (turn := store.state(link).turn) is not None:
        store.answer(link, turn.position, 1 + [m for _, m in store.shown(link)].index("sharp"), 1000, VIEWING)
    write_report(where, tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "not connected" in figures["warning"]
    assert {row["strength"] for row in figures["methods"]} == {None}
    assert "not connected" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("design", ["acr", "acr-hr", "dcr", "pair"])
def test_reports_can_be_taken_early(make_store: MakeStore, where: str, tmp_path: Path, design: str) -> None:
    store = make_store(design=design)
    link = store.join()
    store.consent(link)
    for answers in range(2):
        summary = write_report(where, tmp_path / f"after-{answers}")
        assert summary.progress["answers"] == answers
        json.loads((tmp_path / f"after-{answers}" / "report.json").read_text())
        store.answer(link, answers, 1, 10, VIEWING)


def test_who_is_rejected_is_left_out_on_demand(make_store: MakeStore, where: str, tmp_path: Path) -> None:
    store = make_store(design="acr-hr", methods={f"m{i}": m for i, m in enumerate(["sharp", "bicubic"] * 3)})
    upside_down = {**{f"m{i}": 1 + i % 5 for i in range(6)}, "reference": 5}
    rate_all(store, 6, lambda m, number: 6 - upside_down[m] if number == 0 else upside_down[m])
    counts = {}
    for screening in ("none", "p913", "bt500"):
        write_report(where, tmp_path / screening, screening=screening)
        figures = json.loads((tmp_path / screening / "report.json").read_text())
        counts[screening] = figures["methods"][0]["votes"]
        assert [row["rejected_p913"] for row in figures["raters"]] == [True] + [False] * 5
    assert counts["none"] == 24
    assert counts["p913"] == 20
    with pytest.raises(UnknownNameError, match="unknown screening 'p931'; did you mean 'p913'"):
        write_report(where, tmp_path / "x", screening="p931")


def test_metrics_are_those_of_the_pictures(pictures: Path, make_store: MakeStore, where: str, tmp_path: Path) -> None:
    for i in range(4):
        with Image.open(pictures / "reference" / f"p{i}.png") as image:
            image.save(pictures / "sharp" / f"p{i}.png")
    store = make_store()
    rate_all(store, 2, lambda method, _: GRADES[method])
    write_report(where, tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "report.json").read_text())
    by_method = {row["method"]: row for row in figures["pictures"]}
    assert (by_method["sharp"]["psnr"], by_method["sharp"]["ssim"]) == ("inf", 1.0)
    assert by_method["bicubic"]["psnr"] < 20
    ssim = next(row for row in figures["correlations"] if row["metric"] == "ssim")
    assert ssim["pearson"] > 0.99


def test_no_text_of_a_study_becomes_markup(make_store: MakeStore, where: str, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    store = make_store(title=evil)
    rate_all(store, 2, lambda method, _: GRADES[method])
    write_report(where, tmp_path / "out", note=evil)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<img" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 3
    assert "default-src 'none'" in html.unescape(page)
    assert not re.search(r"<script|https?://|javascript:", page)


def test_a_report_is_not_replaced_unasked(make_store: MakeStore, where: str, tmp_path: Path) -> None:
    make_store()
    write_report(where, tmp_path / "out")
    with pytest.raises(FileError, match="exists"):
        write_report(where, tmp_path / "out")
    write_report(where, tmp_path / "out", overwrite=True)


def test_a_cell_is_no_formula(
    study_file: Any, pictures: Path, make_store: MakeStore, where: str, tmp_path: Path
) -> None:
    for method in ("sharp", "bicubic", "reference"):
        (pictures / method / "p0.png").rename(pictures / method / "=1+2.png")
    store = make_store()
    rate_all(store, 1, lambda method, _: GRADES[method])
    write_report(where, tmp_path / "out")
    for name in ("votes.csv", "pictures.csv"):
        contents = {row["content"] for row in rows_of(tmp_path / "out" / name)}
        assert "'=1+2" in contents
        assert "=1+2" not in contents


def test_the_commands(study_file: Any, tmp_path: Path, capsys: Any) -> None:
    database = str(tmp_path / "by-command.sqlite3")
    assert run(["mos", "create", str(study_file()), "--database", database]) == 0
    assert "Absolute category rating" in capsys.readouterr().out
    assert run(["mos", "create", str(study_file()), "--database", database]) == 1
    assert "holds this study already" in capsys.readouterr().err
    assert run(["mos", "report", database, "-o", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["study"] == "trial-run"
    assert run(["mos", "create", str(study_file(design="none"))]) == 2
    assert "unknown design" in capsys.readouterr().err
    assert run(["mos", "report", str(tmp_path / "nowhere")]) == 1
    assert "there is no database" in capsys.readouterr().err
