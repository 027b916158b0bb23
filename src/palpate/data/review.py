"""`review.csv` in a data folder: the trials whose label a person should check, and what the person said.

One row a trial and label. A person fills the column `person` with 1, 0 or ? (cannot be told); what is empty keeps the label that
the data has. The reader takes the person's word, the trials themselves are never changed.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from palpate.core.errors import DataError
from palpate.data.files import write_atomic

REVIEW = "review.csv"
COLUMNS = ("trial", "label", "probability", "person")
_WORDS: dict[str, float | None] = {"1": 1.0, "0": 0.0, "?": None}


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A label that the labeller is not sure of."""

    trial: int
    label: str
    probability: float
    """That the label is yes."""
    person: str = ""
    """What a person said: 1, 0, ?, or empty for nothing yet."""


def read_review(root: Path) -> list[Doubt]:
    """Return the rows of a data folder's review file; none if it has no such file.

    Raises:
        DataError: the file is no such table; the message gives the line.
    """
    path = root / REVIEW
    if not path.is_file():
        return []
    out = []
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise DataError(f"{path}: the columns are {rows.fieldnames}, they must be {', '.join(COLUMNS)}")
        for number, row in enumerate(rows, start=2):
            person = (row["person"] or "").strip()
            try:
                doubt = Doubt(trial=int(row["trial"]), label=row["label"], probability=float(row["probability"]), person=person)
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}, line {number}: {error}; trial is a whole number, probability a number") from error
            if person and person not in _WORDS:
                raise DataError(
                    f"{path}, line {number}: person is {person!r}; write 1 (yes), 0 (no), ? (cannot be told) or nothing"
                )
            out.append(doubt)
    return out


def corrections(root: Path) -> dict[tuple[int, str], float | None]:
    """Return what persons said: (trial, label) -> 1.0, 0.0 or None for not known."""
    return {(doubt.trial, doubt.label): _WORDS[doubt.person] for doubt in read_review(root) if doubt.person}


def write_review(root: Path, doubts: Iterable[Doubt]) -> None:
    """Add doubts to a data folder's review file. Rows that are there stay as they are; without any row there is no file."""
    rows = {(doubt.trial, doubt.label): doubt for doubt in doubts}
    rows |= {(doubt.trial, doubt.label): doubt for doubt in read_review(root)}
    if not rows:
        return
    lines = [",".join(COLUMNS)]
    lines += [f"{d.trial},{d.label},{d.probability:.4f},{d.person}" for _, d in sorted(rows.items())]
    write_atomic(root / REVIEW, ("\n".join(lines) + "\n").encode())
