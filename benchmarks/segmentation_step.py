"""Training step of segmentation networks on the CPU, by upsampler, side by side in one process.

    python benchmarks/segmentation_step.py                          # all, some minutes
    python benchmarks/segmentation_step.py --case 0 --upsamplers carafe,deconv
    python benchmarks/segmentation_step.py --only-write --into docs/guide/segment.md

Steps of the candidates take turns, so that what disturbs the machine disturbs all; a ratio is the median of the
rounds' ratios. What was measured before on this machine is kept, so that the table can be filled in parts; ratios to
bilinear are those of the rounds that a part has measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import machine, results_path, write_into, write_results
from torch.nn import functional as F

from karaffe.evaluation.speed import Times, interleave
from karaffe.models.segmentation import create_segmenter

# Network, width and batch: the first is that of the table of upsamplers on CamVid.
CASES = (("light-fpn", 1.0, 8), ("light-fpn", 0.5, 8), ("vgg-unet", 0.25, 4), ("vgg-unet", 1.0, 1))
UPSAMPLERS = "carafe,deconv,dysample,fade"
SIZE, CLASSES = (180, 240), 11
Row = dict[str, Any]


def training_step(network: str, width: float, upsampler: str, x: torch.Tensor, target: torch.Tensor) -> Callable:
    """Return a call that runs forward, backward and AdamW once."""
    torch.manual_seed(0)
    model = create_segmenter(network, CLASSES, upsampler, width=width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), target).backward()
        optimizer.step()

    return step


def measure(network: str, width: float, batch: int, rounds: int, upsamplers: list[str]) -> dict[str, Times]:
    """Return the times of a step by upsampler, bilinear first."""
    x, target = torch.rand(batch, 3, *SIZE), torch.randint(CLASSES, (batch, *SIZE))
    calls = {name: training_step(network, width, name, x, target) for name in ["bilinear", *upsamplers]}
    return interleave(calls, rounds, seconds=0)


def known(where: dict[str, str]) -> list[Row]:
    """Return the rows that were measured before on this machine, an empty one a case where there is none."""
    path = results_path("segmentation_step", where)
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    kept = {(row["network"], row["width"], row["batch"]): row for row in rows if "threads" in row}
    return [kept.get(case, empty_row(*case)) for case in CASES]


def empty_row(network: str, width: float, batch: int) -> Row:
    """Return a row that nothing is known of."""
    cost = {"ms": {}, "ratios": {}, "threads": None, "rounds": None}
    return {"network": network, "width": width, "batch": batch, **cost}


def table(rows: list[Row], where: dict[str, str]) -> str:
    """Return what is known as Markdown."""
    others = UPSAMPLERS.split(",")
    lines = ["| network | batch | bilinear, ms | " + " | ".join(f"{n} / bilinear" for n in others) + " |"]
    lines.append("|---|" + "---:|" * (len(others) + 2))
    for row in rows:
        times = row["ms"].get("bilinear", [])
        middle = f"{sorted(times)[len(times) // 2]:.0f}" if times else "–"
        ratios = [f"{row['ratios'][n]:.2f}" if n in row["ratios"] else "–" for n in others]
        lines.append(
            "| " + " | ".join([f"{row['network']}, width {row['width']:g}", str(row["batch"]), middle, *ratios])
        )
        lines[-1] += " |"
    threads = ", ".join(sorted({str(row["threads"]) for row in rows if row["threads"]}))
    heading = (
        f"Training step (forward, backward, AdamW) at {SIZE[1]} x {SIZE[0]}, float32, {threads} thread(s), candidates "
        f"in turns. {where['processor']}, torch {where['torch']}."
    )
    return "\n".join([heading, "", *lines]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--upsamplers", default=UPSAMPLERS)
    parser.add_argument("--case", type=int, nargs="*", default=range(len(CASES)), help="which of the cases, from 0")
    parser.add_argument("--only-write", action="store_true", help="measure nothing")
    parser.add_argument("--into", type=Path, help="a page whose part between <!-- step --> and <!-- end --> it is")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    where, others = machine(), arguments.upsamplers.split(",")
    rows = known(where)
    for index in [] if arguments.only_write else arguments.case:
        times, row = measure(*CASES[index], arguments.rounds, others), rows[index]
        row["ms"] |= {name: found.rounds for name, found in times.items()}
        row["ratios"] |= {name: times[name].over(times["bilinear"]) for name in others}
        row |= {"threads": arguments.threads, "rounds": arguments.rounds}
        write_results("segmentation_step", {"machine": where, "rows": rows}, table(rows, where))
    print(table(rows, where))
    if arguments.into:
        write_into(arguments.into, "step", table(rows, where))


if __name__ == "__main__":
    main()
