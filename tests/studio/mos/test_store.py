"""What raters do, on both databases: durable, idempotent, in turn, whatever arrives at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from karaffe.errors import ArgumentError
from karaffe.studio.mos.standing import ExpiredLinkError, NotYetError, UnknownLinkError
from karaffe.studio.mos.stimuli import decode
from karaffe.studio.mos.store import Store, Viewing
from karaffe.studio.mos.votes import read_votes

VIEWING = Viewing(1.25, True, "1x1 1x1")
MakeStore = Callable[..., Store]


def joined(store: Store) -> str:
    link = store.join()
    store.consent(link)
    return link


def answer_all(store: Store, link: str, value: Callable[[tuple[tuple[str, str], ...]], int]) -> None:
    while (turn := store.state(link).turn) is not None:
        store.answer(link, turn.position, value(store.shown(link)), 100, VIEWING)


def test_the_first_answer_to_a_place_stands(make_store: MakeStore) -> None:
    store = make_store()
    link = joined(store)
    first = store.answer(link, 0, 4, 100, VIEWING)
    again = store.answer(link, 0, 2, 100, VIEWING)
    assert (first.new, first.value) == (True, 4)
    assert (again.new, again.value) == (False, 4)
    (vote,) = read_votes(store.database)
    assert (vote.value, vote.device_pixel_ratio, vote.exact_pixels) == (4, 1.25, True)


def test_answers_come_in_turn_and_after_consent(make_store: MakeStore) -> None:
    store = make_store()
    link = store.join()
    with pytest.raises(NotYetError):
        store.answer(link, 0, 4, 100, VIEWING)
    with pytest.raises(NotYetError):
        store.picture(link, 0, 0)
    store.consent(link)
    store.consent(link)
    with pytest.raises(NotYetError, match="place 1 is not"):
        store.answer(link, 1, 4, 100, VIEWING)
    with pytest.raises(NotYetError):
        store.answer(link, 99, 4, 100, VIEWING)
    with pytest.raises(ArgumentError, match=r"value must be one of \[1, 2, 3, 4, 5\], not 6"):
        store.answer(link, 0, 6, 100, VIEWING)
    assert read_votes(store.database) == []


def test_only_pictures_of_now_are_given(make_store: MakeStore) -> None:
    store = make_store()
    link = joined(store)
    assert decode(store.picture(link, 0, 0)).shape == (48, 64, 3)
    assert store.picture(link, 1, 0)
    for position, side in ((2, 0), (0, 1), (99, 0)):
        with pytest.raises(NotYetError):
            store.picture(link, position, side)


def test_links_expire_and_unknown_ones_do_not_serve(make_store: MakeStore) -> None:
    store = make_store(link_days=2)
    link = joined(store)
    store.answer(link, 0, 4, 100, VIEWING)
    later = datetime.now(UTC) + timedelta(days=3)
    for ask in (
        lambda: store.state(link, later),
        lambda: store.answer(link, 1, 4, 100, VIEWING, later),
        lambda: store.picture(link, 0, 0, later),
        lambda: store.consent(link, later),
    ):
        with pytest.raises(ExpiredLinkError, match="expired; what was answered is kept"):
            ask()
    with pytest.raises(UnknownLinkError):
        store.state("A" * 32)
    assert len(read_votes(store.database)) == 1


def test_links_are_long_and_kept_nowhere(make_store: MakeStore) -> None:
    store = make_store()
    links = {store.join() for _ in range(5)}
    assert len(links) == 5
    assert all(len(link) == 32 for link in links)
    with store.database.engine.connect() as connection:
        rows = str(connection.execute(text("SELECT * FROM raters")).all())
    assert not any(link in rows for link in links)


def test_the_end_gives_a_code_of_its_own(make_store: MakeStore) -> None:
    store = make_store(trials_per_rater=2)
    codes = set()
    for _ in range(3):
        link = joined(store)
        answer_all(store, link, lambda _: 3)
        state = store.state(link, datetime.now(UTC) + timedelta(days=999))
        assert state.turn is None
        codes.add(state.completion_code)
        assert not store.answer(link, 1, 5, 1, VIEWING).new
    assert len(codes) == 3
    assert None not in codes


def test_a_choice_is_kept_as_the_method_whichever_side_it_stood_on(make_store: MakeStore) -> None:
    store = make_store(design="pair", ties=True, repeats=2)
    for _ in range(2):
        answer_all(store, joined(store), lambda shown: 1 + [m for _, m in shown].index("sharp"))
    votes = read_votes(store.database)
    assert {v.swapped for v in votes} == {True, False}
    assert all((v.method if v.value == 1 else v.against) == "sharp" for v in votes)
    link = joined(store)
    assert store.answer(link, 0, 0, 1, VIEWING).value == 0


def test_a_turned_pair_shows_the_other_picture_first(make_store: MakeStore) -> None:
    store = make_store(design="pair")
    seen = {}
    for link in (joined(store), joined(store)):
        while (turn := store.state(link).turn) is not None:
            shown = store.shown(link)
            for side, stimulus in enumerate(shown):
                png = store.picture(link, turn.position, side)
                assert seen.setdefault(stimulus, png) == png
            store.answer(link, turn.position, 1, 1, VIEWING)
    assert len(set(seen.values())) == 8


def test_the_reference_of_a_degradation_is_not_what_is_rated(make_store: MakeStore) -> None:
    store = make_store(design="dcr")
    link = joined(store)
    assert store.shown(link)[0][1] == "reference"
    answer_all(store, link, lambda shown: 4 if shown[1][1] == "sharp" else 2)
    assert all(
        v.value == (4 if v.method == "sharp" else 2) and v.against == "reference" for v in read_votes(store.database)
    )


def test_many_answers_to_one_place_at_once_leave_one(make_store: MakeStore) -> None:
    store = make_store()
    link = joined(store)
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda v: store.answer(link, 0, 1 + v % 5, 10, VIEWING), range(16)))
    assert sum(k.new for k in kept) == 1
    (vote,) = read_votes(store.database)
    assert {k.value for k in kept} == {vote.value}


def test_raters_who_join_at_once_stay_balanced(make_store: MakeStore) -> None:
    store = make_store(trials_per_rater=3)
    with ThreadPoolExecutor(8) as pool:
        links = list(pool.map(lambda _: store.join(), range(16)))
    assert len(set(links)) == 16
    with store.database.engine.connect() as connection:
        asked = connection.execute(text("SELECT trial_id FROM assignments")).scalars().all()
    assert set(Counter(asked).values()) == {6}


def test_who_never_came_back_does_not_count_for_balance(make_store: MakeStore) -> None:
    store = make_store(trials_per_rater=4, link_days=1)
    past = datetime.now(UTC) - timedelta(days=9)
    gone = store.join(past)
    with store.database.engine.connect() as connection:
        before = set(connection.execute(text("SELECT trial_id FROM assignments")).scalars())
    for _ in range(2):
        store.join()
    with store.database.engine.connect() as connection:
        after = Counter(connection.execute(text("SELECT trial_id FROM assignments WHERE rater_id > 1")).scalars())
    assert len(before) == 4
    assert set(after.values()) == {1}
    assert len(after) == 8
    with pytest.raises(ExpiredLinkError):
        store.state(gone)


def test_progress_at_any_time(make_store: MakeStore) -> None:
    store: Any = make_store(training=["p0.png"], repeats=1, trials_per_rater=2)
    assert store.progress() == {"raters": 0, "finished": 0, "answers": 0, "test_answers": 0}
    answer_all(store, joined(store), lambda _: 3)
    joined(store)
    assert store.progress() == {"raters": 2, "finished": 1, "answers": 5, "test_answers": 2}
