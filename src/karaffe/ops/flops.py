"""Flop formulas, handed to torch's counter when somebody imports it.

The counter's module imports triton where that is installed, which takes half a second: more than all of karaffe.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

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


class _OnImport(MetaPathFinder):
    """Finds nothing itself: lets the others find the counter, once, and hands the formulas over when it has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != COUNTER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_hand_over(module: ModuleType) -> None:
            execute(module)
            _hand_over(module)

        spec.loader.exec_module = execute_and_hand_over  # type: ignore[method-assign]
        return spec


if COUNTER not in sys.modules:
    sys.meta_path.insert(0, _OnImport())
