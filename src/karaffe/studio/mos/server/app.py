"""The application: what it is made of, and which error is which answer."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI

from karaffe.errors import KaraffeError
from karaffe.studio.mos.server import keeper, raters
from karaffe.studio.mos.server.pages import Pages
from karaffe.studio.mos.standing import ExpiredLinkError, NotYetError, UnknownLinkError
from karaffe.studio.mos.store import Store
from karaffe.studio.web.assets import read_asset, serve_assets
from karaffe.studio.web.guard import Guard
from karaffe.studio.web.refusals import answer_errors, refused

ASSETS = ("trial.css", "trial.js", "screen.js")
_STATUS: dict[type[KaraffeError], int] = {UnknownLinkError: 404, ExpiredLinkError: 410, NotYetError: 409}


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
        responses=refused(409, 410),
    )
    pages = Pages(store)
    app.include_router(raters.make_router(store, pages))
    app.include_router(keeper.make_router(store, pages, admin_token))
    own = {name: read_asset("karaffe.studio.mos", name) for name in ASSETS}
    serve_assets(app, {"card.css": read_asset("karaffe.studio.web", "card.css"), **own})
    answer_errors(app, _STATUS, pages.message)
    app.add_middleware(Guard, hosts=hosts)
    return app
