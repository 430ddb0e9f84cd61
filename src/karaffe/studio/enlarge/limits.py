"""What the studio takes on."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

from karaffe.errors import ArgumentError

LARGEST_SCALE = 16


@dataclass(frozen=True)
class Limits:
    """Bounds of what people may ask of one studio.

    Attributes:
        upload_bytes: Of a picture as it is sent.
        pixels: Of a result, all its frames together.
        jobs: Pictures that a visit may keep. models: Models a picture.
        workers: Processes that enlarge, each one picture at a time.
        leave_seconds: After so long without a page that looks, work is given up.
        keep_seconds: After so long results are removed too.

    Raises:
        ArgumentError: One that is not positive.
    """

    upload_bytes: int = 200_000_000
    pixels: int = 64_000_000
    jobs: int = 20
    models: int = 8
    workers: int = max(1, min(4, os.cpu_count() or 1))
    leave_seconds: float = 20
    keep_seconds: float = 3600

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ArgumentError(f"{field.name} must be positive; got {getattr(self, field.name)!r}")

    def threads(self, running: int) -> int:
        """Threads for one of ``running`` pictures that are in work at once."""
        return max(1, (os.cpu_count() or 1) // max(1, running))
