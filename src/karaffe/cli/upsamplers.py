"""``karaffe upsamplers``: the feature upsamplers there are."""

from __future__ import annotations

from typing import Annotated

import typer

from karaffe.cli.common import Json, console, count, print_json, table
from karaffe.upsamplers import create_upsampler, describe_upsampler, list_upsamplers


def upsamplers(
    name: Annotated[str, typer.Argument(help="A name, or a pattern such as 'carafe*'.")] = "*",
    channels: Annotated[int, typer.Option(min=1, help="Channels that cost is stated for.")] = 256,
    as_json: Json = False,
) -> None:
    """List the feature upsamplers: what they need and what they cost (x2, a source pixel)."""
    found = [describe_upsampler(known) for known in list_upsamplers(name)] or [describe_upsampler(name)]
    costs = [create_upsampler(entry.name, channels).cost((1, 1)) for entry in found]
    if as_json:
        facts = zip(found, costs, strict=True)
        print_json(
            [
                {
                    "name": e.name,
                    "paper": e.paper,
                    "needs_guide": e.needs_guide,
                    "parameters": c.parameters,
                    "macs": c.macs,
                }
                for e, c in facts
            ]
        )
        return
    rows = table(
        f"Feature upsamplers, x2 at {channels} channels",
        *("name", "guide", "parameters", "multiply-adds", "paper"),
        right=("parameters", "multiply-adds"),
    )
    for entry, cost in zip(found, costs, strict=True):
        guide = "yes" if entry.needs_guide else ""
        rows.add_row(entry.name, guide, count(cost.parameters), count(cost.macs), entry.paper)
    console.print(rows, highlight=False)
