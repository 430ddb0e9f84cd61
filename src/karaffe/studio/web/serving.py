"""Listening on an address until interrupted."""

from __future__ import annotations

import socket

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


def run(app: FastAPI, listener: socket.socket, lifespan: bool = False) -> None:
    """Serve until interrupted. There is no access log: addresses may hold what is not everybody's."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="on" if lifespan else "off"
    )
    uvicorn.Server(config).run([listener])
