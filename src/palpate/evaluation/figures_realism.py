"""Real and simulated pictures of touch side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from palpate.evaluation.figures_touch import PictureTable, write_picture

_SHOWN = 5
_GREY = 128.0


def side_by_side(
    path: Path,
    rest: np.ndarray,
    real: np.ndarray,
    drawn: np.ndarray,
    circles: Sequence[tuple[float, float, float]] | None,
    *,
    gain: float = 2.0,
) -> None:
    """Write a table: real pictures, drawn ones, the change of both and their difference about mid-grey.

    Args:
        path: of the PNG file.
        rest: (H, W, 3), of all.
        real: (N, H, W, 3) uint8, RGB.
        drawn: (N, H, W, 3) uint8.
        circles: x, y, radius [px] of presses to cut out, four radii wide; None shows whole pictures, which need no common content, and
            leaves out what compares them.
        gain: that changes are shown with.
    """
    picked = np.linspace(0, len(real) - 1, min(_SHOWN, len(real))).round().astype(int)
    cells, notes = [], []
    for k in picked:
        if circles is None:
            cells.append([[real[k]], [drawn[k]]])
            notes.append(["", ""])
            continue
        part = _cut(real.shape[1:3], circles[k])
        a, b = (i[part].astype(np.float32) - rest[part] for i in (real[k], drawn[k]))
        cells.append([[real[k]], [drawn[k]], [_grey(a, gain)], [_grey(b, gain)], [_grey(b - a, gain)]])
        notes.append(["", "", "", "", f"rms {np.sqrt(((b - a) ** 2).mean()):.1f} levels"])
    names = ["real", "simulated"] if circles is None else ["real", "simulated", "real change", "simulated", "their difference"]
    table = PictureTable(rows=[f"press {k}" for k in picked], columns=names, cells=cells, notes=notes)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(str(path), table.draw())


def _cut(shape: tuple[int, ...], circle: tuple[float, float, float]) -> tuple[slice, slice]:
    x, y, radius = circle
    low = max(int(y - 2 * radius), 0), max(int(x - 2 * radius), 0)
    high = min(int(y + 2 * radius) + 1, shape[0]), min(int(x + 2 * radius) + 1, shape[1])
    return slice(low[0], high[0]), slice(low[1], high[1])


def _grey(change: np.ndarray, gain: float) -> np.ndarray:
    return np.clip(np.rint(_GREY + gain * change), 0, 255).astype(np.uint8)
