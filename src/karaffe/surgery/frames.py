"""From a running torch function to the module that asked for it, by the stack of frames between the two."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import CodeType, FrameType

import torch
from torch import nn

from karaffe.errors import SurgeryError
from karaffe.surgery.source import (
    NESTED,
    CallPoint,
    calls_of,
    closure_path,
    contains,
    definition,
    digest,
    forward_attribute,
    same_code,
)

TORCH_FOLDER = os.path.dirname(torch.__file__) + os.sep
MODULE_CALL = nn.Module._call_impl.__code__


@dataclass
class Segment:
    """A module that is running, and the frames of code outside torch that it entered, innermost first."""

    module: nn.Module
    frames: list[FrameType]


def segments(frame: FrameType | None, deepest: int = 2) -> list[Segment]:
    """The ``deepest`` innermost running modules, innermost first, each with its frames."""
    found: list[Segment] = []
    frames: list[FrameType] = []
    while frame is not None and len(found) < deepest:
        code = frame.f_code
        if code is MODULE_CALL:
            found.append(Segment(frame.f_locals["self"], frames))
            frames = []
        elif not code.co_filename.startswith(TORCH_FOLDER):
            frames.append(frame)
        frame = frame.f_back
    return found


@dataclass(frozen=True)
class Position:
    """Where a frame stands: the definition it is in, and the end of the call it is making."""

    code: CodeType
    line: int
    end: tuple[int | None, int | None]


def position(frame: FrameType) -> Position:
    _, end_line, _, end_column = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    return Position(frame.f_code, frame.f_lineno, (end_line, end_column))


def chain(owner: nn.Module, frames: list[FrameType]) -> tuple[tuple[CallPoint, ...], str]:
    """The call expressions from the operation out to ``owner.forward``, and why there are none.

    Returns:
        The points, innermost first, and ``""``; or no points and the reason.
    """
    entry = forward_attribute(type(owner))
    points: list[CallPoint] = []
    at = 0
    while at < len(frames):
        where = position(frames[at])
        holder = _holder(frames, at)
        if holder is None:
            return (), f"the call is inside a {where.code.co_name} that is called from elsewhere"
        at, code = holder, frames[holder].f_code
        try:
            points.append(_point(code, where, frames[at].f_globals["__name__"]))
        except SurgeryError as error:
            return (), str(error)
        if closure_path(entry, lambda f, code=code: same_code(f.__code__, code)):  # type: ignore[misc]
            return tuple(points), ""
        at += 1
    return (), f"the call is not made by the forward() of {type(owner).__name__}"


def _holder(frames: list[FrameType], at: int) -> int | None:
    """Index of the frame whose definition holds the code of frame ``at``: itself unless that is nested in another."""
    code = frames[at].f_code
    outermost = None if code.co_name in NESTED else at
    for index in range(at + 1, len(frames)):
        if frames[index].f_code is not code and contains(frames[index].f_code, code):
            outermost = index
    return outermost


def _point(code: CodeType, where: Position, module: str) -> CallPoint:
    for number, call in enumerate(calls_of(definition(code))):
        if (call.end_lineno, call.end_col_offset) == where.end:
            return CallPoint(module, code.co_qualname, digest(code), number)
    raise SurgeryError(f"line {where.line} of {code.co_qualname} calls it through something other than a call")
