import math

import numpy as np
import pytest
from scipy import stats

from karaffe.errors import ArgumentError, ShapeError
from karaffe.evaluation.results import Row, compare_models, plain, summarize, to_csv
from karaffe.evaluation.statistics import bootstrap_interval, paired_test

SAMPLE = np.random.default_rng(0).normal(30, 3, 60)


def test_the_interval_is_near_the_normal_one_and_comes_from_the_seed():
    low, high = bootstrap_interval(SAMPLE)
    margin = 1.96 * SAMPLE.std() / math.sqrt(len(SAMPLE))
    assert low == pytest.approx(SAMPLE.mean() - margin, abs=0.05 * margin)
    assert high == pytest.approx(SAMPLE.mean() + margin, abs=0.05 * margin)
    assert bootstrap_interval(SAMPLE) == (low, high)
    assert bootstrap_interval(SAMPLE, seed=1) != (low, high)
    wide = bootstrap_interval(SAMPLE, confidence=0.99)
    assert wide[0] < low < high < wide[1]


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(30):
        low, high = bootstrap_interval(rng.normal(0, 1, 40), seed=3)
        hits += low < 0 < high
    assert 24 <= hits <= 30


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 2.0, math.inf], []])
def test_no_interval_where_it_would_say_nothing(values):
    assert bootstrap_interval(values) is None


def test_a_confidence_that_is_none_is_refused():
    with pytest.raises(ArgumentError, match="confidence"):
        bootstrap_interval(SAMPLE, confidence=95)


def test_the_paired_test_by_hand():
    a, b = [31.0, 29.5, 33.0, 30.25, 28.0], [30.5, 29.75, 32.0, 30.0, 27.0]
    result = paired_test(a, b, names=("new", "old"))
    d = np.subtract(a, b)
    t = d.mean() / (d.std(ddof=1) / math.sqrt(5))
    assert result.difference == pytest.approx(0.5)
    assert (result.first, result.second, result.wins, result.losses) == ("new", "old", 4, 1)
    assert result.t_test == pytest.approx(2 * stats.t.sf(t, 4))
    # Ranks of |d|: 3, 1.5 (the loss), 4.5, 1.5, 4.5.
    assert result.wilcoxon == pytest.approx(stats.wilcoxon(d).pvalue)
    assert result.interval[0] < 0.5 < result.interval[1]


def test_differences_without_spread():
    assert paired_test([1.0, 2.0], [1.0, 2.0]).t_test == 1
    assert paired_test([1.0, 2.0], [0.5, 1.5]).wilcoxon == 0


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(ShapeError, match="two or more"):
        paired_test([1.0], [2.0])
    with pytest.raises(ShapeError, match=r"\(2,\) and \(3,\)"):
        paired_test([1.0, 2.0], [2.0, 1.0, 3.0])
    with pytest.raises(ArgumentError, match="finite"):
        paired_test([1.0, math.inf], [2.0, 1.0])


ROWS = [
    Row("a,1.png", "x", 30.0, 0.9, 1.0),
    Row("a,1.png", "y", 31.0, 0.8, 2.0),
    Row("b.png", "x", 32.0, 0.7, 3.0),
    Row("b.png", "y", 34.0, 0.6, 4.0),
    Row("c.png", "x", 20.0, 0.5, 5.0),
    Row("c.png", "y", math.inf, 1.0, 6.0),
]


def test_summaries_are_means_in_the_models_order():
    first, second = summarize(ROWS)
    assert (first.model, first.images, first.psnr, first.seconds) == ("x", 3, pytest.approx(82 / 3), 3.0)
    assert first.ssim == pytest.approx(0.7)
    assert first.psnr_interval[0] < first.psnr < first.psnr_interval[1]
    assert (second.model, second.psnr, second.psnr_interval) == ("y", math.inf, None)


def test_models_are_paired_by_image_and_only_where_both_are_finite():
    result = compare_models(list(reversed(ROWS)), "y", "x")
    assert (result.difference, result.wins) == (1.5, 2)
    assert compare_models(ROWS, "y", "x", metric="ssim").wins == 1


def test_tables_and_json():
    lines = to_csv(ROWS).splitlines()
    assert lines[0] == "image,model,psnr,ssim,seconds"
    assert lines[1] == '"a,1.png",x,30.0,0.9,1.0'
    assert plain({"a": [math.inf, 1.0], "b": (-math.inf, None, "x")}) == {"a": ["inf", 1.0], "b": ["-inf", None, "x"]}
