"""Stiffness of a squeeze from force and gripper width: a slope with an interval, or the reason why there is none.

What is measured is the object and the gel in series, at this contact: a rank among objects pressed alike, no modulus.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from palpate.core.errors import DataError

LEAST_FORCE = 2.0
"""Below it offset and drift of the force count too much [N]."""
LEAST_STEPS = 5
"""Changes of width needed: a line through fewer points says nothing about its own error."""
CONFIDENCE = 0.95
_SAME = 1e-6
"""A width that changes by less has not changed [m]."""


@dataclass(frozen=True, kw_only=True)
class Stiffness:
    """Slope of force on closing while loading."""

    reason: Literal["", "too little force", "not enough steps"]
    """Why there is no number; empty if there is one."""
    steps: int
    """Changes of width between `LEAST_FORCE` and the peak."""
    value: float = float("nan")
    """[N/m]."""
    low: float = float("nan")
    high: float = float("nan")


def squeeze_stiffness(force: np.ndarray, width: np.ndarray) -> Stiffness:
    """Fit force against closing from `LEAST_FORCE` to the peak.

    A width that stays while the force goes on is an old reading, not a stiff object: only samples at which the width has just
    changed count. The interval is Student's, for their scatter about the line; one that holds zero counts as not enough steps.

    Args:
        force: (T,) [N].
        width: (T,) gripper opening [m] at the same moments.

    Raises:
        DataError: They differ in length, or hold values that are not finite.
    """
    force, width = np.asarray(force, float), np.asarray(width, float)
    if force.ndim != 1 or force.shape != width.shape or not len(force):
        raise DataError(f"force {force.shape} and width {width.shape}; (T,) samples of the same moments are needed")
    if not (np.isfinite(force).all() and np.isfinite(width).all()):
        raise DataError("force or width holds values that are not finite; leave those samples out")
    peak = int(force.argmax())
    start = int(np.argmax(force > LEAST_FORCE))
    if force[peak] <= LEAST_FORCE:
        return Stiffness(reason="too little force", steps=0)
    fresh = start + np.flatnonzero(np.abs(np.diff(width, prepend=width[:1])[start : peak + 1]) > _SAME)
    if len(fresh) < LEAST_STEPS:
        return Stiffness(reason="not enough steps", steps=len(fresh))
    line: Any = stats.linregress(width[start] - width[fresh], force[fresh])
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(fresh) - 2)) * line.stderr
    if line.slope - half <= 0:
        return Stiffness(reason="not enough steps", steps=len(fresh))
    return Stiffness(reason="", steps=len(fresh), value=line.slope, low=line.slope - half, high=line.slope + half)


def force_onset(force: np.ndarray, level: float = 0.75, *, run: int = 3, above_rest: bool = False) -> int | None:
    """Return the first sample from which `run` samples (T,) exceed `level` [N]; None if none do.

    The defaults are those of the Wedge recordings' authors. With `above_rest` the median of the first `run` samples is taken off:
    such signals have an offset and drift, and may cross a fixed level while nothing is touched.
    """
    force = np.asarray(force, float)
    over = force > level + (np.median(force[:run]) if above_rest else 0.0)
    runs = np.flatnonzero(np.convolve(over, np.ones(run), "valid") >= run)
    return int(runs[0]) if len(runs) else None
