"""What a browser may send, and what it is told."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Token = Annotated[str, Field(max_length=128)]


class AnswerIn(BaseModel):
    """A rater's answer to a place of the schedule, with how the pictures stood on the screen."""

    model_config = ConfigDict(extra="forbid")
    csrf: Token
    position: Annotated[int, Field(ge=0, le=1_000_000)]
    value: Annotated[int, Field(ge=0, le=10)]
    elapsed_ms: Annotated[int, Field(ge=0, le=86_400_000)]
    device_pixel_ratio: Annotated[float, Field(gt=0, le=16, allow_inf_nan=False)]
    exact_pixels: bool
    screen: Annotated[str, Field(pattern=r"^[0-9x ]{0,64}$")]


class AnswerOut(BaseModel):
    """Sent when the answer is on the disk. ``new``: False where the place had one, whose ``value`` stands."""

    new: bool
    value: int
    finished: bool
