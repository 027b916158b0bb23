"""What a touch video of a press tells before anything is learned: the gel at rest, when contact began, how the picture changes.

Works on any optical sensor and frame rate: pictures are compared with the clip's own rest picture, thresholds are multiples of
the clip's own noise, lengths are shares of the picture's height. Axis letters: T frame, H W rows and columns.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np

from palpate.core.errors import DataError, RecordError

Problem = Literal[
    "first_frame_leftover", "starts_in_contact", "ends_in_contact", "no_contact", "dropped_frames", "frozen_frames"
]

ROWS = 75
"""Rows to which the inner part of the picture is shrunk for the time course."""
BORDER = 0.08
"""Share cut off at each edge: light from the sides changes there with any load."""
SHORTEST_FRAMES = 10
SHORTEST = 0.4
"""A press cannot be told from a cut in less than this [s]."""
ONSET = 3.25
"""Contact: the most changed part differs from the first picture by so many times what two pictures in a row differ by.
Chosen on the real squeezes of benchmarks/hardness_real.py; from 3.1 to 3.4 it makes no difference there."""
RESIDUE = 0.3
"""After release a gel may keep so much of the largest change without being in contact."""
_BLUR = 2.0
_TOP = 0.005
_QUIET = 0.2
_LEAST_NOISE = 1e-3
_STEEPER = 1.05
"""Lamps that drift make a picture steeper by 3 or 4 percent, a press of something hard by 10 to 100, of cloth by less."""
_GAP = 1.5
"""A gap between frames of so many usual gaps holds a dropped frame."""
_REST_FRAMES = 24


@dataclass(frozen=True, kw_only=True)
class PressReading:
    """The time course of one press. Grey levels are of 0 to 255."""

    times: np.ndarray
    """(T,) [s]."""
    rest: np.ndarray
    """(H, W, 3) float32: the gel without contact, median of quiet frames."""
    change: np.ndarray
    """(T,) mean absolute difference to rest, summed over colours, noise taken off [grey levels]."""
    strongest: np.ndarray
    """(T,) the same in the most changed half percent of the picture, noise not taken off [grey levels]."""
    area: np.ndarray
    """(T,) share of the picture that changed by more than `ONSET` times the noise."""
    noise: float
    """What two pictures in a row differ by in the most differing half percent [grey levels]."""
    onset: int | None
    """First frame of contact; None if contact is not seen, or was there from the start."""
    peak: int
    """Frame of largest `change`."""
    quiet: np.ndarray
    """(T,) bool: frames without contact."""
    problems: tuple[Problem, ...]
    """What a user of the reading should know; empty for a clean press."""


def read_press(frames: np.ndarray, times: np.ndarray) -> PressReading:
    """Find rest, onset and time course of a press.

    The reference is the first frame (the last if the clip begins pressed: contact adds edges, so of two pictures that differ
    the one with steeper light is the pressed one). A first frame that is unlike the next ones, which agree among
    themselves, is another take's leftover and is not used.

    Args:
        frames: (T, H, W, 3) uint8.
        times: (T,) [s], ascending.

    Raises:
        RecordError: frames or times of a wrong form or of different length.
        DataError: the clip is too short.
    """
    _check(frames, times)
    small = _small(frames)
    steps = np.array([_top(np.abs(b - a).sum(axis=-1)) for a, b in pairwise(small)])
    noise = float(np.quantile(steps[steps > 0], _QUIET)) if (steps > 0).any() else _LEAST_NOISE
    limit = ONSET * noise
    problems: list[Problem] = []
    first = 0
    if steps[0] > limit and steps[1:4].max() < limit and _differ(small[0], small[1:4].mean(axis=0)) > limit:
        problems.append("first_frame_leftover")
        first = 1
    start, end = small[first], small[-1]
    pressed_at_start = _differ(start, end) > limit and _steepness(start) > _STEEPER * _steepness(end)
    away = _against(small, end if pressed_at_start else start)
    quiet = away <= limit
    quiet[:first] = False
    onset = None if pressed_at_start else _first_run(away > limit, first)
    rest = _rest(frames, quiet, reverse=pressed_at_start, before=onset)
    difference = np.abs(small - _small(rest[None])[0]).sum(axis=-1)
    course = difference.mean(axis=(1, 2))
    change = np.maximum(course - np.median(course[quiet]), 0.0)  # the reference itself is always quiet
    strongest = np.array([_top(d) for d in difference])
    problems += _problems(away, limit, first, times, steps)
    if pressed_at_start:
        problems.append("starts_in_contact")
    return PressReading(
        times=np.asarray(times, float),
        rest=rest,
        change=change,
        strongest=strongest,
        area=(difference > limit).mean(axis=(1, 2)),
        noise=noise,
        onset=onset,
        peak=first + int(change[first:].argmax()),
        quiet=quiet,
        problems=tuple(problems),
    )


def _check(frames: np.ndarray, times: np.ndarray) -> None:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise RecordError(f"touch video must be (T, H, W, 3) uint8, got {frames.shape} {frames.dtype}")
    times = np.asarray(times, float)
    if times.shape != (len(frames),):
        raise RecordError(f"{len(frames)} frames and times {times.shape}; one time per frame is needed")
    if len(times) > 1 and not (np.diff(times) > 0).all():
        raise RecordError("times of the frames do not ascend; stamp at capture with one clock")
    span = float(times[-1] - times[0]) if len(times) else 0.0
    if len(frames) < SHORTEST_FRAMES or span < SHORTEST:
        raise DataError(
            f"touch video of {len(frames)} frames ({span:.2f} s) is too short for a press; "
            f"at least {SHORTEST_FRAMES} frames and {SHORTEST} s are needed. Is it the cut-off end of another take?"
        )


def inner(frames: np.ndarray) -> np.ndarray:
    """Cut `BORDER` off every edge of (T, H, W, 3)."""
    rows, cols = round(frames.shape[1] * BORDER), round(frames.shape[2] * BORDER)
    return frames[:, rows : frames.shape[1] - rows, cols : frames.shape[2] - cols]


def _small(frames: np.ndarray) -> np.ndarray:
    """Inner part, `ROWS` high, blurred: (T, ROWS, w, 3) float32."""
    part = inner(frames)
    width = round(ROWS * part.shape[2] / part.shape[1])
    return np.stack(
        [
            cv2.GaussianBlur(cv2.resize(f, (width, ROWS), interpolation=cv2.INTER_AREA).astype(np.float32), (0, 0), _BLUR)
            for f in part
        ]
    )


def _top(values: np.ndarray) -> float:
    """Mean of the largest half percent."""
    n = max(1, round(_TOP * values.size))
    return float(np.partition(values.ravel(), -n)[-n:].mean())


def _differ(a: np.ndarray, b: np.ndarray) -> float:
    return _top(np.abs(a - b).sum(axis=-1))


def _against(small: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return np.array([_differ(s, reference) for s in small])


def _steepness(picture: np.ndarray) -> float:
    """Mean size of the gradient: contact adds edges to the picture."""
    return float(np.abs(np.diff(picture, axis=0)).mean() + np.abs(np.diff(picture, axis=1)).mean())


def _first_run(over: np.ndarray, first: int) -> int | None:
    """First frame that is over the limit together with the next one."""
    both = np.flatnonzero(over[first:-1] & over[first + 1 :])
    return first + int(both[0]) if len(both) else None


def _rest(frames: np.ndarray, quiet: np.ndarray, *, reverse: bool, before: int | None) -> np.ndarray:
    """Median picture of quiet frames: those before the press if there are some, else those after it."""
    which = np.flatnonzero(quiet)
    if before is not None and (which < before).any():
        which = which[which < before]
    which = which[-_REST_FRAMES:] if reverse else which[:_REST_FRAMES]
    return np.median(frames[which], axis=0).astype(np.float32)


def _problems(away: np.ndarray, limit: float, first: int, times: np.ndarray, steps: np.ndarray) -> list[Problem]:
    found: list[Problem] = []
    if _first_run(away > limit, first) is None:
        found.append("no_contact")
    elif away[-2:].min() > limit + RESIDUE * (away.max() - limit):
        found.append("ends_in_contact")
    gaps = np.diff(times)
    if gaps.max() > _GAP * np.median(gaps):
        found.append("dropped_frames")
    if (steps == 0).any():
        found.append("frozen_frames")
    return found
