"""Shear under dry friction: which cells stick, which slip, and what they carry.

One step of Coulomb's law under a known pressure is a convex problem: the shear q minimises q.A q / 2 - q.s under |q| <= mu p in
every cell, where A q is the displacement by shear and s how far the object carried each cell along. Cells inside the disc stick;
a cell on its rim slips along its own shear, so slip always costs energy. Solved by projected gradients with steps of Barzilai
and Borwein (1988) and an exact line search; projected conjugate gradients needed two to six times as many products with A.
"""

from collections.abc import Callable

import numpy as np

from palpate.core.errors import SimulationError


def solve_shear(
    answer: Callable[[np.ndarray], np.ndarray],
    carried: np.ndarray,
    limit: np.ndarray,
    start: np.ndarray,
    *,
    stride: float,
    tolerance: float,
    most: int = 400,
) -> tuple[np.ndarray, int]:
    """Find the shear of one step.

    Args:
        answer: displacement (2, h, w) [m] of a shear (2, h, w) [Pa].
        carried: (2, h, w) [m] displacement that sticking cells must have.
        limit: (h, w) [Pa] friction times pressure, 0 where there is no contact.
        start: (2, h, w) [Pa] first guess.
        stride: first step [Pa/m]; the inverse of the largest eigenvalue of `answer`, or a better guess.
        tolerance: root mean square misfit of the cells that may still move, as a share of the displacement.
        most: most steps.

    Returns:
        Shear (2, h, w) [Pa] and the number of steps.

    Raises:
        SimulationError: the steps did not suffice.
    """
    q = _into_disc(start, limit)
    touching = limit > 0
    carried = carried * touching
    rest = (carried - answer(q)) * touching
    whole = float(np.linalg.norm(carried))
    short: list[float] = []
    for step in range(1, most + 1):
        change = _into_disc(q + rest * limit.dtype.type(stride), limit) - q
        scale = min(whole, float(np.linalg.norm(carried - rest))) if step > 1 else whole
        if float(np.linalg.norm(change)) <= tolerance * scale * stride:
            return q, step
        moved = answer(change) * touching
        gain, curvature = float(np.vdot(rest, change)), float(np.vdot(change, moved))
        if curvature <= 0:
            return q, step
        whole_step = gain >= curvature
        share = limit.dtype.type(1.0 if whole_step else gain / curvature)
        q, rest = q + change * share, rest - moved * share
        # The longer step where both agree, else the least of the last few short ones (adaptive choice, Frassoldati et al. 2008).
        long = float(np.vdot(change, change)) / curvature
        short = [*short[-4:], curvature / float(np.vdot(moved, moved))]
        stride = min(short) if short[-1] < 0.5 * long else long
    raise SimulationError(f"the shear did not settle in {most} steps; move in smaller steps of shift and twist")


def _into_disc(q: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Return the nearest shear that friction allows."""
    radius = np.sqrt(q[0] * q[0] + q[1] * q[1])
    return q * np.where(radius > limit, limit / np.maximum(radius, limit + np.finfo(limit.dtype).tiny), 1)
