"""Maps of the target's size that a calling frame has at hand, and how its code would name them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import FrameType
from typing import Any

from torch import Tensor

from karaffe.errors import SurgeryError
from karaffe.surgery.source import definition

HARMLESS = (
    ast.Name,
    ast.Subscript,
    ast.Attribute,
    ast.Constant,
    ast.BinOp,
    ast.UnaryOp,
    ast.operator,
    ast.unaryop,
    ast.expr_context,
)


def guide_expressions(frames: list[FrameType], target: Tensor) -> Iterator[tuple[Tensor, str]]:
    """``(map, expression)`` for each map of ``target``'s rank and size, and each way the calling code can name it.

    Plain names come before what the code itself writes (``laterals[i - 1]``); evaluating either calls nothing.
    """
    frame = frames[0]
    names = dict(frame.f_locals)
    for name, value in names.items():
        if name.isidentifier() and fits(value, target):
            yield value, name
    for node in written_expressions(frame):
        try:
            value = eval(compile(ast.Expression(node), "<guide>", "eval"), frame.f_globals, names)
        except Exception:
            continue
        if fits(value, target):
            yield value, ast.unparse(node)


def fits(value: Any, target: Tensor) -> bool:
    return isinstance(value, Tensor) and value.dim() == target.dim() and value.shape[2:] == target.shape[2:]


def written_expressions(frame: FrameType) -> list[ast.expr]:
    """Subscripts and attributes in the frame's function that only look things up."""
    try:
        node = definition(frame.f_code)
    except SurgeryError:
        return []
    found = [n for n in ast.walk(node) if isinstance(n, ast.Subscript | ast.Attribute)]
    return [n for n in found if isinstance(n.ctx, ast.Load) and all(isinstance(m, HARMLESS) for m in ast.walk(n))]
