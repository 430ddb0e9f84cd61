"""Which questions a study asks, and which of them a rater gets, in which order.

Everything here is a function of its arguments: the same seed gives the same schedule.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karaffe.studio.mos.config import REFERENCE, StudyConfig
from karaffe.studio.mos.designs import LEFT, RIGHT, TIE

TRAINING, TEST, GOLD = "training", "test", "gold"


@dataclass(frozen=True)
class Trial:
    """One question: ``methods`` of one ``content``, one or two, and the answers expected of who looks."""

    kind: str
    content: str
    methods: tuple[str, ...]
    expected: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Place:
    """A place in a schedule: the trial by its id, sides exchanged or not, shown before or not."""

    trial: int
    swapped: bool = False
    repeat: bool = False


def make_trials(config: StudyConfig, contents: Sequence[str], methods: Sequence[str]) -> list[Trial]:
    """Return every question of the study: training first, then gold, then test.

    Args:
        config: The study. contents: What its pictures show. methods: Its methods, without the reference.
    """
    training = [Path(name).stem for name in config.training]
    rated = [*methods, REFERENCE] if config.plan.rates_reference else list(methods)
    shown: list[tuple[str, ...]]
    if config.plan.compares:
        shown = list(itertools.combinations(rated, 2))
    elif config.plan.shows_reference:
        shown = [(REFERENCE, method) for method in rated]
    else:
        shown = [(method,) for method in rated]
    found = [Trial(TRAINING, content, pair) for content in training for pair in shown]
    for gold in config.gold:
        content = Path(gold.image).stem
        found.append(Trial(GOLD, content, *_gold(config, gold.method, gold.against, gold.answers)))
    return found + [Trial(TEST, c, pair) for c in contents if c not in training for pair in shown]


def _gold(
    config: StudyConfig, method: str, against: str | None, answers: Sequence[Any]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if config.plan.compares and against is not None:
        sides = {method: LEFT, against: RIGHT, "tie": TIE}
        return (method, against), tuple(sides[answer] for answer in answers)
    return ((REFERENCE, method) if config.plan.shows_reference else (method,)), tuple(answers)


def choose(trials: Mapping[int, Trial], asked: Mapping[int, int], size: int, random_: random.Random) -> list[int]:
    """Return ``size`` of the test trials, those asked least so far, spread evenly over methods and contents.

    One at a time is taken the trial with the fewest askings over all raters; among equals, the one whose methods,
    then whose content, this rater has least of; then by lot. So the askings of any two trials differ by at most one
    while nobody drops out.

    Args:
        trials: The test trials by id. asked: How often each was asked of raters who count. size: How many.
    """
    lot = {trial: random_.random() for trial in trials}
    methods: Counter[str] = Counter()
    contents: Counter[str] = Counter()
    left, chosen = set(trials), []
    for _ in range(min(size, len(trials))):
        best = min(
            left,
            key=lambda t: (
                asked.get(t, 0),
                sum(methods[m] for m in trials[t].methods),
                contents[trials[t].content],
                lot[t],
            ),
        )
        left.remove(best)
        chosen.append(best)
        methods.update(trials[best].methods)
        contents[trials[best].content] += 1
    return chosen


def make_schedule(
    config: StudyConfig, trials: Mapping[int, Trial], ordinal: int, asked: Mapping[int, int]
) -> list[Place]:
    """Return the schedule of rater number ``ordinal``.

    Training comes first, in the order of the study file. Test, gold and repeated trials follow mixed: raters 2m and
    2m + 1 see what they have in common in opposite orders, so that no trial is favoured by its place, and no content
    follows itself where that can be helped. Sides of a pair alternate from one asking of it to the next; a repeat
    has them the other way round.

    Args:
        config: The study. trials: All trials by id. ordinal: 0 for the first rater. asked: As for :func:`choose`.
    """
    lots = random.Random(f"{config.seed}/{ordinal}")
    by_kind = {kind: {i: t for i, t in trials.items() if t.kind == kind} for kind in (TRAINING, TEST, GOLD)}
    size = config.trials_per_rater or len(by_kind[TEST])
    chosen = choose(by_kind[TEST], asked, size, lots)
    swap = {t: config.plan.compares and (asked.get(t, 0) + t) % 2 == 1 for t in trials}
    order = _common_order(config.seed, ordinal, [*chosen, *by_kind[GOLD]])
    places = _apart([Place(t, swap[t]) for t in order], trials)
    places = _with_repeats(places, trials, config, lots)
    return [Place(t, swap[t]) for t in by_kind[TRAINING]] + places


def _common_order(seed: int, ordinal: int, chosen: Sequence[int]) -> list[int]:
    def lot(trial: int) -> float:
        return random.Random(f"{seed}/order/{ordinal // 2}/{trial}").random()

    return sorted(chosen, key=lot, reverse=ordinal % 2 == 1)


def _apart(places: list[Place], trials: Mapping[int, Trial]) -> list[Place]:
    """Exchange neighbours of one content with the nearest later place that separates them."""
    places = list(places)
    for i in range(1, len(places)):
        before = trials[places[i - 1].trial].content
        if trials[places[i].trial].content == before:
            other = (j for j in range(i + 1, len(places)) if trials[places[j].trial].content != before)
            j = next(other, i)
            places[i], places[j] = places[j], places[i]
    return places


def _with_repeats(
    places: list[Place], trials: Mapping[int, Trial], config: StudyConfig, lots: random.Random
) -> list[Place]:
    """Add repeats of test trials from the first half at the end of the second, so that they are far apart."""
    early = [p for p in places[: max(1, len(places) // 2)] if trials[p.trial].kind == TEST]
    repeated = lots.sample(early, min(config.repeats, len(early)))
    later = list(places)
    for i, place in enumerate(repeated):
        again = Place(place.trial, config.plan.compares and not place.swapped, True)
        later.insert(len(later) - i * max(1, len(places) // (2 * len(repeated))), again)
    return later
