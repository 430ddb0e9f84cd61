"""Rules of every test: one seed, and memory that nobody wrote is NaN."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ("browsing",)

settings.register_profile(
    "karaffe", deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("karaffe")

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """What sets how many threads torch uses, until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """``torch.empty`` gives NaN, so that an output somebody forgot to write cannot pass."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@pytest.fixture
def shared_data() -> Path:
    """The research images, which are not part of the project."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the research images are not here (../shared/data)")
    return folder


@pytest.fixture
def golden_vectors() -> Path:
    """What the original implementations computed, which is not part of the project."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip("the recorded vectors are not here (../shared/golden)")
    return folder
