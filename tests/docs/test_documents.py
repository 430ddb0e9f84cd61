"""The documentation's Python runs: every block of a page, in order, in one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "documentation"}
    for block in BLOCK.finditer(page.read_text()):
        line = page.read_text()[: block.start(1)].count("\n")
        exec(compile("\n" * line + block.group(1), str(page), "exec"), namespace)


def test_pages_with_code_were_found() -> None:
    assert len(WITH_CODE) >= 4


def test_the_project_speaks_of_itself_alone() -> None:
    """No path of one machine, no registry's address, in anything that is read."""
    forbidden = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/\w|pypi\.org|files\.pythonhosted|registry\.npmjs")
    texts = [
        p
        for folder in ("src", "docs", "tests", "benchmarks", "examples", "csrc")
        for p in (REPOSITORY / folder).rglob("*")
    ]
    found = []
    for path in [*texts, REPOSITORY / "README.md", REPOSITORY / "Makefile"]:
        if (
            path.suffix in {".py", ".md", ".cpp", ".hpp", ".toml", ".html", ".js", ""}
            and path.is_file()
            and path != Path(__file__)
        ):
            found += [f"{path}:{m.group()}" for m in forbidden.finditer(path.read_text(errors="ignore"))]
    assert not found
