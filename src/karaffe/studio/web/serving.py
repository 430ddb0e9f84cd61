"""Listening on an address until interrupted."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from karaffe.errors import FileError
from karaffe.studio.web.guard import LOOPBACK


def listen(host: str, port: int) -> tuple[socket.socket, str]:
    """Return a socket that listens, and the address to show.

    Raises:
        FileError: The address is taken or is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise FileError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    shown = f"[{host}]" if ":" in host else host
    return listener, f"http://{shown}:{listener.getsockname()[1]}/"


def served_hosts(host: str, hostnames: tuple[str, ...]) -> set[str] | None:
    """Host names under which a server on ``host`` answers; on an open address without any given, every name."""
    return {*LOOPBACK, host, *hostnames} if host in LOOPBACK or hostnames else None


class _Server(uvicorn.Server):
    """A server that says when it is told to end, since answers that go on for ever would keep it from it."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._ending = ending

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._ending is not None:
            self._ending()
        super().handle_exit(sig, frame)


def run(app: FastAPI, listener: socket.socket, ending: Callable[[], None] | None = None) -> None:
    """Serve until interrupted, and call ``ending`` then. There is no access log: addresses may hold secrets."""
    # What was loaded stays: looking through it for garbage again and again would let somebody wait each time.
    gc.collect()
    gc.freeze()
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
    _Server(config, ending).run([listener])
