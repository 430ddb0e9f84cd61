"""The application: errors become pages or JSON, everything passes the guard."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from karaffe.errors import FileError, KaraffeError
from karaffe.studio.mos.server import keeper, raters
from karaffe.studio.mos.server.forms import Problem
from karaffe.studio.mos.server.pages import Pages
from karaffe.studio.mos.server.security import Guard
from karaffe.studio.mos.store import ExpiredLinkError, NotYetError, Store, UnknownLinkError

ASSETS = {
    "study.css": "text/css; charset=utf-8",
    "trial.js": "text/javascript; charset=utf-8",
    "screen.js": "text/javascript; charset=utf-8",
}
REFUSED: dict[str, Any] = {
    "description": "Refused, with the reason; as a page where one was asked for",
    "content": {
        "application/json": {"schema": Problem.model_json_schema()},
        "text/html": {},
        "text/plain": {},
    },
}
_STATUS: dict[type[KaraffeError], int] = {
    UnknownLinkError: 404,
    ExpiredLinkError: 410,
    NotYetError: 409,
    FileError: 507,
    raters.ForeignFormError: 403,
    keeper.NotKeeperError: 401,
}


def make_app(store: Store, admin_token: str, *, hosts: Iterable[str] | None = None) -> FastAPI:
    """Return the ASGI application of a study.

    Args:
        store: The study. admin_token: What opens the keeper's page. hosts: Host names that are served, None for all.
    """
    app = FastAPI(
        title=f"karaffe study {store.name}",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=dict.fromkeys((400, 401, 403, 404, 409, 410, 413, 421, 507), REFUSED),
    )
    pages = Pages(store)
    app.include_router(raters.make_router(store, pages))
    app.include_router(keeper.make_router(store, pages, admin_token))
    _serve_assets(app)

    @app.exception_handler(KaraffeError)
    def refuse(request: Request, error: KaraffeError) -> Response:
        status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 400)
        if "text/html" in request.headers.get("accept", "") and request.method == "GET":
            return HTMLResponse(pages.message("This does not work", str(error)), status)
        return JSONResponse({"detail": str(error)}, status)

    app.add_middleware(Guard, hosts=hosts)
    return app


def new_admin_token() -> str:
    """A fresh secret for the keeper's page; there is no default one."""
    return secrets.token_urlsafe(24)


def _serve_assets(app: FastAPI) -> None:
    """Serve the few files that exist, by a table: no name from a request ever reaches the file system."""
    folder = resources.files("karaffe.studio.mos").joinpath("assets")
    held = {name: folder.joinpath(name).read_bytes() for name in ASSETS}

    @app.get("/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in held:
            return JSONResponse({"detail": "there is no such file"}, 404)
        return Response(held[name], media_type=ASSETS[name], headers={"cache-control": "no-cache"})
