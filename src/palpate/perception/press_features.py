"""Hand-made figures of a touch press that survive another frame rate, size and light: for hardness and roughness by regression.

All but one are logarithms of what the contact does to the picture, so that their differences are ratios. Shape and texture are
told apart by scale: a hard curved thing changes the light broadly and steeply, cloth finely and everywhere; edges of a smooth
thing have one direction, bumps have none (smaller eigenvalue of the structure tensor).
"""

import cv2
import numpy as np

from palpate.core.errors import DataError
from palpate.perception.press_video import PressReading, inner

SCALES = (1, 2, 4, 8, 16)
"""Sizes of structures [px of a picture of `ROWS` rows], each twice the one before."""
PERCENTILES = (50, 90, 98)
ROWS = 216
"""Rows to which the inner part of a picture is brought."""
PICTURES = 4
"""Pictures of the press that are averaged."""
STRONG = 0.25
"""Pictures are taken from this share of the clip, where the change is largest."""
SMOOTH = 0.2
"""Window over which speeds are measured [s]."""
GUARD = 0.4
"""Frames closer to contact than this are not used as free of it [s]."""
SETTLE = 0.2
"""Nor are those so soon after the start of a recording [s]. In PhysiCLeAR's clips the brightness of frames 0 to 4 tells how hard the object
is (Spearman over objects 0.44, 0.33, 0.29, 0.24, 0.16, then none): most likely what is left of the press before."""
_SIZE_SCALE = 4
_BROAD = 1.7
"""Last blur, at the coarsest scale: with those before it 32 px of the full picture."""
_SPREAD = 4.0
"""Blur of the structure tensor, at its own scale."""
_FLOOR = 0.02
_COLOURS = np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.0, -0.5], [0.25, -0.5, 0.25]], np.float32)
"""Grey, red against blue, green against both: light from several sides turns slope into colour."""

NAMES = (
    *(f"bumps_{scale}_p{q}" for scale in SCALES for q in PERCENTILES),
    *(f"edges_{scale}" for scale in SCALES),
    *(f"broad_{colour}" for colour in ("grey", "red_blue", "green")),
    *(f"change_p{q}" for q in PERCENTILES),
    "rise_speed",
)
"""Names of the numbers, in order."""


def press_features(frames: np.ndarray, reading: PressReading, *, contact: bool = True) -> np.ndarray:
    """Return (D,) float64, one number for each of `NAMES`.

    Args:
        frames: (T, H, W, 3) uint8 that `reading` was made from.
        reading: their time course.
        contact: False takes the frames without contact instead: the control that must not predict anything.

    Raises:
        DataError: `contact` is False and the clip has too few frames free of it.
    """
    use = np.arange(len(frames)) if contact else still_frames(reading)
    if len(use) < PICTURES:
        raise DataError(
            f"the clip has {len(use)} frames well after its start and well before contact; the control needs {PICTURES}"
        )
    chosen = use[strongest_frames(reading.change[use])]
    rows = [_picture(_difference(frames[k], reading.rest)) for k in chosen]
    return np.append(np.mean(rows, axis=0), _speed(reading.times[use], reading.change[use]))


def still_frames(reading: PressReading) -> np.ndarray:
    """Return indices of the first `PICTURES` frames without a trace of a press, fewer if there are no more: for a control.

    They are quiet, `GUARD` seconds off contact, not after release and not before `SETTLE`: a touch too light to be seen as contact, or
    the gel's slow return, would let a control know what is pressed. More frames of a longer wait would tell it too: how many there are
    goes with how hard the object is (0.29 [0.05, 0.50] over the objects of PhysiCLeAR).
    """
    loud = reading.times[~reading.quiet]
    apart = np.abs(reading.times[:, None] - loud[None, :]).min(axis=1, initial=np.inf) > GUARD
    before = np.arange(len(apart)) < (len(apart) if reading.onset is None else reading.onset)
    settled = reading.times - reading.times[0] >= SETTLE
    return np.flatnonzero(apart & before & settled)[:PICTURES]


def strongest_frames(change: np.ndarray, n: int = PICTURES) -> np.ndarray:
    """Return (n,) indices, ascending and spread evenly over the frames of largest `change` (T,)."""
    count = max(n, round(STRONG * len(change)))
    top = np.sort(np.argsort(change)[-count:])
    return top[np.linspace(0, len(top) - 1, n).round().astype(int)]


def rise_speed(times: np.ndarray, change: np.ndarray) -> float:
    """Return the steepest rise of `change` (T,) [levels/s] over a window of `SMOOTH` seconds; 0 if it only falls."""
    step = float(np.median(np.diff(times)))
    window = max(1, round(SMOOTH / step))
    if len(change) <= window:
        return 0.0
    return max(0.0, float((change[window:] - change[:-window]).max() / (window * step)))


def _difference(frame: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Change of the inner part in grey and two colour contrasts, (ROWS, w, 3)."""
    part = inner((frame.astype(np.float32) - rest)[None])[0]
    if part.shape[0] != ROWS:
        shrink = part.shape[0] > ROWS
        size = (round(ROWS * part.shape[1] / part.shape[0]), ROWS)
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    return part @ _COLOURS.T


def _picture(change: np.ndarray) -> np.ndarray:
    """Figures of one change, from a pyramid: every level is blurred and then halved, so that one pixel is one of `SCALES`."""
    bumps, edges, level = [], [], change
    size = np.zeros(0)
    for scale in SCALES:
        level = cv2.GaussianBlur(level, (0, 0), 0.9)
        least, oriented = _structure(level[..., 0])
        bumps += [0.5 * np.log(v + 1e-3) for v in np.percentile(least, PERCENTILES)]
        edges.append(oriented)
        if scale == _SIZE_SCALE:
            size = np.abs(level).sum(axis=-1)
        if scale != SCALES[-1]:
            level = level[::2, ::2]
    broad = np.sqrt((cv2.GaussianBlur(level, (0, 0), _BROAD) ** 2).mean(axis=(0, 1)))
    return np.array([*bumps, *edges, *np.log(broad + _FLOOR), *np.log(np.percentile(size, PERCENTILES) + _FLOOR)])


def _structure(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """Smaller eigenvalue of the smoothed structure tensor (H, W), and the share of gradients that have one direction."""
    x, y = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    xx, yy, xy = (cv2.GaussianBlur(p, (0, 0), _SPREAD) for p in (x * x, y * y, x * y))
    both, oriented = xx + yy, np.sqrt((xx - yy) ** 2 + 4.0 * xy**2)
    return np.maximum(both - oriented, 0.0) / 2.0, float(oriented.sum() / (both.sum() + 1e-6))


def _speed(times: np.ndarray, change: np.ndarray) -> float:
    """How abruptly contact comes: log of the steepest rise over the largest change [log 1/s]."""
    return float(np.log(rise_speed(times, change) / (np.percentile(change, 98) + 0.05) + 0.1))
