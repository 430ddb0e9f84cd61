"""Functions and their source: find the definition behind running code, number its calls, find it again later.

A call expression is named by the function it stands in and its number among that function's calls, and the function
by module, qualified name and a digest of its text. That survives pickling and edits elsewhere in the file; an edit of
the function itself changes the digest and is refused.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import linecache
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from karaffe.errors import SurgeryError

NESTED = frozenset({"<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>", "<lambda>"})
DEEPEST_CLOSURE = 8


@dataclass(frozen=True)
class CallPoint:
    """One call expression: number ``call`` of the function ``module.function`` whose text has this ``digest``."""

    module: str
    function: str
    digest: str
    call: int


@functools.lru_cache(maxsize=256)
def parsed(filename: str) -> ast.Module:
    text = "".join(linecache.getlines(filename))
    if not text:
        raise SurgeryError(f"no source for {filename}")
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise SurgeryError(f"no source: {filename} cannot be read as Python") from error


@functools.lru_cache(maxsize=4096)
def definition(code: CodeType) -> ast.FunctionDef:
    """The ``def`` that was compiled to ``code``; a rewritten copy has lost the decorators above its ``def``."""
    for node in ast.walk(parsed(code.co_filename)):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            above = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            if code.co_firstlineno in (above, node.lineno):
                return node
    raise SurgeryError(f"no source for {code.co_qualname} in {code.co_filename}")


def calls_of(node: ast.AST) -> list[ast.Call]:
    """All call expressions of a definition, in an order that depends on its text alone."""
    return [n for n in ast.walk(node) if isinstance(n, ast.Call)]


@functools.lru_cache(maxsize=4096)
def digest(code: CodeType) -> str:
    return hashlib.sha256(ast.unparse(definition(code)).encode()).hexdigest()[:16]


def contains(outer: CodeType, inner: CodeType) -> bool:
    """``inner`` is ``outer`` or was compiled inside it (a comprehension, a lambda, a local function)."""
    if outer is inner:
        return True
    return any(isinstance(c, CodeType) and contains(c, inner) for c in outer.co_consts)


def same_code(a: CodeType, b: CodeType) -> bool:
    """The same definition, though one may be a rewritten copy of the other."""
    if a is b or (a.co_filename, a.co_name) != (b.co_filename, b.co_name):
        return a is b
    try:
        return definition(a).lineno == definition(b).lineno
    except SurgeryError:
        return False


def closure_path(function: Any, wanted: Callable[[FunctionType], bool]) -> list[FunctionType] | None:
    """``[function, …, f]`` with ``wanted(f)``, each in the closure of the one before: how decorators wrap."""
    return _closure_path(function, wanted, set())


def _closure_path(function: Any, wanted: Callable[[FunctionType], bool], seen: set[int]) -> list[FunctionType] | None:
    if isinstance(function, staticmethod | classmethod):
        function = function.__func__
    if isinstance(function, functools.partial):
        function = function.func
    if not isinstance(function, FunctionType) or id(function) in seen or len(seen) > 8 * DEEPEST_CLOSURE:
        return None
    seen.add(id(function))
    if wanted(function):
        return [function]
    for cell in function.__closure__ or ():
        try:
            inner = cell.cell_contents
        except ValueError:
            continue
        path = _closure_path(inner, wanted, seen)
        if path:
            return [function, *path]
    return None


def class_functions(cls: type) -> Iterator[tuple[type, str, Any]]:
    """``(class, name, attribute)`` of every function that ``cls`` has or inherits, nearest class first."""
    for base in cls.__mro__:
        for name, attribute in vars(base).items():
            if isinstance(attribute, FunctionType | staticmethod | classmethod):
                yield base, name, attribute
            elif isinstance(attribute, property) and attribute.fget is not None:
                yield base, name, attribute.fget


def forward_attribute(cls: type) -> Any:
    """What ``cls.forward`` resolves to, unbound."""
    return next(vars(base)["forward"] for base in cls.__mro__ if "forward" in vars(base))


def find_path(
    point: CallPoint, owner: type, nearby: list[FunctionType], inner: CallPoint | None = None
) -> list[FunctionType]:
    """The function that ``point`` names with the wrappers around it, outermost first.

    Looked for in the owner's classes, in the closures of the functions that call it, then in its module. A decorator
    makes wrappers of one name for all it decorates: the one that holds the function of ``inner`` comes first.

    Raises:
        SurgeryError: it is not there, or its text is no longer what it was.
    """

    def leads_on(function: FunctionType) -> bool:
        return named(function, point) and (
            inner is None or closure_path(function, lambda f: named(f, inner)) is not None
        )

    places: list[Any] = [attribute for _, _, attribute in class_functions(owner)] + list(nearby)
    path = None
    for wanted in (leads_on, lambda f: named(f, point)):
        path = path or _first_path(places, wanted) or _first_path(_module_functions(point.module), wanted)
    if path is None:
        raise SurgeryError(f"{point.module}.{point.function}, whose calls were replaced, is no longer there")
    if digest(path[-1].__code__) != point.digest:
        raise SurgeryError(
            f"{point.module}.{point.function} has changed since its upsampling was replaced: build the network anew, "
            "replace again and load the state_dict"
        )
    return path


def named(function: FunctionType, point: CallPoint) -> bool:
    """Whether ``point`` is in a function of this name, in this module."""
    return function.__code__.co_qualname == point.function and function.__globals__.get("__name__") == point.module


def _first_path(places: Any, wanted: Callable[[FunctionType], bool]) -> list[FunctionType] | None:
    for place in places:
        path = closure_path(place, wanted)
        if path:
            return path
    return None


def _module_functions(name: str) -> Iterator[Any]:
    for value in list(vars(importlib.import_module(name)).values()):
        if isinstance(value, type):
            yield from (attribute for _, _, attribute in class_functions(value))
        else:
            yield value


def siblings(code: CodeType, call: int) -> list[int]:
    """Calls of the same function in the other arm of the innermost ``if`` that has such a call.

    ``if size is None: up(x, scale) else: up(x, size)`` is one upsampling in two spellings, and an example reaches one.
    """
    node = definition(code)
    numbered = calls_of(node)
    number = {id(n): i for i, n in enumerate(numbered)}
    here = numbered[call]
    found: list[int] = []
    for branch in (n for n in ast.walk(node) if isinstance(n, ast.If)):
        for own, other in ((branch.body, branch.orelse), (branch.orelse, branch.body)):
            if not any(n is here for statement in own for n in ast.walk(statement)):
                continue
            same = [
                number[id(n)]
                for statement in other
                for n in ast.walk(statement)
                if isinstance(n, ast.Call) and ast.dump(n.func) == ast.dump(here.func)
            ]
            found = same or found
    return found
