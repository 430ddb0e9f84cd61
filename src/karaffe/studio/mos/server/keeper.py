"""The keeper's page: progress, personal links, raw votes. It opens with the token that the server printed at start."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from karaffe.studio.mos.server.pages import Pages
from karaffe.studio.mos.store import Store
from karaffe.studio.mos.votes import read_votes, votes_csv
from karaffe.studio.web.forms import CsrfField, check_form, form_token, keep_visit, visit_of
from karaffe.studio.web.sessions import Sessions

TokenField = Annotated[str, Form(min_length=1, max_length=128)]
_HTML: dict[str, Any] = {"response_class": HTMLResponse}
_SEE_OTHER: dict[int | str, dict[str, Any]] = {303: {"description": "Go to the keeper's page"}}


def make_router(store: Store, pages: Pages, admin_token: str) -> APIRouter:
    """Return the keeper's routes."""
    router = APIRouter(prefix="/admin")
    sessions = Sessions(admin_token, "karaffe_keeper", "/admin")

    @router.get("", **_HTML)
    def keeper(request: Request) -> HTMLResponse:
        session = sessions.find(request)
        if session is not None:
            return _keeper_page(store, pages, session)
        visit = visit_of(request)
        csrf = form_token(store.secret, "visit", visit)
        page = pages.render("login.html", csrf=csrf, whose="for its keeper", action="/admin/login")
        response = HTMLResponse(page)
        keep_visit(response, request, visit)
        return response

    @router.post("/login", status_code=303, response_class=RedirectResponse, responses=_SEE_OTHER)
    def login(request: Request, csrf: CsrfField, token: TokenField) -> RedirectResponse:
        check_form(csrf, form_token(store.secret, "visit", visit_of(request)))
        response = RedirectResponse("/admin", 303)
        sessions.begin(request, response, token)
        return response

    @router.post("/logout", status_code=303, response_class=RedirectResponse, responses=_SEE_OTHER)
    def logout(request: Request, csrf: CsrfField) -> RedirectResponse:
        session = sessions.check(request)
        check_form(csrf, form_token(store.secret, "keeper", session))
        sessions.end(session)
        return RedirectResponse("/admin", 303)

    @router.post("/links", **_HTML)
    def links(request: Request, csrf: CsrfField, count: Annotated[int, Form(ge=1, le=500)]) -> HTMLResponse:
        session = sessions.check(request)
        check_form(csrf, form_token(store.secret, "keeper", session))
        base = str(request.base_url).rstrip("/")
        return _keeper_page(store, pages, session, [f"{base}/r/{store.join()}" for _ in range(count)])

    @router.get("/votes.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
    def votes(request: Request) -> Response:
        sessions.check(request)
        text = votes_csv(read_votes(store.database))
        name = f'attachment; filename="{store.name}-votes.csv"'
        return Response(text, media_type="text/csv", headers={"content-disposition": name})

    return router


def _keeper_page(store: Store, pages: Pages, session: str, links: list[str] | None = None) -> HTMLResponse:
    csrf = form_token(store.secret, "keeper", session)
    return HTMLResponse(pages.render("keeper.html", csrf=csrf, progress=store.progress(), links=links or []))
