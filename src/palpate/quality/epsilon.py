"""Ferrari-Canny epsilon: the smallest wrench that the grasp cannot resist when its normal forces add up to 1."""

import numpy as np
from scipy.spatial import ConvexHull

from palpate.core.contacts import GraspContacts
from palpate.quality.wrenches import wrench_table

EDGES = 8
"""Of the pyramid that stands for each friction cone."""
FLAT = 1e-6
"""Wrenches and epsilons below it are round-off, and what qhull's joggling leaves."""


def epsilon(contacts: GraspContacts) -> float:
    """Return the radius of the largest ball around 0 inside the hull of the contacts' wrenches; 0 without force closure.

    After Ferrari and Canny, "Planning optimal grasps", 1992, with their L1 bound on the normal forces. Each contact gives eight edges
    of its friction cone and its normal force with full torsion either way. Forces are in parts of the sum of normal forces, moments in
    that times the object's radius. The external wrench plays no part.

    Raises:
        RecordError: numbers that mean nothing, as in `grasp_quality`.
    """
    if not len(contacts.positions):
        return 0.0
    columns = wrench_table([contacts]).columns
    angle = 2.0 * np.pi * np.arange(EDGES) / EDGES
    across = np.cos(angle)[:, None] * columns[:, None, 1] + np.sin(angle)[:, None] * columns[:, None, 2]
    wrenches = np.concatenate(
        [columns[:, None, 0] + across, columns[:, None, 0] + columns[:, None, 3], columns[:, None, 0] - columns[:, None, 3]],
        axis=1,
    )
    points = wrenches.reshape(-1, 6)
    if np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[-1] < FLAT:
        return 0.0  # the wrenches lie in a plane, which qhull does not take
    nearest = float(np.min(-ConvexHull(points, qhull_options="QJ").equations[:, -1]))
    return nearest if nearest > FLAT else 0.0
