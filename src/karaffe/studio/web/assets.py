"""The few files that a server has: served from a table, so that no name from a request reaches the file system."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


def read_asset(package: str, name: str) -> str:
    """The text of a file among a package's assets."""
    return resources.files(package).joinpath("assets", name).read_text(encoding="utf-8")


def serve_assets(app: FastAPI, files: Mapping[str, str]) -> None:
    """Serve texts by name, under ``/assets/``; their endings say what they are."""
    held = {name: (text.encode(), TYPES[name.rpartition(".")[2]]) for name, text in files.items()}

    @app.get("/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in held:
            return JSONResponse({"detail": "there is no such file"}, 404)
        content, kind = held[name]
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})
