"""What each contact can do to the object: scaled wrenches of its normal force and of full friction use, for many grasps at once.

A contact carries x = (f, z1, z2, z3): its part f of the sum of normal forces, and its friction, two tangential forces and the moment
about the normal, as parts of the most that a normal force of 1 allows. The soft finger's ellipsoidal limit surface is then |z| <= f,
and the friction that the grasp uses is the sum of |z|. Lengths are in object radii, forces in parts of the sum of normal forces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from palpate.core.contacts import GraspContacts
from palpate.core.errors import RecordError

RESIDUAL_WEIGHT = 100.0
"""Weight of the wrench residual against friction use. Exact from about 100: more does not change which grasps balance."""
UNIT = 1e-6
"""Most by which the length of a normal may differ from 1."""


@dataclass(frozen=True, kw_only=True)
class WrenchTable:
    """The contacts of B grasps, M in all, one after the other; no grasp is empty."""

    columns: np.ndarray
    """(M, 4, 6) wrench (force, moment) of a unit of each part of x."""
    starts: np.ndarray
    """(B + 1,) where each grasp's contacts begin; the last is M."""
    external: np.ndarray
    """(B, 6) wrench from elsewhere."""
    torsion: np.ndarray
    """(M,) moment about the normal at full use by a normal force of 1 [m]."""

    def one(self, grasp: int) -> tuple[np.ndarray, np.ndarray]:
        """Return columns (N, 4, 6) and external wrench (6,) of one grasp."""
        return self.columns[self.starts[grasp] : self.starts[grasp + 1]], self.external[grasp]

    def sum_over_contacts(self, values: np.ndarray) -> np.ndarray:
        """Add up (M, ...) per grasp: (B, ...)."""
        return np.add.reduceat(values, self.starts[:-1], axis=0)

    def allowed(self, loads: np.ndarray) -> np.ndarray:
        """Return the nearest loads x (M, 4) that friction allows and whose normal forces add up to 1 in each grasp."""
        counts = np.diff(self.starts)
        normal = np.maximum(loads[:, 0], 0.0)
        total = np.repeat(self.sum_over_contacts(normal), counts)
        share = np.divide(normal, total, out=np.repeat(1.0 / counts, counts), where=total > 0)
        friction = np.divide(loads[:, 1:], total[:, None], out=np.zeros((len(loads), 3)), where=total[:, None] > 0)
        use = np.linalg.norm(friction, axis=1)
        friction *= np.divide(share, use, out=np.ones_like(use), where=use > share)[:, None]
        return np.column_stack([share, friction])

    def measure(self, loads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return friction use (B,) and the norm of the wrench residual (B,) of allowed loads x (M, 4)."""
        wrench = self.sum_over_contacts(np.einsum("mk,mkc->mc", loads, self.columns)) + self.external
        return self.sum_over_contacts(np.linalg.norm(loads[:, 1:], axis=1)), np.linalg.norm(wrench, axis=1)


def tangents(normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two unit vectors (N, 3) across each unit normal (N, 3), right-handed with it."""
    helper = np.where(np.abs(normals[:, :1]) < 0.9, np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    first = np.cross(normals, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return first, np.cross(normals, first)


def wrench_table(grasps: Sequence[GraspContacts]) -> WrenchTable:
    """Lay the contacts of at least one grasp side by side; each grasp has at least one contact.

    Raises:
        RecordError: a grasp with numbers that mean nothing.
    """
    counts = np.array([len(g.positions) for g in grasps])
    radius = np.repeat([g.object_radius for g in grasps], counts)
    points = np.concatenate([g.positions for g in grasps]) / radius[:, None]
    normals = np.concatenate([g.normals for g in grasps])
    friction = np.concatenate([g.friction for g in grasps])
    torsion = friction * np.concatenate([g.torsion_radius for g in grasps])
    columns = np.zeros((len(points), 4, 6))
    for part, direction in enumerate((normals, *(friction[:, None] * t for t in tangents(normals)))):
        columns[:, part, :3] = direction
        columns[:, part, 3:] = np.cross(points, direction)
    columns[:, 3, 3:] = (torsion / radius)[:, None] * normals
    external = np.zeros((len(grasps), 6))
    for row, grasp in enumerate(grasps):
        if grasp.external_wrench is not None:
            external[row] = grasp.external_wrench
    sound = np.isfinite(columns).all(axis=(1, 2)) & (np.abs(np.linalg.norm(normals, axis=1) - 1.0) < UNIT) & (friction > 0)
    sound &= (torsion >= 0) & (radius > 0)
    starts = np.r_[0, np.cumsum(counts)]
    bad = ~(np.logical_and.reduceat(sound, starts[:-1]) & np.isfinite(external).all(axis=1))
    if bad.any():
        grasp = grasps[int(np.flatnonzero(bad)[0])]
        raise RecordError(
            "a grasp cannot be judged: numbers must be finite, normals of unit length, friction and object radius above 0, "
            f"torsion radius 0 or more; got {grasp}"
        )
    return WrenchTable(columns=columns, starts=starts, external=external, torsion=torsion)
