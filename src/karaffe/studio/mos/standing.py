"""Where a rater stands: read from the database for every request, in one statement.

The statements are made once. Nothing of them is kept between requests, so that several servers may share a database.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, func, select

from karaffe.errors import ArgumentError
from karaffe.studio.mos.tables import Answer, Assignment, Rater


class UnknownLinkError(ArgumentError):
    """A personal link that was never given out."""


class ExpiredLinkError(ArgumentError):
    """A personal link whose time is over."""


class NotYetError(ArgumentError):
    """Something asked for out of turn: an answer before consent, a place that is still to come."""


@dataclass(frozen=True)
class Standing:
    """A rater, and the first place without an answer; ``position`` is None when all have one."""

    rater: int
    code: str
    consented: bool
    finished: bool
    completion_code: str | None
    total: int
    position: int | None
    trial: int | None


@dataclass(frozen=True)
class Place:
    """A place of a schedule and the answer to it, as the database has it."""

    assignment: int
    trial: int
    swapped: bool
    value: int | None


_LINK = bindparam("link", type_=Rater.link_sha256.type)
_OPEN = (
    select(Assignment.position)
    .outerjoin(Answer, Answer.assignment_id == Assignment.id)
    .where(Assignment.rater_id == Rater.id, Answer.assignment_id.is_(None))
    .order_by(Assignment.position)
    .limit(1)
    .correlate(Rater)
    .scalar_subquery()
)
_TOTAL = select(func.count()).where(Assignment.rater_id == Rater.id).correlate(Rater).scalar_subquery()
_STANDING = (
    select(
        Rater.id,
        Rater.code,
        Rater.consented_at,
        Rater.expires_at,
        Rater.finished_at,
        Rater.completion_code,
        _TOTAL.label("total"),
        Assignment.position,
        Assignment.trial_id,
    )
    .outerjoin(Assignment, (Assignment.rater_id == Rater.id) & (Assignment.position == _OPEN))
    .where(Rater.link_sha256 == _LINK)
)
_LOCK = select(Rater.id).where(Rater.link_sha256 == _LINK).with_for_update()
_PLACE = (
    select(Assignment.id, Assignment.trial_id, Assignment.swapped, Answer.value)
    .outerjoin(Answer, Answer.assignment_id == Assignment.id)
    .where(Assignment.rater_id == bindparam("rater"), Assignment.position == bindparam("position"))
)


def digest(link: str) -> str:
    """What is kept of a personal link."""
    return hashlib.sha256(link.encode()).hexdigest()


def find_standing(connection: Connection, link: str, now: datetime | None = None, *, lock: bool = False) -> Standing:
    """Where the rater of ``link`` stands.

    Args:
        lock: Let two tabs of one rater wait for each other. The lock comes first, since a statement that waited for
            it would still see what was there before. SQLite has one writer anyway.

    Raises:
        UnknownLinkError, ExpiredLinkError: The link does not serve.
    """
    given = {"link": digest(link)}
    if lock and connection.dialect.name == "postgresql":
        connection.execute(_LOCK, given)
    row = connection.execute(_STANDING, given).first()
    if row is None:
        raise UnknownLinkError("this personal link is not known here")
    rater, code, consented_at, expires_at, finished_at, completion_code, total, position, trial = row
    if (now or datetime.now(UTC)) >= expires_at and finished_at is None:
        raise ExpiredLinkError("this personal link has expired; what was answered is kept")
    consented, finished = consented_at is not None, finished_at is not None
    return Standing(rater, code, consented, finished, completion_code, total, position, trial)


def find_place(connection: Connection, rater: int, position: int) -> Place | None:
    """A place of a rater's schedule, None where there is none."""
    row = connection.execute(_PLACE, {"rater": rater, "position": position}).first()
    return None if row is None else Place(*row)
