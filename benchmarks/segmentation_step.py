"""Training step of segmentation networks on the CPU, by upsampler, side by side in one process.

    python benchmarks/segmentation_step.py

Steps of the candidates take turns, so that what disturbs the machine disturbs all; a ratio is the median of the
rounds' ratios.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from common import machine, write_results
from torch.nn import functional as F

from karaffe.evaluation.speed import Times, interleave
from karaffe.models.segmentation import create_segmenter

CASES = (("light-fpn", 1.0, 4), ("vgg-unet", 0.25, 4), ("vgg-unet", 1.0, 1))
UPSAMPLERS = "carafe,deconv,dysample,fade"
SIZE, CLASSES = (180, 240), 11


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Training step by upsampler, side by side.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--upsamplers", default=UPSAMPLERS)
    arguments = parser.parse_args()
    others = arguments.upsamplers.split(",")
    torch.set_num_threads(arguments.threads)
    rows = []
    lines = ["| network | batch | bilinear, ms | " + " | ".join(f"{n} / bilinear" for n in others) + " |"]
    lines.append("|---|" + "---:|" * (len(others) + 2))
    for network, width, batch in CASES:
        times = measure(network, width, batch, arguments.rounds, others)
        ratios = {name: times[name].over(times["bilinear"]) for name in others}
        milliseconds = {name: found.rounds for name, found in times.items()}
        rows.append({"network": network, "width": width, "batch": batch, "ms": milliseconds, "ratios": ratios})
        cells = [f"{network}, width {width:g}", str(batch), f"{times['bilinear'].median:.0f}"]
        lines.append("| " + " | ".join(cells + [f"{ratio:.2f}" for ratio in ratios.values()]) + " |")
        print(lines[-1], flush=True)
    where = machine()
    heading = (
        f"Training step (forward, backward, AdamW) at {SIZE[1]} x {SIZE[0]}, float32, {arguments.threads} thread(s), "
        f"{arguments.rounds} rounds in turns. {where['processor']}, torch {where['torch']}."
    )
    text = "\n".join([heading, "", *lines]) + "\n"
    print(write_results("segmentation_step", {"machine": where, "rows": rows}, text))


if __name__ == "__main__":
    main()
