"""What a figure means: the channel, the rounding and the border that PSNR and SSIM are taken on.

Super-resolution papers since SRCNN share one protocol (:data:`PAPERS`); most disagreements between published and
reproduced figures are departures from it, the commonest being full-range luma, which costs 1.32 dB. A
:class:`Protocol` is printed beside every figure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from karaffe.errors import ArgumentError, unknown_name
from karaffe.evaluation.images import Image, check_pair, luma, to_uint8
from karaffe.evaluation.metrics import psnr, ssim

Channels = Literal["luma", "full-range-luma", "rgb", "bands"]

# How far the PSNR of full-range luma lies below that of studio-range luma, in dB.
FULL_RANGE_LUMA_GAP = 20 * math.log10(255 / 219)


class Scores(NamedTuple):
    """PSNR in dB and mean SSIM of one image."""

    psnr: float
    ssim: float


@dataclass(frozen=True)
class Protocol:
    """How an enlarged image is measured against its reference.

    Attributes:
        channels: ``"luma"`` (BT.601, studio range), ``"full-range-luma"``, ``"rgb"`` (over all three channels) or
            ``"bands"`` (over all there are, one or many: scans and scenes).
        eight_bit: Round the images, and the luma, to 8 bit first.
        border_per_scale: Pixels cropped on each side for each unit of the scale …
        border_extra: … and besides (NTIRE's DIV2K scripts crop ``scale + 6``).
    """

    channels: Channels = "luma"
    eight_bit: bool = True
    border_per_scale: int = 1
    border_extra: int = 0

    def __post_init__(self) -> None:
        if self.channels not in get_args(Channels):
            raise unknown_name("channels", self.channels, get_args(Channels))
        if self.border_per_scale < 0 or self.border_extra < 0:
            raise ArgumentError(f"a protocol's border must not be negative; got {self}")

    def border(self, scale: int) -> int:
        """Return the number of pixels cropped on each side."""
        return self.border_per_scale * scale + self.border_extra

    def prepare(self, image: Image) -> Image:
        """Return the values that are compared: luma or all channels, on 8 bit if asked."""
        image = to_uint8(image) if self.eight_bit else image
        if self.channels in ("rgb", "bands"):
            return image
        return luma(image, range="studio" if self.channels == "luma" else "full")

    def measure(self, image: Image, reference: Image, scale: int) -> Scores:
        """Return the scores of ``image``; both ``(H, W[, C])`` of one shape and dtype.

        Raises:
            ShapeError, DtypeError: The two do not fit each other, or are too small for the window of SSIM.
            ArgumentError: The border leaves no pixel.
        """
        check_pair(image, reference)
        x, y = self.prepare(image), self.prepare(reference)
        border = self.border(scale)
        return Scores(psnr(x, y, border=border), ssim(x, y, border=border))

    def describe(self, scale: int | None = None) -> str:
        """Return one line that says how a figure was taken."""
        channel = {
            "luma": "Y of BT.601, studio range",
            "full-range-luma": f"Y of BT.601, full range ({FULL_RANGE_LUMA_GAP:.2f} dB below studio range)",
            "rgb": "R, G and B together",
            "bands": "all bands together",
        }[self.channels]
        rounding = "rounded to 8 bit" if self.eight_bit else "not rounded"
        border = f"{self.border(scale)} pixels" if scale is not None else self._border_rule()
        return (
            f"PSNR and SSIM on {channel}, {rounding}, {border} cropped on each side; "
            "SSIM with an 11×11 Gaussian window of σ = 1.5"
        )

    def _border_rule(self) -> str:
        per_scale = {0: "", 1: "scale"}.get(self.border_per_scale, f"{self.border_per_scale}·scale")
        extra = str(self.border_extra) if self.border_extra or not per_scale else ""
        return " + ".join(part for part in (per_scale, extra) if part) + " pixels"

    def __str__(self) -> str:
        return self.describe()


PAPERS = Protocol()

# Others in use, by name.
PROTOCOLS: dict[str, Protocol] = {
    "papers": PAPERS,
    "rgb": Protocol(channels="rgb"),
    "full-range-luma": Protocol(channels="full-range-luma"),
    "ntire": Protocol(channels="rgb", border_extra=6),
    "uncropped": Protocol(border_per_scale=0),
    "bands": Protocol(channels="bands", eight_bit=False),
}


def get_protocol(name: str | Protocol) -> Protocol:
    """Return the protocol of that name (``"papers"``, ``"rgb"``, ``"full-range-luma"``, ``"ntire"``, …)."""
    if isinstance(name, Protocol):
        return name
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
