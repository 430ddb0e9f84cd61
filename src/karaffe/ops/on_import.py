"""Give a module of torch something when somebody imports it, so that karaffe need not.

Parts of torch take half a second to import, more than all of karaffe, and most programs never need them.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Action = Callable[[ModuleType], None]


def when_imported(name: str, action: Action) -> None:
    """Call ``action`` with the module ``name``: now if it is imported, else once, as soon as it has run."""
    if name in sys.modules:
        action(sys.modules[name])
        return
    for finder in sys.meta_path:
        if isinstance(finder, _OnImport) and finder.name == name:
            finder.actions.append(action)
            return
    sys.meta_path.insert(0, _OnImport(name, action))


class _OnImport(MetaPathFinder):
    """Finds nothing itself: lets the others find its module, once, and acts when that has run; one serves a module."""

    def __init__(self, name: str, action: Action) -> None:
        self.name, self.actions = name, [action]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_act(module: ModuleType) -> None:
            execute(module)
            for action in self.actions:
                action(module)

        spec.loader.exec_module = execute_and_act  # type: ignore[method-assign]
        return spec
