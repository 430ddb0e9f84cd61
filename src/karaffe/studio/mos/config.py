"""The study file: its schema, and one message that names every entry that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from karaffe.errors import ArgumentError, FileError, UnknownNameError
from karaffe.studio.mos.designs import Design, get_design

REFERENCE = "reference"

NAME, LONGEST_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", 64
Name = Annotated[str, Field(pattern=NAME, max_length=LONGEST_NAME)]
Text = Annotated[str, Field(min_length=1, max_length=20_000)]
Line = Annotated[str, Field(min_length=1, max_length=200)]

CONSENT = (
    "Taking part is voluntary and you can stop at any time. Stored are your answers, how long each took, and how your "
    "screen showed the pictures, under a random code. No name, address or other personal data is asked for or kept."
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gold(_Strict):
    """A trial whose right answers are known; who misses it is not looking."""

    image: Line
    method: Name
    against: Name | None = None
    answers: Annotated[list[int | Name], Field(min_length=1)]


class Make(_Strict):
    """Pictures made here instead of read: reduced by ``scale``, then enlarged again by every model.

    ``crop`` takes the square of that side in the middle of each image, or with ``crops`` so many, evenly spread.
    """

    images: Annotated[list[Path], Field(min_length=1)]
    scale: Annotated[int, Field(ge=2, le=16)]
    models: Annotated[list[Name], Field(min_length=1)]
    crop: Annotated[int, Field(ge=16)] | None = None
    crops: Annotated[int, Field(ge=1, le=64)] = 1

    @model_validator(mode="after")
    def _sized(self) -> Make:
        if self.crops > 1 and self.crop is None:
            raise ValueError("'crops' needs 'crop', their side in pixels")
        return self

    def names(self, path: Path) -> list[str]:
        """What the parts of a picture are called."""
        return [path.stem] if self.crops == 1 else [f"{path.stem}-{number + 1}" for number in range(self.crops)]


class StudyConfig(_Strict):
    """What a study file says; :func:`load_config` reads one.

    Attributes:
        study: Short name, unique among one's studies.
        design: ``acr``, ``acr-hr``, ``dcr``, ``dsis`` or ``pair`` (``2afc``).
        methods: Folder of pictures for each method; a picture is the same file name in every folder.
        reference: Folder of the undistorted pictures.
        make: Instead of ``methods`` and ``reference``: make them from these images.
        comparison: Instead of them: the folder that ``karaffe compare`` wrote, or its page.
        ties: In ``pair``, whether "no difference" is an answer (off is a forced choice, 2AFC).
        training: File names used for training only, whose answers count nowhere.
        gold: Trials with known answers.
        repeats: Trials of each rater that are shown twice, to see how steady the rater is.
        trials_per_rater: Size of each rater's balanced subset; all trials where absent.
        break_every: Trials between two breaks; 0 for none.
        presentation: Two pictures side by side, or in the same place with a switch.
        entry: ``open``: whoever finds the first page may take part; ``invited``: by a personal link alone.
        link_days: How long a personal link works.
    """

    study: Name
    title: Line | None = None
    design: str
    methods: Annotated[dict[Name, Path], Field(min_length=1)] | None = None
    reference: Path | None = None
    make: Make | None = None
    comparison: Path | None = None
    question: Line | None = None
    instructions: Text | None = None
    consent: Text = CONSENT
    ties: bool = False
    training: list[Line] = []
    gold: list[Gold] = []
    repeats: Annotated[int, Field(ge=0, le=100)] = 0
    trials_per_rater: Annotated[int, Field(ge=1)] | None = None
    break_every: Annotated[int, Field(ge=0)] = 40
    presentation: Literal["together", "switch"] = "together"
    entry: Literal["open", "invited"] = "open"
    link_days: Annotated[int, Field(ge=1, le=3650)] = 30
    seed: Annotated[int, Field(ge=0)] = 0
    halfwidth: Annotated[float, Field(gt=0, le=2)] = 0.25

    @field_validator("design")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            return get_design(value).name
        except UnknownNameError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        for complaint in _complaints(self):
            raise ValueError(complaint)
        return self

    @property
    def plan(self) -> Design:
        return get_design(self.design)

    @property
    def heading(self) -> str:
        return self.title or self.study


def _complaints(config: StudyConfig) -> list[str]:
    found = []
    sources = [config.methods, config.make, config.comparison]
    if sources.count(None) != len(sources) - 1:
        found.append(
            "give one of 'methods' (a folder for each), 'make' (images, scale, models) and 'comparison' (a folder of "
            "'karaffe compare')"
        )
    if config.methods is None and config.reference is not None:
        found.append("'reference' is for a study with 'methods'; 'make' and 'comparison' bring their own")
    methods = list(config.methods or (config.make.models if config.make else ()))
    if len(set(methods)) < len(methods):
        found.append(f"a method is named twice in {methods}")
    if REFERENCE in methods:
        found.append(f"'{REFERENCE}' is no method: give its folder as 'reference'")
    if config.plan.needs_reference and config.methods is not None and config.reference is None:
        found.append(f"design '{config.design}' needs 'reference'")
    if config.plan.compares and config.comparison is None and len(methods) < 2:
        found.append("design 'pair' needs at least two methods")
    if config.ties and not config.plan.compares:
        found.append("'ties' is for design 'pair'")
    # Which methods a comparison has is known when its pictures are read.
    known = None if config.comparison is not None else {*methods, REFERENCE}
    for gold in config.gold:
        found += gold_complaints(gold, config, known)
    return found


def gold_complaints(gold: Gold, config: StudyConfig, known: set[str] | None) -> list[str]:
    """Return what is wrong with a gold trial of a study whose methods are ``known``; None for any."""
    name = f"gold trial of {gold.image!r}"
    known = {gold.method, gold.against or gold.method} if known is None else known
    if config.plan.compares:
        if gold.against is None or {gold.method, gold.against} - known or gold.method == gold.against:
            return [f"{name}: 'method' and 'against' must be two of {sorted(known)}"]
        accepted: set[Any] = {gold.method, gold.against} | ({"tie"} if config.ties else set())
    else:
        if gold.method not in known or gold.against is not None:
            return [f"{name}: 'method' must be one of {sorted(known)}, and 'against' is for design 'pair'"]
        accepted = {value for value, _ in config.plan.answers}
    wrong = [a for a in gold.answers if a not in accepted]
    return [f"{name}: answers {wrong} are not among {sorted(accepted)}"] if wrong else []


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not the last one silently."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f"{key!r} is given twice", problem_mark=key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_config(path: Path) -> StudyConfig:
    """Read a study file.

    Raises:
        FileError: It cannot be read or is not YAML.
        ArgumentError: It is YAML, but not a study; every entry that is wrong is named.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise FileError(f"{path} is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ArgumentError(f"{path}: a study file is a mapping of entries such as 'study', 'design' and 'methods'")
    return parse_config(raw, str(path))


def parse_config(raw: dict[str, Any], where: str) -> StudyConfig:
    """Check the entries ``raw`` of the study file ``where``.

    Raises:
        ArgumentError: Every entry that is wrong is named.
    """
    try:
        return StudyConfig.model_validate(raw)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            place = ".".join(str(part) for part in problem["loc"] if part != "[key]")
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{place}: {message}" if place else message)
        raise ArgumentError(f"{where}: " + "; ".join(lines)) from None
