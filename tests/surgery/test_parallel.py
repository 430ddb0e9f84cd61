"""Training in parallel: every new parameter takes part, and replicas use their own."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from networks import build
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from karaffe.surgery import replace_upsamplers


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    if not distributed.is_available():
        pytest.skip("this torch has no distributed package")
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("name", ["free-helper", "shared-upsample", "learned"])
def test_distributed_data_parallel(name: str, process_group: None) -> None:
    model, x, _ = build(name)
    report = replace_upsamplers(model, "carafe", x)
    alone = copy.deepcopy(model).train()
    parallel = DistributedDataParallel(model.train())
    parallel(x).square().sum().backward()
    alone(x).square().sum().backward()
    assert all(p.grad is not None for p in report.new_parameters())
    for (key, a), b in zip(model.named_parameters(), alone.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad), key


def test_replicas_use_their_own_parameters() -> None:
    """What DataParallel does to make a replica: a shallow copy whose parameters are set anew."""
    model, x, _ = build("free-helper")
    replace_upsamplers(model, "carafe", x)
    replica = model._replicate_for_data_parallel()
    modules = dict(replica._modules)
    replica._modules = modules
    modules["karaffe"] = copy.deepcopy(model.karaffe)
    for parameter in modules["karaffe"].parameters():
        torch.nn.init.normal_(parameter)
    assert not torch.equal(replica(x), model(x))
