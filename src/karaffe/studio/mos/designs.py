"""The designs a study can have: what is shown, what is asked, which answers there are.

Scales are those of ITU-R BT.500-15 and ITU-T P.910 (quality: "Excellent" is 5; impairment: "Imperceptible" is 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from karaffe.errors import unknown_name

QUALITY = ((5, "Excellent"), (4, "Good"), (3, "Fair"), (2, "Poor"), (1, "Bad"))
IMPAIRMENT = (
    (5, "Imperceptible"),
    (4, "Perceptible, but not annoying"),
    (3, "Slightly annoying"),
    (2, "Annoying"),
    (1, "Very annoying"),
)
LEFT, RIGHT, TIE = 1, 2, 0
PREFERENCE = ((LEFT, "Left"), (RIGHT, "Right"))


@dataclass(frozen=True)
class Design:
    """One way to ask.

    Attributes:
        name: As written in a study file.
        title: As written in a report.
        source: The clause that defines it.
        question: Asked under every picture, unless the study has its own.
        answers: Value and label, in the order shown.
        pictures: How many pictures a trial shows.
        shows_reference: The first of two pictures is the open reference.
        rates_reference: The reference is rated too, unnamed, as one of the methods.
    """

    name: str
    title: str
    source: str
    question: str
    answers: tuple[tuple[int, str], ...]
    pictures: int = 1
    shows_reference: bool = False
    rates_reference: bool = False

    @property
    def compares(self) -> bool:
        """Whether two methods are compared, rather than one rated."""
        return self.pictures == 2 and not self.shows_reference

    @property
    def needs_reference(self) -> bool:
        return self.shows_reference or self.rates_reference


_QUESTION = "How do you rate the quality of this picture?"
_DIFFERENCE = "How do you rate the second picture, compared with the reference?"
_ALL = (
    Design("acr", "Absolute category rating", "ITU-T P.910, ACR", _QUESTION, QUALITY),
    Design(
        name="acr-hr",
        title="Absolute category rating with hidden reference",
        source="ITU-T P.910, ACR-HR; P.913 clause 7.2.2",
        question=_QUESTION,
        answers=QUALITY,
        rates_reference=True,
    ),
    Design(
        name="dcr",
        title="Degradation category rating",
        source="ITU-T P.910, DCR; P.913 clause 7.1.2",
        question=_DIFFERENCE,
        answers=IMPAIRMENT,
        pictures=2,
        shows_reference=True,
    ),
    Design(
        name="dsis",
        title="Double-stimulus impairment scale",
        source="ITU-R BT.500-15, DSIS",
        question=_DIFFERENCE,
        answers=IMPAIRMENT,
        pictures=2,
        shows_reference=True,
    ),
    Design(
        name="pair",
        title="Pair comparison",
        source="ITU-T P.910, PC; P.913 clause 7.1.3",
        question="Which picture do you prefer?",
        answers=PREFERENCE,
        pictures=2,
    ),
)
DESIGNS = MappingProxyType({design.name: design for design in _ALL})
ALIASES = MappingProxyType({"2afc": "pair", "pairwise": "pair"})


def get_design(name: str) -> Design:
    """Return the design ``name``.

    Raises:
        UnknownNameError: There is none; the message names close ones.
    """
    name = ALIASES.get(name, name)
    if name not in DESIGNS:
        raise unknown_name("design", name, DESIGNS)
    return DESIGNS[name]
