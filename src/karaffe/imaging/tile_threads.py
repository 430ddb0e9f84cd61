"""Tiles side by side, each computed by a thread of its own.

Threads that share one tile wait for one another at every layer, and for whichever of them another program has taken a
core from. Threads with a tile each do not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch

# Each tile in work needs some dozens of megabytes.
_MOST = 4


def tiles_at_once() -> int:
    """How many tiles are computed at a time on the CPU: as many as torch may use threads, within reason."""
    return min(_MOST, torch.get_num_threads())


@contextmanager
def tile_threads(count: int) -> Iterator[Executor | None]:
    """Give ``count`` threads for tiles, among which torch's threads are divided; None where one tile gets all."""
    if count < 2:
        yield None
        return
    threads = torch.get_num_threads()
    ready = threading.Barrier(count + 1)

    def prepare() -> None:
        # Asked for once, or torch would set a thread's number anew at its first operator.
        torch.get_num_threads()
        torch.set_num_threads(max(1, threads // count))

    with ThreadPoolExecutor(count, "tile", prepare) as pool:
        for _ in range(count):
            pool.submit(ready.wait)
        ready.wait()
        # The number is a thread's own, but what was set last is also that of threads to come.
        torch.set_num_threads(threads)
        yield pool
