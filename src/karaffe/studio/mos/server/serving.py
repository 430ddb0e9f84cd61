"""Serving a study until interrupted."""

from __future__ import annotations

from karaffe.studio.mos.database import Database
from karaffe.studio.mos.server.app import make_app
from karaffe.studio.mos.store import Store
from karaffe.studio.web.forms import new_token
from karaffe.studio.web.serving import listen, run, served_hosts


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
        listener, address = listen(host, port)
        token = new_token()
        app = make_app(Store(opened), token, hosts=served_hosts(host, hostnames))
        print(f"Raters:       {address}", flush=True)
        print(f"Keeper:       {address}admin", flush=True)
        print(f"Keeper token: {token}", flush=True)
        run(app, listener)
    finally:
        opened.close()
