"""A table that prints on a terminal and in a page, and how numbers are written in it."""

import html
from dataclasses import dataclass

import numpy as np

from palpate.core.errors import RecordError
from palpate.evaluation.intervals import Interval

NOTHING = "-"
"""Stands where a number does not exist."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A caption, column heads, rows of text, and a note. The first column names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    strong: tuple[int, ...] = ()
    """Indices of rows to stress."""
    heads: tuple[tuple[str, int], ...] = ()
    """Heads above the column heads, with the number of columns each spans; empty for none."""

    def __post_init__(self) -> None:
        """Refuse ragged rows."""
        bad = [row for row in self.rows if len(row) != len(self.columns)]
        if bad or (self.heads and sum(span for _, span in self.heads) != len(self.columns)):
            raise RecordError(f"table {self.caption!r}: {len(self.columns)} columns, but a row or the heads differ: {bad[:1]}")

    def text(self) -> str:
        """Return the table for a terminal."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.columns))]

        def row(cells: tuple[str, ...]) -> str:
            first = cells[0].ljust(widths[0])
            return "  ".join([first, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]).rstrip()

        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        body = [self.caption, *self._head_text(widths), row(self.columns), rule, *map(row, self.rows)]
        return "\n".join([*body, self.note] if self.note else body)

    def _head_text(self, widths: list[int]) -> list[str]:
        """Return the line of upper heads, each centred over its columns."""
        cells, k = [], 0
        for name, span in self.heads:
            cells.append(name.center(sum(widths[k : k + span]) + 2 * (span - 1)))
            k += span
        line = "  ".join(cells).rstrip()
        return [line] if line else []

    def html(self) -> str:
        """Return the table as an HTML fragment, all text escaped."""
        head = "".join(f"<th scope='col'>{html.escape(c)}</th>" for c in self.columns)
        upper = "".join(f"<th scope='colgroup' colspan='{span}'>{html.escape(name)}</th>" for name, span in self.heads)
        upper = f"<tr class='upper'>{upper}</tr>" if upper else ""
        body = []
        for i, row in enumerate(self.rows):
            mark = " class='strong'" if i in self.strong else ""
            cells = "".join(f"<td>{_cell(c)}</td>" for c in row[1:])
            body.append(f"<tr{mark}><th scope='row'>{html.escape(row[0])}</th>{cells}</tr>")
        note = f"<p class='note'>{html.escape(self.note)}</p>" if self.note else ""
        return (
            f"<div class='table'><div class='scroll'><table><caption>{html.escape(self.caption)}</caption>"
            f"<thead>{upper}<tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>{note}</div>"
        )


def _cell(text: str) -> str:
    """Set the interval of `82.1 [80.0, 84.2]` smaller than its number."""
    number, bracket, rest = text.partition(" [")
    if not bracket or not rest.endswith("]"):
        return html.escape(text)
    return f"{html.escape(number)} <span class='ci'>[{html.escape(rest)}</span>"


def percent(value: float | Interval | None) -> str:
    """Write a fraction as per cent, with its interval if it has one: `82.1 [80.0, 84.2]`."""
    if value is None:
        return NOTHING
    if not isinstance(value, Interval):
        return NOTHING if np.isnan(value) else f"{100 * value:.1f}"
    if np.isnan(value.value):
        return NOTHING
    if np.isnan(value.low):
        return f"{100 * value.value:.1f} [no interval]"
    return f"{100 * value.value:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def points(value: float | Interval | None) -> str:
    """Write a difference of fractions in percentage points, signed: `+5.1 [+3.9, +6.3]`."""
    if value is None:
        return NOTHING
    if not isinstance(value, Interval):
        return NOTHING if np.isnan(value) else f"{100 * value:+.1f}"
    if np.isnan(value.value):
        return NOTHING
    if np.isnan(value.low):
        return f"{100 * value.value:+.1f} [no interval]"
    return f"{100 * value.value:+.1f} [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"


def plain(value: float | Interval | None, digits: int = 3) -> str:
    """Write a number as it is, with its interval if it has one."""
    if value is None:
        return NOTHING
    if not isinstance(value, Interval):
        return NOTHING if np.isnan(value) else f"{value:.{digits}f}"
    if np.isnan(value.value):
        return NOTHING
    if np.isnan(value.low):
        return f"{value.value:.{digits}f} [no interval]"
    return f"{value.value:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def model_title(name: str) -> str:
    """Write a model or policy name for people: `vision + touch (no action)`."""
    parts = name.split("+")
    if len(parts) > 1 and "action" not in parts:
        return f"{' + '.join(parts)} (no action)"
    return " + ".join(parts)
