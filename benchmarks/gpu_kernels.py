"""Compile what ``gpu.py`` times, on many cores at once: Triton keeps the code on disk, where the benchmark finds it.

Each job calls one operator once in a process of its own; the tuner then builds all its blocks. Without this the
benchmark builds the same kernels one after another, which takes minutes of a GPU's time.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
import warnings

import torch
from torch import Tensor

JOBS = ("reassemble", "correlate", "scatter", "logits", "logits backward", "attention", "attention backward")
SHAPE, KEYS, KERNEL, FACTOR = (8, 256, 64, 64), 64, 5, 2
Job = tuple[str, torch.dtype, torch.memory_format]


def jobs() -> list[Job]:
    """The slowest to compile first."""
    formats = (torch.contiguous_format, torch.channels_last)
    return list(itertools.product(reversed(JOBS), (torch.float32, torch.bfloat16), formats))


def run(job: Job) -> str:
    name, dtype, layout = job
    started = time.monotonic()
    warnings.simplefilter("ignore")
    try:
        call(name, dtype, layout)
        torch.cuda.synchronize()
    except Exception as error:  # the next job may still do
        return f"{name} {dtype} {layout}: {error!r:.300}"
    return f"{name} {dtype} {layout}: {time.monotonic() - started:.1f} s"


def call(name: str, dtype: torch.dtype, layout: torch.memory_format) -> None:
    from karaffe import ops
    from karaffe.ops.fused import LOCAL_ATTENTION_BACKWARD, REASSEMBLE_LOGITS_BACKWARD

    n, c, h, w = SHAPE
    window, sizes = [KERNEL, KERNEL], (FACTOR * h, FACTOR * w)

    def randn(channels: int, *size: int) -> Tensor:
        return torch.randn(n, channels, *size, device="cuda").to(dtype).contiguous(memory_format=layout)

    if name == "reassemble":
        ops.reassemble(randn(c, h, w), randn(KERNEL**2, *sizes), KERNEL)
    elif name == "correlate":
        ops.correlate(randn(c, h, w), randn(c, *sizes), KERNEL)
    elif name == "scatter":
        ops.scatter(randn(KERNEL**2, *sizes), randn(c, *sizes), KERNEL, (h, w))
    elif name.startswith("logits"):
        x, logits = randn(c, h, w), randn((KERNEL * FACTOR) ** 2, h, w)
        if name == "logits":
            ops.reassemble_logits(x, logits, KERNEL)
        else:
            REASSEMBLE_LOGITS_BACKWARD(randn(c, *sizes), x, logits, window, [FACTOR, FACTOR])
    else:
        query, key = randn(KEYS, *sizes), randn(KEYS, h, w)
        if name == "attention":
            ops.local_attention(query, key, key, KERNEL)
        else:
            sums = torch.zeros(n, 1, *sizes, device="cuda")
            LOCAL_ATTENTION_BACKWARD(query, query, key, key, None, sums, window)


def build(workers: int) -> None:
    """Run every job; say how long each took, or why it failed."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for line in pool.imap_unordered(run, jobs(), chunksize=1):
            print(line, flush=True)
