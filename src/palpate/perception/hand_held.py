"""Does a many-fingered hand still hold the object? From touch and joint angles before the lift and at the end of the hold.

A hand that holds something is touched, and its fingers stay short of their targets. Either alone errs: an object may rest on links
without a sensor, and fingers that meet each other stay short of their targets too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from palpate.core.errors import RecordError

TOUCHED = 0.15
"""A fingertip is touched from this net force on [N]."""
_FORCE, _ANGLE = 0.5, 0.05
"""Where force [N] and shortfall [rad] count half."""


@dataclass(frozen=True, kw_only=True)
class HandEvidence:
    """What the hand senses just before the lift and at the end of the hold."""

    shortfall: tuple[float, float]
    """Mean over the bending joints of the angle to their targets, before and after [rad]."""
    force: tuple[float, float]
    """Sum over the fingertips that have a sensor of the net force, before and after [N]."""
    touched: tuple[float, float]
    """Share of these fingertips that are touched, before and after."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        values = np.array([*self.shortfall, *self.force, *self.touched])
        if not np.isfinite(values).all() or (values < 0).any():
            raise RecordError(f"{self}: angles, forces and shares must be finite and not negative")

    def vector(self) -> np.ndarray:
        """Return the regression's inputs (5,), without unit: what is left at the end, and what the lift changed."""
        angle = np.array(self.shortfall) / (np.array(self.shortfall) + _ANGLE)
        force = np.array(self.force) / (np.array(self.force) + _FORCE)
        return np.array([angle[1], force[1], self.touched[1], angle[1] - angle[0], force[1] - force[0]])

    def array(self) -> np.ndarray:
        """Return (6,): shortfalls, forces, shares."""
        return np.array([*self.shortfall, *self.force, *self.touched])

    @classmethod
    def restore(cls, values: np.ndarray) -> "HandEvidence":
        """Invert `array`."""
        a, b, c, d, e, f = (float(value) for value in values)
        return cls(shortfall=(a, b), force=(c, d), touched=(e, f))


def hand_evidence(
    targets: np.ndarray, joints: tuple[np.ndarray, np.ndarray], touch: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]
) -> HandEvidence:
    """Return the evidence.

    Args:
        targets: (K,) of the bending joints [rad].
        joints: (K,) measured angles of these joints before the lift and at the end of the hold [rad].
        touch: the same moments, taxels (P, 3) [N] by finger, less what they read at rest; a dead sensor has no entry.
    """
    sums = [np.array([np.linalg.norm(taxels.sum(axis=0)) for taxels in moment.values()]) for moment in touch]
    short = [float(np.abs(targets - angles).mean()) for angles in joints]
    force = [float(forces.sum()) for forces in sums]
    share = [float((forces > TOUCHED).mean()) if len(forces) else 0.0 for forces in sums]
    return HandEvidence(shortfall=(short[0], short[1]), force=(force[0], force[1]), touched=(share[0], share[1]))
