"""Pictures that were asked for lately, in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable


class Held:
    """Bytes by number, the latest ones, ``size`` bytes in all; what is larger by itself is not held."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, number: int, load: Callable[[], bytes]) -> bytes:
        """What is held under ``number``; where nothing is, what ``load`` gives is from now on."""
        with self._lock:
            if number in self._held:
                self._held.move_to_end(number)
                return self._held[number]
        found = load()
        with self._lock:
            if number not in self._held:
                self._held[number] = found
                self._left -= len(found)
            while self._left < 0:
                self._left += len(self._held.popitem(last=False)[1])
        return found
