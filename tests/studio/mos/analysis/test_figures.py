"""Figures by their definitions: small cases by hand, numbers of other formulas for the same thing, and no data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from karaffe.errors import ArgumentError
from karaffe.studio.mos.analysis.objective import correlate, measure
from karaffe.studio.mos.analysis.opinion import differential, mean_opinion, method_opinion
from karaffe.studio.mos.analysis.pairs import fit_pairs
from karaffe.studio.mos.analysis.ratings import Ratings
from karaffe.studio.mos.analysis.screening import screen_bt500, screen_p913
from karaffe.studio.mos.analysis.significance import compare_ratings, holm, pair_votes_needed, raters_needed
from karaffe.studio.mos.analysis.subjects import fit_subjects

GRADES = np.array([[5, 4, 4, 5.0], [3, 2, np.nan, 3], [np.nan] * 4])


def panel(seed: int, stimuli: int = 12, raters: int = 10) -> Ratings:
    rng = np.random.default_rng(seed)
    scores = np.clip(np.round(rng.uniform(1, 5, (stimuli, 1)) + rng.normal(0, 0.8, (stimuli, raters))), 1, 5)
    names = tuple((f"c{i // 3}", "abc"[i % 3]) for i in range(stimuli))
    return Ratings(names, tuple(map(str, range(raters))), scores)


def test_means_and_t_intervals_by_hand() -> None:
    found = mean_opinion(GRADES)
    np.testing.assert_allclose(found.mean, [4.5, 8 / 3, np.nan])
    np.testing.assert_array_equal(found.count, [4, 3, 0])
    np.testing.assert_allclose(found.deviation[:2], [math.sqrt(1 / 3), math.sqrt(1 / 3)])
    # Student's t at 0.975 with 3 and 2 degrees of freedom, from a printed table.
    np.testing.assert_allclose(
        found.halfwidth[:2], [3.18245 * math.sqrt(1 / 12), 4.30265 * math.sqrt(1 / 9)], rtol=1e-5
    )


@given(st.integers(0, 500))
def test_complete_votes_give_a_method_the_interval_of_the_raters_means(seed: int) -> None:
    ratings = panel(seed)
    found = method_opinion(ratings)
    for i, method in enumerate(ratings.methods):
        means = ratings.scores[ratings.rows(method)].mean(0)
        interval = mean_opinion(means[None])
        assert found.mean[i] == pytest.approx(means.mean())
        assert found.halfwidth[i] == pytest.approx(interval.halfwidth[0])


def test_intervals_hold_what_they_promise() -> None:
    rng = np.random.default_rng(0)
    votes = rng.normal(3, 1, (4000, 8))
    found = mean_opinion(votes)
    assert np.mean(np.abs(found.mean - 3) <= found.halfwidth) == pytest.approx(0.95, abs=0.012)


def test_differential_scores_are_each_raters_own() -> None:
    stimuli = (("p", "a"), ("p", "reference"), ("q", "a"))
    scores = np.array([[3, 2.0], [5, 4], [1, 1]])
    found = differential(Ratings(stimuli, ("r", "s"), scores), "reference")
    assert found.stimuli == (("p", "a"), ("q", "a"))
    np.testing.assert_array_equal(found.scores, [[3, 3], [np.nan, np.nan]])


def test_screening_finds_who_guesses() -> None:
    rng = np.random.default_rng(0)
    quality = rng.uniform(1, 5, (60, 1))
    scores = quality + rng.normal(0, 0.8, (60, 20))
    scores[:, 3] = rng.uniform(0, 6, 60)
    assert np.flatnonzero(screen_bt500(scores).rejected).tolist() == [3]
    scores = quality + rng.normal(0, 0.3, (60, 20))
    scores[:, 3] = rng.uniform(1, 5, 60)
    found = screen_p913(scores)
    assert np.flatnonzero(found.rejected).tolist() == [3]
    assert found.correlation[3] < 0.75 < np.delete(found.correlation, 3).min()


def test_screening_takes_the_worst_first_and_looks_again() -> None:
    # Two raters turned upside down spoil the mean for the others; without them all is well.
    base = np.linspace(1, 5, 9)[:, None]
    noise = np.random.default_rng(1).normal(0, 0.4, (9, 5))
    scores = np.hstack([base + noise[:, :3], 6 - base + noise[:, 3:]])
    mean = scores.mean(1)
    assert np.corrcoef(mean, scores[:, 0])[0, 1] < 1
    assert screen_p913(scores).rejected.tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("scores", [np.empty((0, 0)), np.full((3, 2), np.nan), np.full((4, 5), 3.0)])
def test_nothing_to_screen(scores: np.ndarray) -> None:
    assert not screen_bt500(scores).rejected.any()


def test_a_rater_without_votes_cannot_be_modelled() -> None:
    with pytest.raises(ArgumentError, match="at least one vote"):
        fit_subjects(GRADES)


@given(st.integers(0, 300))
def test_bias_is_found_exactly_without_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    quality, bias = rng.uniform(1, 5, (9, 1)), rng.normal(0, 1, 6)
    found = fit_subjects(quality + bias)
    np.testing.assert_allclose(found.bias, bias - bias.mean(), atol=1e-9)
    np.testing.assert_allclose(found.quality, quality[:, 0] + bias.mean(), atol=1e-9)
    np.testing.assert_allclose(found.inconsistency, 0, atol=1e-6)


def test_two_items_by_hand() -> None:
    found = fit_pairs(np.array([[0, 30], [10, 0.0]]))
    assert found.strength[0] - found.strength[1] == pytest.approx(math.log(3))
    difference, error, p = found.difference(0, 1)
    assert difference == pytest.approx(math.log(3))
    # The information of a log-odds is n p (1 - p).
    assert error == pytest.approx(1 / math.sqrt(40 * 0.75 * 0.25))
    assert p == pytest.approx(2 * stats.norm.sf(difference / error))


@given(st.integers(0, 200))
def test_ties_maximise_davidsons_likelihood(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wins = rng.integers(1, 12, (4, 4)).astype(float)
    np.fill_diagonal(wins, 0)
    upper = np.triu(rng.integers(1, 8, (4, 4)), 1).astype(float)
    ties = upper + upper.T
    found = fit_pairs(wins, ties)

    def loss(x: np.ndarray) -> float:
        theta, nu = np.append(x[:3], 0), math.exp(x[3])
        total = 0.0
        for i in range(4):
            for j in range(i + 1, 4):
                a, b = math.exp(theta[i]), math.exp(theta[j])
                tie = nu * math.sqrt(a * b)
                whole = a + b + tie
                total -= wins[i, j] * math.log(a / whole) + wins[j, i] * math.log(b / whole)
                total -= ties[i, j] * math.log(tie / whole)
        return total

    best = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8}).x
    theta = np.append(best[:3], 0)
    np.testing.assert_allclose(found.strength, theta - theta.mean(), atol=1e-4)
    assert found.tie == pytest.approx(math.exp(best[3]), rel=1e-3)


@pytest.mark.parametrize(
    ("wins", "groups"),
    [
        (np.array([[0, 3, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1], [0, 0, 4, 0.0]]), 2),
        (np.array([[0, 5, 5], [0, 0, 3], [0, 2, 0.0]]), 2),
        (np.zeros((3, 3)), 3),
    ],
)
def test_what_cannot_be_compared_is_said(wins: np.ndarray, groups: int) -> None:
    found = fit_pairs(wins)
    assert not found.connected
    assert len(set(found.groups)) == groups
    assert "not connected" in str(found.warning)
    assert np.isnan(found.strength).all()


def test_a_tie_connects() -> None:
    assert fit_pairs(np.array([[0, 5], [0, 0.0]]), np.array([[0, 1], [1, 0.0]])).connected


def test_counts_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ArgumentError, match="square"):
        fit_pairs(np.zeros((2, 3)))
    with pytest.raises(ArgumentError, match="symmetric"):
        fit_pairs(np.zeros((2, 2)), np.array([[0, 1], [0, 0.0]]))


def test_methods_are_compared_by_the_paired_t_test() -> None:
    ratings = panel(3)
    a, b = (ratings.scores[ratings.rows(m)].mean(0) for m in "ab")
    found = next(c for c in compare_ratings(ratings) if (c.first, c.second) == ("a", "b"))
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.difference == pytest.approx((a - b).mean())


def test_holms_correction_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03, np.nan])), [0.06, 0.03, 0.06, np.nan])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1, 1])


@pytest.mark.parametrize("halfwidth", [0.5, 0.25, 0.1])
def test_the_raters_needed_are_enough_and_not_one_more(halfwidth: float) -> None:
    opinion = mean_opinion(panel(1).scores)
    needed = raters_needed(opinion, halfwidth)
    assert needed is not None
    deviation = math.sqrt(np.mean(opinion.deviation**2))

    def reach(n: int) -> float:
        return float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)

    assert reach(needed) <= halfwidth < reach(needed - 1)
    assert raters_needed(mean_opinion(GRADES[:, :1]), halfwidth) is None


def test_more_votes_are_needed_for_what_is_close() -> None:
    far, near = fit_pairs(np.array([[0, 60], [20, 0.0]])), fit_pairs(np.array([[0, 44], [36, 0.0]]))
    assert pair_votes_needed(far, 80) < 80 < pair_votes_needed(near, 80)
    assert pair_votes_needed(fit_pairs(np.zeros((2, 2))), 0) is None


def test_correlations_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=20)
    y = x + rng.normal(size=20)
    found = correlate("psnr", [*x, math.inf, 1.0], np.array([*y, 3.0, np.nan]))
    theirs = stats.pearsonr(x, y)
    assert found.count == 20
    assert found.pearson == pytest.approx(theirs.statistic)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval()))
    assert found.spearman == pytest.approx(stats.spearmanr(x, y).statistic)
    assert math.isnan(correlate("psnr", [1, 1, 1], np.array([1.0, 2, 3])).pearson)


def test_grey_is_measured_against_colour() -> None:
    grey = np.full((16, 16), 90, np.uint8)
    assert measure(grey, grey)["psnr"] == math.inf
    assert measure(grey, np.stack([grey] * 3, 2))["psnr"] == math.inf
    assert math.isnan(measure(grey[:8], grey[:8])["ssim"])
