"""``karaffe upsamplers``: the feature upsamplers there are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from karaffe.cli.common import Json, console, count, print_json, table
from karaffe.errors import ArgumentError
from karaffe.upsamplers import UpsamplerInfo, create_upsampler, describe_upsampler, list_upsamplers

MAP = 16  # edge of the map that cost is divided by: methods that reduce need more than a pixel


def upsamplers(
    name: Annotated[str, typer.Argument(help="A name, or a pattern such as 'carafe*'.")] = "*",
    channels: Annotated[int, typer.Option(min=1, help="Channels that cost is stated for.")] = 256,
    as_json: Json = False,
) -> None:
    """List the feature upsamplers: what they need and what they cost (x2, a source pixel)."""
    found = [describe_upsampler(known) for known in list_upsamplers(name)] or [describe_upsampler(name)]
    costs = [_cost(entry.name, channels) for entry in found]
    if as_json:
        print_json([_facts(entry, cost) for entry, cost in zip(found, costs, strict=True)])
        return
    rows = table(
        f"Feature upsamplers, x2 at {channels} channels",
        *("name", "guide", "parameters", "multiply-adds", "paper"),
        right=("parameters", "multiply-adds"),
    )
    for entry, cost in zip(found, costs, strict=True):
        guide = "yes" if entry.needs_guide else ""
        figures = [count(value) for value in cost] if cost else ["-", "-"]
        rows.add_row(entry.name, guide, *figures, entry.paper)
    console.print(rows, highlight=False)


def _cost(name: str, channels: int) -> tuple[int, float] | None:
    """Parameters and multiply-adds a source pixel; ``None`` where the method cannot have that many channels."""
    try:
        cost = create_upsampler(name, channels).cost(MAP)
    except ArgumentError:
        return None
    return cost.parameters, cost.macs / MAP**2


def _facts(entry: UpsamplerInfo, cost: tuple[int, float] | None) -> dict[str, Any]:
    parameters, macs = cost or (None, None)
    return {
        "name": entry.name,
        "summary": entry.summary,
        "paper": entry.paper,
        "needs_guide": entry.needs_guide,
        "parameters": parameters,
        "macs_per_source_pixel": macs,
    }
