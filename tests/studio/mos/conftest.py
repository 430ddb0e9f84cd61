"""Studies to test with: on SQLite and on a PostgreSQL that the test run starts, served by real processes."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from karaffe.studio.mos.create import create_study
from karaffe.studio.mos.database import Database
from karaffe.studio.mos.store import Store

sys.path.insert(0, str(Path(__file__).parent))

METHODS = ("bicubic", "sharp", "reference")
DATABASES = ("sqlite", "postgresql")


@dataclass
class Postgres:
    """A server on loopback and its user."""

    port: int

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://karaffe@127.0.0.1:{self.port}/{name}"

    def fresh(self) -> str:
        import psycopg

        name = f"study_{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)


def _postgres_program(name: str) -> str:
    found = shutil.which(name) or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    if found is None:
        pytest.skip(f"PostgreSQL ({name}) is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    initdb, server = _postgres_program("initdb"), _postgres_program("postgres")
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None and user not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL cannot run as root, and there is no user 'postgres'")
    folder = Path(tempfile.mkdtemp(prefix="karaffe-postgres-"))
    if user is not None:
        shutil.chown(folder, user)
    port = free_port()
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "user": user, "cwd": folder}
    data = folder / "data"
    subprocess.run([initdb, "-D", data, "-U", "karaffe", "-A", "trust", "-E", "UTF8", "-N"], check=True, **quiet)
    options = ["-h", "127.0.0.1", "-k", str(folder), "-p", str(port), "-c", "fsync=off", "-c", "max_connections=200"]
    process = subprocess.Popen([server, "-D", data, *options], **quiet)
    try:
        import psycopg

        for _ in range(100):
            try:
                psycopg.connect(Postgres(port).url()).close()
                break
            except psycopg.OperationalError:
                time.sleep(0.1)
        yield Postgres(port)
    finally:
        # PostgreSQL's immediate shutdown: nothing of it is needed again.
        process.send_signal(signal.SIGQUIT)
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Give an empty place for a study on ``sqlite`` or ``postgresql``."""

    def find(kind: str) -> str:
        if kind == "sqlite":
            return str(tmp_path / "study.sqlite3")
        server: Postgres = request.getfixturevalue("postgres")
        return server.fresh()

    return find


@pytest.fixture(params=DATABASES)
def where(request: pytest.FixtureRequest, place: Callable[[str], str]) -> str:
    """An empty place for a study, on each database in turn."""
    return place(request.param)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folders of small pictures, one a method."""
    folder = tmp_path / "pictures"
    rng = np.random.default_rng(0)
    for method in METHODS:
        (folder / method).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / method / f"p{i}.png")
    return folder


StudyFile = Callable[..., Path]


@pytest.fixture
def study_file(pictures: Path) -> StudyFile:
    """Write a study file beside the pictures; keywords replace entries, None removes one."""

    def write(**entries: Any) -> Path:
        raw: dict[str, Any] = {
            "study": "trial-run",
            "design": "acr",
            "methods": {"bicubic": "bicubic", "sharp": "sharp"},
            "reference": "reference",
        } | entries
        path = pictures / "study.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in raw.items() if value is not None}))
        return path

    return write


@pytest.fixture
def make_store(study_file: StudyFile, where: str) -> Iterator[Callable[..., Store]]:
    """Create a study in ``where`` and open it."""
    opened: list[Database] = []

    def make(**entries: Any) -> Store:
        create_study(study_file(**entries), where)
        opened.append(Database(where))
        return Store(opened[-1])

    yield make
    for database in opened:
        database.close()


@dataclass
class Served:
    """A server process: its address, the keeper's token, and what it printed."""

    base: str
    token: str
    process: subprocess.Popen[str]

    def stop(self, kill: bool = False) -> None:
        if self.process.poll() is None:
            self.process.kill() if kill else self.process.terminate()
            self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()


def start_server(where: str, port: int = 0) -> Served:
    """Start ``karaffe mos serve`` as a process of its own."""
    command = [sys.executable, "-m", "karaffe", "mos", "serve", where, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    lines = {}
    for line in process.stdout or ():
        name, _, value = line.strip().partition(":")
        lines[name] = value.strip()
        if name == "Keeper token":
            break
    else:
        raise RuntimeError(f"the server did not start: {lines}")
    return Served(lines["Raters"].rstrip("/"), lines["Keeper token"], process)


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Start servers that are stopped when the test ends."""
    running: list[Served] = []

    def start(where: str, port: int = 0) -> Served:
        running.append(start_server(where, port))
        return running[-1]

    yield start
    for served in running:
        served.stop()
