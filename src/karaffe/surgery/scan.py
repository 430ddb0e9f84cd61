"""Upsampling that stands in a model's code, whether or not an example reached it."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from torch import nn

from karaffe.errors import SurgeryError
from karaffe.surgery.operations import SPELLINGS, is_upsampling_module
from karaffe.surgery.site import Site, Unreached, short
from karaffe.surgery.source import calls_of, class_functions, definition, digest

OWN = ("torch.", "karaffe.")


def unreached_calls(model: nn.Module, sites: list[Site]) -> list[Unreached]:
    """Calls in the methods of the model's classes and in their modules' helpers, and modules, not among ``sites``."""
    reached = {(p.module, p.function, p.digest, p.call) for s in sites for p in s.points}
    found: dict[Any, Unreached] = {}
    for function in _functions(model):
        for number, line, text in upsampling_calls(function):
            code = function.__code__
            if (function.__globals__.get("__name__"), code.co_qualname, digest(code), number) not in reached:
                what = f"{text} in {code.co_qualname}"
                found.setdefault((code.co_filename, line, number), Unreached(what, f"{short(code.co_filename)}:{line}"))
    run = {s.path for s in sites if s.kind == "module"}
    for path, module in model.named_modules():
        if is_upsampling_module(module) and "karaffe" not in module._modules and path not in run:
            found[path] = Unreached(f"{type(module).__name__} {path!r}", "")
    return list(found.values())


def _functions(model: nn.Module) -> Iterator[FunctionType]:
    """Methods of the model's own classes, and the free functions that these call by a plain name."""
    seen: set[Any] = set()
    pending: list[Any] = []
    for cls in dict.fromkeys(type(m) for m in model.modules()):
        if not cls.__module__.startswith(OWN):
            pending += [a for base, _, a in class_functions(cls) if not base.__module__.startswith(OWN)]
    while pending:
        function = _plain(pending.pop(0))
        if function is None or function.__code__ in seen or function.__module__.startswith(OWN):
            continue
        seen.add(function.__code__)
        yield function
        pending += [f for f in _called(function) if f.__module__ == function.__module__]
        pending += [c.cell_contents for c in function.__closure__ or () if _filled(c)]


def _plain(attribute: Any) -> FunctionType | None:
    if isinstance(attribute, staticmethod | classmethod):
        attribute = attribute.__func__
    return attribute if isinstance(attribute, FunctionType) and attribute.__module__ else None


def _filled(cell: Any) -> bool:
    try:
        return isinstance(cell.cell_contents, FunctionType)
    except ValueError:
        return False


def _called(function: FunctionType) -> list[FunctionType]:
    names = function.__code__.co_names
    values = [function.__globals__.get(name) for name in names]
    return [v for v in values if isinstance(v, FunctionType) and v.__module__]


def upsampling_calls(function: FunctionType) -> list[tuple[int, int, str]]:
    """``(number, line, text)`` of every call in ``function`` whose callee is one of torch's upsampling functions."""
    try:
        calls = calls_of(definition(function.__code__))
    except (SurgeryError, SyntaxError):
        return []
    return [
        (number, call.lineno, ast.unparse(call.func))
        for number, call in enumerate(calls)
        if _resolve(call.func, function) in SPELLINGS
    ]


def _resolve(node: ast.expr, function: FunctionType) -> Any:
    """The object that a dotted name means in a function's globals and closure, else ``None``."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    try:
        value = cells[node.id].cell_contents if node.id in cells else function.__globals__[node.id]
        value = functools.reduce(getattr, reversed(names), value)
        hash(value)
    except (KeyError, AttributeError, ValueError, TypeError):
        return None
    return value
