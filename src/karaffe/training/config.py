"""Configurations of trainings: TOML files, checked before anything runs."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from karaffe.errors import ArgumentError, FileError
from karaffe.models import create_model, describe_model

Config = TypeVar("Config", bound="Section")


class Section(BaseModel):
    """A table of the file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(Section):
    """Which network, for which factor.

    ``start`` is a file of weights of the same network, of any scale, whose trunk is taken; the head, which depends on
    the scale, starts anew unless the scale is the same. ``options`` are keyword arguments of the network's class.
    """

    name: str = "sharp"
    scale: int
    start: str | None = None
    options: dict[str, bool | int | float | str] = {}

    @model_validator(mode="after")
    def _exists(self) -> ModelSection:
        info = describe_model(self.name)
        if not info.learned:
            raise ValueError(f"model {self.name!r} has nothing to learn")
        info.check_scale(self.scale, pretrained=False)
        with torch.random.fork_rng(devices=[]):
            create_model(self.name, self.scale, pretrained=False, **self.options)
        return self


class DegradationSection(Section):
    """Faults of real pictures that sources get beside the reduction, each drawn evenly from a range.

    ``blur``: standard deviation of a Gaussian, in target pixels, before the reduction. ``noise``: standard deviation
    of Gaussian noise after it, as a fraction of the range of values. ``jpeg``: quality of a compression after that,
    1 to 95; none by default. ``variants``: how many differently degraded sources a picture has.
    """

    blur: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (0, 0)
    noise: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (0, 0)
    jpeg: tuple[Annotated[int, Field(ge=1, le=95)], Annotated[int, Field(ge=1, le=95)]] | None = None
    variants: Annotated[int, Field(ge=1, le=64)] = 4

    @model_validator(mode="after")
    def _ordered(self) -> DegradationSection:
        for name in ("blur", "noise", "jpeg"):
            values = getattr(self, name)
            if values is not None and values[0] > values[1]:
                raise ValueError(f"{name} must be a range, the smaller number first; got {values}")
        return self


class DataSection(Section):
    """The pictures: a folder with ``train/`` and ``held-out/``, relative to the working directory.

    ``held_out``: names of pictures that decide; then all lie in the folder itself, and the others are trained on, at
    most ``most`` of them, evenly spread over their names (0: all).

    ``patch`` is the edge of a crop in source pixels. ``reductions``: every training picture is also used reduced to
    these fractions of its size. ``candidates``: of so many random crops, the one with most detail is taken.
    ``validation_crop`` is the edge, in target pixels, of the middle of the held-out pictures that is measured.
    ``degradation``: what sources suffer beside the reduction; nothing by default, as in the papers.
    """

    folder: str
    held_out: tuple[str, ...] = ()
    most: Annotated[int, Field(ge=0)] = 0
    patch: Annotated[int, Field(ge=8)] = 24
    reductions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (1.0,)
    candidates: Annotated[int, Field(ge=1, le=64)] = 1
    validation_crop: Annotated[int, Field(ge=32)] = 512
    degradation: DegradationSection | None = None


class OptimisationSection(Section):
    """Adam with a linear warm-up and a cosine to zero.

    ``cooldown``: the last so many steps are the cosine, those before have a constant rate; 0: all of them.
    ``ema``: decay of the running mean of the weights, which is what is measured and kept.
    """

    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)] = 16
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    warmup: Annotated[int, Field(ge=0)] = 200
    cooldown: Annotated[int, Field(ge=0)] = 0
    clip: Annotated[float, Field(gt=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class SROptimisationSection(OptimisationSection):
    """As :class:`OptimisationSection`, on the L1, L2 or Charbonnier distance (epsilon 1e-3) of the luma.

    ``expansion`` > 0 trains every 3x3 convolution as a product of two matrices with that inner width, which is
    multiplied out again for the result (collapsible blocks: Bhardwaj et al., *SESR*, MLSys 2022, section 3).
    """

    loss: Literal["l1", "l2", "charbonnier"] = "l1"
    expansion: Annotated[int, Field(ge=0)] = 0


class RunSection(Section):
    """How often a line is logged, the state saved, and the held-out pictures measured, in steps."""

    log_every: Annotated[int, Field(ge=1)] = 100
    save_every: Annotated[int, Field(ge=1)] = 1000
    validate_every: Annotated[int, Field(ge=1)] = 2000

    @model_validator(mode="after")
    def _multiples(self) -> RunSection:
        # A state is only ever saved between two log lines, so that a resumed run writes the same lines.
        for name in ("save_every", "validate_every"):
            if getattr(self, name) % self.log_every:
                raise ValueError(f"{name} must be a multiple of log_every = {self.log_every}")
        return self


class SRRunSection(RunSection):
    """As :class:`RunSection`; ``precision``: ``"bf16-mixed"`` computes convolutions in bfloat16.

    ``channels_last``: keep the channels of a pixel together in memory, which is faster on CPUs.
    """

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    channels_last: bool = False


class SRConfig(Section):
    """A super-resolution training."""

    model: ModelSection
    data: DataSection
    optimisation: SROptimisationSection
    run: SRRunSection = SRRunSection()


def parse_config(text: str, source: str, kind: type[Config] = SRConfig) -> Config:  # type: ignore[assignment]
    """Read TOML ``text`` as a configuration of some ``kind``; ``source`` names it in errors.

    Raises:
        ArgumentError: not TOML, or a value that is not accepted; every offending key is listed.
    """
    try:
        return kind.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ArgumentError(f"{source} is not valid TOML: {error}") from error
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in item['loc']) or 'config'}: {item['msg']} (got {_short(item['input'])})"
            for item in error.errors()
        ]
        raise ArgumentError("\n".join([f"{source}:", *lines])) from error


def load_config(path: str | os.PathLike[str], kind: type[Config] = SRConfig) -> Config:  # type: ignore[assignment]
    """Read a configuration file of some ``kind``.

    Raises:
        FileError: the file cannot be read.
        ArgumentError: as :func:`parse_config`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read configuration {path}: {error}") from error
    return parse_config(text, str(path), kind)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
