"""Random grasps to compare solvers and measures on."""

import numpy as np

from palpate.core.contacts import GraspContacts

FRICTIONS = (0.3, 0.5, 0.8)
WEIGHT = 0.15
"""Of the object, in parts of the sum of normal forces."""
SCATTER = 0.35
"""Of a finger's direction around the opposite of the thumb's."""
ELLIPSOID, BOX = np.array([1.0, 0.8, 0.6]), np.array([0.7, 0.7, 0.5])
"""Half extents in object radii."""


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _on_box(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    face = np.argmax(np.abs(directions) / BOX, axis=1)
    rows = np.arange(len(directions))
    normals = np.zeros_like(directions)
    normals[rows, face] = -np.sign(directions[rows, face])
    return directions * (BOX[face] / np.abs(directions[rows, face]))[:, None], normals


def _on_ellipsoid(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points = directions / np.linalg.norm(directions / ELLIPSOID, axis=1, keepdims=True)
    return points, -_unit(points / ELLIPSOID**2)


def random_grasp(rng: np.random.Generator, fingers: int, torsion: float = 0.05, object_radius: float = 0.04) -> GraspContacts:
    """Draw a grasp of an ellipsoid or a box by a thumb and `fingers` - 1 fingers about opposite to it; the weight pulls in any direction.

    Args:
        rng: draws all.
        fingers: number of contacts, 1 or more.
        torsion: torsion radius of every contact in object radii.
        object_radius: [m].
    """
    thumb = _unit(rng.normal(size=3))
    others = _unit(-thumb + SCATTER * rng.normal(size=(fingers - 1, 3)))
    directions = np.vstack([thumb, others])
    points, normals = _on_box(directions) if rng.random() < 0.5 else _on_ellipsoid(directions)
    return GraspContacts(
        positions=object_radius * points,
        normals=normals,
        friction=np.full(fingers, rng.choice(FRICTIONS)),
        torsion_radius=np.full(fingers, torsion * object_radius),
        object_radius=object_radius,
        external_wrench=np.r_[WEIGHT * _unit(rng.normal(size=3)), np.zeros(3)],
    )
