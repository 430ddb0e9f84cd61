"""The figures of "Feature upsampling explained": one function a figure."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from learned import trained
from PIL import Image

import karaffe
from karaffe.visualize import kernels as draw_kernels

PICTURE = Path(__file__).resolve().parents[2] / "examples" / "pictures" / "chelsea.png"


def save(figure: plt.Figure, into: Path) -> None:
    figure.savefig(into, bbox_inches="tight", dpi=110)
    plt.close(figure)


def what_it_is(folder: Path) -> None:
    """A small map and the same map on a finer grid, by three interpolations."""
    generator = torch.Generator().manual_seed(3)
    small = torch.rand(1, 1, 6, 6, generator=generator)
    maps = {"6 x 6": small} | {
        f"{mode} to 24 x 24": F.interpolate(small, scale_factor=4, mode=mode)
        for mode in ("nearest", "bilinear", "bicubic")
    }
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.8))
    for axis, (title, values) in zip(axes, maps.items(), strict=True):
        axis.imshow(values[0, 0], cmap="magma", vmin=0, vmax=1)
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    save(figure, folder / "what.png")


def fixed_kernels(folder: Path) -> None:
    """What one source pixel contributes, by distance: the interpolations' impulse responses."""
    figure, axis = plt.subplots(figsize=(7, 3))
    impulse = torch.zeros(1, 1, 15, dtype=torch.float64)
    impulse[..., 7] = 1
    for name in ("nearest-exact", "bilinear", "bicubic", "lanczos"):
        response = karaffe.create_upsampler(name, 1, 32, dims=1)(impulse)[0, 0]
        distance = (torch.arange(len(response)) + 0.5) / 32 - 7.5
        axis.plot(distance, response, label=name)
    axis.axhline(0, color="grey", lw=0.5)
    axis.set(xlim=(-4, 4), xlabel="distance in source pixels", ylabel="weight")
    axis.legend(frameon=False)
    save(figure, folder / "interpolation.png")


def checkerboard(folder: Path) -> None:
    """How many source pixels reach each target of a transposed convolution, and what comes of it."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 3))
    for axis, (k, p) in zip(axes, ((3, 1), (4, 1), (5, 2)), strict=True):
        output_padding = 2 - (k - 2 * p)
        count = F.conv_transpose2d(
            torch.ones(1, 1, 8, 8), torch.ones(1, 1, k, k), stride=2, padding=p, output_padding=max(output_padding, 0)
        )
        shown = axis.imshow(count[0, 0, 2:14, 2:14], cmap="viridis", vmin=1, vmax=9)
        axis.set_title(f"kernel {k}, stride 2", fontsize=10)
        axis.axis("off")
    figure.colorbar(shown, ax=axes, label="contributions", shrink=0.8)
    save(figure, folder / "checkerboard.png")


def content_kernels(folder: Path) -> None:
    """One picture, two targets, a fixed kernel and predicted ones."""
    module, features, points = trained("carafe")
    draw_kernels(module, features, points).save(folder / "carafe.png", optimize=True)


def judge(folder: Path) -> None:
    """Edges of a photograph, enlarged by bicubic and by `sharp`, and what each missed."""
    whole = np.asarray(Image.open(PICTURE).crop((96, 84, 224, 180)))
    low = karaffe.evaluation.imresize(whole, 1 / 4)
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.9))
    axes[0].imshow(whole)
    axes[0].set_title("the photograph", fontsize=10)
    for axis, model in zip(axes[1:], ("bicubic", "sharp"), strict=True):
        enlarged = karaffe.upscale(low, scale=4, model=model)
        score = karaffe.evaluation.psnr(enlarged, whole, border=4)
        axis.imshow(enlarged)
        axis.set_title(f"{model}, {score:.2f} dB", fontsize=10)
    for axis in axes:
        axis.axis("off")
    save(figure, folder / "judge.png")


FIGURES = (what_it_is, fixed_kernels, checkerboard, content_kernels, judge)
