"""Replace upsampling in anybody's network and keep the rest."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

from karaffe.errors import ArgumentError, SurgeryError
from karaffe.surgery.examples import Baseline, read_examples
from karaffe.surgery.find import observe
from karaffe.surgery.install import Placement
from karaffe.surgery.make import Method, Recipe
from karaffe.surgery.plan import Planner, Where, select
from karaffe.surgery.report import Left, Replaced, Report
from karaffe.surgery.scan import unreached_calls
from karaffe.surgery.site import Site
from karaffe.surgery.subclass import CHILD, is_replaced
from karaffe.surgery.verify import final_change, multiply_adds, parameter_count, tensor_device, verified


def replace_upsamplers(
    model: nn.Module,
    method: Method,
    example_inputs: Any,
    *,
    where: Where = "features",
    init: str = "keep",
    init_floor: float = 1e-4,
    guide: str | None = "auto",
    share: bool | None = None,
    verify: bool = True,
    tolerance: float = 2e-3,
    training: bool = False,
    **options: Any,
) -> Report:
    r"""Replace upsampling in ``model``, in place: modules and functional calls alike.

    Everything else keeps its names and values. New parameters are in submodules named ``karaffe``: make the
    optimizer afterwards, or add ``report.new_parameters()`` to it. :func:`restore_upsamplers` undoes it exactly.

    With ``init="keep"`` the network's output stays what it was. CARAFE takes the place of nearest and linear
    interpolation of every form with the interpolation's own weights as its kernels' starting point; other methods
    that can begin as the interpolation do; else the method stands beside the original with a weight of zero, as it
    always does for transposed convolution and pixel-shuffle, whose parameters stay.

    Args:
        model: any ``nn.Module``; also one that was replaced in part before.
        method: an upsampler's name, or a callable from a :class:`Site` to a module, a name or ``None`` (leave it).
            A module is called as :class:`karaffe.Upsampler` is, ``module(x, guide, size=...)``.
        example_inputs: as for :func:`find_upsamplers`; sites that no example reaches are not replaced.
        where: ``"features"``, ``"logits"``, ``"all"``, a site's name or path, a glob, a list of these, or a
            predicate on the site.
        init: ``"keep"``, or a start that the method has: ``"paper"``, ``"bilinear"``, ``"nearest"``.
        init_floor: total starting weight of the taps that the interpolation leaves empty. Small is nearer to the
            original (1e-8: equal to rounding), large is quicker to learn.
        guide: ``"auto"``: guided methods get the map that the result is joined with, or another of the target's size
            that the calling code has at hand; ``None``: none is passed.
        share: ``None``: each turn of a loop has its own module, an upsampling module that runs several times keeps
            one; ``True``: all turns share one; ``False``: each call of an upsampling module has its own.
        verify: run the examples again and take back every site that does not hold: not called, another shape or
            dtype, a change above ``tolerance`` with ``init="keep"``.
        tolerance: largest change accepted at a site, relative to the map's largest magnitude.
        training: look for sites in training mode too.
        options: the method's own, see ``describe_upsampler(method).options``.

    Returns:
        What was replaced, what was left and why, what was not reached, cost before and after.

    Raises:
        ArgumentError: no site, ``where`` matches none, an argument out of range, or the model fails on an example.
        UnknownNameError: no upsampler or option of that name.
        SurgeryError: nothing could be replaced. In every case of error the model is what it was.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    if guide not in ("auto", None):
        raise ArgumentError(f"guide must be 'auto' or None; got {guide=}")
    recipe = Recipe(method, init, init_floor, tolerance, options)
    examples = read_examples(example_inputs)
    sites, before = observe(model, examples, training=training)
    unreached = unreached_calls(model, sites)
    if not sites:
        hint = f"; not reached by the examples: {', '.join(map(str, unreached))}" if unreached else ""
        raise ArgumentError(f"{type(model).__name__} has no upsampling left to replace on these example_inputs{hint}")
    parameters, cost = parameter_count(model), multiply_adds(model, examples[0])
    planner = Planner(model, recipe, guide, share)
    planner.plan(select(sites, where))
    kept, dropped, change = _perform(model, planner, before, verify)
    if verify and init == "keep" and change > tolerance:
        warnings.warn(
            f"every replaced site keeps its map within {tolerance:.0e}, but the network's output changes by "
            f"{change:.1e}: it amplifies small differences; a smaller init_floor brings it nearer",
            stacklevel=2,
        )
    return Report(
        model,
        tuple(Replaced(site, p.path, p.start, p.guide) for p in kept for site in p.sites),
        tuple(Left(site, reason) for site, reason in planner.left + dropped),
        tuple(unreached),
        change,
        (parameters, parameter_count(model)),
        (cost, multiply_adds(model, examples[0])),
    )


def _perform(
    model: nn.Module, planner: Planner, before: list[Baseline], verify: bool
) -> tuple[list[Placement], list[tuple[Site, str]], float]:
    """Install what is planned; return what holds, what does not and why, and the change of the output.

    Raises:
        SurgeryError: nothing holds, or the network fails; it is what it was then.
    """
    kept, dropped = _install(model, planner.placements)
    try:
        if verify:
            recipe = planner.recipe
            kept, more = verified(model, before, kept, keep=recipe.init == "keep", tolerance=recipe.tolerance)
            dropped += more
        left = [(site, reason) for placement, reason in dropped for site in placement.sites]
        if not kept:
            reasons = "; ".join(f"{site.name}: {why}" for site, why in planner.left + left)
            raise SurgeryError(f"nothing could be replaced: {reasons}")
        return kept, left, final_change(model, before)
    except BaseException:
        _remove_all(model, planner.placements)
        raise


def _install(model: nn.Module, placements: list[Placement]) -> tuple[list[Placement], list[tuple[Placement, str]]]:
    kept: list[Placement] = []
    dropped: list[tuple[Placement, str]] = []
    for placement in placements:
        device, dtype = tensor_device(model.get_submodule(placement.host), model)
        placement.module.to(device, dtype)
        try:
            placement.install(model)
            kept.append(placement)
        except SurgeryError as error:
            dropped.append((placement, str(error)))
        except BaseException:
            _remove_all(model, kept)
            raise
    return kept, dropped


def _remove_all(model: nn.Module, placements: list[Placement]) -> None:
    for placement in placements:
        placement.remove(model, [])


def load_original_state_dict(model: nn.Module, state_dict: dict[str, Any]) -> None:
    """Load a checkpoint of the network before surgery: strict for everything but the new modules' keys.

    Raises:
        ArgumentError: other keys are missing or unexpected, or shapes differ; nothing has been loaded then.
    """
    new = tuple(
        f"{path}.{CHILD}.".lstrip(".")
        for path, m in model.named_modules(remove_duplicate=False)
        if is_replaced(m) and CHILD in m._modules
    )
    own = model.state_dict()
    expected = {key for key in own if not key.startswith(new)} if new else set(own)
    missing = sorted(expected - state_dict.keys())
    unexpected = sorted(state_dict.keys() - own.keys())
    shapes = sorted(
        key
        for key in expected & state_dict.keys()
        if hasattr(own[key], "shape") and own[key].shape != state_dict[key].shape
    )
    for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if keys:
            more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
            raise ArgumentError(f"state_dict does not fit the network: {what}: {', '.join(keys[:5])}{more}")
    model.load_state_dict(state_dict, strict=False)
