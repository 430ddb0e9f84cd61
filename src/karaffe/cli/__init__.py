"""The command line: ``karaffe COMMAND``, also ``python -m karaffe``."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code (0 well, 1 some inputs failed, 2 wrong use, 130 interrupted)."""
    try:
        from karaffe.cli.main import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("karaffe"):
            raise
        print(f"karaffe: the command line needs {error.name}; pip install 'karaffe[imaging]'", file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(run(list(sys.argv[1:] if arguments is None else arguments)))
