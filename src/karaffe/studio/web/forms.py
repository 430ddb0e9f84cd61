"""Forms that only a page of this server can send: each carries a token bound to what its page was shown to.

A visit is a random cookie, out of reach of scripts and other sites; it says nothing of who comes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Annotated

from fastapi import Form, Request, Response

from karaffe.errors import ArgumentError

VISIT = "karaffe_visit"

CsrfField = Annotated[str, Form(min_length=1, max_length=128)]


class ForeignFormError(ArgumentError):
    """A form that did not come from a page of this server."""


def new_token() -> str:
    """A fresh secret; there is no default one anywhere."""
    return secrets.token_urlsafe(24)


def form_token(secret: bytes, purpose: str, bound_to: str) -> str:
    """A token that only who knows ``secret`` can make, for one purpose and one link, visit or session."""
    return hmac.new(secret, f"{purpose}/{bound_to}".encode(), hashlib.sha256).hexdigest()


def same(given: str, expected: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())


def check_form(given: str, expected: str) -> None:
    """Raise unless a form carries the token of its page."""
    if not same(given, expected):
        raise ForeignFormError("this form is not from here, or too old: load the page again")


def visit_of(request: Request) -> str:
    """The visit's random cookie, or a new one where the browser has none."""
    cookie = request.cookies.get(VISIT, "")
    return cookie if re.fullmatch(r"[A-Za-z0-9_-]{32}", cookie) else new_token()


def keep_visit(response: Response, request: Request, visit: str) -> None:
    """Let the browser keep its visit's cookie."""
    keep_cookie(response, request, VISIT, visit)


def keep_cookie(response: Response, request: Request, name: str, value: str, path: str = "/") -> None:
    """Set a cookie of this session, out of reach of scripts and other sites."""
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, httponly=True, samesite="strict", secure=secure, path=path)
