"""The documentation's generated parts: complete, up to date, and the tour runs."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

import karaffe

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"


def test_every_method_has_its_page_as_the_generator_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "tools" / "documentation"))
    import pages

    (tmp_path / "notes.toml").write_text((DOCS / "methods" / "notes.toml").read_text())
    written = pages.write(tmp_path)
    assert len(written) == len(karaffe.list_upsamplers()) + 1
    for path in written:
        kept = (DOCS / "methods" / path.name).read_text()
        assert kept == path.read_text(), f"{path.name}: run python tools/documentation/build.py --pages-only"


@pytest.mark.parametrize("name", karaffe.list_upsamplers())
def test_every_method_has_its_diagram_and_its_picture(name: str) -> None:
    for suffix in ("svg", "png"):
        picture = DOCS / "assets" / "methods" / f"{name}.{suffix}"
        assert picture.stat().st_size > 1000, f"{picture}: run python tools/documentation/build.py"
    assert f"methods/{name}.md" in (REPOSITORY / "mkdocs.yml").read_text()


@pytest.mark.filterwarnings("ignore")
def test_the_tour_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "src"))
    notebook = nbformat.read(DOCS / "tour.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "the notebook is kept without outputs"
    kernel = notebook.metadata.kernelspec.name
    client = nbclient.NotebookClient(notebook, timeout=240, kernel_name=kernel, resources={"metadata": {"path": DOCS}})
    client.execute()
    pictures = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == 2
