"""Enlarge the features of a vision transformer under its image, and look at them.

python examples/features/vision_transformer.py [--upsampler anyup] [--picture PATH] [--output PATH]

A small transformer with random weights stands in for a backbone, so that nothing has to be downloaded: the same lines
serve any backbone that gives ``(N, C, H / patch, W / patch)``. The picture shows the image, the three principal
components of the features as colours, and those of the enlarged features, in the same colours: image-guided methods
follow the image's boundaries although the features know nothing finer than a patch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import karaffe

HERE = Path(__file__).resolve().parent
PICTURE = HERE.parent / "pictures" / "chelsea.png"
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
PATCH, WIDTH, HEADS, LAYERS = 16, 96, 4, 2


class VisionTransformer(nn.Module):
    """Patches, a code of their places, and a few layers of attention; random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, 3, H, W)`` to ``(N, WIDTH, H / 16, W / 16)``."""
        x = self.patches(image)
        tokens = self.layers(x.flatten(2).mT)
        return tokens.mT.unflatten(2, x.shape[2:])


def principal_colours(features: Tensor, axes: Tensor | None = None) -> tuple[np.ndarray, Tensor]:
    """The three largest principal components as an image in 8 bits, and their axes, to draw other features alike."""
    flat = features[0].flatten(1).T
    flat = flat - flat.mean(0)
    if axes is None:
        axes = torch.linalg.svd(flat, full_matrices=False)[2][:3]
    values = flat @ axes.T
    low, high = values.quantile(0.02, 0), values.quantile(0.98, 0)
    values = ((values - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    pixels = (255 * values).round().to(torch.uint8)
    return pixels.unflatten(0, features.shape[2:]).numpy(), axes


def shown(pixels: np.ndarray, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def main(arguments: list[str] | None = None) -> Path:
    """Run the example; the picture's path."""
    guided = [name for name in karaffe.list_upsamplers(guided=True) if name in ("anyup", "jafar", "naf", "jbu-stack")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upsampler", default="anyup", choices=guided)
    parser.add_argument("--checkpoint", type=Path, help="released weights; without: as the method starts")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--size", type=int, default=192, help="the image's width and height, a multiple of 16")
    parser.add_argument("--output", type=Path, default=Path("features.png"))
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    picture = Image.open(options.picture).convert("RGB").resize((options.size, options.size), Image.Resampling.BICUBIC)
    image = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)
    image = ((image - MEAN) / STD).permute(2, 0, 1)[None]
    backbone = VisionTransformer().eval()
    upsampler = karaffe.create_upsampler(options.upsampler, WIDTH, 4, guide_channels=3).eval()
    if options.checkpoint:
        print(karaffe.load_checkpoint(upsampler, options.checkpoint))
    with torch.inference_mode():
        features = backbone(image)
        enlarged = upsampler(features, image)
    before, axes = principal_colours(features)
    after, _ = principal_colours(enlarged, axes)
    strip = Image.new("RGB", (3 * options.size + 16, options.size), "white")
    size = (options.size, options.size)
    for i, part in enumerate((picture, shown(before, size), shown(after, size))):
        strip.paste(part, (i * (options.size + 8), 0))
    strip.save(options.output)
    print(f"{tuple(features.shape)} to {tuple(enlarged.shape)}: {options.output}")
    return options.output


if __name__ == "__main__":
    main()
