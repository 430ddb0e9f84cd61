"""How long does a vote take when 200 raters vote at once? ``python benchmarks/mos_load.py FOLDER``.

Raters behave as the page does: load the trial, fetch its picture, think for 1 to 3 seconds, vote, and go on when the
vote is acknowledged; people think longer, so this is the load of several times as many. Server and raters share the
machine, over loopback; the raters are one process, whose own use of the processor is reported beside the server's.
Every acknowledged vote is then looked for in the database. The study is made in FOLDER first (``--prepare`` makes it
and stops, so that the machine can be left alone for half a minute only).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from karaffe.studio.mos.create import create_study
from karaffe.studio.mos.database import Database
from karaffe.studio.mos.store import Store
from karaffe.studio.mos.votes import read_votes

RATERS, VOTES, THINK_SECONDS = 200, 10, 2.0


def make_study(folder: Path, database: str) -> None:
    """A study of 20 pictures, 256 x 256."""
    rng = np.random.default_rng(0)
    for method in ("a", "b"):
        (folder / method).mkdir()
        for i in range(10):
            coarse = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((256, 256)).save(folder / method / f"p{i}.png")
    study = {"study": "load", "design": "acr", "methods": {"a": "a", "b": "b"}, "trials_per_rater": VOTES}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    create_study(folder / "study.yaml", database)


class Wire:
    """One keep-alive HTTP/1.1 connection; thin, so that the raters leave the processor to the server."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> tuple[int, bytes]:
        """Send a request and return status and body."""
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n"
        if body:
            head += f"content-type: {kind}\r\ncontent-length: {len(body)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body)
        answer = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"content-length: (\d+)", answer, re.IGNORECASE)
        content = await self.reader.readexactly(int(length[1])) if length else b""
        return int(answer[9:12]), content


async def rate(port: int, link: str, seconds: list[float], acknowledged: dict[tuple[str, int], int]) -> None:
    """Be one rater."""
    wire, lots = Wire(port), random.Random(link)
    await asyncio.sleep(lots.uniform(0, 2 * THINK_SECONDS))
    await wire.open()
    for position in range(VOTES):
        _, page = await wire.ask("GET", f"/r/{link}")
        await wire.ask("GET", f"/r/{link}/pictures/{position}/0")
        await asyncio.sleep(lots.uniform(0.5, 1.5) * THINK_SECONDS)
        token = re.search(rb'data-csrf="([0-9a-f]{64})"', page)
        vote: dict[str, Any] = {
            "csrf": token[1].decode() if token else "",
            "position": position,
            "value": lots.randint(1, 5),
            "elapsed_ms": 1000,
            "device_pixel_ratio": 1.0,
            "exact_pixels": True,
            "screen": "1920x1080 1900x900",
        }
        started = time.perf_counter()
        status, _ = await wire.ask("POST", f"/r/{link}/answer", json.dumps(vote).encode())
        seconds.append(time.perf_counter() - started)
        if status == 200:
            acknowledged[link, position] = vote["value"]
    wire.writer.close()


async def _all(port: int, links: list[str]) -> tuple[list[float], dict[tuple[str, int], int]]:
    seconds: list[float] = []
    acknowledged: dict[tuple[str, int], int] = {}
    await asyncio.gather(*(rate(port, link, seconds, acknowledged) for link in links))
    return seconds, acknowledged


def _processor_seconds(pid: int) -> float:
    """What a process has used of the processors so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def let_in(database: str) -> list[str]:
    """Let all raters join and agree; return their links."""
    opened = Database(database)
    store = Store(opened)
    links = [store.join() for _ in range(RATERS)]
    for link in links:
        store.consent(link)
    opened.close()
    return links


def run(database: str, links: list[str]) -> dict[str, float]:
    """Serve the study in ``database`` to all raters at once and return what was measured."""
    command = [sys.executable, "-m", "karaffe", "mos", "serve", database, "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        if server.stdout is None or not (found := re.search(r":(\d+)/", server.stdout.readline())):
            raise SystemExit("the server did not start")
        started, before, own = time.perf_counter(), _processor_seconds(server.pid), time.process_time()
        seconds, acknowledged = asyncio.run(_all(int(found[1]), links))
        wall, own = time.perf_counter() - started, time.process_time() - own
        spent = _processor_seconds(server.pid) - before
    finally:
        server.terminate()
        server.communicate(timeout=20)
    opened = Database(database)
    votes = read_votes(opened)
    opened.close()
    by_rater: dict[str, list[int]] = {}
    for vote in votes:
        by_rater.setdefault(vote.rater, []).append(vote.value)
    told = [[acknowledged.get((link, p), -1) for p in range(VOTES)] for link in links]
    lost = sum(
        a != b for ours, kept in zip(told, by_rater.values(), strict=True) for a, b in zip(ours, kept, strict=True)
    )
    return {
        "raters": RATERS,
        "votes": len(votes),
        "acknowledged": len(acknowledged),
        "lost_or_changed": lost,
        "server_processor_ms_per_vote": round(spent / len(votes) * 1000, 2),
        "raters_processor_ms_per_vote": round(own / len(votes) * 1000, 2),
        "votes_per_second": round(len(votes) / wall, 1),
        "p50_ms": round(float(np.percentile(seconds, 50)) * 1000, 1),
        "p95_ms": round(float(np.percentile(seconds, 95)) * 1000, 1),
        "max_ms": round(max(seconds) * 1000, 1),
    }


def prepare(folder: Path, database: str) -> Path:
    """Make the study and let the raters in, unless that was done; return the file of their links."""
    links = folder / "links.json"
    if not links.exists():
        folder.mkdir(parents=True, exist_ok=True)
        make_study(folder, database)
        links.write_text(json.dumps(let_in(database)))
    return links


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the study is, or is made")
    parser.add_argument("--database", help="URL of an empty PostgreSQL database, instead of SQLite in the folder")
    parser.add_argument("--prepare", action="store_true", help="make the study and measure nothing")
    options = parser.parse_args()
    database = options.database or str(options.folder / "load.sqlite3")
    links = prepare(options.folder, database)
    if options.prepare:
        return
    measured = run(database, json.loads(links.read_text()))
    # A study is voted on once.
    links.unlink()
    report(measured, "PostgreSQL" if options.database else "SQLite")


def report(measured: dict[str, float], kind: str) -> None:
    """Print and record what was measured."""
    # torch, which it brings, is of no use while the raters vote.
    from common import machine, write_results

    who = machine()
    lines = [f"# {RATERS} raters voting at once, {kind}", "", "| figure | value |", "|---|---|"]
    lines += [f"| {name.replace('_', ' ')} | {value:g} |" for name, value in measured.items()]
    think = f"{0.5 * THINK_SECONDS:g} to {1.5 * THINK_SECONDS:g} s"
    lines += ["", f"Each loads a page and a picture, thinks {think} and votes, {VOTES} times. Server and raters share"]
    lines += ["the processor; times are those of a vote, from sending it to its acknowledgement.", ""]
    text = "\n".join([*lines, *(f"- {key}: {value}" for key, value in who.items())]) + "\n"
    print(text)
    payload = {"machine": who, "database": kind, "measured": measured}
    print(write_results(f"mos_load_{kind.lower()}", payload, text))


if __name__ == "__main__":
    main()
