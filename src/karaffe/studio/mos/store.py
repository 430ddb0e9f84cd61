"""What raters do to a study: join, consent, answer. Each is one transaction, and doing it twice changes nothing.

The position of a rater is never taken from the browser: it is the first place of the schedule without an answer.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, aliased

from karaffe.errors import ArgumentError, FileError
from karaffe.studio.mos.config import StudyConfig, parse_config
from karaffe.studio.mos.database import Database
from karaffe.studio.mos.designs import TIE
from karaffe.studio.mos.plan import TEST, TRAINING, Trial, make_schedule
from karaffe.studio.mos.tables import Answer, Assignment, Picture, Rater, StimulusRow, Study, TrialRow

# Letters that nobody confuses when reading a code aloud.
ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class UnknownLinkError(ArgumentError):
    """A personal link that was never given out."""


class ExpiredLinkError(ArgumentError):
    """A personal link whose time is over."""


class NotYetError(ArgumentError):
    """Something asked for out of turn: an answer before consent, a place that is still to come."""


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
                link_sha256=_digest(link),
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

    def _rater(self, session: Session, link: str, now: datetime | None, *, lock: bool = False) -> Rater:
        query = select(Rater).where(Rater.link_sha256 == _digest(link))
        rater = session.scalar(query.with_for_update() if lock else query)
        if rater is None:
            raise UnknownLinkError("this personal link is not known here")
        if (now or datetime.now(UTC)) >= rater.expires_at and rater.finished_at is None:
            raise ExpiredLinkError("this personal link has expired; what was answered is kept")
        return rater

    def state(self, link: str, now: datetime | None = None) -> State:
        """Where the rater of ``link`` stands.

        Raises:
            UnknownLinkError, ExpiredLinkError: The link does not serve.
        """
        with self.database.read() as session:
            rater = self._rater(session, link, now)
            turn = self._turn(session, rater.id)
            return State(rater.code, rater.consented_at is not None, turn, rater.completion_code)

    def _turn(self, session: Session, rater: int) -> Turn | None:
        total = select(func.count()).select_from(Assignment).where(Assignment.rater_id == rater).scalar_subquery()
        place = session.execute(
            select(Assignment.position, Assignment.trial_id, total.label("total"))
            .outerjoin(Answer)
            .where(Assignment.rater_id == rater, Answer.assignment_id.is_(None))
            .order_by(Assignment.position)
            .limit(1)
        ).first()
        if place is None:
            return None
        training = self.trials[place.trial_id].kind == TRAINING
        sizes = tuple(self._sizes[self._stimuli[s]] for s in self._shown[place.trial_id])
        return Turn(place.position, place.total, training, sizes, place.position - self._training)

    def shown(self, link: str, now: datetime | None = None) -> tuple[tuple[str, str], ...]:
        """(content, method) of each picture of the rater's turn, in the order shown; empty at the end."""
        with self.database.read() as session:
            rater = self._rater(session, link, now)
            turn = self._turn(session, rater.id)
            if turn is None:
                return ()
            place = session.execute(
                select(Assignment).where(Assignment.rater_id == rater.id, Assignment.position == turn.position)
            ).scalar_one()
            trial = self.trials[place.trial_id]
            methods = trial.methods[::-1] if place.swapped else trial.methods
            return tuple((trial.content, method) for method in methods)

    def consent(self, link: str, now: datetime | None = None) -> None:
        """Record that the rater agreed to take part."""
        with self.database.write() as session:
            rater = self._rater(session, link, now)
            rater.consented_at = rater.consented_at or now or datetime.now(UTC)

    def picture(self, link: str, position: int, side: int, now: datetime | None = None) -> bytes:
        """Return the PNG at ``side`` (0, 1) of a place, up to the one after the rater's own.

        Raises:
            NotYetError: No consent yet, or the place is further ahead, or there is no such place or side.
        """
        with self.database.read() as session:
            rater = self._rater(session, link, now)
            turn = self._turn(session, rater.id)
            last = turn.position + 1 if turn else position
            place = session.execute(
                select(Assignment.trial_id, Assignment.swapped).where(
                    Assignment.rater_id == rater.id, Assignment.position == position
                )
            ).first()
            if place is None or rater.consented_at is None or position > last:
                raise NotYetError("there is no such picture")
            shown = self._shown[place.trial_id]
            if not 0 <= side < len(shown):
                raise NotYetError("there is no such picture")
            stimulus = shown[1 - side] if place.swapped else shown[side]
            return self._png(session, self._stimuli[stimulus])

    def _png(self, session: Session, picture: int) -> bytes:
        return session.execute(select(Picture.png).where(Picture.id == picture)).scalar_one()

    def answer(
        self, link: str, position: int, value: int, elapsed_ms: int, viewing: Viewing, now: datetime | None = None
    ) -> Kept:
        """Keep an answer; when this returns it is on the disk. The first answer to a place stands.

        Raises:
            ArgumentError: ``value`` is no answer of this design.
            NotYetError: No consent, or ``position`` is not the rater's.
            UnknownLinkError, ExpiredLinkError: The link does not serve.
            FileError: The database did not take it; nothing is kept.
        """
        if value not in self.values:
            raise ArgumentError(f"value must be one of {sorted(self.values)}, not {value}")
        answer = Answer(
            value=value,
            answered_at=now or datetime.now(UTC),
            elapsed_ms=elapsed_ms,
            device_pixel_ratio=viewing.device_pixel_ratio,
            exact_pixels=viewing.exact_pixels,
            screen=viewing.screen,
        )
        return self.database.write_soon(lambda session: self._keep(session, link, position, answer))

    def _keep(self, session: Session, link: str, position: int, answer: Answer) -> Kept:
        """Put ``answer``, in terms of sides, at its place, unless there is one."""
        # The row's lock makes two tabs of one rater wait for each other.
        rater = self._rater(session, link, answer.answered_at, lock=True)
        found = session.execute(
            select(Assignment, Answer.value)
            .outerjoin(Answer)
            .where(Assignment.rater_id == rater.id, Assignment.position == position)
        ).first()
        if found is None or rater.consented_at is None:
            raise NotYetError(f"place {position} is not this rater's turn")
        place, there = found
        if there is not None:
            return Kept(False, self._seen(place, there), rater.finished_at is not None)
        turn = self._turn(session, rater.id)
        if turn is None or position > turn.position:
            raise NotYetError(f"place {position} is not this rater's turn")
        value = answer.value
        answer.assignment_id, answer.value = place.id, self._unswapped(place, value)
        session.add(answer)
        session.flush()
        finished = turn.position + 1 == turn.total
        if finished:
            rater.finished_at = answer.answered_at
            rater.completion_code = self._completion_code(rater)
        return Kept(True, value, finished)

    def _unswapped(self, place: Assignment, value: int) -> int:
        """An answer about sides, kept as one about the trial's first and second method."""
        return 3 - value if place.swapped and value != TIE else value

    _seen = _unswapped

    def _completion_code(self, rater: Rater) -> str:
        digest = hmac.new(self.secret, f"completion/{rater.code}".encode(), hashlib.sha256).digest()
        return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:10])

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


def _digest(link: str) -> str:
    return hashlib.sha256(link.encode()).hexdigest()
