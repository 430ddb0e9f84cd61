"""``karaffe evaluate``: figures on folders of pictures, bicubic and its published figure first."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from karaffe.cli.common import (
    Device,
    Json,
    Overwrite,
    Seed,
    Threads,
    Tile,
    console,
    count,
    errors_console,
    labelled,
    names,
    needs_training,
    parse_grid,
    parse_tile,
    print_json,
    table,
    use_threads,
)
from karaffe.evaluation import Evaluation, evaluate_sr
from karaffe.evaluation.results import plain
from karaffe.evaluation.segmentation import TOLERANCES
from karaffe.imaging.values import parse_range

app = typer.Typer(help="Measure networks on pictures, in the papers' protocol.")


@app.callback()
def options() -> None:
    """Measure networks on pictures, in the papers' protocol."""


@app.command("sr")
def sr(
    references: Annotated[list[Path], typer.Argument(help="The originals: files, or folders of files.")],
    scale: Annotated[int, typer.Option(min=1, help="Factor.")] = 4,
    models: Annotated[str, typer.Option(help="Names, or .safetensors files, with commas.")] = "lanczos,sharp",
    reduced: Annotated[Path | None, typer.Option(help="Folder of the reduced pictures (default: made here).")] = None,
    images: Annotated[list[str] | None, typer.Option(help="LABEL=FOLDER of pictures another tool made.")] = None,
    protocols: Annotated[str, typer.Option(help="How to measure, with commas; the first is the main one.")] = "papers",
    value_range: Annotated[
        str | None, typer.Option("--range", help="Real values of black and white, LO,HI; default: as files declare.")
    ] = None,
    costs: Annotated[bool, typer.Option("--costs", help="Also parameters, multiply-adds, time and memory.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the figures an image.")] = None,
    tile: Tile = "auto",
    overwrite: Overwrite = False,
    threads: Threads = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Measure super-resolution models: means with intervals, paired tests, the protocol with every figure."""
    use_threads(threads)
    with errors_console.status("measuring") as status:
        result = evaluate_sr(
            references,
            scale,
            names(models, "--models"),
            reduced=reduced,
            folders=dict(map(labelled, images or [])),
            protocols=names(protocols, "--protocols"),
            value_range=parse_range(value_range) if value_range else None,
            costs=costs,
            tile=parse_tile(tile),
            seed=seed,
            output=output,
            overwrite=overwrite,
            progress=lambda done, total, name: status.update(f"{name} ({done + 1} of {total})"),
        )
    if as_json:
        print_json(result.to_dict())
    else:
        _tell(result)
    if result.failures:
        raise typer.Exit(1)


@app.command("seg")
def seg(
    model: Annotated[Path, typer.Argument(help="Checkpoint that `karaffe train seg` left.")],
    data: Annotated[Path, typer.Argument(help="Folder of images and label maps, an index file, or a packed set.")],
    split: Annotated[str, typer.Option(help="train, selection or test.")] = "test",
    size: Annotated[str | None, typer.Option(help="COLUMNSxROWS that everything is resized to.")] = None,
    device: Device = "cpu",
    threads: Threads = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Measure a segmentation network: IoU of every class, accuracy, boundaries, intervals over the images."""
    from karaffe.evaluation.statistics import bootstrap_interval
    from karaffe.models.segmentation import load_segmenter

    use_threads(threads)
    with needs_training():
        from karaffe.training.segmentation import load_split, measure
    network, classes = load_segmenter(model)
    with errors_console.status("measuring"):
        items = load_split(data, split, classes, parse_grid(size) if size else None)
        measured = measure(network.to(device), items, device=device)
    scores = measured.scores
    interval = bootstrap_interval([image.miou for image in measured.images], seed=seed)
    if as_json:
        per_class = dict(zip(classes.names, scores.iou, strict=True))
        print_json(plain({**asdict(scores), "iou": per_class, "images": len(items), "image_miou_interval": interval}))
        return
    rows = table(f"{split}, {len(items)} images", "figure", "value", right=("value",))
    for name, value in zip(classes.names, scores.iou, strict=True):
        rows.add_row(f"IoU {name}", f"{value:.4f}")
    for name in ("miou", "accuracy", "mean_accuracy", "boundary_iou"):
        rows.add_row(name, f"{getattr(scores, name):.4f}")
    for tolerance, value in zip(TOLERANCES, scores.boundary_f, strict=True):
        rows.add_row(f"boundary F, {tolerance} px", f"{value:.4f}")
    console.print(rows, highlight=False)
    if interval:
        low, high = interval
        console.print(f"95 % of the mean over images of an image's mIoU: {low:.4f} to {high:.4f}", highlight=False)


def _tell(result: Evaluation) -> None:
    if result.check is not None:
        console.print(str(result.check), highlight=False)
    for measured, note in zip(result.tables, result.notes(), strict=True):
        rows = table(f"x{result.scale}", "model", "images", "PSNR dB", "95 %", "SSIM", "seconds", right=("PSNR dB",))
        for mean in measured.summaries:
            low_high = "{:.2f} to {:.2f}".format(*mean.psnr_interval) if mean.psnr_interval else ""
            cells = (f"{mean.psnr:.2f}", low_high, f"{mean.ssim:.4f}", f"{mean.seconds:.3f}")
            rows.add_row(mean.model, str(mean.images), *cells)
        console.print(rows, highlight=False)
        console.print(note, style="dim", highlight=False)
    for test in result.tests():
        console.print(
            f"{test.first} - {test.second}: {test.difference:+.2f} dB, higher on {test.wins}, lower on {test.losses}, "
            f"p = {test.t_test:.2g} (t), {test.wilcoxon:.2g} (Wilcoxon)",
            highlight=False,
        )
    if result.costs:
        rows = table(
            "To 1280 x 720, one channel", "model", "parameters", "multiply-adds", "ms", "peak MB", right=("ms",)
        )
        for cost in result.costs:
            peak = f"{cost.peak_bytes / 2**20:.0f}" if cost.peak_bytes is not None else "-"
            rows.add_row(cost.model, count(cost.parameters), count(cost.macs), f"{cost.milliseconds:.1f}", peak)
        console.print(rows, highlight=False)
    for path in result.files:
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    for failure in result.failures:
        errors_console.print(f"{failure.image}: {failure.reason}", highlight=False, markup=False, soft_wrap=True)
