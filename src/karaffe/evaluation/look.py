"""How the strips and the page of a comparison are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from karaffe.errors import unknown_name
from karaffe.visualize import Box

FORMATS = ("png", "pdf", "tex")


@dataclass(frozen=True)
class Look:
    """How strips and page are drawn: crops (default: where the methods differ most), their size, number, zoom.

    ``formats`` are those of the strips: ``"png"``, ``"pdf"``, and ``"tex"``, which is LaTeX and the PNGs it includes.
    ``learned`` adds, for the models that predict kernels, maps of where the content mattered to the page, and a
    picture of them.

    Raises:
        UnknownNameError: Another format.
    """

    crops: tuple[Box, ...] = ()
    crop_size: int = 48
    count: int = 2
    zoom: int = 5
    formats: tuple[str, ...] = ("png",)
    learned: bool = False

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise unknown_name("format of strips", name, FORMATS)

    def cut(self) -> dict[str, Any]:
        """What every kind of strip takes."""
        return {"crops": self.crops, "crop_size": self.crop_size, "count": self.count, "zoom": self.zoom}
