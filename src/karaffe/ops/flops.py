"""Flop formulas, handed to torch's counter when somebody imports it: that imports triton, where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from karaffe.ops.on_import import when_imported

COUNTER = "torch.utils.flop_counter"
_FORMULAS: list[tuple[Any, Callable[..., int]]] = []


def register(op: Any, formula: Callable[..., int]) -> None:
    """Count ``op`` by ``formula``, a function of its arguments with shapes in place of tensors."""
    _FORMULAS.append((op.overloadpacket, formula))
    if COUNTER in sys.modules:
        _hand_over(sys.modules[COUNTER])


def _hand_over(counter: ModuleType) -> None:
    while _FORMULAS:
        packet, formula = _FORMULAS.pop()
        counter.register_flop_formula(packet)(formula)


when_imported(COUNTER, _hand_over)
