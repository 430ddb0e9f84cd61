"""What a replacement did, shown as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from karaffe.surgery.install import restore_upsamplers
from karaffe.surgery.site import Site, Unreached
from karaffe.surgery.table import Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Replaced:
    """A site and what stands there now: parameters under ``path``, beginning as ``start`` says."""

    site: Site
    path: str
    start: str
    guide: str


@dataclass(frozen=True)
class Left:
    """A site that was chosen and stays as it was."""

    site: Site
    reason: str


@dataclass(frozen=True)
class Report:
    """What :func:`replace_upsamplers` did; prints as a table.

    Attributes:
        model: the network, changed in place.
        replaced, left: the chosen sites.
        unreached: upsampling in the network's code that no example reached.
        output_change: largest difference over largest magnitude of the outputs, all examples.
        parameters: before and after.
        multiply_adds: of the first example, before and after; ``None`` where torch's counter cannot count.
    """

    model: nn.Module
    replaced: tuple[Replaced, ...]
    left: tuple[Left, ...]
    unreached: tuple[Unreached, ...]
    output_change: float
    parameters: tuple[int, int]
    multiply_adds: tuple[int | None, int | None]

    def new_parameters(self) -> Iterator[nn.Parameter]:
        """The new modules' parameters: ``optimizer.add_param_group({"params": report.new_parameters()})``."""
        seen: set[int] = set()
        for path in dict.fromkeys(r.path for r in self.replaced):
            for parameter in self.model.get_submodule(path).parameters():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield parameter

    def restore(self) -> nn.Module:
        """Undo every replacement in the model; see :func:`restore_upsamplers`."""
        return restore_upsamplers(self.model)

    def table(self) -> Table:
        """The rows as data."""
        rows = [
            ("replaced", r.site.name, r.path, r.start + (f", guide {r.guide}" if r.guide else ""), r.site.location)
            for r in self.replaced
        ]
        rows += [("left", entry.site.name, "", entry.reason, entry.site.location) for entry in self.left]
        notes = [f"not reached: {u}" for u in self.unreached]
        notes.append(f"parameters {self.parameters[0]:,} → {self.parameters[1]:,}")
        if None not in self.multiply_adds:
            notes.append(f"multiply-adds {self.multiply_adds[0]:,} → {self.multiply_adds[1]:,}")
        notes.append(f"output changed by {self.output_change:.1e} of its range")
        return Table(("", "site", "new module", "start or reason", "where"), rows, notes)

    def __str__(self) -> str:
        return self.table().text()

    def __rich__(self) -> RichTable:
        return self.table().rich()

    def _repr_html_(self) -> str:
        return self.table().html()
