"""Log in with the token that the server printed at start.

The token travels in the body of one form, never in an address; after it, a session cookie serves until the server
stops.
"""

from __future__ import annotations

from fastapi import Request, Response

from karaffe.errors import ArgumentError
from karaffe.studio.web.forms import keep_cookie, new_token, same
from karaffe.studio.web.tries import Tries


class NotLoggedInError(ArgumentError):
    """No session, or the wrong token."""


class Sessions:
    """The sessions of one server.

    Args:
        token: What opens one. cookie: Name of its cookie. path: Where it serves, and where one logs in.
    """

    def __init__(self, token: str, cookie: str, path: str = "/") -> None:
        self._token, self._cookie, self.path = token, cookie, path
        self._open: set[str] = set()
        self._tries = Tries()

    def find(self, request: Request) -> str | None:
        """The request's session, None without one."""
        session = request.cookies.get(self._cookie, "")
        return session if session in self._open else None

    def check(self, request: Request) -> str:
        """Return the request's session.

        Raises:
            NotLoggedInError: It has none.
        """
        session = self.find(request)
        if session is None:
            raise NotLoggedInError(f"log in at {self.path} first")
        return session

    def begin(self, request: Request, response: Response, token: str) -> None:
        """Open a session for whoever has the token.

        Raises:
            NotLoggedInError: It is another one. TooManyTriesError: Too many wrong ones came from there.
        """
        who = request.client.host if request.client is not None else ""
        if not self._tries.allow(who, lambda: same(token.strip(), self._token)):
            raise NotLoggedInError("this is not the token that the server printed at start")
        session = new_token()
        self._open.add(session)
        keep_cookie(response, request, self._cookie, session, self.path)

    def end(self, session: str) -> None:
        """Close a session."""
        self._open.discard(session)
