"""``karaffe models``: the super-resolution networks there are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from karaffe.cli.common import Json, console, count, print_json, table
from karaffe.models import ModelInfo, describe_model, list_models


def models(
    name: Annotated[str, typer.Argument(help="A name, or a pattern such as 's*'.")] = "*",
    scale: Annotated[int, typer.Option(min=1, help="Factor that cost is stated for.")] = 2,
    all: Annotated[bool, typer.Option("--all", help="Also those that have no weights and can be trained.")] = False,
    as_json: Json = False,
) -> None:
    """List the networks and interpolations that enlarge pictures: scales, cost, source and licence."""
    found = [describe_model(known) for known in list_models(name, pretrained=not all)] or [describe_model(name)]
    if as_json:
        print_json([_facts(info, scale) for info in found])
        return
    rows = table(
        f"Models; multiply-adds of a source pixel of a grey image at x{scale}",
        *("model", "scales", "parameters", "multiply-adds", "what it is", "source", "licence"),
        right=("parameters", "multiply-adds"),
    )
    for info in found:
        macs = _macs(info, scale)
        rows.add_row(
            info.name,
            _scales(info),
            count(info.parameters),
            count(macs) if macs is not None else "-",
            info.summary,
            info.source,
            info.licence,
        )
    console.print(rows, highlight=False)


def _scales(info: ModelInfo) -> str:
    if info.scales is None:
        return "any"
    return ", ".join(f"x{s}" for s in info.scales) or "to be trained"


def _macs(info: ModelInfo, scale: int) -> int | None:
    """Multiply-adds of a source pixel, ``None`` where the network does not have the scale."""
    return info.macs_per_source_pixel(scale) if info.scales is None or scale in info.trainable else None


def _facts(info: ModelInfo, scale: int) -> dict[str, Any]:
    return {
        "name": info.name,
        "scales": None if info.scales is None else list(info.scales),
        "parameters": info.parameters,
        "macs_per_source_pixel": _macs(info, scale),
        "summary": info.summary,
        "source": info.source,
        "licence": info.licence,
    }
