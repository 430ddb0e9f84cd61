"""Serving the studio until interrupted."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from karaffe.imaging.guard import file_errors
from karaffe.imaging.storage import Draft
from karaffe.studio.enlarge.app import make_app
from karaffe.studio.enlarge.desk import Desk
from karaffe.studio.enlarge.limits import Limits
from karaffe.studio.web.forms import new_token
from karaffe.studio.web.guard import LOOPBACK
from karaffe.studio.web.serving import listen, run, served_hosts


def serve_studio(
    host: str = "127.0.0.1",
    port: int = 8100,
    hostnames: tuple[str, ...] = (),
    *,
    limits: Limits | None = None,
    folder: Path | None = None,
) -> None:
    """Serve the studio, after printing its address, and a token where others than this machine can reach it.

    Args:
        host: Address to listen on. port: 0 takes a free one. hostnames: Names that are served beside this machine's
            own, through a proxy for example.
        limits: What is taken on.
        folder: Where pictures are while the studio runs; by default the system's place for temporary files. They are
            in a hidden folder of its own, which is removed at the end; one that a killed studio left is removed too.

    Raises:
        FileError: The address is taken, or the folder cannot be written.
    """
    # Workers take it over: their threads wait asleep, since a browser on the same cores draws what they make.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    place = Draft(Path(folder or tempfile.gettempdir()) / "studio")
    try:
        with file_errors("write", place.path):
            place.path.mkdir()
        listener, address = listen(host, port)
        token = new_token() if host not in LOOPBACK or hostnames else None
        with listener, Desk(place.path, limits) as desk:
            app = make_app(desk, token, hosts=served_hosts(host, hostnames))
            print(f"Studio:       {address}", flush=True)
            if token is not None:
                print(f"Studio token: {token}", flush=True)
            run(app, listener, desk.close)
    finally:
        place.discard()
