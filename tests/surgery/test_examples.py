"""The examples run, and say what they promise."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "surgery"
NEEDS = {"monai_volume": "monai", "yolo_neck": "ultralytics"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    library = NEEDS.get(name)
    if library and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is in the environment of `make conformance-env`")
    if library == "ultralytics":
        from thirdparty import define_torchvision_operators

        define_torchvision_operators()
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert "loss" in capsys.readouterr().out
