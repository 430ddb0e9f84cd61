"""``karaffe choose``: which upsampler, or which network, for data of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from karaffe.cli.common import (
    Json,
    Threads,
    console,
    count,
    names,
    needs_training,
    parse_grid,
    print_json,
    table,
    use_threads,
)
from karaffe.errors import ArgumentError

app = typer.Typer(help="Train candidates alike on your data, compare them, and recommend one.")


@app.callback()
def options() -> None:
    """Train candidates alike on your data, compare them, and recommend one."""


@app.command("seg")
def seg(
    data: Annotated[Path, typer.Argument(help="Folder of images and label maps (PNG), or an index file (CSV).")],
    classes: Annotated[str, typer.Option(help="How many classes, or their names, with commas.")],
    upsamplers: Annotated[
        str, typer.Option(help="Names that `karaffe upsamplers` lists, with commas.")
    ] = "bilinear,carafe,dysample",
    seeds: Annotated[int, typer.Option(min=1, help="How often each is trained.")] = 3,
    budget: Annotated[str, typer.Option(help="Time for all trainings: 90s, 20m, 2h.")] = "2h",
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the runs and the report.")] = Path("choice"),
    ignore: Annotated[int, typer.Option(help="Value of pixels without a label.")] = 255,
    values: Annotated[
        str | None, typer.Option(help="Values of the classes in the label maps (default: 0,1 …).")
    ] = None,
    size: Annotated[str | None, typer.Option(help="COLUMNSxROWS that everything is resized to.")] = None,
    network: Annotated[str, typer.Option(help="light-fpn, vgg-unet or vgg-segnet.")] = "light-fpn",
    width: Annotated[float, typer.Option(help="Factor on the network's numbers of channels.")] = 1.0,
    batch: Annotated[int, typer.Option(min=1, help="Images a step.")] = 8,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Which upsampler for the segmentation of these images? The same call goes on where it was stopped."""
    use_threads(threads)
    with needs_training():
        from karaffe.training.choose import choose_seg, write_report
        from karaffe.training.choose.plan import parse_budget
        from karaffe.training.choose.trials import to_toml
        from karaffe.training.config import parse_config
        from karaffe.training.segmentation import SegConfig
    sections: dict[str, dict[str, Any]] = {
        "network": {"name": network, "width": width},
        "data": {
            "path": str(data),
            "classes": int(classes) if classes.isdecimal() else names(classes, "--classes"),
            "ignore": ignore,
            "values": _numbers(values, "--values") if values else None,
            "size": parse_grid(size) if size else None,
        },
        "optimisation": {"steps": 1, "batch": batch},
    }
    config = parse_config(to_toml(sections), "the options", SegConfig)
    told = (lambda line: None) if as_json else lambda line: console.print(line, highlight=False)
    choice = choose_seg(
        config,
        names(upsamplers, "--upsamplers"),
        output,
        seeds=seeds,
        budget=parse_budget(budget),
        jobs=jobs,
        told=told,
    )
    report = write_report(choice)
    _tell(choice, report, as_json)


@app.command("sr")
def sr(
    data: Annotated[Path, typer.Argument(help="Folder of pictures; the last fifth is held out and measured.")],
    models: Annotated[str, typer.Option(help="Names that `karaffe models` lists, with commas.")] = "espcn,fsrcnn,sharp",
    scale: Annotated[int, typer.Option(min=2, help="Factor.")] = 2,
    seeds: Annotated[int, typer.Option(min=1, help="How often each is trained.")] = 3,
    budget: Annotated[str, typer.Option(help="Time for all trainings: 90s, 20m, 2h.")] = "2h",
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the runs and the report.")] = Path("choice"),
    patch: Annotated[int, typer.Option(min=8, help="Edge of a crop in source pixels.")] = 24,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Which network to enlarge pictures like these? The same call goes on where it was stopped."""
    use_threads(threads)
    with needs_training():
        from karaffe.training.choose import choose_sr, write_report
        from karaffe.training.choose.plan import parse_budget
    told = (lambda line: None) if as_json else lambda line: console.print(line, highlight=False)
    seconds = parse_budget(budget)
    wanted = names(models, "--models")
    choice = choose_sr(
        data, wanted, output, scale=scale, seeds=seeds, budget=seconds, patch=patch, jobs=jobs, told=told
    )
    _tell(choice, write_report(choice), as_json)


def _tell(choice: Any, report: Any, as_json: bool) -> None:
    if as_json:
        print_json(report.figures)
        return
    title = f"{choice.steps} steps each"
    rows = table(
        title,
        "candidate",
        "seeds",
        choice.label,
        "95 %",
        "parameters",
        "multiply-adds",
        "ms a step",
        right=("ms a step",),
    )
    for outcome in choice.outcomes:
        interval, cost = outcome.interval(choice.figure), outcome.cost
        low_high = "{:.4f} to {:.4f}".format(*interval) if interval else ""
        figures = (
            f"{outcome.mean(choice.figure):.{choice.digits}f}",
            low_high,
            count(cost.parameters),
            count(cost.macs),
        )
        rows.add_row(outcome.candidate, str(len(outcome.seeds)), *figures, f"{1000 * cost.seconds:.0f}")
    console.print(rows, highlight=False)
    if choice.undone:
        console.print(f"the budget left undone: {', '.join(choice.undone)}; the same call goes on", highlight=False)
    if choice.recommendation:
        console.print(choice.recommendation.text, style="bold", highlight=False)
    for path in report.files:
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)


def _numbers(text: str, option: str) -> list[int]:
    parts = names(text, option)
    if not all(part.isdecimal() for part in parts):
        raise ArgumentError(f"{option} must be whole numbers with commas; got {text!r}")
    return [int(part) for part in parts]
