"""What is known of one place where a network enlarges a map, and the table of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from karaffe.surgery.source import CallPoint
from karaffe.surgery.table import Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

ROLES = ("feature", "logits", "broadcast", "no-op", "shrinking", "parameter")


@dataclass(frozen=True)
class Site:
    """One place where a network enlarges a map: a call, in one turn of its loop, or an upsampling module.

    Attributes:
        name: unique in the model; what ``where`` matches.
        path: of the upsampling module, or of the module whose code makes the call.
        owner: path of the module whose ``forward`` makes or leads to the call.
        kind: ``"module"`` or ``"call"``.
        op: ``"interpolate"``, ``"pixel_shuffle"`` or ``"conv_transpose"``.
        mode, align_corners: of an interpolation, else ``""`` and False.
        by: ``"size"`` or ``"scale"``, whichever an interpolation is given, else ``""``.
        in_shape, out_shape: ``(N, C, *sizes)`` on the first example that reached it.
        role: ``"feature"``; ``"logits"``, the model's output but for a step or two; ``"broadcast"``, of a map pooled
            to one pixel; ``"no-op"``; ``"shrinking"``; ``"parameter"``, of something that the input does not reach.
        joined: how the result first meets another map of its size (``"add"``, ``"cat"``, ``"mul"``), or ``""``.
        guide: how the calling code names that map, where it exists before the call; else ``""``.
        guide_channels: its channels.
        at_hand: all maps of the target's size that the calling code can name, each with its channels.
        file, line, function: where the call stands.
        runs: how often the site runs in one forward pass.
        obstacle: why it cannot be replaced, or ``""``.
    """

    name: str
    path: str
    owner: str
    owner_class: str
    kind: str
    op: str
    mode: str
    align_corners: bool
    by: str
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    role: str
    joined: str
    guide: str
    guide_channels: int
    at_hand: tuple[tuple[str, int], ...]
    file: str
    line: int
    function: str
    runs: int
    obstacle: str
    ordinal: int = field(repr=False)
    points: tuple[CallPoint, ...] = field(repr=False)
    fixed_factors: tuple[float, ...] | None = field(default=None, repr=False)

    @property
    def channels(self) -> int:
        """Channels of the map that is enlarged."""
        return self.in_shape[1]

    @property
    def out_channels(self) -> int:
        return self.out_shape[1]

    @property
    def dims(self) -> int:
        """Spatial axes."""
        return len(self.in_shape) - 2

    @property
    def scale(self) -> tuple[float, ...]:
        """Target size over source size, an axis."""
        return tuple(o / i for o, i in zip(self.out_shape[2:], self.in_shape[2:], strict=True))

    @property
    def location(self) -> str:
        return f"{short(self.file)}:{self.line}" if self.file else ""


@dataclass(frozen=True)
class Unreached:
    """An upsampling call in the model's code, or an upsampling module of it, that no example reached."""

    what: str
    location: str

    def __str__(self) -> str:
        return f"{self.what} ({self.location})" if self.location else self.what


class Sites(Sequence[Site]):
    """The sites of a model, in the order they run; shows itself as a table (text, rich, HTML)."""

    def __init__(self, sites: Iterable[Site], unreached: Iterable[Unreached] = ()) -> None:
        self._sites = tuple(sites)
        self.unreached = tuple(unreached)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Site: ...
    @overload
    def __getitem__(self, index: slice) -> Sites: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Site | Sites:
        if isinstance(index, slice):
            return Sites(self._sites[index], self.unreached)
        return self._sites[index]

    def __len__(self) -> int:
        return len(self._sites)

    def table(self) -> Table:
        """The rows as data: headings, cells, and the unreached calls as notes."""
        headings = ("site", "operation", "size", "channels", "role", "joined", "guide", "where")
        notes = [f"not reached: {u}" for u in self.unreached]
        return Table(headings, [_cells(s) for s in self._sites], notes)

    def __str__(self) -> str:
        return self.table().text()

    def __rich__(self) -> RichTable:
        return self.table().rich()

    def _repr_html_(self) -> str:
        return self.table().html()

    def __repr__(self) -> str:
        return f"Sites({list(self._sites)!r}, {list(self.unreached)!r})"


def _cells(site: Site) -> tuple[str, ...]:
    words: list[Any] = [site.op, site.mode, "align_corners" if site.align_corners else "", f"({site.kind})"]
    size = f"{_size(site.in_shape)} → {_size(site.out_shape)}"
    channels = str(site.channels) if site.channels == site.out_channels else f"{site.channels} → {site.out_channels}"
    role = f"{site.role}: {site.obstacle}" if site.obstacle else site.role
    guide = f"{site.guide} ({site.guide_channels})" if site.guide else ""
    runs = f" ×{site.runs}" if site.runs > 1 else ""
    return (
        site.name + runs,
        " ".join(w for w in words if w),
        size,
        channels,
        role,
        site.joined,
        guide or ", ".join(f"[{name}]" for name, _ in site.at_hand),
        site.location,
    )


def _size(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape[2:]))


def short(file: str) -> str:
    """The last folders of a path: enough to find the file, short enough for a table."""
    return "/".join(Path(file).parts[-3:])
