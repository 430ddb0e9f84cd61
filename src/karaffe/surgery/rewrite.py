"""Copies of functions with chosen call expressions rewritten; the originals stay as they are.

A rewritten call ``f(args)`` becomes ``call_site(owner, counts, name, guide, f, args)``. A call that leads to one, of a
method or a helper, becomes ``call_helper(owner, counts, copy, f, args)``. The copy keeps the live globals, closure
cells, defaults, ``super()`` and line numbers of its original; decorators are not run again, the functions they made
are rebuilt around the copy.
"""

from __future__ import annotations

import ast
import copy
import types
from collections.abc import Callable
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any

from torch import nn

from karaffe.errors import SurgeryError
from karaffe.surgery.source import CallPoint, calls_of, definition, find_path

OWNER, COUNTS, SITE, GUIDED, HELPER = (f"__karaffe_{w}__" for w in ("owner", "counts", "site", "guided", "helper"))


@dataclass(frozen=True)
class Edit:
    """Replace the call at ``points[0]``, reached through the others, or hand the module it calls a guide.

    Attributes:
        name: of the module in ``owner.karaffe``; ``""``: the callee is a replaced module, which is only given a guide.
        guide: expression that names the guide at the call, or ``""``.
        points: the calls from the operation out to the owner's ``forward``.
    """

    name: str
    guide: str
    points: tuple[CallPoint, ...]


def call_site(
    owner: nn.Module, counts: dict[str, int], name: str, guide: Any, original: Any, /, *args: Any, **kwargs: Any
) -> Any:
    """What a rewritten call runs: this turn's module, else the original call."""
    turn = counts.get(name, 0)
    counts[name] = turn + 1
    modules = owner._modules["karaffe"]._modules  # type: ignore[union-attr]
    module = modules.get(f"{name}_{turn}", modules.get(name))
    if module is None:
        return original(*args, **kwargs)
    return module(original, guide, *args, **kwargs)


def call_guided(original: Any, guide: Callable[[], Any], /, *args: Any, **kwargs: Any) -> Any:
    """What a rewritten call of a module runs: a replaced one is given the guide, any other is called as it was."""
    if getattr(type(original), "_karaffe_swapped", False):
        kwargs["guide"] = guide()
    return original(*args, **kwargs)


def call_helper(
    owner: nn.Module, counts: dict[str, int], rewritten: Any, original: Any, /, *args: Any, **kwargs: Any
) -> Any:
    """What a rewritten call of a helper runs: the copy, bound to what the original is bound to."""
    if isinstance(original, types.MethodType):
        return rewritten(owner, counts, original.__self__, *args, **kwargs)
    return rewritten(owner, counts, *args, **kwargs)


def rewritten_forward(owner: type, edits: list[Edit]) -> Any:
    """The class's ``forward`` with all ``edits`` made, decorated as before."""
    path, function = _rewrite_level(owner, edits, [], entry=True)
    return rewrapped(path, function)


def _rewrite_level(
    owner: type, edits: list[Edit], nearby: list[FunctionType], *, entry: bool
) -> tuple[list[FunctionType], FunctionType]:
    """The function that the outermost point of all ``edits`` names, and its rewritten copy."""
    points = edits[0].points
    path = find_path(points[-1], owner, nearby, points[-2] if len(points) > 1 else None)
    direct: dict[int, Edit] = {}
    through: dict[int, list[Edit]] = {}
    for edit in edits:
        *inner, outer = edit.points
        if inner:
            through.setdefault(outer.call, []).append(Edit(edit.name, edit.guide, tuple(inner)))
        else:
            direct[outer.call] = edit
    helpers: dict[int, tuple[str, FunctionType]] = {}
    for number, group in through.items():
        inner_path, inner_copy = _rewrite_level(owner, group, [*nearby, *path], entry=False)
        # A wrapper that is among the callers has its own copy; one that is not, as torch's no_grad, is rebuilt.
        copied = any(f.__code__ is path[-1].__code__ for f in inner_path[:-1])
        wrapped = inner_copy if copied else rewrapped(inner_path, inner_copy)
        helpers[number] = (f"__karaffe_helper_{number}__", wrapped)
    return path, _rewritten(path[-1], direct, helpers, entry=entry)


def _rewritten(
    function: FunctionType, direct: dict[int, Edit], helpers: dict[int, tuple[str, FunctionType]], *, entry: bool
) -> FunctionType:
    code = function.__code__
    node = copy.deepcopy(definition(code))
    calls = calls_of(node)
    replaced: dict[int, ast.Call] = {id(calls[n]): _site_call(calls[n], e) for n, e in direct.items()}
    first = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)][:1]
    replaced |= {id(calls[n]): _helper_call(calls[n], name, first) for n, (name, _) in helpers.items()}
    body = _Replace(replaced)
    node.body = [body.visit(statement) for statement in node.body]
    _bare_signature(node)
    _bind_owner(node, code, entry=entry)
    values: dict[str, Any] = {SITE: call_site, GUIDED: call_guided, HELPER: call_helper, **dict(helpers.values())}
    compiled = _compiled(node, code, list(values))
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    cells |= {name: CellType(value) for name, value in values.items()}
    made = FunctionType(
        compiled,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        tuple(cells[name] for name in compiled.co_freevars),
    )
    _copy_attributes(function, made)
    return made


