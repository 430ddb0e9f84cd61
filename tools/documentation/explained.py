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


def why_it_matters(folder: Path) -> None:
    """A label map of an eighth of the rows and columns, back on the grid of the picture by three methods."""
    size, factor = 192, 8
    rows, columns = (v - size / 2 + 0.5 for v in torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij"))
    star = (rows.square() + columns.square()).sqrt() < 44 + 34 * torch.cos(7 * torch.atan2(rows, columns))
    noise = 0.03 * torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    colours = [torch.tensor(c)[None, :, None, None] for c in ((0.93, 0.62, 0.25), (0.22, 0.36, 0.5))]
    scene = (torch.where(star, *colours) + noise).clamp(0, 1)
    small = F.interpolate(star.float()[None, None], scale_factor=1 / factor, mode="area")
    methods = {"nearest": {}, "bilinear": {}, "jbu": {"guide_channels": 3}}
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.2))
    axes[0].imshow(scene[0].permute(1, 2, 0))
    axes[0].set_title("the picture", fontsize=9)
    for axis, (name, options) in zip(axes[1:], methods.items(), strict=True):
        found = karaffe.create_upsampler(name, 1, factor, **options)(small, scene)[0, 0] > 0.5
        wrong = (found != star).float().mean().item()
        axis.imshow(scene[0].permute(1, 2, 0), alpha=0.4)
        axis.contour(found, levels=[0.5], colors="#d1242f", linewidths=1.6)
        axis.set_title(f"{name}: {100 * wrong:.1f} % of the pixels wrong", fontsize=9)
    for axis in axes:
        axis.axis("off")
    save(figure, folder / "why.png")


def swap(folder: Path) -> None:
    """One network's output, with its own upsampling and with CARAFE in its place, by start."""
    torch.manual_seed(0)
    picture = torch.from_numpy(np.asarray(Image.open(PICTURE).crop((96, 84, 224, 180)))).permute(2, 0, 1)[None] / 255.0
    first = torch.nn.Conv2d(3, 32, 3, 2, 1)
    last = torch.nn.Conv2d(32, 1, 3, padding=1)
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.3))
    with torch.no_grad():
        x = first(picture).relu()
        before = last(F.interpolate(x, scale_factor=2, mode="bilinear"))
        shown = {"its own bilinear upsampling": before}
        for init in ("bilinear", "paper"):
            after = last(karaffe.CARAFE(32, init=init)(x))
            change = ((after - before).abs().mean() / before.std()).item()
            shown[f'CARAFE, init="{init}": moved by {100 * change:.2g} %'] = after
    for axis, (title, values) in zip(axes, shown.items(), strict=True):
        axis.imshow(values[0, 0], cmap="magma", vmin=before.min(), vmax=before.max())
        axis.set_title(title, fontsize=10)
        axis.axis("off")
    save(figure, folder / "swap.png")


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


FIGURES = (what_it_is, why_it_matters, fixed_kernels, checkerboard, content_kernels, swap, judge)
