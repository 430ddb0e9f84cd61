"""Our figures against those of other people's packages: sureal for ratings, choix for pairs."""

from __future__ import annotations

import contextlib
import io
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from karaffe.studio.mos.analysis.opinion import differential, mean_opinion
from karaffe.studio.mos.analysis.pairs import fit_pairs
from karaffe.studio.mos.analysis.ratings import Ratings
from karaffe.studio.mos.analysis.screening import screen_bt500
from karaffe.studio.mos.analysis.subjects import fit_subjects, remove_bias

CONTENTS, VARIANTS, RATERS = 6, 5, 24


def panel(seed: int, missing: float = 0.0) -> np.ndarray:
    """Grades 1 to 5 of pictures by raters with bias and inconsistency, the last two of them guessing."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(1.2, 4.8, (CONTENTS * VARIANTS, 1))
    grades = quality + rng.normal(0, 0.4, RATERS) + rng.normal(0, 1, (len(quality), RATERS)) * rng.uniform(0.3, 0.9, 1)
    grades[:, -2:] = rng.uniform(0.5, 5.5, (len(quality), 2))
    scores = np.clip(np.round(grades), 1, 5)
    scores[rng.random(scores.shape) < missing] = np.nan
    return scores


def run_sureal(name: str, scores: np.ndarray, **options: Any) -> dict[str, Any]:
    models = pytest.importorskip("sureal.subjective_model")
    from sureal.dataset_reader import RawDatasetReader

    pictures = [
        {"asset_id": i, "content_id": i // VARIANTS, "path": f"c{i // VARIANTS}v{i % VARIANTS}", "os": list(row)}
        for i, row in enumerate(scores)
    ]
    references = [{"content_id": c, "content_name": f"c{c}", "path": f"c{c}v0"} for c in range(CONTENTS)]
    dataset = SimpleNamespace(ref_videos=references, dis_videos=pictures, ref_score=5.0, dataset_name="panel")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(models, name)(RawDatasetReader(dataset)).run_modeling(**options)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_means_and_errors_agree_with_sureal(missing: float) -> None:
    scores = panel(0, missing)
    theirs, ours = run_sureal("MosModel", scores), mean_opinion(scores)
    np.testing.assert_allclose(ours.mean, theirs["quality_scores"], rtol=1e-12)
    np.testing.assert_allclose(ours.deviation / np.sqrt(ours.count), theirs["quality_scores_std"], rtol=1e-12)


def test_differential_means_agree_with_sureal() -> None:
    scores = panel(1)
    theirs = run_sureal("DmosModel", scores)["quality_scores"]
    stimuli = tuple((f"c{i // VARIANTS}", f"v{i % VARIANTS}") for i in range(len(scores)))
    ours = differential(Ratings(stimuli, tuple(map(str, range(RATERS))), scores), "v0")
    kept = [i for i in range(len(scores)) if i % VARIANTS]
    np.testing.assert_allclose(mean_opinion(ours.scores).mean, np.array(theirs)[kept], rtol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_screening_agrees_with_sureal(seed: int) -> None:
    scores = panel(seed)
    theirs = run_sureal("SubjrejMosModel", scores)
    ours = screen_bt500(scores, ddof=0)
    assert ours.rejected.tolist() == theirs["observer_rejected"]
    np.testing.assert_allclose(ours.share, theirs["observer_rejected_1st_stats"], rtol=1e-12)
    np.testing.assert_allclose(ours.balance, theirs["observer_rejected_2nd_stats"], rtol=1e-12)


def test_the_panels_have_somebody_to_reject() -> None:
    assert [int(screen_bt500(panel(seed), ddof=0).rejected.sum()) for seed in range(6)] == [2, 1, 0, 1, 2, 0]


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_bias_removal_agrees_with_sureal(missing: float) -> None:
    scores = panel(2, missing)
    theirs = run_sureal("BiasremvMosModel", scores)
    unbiased, _ = remove_bias(scores)
    np.testing.assert_allclose(mean_opinion(unbiased).mean, theirs["quality_scores"], rtol=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_bias_and_inconsistency_agree_with_sureal(missing: float) -> None:
    scores = panel(3, missing)
    theirs, ours = run_sureal("SubjectMLEModelProjectionSolver", scores), fit_subjects(scores)
    np.testing.assert_allclose(ours.quality, theirs["quality_scores"], atol=1e-7)
    np.testing.assert_allclose(ours.bias, theirs["observer_bias"], atol=1e-7)
    np.testing.assert_allclose(ours.inconsistency, theirs["observer_inconsistency"], atol=1e-6)
    np.testing.assert_allclose(ours.bias_halfwidth, theirs["observer_bias_ci95"][0], rtol=1e-4)
    low, high = theirs["observer_inconsistency_ci95"]
    np.testing.assert_allclose(ours.inconsistency - ours.inconsistency_low, low, rtol=1e-5)
    np.testing.assert_allclose(ours.inconsistency_high - ours.inconsistency, high, rtol=1e-5)
    # Whoever guesses is the least consistent.
    assert set(np.argsort(ours.inconsistency)[-2:]) == {RATERS - 2, RATERS - 1}


def wins_of(seed: int, items: int = 5, votes: int = 300) -> np.ndarray:
    rng = np.random.default_rng(seed)
    strength = rng.normal(0, 1, items)
    wins = np.zeros((items, items))
    for _ in range(votes):
        i, j = rng.choice(items, 2, replace=False)
        first = rng.random() < 1 / (1 + np.exp(strength[j] - strength[i]))
        wins[(i, j) if first else (j, i)] += 1
    return wins


@pytest.mark.parametrize("seed", range(4))
def test_strengths_agree_with_choix(seed: int) -> None:
    choix = pytest.importorskip("choix")
    wins = wins_of(seed)
    data = [(i, j) for i in range(len(wins)) for j in range(len(wins)) for _ in range(int(wins[i, j]))]
    theirs = choix.ilsr_pairwise(len(wins), data, alpha=0.0, tol=1e-12)
    ours = fit_pairs(wins)
    np.testing.assert_allclose(ours.strength, theirs - theirs.mean(), atol=1e-7)


def test_covariance_agrees_with_the_second_derivatives_of_choix() -> None:
    choix = pytest.importorskip("choix.opt")
    wins = wins_of(7)
    data = [(i, j) for i in range(len(wins)) for j in range(len(wins)) for _ in range(int(wins[i, j]))]
    ours = fit_pairs(wins)
    hessian = choix.PairwiseFcts(data, 0.0).hessian(ours.strength)
    np.testing.assert_allclose(ours.covariance, np.linalg.pinv(hessian), atol=1e-9)


def test_strengths_agree_with_sureal() -> None:
    models = pytest.importorskip("sureal.pc_subjective_model")
    wins = wins_of(8, items=4)
    resolve = models.BradleyTerryMlePairedCompSubjectiveModel.resolve_model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = np.array(resolve(wins, display=False)[0])
    np.testing.assert_allclose(fit_pairs(wins).strength, theirs - theirs.mean(), atol=1e-5)
