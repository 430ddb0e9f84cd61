"""One forward pass under observation: every call that enlarges a map, who made it, and what becomes of its result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from karaffe.surgery.frames import Segment, chain, segments
from karaffe.surgery.guides import guide_expressions
from karaffe.surgery.operations import MODULES, OPERATIONS, is_upsampling_module, read_resize
from karaffe.surgery.source import CallPoint

ADDITIONS = frozenset({torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__})
PRODUCTS = frozenset({torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__})
JOINS: dict[Any, str] = {
    **dict.fromkeys(ADDITIONS, "add"),
    **dict.fromkeys(PRODUCTS, "mul"),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), "cat"),
}


@dataclass
class Observation:
    """One run of one upsampling operation."""

    op: str
    owner: str
    owner_class: str
    module: str | None
    run: int
    ordinal: int
    points: tuple[CallPoint, ...]
    reason: str
    file: str
    line: int
    function: str
    in_shape: tuple[int, ...]
    request: dict[str, Any]
    out_shape: tuple[int, ...] = ()
    from_data: bool = False
    computed_weight: bool = False
    joined: str = ""
    guides: tuple[str, ...] = ()
    guide_channels: int = 0
    hops_to_output: int | None = None
    at_hand: dict[int, tuple[list[str], int]] = field(default_factory=dict, repr=False)
    born: int = field(default=0, repr=False)


@dataclass
class _Mark:
    """What the probe knows of a tensor: made by data, when, and by which observation through how many steps."""

    data: bool
    born: int
    source: tuple[int, int] | None = None


class Probe(TorchFunctionMode):
    """Observes a model while it runs; use as ``with Probe(model, inputs) as probe: model(...)``."""

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        super().__init__()
        self.observations: list[Observation] = []
        self._paths: dict[int, str] = {}
        for path, module in model.named_modules(remove_duplicate=False):
            self._paths.setdefault(id(module), path)
        self._runs: dict[int, int] = {}
        self._ordinals: dict[Any, int] = {}
        self._marks: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._steps = 0
        tensors = [t for t in tensors_in(inputs) if t.is_floating_point()] or tensors_in(inputs)
        for tensor in tensors:
            self._marks[tensor] = _Mark(True, 0)

    def __enter__(self) -> Probe:
        self._hook = register_module_forward_pre_hook(self._count_run)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self._hook.remove()

    def _count_run(self, module: nn.Module, _: Any) -> None:
        self._runs[id(module)] = self._runs.get(id(module), 0) + 1

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        self._steps += 1
        if func in JOINS:
            self._join(JOINS[func], inputs)
        observation: Observation | None = None
        frames: list[FrameType] = []
        if func in OPERATIONS and inputs:
            observation, frames = self._observe(func, args, kwargs, sys._getframe(1))
        out = func(*args, **kwargs)
        self._mark(func, inputs, out)
        if observation is not None and isinstance(out, Tensor):
            self._finish(observation, inputs, out, frames)
        return out

    def _observe(
        self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any], frame: FrameType
    ) -> tuple[Observation | None, list[FrameType]]:
        running = segments(frame)
        if not running or any("karaffe" in self._paths.get(id(s.module), "").split(".") for s in running[:1]):
            return None, []
        owner, path, original = self._owner(running, func)
        if owner is None:
            return None, []
        points, reason = chain(owner.module, owner.frames)
        run = self._runs.get(id(owner.module), 0)
        key = (id(owner.module), run, path, points)
        ordinal = self._ordinals[key] = self._ordinals.get(key, -1) + 1
        shown = owner.frames[0] if owner.frames else None
        op = OPERATIONS[func]
        source = args[0] if args else kwargs["input"]
        seen = Observation(
            op,
            self._paths[id(owner.module)],
            type(owner.module).__name__,
            path,
            run,
            ordinal,
            points,
            reason,
            shown.f_code.co_filename if shown else "",
            shown.f_lineno if shown else 0,
            shown.f_code.co_qualname if shown else "",
            tuple(source.shape),
            _request(op, original or func, args, kwargs),
        )
        if op == "conv_transpose":
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            seen.computed_weight = not isinstance(weight, nn.Parameter) and path is None
        return seen, owner.frames

    def _owner(self, running: list[Segment], func: Any) -> tuple[Segment | None, str | None, nn.Module | None]:
        """Whose code asked: the module whose ``forward`` makes the call, and the upsampling module it calls."""
        top = running[0]
        known = id(top.module) in self._paths
        if isinstance(top.module, MODULES) and "karaffe" in top.module._modules:
            return None, None, None
        if isinstance(top.module, MODULES) and (is_upsampling_module(top.module) or not known):
            if len(running) == 1:
                return None, None, None
            path = self._paths[id(top.module)] if known else None
            return (running[1] if id(running[1].module) in self._paths else None), path, top.module
        return (top if known else None), None, None

    def _mark(self, func: Any, inputs: list[Tensor], out: Any) -> None:
        marks = [self._marks.get(t) for t in inputs]
        data = any(m is not None and m.data for m in marks)
        first = marks[0] if marks else None
        for tensor in tree_leaves(out):
            if not isinstance(tensor, Tensor):
                continue
            source = None
            if first is not None and first.source is not None and func not in JOINS and _same_grid(tensor, inputs[0]):
                source = (first.source[0], first.source[1] + 1)
            before = self._marks.get(tensor)
            self._marks[tensor] = _Mark(data, before.born if before else self._steps, source)

    def _finish(self, seen: Observation, inputs: list[Tensor], out: Tensor, frames: list[FrameType]) -> None:
        seen.out_shape = tuple(out.shape)
        mark = self._marks[out]
        seen.from_data, seen.born = mark.data, self._steps
        mark.source = (len(self.observations), 0)
        self.observations.append(seen)
        if frames:
            for tensor, text in guide_expressions(frames, out):
                known = self._marks.get(tensor)
                if known is not None and known.data and tensor is not out and tensor is not inputs[0]:
                    names, _ = seen.at_hand.setdefault(id(tensor), ([], tensor.shape[1]))
                    names.append(text)

    def _join(self, kind: str, inputs: list[Tensor]) -> None:
        """A map that an observation led to meets another of its size: that other one is its skip connection."""
        for tensor in inputs:
            mark = self._marks.get(tensor)
            if mark is None or mark.source is None:
                continue
            seen = self.observations[mark.source[0]]
            for other in inputs:
                theirs = self._marks.get(other)
                if seen.joined or other is tensor or theirs is None or not theirs.data:
                    continue
                if not _same_grid(other, tensor) or (theirs.source and theirs.source[0] == mark.source[0]):
                    continue
                seen.joined = kind
                if theirs.born < seen.born:
                    names, seen.guide_channels = seen.at_hand.get(id(other), ([], 0))
                    seen.guides = tuple(dict.fromkeys(names))

    def close(self, output: Any) -> None:
        """Note which results reach the model's ``output`` through a few steps that keep their size."""
        for tensor in tensors_in(output):
            mark = self._marks.get(tensor)
            if mark is not None and mark.source is not None:
                index, hops = mark.source
                self.observations[index].hops_to_output = hops


def _same_grid(a: Tensor, b: Tensor) -> bool:
    return a.dim() == b.dim() and a.dim() >= 3 and a.shape[2:] == b.shape[2:]


def _request(op: str, original: Any, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    if op != "interpolate":
        return {}
    resize = read_resize(original, args, kwargs)
    return {
        "mode": resize.mode,
        "align_corners": resize.align_corners,
        "by": "size" if resize.size is not None else "scale",
        "factors": resize.factors,
        "antialias": bool(kwargs.get("antialias")),
    }


def tensors_in(value: Any) -> list[Tensor]:
    """Every tensor in nested containers, mappings, dataclasses and framework output objects."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [t for v in value.values() for t in tensors_in(v)]
    if isinstance(value, list | tuple):
        return [t for v in value for t in tensors_in(v)]
    if hasattr(value, "__dataclass_fields__"):
        return [t for name in value.__dataclass_fields__ for t in tensors_in(getattr(value, name))]
    return []
