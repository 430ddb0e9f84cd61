"""A command's process keeps the memory of a tile for the next one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from karaffe.imaging.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def work():
    blocks = [torch.ones(7 << 20) for _ in range(4)]
for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_not_fetched_again():
    # glibc raises its threshold by itself, and what lies above a block decides whether it is given back: held fixed.
    fixed = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    faults = {
        how: int(subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, check=True, env=fixed).stdout)
        for how in ("keep", "leave")
    }
    assert 2 * faults["keep"] < faults["leave"]
