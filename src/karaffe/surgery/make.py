"""The module for a site: which upsampler, and how it takes over from the original."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from karaffe.errors import ArgumentError, KaraffeError, unknown_name
from karaffe.surgery.keep import LINEAR, MODES, AnchoredCARAFE
from karaffe.surgery.modules import Anchored, Beside, Gated, Projected, Resized, SiteModule
from karaffe.surgery.site import Site
from karaffe.upsamplers import CARAFE, UpsamplerInfo, describe_upsampler

Method = str | Callable[[Site], "nn.Module | str | None"]
INITS = ("keep", "paper", "bilinear", "nearest")
LARGEST_FACTOR = 4
DEFAULT_CHANNELS = 64


@dataclass(frozen=True)
class Recipe:
    """What the caller asked for, checked."""

    method: Method
    init: str
    init_floor: float
    tolerance: float
    options: dict[str, Any]

    def __post_init__(self) -> None:
        if self.init not in INITS:
            raise ArgumentError(f"init must be one of {', '.join(map(repr, INITS))}; got init={self.init!r}")
        if not 0 < self.init_floor < 1:
            raise ArgumentError(f"init_floor must be between 0 and 1; got init_floor={self.init_floor!r}")
        if isinstance(self.method, str):
            info = describe_upsampler(self.method)
            self._check_options(info)
        elif not callable(self.method):
            raise ArgumentError(
                f"method must be an upsampler's name or a callable from a site to a module; got {self.method!r}"
            )

    def _check_options(self, info: UpsamplerInfo) -> None:
        for option in self.options:
            if option not in info.options:
                raise unknown_name(f"option of upsampler {info.name!r}", option, info.options)
        if self.init not in ("keep", *(info.inits or ("paper",))):
            raise ArgumentError(f"upsampler {info.name!r} starts as {info.inits or ('paper',)}; got init={self.init!r}")


def needs_guide(method: object) -> bool:
    if isinstance(method, str):
        return describe_upsampler(method).needs_guide
    return bool(getattr(method, "needs_guide", False))


def make_module(site: Site, chosen: nn.Module | str, recipe: Recipe, guide_channels: int) -> tuple[SiteModule, str]:
    """The site's module, and in words how it starts.

    Raises:
        ArgumentError: the method cannot do this site; the message says why.
    """
    if site.op == "interpolate":
        return _for_interpolation(site, chosen, recipe, guide_channels)
    upsampler = _upsampler(site, chosen, recipe, guide_channels, "paper" if recipe.init == "keep" else recipe.init)
    if recipe.init == "keep":
        return Beside(upsampler, site.channels, site.out_channels, site.dims), "beside the original, weight 0"
    if site.op == "conv_transpose" and site.kind == "call":
        raise ArgumentError("a functional transposed convolution is only kept, with init='keep'")
    return Projected(upsampler, site.channels, site.out_channels, site.scale), f"{recipe.init}, then 1x1 convolution"


def _for_interpolation(
    site: Site, chosen: nn.Module | str, recipe: Recipe, guide_channels: int
) -> tuple[SiteModule, str]:
    if recipe.init != "keep":
        return Resized(_upsampler(site, chosen, recipe, guide_channels, recipe.init)), recipe.init
    plain = site.mode in MODES
    if chosen == "carafe" and plain:
        return Anchored(_anchored(site, recipe)), f"{site.mode}, at every position"
    if isinstance(chosen, str) and plain and not site.align_corners:
        base = "bilinear" if site.mode in LINEAR else "nearest"
        if base in describe_upsampler(chosen).inits:
            upsampler = _upsampler(site, chosen, recipe, guide_channels, base)
            if _starts_as(upsampler, site, guide_channels, recipe.tolerance):
                return Resized(upsampler), base
    upsampler = _upsampler(site, chosen, recipe, guide_channels, "paper")
    return Gated(upsampler, site.channels, site.dims), "mixed with the original, weight 0"


def _anchored(site: Site, recipe: Recipe) -> AnchoredCARAFE:
    options = _carafe_options(site, recipe.options)
    if options.pop("padding_mode", "replicate") != "replicate":
        raise ArgumentError("init='keep' repeats the border, as interpolation does; padding_mode cannot be chosen")
    options.pop("init", None)
    fractional = site.fixed_factors is not None and any(f != int(f) for f in site.fixed_factors)
    options.setdefault("up_kernel", 5 if fractional or site.dims < 3 else 3)
    if options["up_kernel"] < 3 and site.mode in LINEAR:
        raise ArgumentError(f"init='keep' needs up_kernel of at least 3 for {site.mode}; got {options['up_kernel']}")
    factors = tuple(min(LARGEST_FACTOR, max(1, math.ceil(s))) for s in site.scale)
    return AnchoredCARAFE(site.channels, factors, init_floor=recipe.init_floor, dims=site.dims, **options)


def _carafe_options(site: Site, options: dict[str, Any]) -> dict[str, Any]:
    return {"compressed_channels": min(DEFAULT_CHANNELS, site.channels), **options}


def _upsampler(site: Site, chosen: nn.Module | str, recipe: Recipe, guide_channels: int, init: str) -> nn.Module:
    if isinstance(chosen, nn.Module):
        return chosen
    info = describe_upsampler(chosen)
    options = dict(recipe.options)
    if info.cls is CARAFE:
        options = _carafe_options(site, options)
    defaults: dict[str, Any] = {"dims": site.dims, "init_floor": recipe.init_floor}
    if init in info.inits:
        defaults["init"] = init
    if info.needs_guide:
        defaults["guide_channels"] = guide_channels
    defaults |= info.fitting_norm(site.channels, guide_channels)
    if "groups" in info.options:
        # As many groups as the method has by itself, or fewer, so that they divide the channels.
        usual = inspect.signature(info.cls).parameters["groups"].default
        defaults["groups"] = math.gcd(usual, site.channels)
    if guide_channels != site.channels:
        # A gate adds the guide itself to the result, where a method has one.
        defaults["gating"] = False
    if site.dims not in info.dims:
        raise ArgumentError(f"upsampler {chosen!r} has no form with {site.dims} spatial axes")
    accepted = {name: value for name, value in defaults.items() if name in info.options}
    factors = tuple(int(s) if s == int(s) else s for s in site.scale)
    factor: Any = factors[0] if len(set(factors)) == 1 else factors
    return info.create(site.channels, factor, **{**accepted, **options})


def _starts_as(upsampler: nn.Module, site: Site, guide_channels: int, tolerance: float) -> bool:
    """Whether the untrained upsampler equals the site's interpolation, tried on noise of the site's sizes."""
    targets = site.out_shape[2:]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        x = torch.randn(1, *site.in_shape[1:])
        guide = torch.randn(1, guide_channels, *targets) if guide_channels else None
        expected = F.interpolate(x, size=targets, mode=site.mode)
        try:
            given = upsampler(x, guide, size=targets)
        except KaraffeError:
            return False
    return relative_change(given, expected) <= tolerance


def relative_change(given: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference over the largest magnitude; NaN and infinity in the same places count as equal."""
    if given.shape != expected.shape:
        return math.inf
    if not expected.numel():
        return 0.0
    a, b = given.detach().double(), expected.detach().double()
    difference = torch.where(a == b, 0.0, (a - b).abs()).masked_fill(a.isnan() & b.isnan(), 0.0)
    scale = b[b.isfinite()].abs().max().item() if bool(b.isfinite().any()) else 1.0
    return difference.max().nan_to_num(nan=math.inf).item() / max(scale, 1e-30)
