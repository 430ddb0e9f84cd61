"""Docstrings as the pages show them: equations as MathML, which browsers draw without a script, and plain names.

An extension of griffe, which mkdocstrings reads the sources with. Docstrings write ``.. math::``, LaTeX behind it or
indented below, and roles such as ``:func:`` round names.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe
from latex2mathml.converter import convert

EQUATION = re.compile(
    r"^(?P<indent>[ \t]*)\.\. math::(?P<line>[^\n]*)\n(?P<block>(?:(?P=indent)[ \t]+[^\n]*\n|\s*\n)*)", re.M
)
INLINE = re.compile(r":math:`([^`]+)`")
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?([^`]+)`")
# Set apart from plain lines, which the converter would run together.
SPACES = {r"\qquad": r"\quad\quad", r"\tfrac": r"\frac", r"\lVert": r"\|", r"\rVert": r"\|"}


def mathml(latex: str, display: str = "block") -> str:
    """One equation."""
    latex = " ".join(latex.split())
    for unknown, known in SPACES.items():
        latex = latex.replace(unknown, known)
    return convert(latex, display=display)


def shown(docstring: str) -> str:
    """A docstring as Markdown."""

    def equation(found: re.Match[str]) -> str:
        latex = found["line"] + "\n" + textwrap.dedent(found["block"])
        return f'{found["indent"]}<div style="overflow-x: auto">{mathml(latex)}</div>\n\n'

    converted = EQUATION.sub(equation, docstring + "\n")
    converted = INLINE.sub(lambda found: mathml(found[1], "inline"), converted)
    return ROLE.sub(r"`\1`", converted)


class Equations(griffe.Extension):
    """Converts the docstring of every object."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = shown(obj.docstring.value)
