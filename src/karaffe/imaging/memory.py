"""Keep freed memory in the process.

A network allocates and frees the same few megabytes for every tile. glibc gives blocks of that size back to the system
each time and has every page handed out and cleared again, which can take as long as the arithmetic.
"""

from __future__ import annotations

import ctypes
import sys

# glibc's numbers of the two options, from malloc.h, and what they are set to: larger blocks than 32 MB cannot be kept.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST = 512 << 20, 32 << 20


def keep_freed_memory() -> bool:
    """Let glibc's malloc keep up to 512 MB of freed memory for the next tile; return whether it could be asked.

    It is a setting of the whole process, so commands make it, and the library does not.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
