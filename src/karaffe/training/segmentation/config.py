"""The configuration of a segmentation training: a TOML file, checked before anything runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, field_validator, model_validator

from karaffe.models.segmentation import ClassTable, Segmenter, create_segmenter
from karaffe.training.config import OptimisationSection, RunSection, Section

Positive = Annotated[int, Field(ge=1)]


class NetworkSection(Section):
    """Which network: a name that :func:`karaffe.models.segmentation.list_segmenters` gives, and its upsampler.

    ``width`` is a factor on all numbers of channels, ``options`` are the upsampler's. ``encoder`` is a file of
    torchvision's ``vgg16_bn`` weights that the encoder starts from (``vgg-unet`` and ``vgg-segnet`` of width 1).
    """

    name: str = "light-fpn"
    upsampler: str = "carafe"
    width: Annotated[float, Field(gt=0, le=4)] = 1.0
    options: dict[str, Any] = Field(default_factory=dict)
    encoder: str | None = None

    @model_validator(mode="after")
    def _exists(self) -> NetworkSection:
        with torch.device("meta"):
            self.make(2)
        return self

    def make(self, classes: int) -> Segmenter:
        """Make the network for so many classes."""
        return create_segmenter(self.name, classes, self.upsampler, width=self.width, options=self.options)


class LabelledDataSection(Section):
    """The labelled images: what :func:`karaffe.training.segmentation.load_dataset` reads.

    ``classes`` are names, or how many; ``values`` of the label maps belong to them in order (default: 0, 1, 2 …),
    ``ignore`` is the value of pixels without a label. ``size``: rows and columns that everything is resized to.
    ``crop`` (default: the smallest image's size) and ``scales``, ``flip``, ``jitter`` as of
    :class:`karaffe.training.segmentation.CropSampler`. ``augmentation`` is a file that ``albumentations.save`` wrote;
    its pipeline is applied to the whole pair, in place of nothing else. ``class_weights``: of the loss.
    """

    path: str
    classes: tuple[str, ...] | Annotated[int, Field(ge=2, le=255)]
    values: tuple[int, ...] = ()
    ignore: int = 255
    colours: tuple[tuple[int, int, int], ...] = ()
    size: tuple[Positive, Positive] | None = None
    crop: tuple[Positive, Positive] | None = None
    scales: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 1.5)
    flip: bool = True
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.2
    augmentation: str | None = None
    class_weights: Literal["none", "median", "log"] = "none"

    @field_validator("scales")
    @classmethod
    def _ordered(cls, scales: tuple[float, float]) -> tuple[float, float]:
        if scales[0] > scales[1]:
            raise ValueError("the first of scales must not be above the second")
        return scales

    @model_validator(mode="after")
    def _described(self) -> LabelledDataSection:
        self.table()
        return self

    def table(self) -> ClassTable:
        """Return what the classes are called, and which values stand for them."""
        names = self.classes
        if isinstance(names, int):
            names = tuple(f"class {number}" for number in range(names))
        return ClassTable(names, self.values, self.ignore, self.colours)


class SegOptimisationSection(OptimisationSection):
    """As :class:`karaffe.training.OptimisationSection`, with decoupled weight decay (AdamW)."""

    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    batch: Positive = 8
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    warmup: Annotated[int, Field(ge=0)] = 100
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99


class SegRunSection(RunSection):
    """Also the arithmetic, and whether the test split is measured, once, at the end.

    ``backend``: of karaffe's operators, a name that :func:`karaffe.ops.backends` lists; default: what suits the
    device.
    """

    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    deterministic: bool = False
    backend: Literal["reference", "cpu", "triton"] | None = None
    test: bool = False


class SegConfig(Section):
    """A segmentation training."""

    network: NetworkSection = NetworkSection()
    data: LabelledDataSection
    optimisation: SegOptimisationSection
    run: SegRunSection = SegRunSection()
