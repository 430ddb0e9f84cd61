"""The studio's routes: send a picture, follow it, look at results, take them, give up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import FileResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from karaffe.errors import ArgumentError, FileError, unknown_name
from karaffe.models import describe_model
from karaffe.studio.enlarge.desk import Desk, UnknownJobError
from karaffe.studio.enlarge.forms import (
    SUFFIXES,
    CsrfHeader,
    JobOut,
    Judge,
    Learned,
    Models,
    NameHeader,
    Scale,
    Suffix,
    clean_name,
)
from karaffe.studio.enlarge.job import Job
from karaffe.studio.web.forms import check_form, form_token, visit_of

_LOOK_SECONDS, _BEAT_SECONDS = 0.02, 2.0
_FOREVER = {"cache-control": "private, max-age=86400, immutable"}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "minLength": 1}}},
    }
}
_BITMAP: dict[int | str, dict[str, Any]] = {200: {"content": {"image/bmp": {}}}}
_FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}
_EVENTS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}

View = Annotated[str, Path(pattern=r"^(source|\d{1,2}(@\d{1,7})?)(-low|-importance)?$")]


class TooLargeError(ArgumentError):
    """A picture of more bytes than are taken."""


class _LargeFile(FileResponse):
    """A file of some megabytes, on its way at once rather than in hundreds of pieces."""

    chunk_size = 4 << 20


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _visit(request: Request) -> str:
    """The visit that asks; that it does is noted."""
    visit = visit_of(request)
    _desk(request).see(visit)
    return visit


def _sender(request: Request, csrf: CsrfHeader) -> str:
    """The visit that asks for a change, from a page of this server."""
    visit = _visit(request)
    check_form(csrf, form_token(request.app.state.secret, "visit", visit))
    return visit


def _own(request: Request, identity: Annotated[str, Path(max_length=64)]) -> Job:
    """The picture asked for, if it is the visit's."""
    return _desk(request).find(_visit(request), identity)


Visit = Annotated[str, Depends(_visit)]
Sender = Annotated[str, Depends(_sender)]
Own = Annotated[Job, Depends(_own)]


def make_router(desk: Desk, gate: Callable[[Request], None]) -> APIRouter:
    """Return the routes under ``/api``, for an application whose state has ``desk`` and ``secret``.

    ``gate`` raises for who may not come in.
    """
    router = APIRouter(prefix="/api", dependencies=[Depends(gate)])

    @router.post("/jobs", status_code=201, openapi_extra=_BODY)
    async def send(
        request: Request,
        visit: Sender,
        name: NameHeader,
        scale: Scale,
        models: Models,
        suffix: Suffix = "",
        judge: Judge = False,
        learned: Learned = False,
    ) -> JobOut:
        """Enlarge the picture in the body by each of the models."""
        _check(desk, models, suffix)
        job = desk.add(visit, clean_name(name), scale, tuple(models), suffix, judge=judge, learned=learned)
        try:
            await _receive(request, job, desk, visit)
        except BaseException as error:
            desk.remove(job)
            if isinstance(error, ClientDisconnect):
                raise ArgumentError("the picture did not arrive whole") from None
            raise
        desk.start(desk.find(visit, job.identity))
        return JobOut.model_validate(job.describe())

    @router.get("/jobs")
    def jobs(visit: Visit) -> list[JobOut]:
        """Every picture of this visit, oldest first."""
        return [JobOut.model_validate(job.describe()) for job in desk.jobs(visit)]

    @router.get("/jobs/{identity}")
    def job(found: Own) -> JobOut:
        """One picture."""
        return JobOut.model_validate(found.describe())

    @router.post("/jobs/{identity}/cancel")
    def cancel(found: Own, visit: Sender) -> JobOut:
        """Give up what is still to come; what can be seen stays."""
        found.give_up("cancelled")
        desk.changed()
        return JobOut.model_validate(found.describe())

    @router.delete("/jobs/{identity}", status_code=204)
    def remove(found: Own, visit: Sender) -> None:
        """Give it up and forget it, files included."""
        desk.remove(found)

    @router.get("/jobs/{identity}/views/{view}", response_class=FileResponse, responses=_BITMAP)
    def view(found: Own, view: View) -> FileResponse:
        """A picture to look at."""
        path = found.view(view)
        if not path.is_file():
            raise UnknownJobError("there is no such view")
        return _LargeFile(path, media_type="image/bmp", headers=_FOREVER)

    @router.get("/jobs/{identity}/files/{number}", response_class=FileResponse, responses=_FILE)
    def file(found: Own, number: Annotated[int, Path(ge=0, le=99)]) -> FileResponse:
        """A result at full depth."""
        made = found.file(number) if number < len(found.results) else None
        if made is None:
            raise UnknownJobError("there is no such result")
        path, name = made
        return _LargeFile(path, media_type="application/octet-stream", filename=name, headers=_FOREVER)

    @router.get("/events", response_class=StreamingResponse, responses=_EVENTS)
    async def events(visit: Visit) -> StreamingResponse:
        """Every picture of this visit, again whenever something changes, for as long as the page stays."""
        return StreamingResponse(_follow(desk, visit), media_type="text/event-stream")

    return router


def _check(desk: Desk, models: list[str], suffix: str) -> None:
    for model in models:
        describe_model(model)
    if len(set(models)) < len(models) or len(models) > desk.limits.models:
        raise ArgumentError(f"models must be at most {desk.limits.models} different ones; got {', '.join(models)}")
    if suffix and suffix not in SUFFIXES:
        raise unknown_name("suffix", suffix, SUFFIXES)


async def _receive(request: Request, job: Job, desk: Desk, visit: str) -> None:
    """Write the body into the job's source as it comes.

    Raises:
        TooLargeError: It is longer than is taken. ArgumentError: It is empty. FileError: The disk does not take it.
    """
    size, largest = 0, desk.limits.upload_bytes
    try:
        with job.task.source.open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > largest:
                    raise TooLargeError(f"{job.task.name}: more than {largest / 1e6:g} MB; that much is taken here")
                file.write(chunk)
                desk.see(visit)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise UnknownJobError(f"{job.task.name} was removed while it arrived") from None
        raise FileError(f"cannot keep {job.task.name}: {error.strerror or error}") from None
    if not size:
        raise ArgumentError(f"{job.task.name} is empty (0 bytes)")


async def _follow(desk: Desk, visit: str) -> AsyncIterator[str]:
    """Snapshots as server-sent events. The beat between them is how a page that has gone is noticed."""
    with desk.watched(visit):
        seen, last, quiet = -1, "", 0.0
        while not desk.closed:
            if desk.version != seen:
                seen = desk.version
                text = json.dumps([job.describe() for job in desk.jobs(visit)])
                if text != last:
                    last, quiet = text, 0.0
                    yield f"data: {text}\n\n"
            elif quiet >= _BEAT_SECONDS:
                quiet = 0.0
                yield ": still here\n\n"
            await asyncio.sleep(_LOOK_SECONDS)
            quiet += _LOOK_SECONDS
