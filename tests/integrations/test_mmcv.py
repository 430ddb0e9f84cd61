"""Upsamplers in OpenMMLab's registry."""

from __future__ import annotations

import sys

import pytest
import torch

from karaffe.errors import ArgumentError, BackendError
from karaffe.integrations import mmcv
from karaffe.upsamplers import CARAFE

pytest_mmengine = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("mmengine") is None,
    reason="mmengine is in the environment of `make conformance-env`",
)


@pytest_mmengine
def test_the_configuration_keys_of_mmcv_build_it() -> None:
    from mmengine.registry import MODELS

    assert mmcv.register() == list(mmcv.NAMES)
    assert mmcv.register() == list(mmcv.NAMES)
    keys = {"up_kernel": 5, "up_group": 1, "encoder_kernel": 3, "encoder_dilation": 1, "compressed_channels": 16}
    layer = MODELS.build({"type": "carafe", "channels": 8, "scale_factor": 2, **keys})
    assert isinstance(layer, CARAFE)
    layer.init_weights()
    assert layer(torch.rand(1, 8, 4, 4)).shape == (1, 8, 8, 8)
    assert sorted(layer.state_dict()) == [
        "channel_compressor.bias",
        "channel_compressor.weight",
        "content_encoder.bias",
        "content_encoder.weight",
    ]
    sampler = MODELS.build({"type": "dysample", "channels": 8, "scale_factor": 2})
    assert sampler(torch.rand(1, 8, 4, 4)).shape == (1, 8, 8, 8)


@pytest_mmengine
def test_a_name_in_use_is_taken_only_by_force() -> None:
    from mmengine.registry import MODELS

    mmcv.register()
    MODELS.register_module(name="carafe", module=torch.nn.Identity, force=True)
    with pytest.raises(ArgumentError, match="has 'carafe' already"):
        mmcv.register()
    assert MODELS.get("carafe") is torch.nn.Identity
    mmcv.register(force=True)
    assert MODELS.get("carafe") is CARAFE


def test_without_mmengine_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mmengine.registry", None)
    with pytest.raises(BackendError, match="mmengine cannot be imported"):
        mmcv.register()
