"""What keeps the server safe: headers on every answer, bodies of bounded size, tokens that tie a form to its page."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 64 * 1024
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def form_token(secret: bytes, purpose: str, bound_to: str) -> str:
    """A token that only this study's server can make, for one purpose and one link, visit or session."""
    return hmac.new(secret, f"{purpose}/{bound_to}".encode(), hashlib.sha256).hexdigest()


def same(given: str, expected: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())


class Guard:
    """ASGI middleware: strict headers out, no large bodies, no foreign host names and no foreign origins in.

    Args:
        app: What is guarded.
        hosts: Host names that are served; None serves all. On a loopback address this stops a page elsewhere from
            reaching the study through a name that it makes resolve to this machine.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] | None = None) -> None:
        self.app = app
        self.hosts = frozenset(hosts) if hosts is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, guarded)
            return
        await self.app(scope, _bounded(receive), guarded)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            return PlainTextResponse("this host name is not served here", 421)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            return PlainTextResponse("the request is too large", 413)
        if scope["method"] not in ("GET", "HEAD"):
            origin, site = headers.get("origin"), headers.get("sec-fetch-site")
            if site not in (None, "same-origin") or (origin is not None and origin.split("://")[-1] != host):
                return PlainTextResponse("the request comes from another site", 403)
        return None


def _name(host: str) -> str:
    return host[1:].split("]")[0] if host.startswith("[") else host.split(":")[0]


def _bounded(receive: Receive) -> Receive:
    """Stop reading a body that is longer than it said."""
    read = 0

    async def limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        return {"type": "http.disconnect"} if read > LARGEST_BODY else message

    return limited
