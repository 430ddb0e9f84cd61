"""The operators' tests on another device: ``KARAFFE_TEST_DEVICE=cuda python -m pytest tests/ops``.

Tensors are made there by default; drawn shapes are fewer, because every one compiles kernels of its own.
"""

from __future__ import annotations

import os

import torch
from hypothesis import settings

DEVICE = os.environ.get("KARAFFE_TEST_DEVICE", "cpu")

if DEVICE != "cpu":
    torch.set_default_device(DEVICE)
    settings.register_profile("device", settings.get_profile("karaffe"), max_examples=3)
    settings.load_profile("device")
    # the CPU's kernels, and kernels that are compiled for GPUs which are not there
    collect_ignore = ["test_native.py", "test_triton.py"]