class _Replace(ast.NodeTransformer):
    """Put the new calls in place, outer and inner alike."""

    def __init__(self, replaced: dict[int, ast.Call]) -> None:
        self.replaced = replaced

    def visit_Call(self, node: ast.Call) -> ast.Call:
        new = self.replaced.get(id(node), node)
        self.generic_visit(new)
        return new


def _name(text: str) -> ast.Name:
    return ast.Name(text, ast.Load())


def _site_call(call: ast.Call, edit: Edit) -> ast.Call:
    guide: ast.expr = ast.parse(edit.guide, mode="eval").body if edit.guide else ast.Constant(None)
    if edit.name:
        lead = [_name(OWNER), _name(COUNTS), ast.Constant(edit.name), guide, call.func]
        return ast.copy_location(ast.Call(_name(SITE), [*lead, *call.args], call.keywords), call)
    none = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    lead = [call.func, ast.Lambda(none, guide)]
    return ast.copy_location(ast.Call(_name(GUIDED), [*lead, *call.args], call.keywords), call)


def _helper_call(call: ast.Call, name: str, first: list[str]) -> ast.Call:
    callee = call.func
    lead: list[ast.expr]
    if isinstance(callee, ast.Attribute) and ast.unparse(callee.value) == "super()" and first:
        # A tracer does not see what a method of super() is bound to; it is bound to the function's first argument.
        lead = [_name(OWNER), _name(COUNTS), _name(first[0])]
        return ast.copy_location(ast.Call(_name(name), [*lead, *call.args], call.keywords), call)
    lead = [_name(OWNER), _name(COUNTS), _name(name), callee]
    return ast.copy_location(ast.Call(_name(HELPER), [*lead, *call.args], call.keywords), call)


def _bare_signature(node: ast.FunctionDef) -> None:
    """No decorators, annotations or default values: nothing of the signature is evaluated a second time."""
    node.decorator_list, node.returns = [], None
    arguments = node.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None:
            argument.annotation = None
    arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
    arguments.kw_defaults = [None if d is None else ast.Constant(None) for d in arguments.kw_defaults]


def _bind_owner(node: ast.FunctionDef, code: CodeType, *, entry: bool) -> None:
    """``forward`` names itself owner and starts the counts; helpers are handed both."""
    positional = node.args.posonlyargs + node.args.args
    if not entry:
        target = node.args.posonlyargs if node.args.posonlyargs else node.args.args
        target[:0] = [ast.arg(OWNER), ast.arg(COUNTS)]
        return
    if not positional:
        raise SurgeryError(f"{code.co_qualname} takes no argument named self")
    start = ast.parse(f"{OWNER} = {positional[0].arg}\n{COUNTS} = {{}}").body
    has_docstring = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
    at = 1 if has_docstring else 0
    for statement in start:
        for part in ast.walk(statement):
            ast.copy_location(part, node.body[0])
    node.body[at:at] = start


def _compiled(node: ast.FunctionDef, code: CodeType, names: list[str]) -> CodeType:
    """Compile the definition inside a class (for ``super()`` and private names) inside a function (for closures)."""
    # In Python 3.12 and later definitions carry type parameters, and the compiler wants the field.
    empty: dict[str, Any] = {"type_params": []} if "type_params" in ast.FunctionDef._fields else {}
    holder = ["", *code.co_qualname.split(".")][-2]
    inner: ast.stmt = node
    if holder not in ("", "<locals>"):
        inner = ast.ClassDef(name=holder, bases=[], keywords=[], body=[node], decorator_list=[], **empty)
    free = [name for name in (*code.co_freevars, *names) if name != "__class__"]
    signature = ast.arguments(
        posonlyargs=[], args=[ast.arg(name) for name in free], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    outer = ast.FunctionDef(name="__karaffe_scope__", args=signature, body=[inner], decorator_list=[], **empty)
    tree = ast.fix_missing_locations(ast.Module([outer], []))
    # Keep the original's `from __future__ import annotations`; its other future flags are law since Python 3.
    module_code = compile(tree, code.co_filename, "exec", dont_inherit=True, flags=code.co_flags & 0x1000000)
    found = _nested_code(module_code, code.co_name, node.lineno)
    if found is None:
        raise SurgeryError(f"{code.co_qualname} cannot be compiled again")
    return found.replace(co_qualname=code.co_qualname)


def _nested_code(code: CodeType, name: str, line: int) -> CodeType | None:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_name == name and constant.co_firstlineno == line:
                return constant
            if found := _nested_code(constant, name, line):
                return found
    return None


def rewrapped(path: list[FunctionType], new: FunctionType) -> FunctionType:
    """The decorators' functions around the last of ``path``, rebuilt around ``new``."""
    for outer, inner in zip(reversed(path[:-1]), reversed(path[1:]), strict=True):
        cells = tuple(CellType(new) if _content(cell) is inner else cell for cell in outer.__closure__ or ())
        made = FunctionType(outer.__code__, outer.__globals__, outer.__name__, outer.__defaults__, cells)
        _copy_attributes(outer, made)
        if getattr(outer, "__wrapped__", None) is inner:
            made.__wrapped__ = new  # type: ignore[attr-defined]
        new = made
    return new


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _copy_attributes(source: FunctionType, target: FunctionType) -> None:
    target.__kwdefaults__ = source.__kwdefaults__
    target.__qualname__, target.__module__, target.__doc__ = source.__qualname__, source.__module__, source.__doc__
    target.__annotations__ = source.__annotations__
    target.__dict__.update(source.__dict__)
