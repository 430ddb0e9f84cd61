"""Write the documentation's generated parts: method pages, diagrams, figures.

python tools/documentation/build.py [--pages-only | METHOD ...]    METHOD: only this one's diagram and picture
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pages
import torch
from torch import Tensor

import karaffe

DOCS = Path(__file__).resolve().parents[2] / "docs"


def look(name: str, into: Path) -> None:
    """Draw what a method does: predicted kernels, offsets, or the impulse response of a fixed one."""
    from learned import guide_for, trained

    from karaffe.visualize import kernels, offsets

    info = karaffe.describe_upsampler(name)
    if (not info.learned and name != "jbu") or name in ("deconv", "resize-conv", "pixel-shuffle"):
        impulse_response(name, into)
        return
    module, features, points = trained(name)
    if hasattr(module, "offsets"):
        offsets(module, features, guide=guide_for(name)).save(into, optimize=True)
    elif hasattr(module, "kernels"):
        shrunk = [(y // 4, x // 4) for y, x in points] if name == "carafe-down" else points
        kernels(module, features, shrunk, guide=guide_for(name)).save(into, optimize=True)
    else:
        before_and_after(module, features, guide_for(name), into)


def before_and_after(module: torch.nn.Module, features: Tensor, guide: Tensor | None, into: Path) -> None:
    """One channel of the features round the eye, and of what the method makes of it."""
    rows, columns = 24, 56
    x = features[..., rows : rows + 32, columns : columns + 32]
    if guide is not None:
        guide = guide[..., 2 * rows : 2 * rows + 64, 2 * columns : 2 * columns + 64]
    with torch.no_grad():
        maps = {"a channel of x": x, "the same, enlarged": module(x, guide)}
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 3.2))
    for axis, (title, values) in zip(axes, maps.items(), strict=True):
        axis.imshow(values[0, 0], cmap="magma")
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    figure.savefig(into, bbox_inches="tight", dpi=90)
    plt.close(figure)


def impulse_response(name: str, into: Path) -> None:
    torch.manual_seed(0)
    impulse = torch.zeros(1, 1, 7, 7)
    impulse[..., 3, 3] = 1
    options = {"init": "bilinear"} if name == "deconv" else {}
    guide = None
    factor = 4
    if name == "max-unpool":
        guide, factor = (28 * torch.arange(7)[:, None] + 2 * torch.arange(7))[None, None], 2
    module = karaffe.create_upsampler(name, 1, factor, **options)
    with torch.no_grad():
        response = module(impulse, guide)[0, 0]
    figure, axis = plt.subplots(figsize=(3.6, 3))
    largest = float(response.abs().max())
    shown = axis.imshow(response, cmap="RdBu_r", vmin=-largest, vmax=largest)
    figure.colorbar(shown, shrink=0.85)
    axis.axis("off")
    figure.savefig(into, bbox_inches="tight", dpi=100)
    plt.close(figure)


def main(arguments: list[str]) -> None:
    pages.write(DOCS / "methods")
    if "--pages-only" in arguments:
        return
    import diagrams
    import explained

    mpl.rcParams["svg.hashsalt"] = "karaffe"
    torch.set_num_threads(1)
    for name in arguments or karaffe.list_upsamplers():
        diagrams.draw(name, DOCS / "assets" / "methods" / f"{name}.svg")
        look(name, DOCS / "assets" / "methods" / f"{name}.png")
    for figure in () if arguments else explained.FIGURES:
        figure(DOCS / "assets" / "explained")


if __name__ == "__main__":
    main(sys.argv[1:])
