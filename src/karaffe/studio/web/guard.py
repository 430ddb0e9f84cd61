"""ASGI middleware that every request passes: headers on every answer, bodies of bounded size, nobody from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 64 * 1024
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

HEADERS = MappingProxyType(
    {
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
)

_RAW = tuple((name.encode(), value.encode()) for name, value in HEADERS.items())


class Guard:
    """Strict headers out; no large bodies, no foreign host names and no foreign origins in.

    Args:
        app: What is guarded.
        hosts: Host names that are served; None serves all. On a loopback address this stops a page elsewhere from
            reaching the server through a name that it makes resolve to this machine.
        larger: Paths that may be sent more than 64 KiB, and how many bytes.
    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str] | None = None, larger: Mapping[str, int] | None = None
    ) -> None:
        self.app = app
        self.hosts = frozenset(hosts) if hosts is not None else None
        self.larger = dict(larger or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_RAW]
                MutableHeaders(scope=message).setdefault("cache-control", "no-store")
            await send(message)

        largest = self.larger.get(scope["path"], LARGEST_BODY)
        refusal = self._refusal(scope, largest)
        if refusal is not None:
            await refusal(scope, receive, guarded)
            return
        await self.app(scope, _bounded(receive, largest), guarded)

    def _refusal(self, scope: Scope, largest: int) -> JSONResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            return _refused("this host name is not served here", 421)
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > largest:
            return _refused(f"the request is too large: at most {largest / 1e6:g} MB are taken here", 413)
        if scope["method"] not in ("GET", "HEAD"):
            origin, site = headers.get("origin"), headers.get("sec-fetch-site")
            if site not in (None, "same-origin") or (origin is not None and origin.split("://")[-1] != host):
                return _refused("the request comes from another site", 403)
        return None


def _refused(reason: str, status: int) -> JSONResponse:
    return JSONResponse({"detail": reason}, status)


def _name(host: str) -> str:
    return host[1:].split("]")[0] if host.startswith("[") else host.split(":")[0]


def _bounded(receive: Receive, largest: int) -> Receive:
    """Stop reading a body that is longer than it said."""
    read = 0

    async def limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        return {"type": "http.disconnect"} if read > largest else message

    return limited
