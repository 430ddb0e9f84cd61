"""Flop formulas, handed to torch's counter when somebody imports it: that imports triton, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from karaffe.ops.on_import import when_imported


def register(op: Any, formula: Callable[..., int]) -> None:
    """Count ``op`` by ``formula``, a function of its arguments with shapes in place of tensors."""

    def hand_over(counter: ModuleType) -> None:
        counter.register_flop_formula(op.overloadpacket)(formula)

    when_imported("torch.utils.flop_counter", hand_over)
