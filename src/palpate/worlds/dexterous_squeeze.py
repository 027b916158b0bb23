"""Where fingers open from and squeeze to around a grasp that is given by its joint angles alone."""

import numpy as np

from palpate.core.transforms import apply, inverse
from palpate.worlds.dexterous_distance import signed_distance
from palpate.worlds.dexterous_objects import DexterousObject
from palpate.worlds.dexterous_physics import HandRig
from palpate.worlds.shadow import ACTUATED, FINGERS, JOINTS, RANGES, coupled

NEAR = 0.03
"""Links whose middle is farther from the object than this do not squeeze [m]."""
OPENED = 0.10
"""The joint of a finger that moves most starts so far before its angle [rad]."""
_STEP = 1e-5
_LINKS = ("proximal", "middle", "distal")


def squeeze_ends(rig: HandRig, thing: DexterousObject, joints: np.ndarray, squeeze: float) -> tuple[np.ndarray, np.ndarray]:
    """Return joint angles (22,) [rad] of a slightly opened hand and targets (22,) that squeeze, about angles `joints`.

    Each finger's links are pulled towards the object along the gradient of its distance, weighted by how near they are; the joints
    follow with J^T. The hand of the rig must be at `joints`.
    """
    towards = np.zeros(len(JOINTS))
    object_from_world = inverse(rig.object_pose())
    for finger in FINGERS:
        pull = np.zeros(len(JOINTS))
        for part in _LINKS:
            middle = rig.link_middle(finger + part)
            apart, slope = _slope(thing, apply(object_from_world, middle))
            if apart < NEAR:
                pull -= (
                    (1 - max(apart, 0.0) / NEAR) * rig.jacobian(finger + part, middle).T @ (object_from_world[:3, :3].T @ slope)
                )
        passive = np.ones(len(JOINTS), bool)
        passive[list(ACTUATED)] = False
        pull[passive] = 0.0
        towards += pull / max(float(np.abs(pull).max()), 1e-9)
    opened, squeezed = (coupled_like(joints, joints + way * towards) for way in (-OPENED, squeeze))
    return opened, squeezed


def coupled_like(joints: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Return moved angles (22,) within the ranges, each J0 shifted as its J1 leads it."""
    return np.clip(joints + coupled(moved) - coupled(joints), *RANGES.T)


def _slope(thing: DexterousObject, point: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the distance of a point (3,) [m], object frame, and the unit direction in which it grows."""
    steps = np.concatenate([np.zeros((1, 3)), _STEP * np.eye(3), -_STEP * np.eye(3)])
    d = signed_distance(thing, point + steps)
    slope = d[1:4] - d[4:]
    return float(d[0]), slope / max(float(np.linalg.norm(slope)), 1e-12)
