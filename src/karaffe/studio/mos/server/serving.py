"""Listening on an address until interrupted."""

from __future__ import annotations

import socket

import uvicorn

from karaffe.errors import FileError
from karaffe.studio.mos.database import Database
from karaffe.studio.mos.server.app import make_app, new_admin_token
from karaffe.studio.mos.server.security import LOOPBACK
from karaffe.studio.mos.store import Store


def serve_study(database: str, host: str = "127.0.0.1", port: int = 8000, hostnames: tuple[str, ...] = ()) -> None:
    """Serve a study, after printing its address and the keeper's token.

    Args:
        database: A file or URL. host: Address to listen on; anything but a loopback address is open to the network.
        port: 0 takes a free one. hostnames: Names that are served beside this machine's own; on an open address
            without any, every name is.

    Raises:
        FileError: The database does not open, or the address is taken.
    """
    opened = Database(database)
    try:
        listener = _listen(host, port)
        token = new_admin_token()
        hosts = {*LOOPBACK, host, *hostnames} if host in LOOPBACK or hostnames else None
        app = make_app(Store(opened), token, hosts=hosts)
        shown = f"[{host}]" if ":" in host else host
        print(f"Raters:       http://{shown}:{listener.getsockname()[1]}/", flush=True)
        print(f"Keeper:       http://{shown}:{listener.getsockname()[1]}/admin", flush=True)
        print(f"Keeper token: {token}", flush=True)
        # No access log: addresses hold the raters' personal links.
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
        uvicorn.Server(config).run([listener])
    finally:
        opened.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise FileError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listener
