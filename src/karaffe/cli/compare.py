"""``karaffe compare``: reduce pictures, enlarge them by several models, measure and show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from karaffe.cli.common import (
    Json,
    Overwrite,
    Threads,
    Tile,
    console,
    errors_console,
    labelled,
    names,
    parse_tile,
    print_json,
    table,
    use_threads,
)
from karaffe.errors import ArgumentError
from karaffe.evaluation import Comparison, Look
from karaffe.evaluation import compare as compare_images
from karaffe.visualize import Box


def compare(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="Image files, and folders that are searched for them; none is needed beside --images."),
    ] = None,
    scale: Annotated[int, typer.Option(min=1, help="Factor.")] = 4,
    models: Annotated[
        str, typer.Option(help="Names that `karaffe models` lists, with commas.")
    ] = "bicubic,lanczos,sharp",
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the page, strips and figures.")] = Path(
        "comparison"
    ),
    images: Annotated[
        list[str] | None, typer.Option(help="LABEL=FOLDER of pictures another tool made, with or without originals.")
    ] = None,
    strips: Annotated[str, typer.Option(help="Formats of the strips for papers, with commas: png, pdf, tex.")] = "png",
    crop: Annotated[
        list[str] | None,
        typer.Option(help="X,Y,WIDTH,HEIGHT of a crop in the strips, in pixels (default: where the methods differ)."),
    ] = None,
    zoom: Annotated[int, typer.Option(min=1, help="Whole factor by which strips show their crops.")] = 5,
    protocol: Annotated[str, typer.Option(help="How to measure: papers, or a variant.")] = "papers",
    learned: Annotated[
        bool, typer.Option("--learned", help="Also map where the content mattered to models that predict kernels.")
    ] = False,
    tile: Tile = "auto",
    overwrite: Overwrite = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Reduce each picture, enlarge it by each model, print PSNR, SSIM and seconds, write a strip and a page."""
    use_threads(threads)
    crops = tuple(map(parse_crop, crop or ()))
    look = Look(crops, zoom=zoom, formats=tuple(names(strips, "--strips")), learned=learned)
    with errors_console.status("comparing") as status:
        result = compare_images(
            inputs or [],
            scale,
            names(models, "--models"),
            folders=dict(map(labelled, images or [])),
            output=output,
            overwrite=overwrite,
            protocol=protocol,
            look=look,
            tile=parse_tile(tile),
            progress=lambda done, count, name: status.update(f"{name} ({done + 1} of {count})"),
        )
    if as_json:
        print_json(result.to_dict())
    else:
        _tell(result)
    if result.failures:
        raise typer.Exit(1)


def parse_crop(text: str) -> Box:
    """``--crop``'s value."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise ArgumentError(f"--crop must be X,Y,WIDTH,HEIGHT in whole pixels; got {text!r}")
    return Box(*(int(part) for part in parts))


def _tell(result: Comparison) -> None:
    rows = table(
        f"x{result.scale}", "picture", "model", "PSNR dB", "SSIM", "seconds", right=("PSNR dB", "SSIM", "seconds")
    )
    for row in result.rows:
        rows.add_row(row.image, row.model, f"{row.psnr:.2f}", f"{row.ssim:.4f}", f"{row.seconds:.3f}")
    if len({row.image for row in result.rows}) > 1:
        rows.add_section()
        for mean in result.summaries:
            rows.add_row("mean", mean.model, f"{mean.psnr:.2f}", f"{mean.ssim:.4f}", f"{mean.seconds:.3f}")
    if result.rows:
        console.print(rows, highlight=False)
        console.print(result.note, style="dim", highlight=False)
    for name in result.unmeasured:
        said = f"{name}: there is no original, so it is shown without figures"
        errors_console.print(said, highlight=False, markup=False, soft_wrap=True)
    for path in result.files:
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    for failure in result.failures:
        errors_console.print(f"{failure.image}: {failure.reason}", highlight=False, markup=False, soft_wrap=True)
