"""The errors that karaffe raises.

Each derives from :class:`KaraffeError` and from the built-in class a caller would expect, so both
``except KaraffeError`` and ``except ValueError`` work. A message says what was asked, what was seen, and what
is accepted; it is raised once, at the public boundary.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class KaraffeError(Exception):
    """Base of everything karaffe raises on purpose."""


class ArgumentError(KaraffeError, ValueError):
    """An argument has a value that is not accepted."""


class ShapeError(ArgumentError):
    """Tensor shapes do not fit each other."""


class UnknownNameError(ArgumentError):
    """A name that no registry knows; the message lists close matches."""


class DtypeError(KaraffeError, TypeError):
    """Dtypes or devices that do not fit each other."""


class BackendError(KaraffeError, RuntimeError):
    """A backend was asked for by name and cannot serve; the message is the reason."""


class TrainingError(KaraffeError, RuntimeError):
    """A training run cannot go on; the message says where it stopped and what is kept."""


class SurgeryError(KaraffeError, RuntimeError):
    """A network's code cannot be rewritten, or is no longer what was rewritten."""


class FileError(KaraffeError, OSError):
    """A file cannot be read, understood or written."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for an unknown ``name`` of some ``kind``, naming close matches, else all known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(c) for c in close)}?" if close else f"known: {', '.join(names)}"
    return UnknownNameError(f"unknown {kind} {name!r}; {hint}")
