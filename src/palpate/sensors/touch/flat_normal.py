"""Pressure between a rigid surface and an elastic one without friction: conjugate gradients of Polonsky and Keer (1999).

Finds p >= 0 with K p + gap - approach >= 0, and equal to 0 wherever p > 0; under a given approach or a given mean pressure.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import root_scalar

from palpate.core.errors import SimulationError


@dataclass(frozen=True)
class Pressed:
    """What the solver found."""

    pressure: np.ndarray
    """(h, w) [Pa]."""
    approach: float
    """[m]"""


def solve_depth(
    answer: Callable[[np.ndarray], np.ndarray],
    gap: np.ndarray,
    depth: float,
    start: np.ndarray,
    *,
    tolerance: float,
    limit: int = 300,
) -> Pressed:
    """Solve under a given approach.

    Args:
        answer: displacement (h, w) [m] of a pressure (h, w) [Pa].
        gap: (h, w) [m].
        depth: approach [m].
        start: (h, w) [Pa] first guess, 0 or more, not 0 everywhere.
        tolerance: root mean square misfit of touching cells, as a share of the depth.
        limit: most steps.

    Raises:
        SimulationError: the steps did not suffice, nor from a guess that is the overlap.
    """
    over = gap - gap.dtype.type(depth)
    found = _descend(answer, over, depth, start, tolerance=tolerance, limit=limit, whole=True)
    if found is None:  # a guess of a few cells may fit by itself while others overlap
        found = _descend(answer, over, depth, np.maximum(-over, 0), tolerance=tolerance, limit=limit, whole=False)
    if found is None:
        raise SimulationError(
            f"the contact did not settle in {limit} steps; the gap may be rougher than its grid: smooth it or take finer cells"
        )
    return found


def _descend(
    answer: Callable[[np.ndarray], np.ndarray],
    over: np.ndarray,
    depth: float,
    start: np.ndarray,
    *,
    tolerance: float,
    limit: int,
    whole: bool,
) -> Pressed | None:
    """Return the pressure of a given overlap -`over`, None if it is not found.

    A single touching cell always fits, and the descent ends. With `whole` that is no answer while other cells overlap.
    """
    p, u = start, answer(start)
    touching = p > 0
    # The best multiple of the guess: its misfit is least in the energy norm.
    share = -1.0 * np.vdot(p, over) / max(np.vdot(p, u), 1e-30)
    if share > 0:
        p, u = p * share, u * share
    t, last, keep = np.zeros_like(p), 1.0, False
    for _ in range(limit):
        misfit = u + over
        w = misfit * touching
        now = float(np.vdot(w, w))
        t = w + t * touching * over.dtype.type(now / last) if keep else w
        r = answer(t)
        curvature = float(np.vdot(r, t))
        closing = (misfit < 0) & ~touching
        joined = bool(closing.any())
        if curvature <= 0:
            overlap = whole and joined and float(misfit[closing].min()) < -tolerance * depth
            return None if overlap else Pressed(p, depth)
        tau = over.dtype.type(float(np.vdot(w, t)) / curvature)
        p = p - tau * t
        lost = bool(p.min() < 0)
        if lost:
            np.maximum(p, 0, out=p)
        if joined:
            p[closing] = -tau * misfit[closing]
        if lost or joined:
            u, touching = answer(p), p > 0
        else:
            u = u - tau * r
        keep, last = not joined, now
        small = now <= (tolerance * depth) ** 2 * max(int(np.count_nonzero(touching)), 1)
        if small and not lost and (not joined or float(misfit[closing].min()) > -tolerance * depth):
            return Pressed(p, depth)
    return None


def solve_force(
    answer: Callable[[np.ndarray], np.ndarray],
    gap: np.ndarray,
    total: float,
    start: np.ndarray,
    *,
    tolerance: float,
    limit: int = 100,
) -> Pressed:
    """Solve under a given sum of pressures.

    Args:
        answer: displacement (h, w) [m] of a pressure (h, w) [Pa].
        gap: (h, w) [m].
        total: sum of the cells' pressures [Pa]: force divided by the area of a cell.
        start: (h, w) [Pa] first guess, 0 or more, not 0 everywhere.
        tolerance: root mean square misfit of touching cells, as a share of the approach.
        limit: most steps; then the force is found through the depth.

    Raises:
        SimulationError: that failed too.
    """
    kind = gap.dtype.type
    p = start * kind(total / float(start.sum()))
    u, touching = answer(p), p > 0
    t, last, keep = np.zeros_like(p), 1.0, False
    for _ in range(limit):
        count = int(np.count_nonzero(touching))
        misfit = u + gap
        depth = float(np.vdot(misfit, touching)) / count
        misfit -= kind(depth)
        w = misfit * touching
        now = float(np.vdot(w, w))
        t = w + t * touching * kind(now / last) if keep else w
        moved = answer(t)
        # The approach is free: only what differs from the mean counts.
        r = moved - kind(float(np.vdot(moved, touching)) / count)
        curvature = float(np.vdot(r, t))
        closing = (misfit < 0) & ~touching
        joined = bool(closing.any())
        if curvature <= 0:
            if joined and float(misfit[closing].min()) < -tolerance * abs(depth):
                break
            return Pressed(p, depth)
        tau = kind(float(np.vdot(w, t)) / curvature)
        p = p - tau * t
        lost = bool(p.min() < 0)
        if lost:
            np.maximum(p, 0, out=p)
        if joined:
            p[closing] = -tau * misfit[closing]
        scale = kind(total / float(p.sum()))
        p *= scale
        if lost or joined:
            u, touching = answer(p), p > 0
        else:
            u = (u - tau * moved) * scale
        keep, last = not joined, now
        if now <= (tolerance * depth) ** 2 * count and (not joined or float(misfit[closing].min()) > -tolerance * depth):
            return Pressed(p, depth)
    return _by_depth(answer, gap, total, p, tolerance=tolerance)


def _by_depth(
    answer: Callable[[np.ndarray], np.ndarray], gap: np.ndarray, total: float, start: np.ndarray, *, tolerance: float
) -> Pressed:
    """Find the approach that carries the given sum: slower, and never caught in a cycle of cells that come and go."""
    solved = Pressed(start, 0.0)

    def missing(depth: float) -> float:
        nonlocal solved
        guess = solved.pressure if solved.pressure.any() else np.maximum(gap.dtype.type(depth) - gap, 0)
        solved = solve_depth(answer, gap, depth, guess, tolerance=tolerance)
        return float(solved.pressure.sum()) / total - 1

    low = float(gap.min())
    reach = max(float(answer(start)[start > 0].mean()), 1e-9)
    while missing(low + reach) < 0:
        reach *= 2
    found = root_scalar(lambda d: -1.0 if d <= low else missing(d), bracket=(low, low + reach), xtol=1e-5 * reach)
    depth = float(found.root)
    return Pressed(solved.pressure * gap.dtype.type(total / float(solved.pressure.sum())), depth)
