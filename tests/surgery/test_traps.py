"""Every property of a replaced network, on small networks that each have one hard habit."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import networks
import pytest
import torch
from networks import TRAPS, build
from torch import Tensor, nn

import karaffe
from karaffe.surgery import Report, find_upsamplers, load_original_state_dict, replace_upsamplers, restore_upsamplers

NAMES = list(TRAPS)


def change(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def replaced(name: str, **options: Any) -> tuple[nn.Module, nn.Module, Tensor, Tensor, Report]:
    """The network as it was, the replaced one, two inputs, the report."""
    model, x, other = build(name)
    before = copy.deepcopy(model)
    report = replace_upsamplers(model, "carafe", x, **options)
    return before, model, x, other, report


@pytest.mark.parametrize("name", NAMES)
def test_all_sites_are_replaced_and_the_output_is_kept(name: str) -> None:
    before, model, x, other, report = replaced(name)
    assert len(report.replaced) == TRAPS[name][1]
    assert not report.left
    assert change(model(x), before(x)) <= 2e-3
    assert change(model(other), before(other)) <= 2e-3
    assert report.parameters[1] > report.parameters[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_floor_keeps_the_output_to_rounding(name: str) -> None:
    before, model, x, other, _ = replaced(name, init_floor=1e-8)
    assert change(model(x), before(x)) <= 1e-5
    assert change(model(other), before(other)) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_the_new_modules_are_what_runs(name: str) -> None:
    """Moving each new parameter moves the output: nothing is computed in vain."""
    _, model, x, _, report = replaced(name)
    start = model(x)
    for entry in report.replaced:
        changed = copy.deepcopy(model)
        for parameter in changed.get_submodule(entry.path).parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        assert not torch.equal(changed(x), start), entry.site.name


@pytest.mark.parametrize("name", NAMES)
def test_nothing_else_moves(name: str) -> None:
    before, model, _, _, _ = replaced(name)
    old, new = before.state_dict(), model.state_dict()
    kept = {key: value for key, value in new.items() if "karaffe" not in key.split(".")}
    assert list(kept) == list(old)
    assert all(torch.equal(kept[key], old[key]) for key in old)
    assert isinstance(model, type(before))
    assert type(model).__name__ == type(before).__name__
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    load_original_state_dict(model, old)
    assert all(torch.equal(model.state_dict()[key], old[key]) for key in old)


@pytest.mark.parametrize("name", NAMES)
def test_restore_undoes_it_exactly(name: str) -> None:
    before, model, x, _, _ = replaced(name)
    twin = copy.deepcopy(model)
    for one in (model, twin):
        assert restore_upsamplers(one) is one
        assert list(one.state_dict()) == list(before.state_dict())
        assert [type(m) for m in one.modules()] == [type(m) for m in before.modules()]
        assert torch.equal(one(x), before(x))


@pytest.mark.parametrize("name", NAMES)
def test_copies_are_independent(name: str) -> None:
    _, model, x, _, report = replaced(name)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), model(x))
    expected = model(x)
    for parameter in twin.parameters():
        nn.init.constant_(parameter, 0.01)
    assert torch.equal(model(x), expected)
    mine = {id(p) for p in report.new_parameters()}
    assert mine
    assert not mine & {id(p) for p in twin.parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_it_pickles_saves_and_loads(name: str) -> None:
    _, model, x, _, _ = replaced(name)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    expected = model(x)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), expected)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    fresh, _, _ = build(name)
    replace_upsamplers(fresh, "carafe", x)
    fresh.load_state_dict(torch.load(buffer))
    assert torch.equal(fresh(x), expected)


@pytest.mark.parametrize("name", NAMES)
def test_it_trains(name: str) -> None:
    _, model, x, _, report = replaced(name)
    model.train()
    target = torch.randn_like(model(x))
    optimizer = torch.optim.Adam(report.new_parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        torch.manual_seed(0)
        loss = (model(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    missing = [n for n, p in model.named_parameters() if "karaffe" in n.split(".") and p.grad is None]
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_it_compiles_in_one_graph(name: str) -> None:
    _, model, x, _, _ = replaced(name)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert change(compiled(x), model(x)) <= 1e-5
    model.train()
    torch.manual_seed(0)
    compiled(x).square().sum().backward()
    assert any(p.grad is not None for n, p in model.named_parameters() if "karaffe" in n)
    torch._dynamo.reset()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strict", [False, True])
def test_it_exports(name: str, strict: bool) -> None:
    _, model, x, _, _ = replaced(name)
    exported = torch.export.export(model, (x,), strict=strict)
    assert change(exported.module()(x), model(x)) <= 1e-5


@pytest.mark.parametrize("name", ["free-helper", "learned", "shared-upsample"])
def test_it_takes_other_dtypes_and_modes(name: str) -> None:
    before, model, x, _, _ = replaced(name)
    assert change(copy.deepcopy(model).double()(x.double()), before.double()(x.double())) <= 2e-3
    before = before.float()
    half = copy.deepcopy(model).to(torch.bfloat16)(x.to(torch.bfloat16))
    assert change(half.float(), before(x)) <= 0.2
    trained = copy.deepcopy(model).half().train()
    result = trained(x.half())
    assert result.dtype is torch.float16
    assert change(result.float(), before(x)) <= 0.02
    result.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert change(model(x).float(), before(x).float()) <= 0.1
    from torch.utils.checkpoint import checkpoint

    model.train()
    plain = torch.autograd.grad(model(x).sum(), list(model.parameters()), allow_unused=True)
    again = torch.autograd.grad(
        checkpoint(model, x, use_reentrant=False).sum(), list(model.parameters()), allow_unused=True
    )
    assert all((a is None and b is None) or torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_the_public_names_are_at_the_top() -> None:
    for name in ("find_upsamplers", "replace_upsamplers", "restore_upsamplers", "load_original_state_dict"):
        assert callable(getattr(karaffe, name))


def test_branches_of_training_are_reported_or_found() -> None:
    model, x, _ = build("train-only")
    sites = find_upsamplers(model, x)
    assert len(sites) == 1
    line = line_of("scale_factor=4")
    assert [str(u) for u in sites.unreached] == [
        f"F.interpolate in TrainOnly.forward (tests/surgery/networks.py:{line})"
    ]
    assert len(find_upsamplers(model, x, training=True)) == 2
    report = replace_upsamplers(model, "carafe", x, training=True)
    assert len(report.replaced) == 2


def line_of(text: str) -> int:
    with open(networks.__file__) as file:
        return next(number for number, line in enumerate(file, 1) if text in line)
