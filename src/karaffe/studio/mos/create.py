"""Making a study: everything is read and checked first, then written in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from karaffe.errors import FileError
from karaffe.studio.mos.config import REFERENCE, StudyConfig, load_config
from karaffe.studio.mos.database import Database
from karaffe.studio.mos.plan import make_trials
from karaffe.studio.mos.stimuli import Stimulus, load_stimuli
from karaffe.studio.mos.tables import Answer, Picture, StimulusRow, Study, TrialRow


def default_database(study_file: Path, config: StudyConfig) -> Path:
    """Where a study goes unless told: beside its file."""
    return study_file.with_name(f"{config.study}.sqlite3")


def create_study(study_file: str | Path, database: str | Path | None = None) -> tuple[StudyConfig, str]:
    """Read a study file, its pictures with it, and write a database that holds the whole study.

    Args:
        study_file: The YAML file; paths in it are relative to its folder.
        database: A file or URL, default ``STUDY.sqlite3`` beside the study file.

    Returns:
        The study and where it is, without a password.

    Raises:
        FileError: A file cannot be read, the database cannot be written or holds a study already.
        ArgumentError: The study file or its pictures are not what a study needs; see :mod:`.config`, :mod:`.stimuli`.
    """
    study_file = Path(study_file)
    config = load_config(study_file)
    stimuli = load_stimuli(config, study_file.parent)
    opened = Database(database or default_database(study_file, config), create=True)
    try:
        with opened.write() as session:
            _refuse_second(session, config, opened.shown)
            _insert(session, config, stimuli)
        return config, opened.shown
    finally:
        opened.close()


def _refuse_second(session: Session, config: StudyConfig, shown: str) -> None:
    there = session.get(Study, 1)
    if there is None:
        return
    answers = len(session.scalars(select(Answer.assignment_id)).all())
    other = "this study" if there.name == config.study else f"the study {there.name!r}"
    raise FileError(
        f"the database {shown} holds {other} already, with {answers} answers; a database holds one study: "
        "give another with --database"
    )


def _insert(session: Session, config: StudyConfig, stimuli: Sequence[Stimulus]) -> None:
    session.add(
        Study(
            id=1,
            name=config.study,
            config=config.model_dump(mode="json"),
            secret=secrets.token_bytes(32),
            created_at=datetime.now(UTC),
        )
    )
    pictures: dict[str, Picture] = {}
    for s in stimuli:
        if s.sha256 not in pictures:
            pictures[s.sha256] = Picture(sha256=s.sha256, width=s.width, height=s.height, png=s.png)
    session.add_all(pictures.values())
    session.flush()
    rows = {
        (s.content, s.method): StimulusRow(content=s.content, method=s.method, picture_id=pictures[s.sha256].id)
        for s in stimuli
    }
    session.add_all(rows.values())
    session.flush()
    contents = list(dict.fromkeys(s.content for s in stimuli))
    methods = [m for m in dict.fromkeys(s.method for s in stimuli) if m != REFERENCE]
    for trial in make_trials(config, contents, methods):
        shown = [rows[trial.content, method].id for method in trial.methods]
        session.add(
            TrialRow(
                kind=trial.kind,
                first_id=shown[0],
                second_id=shown[1] if len(shown) == 2 else None,
                expected=list(trial.expected) if trial.expected else None,
            )
        )
        # One by one, so that ids follow the plan on every database.
        session.flush()
