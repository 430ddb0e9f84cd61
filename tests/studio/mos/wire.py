"""What tests of the server share."""

from __future__ import annotations

import re
from typing import Any


def csrf_in(page: str) -> str:
    """The form token of a page."""
    found = re.search(r'(?:name="csrf" value|data-csrf)="([0-9a-f]{64})"', page)
    assert found
    return found[1]


def answer_body(csrf: str, position: int, value: int) -> dict[str, Any]:
    """What a rater's page sends."""
    return {
        "csrf": csrf,
        "position": position,
        "value": value,
        "elapsed_ms": 900,
        "device_pixel_ratio": 1.5,
        "exact_pixels": True,
        "screen": "1920x1080 1000x700",
    }
