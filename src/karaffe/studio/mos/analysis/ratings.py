"""Votes as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from karaffe.studio.mos.plan import TEST
from karaffe.studio.mos.votes import Vote

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ratings:
    """Scores of stimuli by raters.

    Attributes:
        stimuli: (content, method) of each row. raters: Code of each column.
        scores: ``(stimuli, raters)``, NaN where there is no answer.
    """

    stimuli: tuple[tuple[str, str], ...]
    raters: tuple[str, ...]
    scores: Array

    def rows(self, method: str) -> list[int]:
        """Rows of one method."""
        return [i for i, (_, name) in enumerate(self.stimuli) if name == method]

    @property
    def methods(self) -> list[str]:
        """Methods in the order of their first row."""
        return list(dict.fromkeys(method for _, method in self.stimuli))

    def without(self, rejected: Mask) -> Ratings:
        """The same without the raters of ``rejected``, ``(raters,)``."""
        kept = tuple(r for r, out in zip(self.raters, rejected, strict=True) if not out)
        return replace(self, raters=kept, scores=self.scores[:, ~rejected])


def ratings_of(votes: Sequence[Vote]) -> Ratings:
    """Arrange the first answers to test trials; training, gold and repeats are left out."""
    counted = [vote for vote in votes if vote.kind == TEST and not vote.repeat]
    stimuli = tuple(sorted({(vote.content, vote.method) for vote in counted}))
    raters = tuple(dict.fromkeys(vote.rater for vote in counted))
    row, column = {s: i for i, s in enumerate(stimuli)}, {r: i for i, r in enumerate(raters)}
    scores = np.full((len(stimuli), len(raters)), np.nan)
    for vote in counted:
        scores[row[vote.content, vote.method], column[vote.rater]] = vote.value
    return Ratings(stimuli, raters, scores)
