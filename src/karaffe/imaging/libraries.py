"""Optional libraries, imported when a format first needs them."""

from __future__ import annotations

import importlib
from typing import Any

from karaffe.errors import BackendError


def library(name: str, extra: str) -> Any:
    """Import and return the module ``name`` that the optional dependencies ``extra`` install.

    Raises:
        BackendError: It is not installed, or broken (a library built for another torch or NumPy raises
            RuntimeError at import); the message names the extra.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        raise BackendError(
            f"this needs {name.split('.')[0]}, which cannot be imported ({error}); "
            f"install it with: pip install 'karaffe[{extra}]'"
        ) from error
