"""Upsamplers by name in ultralytics' yaml files."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from karaffe.errors import ArgumentError, BackendError
from karaffe.integrations import ultralytics as ours

sys.path.insert(0, str(Path(__file__).parents[1] / "surgery"))
NEAREST = ["nn.Upsample", ["None", 2, "nearest"]]


@pytest.fixture
def tasks() -> Any:
    import importlib.util

    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("ultralytics is in the environment of `make conformance-env`")
    from thirdparty import define_torchvision_operators

    define_torchvision_operators()
    from ultralytics.nn import tasks

    return tasks


def yaml_with(tasks: Any, layer: str, arguments: list[Any]) -> dict[str, Any]:
    config = copy.deepcopy(tasks.yaml_model_load("yolov8n.yaml"))
    for row in config["head"]:
        if row[2:] == NEAREST:
            row[2:] = [layer, copy.deepcopy(arguments)]
    assert sum(row[2] == layer for row in config["head"]) == 2
    return config


@pytest.mark.parametrize("layer", list(ours.NAMES))
def test_a_yaml_names_the_upsampler(tasks: Any, layer: str) -> None:
    assert ours.register() == list(ours.NAMES)
    model = tasks.DetectionModel(yaml_with(tasks, layer, [2]), ch=3, nc=2, verbose=False)
    made = [m for m in model.modules() if isinstance(m, ours.YamlUpsampler)]
    assert len(made) == 2
    assert all(m.upsampler is not None for m in made)
    plain = tasks.DetectionModel("yolov8n.yaml", ch=3, nc=2, verbose=False)
    assert torch.equal(model.stride, plain.stride)
    twin = tasks.DetectionModel(yaml_with(tasks, layer, [2]), ch=3, nc=2, verbose=False)
    twin.load_state_dict(model.state_dict())
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(twin.eval()(x)[0], model.eval()(x)[0])


def test_options_and_training(tasks: Any) -> None:
    ours.register()
    config = yaml_with(tasks, "CARAFE", [2, {"up_kernel": 3, "init": "nearest"}])
    model = tasks.DetectionModel(config, ch=3, nc=2, verbose=False).train()
    outputs = model(torch.rand(2, 3, 64, 64))
    tensors = outputs.values() if isinstance(outputs, dict) else outputs
    sum(t.square().mean() for t in tensors if isinstance(t, torch.Tensor)).backward()
    ours_only = [m.upsampler for m in model.modules() if isinstance(m, ours.YamlUpsampler)]
    assert all(u.up_kernel == 3 for u in ours_only)
    assert all(p.grad is not None for u in ours_only for p in u.parameters())


def test_another_class_of_the_name_is_not_replaced(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "CARAFE", int, raising=False)
    with pytest.raises(ArgumentError, match="of its own"):
        ours.register()


def test_without_ultralytics_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics.nn.tasks", None)
    with pytest.raises(BackendError, match="ultralytics cannot be imported"):
        ours.register()


def test_options_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(ArgumentError, match="a mapping of options"):
        ours.CARAFE(2, 5)  # type: ignore[arg-type]


def test_the_channels_are_learned_at_the_first_call() -> None:
    layer = ours.CARAFE(2, {"compressed_channels": 4}).eval()
    assert layer(torch.rand(1, 6, 4, 4)).shape == (1, 6, 8, 8)
    assert layer.upsampler is not None
    assert not layer.upsampler.training
