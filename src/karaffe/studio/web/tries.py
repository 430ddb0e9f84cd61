"""Wrong tokens cost time, so that nobody can try them one after the other."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from karaffe.errors import ArgumentError

FREE, LONGEST_SECONDS = 5, 60.0
_REMEMBERED = 10_000


class TooManyTriesError(ArgumentError):
    """A try that comes too soon after wrong ones."""


class Tries:
    """Counts wrong tries by who makes them.

    Five are free. After each further one, the next is not looked at for 1, 2, 4 … up to 60 seconds; the right token
    lets that be forgotten.

    Args:
        clock: Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def allow(self, who: str, right: Callable[[], bool]) -> bool:
        """Look at a try of ``who`` and return whether it is right.

        Raises:
            TooManyTriesError: It comes too soon, and was not looked at.
        """
        # One at a time: tries that come together must not all be looked at before the first one counts.
        with self._lock:
            wrong, until = self._wrong.get(who, (0, 0.0))
            left = until - self._clock()
            if left > 0:
                raise TooManyTriesError(f"too many wrong tokens; try again in {math.ceil(left)} s")
            if right():
                self._wrong.pop(who, None)
                return True
            pause = min(LONGEST_SECONDS, 2.0 ** (wrong - FREE)) if wrong >= FREE else 0.0
            self._wrong[who] = (wrong + 1, self._clock() + pause)
            self._wrong.move_to_end(who)
            if len(self._wrong) > _REMEMBERED:
                self._wrong.popitem(last=False)
            return False
