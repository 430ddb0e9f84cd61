"""Wrong tokens: a few are free, then each costs time, and nobody pays for another."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karaffe.studio.web.tries import FREE, LONGEST_SECONDS, TooManyTriesError, Tries


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_tries_are_delayed_longer_and_longer_and_forgiven_by_the_right_one() -> None:
    clock = Clock()
    tries = Tries(clock)
    for _ in range(FREE):
        assert tries.allow("a", lambda: False) is False
    assert tries.allow("a", lambda: False) is False
    with pytest.raises(TooManyTriesError, match="try again in 1 s"):
        tries.allow("a", lambda: pytest.fail("it was looked at"))
    assert tries.allow("b", lambda: True)
    clock.now += 1
    assert not tries.allow("a", lambda: False)
    with pytest.raises(TooManyTriesError, match="try again in 2 s"):
        tries.allow("a", lambda: True)
    clock.now += 2
    assert tries.allow("a", lambda: True)
    assert not tries.allow("a", lambda: False)
    assert tries.allow("a", lambda: True)


@given(st.lists(st.floats(0, 200), min_size=50, max_size=60))
def test_nobody_is_shut_out_for_longer_than_a_minute_or_guesses_quickly(pauses: list[float]) -> None:
    clock = Clock()
    tries, looked = Tries(clock), 0
    for pause in pauses:
        clock.now += pause
        with suppress(TooManyTriesError):
            tries.allow("a", lambda: False)
            looked += 1
    assert looked <= FREE + 8 + sum(pauses) / LONGEST_SECONDS
    clock.now += LONGEST_SECONDS
    assert tries.allow("a", lambda: True)
