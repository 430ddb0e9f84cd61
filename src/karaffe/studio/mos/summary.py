"""All figures of a study at one moment, complete or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select

from karaffe.studio.mos.analysis.attention import Attention, attention_of
from karaffe.studio.mos.analysis.objective import Correlation, correlations, measure
from karaffe.studio.mos.analysis.opinion import Opinion, differential, mean_opinion, method_opinion
from karaffe.studio.mos.analysis.pairs import Strengths, fit_pairs
from karaffe.studio.mos.analysis.ratings import Array, Mask, Ratings, ratings_of
from karaffe.studio.mos.analysis.screening import screen_bt500, screen_p913
from karaffe.studio.mos.analysis.significance import (
    Contrast,
    compare_ratings,
    compare_strengths,
    pair_votes_needed,
    raters_needed,
)
from karaffe.studio.mos.analysis.subjects import Subjects, fit_subjects, remove_bias
from karaffe.studio.mos.config import REFERENCE, StudyConfig
from karaffe.studio.mos.designs import LEFT, RIGHT, TIE
from karaffe.studio.mos.plan import TEST
from karaffe.studio.mos.stimuli import decode
from karaffe.studio.mos.store import Store
from karaffe.studio.mos.tables import Picture, StimulusRow
from karaffe.studio.mos.votes import Vote, read_votes

Measured = dict[tuple[str, str], dict[str, float]]


@dataclass(frozen=True)
class Screened:
    """Which raters each procedure rejects; ``counted`` are those whose votes the means are of."""

    raters: tuple[str, ...]
    bt500: Mask
    p913: Mask
    correlation: Array
    removed: Mask


@dataclass(frozen=True)
class RatingFigures:
    """Figures of a study in which pictures are rated.

    Attributes:
        ratings: Votes that count, after screening. opinion: A row a picture. by_method: A row a method.
        dmos, dmos_by_method: Differential scores, with a hidden reference alone.
        subjects: Bias and inconsistency of each rater before screening; None without votes.
        unbiased: Means of everybody's votes without each rater's bias, a row a picture.
        needed: Votes a picture needs for the wanted half-width; ``fewest`` is what the least judged one has.
    """

    ratings: Ratings
    opinion: Opinion
    by_method: Opinion
    screened: Screened
    contrasts: list[Contrast]
    subjects: Subjects | None
    unbiased: Array
    dmos: tuple[Ratings, Opinion] | None
    dmos_by_method: Opinion | None
    correlations: list[Correlation]
    needed: int | None
    fewest: int


@dataclass(frozen=True)
class PairFigures:
    """Figures of a pair comparison: strengths of the methods, and the counts they come from."""

    methods: list[str]
    wins: Array
    ties: Array
    strengths: Strengths
    contrasts: list[Contrast]
    correlations: list[Correlation]
    votes: int
    needed: int | None


@dataclass(frozen=True)
class Summary:
    """A study's figures; one of ``ratings`` and ``pairs`` is there."""

    config: StudyConfig
    progress: dict[str, int]
    votes: list[Vote]
    attention: list[Attention]
    measured: Measured
    ratings: RatingFigures | None
    pairs: PairFigures | None


def summarize_study(store: Store, *, screening: str = "bt500") -> Summary:
    """Compute every figure from the answers so far.

    Args:
        store: The study. screening: Whose rejections apply to the means: ``bt500``, ``p913`` or ``none``; both are
            reported anyway.
    """
    votes, measured = read_votes(store.database), _measure(store)
    compares = store.config.plan.compares
    return Summary(
        store.config,
        store.progress(),
        votes,
        attention_of(votes, compares),
        measured,
        None if compares else _rating_figures(store.config, votes, measured, screening),
        _pair_figures(votes, measured) if compares else None,
    )


def _measure(store: Store) -> Measured:
    """PSNR and SSIM of every picture that has a reference."""
    with store.database.read() as session:
        rows = session.execute(
            select(StimulusRow.content, StimulusRow.method, Picture.png).join(
                Picture, Picture.id == StimulusRow.picture_id
            )
        ).all()
    pictures = {(row.content, row.method): decode(row.png) for row in rows}
    return {
        (content, method): measure(pixels, pictures[content, REFERENCE])
        for (content, method), pixels in pictures.items()
        if method != REFERENCE and (content, REFERENCE) in pictures
    }


def _rating_figures(config: StudyConfig, votes: Sequence[Vote], measured: Measured, screening: str) -> RatingFigures:
    everyone = ratings_of(votes)
    screened = _screen(everyone, screening)
    ratings = everyone.without(screened.removed)
    opinion = mean_opinion(ratings.scores)
    dmos = differential(ratings, REFERENCE) if config.plan.rates_reference else None
    judged = dict(zip(ratings.stimuli, opinion.mean, strict=True))
    return RatingFigures(
        ratings,
        opinion,
        method_opinion(ratings),
        screened,
        compare_ratings(ratings),
        fit_subjects(everyone.scores) if everyone.raters else None,
        mean_opinion(remove_bias(everyone.scores)[0]).mean,
        (dmos, mean_opinion(dmos.scores)) if dmos else None,
        method_opinion(dmos) if dmos else None,
        correlations(measured, judged),
        raters_needed(opinion, config.halfwidth),
        int(opinion.count.min()) if len(opinion.count) else 0,
    )


def _screen(ratings: Ratings, screening: str) -> Screened:
    bt500, p913 = screen_bt500(ratings.scores), screen_p913(ratings.scores)
    none = np.zeros(len(ratings.raters), dtype=bool)
    removed = {"bt500": bt500.rejected, "p913": p913.rejected}.get(screening, none)
    # When all fall, nobody is the odd one out.
    removed = none if removed.all() else removed
    return Screened(ratings.raters, bt500.rejected, p913.rejected, p913.correlation, removed)


def _pair_figures(votes: Sequence[Vote], measured: Measured) -> PairFigures:
    counted = [v for v in votes if v.kind == TEST and not v.repeat and v.against is not None]
    methods = list(dict.fromkeys(m for v in counted for m in (v.method, v.against) if m is not None))
    place = {method: i for i, method in enumerate(methods)}
    wins, ties = (np.zeros((len(methods), len(methods))) for _ in range(2))
    for vote in counted:
        i, j = place[vote.method], place[str(vote.against)]
        if vote.value == TIE:
            ties[i, j] += 1
            ties[j, i] += 1
        else:
            wins[(i, j) if vote.value == LEFT else (j, i)] += vote.value in (LEFT, RIGHT)
    strengths = fit_pairs(wins, ties)
    needed = pair_votes_needed(strengths, len(counted))
    shares = _preferred(counted)
    return PairFigures(
        methods,
        wins,
        ties,
        strengths,
        compare_strengths(methods, strengths),
        correlations(measured, shares),
        len(counted),
        needed,
    )


def _preferred(votes: Sequence[Vote]) -> dict[tuple[str, str], float]:
    """Share of its comparisons that each picture won, a tie being half."""
    won: dict[tuple[str, str], list[float]] = {}
    for vote in votes:
        share = {LEFT: 1.0, RIGHT: 0.0, TIE: 0.5}[vote.value]
        won.setdefault((vote.content, vote.method), []).append(share)
        won.setdefault((vote.content, str(vote.against)), []).append(1 - share)
    return {picture: float(np.mean(shares)) for picture, shares in won.items()}
