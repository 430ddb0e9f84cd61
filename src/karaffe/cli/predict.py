"""``karaffe predict``: label the pixels of image files by a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from karaffe.cli.common import (
    Device,
    Json,
    Overwrite,
    SkipExisting,
    Threads,
    Tile,
    console,
    errors_console,
    existing_results,
    parse_tile,
    print_json,
    use_threads,
)
from karaffe.errors import ArgumentError, KaraffeError
from karaffe.evaluation.pictures import expand

app = typer.Typer(help="Apply a network that was trained to image files.")


@app.callback()
def options() -> None:
    """Apply a network that was trained to image files."""


@app.command("seg")
def seg(
    inputs: Annotated[list[Path], typer.Argument(help="Image files, and folders of them; any size.")],
    model: Annotated[Path, typer.Option(help="Checkpoint that `karaffe train seg` left.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder; for one input file, a file name too.")],
    tile: Tile = "auto",
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Write a label map for each image: a palette PNG, or a GeoTIFF for a GeoTIFF."""
    from karaffe.imaging.labelling import label_file
    from karaffe.models.segmentation import load_segmenter

    use_threads(threads)
    side, existing = parse_tile(tile), existing_results(overwrite, skip_existing)
    network, classes = load_segmenter(model)
    jobs = _jobs(inputs, output)
    done: list[Path] = []
    failed: dict[str, str] = {}
    with errors_console.status("labelling") as status:
        for source, target in jobs:
            status.update(source.name)
            if existing == "skip" and target.exists():
                continue
            try:
                label_file(
                    source, target, network, classes, tile=side, device=device, overwrite=existing == "overwrite"
                )
                done.append(target)
            except KaraffeError as error:
                failed[str(source)] = str(error)
    if as_json:
        print_json({"written": done, "failed": failed})
    for target in [] if as_json else done:
        console.print(str(target), highlight=False, markup=False, soft_wrap=True)
    for message in failed.values():
        errors_console.print(message, highlight=False, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _jobs(inputs: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """Return sources and where their label maps go, refusing two that go to one place."""
    sources = list(expand(inputs))
    if output.suffix.lower() in (".png", ".tif", ".tiff") and not output.is_dir():
        if len(sources) > 1:
            raise ArgumentError(f"--output must be a folder for {len(sources)} images; got {output}")
        return [(sources[0], output)]
    jobs = [(source, output / f"{source.stem}{_suffix(source)}") for source in sources]
    targets = [target for _, target in jobs]
    twice = [target for target in targets if targets.count(target) > 1]
    if twice:
        raise ArgumentError(f"several of the images would be written to {twice[0]}; give them separately")
    return jobs


def _suffix(source: Path) -> str:
    """A GeoTIFF stays one; everything else becomes a PNG."""
    from karaffe.imaging.formats import identify

    if source.suffix.lower() not in (".tif", ".tiff"):
        return ".png"
    found = identify(source)
    return ".tif" if found is not None and found.name == "geotiff" else ".png"
