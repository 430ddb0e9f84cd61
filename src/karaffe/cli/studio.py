"""``karaffe studio``: enlarge pictures on a local page and look at what each model makes of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from karaffe.cli.common import terminated_as_interrupted
from karaffe.errors import BackendError


def studio(
    host: Annotated[str, typer.Option(help="Address to listen on; by default only this machine reaches it.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8100,
    hostname: Annotated[
        list[str] | None, typer.Option(help="Host name under which others come, also through a proxy; repeatable.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Pictures worked on at once.")] = None,
    upload_mb: Annotated[float, typer.Option("--upload-mb", help="Largest picture taken, in megabytes.")] = 200,
    megapixels: Annotated[float, typer.Option(help="Largest result made, all its frames together.")] = 64,
    keep_minutes: Annotated[float, typer.Option(help="How long results stay after their page was left.")] = 60,
    folder: Annotated[
        Path | None, typer.Option(help="Where pictures are while it runs (default: the place for temporary files).")
    ] = None,
) -> None:
    """Serve the studio until interrupted. Pictures stay on this machine, and are removed at the end."""
    try:
        from karaffe.studio.enlarge.limits import Limits
        from karaffe.studio.enlarge.serving import serve_studio
    except ModuleNotFoundError as error:
        raise BackendError(f"'karaffe studio' needs {error.name}: pip install 'karaffe[studio]'") from None
    limits = Limits(
        upload_bytes=int(upload_mb * 1e6),
        pixels=int(megapixels * 1e6),
        keep_seconds=60 * keep_minutes,
        **({"workers": workers} if workers else {}),
    )
    # An interruption is how a server ends.
    with terminated_as_interrupted(), suppress(KeyboardInterrupt):
        serve_studio(host, port, tuple(hostname or ()), limits=limits, folder=folder)
