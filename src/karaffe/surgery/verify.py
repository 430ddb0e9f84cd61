"""Prove that only what was meant to change has changed, and take back what cannot be proved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from karaffe.errors import KaraffeError, SurgeryError
from karaffe.surgery.examples import Baseline, Inputs, untouched
from karaffe.surgery.install import Placement
from karaffe.surgery.make import relative_change
from karaffe.surgery.modules import SiteModule
from karaffe.surgery.probe import tensors_in

# Two runs of one network may differ by this much where threads add in another order.
REPEATABLE = 1e-5


@dataclass
class Trial:
    """What one placement did in a run in which every site module computes and the original's result is used."""

    running: bool = False
    calls: int = 0
    change: float = 0.0
    mismatch: str = ""


@dataclass
class Observer:
    """Hooks on the site modules: they run, are compared with the original call, and give its result."""

    keep: bool
    trials: dict[SiteModule, Trial] = field(default_factory=dict)

    @contextmanager
    def watching(self, placements: list[Placement]) -> Iterator[None]:
        hooks = []
        for placement in placements:
            self.trials[placement.module] = Trial()
            hooks.append(placement.module.register_forward_pre_hook(self._enter))
            hooks.append(placement.module.register_forward_hook(self._leave, with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        self.trials[module].running = True  # type: ignore[index]

    def _leave(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor) -> Tensor:
        trial = self.trials[module]  # type: ignore[index]
        trial.running = False
        trial.calls += 1
        expected: Tensor = args[0](*args[2:], **kwargs)
        if output.shape != expected.shape or output.dtype != expected.dtype:
            trial.mismatch = f"gives {tuple(output.shape)} {output.dtype}, not {tuple(expected.shape)} {expected.dtype}"
        elif self.keep:
            trial.change = max(trial.change, relative_change(output, expected))
        return expected


def verified(
    model: nn.Module,
    before: list[Baseline],
    placements: list[Placement],
    *,
    keep: bool,
    tolerance: float,
) -> tuple[list[Placement], list[tuple[Placement, str]]]:
    """The placements that hold, with the others removed from ``model``, and why.

    Each module must be called, give the original's shape and dtype, and with ``keep`` its values within
    ``tolerance``; with the original's values put through, the network's output must be what it was.
    """
    kept, dropped = list(placements), list[tuple[Placement, str]]()
    while kept:
        observer = Observer(keep)
        problem = _trial_run(model, before, kept, observer)
        failed = [(p, reason) for p in kept if (reason := _failure(observer.trials[p.module], problem, tolerance))]
        if problem and not failed:
            failed = _culprits(model, before, kept, problem)
        if not failed:
            return kept, dropped
        for placement, reason in failed:
            kept.remove(placement)
            placement.remove(model, kept)
            dropped.append((placement, reason))
    return kept, dropped


def _trial_run(model: nn.Module, before: list[Baseline], placements: list[Placement], observer: Observer) -> str:
    """Run all examples; return what is wrong with the network's output, or ``""``."""
    with observer.watching(placements):
        for baseline in before:
            try:
                with untouched(model, baseline.training):
                    output = model(*baseline.example.args, **baseline.example.kwargs)
            except Exception as error:
                return f"{type(error).__name__}: {error}"
            change = output_change(output, baseline.output)
            if change > REPEATABLE:
                return "the rewritten code gives another output even with the original's values"
    return ""


def _failure(trial: Trial, problem: str, tolerance: float) -> str:
    if trial.running:
        return problem
    if problem:
        return ""
    if not trial.calls:
        return "its new module is never called: the class's forward is not what runs"
    if trial.mismatch:
        return trial.mismatch
    if trial.change > tolerance:
        return f"it changes the map by {trial.change:.1e} of its range, more than {tolerance:.1e}"
    return ""


def _culprits(
    model: nn.Module, before: list[Baseline], placements: list[Placement], problem: str
) -> list[tuple[Placement, str]]:
    """Placements that break the network by themselves; all, if only together they do."""
    for placement in placements:
        placement.remove(model, [])
    broken = []
    for placement in placements:
        placement.install(model)
        reason = _trial_run(model, before, [placement], Observer(False))
        placement.remove(model, [])
        if reason:
            broken.append((placement, reason))
    for placement in placements:
        placement.install(model)
    return broken or [(placement, problem) for placement in placements]


def final_change(model: nn.Module, before: list[Baseline]) -> float:
    """Largest relative change of the network's output over all examples.

    Raises:
        SurgeryError: the network fails, or gives something of another structure.
    """
    worst = 0.0
    for baseline in before:
        try:
            with untouched(model, baseline.training):
                output = model(*baseline.example.args, **baseline.example.kwargs)
        except Exception as error:
            raise SurgeryError(f"the network fails with the new modules: {type(error).__name__}: {error}") from error
        worst = max(worst, output_change(output, baseline.output))
    return worst


def output_change(output: Any, expected: Any) -> float:
    """Largest relative change of any floating tensor; infinite where the structure or a shape differs."""
    given, wanted = tensors_in(output), tensors_in(expected)
    if [t.shape for t in given] != [t.shape for t in wanted]:
        return math.inf
    floating = [(a, b) for a, b in zip(given, wanted, strict=True) if b.is_floating_point()]
    return max((relative_change(a, b) for a, b in floating), default=0.0)


def multiply_adds(model: nn.Module, example: Inputs) -> int | None:
    """Multiply-adds of one run by torch's own counter; ``None`` where it cannot count this network."""
    from torch.utils.flop_counter import FlopCounterMode

    try:
        with untouched(model), FlopCounterMode(display=False) as counter:
            model(*example.args, **example.kwargs)
    except (KaraffeError, RuntimeError, TypeError, AttributeError):
        return None
    return int(counter.get_total_flops()) // 2


def parameter_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def tensor_device(model: nn.Module, fallback: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Device and dtype of the first floating parameter of ``model``, else of ``fallback``."""
    for module in (model, fallback):
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.get_default_dtype()
