"""The keeper's page: progress, personal links, raw votes. It opens with the token that the server printed at start.

The token travels in the body of one form, never in an address; after it, a session cookie serves until the server
stops.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from karaffe.errors import ArgumentError
from karaffe.studio.mos.server.pages import Pages
from karaffe.studio.mos.server.raters import CsrfField, check_form, keep_visit, visit_of
from karaffe.studio.mos.server.security import form_token, same
from karaffe.studio.mos.store import Store
from karaffe.studio.mos.votes import read_votes, votes_csv

SESSION = "karaffe_keeper"
TokenField = Annotated[str, Form(min_length=1, max_length=128)]
_HTML: dict[str, Any] = {"response_class": HTMLResponse}
_SEE_OTHER: dict[int | str, dict[str, Any]] = {303: {"description": "Go to the keeper's page"}}


class NotKeeperError(ArgumentError):
    """No session, or the wrong token."""


def make_router(store: Store, pages: Pages, admin_token: str) -> APIRouter:
    """Return the keeper's routes."""
    router = APIRouter(prefix="/admin")
    sessions: set[str] = set()

    def check_session(request: Request) -> str:
        session = request.cookies.get(SESSION, "")
        if session not in sessions:
            raise NotKeeperError("log in at /admin first")
        return session

    @router.get("", **_HTML)
    def keeper(request: Request) -> HTMLResponse:
        session = request.cookies.get(SESSION, "")
        if session in sessions:
            return _keeper_page(store, pages, session)
        visit = visit_of(request)
        response = HTMLResponse(pages.render("login.html", csrf=form_token(store.secret, "visit", visit)))
        keep_visit(response, request, visit)
        return response

    @router.post("/login", status_code=303, response_class=RedirectResponse, responses=_SEE_OTHER)
    def login(request: Request, csrf: CsrfField, token: TokenField) -> RedirectResponse:
        check_form(csrf, form_token(store.secret, "visit", visit_of(request)))
        if not same(token.strip(), admin_token):
            raise NotKeeperError("this is not the token that the server printed at start")
        session = secrets.token_urlsafe(24)
        sessions.add(session)
        response = RedirectResponse("/admin", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(SESSION, session, httponly=True, samesite="strict", secure=secure, path="/admin")
        return response

    @router.post("/logout", status_code=303, response_class=RedirectResponse, responses=_SEE_OTHER)
    def logout(request: Request, csrf: CsrfField) -> RedirectResponse:
        session = check_session(request)
        check_form(csrf, form_token(store.secret, "keeper", session))
        sessions.discard(session)
        return RedirectResponse("/admin", 303)

    @router.post("/links", **_HTML)
    def links(request: Request, csrf: CsrfField, count: Annotated[int, Form(ge=1, le=500)]) -> HTMLResponse:
        session = check_session(request)
        check_form(csrf, form_token(store.secret, "keeper", session))
        base = str(request.base_url).rstrip("/")
        return _keeper_page(store, pages, session, [f"{base}/r/{store.join()}" for _ in range(count)])

    @router.get("/votes.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
    def votes(request: Request) -> Response:
        check_session(request)
        text = votes_csv(read_votes(store.database))
        name = f'attachment; filename="{store.name}-votes.csv"'
        return Response(text, media_type="text/csv", headers={"content-disposition": name})

    return router


def _keeper_page(store: Store, pages: Pages, session: str, links: list[str] | None = None) -> HTMLResponse:
    csrf = form_token(store.secret, "keeper", session)
    return HTMLResponse(pages.render("keeper.html", csrf=csrf, progress=store.progress(), links=links or []))
