"""Errors as answers: a page where a person asked, JSON where a program did, one clear sentence in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel

from karaffe.errors import FileError, KaraffeError
from karaffe.studio.web.forms import ForeignFormError
from karaffe.studio.web.sessions import NotLoggedInError
from karaffe.studio.web.tries import TooManyTriesError


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


REFUSED: dict[str, Any] = {
    "description": "Refused, with the reason; as a page where one was asked for",
    "content": {"application/json": {"schema": Problem.model_json_schema()}, "text/html": {}},
}
_STATUS: dict[type[KaraffeError], int] = {
    FileError: 507,
    ForeignFormError: 403,
    NotLoggedInError: 401,
    TooManyTriesError: 429,
}


def refused(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an application says in its schema about the refusals that any route may give."""
    return dict.fromkeys((400, 401, 403, 404, 413, 421, 429, 507, *statuses), REFUSED)


def answer_errors(app: FastAPI, statuses: Mapping[type[KaraffeError], int], message: Callable[[str, str], str]) -> None:
    """Let ``app`` answer karaffe's errors.

    Args:
        statuses: HTTP status of its own classes of errors; others are 400, or as all servers have them.
        message: Makes a page of a title and a text.
    """
    known = {**statuses, **_STATUS}

    @app.exception_handler(KaraffeError)
    async def refuse(request: Request, error: KaraffeError) -> Response:
        status = next((s for kind, s in known.items() if isinstance(error, kind)), 400)
        if "text/html" in request.headers.get("accept", "") and request.method == "GET":
            return HTMLResponse(message("This does not work", str(error)), status)
        return JSONResponse({"detail": str(error)}, status)
