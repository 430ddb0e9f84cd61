"""Loading what others trained: which layout a state_dict has, and how to rename it into ours.

A layout is a pattern of keys. Ours come first; the others are renamed, reshaped, and loaded with ``strict=True``, so
that nothing is left out or made up.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from karaffe.errors import ArgumentError, FileError
from karaffe.upsamplers.carafe import CARAFE
from karaffe.upsamplers.dysample import DySample
from karaffe.upsamplers.fade import FADE
from karaffe.upsamplers.sapa import SAPA

State = Mapping[str, Tensor]
# Where training frameworks put the weights in what they save.
WRAPPERS = ("state_dict", "model_state_dict", "model", "params_ema", "params")


@dataclass(frozen=True)
class Layout:
    """Another implementation's naming of one method.

    Attributes:
        name: for people.
        method: class that the layout belongs to.
        marks: keys by which it is known; the first is in every such checkpoint.
        convert: from its keys to ours, for a given module. May raise :class:`ArgumentError` to say what the module
            lacks.
    """

    name: str
    method: type[nn.Module]
    marks: tuple[str, ...]
    convert: Callable[[State, nn.Module], dict[str, Tensor]]


_LAYOUTS: list[Layout] = []


def register_layout(layout: Layout) -> None:
    """Teach :func:`load_checkpoint` another layout."""
    _LAYOUTS.append(layout)


def load_checkpoint(module: nn.Module, source: str | Path | State, *, prefix: str | None = None) -> str:
    """Load weights of this or another implementation into ``module``, with ``strict=True``.

    Args:
        module: an upsampler of the checkpoint's method and sizes.
        source: a ``.safetensors`` file, a file of ``torch.save`` (read with ``weights_only=True``), or a state_dict.
        prefix: where in a whole network's state_dict the upsampler lies, e.g. ``"neck.upsample_modules.0."``;
            ``None``: found, if there is only one such place.

    Returns:
        The name of the layout that was recognised.

    Raises:
        FileError: a file that is missing, damaged, or holds no state_dict.
        ArgumentError: keys of no known layout, or shapes that differ; the message names the keys that were expected
            and found.
    """
    state = read_state(source) if isinstance(source, str | Path) else source
    if not module.state_dict():
        raise ArgumentError(f"{type(module).__name__} has no weights to load")
    layouts = [own_layout(module), *(known for known in _LAYOUTS if isinstance(module, known.method))]
    for layout in layouts:
        for place in [prefix] if prefix is not None else places(state, layout.marks[0]):
            part = {k.removeprefix(place): v for k, v in state.items() if k.startswith(place)}
            if layout.marks[0] in part:
                check_fit(converted := layout.convert(part, module), module, layout.name)
                module.load_state_dict(converted, strict=True)
                return layout.name
    known_marks = "; ".join(f"{known.name}: {', '.join(known.marks)}" for known in layouts)
    raise ArgumentError(
        f"this checkpoint fits no layout of {type(module).__name__} that is known ({known_marks}); "
        f"expected e.g. {_some(module.state_dict())}; found {_some(state)}"
    )


def read_state(path: str | Path) -> State:
    """Read a state_dict from a file.

    Raises:
        FileError: missing, damaged, or not a state_dict.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise FileError(f"cannot read weights from {path}: {str(error).splitlines()[0]}") from error
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise FileError(f"{path} holds no state_dict, but {type(found).__name__}")
    return found


def places(state: State, mark: str) -> list[str]:
    """The prefix under which the key ``mark`` lies.

    Raises:
        ArgumentError: there are several; which one is meant?
    """
    found = sorted(k.removesuffix(mark) for k in state if k == mark or k.endswith(f".{mark}"))
    if "" in found:
        return [""]
    if len(found) > 1:
        raise ArgumentError(f"the checkpoint holds several such upsamplers; name one: prefix= one of {found}")
    return found


def own_layout(module: nn.Module) -> Layout:
    """The module's own naming, which is the official one."""
    marks = tuple(k for k in module.state_dict() if k.endswith("weight"))
    return Layout("official", type(module), marks, completed)


def completed(state: State, module: nn.Module) -> dict[str, Tensor]:
    """The official layout, less what releases of one method disagree on."""
    state = dict(state)
    if isinstance(module, DySample):
        _agree_on_scope(state, module)
    if isinstance(module, SAPA) and state.get("q.weight", torch.empty(0)).dim() == 2:
        return _linear_sapa(state, module)
    return state


