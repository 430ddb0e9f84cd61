"""What raters do to a study: join, consent, answer. Each is one transaction, and doing it twice changes nothing.

The position of a rater is never taken from the browser: it is the first place of the schedule without an answer.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, text, update
from sqlalchemy.orm import Session, aliased

from karaffe.errors import ArgumentError, FileError
from karaffe.studio.mos.config import StudyConfig, parse_config
from karaffe.studio.mos.database import Database
from karaffe.studio.mos.designs import TIE
from karaffe.studio.mos.held import Held
from karaffe.studio.mos.plan import TEST, TRAINING, Trial, make_schedule
from karaffe.studio.mos.standing import NotYetError, Place, Standing, digest, find_place, find_standing
from karaffe.studio.mos.tables import Answer, Assignment, Picture, Rater, StimulusRow, Study, TrialRow

# Letters that nobody confuses when reading a code aloud.
ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
HELD_BYTES = 256_000_000
_PNG = select(Picture.png).where(Picture.id == bindparam("id"))
_KEEP = insert(Answer)


@dataclass(frozen=True)
class Viewing:
    """How the pictures stood on the rater's screen, as the browser says.

    Attributes:
        device_pixel_ratio: Device pixels a CSS pixel, browser zoom included.
        exact_pixels: Each picture pixel covered one device pixel, and the whole picture was in view.
        screen: Screen and window size, for the record.
    """

    device_pixel_ratio: float
    exact_pixels: bool
    screen: str


@dataclass(frozen=True)
class Turn:
    """The trial a rater is at.

    Attributes:
        position: From 0. total: Places in the schedule. sides: Number of pictures, in the order shown.
        training: Whether the answer counts. sizes: Width and height of each picture.
    """

    position: int
    total: int
    training: bool
    sizes: tuple[tuple[int, int], ...]
    after_training: int


@dataclass(frozen=True)
class State:
    """Where a rater stands; ``turn`` is None when all is answered."""

    code: str
    consented: bool
    turn: Turn | None
    completion_code: str | None


@dataclass(frozen=True)
class Kept:
    """What came of an answer: ``new`` is False where the place had one, and ``value`` is the one that stands."""

    new: bool
    value: int
    finished: bool


class Store:
    """A study that is being asked.

    Args:
        database: An open database with a study in it.

    Raises:
        FileError: There is no study in it.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.read() as session:
            study = session.get(Study, 1)
            if study is None:
                raise FileError(f"the database {database.shown} holds no study; 'karaffe mos create' makes one")
            self.name, self.secret = study.name, study.secret
            self.config: StudyConfig = parse_config(study.config, database.shown)
            self.trials = load_trials(session)
            self._stimuli = {row.id: row.picture_id for row in session.scalars(select(StimulusRow))}
            self._training = sum(trial.kind == TRAINING for trial in self.trials.values())
            rows = session.execute(select(TrialRow.id, TrialRow.first_id, TrialRow.second_id))
            self._shown = {trial: tuple(s for s in pair if s is not None) for trial, *pair in rows}
            self._pngs = Held(HELD_BYTES)
            self._sizes = {row.id: (row.width, row.height) for row in session.scalars(select(Picture))}

    @cached_property
    def values(self) -> frozenset[int]:
        """The answers there are."""
        values = {value for value, _ in self.config.plan.answers}
        return frozenset(values | {TIE} if self.config.ties else values)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Width and height of every picture."""
        return list(self._sizes.values())

    def join(self, now: datetime | None = None) -> str:
        """Make a rater with a schedule, and return the secret of the personal link, which is kept nowhere."""
        now = now or datetime.now(UTC)
        link = secrets.token_urlsafe(24)
        with self.database.write() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.execute(text("SELECT id FROM study FOR UPDATE"))
            ordinal = session.scalar(select(func.count()).select_from(Rater)) or 0
            rater = Rater(
                code="".join(secrets.choice(ALPHABET) for _ in range(8)),
                link_sha256=digest(link),
                created_at=now,
                expires_at=now + timedelta(days=self.config.link_days),
            )
            session.add(rater)
            session.flush()
            schedule = make_schedule(self.config, self.trials, ordinal, self._asked(session, now))
            session.add_all(
                Assignment(rater_id=rater.id, position=i, trial_id=p.trial, swapped=p.swapped, repeat=p.repeat)
                for i, p in enumerate(schedule)
            )
        return link

    def _asked(self, session: Session, now: datetime) -> Mapping[int, int]:
        """How often each trial was asked of raters who answered it or still may."""
        answered = select(Assignment.trial_id, func.count()).outerjoin(Answer).join(Rater)
        counts = answered.where(
            ~Assignment.repeat, Answer.assignment_id.is_not(None) | (Rater.expires_at > now)
        ).group_by(Assignment.trial_id)
        return Counter({row[0]: row[1] for row in session.execute(counts)})

    def state(self, link: str, now: datetime | None = None) -> State:
        """Where the rater of ``link`` stands.

        Raises:
            UnknownLinkError, ExpiredLinkError: The link does not serve.
        """
        with self.database.engine.connect() as connection:
            at = find_standing(connection, link, now)
        return State(at.code, at.consented, self._turn(at), at.completion_code)

    def _turn(self, at: Standing) -> Turn | None:
        if at.position is None or at.trial is None:
            return None
        training = self.trials[at.trial].kind == TRAINING
        sizes = tuple(self._sizes[self._stimuli[s]] for s in self._shown[at.trial])
        return Turn(at.position, at.total, training, sizes, at.position - self._training)

    def shown(self, link: str, now: datetime | None = None) -> tuple[tuple[str, str], ...]:
        """(content, method) of each picture of the rater's turn, in the order shown; empty at the end."""
        with self.database.engine.connect() as connection:
            at = find_standing(connection, link, now)
            place = None if at.position is None else find_place(connection, at.rater, at.position)
        if place is None:
            return ()
        trial = self.trials[place.trial]
        methods = trial.methods[::-1] if place.swapped else trial.methods
        return tuple((trial.content, method) for method in methods)

    def consent(self, link: str, now: datetime | None = None) -> None:
        """Record that the rater agreed to take part."""
        with self.database.transaction() as connection:
            at = find_standing(connection, link, now, lock=True)
            if not at.consented:
                moment = now or datetime.now(UTC)
                connection.execute(update(Rater).where(Rater.id == at.rater).values(consented_at=moment))

    def picture(self, link: str, position: int, side: int, now: datetime | None = None) -> bytes:
        """Return the PNG at ``side`` (0, 1) of a place, up to the one after the rater's own.

        Raises:
            NotYetError: No consent yet, or the place is further ahead, or there is no such place or side.
        """
        with self.database.engine.connect() as connection:
            at = find_standing(connection, link, now)
            place = find_place(connection, at.rater, position)
            last = position if at.position is None else at.position + 1
            if place is None or not at.consented or position > last:
                raise NotYetError("there is no such picture")
            shown = self._shown[place.trial]
            if not 0 <= side < len(shown):
                raise NotYetError("there is no such picture")
            number = self._stimuli[shown[1 - side] if place.swapped else shown[side]]
            return self._pngs.get(number, lambda: _png(connection, number))

    def answer(
        self, link: str, position: int, value: int, elapsed_ms: int, viewing: Viewing, now: datetime | None = None
    ) -> Kept:
        """Keep an answer, as :meth:`answer_soon`; when this returns it is on the disk."""
        return self.answer_soon(link, position, value, elapsed_ms, viewing, now).result()

    def answer_soon(
        self, link: str, position: int, value: int, elapsed_ms: int, viewing: Viewing, now: datetime | None = None
    ) -> Future[Kept]:
        """Keep an answer; it is on the disk when the future has what came of it. The first answer to a place stands.

        Raises:
            ArgumentError: ``value`` is no answer of this design. The others come by the future:
            NotYetError: No consent, or ``position`` is not the rater's.
            UnknownLinkError, ExpiredLinkError: The link does not serve.
            FileError: The database did not take it; nothing is kept.
        """
        if value not in self.values:
            raise ArgumentError(f"value must be one of {sorted(self.values)}, not {value}")
        answer = {
            "value": value,
            "answered_at": now or datetime.now(UTC),
            "elapsed_ms": elapsed_ms,
            "device_pixel_ratio": viewing.device_pixel_ratio,
            "exact_pixels": viewing.exact_pixels,
            "screen": viewing.screen,
        }
        return self.database.write_soon(lambda connection: self._keep(connection, link, position, answer))

    def _keep(self, connection: Connection, link: str, position: int, answer: dict[str, Any]) -> Kept:
        """Put ``answer``, in terms of sides, at its place, unless there is one."""
        at = find_standing(connection, link, answer["answered_at"], lock=True)
        place = find_place(connection, at.rater, position)
        if place is None or not at.consented:
            raise NotYetError(f"place {position} is not this rater's turn")
        if place.value is not None:
            return Kept(False, _unswapped(place, place.value), at.finished)
        if at.position is None or position > at.position:
            raise NotYetError(f"place {position} is not this rater's turn")
        value = answer["value"]
        row = {**answer, "assignment_id": place.assignment, "value": _unswapped(place, value)}
        connection.execute(_KEEP, row)
        finished = position + 1 == at.total
        if finished:
            code = self._completion_code(at.code)
            connection.execute(
                update(Rater)
                .where(Rater.id == at.rater)
                .values(finished_at=answer["answered_at"], completion_code=code)
            )
        return Kept(True, value, finished)

    def _completion_code(self, rater: str) -> str:
        mixed = hmac.new(self.secret, f"completion/{rater}".encode(), hashlib.sha256).digest()
        return "".join(ALPHABET[byte % len(ALPHABET)] for byte in mixed[:10])

    def progress(self) -> dict[str, int]:
        """Counts for the study's keeper: raters, those who finished, answers, and answers that count."""
        with self.database.read() as session:
            trial = aliased(TrialRow)
            counted = select(func.count()).select_from(Answer)
            test = counted.join(Assignment).join(trial, trial.id == Assignment.trial_id)
            test = test.where(trial.kind == TEST, ~Assignment.repeat)
            return {
                "raters": session.scalar(select(func.count()).select_from(Rater)) or 0,
                "finished": session.scalar(
                    select(func.count()).select_from(Rater).where(Rater.finished_at.is_not(None))
                )
                or 0,
                "answers": session.scalar(counted) or 0,
                "test_answers": session.scalar(test) or 0,
            }


def load_trials(session: Session) -> dict[int, Trial]:
    """Return every trial of the study by its id, in the order of the ids."""
    names = {row.id: (row.content, row.method) for row in session.scalars(select(StimulusRow))}
    found = {}
    for row in session.scalars(select(TrialRow).order_by(TrialRow.id)):
        shown = [names[s] for s in (row.first_id, row.second_id) if s is not None]
        expected = tuple(row.expected) if row.expected else None
        found[row.id] = Trial(row.kind, shown[0][0], tuple(method for _, method in shown), expected)
    return found


def _png(connection: Connection, picture: int) -> bytes:
    return connection.execute(_PNG, {"id": picture}).scalar_one()


def _unswapped(place: Place, value: int) -> int:
    """An answer about sides as one about the trial's first and second method, and the other way round."""
    return 3 - value if place.swapped and value != TIE else value
