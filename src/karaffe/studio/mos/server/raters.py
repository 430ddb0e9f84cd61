"""What raters reach: the first page, their personal page, their pictures, and the one way to answer."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from karaffe.studio.mos.server.forms import AnswerIn, AnswerOut
from karaffe.studio.mos.server.pages import Pages
from karaffe.studio.mos.standing import UnknownLinkError
from karaffe.studio.mos.store import Store, Viewing
from karaffe.studio.web.forms import CsrfField, check_form, form_token, keep_visit, visit_of

PHONE = re.compile(r"Mobi|Android.+Mobile|iPhone|iPod", re.IGNORECASE)

Link = Annotated[str, Path(max_length=64)]
_HTML: dict[str, Any] = {"response_class": HTMLResponse}
_SEE_OTHER: dict[int | str, dict[str, Any]] = {303: {"description": "Go to the rater's page"}}


def make_router(store: Store, pages: Pages) -> APIRouter:
    """Return the raters' routes."""
    router = APIRouter()

    @router.get("/", **_HTML)
    def front(request: Request) -> HTMLResponse:
        if _is_phone(request):
            return HTMLResponse(pages.render("phone.html"))
        visit = visit_of(request)
        response = HTMLResponse(pages.front(form_token(store.secret, "visit", visit)))
        keep_visit(response, request, visit)
        return response

    @router.post("/join", status_code=303, response_class=RedirectResponse, responses=_SEE_OTHER)
    def join(request: Request, csrf: CsrfField) -> RedirectResponse:
        check_form(csrf, form_token(store.secret, "visit", visit_of(request)))
        if store.config.entry != "open":
            raise UnknownLinkError("this study is open by personal link only")
        return RedirectResponse(f"/r/{store.join()}", 303)

    @router.get("/r/{link}", **_HTML)
    async def rater(request: Request, link: Link) -> HTMLResponse:
        if _is_phone(request):
            return HTMLResponse(pages.render("phone.html"))
        return HTMLResponse(pages.rater(link, await store.database.aside(lambda: store.state(link))))

    @router.post("/r/{link}/consent", status_code=303, response_class=RedirectResponse, responses=_SEE_OTHER)
    def consent(link: Link, csrf: CsrfField) -> RedirectResponse:
        check_form(csrf, form_token(store.secret, "link", link))
        store.consent(link)
        return RedirectResponse(f"/r/{link}", 303)

    @router.post("/r/{link}/answer")
    async def answer(link: Link, body: AnswerIn) -> AnswerOut:
        check_form(body.csrf, form_token(store.secret, "link", link))
        viewing = Viewing(body.device_pixel_ratio, body.exact_pixels, body.screen)
        kept = await asyncio.wrap_future(store.answer_soon(link, body.position, body.value, body.elapsed_ms, viewing))
        return AnswerOut(new=kept.new, value=kept.value, finished=kept.finished)

    @router.get(
        "/r/{link}/pictures/{position}/{side}",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}},
    )
    async def picture(
        link: Link,
        position: Annotated[int, Path(ge=0, le=1_000_000)],
        side: Annotated[int, Path(ge=0, le=1)],
    ) -> Response:
        png = await store.database.aside(lambda: store.picture(link, position, side))
        return Response(png, media_type="image/png", headers={"cache-control": "private, max-age=86400, immutable"})

    return router


def _is_phone(request: Request) -> bool:
    hinted = request.headers.get("sec-ch-ua-mobile") == "?1"
    return hinted or PHONE.search(request.headers.get("user-agent", "")) is not None
