"""The upsamplers there are, by name: frozen descriptions that validate themselves, and how to make each one."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import torch

from karaffe.errors import ArgumentError, unknown_name
from karaffe.upsamplers.base import Cost, ScaleFactor, Size, Upsampler

INITS = ("paper", "bilinear", "nearest")
SIZES = ("any", "crop", "pooled", "exact")
EXPORTS = ("compile", "export", "onnx")
# Groups that the option norm="group" means, whichever method has it.
NORM_GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class UpsamplerInfo:
    """What an upsampler is, and what it promises; every promise is tested.

    Attributes:
        name: what :func:`create_upsampler` is called with.
        cls: its class.
        summary: one line for people.
        equation: the method in one line.
        paper: where it comes from.
        learned: whether it has parameters.
        needs_guide: whether it reads a second map at the target's size (``guide_is`` says which).
        guide_is: what the guide holds.
        convex: every output value lies between the smallest and largest value of its source window.
        unit_sum: a constant map stays constant (away from borders that read zeros).
        shift_equivariant: shifting the source by a pixel shifts the target by ``scale_factor`` pixels.
        inits: accepted starts. ``"bilinear"`` and ``"nearest"``: the untrained module equals that interpolation.
        sizes: accepted targets, see :class:`Upsampler`.
        dims: numbers of spatial axes.
        exports: ``"compile"``: torch.compile(fullgraph=True); ``"export"``: torch.export; ``"onnx"``: standard ONNX.
        preset: constructor arguments that the name stands for.
    """

    name: str
    cls: type[Upsampler]
    summary: str
    equation: str
    paper: str
    learned: bool
    needs_guide: bool = False
    guide_is: str = ""
    convex: bool
    unit_sum: bool
    shift_equivariant: bool
    inits: tuple[str, ...] = ()
    sizes: str = "any"
    dims: tuple[int, ...] = (1, 2, 3)
    exports: tuple[str, ...] = EXPORTS
    preset: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "preset", MappingProxyType(dict(self.preset)))
        for problem in self._problems():
            raise ArgumentError(f"upsampler {self.name!r}: {problem}")

    def _problems(self) -> list[str]:
        texts = ("name", "summary", "equation", "paper")
        found = [f"{text} must not be empty" for text in texts if not getattr(self, text)]
        if not (isinstance(self.cls, type) and issubclass(self.cls, Upsampler)):
            return [*found, f"cls must be a subclass of Upsampler; got {self.cls!r}"]
        for what, values, accepted in (
            ("inits", self.inits, INITS),
            ("sizes", (self.sizes,), SIZES),
            ("dims", self.dims, (1, 2, 3)),
            ("exports", self.exports, EXPORTS),
        ):
            if not set(values) <= set(accepted):
                found.append(f"{what} must be among {accepted}; got {values}")
        if self.needs_guide != self.cls.needs_guide or self.sizes != self.cls.sizes:
            found.append(f"needs_guide and sizes must be the class's, {self.cls.needs_guide} and {self.cls.sizes!r}")
        if self.needs_guide and not self.guide_is:
            found.append("guide_is must say what the guide holds")
        if self.convex and not self.unit_sum:
            found.append("a convex method has kernels that sum to one: unit_sum must be true")
        if self.learned and "init" in self.options and not self.inits:
            found.append("inits must name the accepted starts")
        if unknown := set(self.preset) - set(_parameters(self.cls)):
            found.append(f"preset names arguments that {self.cls.__name__} does not have: {sorted(unknown)}")
        return found

    @property
    def options(self) -> tuple[str, ...]:
        """Names that :func:`create_upsampler` accepts beside ``channels`` and ``scale_factor``."""
        return tuple(name for name in _parameters(self.cls) if name not in self.preset)

    def fitting_norm(self, *widths: int) -> dict[str, str]:
        """``{"norm": "layer"}`` where the method by itself normalises 32 groups and 32 does not divide all widths."""
        norm = inspect.signature(self.cls).parameters.get("norm")
        grouped = norm is not None and norm.default == "group"
        return {"norm": "layer"} if grouped and any(width % NORM_GROUPS for width in widths) else {}

    def create(self, channels: int, scale_factor: ScaleFactor = 2, **options: Any) -> Upsampler:
        """Make the module; arguments and errors as :func:`create_upsampler`."""
        if not self.needs_guide:
            options.pop("guide_channels", None)
        if options.get("dims") not in (None, *self.dims):
            raise ArgumentError(f"upsampler {self.name!r} has dims={self.dims}; got dims={options['dims']!r}")
        if "dims" not in self.options:
            options.pop("dims", None)
        for option in options:
            if option not in self.options:
                raise unknown_name(f"option of upsampler {self.name!r}", option, self.options)
        make: Callable[..., Upsampler] = self.cls
        return make(channels, scale_factor, **self.preset, **options)

    def cost(self, channels: int = 256, scale_factor: ScaleFactor = 2, input_size: Size = 1, **options: Any) -> Cost:
        """What a module would cost, without making its tensors; by default a source pixel at 256 channels, x 2."""
        with torch.device("meta"):
            return self.create(channels, scale_factor, **options).cost(input_size)

    def __str__(self) -> str:
        cost = self.cost()
        promises = [p for p in ("convex", "unit_sum", "shift_equivariant") if getattr(self, p)]
        lines = [
            f"{self.name}: {self.summary}",
            f"  equation  {self.equation}",
            f"  paper     {self.paper}",
            f"  inputs    x{f', guide ({self.guide_is})' if self.needs_guide else ''}",
            f"  promises  {', '.join(promises) or '-'}",
            f"  init      {', '.join(self.inits) or '-'}",
            f"  sizes     {self.sizes}; axes {', '.join(map(str, self.dims))}; {', '.join(self.exports) or '-'}",
            f"  options   {', '.join(self.options) or '-'}",
            f"  cost      {cost.parameters:,} parameters, {cost.macs:,} multiply-adds a source pixel (C = 256, x 2)",
        ]
        return "\n".join(lines)


_REGISTRY: dict[str, UpsamplerInfo] = {}

C = TypeVar("C", bound=type[Upsampler])


def register(name: str, **declared: Any) -> Callable[[C], C]:
    """Enter the decorated class under ``name``; ``declared`` are the fields of :class:`UpsamplerInfo`.

    ``needs_guide`` and ``sizes`` are taken from the class. A failed registration changes nothing.

    Raises:
        ArgumentError: the name is taken, or a field is missing or does not fit.
    """

    def enter(cls: C) -> C:
        try:
            info = UpsamplerInfo(name=name, cls=cls, needs_guide=cls.needs_guide, sizes=cls.sizes, **declared)
        except TypeError as error:
            raise ArgumentError(f"upsampler {name!r}: {error}") from None
        if name in _REGISTRY:
            raise ArgumentError(f"upsampler {name!r} is registered already, as {_REGISTRY[name].cls.__name__}")
        _REGISTRY[name] = info
        return cls

    return enter


def list_upsamplers(filter: str = "*", guided: bool | None = None, learned: bool | None = None) -> list[str]:
    """Return the names of the upsamplers that match.

    Args:
        filter: shell pattern, e.g. ``"carafe*"``.
        guided: only those that need a guide, or only those that do not.
        learned: only those with parameters, or only those without.
    """
    return [
        name
        for name, info in _REGISTRY.items()
        if fnmatch.fnmatchcase(name, filter) and guided in (None, info.needs_guide) and learned in (None, info.learned)
    ]


def describe_upsampler(name: str) -> UpsamplerInfo:
    """Return the description of upsampler ``name``: equation, paper, cost, inputs, promises; ``print`` shows it.

    Raises:
        UnknownNameError: there is none of that name; the message names close ones.
    """
    if name not in _REGISTRY:
        raise unknown_name("upsampler", name, _REGISTRY)
    return _REGISTRY[name]


def create_upsampler(name: str, channels: int, scale_factor: ScaleFactor = 2, **options: Any) -> Upsampler:
    """Make an upsampler by name.

    Args:
        name: one of :func:`list_upsamplers`.
        channels: of the map to enlarge.
        scale_factor: a positive number, or one an axis.
        options: the method's own, see ``describe_upsampler(name).options``. ``guide_channels`` is accepted by all
            and ignored by those that need no guide; ``dims`` by all that have that number of axes.

    Raises:
        UnknownNameError: no upsampler or option of that name; the message names close ones.
        ArgumentError: an argument out of range.
    """
    return describe_upsampler(name).create(channels, scale_factor, **options)


def _parameters(cls: type[Upsampler]) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name not in ("channels", "scale_factor")]
