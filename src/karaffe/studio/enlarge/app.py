"""The application: its page, its routes, and the gate before them where the studio is open to others."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from karaffe.errors import KaraffeError
from karaffe.models import describe_model, list_models
from karaffe.studio.enlarge import api
from karaffe.studio.enlarge.desk import BusyError, Desk, UnknownJobError
from karaffe.studio.enlarge.limits import LARGEST_SCALE
from karaffe.studio.web.assets import read_asset, serve_assets
from karaffe.studio.web.forms import CsrfField, check_form, form_token, keep_visit, visit_of
from karaffe.studio.web.guard import Guard
from karaffe.studio.web.refusals import answer_errors, refused
from karaffe.studio.web.sessions import Sessions
from karaffe.studio.web.templates import make_environment
from karaffe.visualize.viewer import viewer_markup, viewer_script, viewer_style

HEADING = "karaffe studio"
FIRST_CHOICE = ("bicubic", "sharp")
_PACKAGE = "karaffe.studio.enlarge"
_STATUS: dict[type[KaraffeError], int] = {UnknownJobError: 404, BusyError: 429, api.TooLargeError: 413}
_HTML: dict[str, Any] = {"response_class": HTMLResponse}
_SEE_OTHER: dict[int | str, dict[str, Any]] = {303: {"description": "Go to the page"}}


def make_app(desk: Desk, token: str | None = None, *, hosts: Iterable[str] | None = None) -> FastAPI:
    """Return the ASGI application.

    Args:
        desk: Its jobs. token: What one logs in with; None lets everybody in who can reach it.
        hosts: Host names that are served, None for all.
    """
    app = FastAPI(title=HEADING, version="1", docs_url=None, redoc_url=None, openapi_url=None, responses=refused(409))
    secret = secrets.token_bytes(32)
    app.state.desk, app.state.secret = desk, secret
    sessions = Sessions(token, "karaffe_studio") if token is not None else None
    environment = make_environment(_PACKAGE)

    def render(name: str, **values: Any) -> str:
        return environment.get_template(name).render(heading=HEADING, **values)

    def gate(request: Request) -> None:
        if sessions is not None:
            sessions.check(request)

    @app.get("/", **_HTML)
    def front(request: Request) -> HTMLResponse:
        visit = visit_of(request)
        csrf = form_token(secret, "visit", visit)
        if sessions is not None and sessions.find(request) is None:
            page = render("login.html", csrf=csrf, whose="who may use it", action="/login")
        else:
            viewer = viewer_markup(HEADING, aside=render("aside.html", **_choices(desk)))
            page = render("studio.html", csrf=csrf, viewer=viewer, limits=desk.limits)
        response = HTMLResponse(page)
        keep_visit(response, request, visit)
        return response

    app.include_router(api.make_router(desk, gate))
    if sessions is not None:
        app.include_router(_log_in(sessions, secret))
    own = {name: read_asset(_PACKAGE, name) for name in ("studio.css",)}
    script = viewer_script(read_asset(_PACKAGE, "studio.js"))
    card = read_asset("karaffe.studio.web", "card.css")
    serve_assets(app, {"card.css": card, "viewer.css": viewer_style(), "studio.js": script, **own})
    answer_errors(app, _STATUS, lambda title, text: render("message.html", title=title, text=text))
    app.add_middleware(Guard, hosts=hosts, larger={"/api/jobs": desk.limits.upload_bytes + 65536})
    return app


def _choices(desk: Desk) -> dict[str, Any]:
    models = [(name, describe_model(name).summary, name in FIRST_CHOICE) for name in list_models()]
    return {"models": models, "limits": desk.limits, "largest_scale": LARGEST_SCALE}


def _log_in(sessions: Sessions, secret: bytes) -> APIRouter:
    router = APIRouter()

    @router.post("/login", status_code=303, response_class=RedirectResponse, responses=_SEE_OTHER)
    def login(request: Request, csrf: CsrfField, token: Annotated[str, Form(min_length=1, max_length=128)]) -> Response:
        check_form(csrf, form_token(secret, "visit", visit_of(request)))
        response = RedirectResponse("/", 303)
        sessions.begin(request, response, token)
        return response

    @router.post("/logout", status_code=303, response_class=RedirectResponse, responses=_SEE_OTHER)
    def logout(request: Request, csrf: CsrfField) -> Response:
        session = sessions.check(request)
        check_form(csrf, form_token(secret, "visit", visit_of(request)))
        sessions.end(session)
        return RedirectResponse("/", 303)

    return router
