"""Whether a rater looked: gold trials with known answers, and trials that were shown twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from karaffe.studio.mos.plan import GOLD
from karaffe.studio.mos.votes import Vote


@dataclass(frozen=True)
class Attention:
    """One rater's record.

    Attributes:
        gold, gold_right: Gold trials answered, and answered as expected.
        repeats: Trials answered twice. repeat_difference: Mean absolute difference of the two answers to a rating, or
            share of pairs answered otherwise; NaN without repeats.
        inexact: Answers given while pictures did not stand at one device pixel a picture pixel.
        median_seconds: Median time of an answer.
    """

    rater: str
    gold: int
    gold_right: int
    repeats: int
    repeat_difference: float
    inexact: int
    median_seconds: float


def attention_of(votes: Sequence[Vote], pairs: bool) -> list[Attention]:
    """Return the record of every rater; ``pairs`` says that answers are choices and not grades."""
    by_rater: dict[str, list[Vote]] = {}
    for vote in votes:
        by_rater.setdefault(vote.rater, []).append(vote)
    return [_attention(rater, own, pairs) for rater, own in by_rater.items()]


def _attention(rater: str, votes: list[Vote], pairs: bool) -> Attention:
    gold = [vote for vote in votes if vote.kind == GOLD]
    first = {vote.trial: vote.value for vote in votes if not vote.repeat}
    twice = [(first[vote.trial], vote.value) for vote in votes if vote.repeat and vote.trial in first]
    apart = [float(a != b) if pairs else abs(a - b) for a, b in twice]
    return Attention(
        rater,
        len(gold),
        sum(vote.value in (vote.expected or ()) for vote in gold),
        len(twice),
        float(np.mean(apart)) if apart else np.nan,
        sum(vote.exact_pixels is False for vote in votes),
        float(np.median([vote.elapsed_ms for vote in votes])) / 1000,
    )
