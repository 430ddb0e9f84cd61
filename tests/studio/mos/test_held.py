"""Pictures in memory: each is loaded once while there is room, and those asked for longest ago go first."""

from __future__ import annotations

from karaffe.studio.mos.held import Held


def test_the_oldest_go_first_and_nothing_is_loaded_twice() -> None:
    loads: list[int] = []

    def ask(number: int, size: int = 4) -> bytes:
        def load() -> bytes:
            loads.append(number)
            return bytes([number]) * size

        return held.get(number, load)

    held = Held(10)
    assert [ask(1), ask(2), ask(1)] == [b"\1" * 4, b"\2" * 4, b"\1" * 4]
    assert loads == [1, 2]
    ask(3)
    assert ask(1) == b"\1" * 4
    assert loads == [1, 2, 3]
    ask(2)
    assert loads == [1, 2, 3, 2]
    assert len(ask(4, 11)) == 11
    ask(4, 11)
    assert loads[-2:] == [4, 4]
    assert ask(5) == ask(5)
    assert loads[4:] == [4, 4, 5]
