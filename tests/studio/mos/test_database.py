"""Databases that are old, new, foreign, taken or full."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, text

from karaffe.errors import ArgumentError, FileError
from karaffe.studio.mos.create import create_study
from karaffe.studio.mos.database import Database, _engine, migrate
from karaffe.studio.mos.store import Store, Viewing
from karaffe.studio.mos.tables import Base
from karaffe.studio.mos.votes import read_votes

VIEWING = Viewing(1.0, True, "100x100 100x100")


def test_migrations_make_what_the_tables_say(where: str) -> None:
    database = Database(where, create=True)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.close()


def test_an_older_database_is_migrated_with_its_answers(where: str, study_file: Any) -> None:
    create_study(study_file(), where)
    database = Database(where)
    store = Store(database)
    link = store.join()
    store.consent(link)
    store.answer(link, 0, 4, 1500, VIEWING)
    # Back to how the first version had it.
    with database.engine.begin() as connection:
        connection.execute(text("DROP INDEX assignments_by_trial"))
        for column in ("device_pixel_ratio", "exact_pixels", "screen"):
            connection.execute(text(f"ALTER TABLE answers DROP COLUMN {column}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    database.close()

    database = Database(where)
    (vote,) = read_votes(database)
    assert (vote.value, vote.device_pixel_ratio, vote.exact_pixels) == (4, None, None)
    store = Store(database)
    assert store.answer(link, 1, 2, 10, VIEWING).new
    assert [v.exact_pixels for v in read_votes(database)] == [None, True]
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.close()


def test_a_newer_database_is_refused_and_left_alone(where: str, study_file: Any) -> None:
    create_study(study_file(), where)
    database = Database(where)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(FileError, match="version 9999, newer than this karaffe"):
        Database(where)
    with pytest.raises(FileError, match="newer"):
        create_study(study_file(), where)


def test_a_migration_that_fails_leaves_the_database_as_it_was(where: str) -> None:
    engine = _engine(where, create=True)
    migrate(engine, True, where, target="0001")
    with engine.begin() as connection:
        connection.execute(text("CREATE INDEX assignments_by_trial ON assignments (trial_id)"))
    with pytest.raises(FileError):
        Database(where)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0001"
        connection.rollback()
        columns = connection.execute(text("SELECT * FROM answers")).keys()
    assert "screen" not in columns
    engine.dispose()


def test_something_else_is_refused(where: str, study_file: Any) -> None:
    engine = _engine(where, create=True)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE recipes (id INTEGER)"))
    engine.dispose()
    with pytest.raises(FileError, match="holds something else: recipes"):
        create_study(study_file(), where)


def test_two_studies_in_one_database_are_refused(where: str, study_file: Any) -> None:
    create_study(study_file(), where)
    with pytest.raises(FileError, match="holds this study already, with 0 answers"):
        create_study(study_file(), where)
    with pytest.raises(FileError, match="holds the study 'trial-run' already"):
        create_study(study_file(study="another"), where)
    database = Database(where)
    assert Store(database).name == "trial-run"
    database.close()


def test_an_empty_database_is_no_study(where: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"there is no database|is empty"):
        Database(where)
    assert not list(tmp_path.glob("*.sqlite3"))


@pytest.mark.parametrize("url", ["mysql://u@h/d", "nonsense://x", "://"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises((ArgumentError, FileError)):
        Database(url)


def test_a_server_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(FileError, match=r"cannot open the database postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/x"):
        Database("postgresql://me:secret@127.0.0.1:1/x")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(FileError, match=r"cannot open the database .*not a database"):
        Database(path)


@pytest.fixture
def fill(request: pytest.FixtureRequest) -> Callable[[Database], None]:
    """Leave a SQLite database no further page, as a full disk does."""

    def limit(database: Database) -> None:
        with database.engine.connect() as connection:
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        database.engine.dispose()
        event.listen(database.engine, "connect", lambda c, _: c.execute(f"PRAGMA max_page_count={pages}").close())

    return limit


def test_a_full_disk_loses_nothing_that_was_kept(
    study_file: Any, tmp_path: Path, fill: Callable[[Database], None]
) -> None:
    path = tmp_path / "full.sqlite3"
    create_study(study_file(), path)
    database = Database(path)
    store = Store(database)
    fill(database)
    kept = 0

    def rate() -> None:
        nonlocal kept
        for _ in range(2000):
            link = store.join()
            store.consent(link)
            store.answer(link, 0, 3, 100, VIEWING)
            kept += 1

    with pytest.raises(FileError, match="did not take it: database or disk is full"):
        rate()
    database.close()
    database = Database(path)
    votes = read_votes(database)
    assert len(votes) == kept > 0
    # With room again, the study goes on.
    store = Store(database)
    link = store.join()
    store.consent(link)
    assert store.answer(link, 0, 3, 100, VIEWING, datetime.now(UTC)).new
    database.close()


def test_creating_on_a_full_disk_leaves_no_half_study(study_file: Any, tmp_path: Path, monkeypatch: Any) -> None:
    import karaffe.studio.mos.create as module

    class Tiny(Database):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.engine.dispose()
            event.listen(self.engine, "connect", lambda c, _: c.execute("PRAGMA max_page_count=24").close())

    monkeypatch.setattr(module, "Database", Tiny)
    path = tmp_path / "full.sqlite3"
    with pytest.raises(FileError, match="full"):
        create_study(study_file(), path)
    monkeypatch.undo()
    create_study(study_file(), path)
