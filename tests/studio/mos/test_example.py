"""The example study runs, and its report says that nobody was asked."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT = REPOSITORY / "examples" / "mos" / "simulate.py"


def test_the_example_study_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("simulate", SCRIPT)
    assert spec
    assert spec.loader
    example: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "RATERS", 4)
    monkeypatch.setattr(example, "GUESSING", 0)
    example.main(tmp_path / "report")
    figures = json.loads((tmp_path / "report" / "report.json").read_text())
    assert figures["note"] == example.NOTE
    assert "simulated" in (tmp_path / "report" / "report.html").read_text()
    assert figures["progress"]["finished"] == 4
    assert max(figures["methods"], key=lambda row: row["mos"])["method"] == "reference"


def test_the_documented_report_says_so_too() -> None:
    assert (
        "The raters are simulated: no person was asked."
        in (REPOSITORY / "docs" / "assets" / "mos" / "report.html").read_text()
    )
