"""VGG-16 as an encoder, layer by layer: torchvision's weights load by their own names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from karaffe.errors import ArgumentError
from karaffe.models.segmentation.base import widths

# Convolutions of the five stages: configuration D of the paper.
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VGG16(nn.Module):
    """The thirteen convolutions of VGG-16 (Simonyan and Zisserman, ICLR 2015, table 1, column D).

    Args:
        width: factor on all numbers of channels; torchvision's weights fit at 1.
        batch_norm: normalise after every convolution, as torchvision's ``vgg16_bn``; without, as ``vgg16``.

    Attributes:
        channels: of the five maps, finest first.
        features: the layers, numbered as torchvision numbers them.

    Raises:
        ArgumentError: ``width`` out of range.
    """

    def __init__(self, width: float = 1.0, *, batch_norm: bool = True) -> None:
        super().__init__()
        self.channels = widths(tuple(channels for channels, _ in STAGES), width)
        layers: list[nn.Module] = []
        before = 3
        for out, (_, depth) in zip(self.channels, STAGES, strict=True):
            for _ in range(depth):
                layers.append(nn.Conv2d(before, out, 3, padding=1))
                layers.extend([nn.BatchNorm2d(out)] if batch_norm else [])
                layers.append(nn.ReLU(inplace=True))
                before = out
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the maps that are pooled, at strides 1 to 16, finest first, and the last pooled map, at stride 32."""
        maps = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
            x = layer(x)
        return maps, x


def load_torchvision(encoder: VGG16, weights: Mapping[str, Tensor]) -> None:
    """Load the ``state_dict`` of torchvision's ``vgg16`` or ``vgg16_bn``; the classifier's entries are left out.

    Raises:
        ArgumentError: an entry is missing, unknown or of another shape.
    """
    features = {key: value for key, value in weights.items() if not key.startswith("classifier.")}
    try:
        encoder.load_state_dict(features, strict=True)
    except RuntimeError as error:
        raise ArgumentError(f"these are not the weights of this VGG-16 (width 1, same batch_norm): {error}") from error
