"""What was generated of another sensor's touch, beside what that sensor gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np

from palpate.evaluation.figures_touch import PictureTable, write_picture

GAIN = 2.0
"""Of changes about mid-grey."""
_GREY = 128.0
_LEAST = 10e-3
"""Smallest force on a part of a field that gets the brightest colour, ten times the sensor's noise [N]."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One touch on the sheet."""

    name: str
    source: np.ndarray
    """(H, W, 3) uint8, as the encoder saw it."""
    changes: Mapping[str, np.ndarray]
    """By column, the truth first: (H, W, 3) colours, 1 the brightest, or (R, C, 3) forces [N]."""
    notes: Mapping[str, str]
    """A few words below each."""
    rest: np.ndarray | None
    """(H, W, 3) uint8 of the target at rest; None for a field."""


def write_sheet(path: Path, shown: Sequence[Shown], source: str) -> Path:
    """Write a row for each touch: the source, then truth and guesses, and return the path.

    Of pictures each cell shows the picture and `GAIN` times its change about mid-grey. Of fields it shows the normal force and, where a
    truth has more than noise of them, the forces along x and y, in the scale of the truth of that touch.
    """
    columns = list(shown[0].changes)
    shear = any(one.rest is None and float(np.abs(one.changes[columns[0]][..., :2]).max()) > _LEAST for one in shown)
    table = PictureTable(
        rows=[one.name for one in shown],
        columns=[source, *columns],
        cells=[[[one.source], *(_cell(one, name, shear) for name in columns)] for one in shown],
        notes=[["", *(one.notes.get(name, "") for name in columns)] for one in shown],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(str(path), table.draw())
    return path


def _cell(one: Shown, name: str, shear: bool) -> list[np.ndarray]:
    change = one.changes[name]
    if one.rest is not None:
        levels = 255.0 * change
        return [_levels(one.rest + levels), _levels(_GREY + GAIN * levels)]
    full = max(float(np.abs(next(iter(one.changes.values()))).max()), _LEAST)
    along = [_coloured(0.5 + change[..., k] / (2 * full), "PuOr") for k in (0, 1)]
    return [_coloured(change[..., 2] / full, "viridis"), *(along if shear else ())]


def _levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _coloured(share: np.ndarray, name: str) -> np.ndarray:
    """Return colours (R, C, 3) uint8 of shares within 0 and 1, each part as several pixels, so that it stays sharp when enlarged."""
    colours = _levels(255.0 * mpl.colormaps[name](np.clip(share, 0.0, 1.0))[..., :3])
    return colours.repeat(6, axis=0).repeat(6, axis=1)
