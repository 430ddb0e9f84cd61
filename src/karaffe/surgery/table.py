"""A small table that shows itself as text, in a rich terminal and in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Table:
    """Headings, rows of text, and lines of notes below."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=list)

    def text(self) -> str:
        """Columns padded to their widest cell."""
        lines = [tuple(self.headings), *self.rows]
        widths = [max(len(line[c]) for line in lines) for c in range(len(self.headings))]
        padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([line.rstrip() for line in padded] + list(self.notes))

    def rich(self) -> RichTable:
        """For ``rich.print``."""
        from rich.markup import escape
        from rich.table import Table as RichTable

        shown = RichTable(*self.headings, caption=escape("\n".join(self.notes)) or None, caption_justify="left")
        for row in self.rows:
            shown.add_row(*map(escape, row))
        return shown

    def html(self) -> str:
        """An HTML table, its cells escaped."""

        def line(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line(row, "td") for row in self.rows)
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        table = f"<table><thead>{line(self.headings, 'th')}</thead><tbody>{body}</tbody></table>"
        return table + (f"<ul>{notes}</ul>" if notes else "")

    def markdown(self) -> str:
        """A Markdown table."""
        lines = [self.headings, ["---"] * len(self.headings), *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
