"""What a results folder was made from, so that a run can be taken up again.

A hidden file in the folder records for every result the key of its making (content of the source, settings, version)
and what the file looked like when it was finished. A result is *current* where the key is the same, *outdated* where
it is another and nobody has touched the file since, and otherwise not ours to judge.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from torch import nn

from karaffe.imaging.one_file import Settings
from karaffe.version import __version__

NAME = ".karaffe.json"
_CHUNK = 1 << 20
# Where and in how many pieces a result is computed does not change it.
_IRRELEVANT = ("tile", "device", "backend", "runtime", "report")


class Ledger:
    """The record of one results folder.

    Args:
        folder: Where results go. Nothing is written before the first result.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries: dict[str, dict[str, Any]] = {}
        with suppress(OSError, ValueError):
            found = json.loads((folder / NAME).read_text())
            self._entries = {k: v for k, v in found.items() if isinstance(v, dict)}

    def judge(self, target: Path, key: str) -> Literal["current", "outdated", "unknown"]:
        """Return what an existing result is, by the key that it would be made with now."""
        entry = self._entries.get(self._name(target))
        if entry is None or entry.get("looks") != _looks(target):
            return "unknown"
        return "current" if entry.get("key") == key else "outdated"

    def record(self, target: Path, key: str) -> None:
        """Note a finished result; a folder that does not take the note loses nothing but the memory."""
        self._entries[self._name(target)] = {"key": key, "looks": _looks(target)}
        draft = self._folder / f"{NAME}.{os.getpid()}"
        with suppress(OSError):
            draft.write_text(json.dumps(self._entries, indent=0, sort_keys=True))
            draft.replace(self._folder / NAME)

    def _name(self, target: Path) -> str:
        return os.path.relpath(target, self._folder)


def making_key(source: Path, settings: Settings) -> str:
    """Return a digest of a source's content, the settings that matter, and the version."""
    digest = hashlib.sha256(f"{__version__}\n".encode())
    for field in fields(settings):
        if field.name not in _IRRELEVANT:
            value = getattr(settings, field.name)
            digest.update(f"{field.name}={_weights(value) if isinstance(value, nn.Module) else value!r}\n".encode())
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        digest.update(f"{path.relative_to(source.parent).as_posix() if source.is_dir() else ''}\n".encode())
        if path.is_file():
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()


def _weights(module: nn.Module) -> str:
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _looks(target: Path) -> list[int]:
    state = target.stat()
    return [state.st_size, state.st_mtime_ns]
