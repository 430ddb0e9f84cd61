"""Raw votes in tidy form: one row an answer, everything that analysis needs beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from sqlalchemy import select

from karaffe.studio.mos.database import Database
from karaffe.studio.mos.designs import get_design
from karaffe.studio.mos.store import load_trials
from karaffe.studio.mos.tables import Answer, Assignment, Rater, Study


@dataclass(frozen=True)
class Vote:
    """One answer.

    Attributes:
        rater: The rater's random code. position: Place in the rater's schedule.
        kind: training, test or gold. trial: Id of the question.
        content, method, against: What was shown; ``against`` is the open reference or the other of a pair.
        value: The answer: 1 to 5, or of a pair 1 for ``method``, 2 for ``against``, 0 for a tie.
        swapped: ``method`` stood on the right. repeat: The rater's second answer to the trial.
        expected: Answers that a gold trial takes.
    """

    rater: str
    position: int
    kind: str
    trial: int
    content: str
    method: str
    against: str | None
    value: int
    swapped: bool
    repeat: bool
    expected: tuple[int, ...] | None
    answered_at: datetime
    elapsed_ms: int
    device_pixel_ratio: float | None
    exact_pixels: bool | None
    screen: str | None


def read_votes(database: Database) -> list[Vote]:
    """Return every answer so far, by rater and position."""
    with database.read() as session:
        trials = load_trials(session)
        design = get_design(session.scalars(select(Study)).one().config["design"])
        rows = session.execute(
            select(Answer, Assignment, Rater.code)
            .join(Assignment, Assignment.id == Answer.assignment_id)
            .join(Rater, Rater.id == Assignment.rater_id)
            .order_by(Rater.id, Assignment.position)
        ).all()
    votes = []
    for answer, place, code in rows:
        trial = trials[place.trial_id]
        # Of an open reference and a method, the method is what is rated.
        rated = trial.methods[::-1] if design.shows_reference else trial.methods
        votes.append(
            Vote(
                code,
                place.position,
                trial.kind,
                place.trial_id,
                trial.content,
                rated[0],
                rated[1] if len(rated) == 2 else None,
                answer.value,
                place.swapped,
                place.repeat,
                trial.expected,
                answer.answered_at,
                answer.elapsed_ms,
                answer.device_pixel_ratio,
                answer.exact_pixels,
                answer.screen,
            )
        )
    return votes


def votes_csv(votes: Sequence[Vote]) -> str:
    """Return the votes as CSV, a header line first."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in fields(Vote)], lineterminator="\n")
    writer.writeheader()
    for vote in votes:
        row = asdict(vote)
        row["expected"] = " ".join(map(str, vote.expected)) if vote.expected else ""
        row["answered_at"] = vote.answered_at.isoformat()
        writer.writerow({name: safe_cell(value) for name, value in row.items()})
    return buffer.getvalue()


def safe_cell(value: object) -> object:
    """Text that a spreadsheet would run as a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
