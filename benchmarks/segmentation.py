"""Does content-aware upsampling help segmentation? Every upsampler in the same network, on the same batches.

    python benchmarks/segmentation.py pack ../shared/data/CamVid data/camvid_240x180.zip
    python benchmarks/segmentation.py run benchmarks/configs/camvid_240x180.toml
    python benchmarks/segmentation.py table

`run` goes on where it was stopped and never repeats a run that is logged; `table` needs nothing but the logs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from common import write_into

from karaffe.models.segmentation import ClassTable
from karaffe.training.choose import choose_seg, report
from karaffe.training.choose.charts import draw_curves, draw_scores
from karaffe.training.choose.outcome import Cost
from karaffe.training.choose.segmentation import collect
from karaffe.training.config import load_config
from karaffe.training.segmentation import SegConfig, load_dataset, pack

UPSAMPLERS = "nearest,bilinear,deconv,carafe,dysample,fade"
RUNS = Path("benchmarks/runs/camvid_240x180")
RESULTS, ASSETS = Path("benchmarks/results"), Path("docs/assets/segmentation")


def pack_data(arguments: argparse.Namespace) -> None:
    """Reduce CamVid to 240 x 180 and write it into one file."""
    names = load_config(arguments.config, SegConfig).data.table()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    pack(load_dataset(arguments.data, ClassTable(names.names, ignore=names.ignore), (180, 240)), arguments.output)


def run(arguments: argparse.Namespace) -> None:
    """Train what is not trained yet."""
    config, started = load_config(arguments.config, SegConfig), time.monotonic()
    if arguments.steps:
        optimisation = config.optimisation.model_copy(update={"steps": arguments.steps})
        config = config.model_copy(update={"optimisation": optimisation})

    def told(line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {line}", flush=True)

    choice = choose_seg(
        config,
        arguments.upsamplers.split(","),
        arguments.output,
        seeds=arguments.seeds,
        budget=arguments.seconds,
        jobs=arguments.jobs,
        told=told,
    )
    for outcome in choice.outcomes:
        ms, miou = 1000 * outcome.cost.seconds, outcome.mean("miou")
        print(f"{outcome.candidate:>12}: mIoU {miou:.4f} over {len(outcome.seeds)} seeds, {ms:.1f} ms a step")
    print(choice.recommendation.text if choice.recommendation else "not enough runs to recommend anything")


def table(arguments: argparse.Namespace) -> None:
    """Write the table and its chart from the logs of the finished runs."""
    plan = json.loads((arguments.runs / "plan.json").read_text())
    config = load_config(arguments.config, SegConfig)
    costs = {name: Cost(**cost) for name, cost in plan["costs"].items()}
    choice = collect(arguments.runs, config, plan["steps"], costs)
    name = arguments.runs.name
    heading, rows = report.table(choice)
    lines = [f"| {' | '.join(heading)} |", "|---|" + "---:|" * (len(heading) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    notes = [f"Steps timed on {plan.get('device', arguments.device)}.", *report.notes(choice)]
    verdict = choice.recommendation.text if choice.recommendation else ""
    text = "\n".join([*lines, "", *(f"- {note}" for note in notes), "", verdict]) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"segmentation_{name}.md").write_text(text)
    (RESULTS / f"segmentation_{name}.json").write_text(json.dumps(report.to_dict(choice), indent=1) + "\n")
    ASSETS.mkdir(parents=True, exist_ok=True)
    draw_scores(choice.outcomes, "miou", "mIoU", ASSETS / f"{name}.png")
    draw_curves(choice.outcomes, "mIoU, selection split", ASSETS / f"{name}_curves.png")
    if arguments.into:
        write_into(arguments.into, arguments.part, text)
    print(text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack", help=pack_data.__doc__)
    packing.add_argument("data", type=Path)
    packing.add_argument("output", type=Path)
    packing.add_argument("--config", type=Path, default=Path("benchmarks/configs/camvid_240x180.toml"))
    packing.set_defaults(command=pack_data)
    running = commands.add_parser("run", help=run.__doc__)
    running.add_argument("config", type=Path)
    running.add_argument("--output", type=Path, default=RUNS)
    running.add_argument("--upsamplers", default=UPSAMPLERS)
    running.add_argument("--seeds", type=int, default=3)
    running.add_argument("--steps", type=int)
    running.add_argument("--seconds", type=float)
    running.add_argument("--jobs", type=int, default=1)
    running.set_defaults(command=run)
    writing = commands.add_parser("table", help=table.__doc__)
    writing.add_argument("--runs", type=Path, default=RUNS)
    writing.add_argument("--config", type=Path, default=Path("benchmarks/configs/camvid_240x180.toml"))
    writing.add_argument("--device", default="an NVIDIA H200", help="where steps were timed, if the plan does not say")
    writing.add_argument("--into", type=Path, help="a page that the table is written into")
    writing.add_argument("--part", default="table", help="the page's part from <!-- PART --> to <!-- end -->")
    writing.set_defaults(command=table)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    arguments.command(arguments)
