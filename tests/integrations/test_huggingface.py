"""Saving and loading networks as huggingface_hub does, from a local folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from karaffe.errors import UnknownNameError
from karaffe.models import create_model

pytest.importorskip("huggingface_hub", reason="huggingface_hub is in the environment of `make conformance-env`")


def test_a_folder_and_back(tmp_path: Path) -> None:
    from karaffe.integrations.huggingface import HubModel

    torch.manual_seed(1)
    model = HubModel("sharp", 2).eval()
    model.save_pretrained(tmp_path / "ours")
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert (config["name"], config["scale"]) == ("sharp", 2)
    again = HubModel.from_pretrained(tmp_path / "ours").eval()
    x = torch.rand(1, 3, 12, 12)
    assert torch.equal(again(x), model(x))
    assert (again.scale, again.halo) == (2, create_model("sharp", 2, pretrained=False).halo)


def test_an_interpolation_and_an_unknown_name(tmp_path: Path) -> None:
    from karaffe.integrations.huggingface import HubModel

    x = torch.rand(1, 3, 6, 6)
    HubModel("bicubic", 3).save_pretrained(tmp_path)
    assert torch.equal(HubModel.from_pretrained(tmp_path)(x), create_model("bicubic", 3)(x))
    with pytest.raises(UnknownNameError, match="did you mean 'sharp'"):
        HubModel("sharpp", 2)
