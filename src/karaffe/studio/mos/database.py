"""Opening a study's database: SQLite or PostgreSQL, migrated to this version, or refused with the reason."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError as UrlError
from sqlalchemy.exc import DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session

from karaffe.errors import ArgumentError, FileError
from karaffe.studio.mos.together import Together

T = TypeVar("T")
BUSY_SECONDS = 30
POOL = 20


class Database:
    """A study's database.

    Args:
        where: A file (SQLite), or a URL ``postgresql://…`` or ``sqlite:///…``.
        create: Make what is missing; otherwise a database that is not there is an error.

    Raises:
        FileError: It cannot be opened, holds something else, or was made by a newer karaffe.
        ArgumentError: A URL of another kind.
    """

    def __init__(self, where: str | Path, *, create: bool = False) -> None:
        self.engine = _engine(str(where), create)
        self.shown = self.engine.url.render_as_string(hide_password=True)
        # SQLite has one writer: waiting here is fair and quick, waiting for the file's lock is neither.
        self._single = self.engine.dialect.name == "sqlite"
        self._lock: Any = threading.Lock() if self._single else nullcontext()
        self._together = Together(self.transaction)
        self._threads = None if self._single else ThreadPoolExecutor(POOL, "karaffe-database")
        try:
            migrate(self.engine, create, self.shown)
        except DBAPIError as error:
            self.close()
            raise FileError(f"cannot open the database {self.shown}: {_reason(error)}") from None
        except Exception:
            self.close()
            raise

    def write_soon(self, work: Callable[[Connection], T]) -> Future[T]:
        """Run a small ``work`` in a transaction, on SQLite shared with others who write at this moment.

        The future has what ``work`` returned when that is on the disk. It raises :class:`FileError` as :meth:`write`,
        and whatever ``work`` raises, which undoes it alone.
        """
        return self._together.submit(work) if self._threads is None else self._threads.submit(self._alone, work)

    def _alone(self, work: Callable[[Connection], T]) -> T:
        with self.transaction() as connection:
            return work(connection)

    async def aside(self, read: Callable[[], T]) -> T:
        """Read without keeping an event loop waiting.

        A read of SQLite comes out of memory, sooner than another thread would have begun with it; what goes over a
        network is waited for elsewhere.
        """
        return read() if self._threads is None else await asyncio.wrap_future(self._threads.submit(read))

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session whose work is only read."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session in one transaction, as :meth:`transaction`."""
        with self.transaction() as connection, Session(connection, expire_on_commit=False) as session:
            yield session
            session.flush()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in one transaction: all of it is on the disk when the block has ended, or nothing is.

        Raises:
            FileError: The database does not take it: the disk is full, the server has gone.
        """
        try:
            with self._lock, self.engine.begin() as connection:
                if self._single:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
        except DBAPIError as error:
            if isinstance(error.orig, sqlite3.OperationalError) or error.connection_invalidated or _full(error):
                raise FileError(f"the database did not take it: {_reason(error)}") from error
            raise

    def close(self) -> None:
        self._together.close()
        if self._threads is not None:
            self._threads.shutdown()
        self.engine.dispose()


def _full(error: DBAPIError) -> bool:
    # SQLSTATE class 53 is "insufficient resources", 57 "operator intervention", 08 "connection".
    return str(getattr(error.orig, "sqlstate", None) or "")[:2] in {"53", "57", "08"}


def _reason(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]


def _engine(where: str, create: bool) -> Engine:
    if "://" not in where:
        where = f"sqlite:///{Path(where).absolute()}"
    try:
        url = make_url(where)
    except UrlError:
        raise ArgumentError("the database must be a file, or a URL such as postgresql://user@host/name") from None
    backend = url.get_backend_name()
    if backend == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
        try:
            return create_engine(url, pool_size=POOL, max_overflow=POOL, pool_pre_ping=True)
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise FileError(f"PostgreSQL needs the package psycopg: {error}") from None
    if backend != "sqlite":
        raise ArgumentError(f"a study is kept in SQLite or PostgreSQL, not in {backend}")
    path = Path(url.database or "")
    if not url.database or (not create and not path.is_file()):
        raise FileError(f"there is no database {path}; 'karaffe mos create' makes one")
    if not path.parent.is_dir():
        raise FileError(f"cannot make the database {path}: there is no folder {path.parent}")
    engine = create_engine(
        url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}, pool_size=POOL, max_overflow=POOL
    )
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # Transactions begin where the code says; by itself the driver would begin one at the first change only.
    connection.isolation_level = None
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
    finally:
        cursor.close()


def _scripts() -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config, ScriptDirectory.from_config(config)


def migrate(engine: Engine, create: bool, shown: str, target: str = "head") -> None:
    """Bring the database to this version's tables, in one transaction.

    Raises:
        FileError: It holds something else than a study, or a study of a newer karaffe.
    """
    config, scripts = _scripts()
    with engine.connect() as connection, connection.begin():
        if engine.dialect.name == "sqlite":
            connection.execute(text("BEGIN IMMEDIATE"))
        revision = _revision(connection, scripts, create, shown)
        if revision != scripts.get_current_head():
            config.attributes["connection"] = connection
            command.upgrade(config, target)


def _revision(connection: Connection, scripts: ScriptDirectory, create: bool, shown: str) -> str | None:
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" not in tables:
        if tables:
            raise FileError(f"the database {shown} holds something else: {', '.join(sorted(tables)[:5])}")
        if not create:
            raise FileError(f"the database {shown} is empty; 'karaffe mos create' makes a study in it")
        return None
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if revision is not None and revision not in known:
        raise FileError(
            f"the database {shown} is of version {revision}, newer than this karaffe knows "
            f"({scripts.get_current_head()}); install the karaffe that made it"
        )
    return revision
