"""``karaffe models``: the super-resolution networks there are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from karaffe.cli.common import Json, console, count, print_json, table
from karaffe.models import ModelInfo, describe_model, list_models


def models(
    name: Annotated[str, typer.Argument(help="A name, or a pattern such as 's*'.")] = "*",
    scale: Annotated[int, typer.Option(min=1, help="Factor that cost is stated for.")] = 2,
    as_json: Json = False,
) -> None:
    """List the networks and interpolations that enlarge pictures: scales, cost, source and licence."""
    found = [describe_model(known) for known in list_models(name)] or [describe_model(name)]
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
            ", ".join(f"x{s}" for s in info.scales) if info.scales else "any",
            count(info.parameters),
            count(macs) if macs is not None else "-",
            info.summary,
            info.source,
            info.licence,
        )
    console.print(rows, highlight=False)


def _macs(info: ModelInfo, scale: int) -> int | None:
    """Multiply-adds of a source pixel, ``None`` where there are no weights for the scale."""
    return info.macs_per_source_pixel(scale) if info.scales is None or scale in info.scales else None


def _facts(info: ModelInfo, scale: int) -> dict[str, Any]:
    return {
        "name": info.name,
        "scales": list(info.scales) if info.scales else None,
        "parameters": info.parameters,
        "macs_per_source_pixel": _macs(info, scale),
        "summary": info.summary,
        "source": info.source,
        "licence": info.licence,
    }
