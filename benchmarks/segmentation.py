"""Does content-aware upsampling help segmentation? Every upsampler in the same network, on the same batches.

    python benchmarks/segmentation.py pack ../shared/data/CamVid data/camvid_240x180.zip
    python benchmarks/segmentation.py run benchmarks/configs/camvid_240x180.toml
    python benchmarks/segmentation.py table

`run` goes on where it was stopped and never repeats a run that is logged; `table` needs nothing but the logs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from karaffe.models.segmentation import ClassTable
from karaffe.training.choose import choose_seg
from karaffe.training.config import load_config
from karaffe.training.segmentation import SegConfig, load_dataset, pack

UPSAMPLERS = "nearest,bilinear,deconv,carafe,dysample,fade"
RUNS = Path("benchmarks/runs/camvid_240x180")


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
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    arguments.command(arguments)
