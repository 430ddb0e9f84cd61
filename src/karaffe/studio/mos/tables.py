"""The tables of a study's database: one database holds one study, whole.

What must hold is held by the database itself: one study, one schedule a rater, one answer a place in it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Moment(TypeDecorator[datetime]):
    """A time in UTC; SQLite keeps none of the zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """The metadata that migrations are checked against."""

    type_annotation_map: ClassVar = {datetime: Moment(), dict[str, Any]: JSON, list[Any]: JSON, bytes: LargeBinary}


class Study(Base):
    """The study; ``id`` is 1, so that there is never a second."""

    __tablename__ = "study"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(64))
    config: Mapped[dict[str, Any]]
    secret: Mapped[bytes]
    created_at: Mapped[datetime]
    __table_args__ = (CheckConstraint("id = 1", name="one_study"),)


class Picture(Base):
    """A prepared picture; pictures that are equal are kept once."""

    __tablename__ = "pictures"
    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    width: Mapped[int]
    height: Mapped[int]
    png: Mapped[bytes] = mapped_column(deferred=True)


class StimulusRow(Base):
    """What a method made of a content."""

    __tablename__ = "stimuli"
    id: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[str] = mapped_column(String(255))
    method: Mapped[str] = mapped_column(String(64))
    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id"))
    __table_args__ = (UniqueConstraint("content", "method", name="one_picture_a_method"),)


class TrialRow(Base):
    """One question: a stimulus, or two. ``kind`` is training, test or gold."""

    __tablename__ = "trials"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    first_id: Mapped[int] = mapped_column(ForeignKey("stimuli.id"))
    second_id: Mapped[int | None] = mapped_column(ForeignKey("stimuli.id"))
    expected: Mapped[list[Any] | None]


class Rater(Base):
    """A person under a random code; of the personal link only the digest is kept."""

    __tablename__ = "raters"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(String(16), unique=True)
    link_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    consented_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    completion_code: Mapped[str | None] = mapped_column(String(32))


class Assignment(Base):
    """A place in a rater's schedule. ``repeat``: the rater has judged this trial before."""

    __tablename__ = "assignments"
    id: Mapped[int] = mapped_column(primary_key=True)
    rater_id: Mapped[int] = mapped_column(ForeignKey("raters.id"))
    position: Mapped[int]
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"))
    swapped: Mapped[bool]
    repeat: Mapped[bool]
    __table_args__ = (
        UniqueConstraint("rater_id", "position", name="one_trial_a_place"),
        Index("assignments_by_trial", "trial_id"),
    )


class Answer(Base):
    """An answer and how its pictures stood on the screen; the first one to a place stands."""

    __tablename__ = "answers"
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignments.id"), primary_key=True)
    value: Mapped[int]
    answered_at: Mapped[datetime]
    elapsed_ms: Mapped[int]
    device_pixel_ratio: Mapped[float | None] = mapped_column(Double)
    exact_pixels: Mapped[bool | None]
    screen: Mapped[str | None] = mapped_column(Text)
