"""Which network, or chain of networks, makes an enlargement.

The chain multiplies by the smallest integer that reaches the wanted factor; what is too much is taken away again by
antialiased Lanczos interpolation. A factor of one or less needs no network. The classic interpolations are no
networks: they go to any size directly.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from karaffe.errors import ArgumentError
from karaffe.imaging.runtime import OnnxFunction, check_runtime
from karaffe.models import SuperResolver, create_model, describe_model
from karaffe.models.interpolation import METHODS
from karaffe.ops import use_backend

LARGEST_FACTOR = 64


@dataclass(frozen=True)
class Network:
    """A function on ``(N, C, h, w)`` in [0, 1] that multiplies height and width.

    Attributes:
        function: The function; None is the identity.
        factor: What it multiplies by. halo: Source pixels of context that a tile needs on every side.
        kernel: What interpolates from its size to the wanted one. device: Where it runs.
        backend: Forced operator backend.
        concurrent: Whether several threads may call it at a time.
        window_radius: Targets lie between the smallest and largest source value of this many pixels around, as
            :class:`karaffe.models.SuperResolver` says; None: no such promise.
    """

    function: Callable[[Tensor], Tensor] | None = None
    factor: int = 1
    halo: int = 0
    kernel: str = "lanczos3"
    device: torch.device | None = None
    backend: str | None = None
    concurrent: bool = False
    window_radius: int | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self.function is None:
            return x
        if self.backend is None:
            return self.function(x.to(self.device))
        with use_backend(self.backend):
            return self.function(x.to(self.device))


def find_network(
    model: str | nn.Module,
    factor: float,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    backend: str | None = None,
    runtime: str = "torch",
) -> Network:
    """Return a network of at least ``factor`` for values of ``dtype``.

    Args:
        model: A name known to :func:`karaffe.models.create_model`, or a module with ``scale`` and ``halo``.
        factor: Wanted factor of the axis that grows most.
        dtype: float32 or float64. device: Default: where the module is, the CPU for a name.
        backend: Operator backend; default: the best there is.
        runtime: ``"torch"``, or ``"onnx"``: onnxruntime, in float32 on the CPU.

    Raises:
        UnknownNameError: An unknown name.
        ArgumentError: A factor above 64, or a module without ``scale`` and ``halo``; onnxruntime for what is no
            network, on another device, or with an operator backend.
        BackendError: onnxruntime is not installed.
    """
    check_runtime(runtime)
    if factor > LARGEST_FACTOR:
        raise ArgumentError(f"scale must be at most {LARGEST_FACTOR}, got {factor:g}")
    if isinstance(model, str) and not describe_model(model).learned:
        if runtime == "onnx":
            raise ArgumentError(f"runtime 'onnx' runs networks; {model} is an interpolation: leave it to torch")
        return Network(kernel=METHODS[model], concurrent=True)
    if runtime == "onnx":
        dtype = torch.float32
        if backend is not None or (device is not None and torch.device(device).type != "cpu"):
            raise ArgumentError(f"runtime 'onnx' runs on the CPU, without operator backends; got {device=}, {backend=}")
    stages = _module_stages(model, factor) if isinstance(model, nn.Module) else _named_stages(model, factor)
    place = torch.device(device) if device is not None else _device(stages)
    stages = [_ready(stage, dtype, place) for stage in stages]
    function: Callable[[Tensor], Tensor] | None = nn.Sequential(*stages) if stages else None
    if isinstance(function, nn.Module) and runtime == "onnx":
        function = OnnxFunction(function)
    total = math.prod(int(stage.scale) for stage in stages)
    radius = _reach(stages, "window_radius") if _is_convex(model, stages) else None
    # A convex result stays so only under a kernel without negative weights.
    kernel = "lanczos3" if radius is None else "triangle"
    # A forced backend holds for all threads, and modules of others may keep something from call to call.
    own = runtime == "torch" and backend is None and all(isinstance(stage, SuperResolver) for stage in stages)
    concurrent = own and place.type == "cpu"
    return Network(function, total, _reach(stages, "halo"), kernel, place, backend, concurrent, radius)


def _reach(stages: Sequence[Any], attribute: str) -> int:
    """Return how many source pixels a chain looks to each side, by what each stage looks in its own."""
    total, reach = 1, 0
    for stage in stages:
        reach += math.ceil(int(getattr(stage, attribute)) / total)
        total *= int(stage.scale)
    return reach


def _is_convex(model: str | nn.Module, stages: Sequence[Any]) -> bool:
    """Return whether every network of the chain, or the one that a chain would be made of, promises a range."""
    asked = list(stages)
    if not asked:
        asked = [create_model(model, min(describe_model(model).scales or (1,))) if isinstance(model, str) else model]
    return all(getattr(network, "window_radius", None) is not None for network in asked)


def _module_stages(model: nn.Module, factor: float) -> list[Any]:
    scale, halo = getattr(model, "scale", None), getattr(model, "halo", None)
    if not isinstance(scale, int) or not isinstance(halo, int) or scale < 1 or halo < 0:
        raise ArgumentError(
            f"model must be a name, or a module with integers scale >= 1 and halo >= 0; "
            f"{type(model).__name__} has {scale=} and {halo=}"
        )
    if factor <= 1:
        return []
    if scale == 1:
        raise ArgumentError(f"model has scale 1, which cannot enlarge by {factor:g}")
    return [model] * max(1, math.ceil(math.log(factor) / math.log(scale) - 1e-9))


def _named_stages(name: str, factor: float) -> list[Any]:
    if factor <= 1:
        return []
    return [create_model(name, scale) for scale in _chain(describe_model(name).scales, factor)]


def _chain(scales: Sequence[int] | None, factor: float) -> list[int]:
    """Return factors whose product is the smallest that reaches ``factor``; fewest stages, largest first."""
    if not scales:
        return [math.ceil(factor - 1e-9)]
    best: dict[int, list[int]] = {1: []}
    frontier = [1]
    while frontier:
        reached = frontier.pop(0)
        for scale in sorted((s for s in scales if s > 1), reverse=True):
            product = reached * scale
            if reached < factor and product not in best:
                best[product] = [*best[reached], scale]
                frontier.append(product)
    reaching = [product for product in best if product >= factor - 1e-9]
    return sorted(best[min(reaching)], reverse=True)


def _device(stages: Sequence[Any]) -> torch.device:
    for stage in stages:
        for parameter in stage.parameters():
            return torch.device(parameter.device)
    return torch.device("cpu")


def _ready(stage: Any, dtype: torch.dtype, device: torch.device) -> Any:
    """Return the module in evaluation mode, copied where its state must change."""
    tensors = [*stage.parameters(), *stage.buffers()]
    moved = any(t.device != device or (t.is_floating_point() and t.dtype != dtype) for t in tensors)
    if moved or stage.training:
        stage = copy.deepcopy(stage).to(device=device, dtype=dtype).eval()
    return stage
