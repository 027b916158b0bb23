"""Which frames of a touch recording show contact: those that differ from the gel at rest by more than the recording's own noise.

For simulated and real recordings of any optical sensor, frame rate and length, also shorter than `press_video` can read. AnyTouch filters
its training data by such a difference (Section A.1). Axis letters: T frame, H W rows and columns.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from palpate.core.errors import RecordError

ENDS = 3
"""Frames at each end that may show the gel at rest. Their median stands for them: a leftover of another take may be among them."""
SIGMAS = 6.0
"""Contact changes a picture by so many standard deviations of a quiet frame's change."""
FAINTEST = 3.0
"""No smaller change, summed over colours, is contact [grey levels]: what compression, rounding and lamps do."""
RESIDUE = 0.1
"""After release a gel may keep so much of the largest change without being in contact."""
_APART = 1.6
"""Two ends differ, if by more than so many times what two pictures in a row do."""
_COLUMNS = 48
_TOP = 0.01
_LEAST_NOISE = 0.1


@dataclass(frozen=True, kw_only=True)
class ContactFrames:
    """What was found."""

    contact: np.ndarray
    """(T,) bool."""
    strength: np.ndarray
    """(T,) change from the background in the most changed hundredth of the picture [grey levels]."""
    threshold: float
    """Strength above which a frame shows contact [grey levels]."""
    background: np.ndarray
    """(H, W, 3) uint8: the gel at rest, median of the quiet frames."""
    quiet: int
    """How many frames the background comes from."""


def find_contact(frames: np.ndarray, background: np.ndarray | None = None) -> ContactFrames:
    """Tell the frames of one recording with contact from those without.

    Without a given background it is taken from the frames at the start or at the end, whichever are at rest: both where they agree, else
    the end with less steep light, since contact adds edges. All frames that are like it are then quiet; their median is the background,
    and the spread of their change is the noise. A recording that never leaves its background has no contact: one that is in
    contact from the first frame to the last and hardly moves cannot be told from it without a `background`.

    Args:
        frames: (T, H, W, 3) uint8.
        background: (H, W, 3) uint8 of the same sensor at rest, if known.

    Raises:
        RecordError: frames or background of a wrong form.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise RecordError(f"a touch recording must be (T, H, W, 3) uint8 with T > 0, got {frames.shape} {frames.dtype}")
    if background is not None and background.shape != frames.shape[1:]:
        raise RecordError(
            f"background {background.shape} and frames {frames.shape[1:]} differ in size; they must be one sensor's"
        )
    small = np.stack([_small(frame) for frame in frames])
    noise = _noise(small)
    rest = _rest(small, noise) if background is None else _small(background)
    strength = np.array([_change(frame, rest) for frame in small])
    quiet = strength <= _APART * noise
    if background is None:
        quiet |= strength == strength.min()  # one at least is like the ends that it came from
        background = np.median(frames[quiet], axis=0).astype(np.uint8)
        rest = np.median(small[quiet], axis=0)
        strength = np.array([_change(frame, rest) for frame in small])
    calm = strength[quiet] if quiet.any() else np.zeros(1)
    usual = float(np.median(calm)) + SIGMAS * float(calm.std())
    threshold = max(usual, _APART * noise, FAINTEST, RESIDUE * float(strength.max()))
    return ContactFrames(
        contact=strength > threshold, strength=strength, threshold=threshold, background=background, quiet=int(quiet.sum())
    )


def _noise(small: np.ndarray) -> float:
    """Return what two pictures in a row differ by where nothing happens: a low quantile, since a press is mostly motion."""
    steps = np.array([_change(a, b) for a, b in pairwise(small)])
    steps = np.sort(steps[steps > 0])  # frozen frames tell nothing
    return max(float(steps[max(len(steps) // 4 - 1, 0)]), _LEAST_NOISE) if len(steps) else _LEAST_NOISE


def _small(picture: np.ndarray) -> np.ndarray:
    """Shrink to about `_COLUMNS` columns, float32: averaging takes the camera's noise away, and contact is larger than a cell."""
    size = (_COLUMNS, max(1, round(picture.shape[0] * _COLUMNS / picture.shape[1])))
    return cv2.GaussianBlur(cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32), (0, 0), 1.0)


def _change(picture: np.ndarray, rest: np.ndarray) -> float:
    """Return the change in the most changed part; an even change of all light is none."""
    change = picture - rest
    change = np.abs(change - np.median(change, axis=(0, 1))).sum(axis=2).ravel()
    top = max(1, round(_TOP * change.size))
    return float(np.partition(change, -top)[-top:].mean())


def _rest(small: np.ndarray, noise: float) -> np.ndarray:
    """Return the first guess of the gel at rest."""
    first, last = np.median(small[:ENDS], axis=0), np.median(small[-ENDS:], axis=0)
    if _change(first, last) <= _APART * noise:
        return (first + last) / 2
    return first if _steepness(first) <= _steepness(last) else last


def _steepness(picture: np.ndarray) -> float:
    return float(np.abs(np.diff(picture, axis=0)).mean() + np.abs(np.diff(picture, axis=1)).mean())
