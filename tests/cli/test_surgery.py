"""``karaffe surgery``: the table, the report, and wrong use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from karaffe.cli.main import run

NETWORK = """
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 4, 3, 1, 1)

    def forward(self, x):
        return self.head(F.interpolate(self.stem(x), scale_factor=2, mode="bilinear").relu()).mean((2, 3))

def broken():
    raise RuntimeError("no such weights")

def number():
    return 3
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_net.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["surgery", "their_net:Net", "--input", "1,3,16,16", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    (site,) = facts["sites"]
    assert (site["name"], site["mode"], site["role"]) == ("interpolate", "bilinear", "feature")
    assert site["in_shape"] == [1, 8, 8, 8]
    assert run(["surgery", "their_net:Net", "--input", "1,3,16,16"]) == 0
    assert "8×8 → 16×16" in capsys.readouterr().out


def test_the_report_and_the_saved_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["surgery", "their_net:Net", "--input", "1,3,16,16", "--upsampler", "carafe", "--save", "net.pt"]
    assert run([*line, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [entry["site"] for entry in facts["replaced"]] == ["interpolate"]
    assert facts["output_change"] <= 2e-3
    model = torch.load(tmp_path / "net.pt", weights_only=False)
    assert model(torch.randn(1, 3, 16, 16)).shape == (1, 4)
    assert "karaffe.s0_0.upsampler.content_encoder.weight" in model.state_dict()
    assert run(line) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert run([*line, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["their_net", "--input", "1,3,16,16"], "MODULE:FACTORY"),
        (["their_net:broken", "--input", "1,3,16,16"], "RuntimeError: no such weights"),
        (["their_net:number", "--input", "1,3,16,16"], "gives a int"),
        (["nothing_here:Net", "--input", "1,3,16,16"], "ModuleNotFoundError"),
        (["their_net:Net", "--input", "1x3x16"], "sizes with commas"),
        (["their_net:Net", "--input", "1,5,16,16"], r"forward fails on example_inputs[0]"),
        (["their_net:Net", "--input", "1,3,16,16", "--upsampler", "carafee"], "did you mean"),
        (["their_net:Net", "--input", "1,3,16,16", "--upsampler", "carafe", "--where", "neck.*"], "matches no site"),
        (["their_net:Net", "--input", "1,3,16,16", "--save", "x.pt"], "needs --upsampler"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["surgery", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
