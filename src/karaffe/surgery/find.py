"""Find the places where a network enlarges a map, by watching it run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from karaffe.errors import ArgumentError
from karaffe.surgery.examples import Baseline, Inputs, read_examples, run, untouched
from karaffe.surgery.probe import Observation, Probe
from karaffe.surgery.scan import unreached_calls
from karaffe.surgery.site import Site, Sites

LAST_STEPS = 2


def find_upsamplers(model: nn.Module, example_inputs: Any, *, training: bool = False) -> Sites:
    """Run ``model`` and list every place where it enlarges a map: modules and functional calls alike.

    The model runs once on each example, in evaluation mode, without gradients; its modes, buffers and the random
    state are afterwards what they were.

    Args:
        model: any ``nn.Module``.
        example_inputs: a tensor, a tuple of positional arguments, a dict of keyword arguments,
            :class:`karaffe.surgery.Inputs`, or a list of several such examples, whose sites are united.
        training: run each example in training mode too, for branches that only training takes.

    Returns:
        The sites in the order they run, a sequence that prints as a table; its ``unreached`` names the upsampling
        calls and modules in the model's own code that no example reached.

    Raises:
        ArgumentError: ``model`` is no module, or fails on an example.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    sites, _ = observe(model, read_examples(example_inputs), training=training)
    return Sites(sites, unreached_calls(model, sites))


def observe(model: nn.Module, examples: list[Inputs], *, training: bool) -> tuple[list[Site], list[Baseline]]:
    """The sites of all examples, and what the network gives on each."""
    baselines = []
    found: dict[Any, list[Observation]] = {}
    for mode in (False, True) if training else (False,):
        for number, example in enumerate(examples):
            runs: dict[Any, list[Observation]] = {}
            with untouched(model, mode):
                probe = Probe(model, (example.args, example.kwargs))
                with probe:
                    output = run(model, example, number)
                probe.close(output)
            baselines.append(Baseline(example, mode, output))
            for seen in probe.observations:
                runs.setdefault(_key(seen), []).append(seen)
            for key, several in runs.items():
                if key not in found:
                    found[key] = several
    common = _common_guides(list(found.values()))
    return _named([_site(several, common) for several in found.values()]), baselines


def _key(seen: Observation) -> Any:
    place = seen.points or (seen.file, seen.line)
    return seen.owner, seen.module, place, seen.ordinal


def _common_guides(found: list[list[Observation]]) -> dict[Any, list[str]]:
    """For each call, the names of the guide that hold in every turn of its loop."""
    common: dict[Any, list[str]] = {}
    for seen in (s for several in found for s in several if s.guides):
        before = common.setdefault((seen.owner, seen.points), list(seen.guides))
        common[seen.owner, seen.points] = [g for g in before if g in seen.guides]
    return common


def _site(several: list[Observation], common: dict[Any, list[str]]) -> Site:
    first = several[0]
    asked = first.request
    guided = next((s for s in several if s.guides), first)
    names = common.get((first.owner, first.points)) or list(guided.guides) or [""]
    return Site(
        name="",
        path=first.owner if first.module is None else first.module,
        owner=first.owner,
        owner_class=first.owner_class,
        kind="call" if first.module is None else "module",
        op=first.op,
        mode=asked.get("mode", ""),
        align_corners=asked.get("align_corners", False),
        by=asked.get("by", ""),
        in_shape=first.in_shape,
        out_shape=first.out_shape,
        role=_role(first),
        joined=next((s.joined for s in several if s.joined), ""),
        guide=names[0] if guided.guides else "",
        guide_channels=guided.guide_channels,
        at_hand=tuple((texts[0], channels) for texts, channels in first.at_hand.values()),
        file=first.file,
        line=first.line,
        function=first.function,
        runs=len(several),
        obstacle=_obstacle(first),
        ordinal=first.ordinal,
        points=first.points,
        fixed_factors=asked.get("factors"),
    )


def _role(seen: Observation) -> str:
    sizes = list(zip(seen.in_shape[2:], seen.out_shape[2:], strict=True))
    if not seen.from_data:
        return "parameter"
    if all(o == i for i, o in sizes):
        return "no-op"
    if all(o <= i for i, o in sizes):
        return "shrinking"
    if all(i == 1 for i, _ in sizes):
        return "broadcast"
    if seen.hops_to_output is not None and seen.hops_to_output <= LAST_STEPS:
        return "logits"
    return "feature"


def _obstacle(seen: Observation) -> str:
    if seen.computed_weight:
        return "the convolution's weights are computed, not parameters"
    if seen.module is None and seen.reason:
        return seen.reason
    return ""


def _named(sites: list[Site]) -> list[Site]:
    """Names: the module's path, or the owner's path and the operation, numbered where there are several."""
    stems = [s.path if s.kind == "module" else f"{s.owner}.{s.op}".lstrip(".") for s in sites]
    named, used = [], dict.fromkeys(stems, 0)
    for site, stem in zip(sites, stems, strict=True):
        number = used[stem]
        used[stem] += 1
        named.append(replace(site, name=stem if stems.count(stem) == 1 else f"{stem}.{number}"))
    return named
