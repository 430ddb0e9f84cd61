"""Which sites are to be replaced, by what, and how each module enters the network."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import FunctionType
from typing import Any

from torch import nn

from karaffe.errors import ArgumentError, KaraffeError
from karaffe.surgery.install import Placement
from karaffe.surgery.make import Recipe, make_module, needs_guide
from karaffe.surgery.rewrite import Edit
from karaffe.surgery.site import Site
from karaffe.surgery.source import find_path, siblings
from karaffe.surgery.subclass import edits_of, original_class

Where = str | Iterable[str] | Callable[[Site], bool]
GROUPS = {"features": ("feature",), "logits": ("logits",), "all": ("feature", "logits", "broadcast")}


def select(sites: list[Site], where: Where) -> list[Site]:
    """The sites that ``where`` means.

    Raises:
        ArgumentError: it matches none, or is no group, name, glob, list of these or predicate.
    """
    if callable(where):
        chosen = [s for s in sites if where(s)]
    else:
        several = isinstance(where, Iterable) and not isinstance(where, str)
        patterns: list[Any] = list(where) if several else [where]
        if not all(isinstance(p, str) for p in patterns):
            raise ArgumentError(f"where must be {_accepted()}; got {where!r}")
        chosen = [s for s in sites if any(_matches(s, p) for p in patterns)]
    if not chosen:
        known = ", ".join(f"{s.name} ({s.role})" for s in sites)
        raise ArgumentError(f"where={where!r} matches no site; there are {known}; where takes {_accepted()}")
    return chosen


def _accepted() -> str:
    return "'features', 'logits', 'all', a site's name or path, a glob, a list of these, or a predicate on the site"


def _matches(site: Site, pattern: str) -> bool:
    if pattern in GROUPS:
        return site.role in GROUPS[pattern]
    return any(fnmatch.fnmatchcase(name, pattern) for name in (site.name, site.path))


class Planner:
    """Turns chosen sites into placements; what cannot be placed is in ``left`` with its reason."""

    def __init__(self, model: nn.Module, recipe: Recipe, guide: str | None, share: bool | None) -> None:
        self.model, self.recipe, self.guide, self.share = model, recipe, guide, share
        self.placements: list[Placement] = []
        self.left: list[tuple[Site, str]] = []
        self._names: dict[Any, str] = {}
        self._guides: dict[Any, str] = {}

    def plan(self, sites: list[Site]) -> None:
        by_module: dict[str, list[Site]] = {}
        for site in sites:
            if site.obstacle:
                self.left.append((site, site.obstacle))
            elif site.kind == "module":
                by_module.setdefault(site.path, []).append(site)
            else:
                self._attempt(site, lambda site=site: self._place_call(site))  # type: ignore[misc]
        for several in by_module.values():
            self._place_module(several)

    def _attempt(self, site: Site, place: Callable[[], None]) -> None:
        try:
            place()
        except KaraffeError as error:
            self.left.append((site, str(error)))

    def _chosen(self, site: Site) -> nn.Module | str:
        method = self.recipe.method
        chosen = method if isinstance(method, str) else method(site)
        if chosen is None:
            raise ArgumentError("the method gave no module for it")
        if not isinstance(chosen, nn.Module | str):
            raise ArgumentError(f"the method must give a module, an upsampler's name or None; got {chosen!r}")
        return chosen

    def _guide_of(self, site: Site, chosen: nn.Module | str) -> tuple[str, int]:
        if not needs_guide(chosen):
            return "", 0
        if self.guide is None:
            raise ArgumentError(f"{_title(chosen)} needs a guide, and guide=None forbids to pass one")
        if site.guide:
            return site.guide, site.guide_channels
        if site.at_hand:
            return site.at_hand[0]
        raise ArgumentError(
            f"{_title(chosen)} needs a guide, a map of {'×'.join(map(str, site.out_shape[2:]))} before the call; "
            f"the code of {site.function or site.owner_class} that makes the call has none at hand"
        )

    def _place_call(self, site: Site) -> None:
        """A module in ``owner.karaffe`` for this call, in this turn of its loop."""
        chosen = self._chosen(site)
        guide, channels = self._guide_of(site, chosen)
        place = (site.owner, site.points)
        if self._guides.setdefault(place, guide) != guide:
            raise ArgumentError(f"its guide is {guide} here and {self._guides[place]} in another turn of the loop")
        owner = self.model.get_submodule(site.owner)
        name = self._names.setdefault(place, self._next_name(site.owner, owner))
        key = name if self.share else f"{name}_{site.ordinal}"
        shared = next((p for p in self.placements if (p.host, p.key) == (site.owner, key)), None)
        if shared is not None:
            self._join(shared, site)
            return
        module, start = make_module(site, chosen, self.recipe, channels)
        edit = Edit(name, guide, site.points)
        edits = {site.owner: [edit, *self._sibling_edits(original_class(owner), edit)]}
        self.placements.append(Placement([site], module, start, site.owner, key, edits, guide))

    def _next_name(self, path: str, owner: nn.Module) -> str:
        mine = {name for (host, _), name in self._names.items() if host == path}
        return f"s{len({e.name for e in edits_of(owner) if e.name} | mine)}"

    def _join(self, placement: Placement, site: Site) -> None:
        first = placement.sites[0]
        if (first.channels, first.out_channels) != (site.channels, site.out_channels):
            raise ArgumentError(f"it has {site.channels} channels and {first.name}, whose module it shares, has others")
        placement.sites.append(site)

    def _sibling_edits(self, owner: type, edit: Edit) -> list[Edit]:
        functions: list[FunctionType] = []
        for place in range(len(edit.points) - 1, -1, -1):
            after = edit.points[place - 1] if place else None
            functions += find_path(edit.points[place], owner, functions, after)
        inner, *outer = edit.points
        calls = siblings(functions[-1].__code__, inner.call)
        return [replace(edit, points=(replace(inner, call=call), *outer)) for call in calls]

    def _place_module(self, sites: list[Site]) -> None:
        """The upsampling module gives way itself, or its calls do where one module cannot serve them all."""
        shapes = {(s.channels, s.out_channels, s.dims) for s in sites}
        points = {(s.owner, s.points, s.ordinal) for s in sites}
        if len(shapes) > 1 or (self.share is False and len(points) > 1):
            for site in sites:
                self._attempt(site, lambda site=site: self._place_split(site))  # type: ignore[misc]
            return
        first = sites[0]
        try:
            chosen = self._chosen(first)
            guides = [self._guide_of(s, chosen) for s in sites]
            module, start = make_module(first, chosen, self.recipe, guides[0][1])
            edits: dict[str, list[Edit]] = {}
            for site, (guide, _) in zip(sites, guides, strict=True):
                if guide:
                    if not site.points:
                        raise ArgumentError(f"its guide cannot be passed: {self._why_no_points(site)}")
                    edits.setdefault(site.owner, []).append(Edit("", guide, site.points))
        except KaraffeError as error:
            self.left += [(site, str(error)) for site in sites]
            return
        self.placements.append(Placement(list(sites), module, start, first.path, "", edits, guides[0][0]))

    def _place_split(self, site: Site) -> None:
        if not site.points:
            raise ArgumentError(
                f"{site.path!r} runs with several channel numbers and its calls cannot be told apart: "
                f"{self._why_no_points(site)}"
            )
        self._place_call(site)

    @staticmethod
    def _why_no_points(site: Site) -> str:
        return f"it is called by torch's own {site.owner_class}.forward" if not site.file else "no source"


def _title(chosen: nn.Module | str) -> str:
    return repr(chosen) if isinstance(chosen, str) else type(chosen).__name__
