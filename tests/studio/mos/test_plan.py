"""Schedules: balanced over raters, counterbalanced, the same for the same seed."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from karaffe.studio.mos.config import parse_config
from karaffe.studio.mos.plan import GOLD, TEST, TRAINING, Trial, choose, make_schedule, make_trials


def study(**entries: Any) -> Any:
    raw = {"study": "s", "design": "acr", "methods": {"a": "a", "b": "b", "c": "c"}, "reference": "r"}
    return parse_config(raw | entries, "test")


def trials_of(config: Any, contents: int = 5) -> dict[int, Trial]:
    found = make_trials(config, [f"p{i}" for i in range(contents)], list(config.methods))
    return dict(enumerate(found, start=1))


def test_trials_of_each_design() -> None:
    methods = {
        name: [t.methods for t in trials_of(study(design=name), 1).values()] for name in ("acr", "acr-hr", "dcr")
    }
    assert methods["acr"] == [("a",), ("b",), ("c",)]
    assert methods["acr-hr"] == [("a",), ("b",), ("c",), ("reference",)]
    assert methods["dcr"] == [("reference", "a"), ("reference", "b"), ("reference", "c")]
    pairs = [t.methods for t in trials_of(study(design="2afc"), 1).values()]
    assert pairs == [("a", "b"), ("a", "c"), ("b", "c")]


@given(
    contents=st.integers(2, 6),
    size=st.integers(1, 12),
    raters=st.integers(1, 9),
    seed=st.integers(0, 99),
    design=st.sampled_from(["acr", "acr-hr", "pair", "dcr"]),
)
def test_any_two_trials_are_asked_equally_often(contents: int, size: int, raters: int, seed: int, design: str) -> None:
    config = study(trials_per_rater=size, seed=seed, design=design)
    trials = trials_of(config, contents)
    asked: Counter[int] = Counter()
    for ordinal in range(raters):
        places = [p for p in make_schedule(config, trials, ordinal, asked) if not p.repeat]
        assert len({p.trial for p in places}) == len(places) == min(size, len(trials))
        asked.update(p.trial for p in places)
    counts = [asked[t] for t in trials]
    assert max(counts) - min(counts) <= 1


@given(seed=st.integers(0, 200))
def test_a_subset_is_spread_over_methods_and_contents(seed: int) -> None:
    trials = trials_of(study(), 6)
    chosen = choose(trials, {}, 6, random.Random(seed))
    assert set(Counter(trials[t].methods[0] for t in chosen).values()) == {2}
    assert set(Counter(trials[t].content for t in chosen).values()) == {1}


@given(seed=st.integers(0, 200))
def test_two_raters_see_opposite_orders(seed: int) -> None:
    config = study(seed=seed)
    trials = {i: Trial(TEST, f"p{i}", ("a",)) for i in range(1, 20)}
    orders = [[p.trial for p in make_schedule(config, trials, n, {})] for n in range(4)]
    assert orders[1] == orders[0][::-1]
    assert orders[3] == orders[2][::-1]
    assert orders[2] != orders[0]


@given(seed=st.integers(0, 200), ordinal=st.integers(0, 5))
def test_no_content_follows_itself(seed: int, ordinal: int) -> None:
    config = study(seed=seed)
    trials = trials_of(config, 6)
    contents = [trials[p.trial].content for p in make_schedule(config, trials, ordinal, {})]
    # At most the tail has nothing left to exchange with.
    assert all(a != b for a, b in itertools.pairwise(contents[:12]))


@given(seed=st.integers(0, 50))
def test_sides_of_a_pair_alternate(seed: int) -> None:
    config = study(seed=seed, design="pair")
    trials = trials_of(config)
    asked: Counter[int] = Counter()
    sides: Counter[int] = Counter()
    for ordinal in range(6):
        for place in make_schedule(config, trials, ordinal, asked):
            sides[place.trial] += place.swapped
        asked.update(trials.keys())
    assert set(sides.values()) == {3}


@given(seed=st.integers(0, 50), repeats=st.integers(1, 5), design=st.sampled_from(["acr", "pair"]))
def test_repeats_come_later_and_turned_round(seed: int, repeats: int, design: str) -> None:
    config = study(seed=seed, repeats=repeats, design=design)
    trials = trials_of(config, 6)
    places = make_schedule(config, trials, 0, {})
    again = [p for p in places if p.repeat]
    assert len(again) == repeats
    for place in again:
        first = next(p for p in places if p.trial == place.trial)
        assert places.index(first) < places.index(place)
        assert place.swapped == (not first.swapped if design == "pair" else False)


def test_training_comes_first_and_gold_is_mixed_in() -> None:
    gold = [{"image": "p3.png", "method": "a", "answers": [1, 2]}]
    config = study(training=["p0.png"], gold=gold)
    trials = trials_of(config)
    kinds = [trials[p.trial].kind for p in make_schedule(config, trials, 0, {})]
    assert kinds[:3] == [TRAINING] * 3
    assert Counter(kinds) == {TRAINING: 3, GOLD: 1, TEST: 12}
    assert trials[4].expected == (1, 2)


def test_gold_of_a_pair_names_the_method() -> None:
    gold = [{"image": "p1.png", "method": "reference", "against": "a", "answers": ["reference", "tie"]}]
    config = study(design="pair", ties=True, gold=gold)
    found = next(t for t in trials_of(config).values() if t.kind == GOLD)
    assert (found.methods, found.expected) == (("reference", "a"), (1, 0))


def test_the_same_seed_gives_the_same_schedule() -> None:
    config, other = study(seed=1), study(seed=2)
    trials = trials_of(config)
    assert make_schedule(config, trials, 3, {}) == make_schedule(config, trials, 3, {})
    assert make_schedule(config, trials, 3, {}) != make_schedule(other, trials, 3, {})
