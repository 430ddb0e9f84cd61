"""The template engine of every page: all values are escaped, a name that is not there is an error."""

from __future__ import annotations

import math
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def make_environment(package: str) -> Environment:
    """Return the engine over the ``pages`` of ``package``, and behind them those that all servers share."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "pages"), PackageLoader("karaffe.studio.web", "pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    return environment


def _number(value: Any, digits: int = 2) -> str:
    """A figure as tables show it; a dash where it is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
