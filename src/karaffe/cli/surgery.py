"""``karaffe surgery``: find the upsampling of a network, and replace it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from karaffe.cli.common import Json, Seed, Threads, console, print_json, use_threads
from karaffe.cli.factories import build_network, parse_shape
from karaffe.errors import ArgumentError
from karaffe.surgery import Report, Site, find_upsamplers, replace_upsamplers


def surgery(
    factory: Annotated[str, typer.Argument(metavar="MODULE:FACTORY", help="What makes the network when called.")],
    inputs: Annotated[
        list[str],
        typer.Option("--input", help="Shape of an input, such as 1,3,512,512; once more for a further argument."),
    ],
    upsampler: Annotated[str | None, typer.Option(help="Replace by this method; without it, only look.")] = None,
    where: Annotated[str, typer.Option(help="features, logits, all, or sites and globs, with commas.")] = "features",
    init: Annotated[str, typer.Option(help="keep the output, or start as: paper, bilinear, nearest.")] = "keep",
    save: Annotated[Path | None, typer.Option(help="Write the replaced network here, by torch.save.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what --save names if it exists.")] = False,
    seed: Seed = 0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """List every place where a network enlarges a map; with --upsampler replace them and report.

    FACTORY is a class or function of MODULE (the current folder counts), called without arguments.
    """
    use_threads(threads)
    torch.manual_seed(seed)
    if save is not None and (upsampler is None or (save.exists() and not overwrite)):
        wrong = "needs --upsampler" if upsampler is None else "exists; --overwrite replaces it"
        raise ArgumentError(f"--save {save}: {wrong}")
    example = tuple(torch.randn(parse_shape(text)) for text in inputs)
    model = build_network(factory)
    if upsampler is None:
        sites = find_upsamplers(model, example)
        if as_json:
            print_json({"sites": [_facts(s) for s in sites], "unreached": [str(u) for u in sites.unreached]})
        else:
            console.print(sites)
        return
    chosen: Any = where if where in ("features", "logits", "all") else [w.strip() for w in where.split(",")]
    report = replace_upsamplers(model, upsampler, example, where=chosen, init=init)
    if save is not None:
        temporary = save.with_name(save.name + ".part")
        torch.save(model, temporary)
        temporary.replace(save)
    if as_json:
        print_json(_summary(report))
    else:
        console.print(report)


def _facts(site: Site) -> dict[str, Any]:
    hidden = ("points", "ordinal", "fixed_factors")
    return {name: value for name, value in asdict(site).items() if name not in hidden}


def _summary(report: Report) -> dict[str, Any]:
    return {
        "replaced": [
            {"site": r.site.name, "module": r.path, "start": r.start, "guide": r.guide} for r in report.replaced
        ],
        "left": [{"site": entry.site.name, "reason": entry.reason} for entry in report.left],
        "unreached": [str(u) for u in report.unreached],
        "output_change": report.output_change,
        "parameters": report.parameters,
        "multiply_adds": report.multiply_adds,
    }
