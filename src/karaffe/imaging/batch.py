"""Enlarge many files: folders with their structure, one failure never stopping the rest."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from karaffe.errors import ArgumentError, FileError, KaraffeError
from karaffe.imaging.formats import identify, suffix_of, suffixes
from karaffe.imaging.ledger import Ledger, making_key
from karaffe.imaging.one_file import FileSummary, Settings, run_file

Existing = Literal["refuse", "overwrite", "skip"]
_LISTED = 5


@dataclass(frozen=True)
class Job:
    """One file to make."""

    source: Path
    target: Path


@dataclass(frozen=True)
class FileStarted:
    """A file is about to be read: the ``number``-th (from 1) of ``count``."""

    job: Job
    number: int
    count: int


@dataclass(frozen=True)
class FileAdvanced:
    """``done`` of ``total`` target pixels of a file are finished."""

    job: Job
    done: int
    total: int


@dataclass(frozen=True)
class FileFinished:
    """What became of a file; ``error`` where it failed, ``summary`` where it was made."""

    job: Job
    status: Literal["done", "skipped", "failed"]
    seconds: float = 0.0
    summary: FileSummary | None = None
    error: str | None = None
    exception: BaseException | None = None

    def as_dict(self) -> dict[str, object]:
        """Return what a JSON report says of the file."""
        record: dict[str, object] = {
            "source": str(self.job.source),
            "target": str(self.job.target),
            "status": self.status,
            "seconds": round(self.seconds, 3),
        }
        if self.summary is not None:
            record["source_size"] = list(self.summary.source_size)
            record["target_size"] = list(self.summary.target_size)
            record["frames"], record["bands"] = self.summary.frames, self.summary.bands
        if self.error is not None:
            record["error"] = self.error
        return record


@dataclass(frozen=True)
class BatchReport:
    """What became of every file, in the order of the run."""

    files: tuple[FileFinished, ...]
    seconds: float

    @property
    def failed(self) -> tuple[FileFinished, ...]:
        """The files that could not be made."""
        return tuple(f for f in self.files if f.status == "failed")

    def as_dict(self) -> dict[str, object]:
        """Return the report as JSON data."""
        counts = {s: sum(f.status == s for f in self.files) for s in ("done", "skipped", "failed")}
        return {**counts, "seconds": round(self.seconds, 3), "files": [f.as_dict() for f in self.files]}


Event = FileStarted | FileAdvanced | FileFinished


def upscale_batch(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    existing: Existing = "refuse",
) -> Generator[Event, None, BatchReport]:
    """Enlarge files and folders into ``output``; yield events, return the report (``StopIteration.value``).

    Args:
        inputs: Image files, and folders that are searched recursively; their structure is kept. Hidden files, and
            in folders those that no image format knows by suffix or content, are passed over.
        output: A folder; or, for a single input file, a file name with a known suffix.
        settings: How to enlarge.
        existing: What to do about a result that exists: ``"refuse"`` the whole batch, ``"overwrite"`` it, or
            ``"skip"`` the file. A result of an earlier run into this folder, untouched since, is made again if its
            source or the settings have changed (a hidden file in the folder remembers them).

    Raises:
        FileError: At once, before anything is written: an input that does not exist, no image at all, two inputs with
            one result, a result that would replace an input, or (``"refuse"``) results that exist.
        ArgumentError: Settings or ``existing`` that are not accepted.
    """
    if existing not in ("refuse", "overwrite", "skip"):
        raise ArgumentError(f"existing must be 'refuse', 'overwrite' or 'skip', got {existing!r}")
    jobs = plan(inputs, output)
    taken = [job.target for job in jobs if job.target.exists()]
    if taken and existing == "refuse":
        raise FileError(
            f"{len(taken)} of {len(jobs)} results exist: {_some(taken)}; give --overwrite or --skip-existing"
        )
    ledger = None if [job.target for job in jobs] == [Path(output)] else Ledger(Path(output))
    return _run(jobs, settings or Settings(), existing, ledger)


def plan(inputs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]) -> list[Job]:
    """Return what is to be made of what; raises as :func:`upscale_batch`."""
    if isinstance(inputs, (str, os.PathLike)):
        inputs = [inputs]
    sources, out = [Path(p) for p in inputs], Path(output)
    jobs: list[Job] = []
    for source in sources:
        if not source.exists():
            raise FileError(f"cannot read {source}: no such file or folder")
        if source.is_dir() and not _is_image(source):
            jobs += [Job(f, out / _named(f).relative_to(source)) for f in _walk(source, out)]
        elif len(sources) == 1 and suffix_of(out) in suffixes() and not out.is_dir():
            jobs.append(Job(source, out))
        else:
            _refuse_unknown_suffix(out, len(sources))
            jobs.append(Job(source, out / _named(source).name))
    if not jobs:
        raise FileError(f"no images in {', '.join(map(str, sources))}; known suffixes are {', '.join(suffixes())}")
    _refuse_clashes(jobs)
    return jobs


def _refuse_unknown_suffix(output: Path, count: int) -> None:
    """A name such as ``out.jp2`` was meant as a file; a folder may be called so if it is there already."""
    if count == 1 and output.suffix[1:].isalpha() and not output.is_dir():
        raise FileError(
            f"cannot write {output}: {output.suffix} is no known suffix ({', '.join(suffixes())}); "
            "for a folder of that name, make it first"
        )


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    made: dict[Path, Path] = {}
    originals = {job.source.resolve() for job in jobs}
    for job in jobs:
        target = job.target.resolve()
        if target in made:
            raise FileError(f"{made[target]} and {job.source} would both become {job.target}")
        if target in originals:
            raise FileError(f"{job.target} is an input; originals are never overwritten")
        made[target] = job.source


def _run(
    jobs: Sequence[Job], settings: Settings, existing: Existing, ledger: Ledger | None
) -> Generator[Event, None, BatchReport]:
    started = time.perf_counter()
    finished: list[FileFinished] = []
    for number, job in enumerate(jobs, 1):
        yield FileStarted(job, number, len(jobs))
        finished.append((yield from _finish(job, settings, existing, ledger)))
        yield finished[-1]
    return BatchReport(tuple(finished), time.perf_counter() - started)


def _finish(
    job: Job, settings: Settings, existing: Existing, ledger: Ledger | None
) -> Generator[Event, None, FileFinished]:
    """Skip or make one file, and remember how."""
    try:
        key = making_key(job.source, settings) if ledger is not None else ""
    except OSError as error:
        return FileFinished(job, "failed", error=f"cannot read {job.source}: {error.strerror}", exception=error)
    outdated = False
    if existing == "skip" and job.target.exists():
        outdated = ledger is not None and ledger.judge(job.target, key) == "outdated"
        if not outdated:
            return FileFinished(job, "skipped")
    made = yield from _make(job, settings, overwrite=existing == "overwrite" or outdated)
    if made.status == "done" and ledger is not None:
        ledger.record(job.target, key)
    return made


def _make(job: Job, settings: Settings, *, overwrite: bool) -> Generator[Event, None, FileFinished]:
    started = time.perf_counter()
    steps = run_file(job.source, job.target, settings, overwrite=overwrite)
    try:
        while True:
            try:
                advance = next(steps)
            except StopIteration as end:
                return FileFinished(job, "done", time.perf_counter() - started, end.value)
            yield FileAdvanced(job, advance.done, advance.total)
    except (KaraffeError, MemoryError) as error:
        reason = str(error) or "not enough memory"
        return FileFinished(job, "failed", time.perf_counter() - started, error=reason, exception=error)


def _walk(folder: Path, output: Path) -> Iterable[Path]:
    """Yield the images below a folder, sorted, without the output folder, hidden files and other things."""
    out = output.resolve()
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        visible = sorted(d for d in folders if not d.startswith(".") and (here / d).resolve() != out)
        images = [d for d in visible if _is_image(here / d)]
        folders[:] = [d for d in visible if d not in images]
        candidates = [f for f in files if not f.startswith(".")] + images
        yield from (here / f for f in sorted(candidates) if f in images or _looks_like_image(here / f))


def _looks_like_image(path: Path) -> bool:
    return suffix_of(path) in suffixes() or _is_image(path)


def _is_image(path: Path) -> bool:
    try:
        return identify(path) is not None
    except FileError:
        return False


def _named(source: Path) -> Path:
    """Return the name of the result: that of the source, with the suffix its content deserves."""
    try:
        found = identify(source)
    except FileError:
        return source
    suffix = suffix_of(source)
    if found is None or suffix in found.suffixes:
        return source
    stem = source.name[: -len(suffix)] if suffix and suffix in suffixes() else source.name
    return source.with_name(stem + found.suffixes[0])


def _some(paths: Sequence[Path]) -> str:
    names = ", ".join(str(p) for p in paths[:_LISTED])
    return names + (f" and {len(paths) - _LISTED} more" if len(paths) > _LISTED else "")