def check_fit(state: State, module: nn.Module, layout: str) -> None:
    """Refuse keys or shapes that are not the module's."""
    ours = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    theirs = {k: tuple(v.shape) for k, v in state.items()}
    missing = [k for k in ours if k not in theirs]
    extra = [k for k in theirs if k not in ours]
    if missing or extra:
        raise ArgumentError(
            f"a checkpoint of layout {layout!r} does not fit this {type(module).__name__}: "
            f"missing {missing or 'nothing'}, not expected {extra or 'nothing'}"
        )
    wrong = [f"{k}: expected {ours[k]}, found {theirs[k]}" for k in ours if ours[k] != theirs[k]]
    if wrong:
        raise ArgumentError(f"a checkpoint of layout {layout!r} has other sizes than this module: {'; '.join(wrong)}")


def _some(state: State) -> str:
    keys = list(state)
    return ", ".join(keys[:8]) + (f", … ({len(keys)} in all)" if len(keys) > 8 else "") if keys else "no keys"


def _agree_on_scope(state: dict[str, Tensor], module: DySample) -> None:
    """Releases of DySample differ in whether the scope has a bias, and ports drop the buffer of regular places."""
    state.setdefault("init_pos", module.init_pos)
    if module.scope is None:
        return
    if module.scope.bias is not None:
        state.setdefault("scope.bias", torch.zeros_like(module.scope.bias))
    elif "scope.bias" in state and not state["scope.bias"].any():
        del state["scope.bias"]
    elif "scope.bias" in state:
        raise ArgumentError("this checkpoint's scope has a bias; make the module with scope_bias=True to hold it")


def _linear_sapa(state: State, module: SAPA) -> dict[str, Tensor]:
    """The NeurIPS code's projections are matrices behind layer normalisation."""
    if module.norm == "group":
        raise ArgumentError(
            "this checkpoint has 2-D projections, as the NeurIPS code of SAPA, which normalises over channels; make "
            "the module with norm='layer'; norm='group' would compute something else"
        )
    axes = module.q.weight.dim() - 2
    return {k: v.reshape(*v.shape, *[1] * axes) if k in ("q.weight", "k.weight") else v for k, v in state.items()}


def _renamed(names: Mapping[str, str]) -> Callable[[State, nn.Module], dict[str, Tensor]]:
    """A conversion that replaces the beginnings of keys."""

    def convert(state: State, module: nn.Module) -> dict[str, Tensor]:
        result = {}
        for key, value in state.items():
            start = next((old for old in names if key == old or key.startswith(f"{old}.")), None)
            result[key if start is None else names[start] + key[len(start) :]] = value
        return result

    return convert


def _with(option: str, has: str, names: Mapping[str, str]) -> Callable[[State, nn.Module], dict[str, Tensor]]:
    """A renaming for modules made with ``option``, which gives them the attribute ``has``."""
    rename = _renamed(names)

    def convert(state: State, module: nn.Module) -> dict[str, Tensor]:
        if getattr(module, has, None) is None:
            raise ArgumentError(f"this checkpoint is of a variant of CARAFE; make the module with {option} to hold it")
        return rename(state, module)

    return convert


_NORMED = "norm=True and activation='relu' (XiaLiPKU) or 'silu' (YOLO)"
_CONVOLVED = {
    "comp.conv": "channel_compressor",
    "comp.bn": "compressor_norm",
    "enc.conv": "content_encoder",
    "enc.bn": "encoder_norm",
}
_PROJECTED = {"down": "channel_compressor", "encoder": "content_encoder", "out": "output"}
_FADE = {
    "kernel_generator.conv1_en": "ker_generator.compressor_en",
    "kernel_generator.conv1_de": "ker_generator.compressor_de",
    "kernel_generator.conv2_kernels": "ker_generator.content_encoder.weight",
    "kernel_generator.conv2_bias": "ker_generator.content_encoder.bias",
}

for _layout in (
    Layout("XiaLiPKU and YOLO (comp, enc)", CARAFE, ("comp.conv.weight",), _with(_NORMED, "encoder_norm", _CONVOLVED)),
    Layout("YOLO (down, encoder, out)", CARAFE, ("down.weight",), _with("out_channels", "output", _PROJECTED)),
    Layout("H2L", FADE, ("kernel_generator.conv2_kernels",), _renamed(_FADE)),
):
    register_layout(_layout)
