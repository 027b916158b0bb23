"""The UR10e that carries the hand: forward and inverse kinematics in closed form, and whether a grasp is within its reach.

Denavit-Hartenberg parameters and joint limits as Universal Robots publishes them for the UR10e (nominal, without calibration).
"""

from dataclasses import dataclass, field

import numpy as np

from palpate.core.transforms import inverse, pose
from palpate.worlds.shadow import FOREARM, MOUNT_OFFSET

A = (0.0, -0.6127, -0.57155, 0.0, 0.0, 0.0)
"""Lengths of the links [m]."""
D = (0.1807, 0.0, 0.0, 0.17415, 0.11985, 0.11655)
"""Offsets along the joints [m]."""
ALPHA = (np.pi / 2, 0.0, 0.0, np.pi / 2, -np.pi / 2, 0.0)
"""Twists [rad]."""
LIMITS = np.array([2 * np.pi, 2 * np.pi, np.pi, 2 * np.pi, 2 * np.pi, 2 * np.pi])
"""Each joint turns this far both ways [rad]; the elbow half a turn."""

LIFT = 0.100
"""A grasp counts as reachable if the hand can also be lifted by this [m]."""

_SINGULAR = 1e-9


def _link(i: int, angle: float) -> np.ndarray:
    c, s, ca, sa = np.cos(angle), np.sin(angle), np.cos(ALPHA[i]), np.sin(ALPHA[i])
    return np.array([[c, -s * ca, s * sa, A[i] * c], [s, c * ca, -c * sa, A[i] * s], [0.0, sa, ca, D[i]], [0.0, 0.0, 0.0, 1.0]])


def link_poses(joints: np.ndarray) -> np.ndarray:
    """Return the frames (6, 4, 4) after each joint, in the base's frame, at joint angles (6,) [rad]; the last is the flange."""
    out, at = np.empty((6, 4, 4)), np.eye(4)
    for i, angle in enumerate(joints):
        at = at @ _link(i, float(angle))
        out[i] = at
    return out


def _wrapped(angles: np.ndarray) -> np.ndarray:
    """Return angles in -pi..pi."""
    return (angles + np.pi) % (2 * np.pi) - np.pi


def solve(base_from_flange: np.ndarray) -> np.ndarray:
    """Return all joint angles (K, 6) [rad], each within -pi..pi, that put the flange at a pose (4, 4); K is 0 to 8.

    K. P. Hawkins, Analytic Inverse Kinematics for the Universal Robots UR-5/UR-10 Arms, 2013.
    """
    target, out = np.asarray(base_from_flange, float), []
    wrist = target[:3, 3] - D[5] * target[:3, 2]
    reach = float(np.hypot(wrist[0], wrist[1]))
    if reach < abs(D[3]):
        return np.zeros((0, 6))
    for shoulder in (-1.0, 1.0):
        first = np.arctan2(wrist[1], wrist[0]) + shoulder * np.arccos(D[3] / reach) + np.pi / 2
        c, s = np.cos(first), np.sin(first)
        cosine = (target[0, 3] * s - target[1, 3] * c - D[3]) / D[5]
        for bend in (-1.0, 1.0):
            fifth = bend * np.arccos(np.clip(cosine, -1.0, 1.0))
            out += _elbow(target, first, fifth)
    return _wrapped(np.array(out).reshape(-1, 6))


def _elbow(target: np.ndarray, first: float, fifth: float) -> list[np.ndarray]:
    """Return the solutions of the planar part, joints 2 to 4, given the first and the fifth."""
    c, s, turn = np.cos(first), np.sin(first), np.sin(fifth)
    if abs(turn) < _SINGULAR:
        sixth = 0.0  # joints 2, 3, 4 and 6 turn about the same axis: any sixth will do
    else:
        x, y = target[:3, 0], target[:3, 1]
        sixth = np.arctan2((-y[0] * s + y[1] * c) / turn, (x[0] * s - x[1] * c) / turn)
    planar = inverse(_link(0, first)) @ target @ inverse(_link(4, fifth) @ _link(5, sixth))
    # The frame after joint 4; the centre of joint 4's axis lies in the plane of the arm.
    x, y = planar[0, 3], planar[1, 3]
    cosine = (x * x + y * y - A[1] ** 2 - A[2] ** 2) / (2 * A[1] * A[2])
    if abs(cosine) > 1.0:
        return []
    found = []
    for side in (-1.0, 1.0):
        third = side * np.arccos(cosine)
        second = np.arctan2(y, x) - np.arctan2(A[2] * np.sin(third), A[1] + A[2] * np.cos(third))
        fourth = np.arctan2(planar[1, 0], planar[0, 0]) - second - third
        found.append(np.array([first, second, third, fourth, fifth, sixth]))
    return found


def _base() -> np.ndarray:
    return pose(np.eye(3), np.array([-0.15, 0.0, 0.0]))


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The arm beside the table, with the Shadow hand on its flange."""

    world_from_base: np.ndarray = field(default_factory=_base)
    """(4, 4)."""
    flange_from_palm: np.ndarray = field(default_factory=lambda: pose(np.eye(3), -MOUNT_OFFSET))
    """(4, 4) the forearm's length, along the flange's z."""
    clearance: float = 0.020
    """The hand's forearm and the arm's elbow and wrist stay so far over the table [m]."""

    def reach(self, world_from_palm: np.ndarray) -> np.ndarray | None:
        """Return the arm's joints (6,) [rad] for a pose of the palm (4, 4), or None if it is out of reach.

        Of several solutions the one that turns its joints least. Reachable means: a solution within the limits for the pose and for the
        pose 100 mm higher with the same shoulder, elbow and wrist, and nothing of forearm and arm in the table.
        """
        if self._forearm_height(world_from_palm) < self.clearance:
            return None
        raised = world_from_palm.copy()
        raised[2, 3] += LIFT
        above = self._solutions(raised)
        best, least = None, np.inf
        for joints in self._solutions(world_from_palm):
            effort = float(np.abs(joints).sum())
            if effort < least and len(above) and np.abs(_wrapped(above - joints)).max(axis=1).min() < 1.0:
                best, least = joints, effort
        return best

    def palm(self, joints: np.ndarray) -> np.ndarray:
        """Return `world_from_palm` (4, 4) at joints (6,) [rad]."""
        return self.world_from_base @ link_poses(joints)[-1] @ self.flange_from_palm

    def _solutions(self, world_from_palm: np.ndarray) -> np.ndarray:
        found = solve(inverse(self.world_from_base) @ world_from_palm @ inverse(self.flange_from_palm))
        kept = [joints for joints in found if np.all(np.abs(joints) <= LIMITS) and self._arm_height(joints) >= self.clearance]
        return np.array(kept).reshape(-1, 6)

    def _arm_height(self, joints: np.ndarray) -> float:
        """Return how high the lowest of elbow, wrist joints and flange is over the table [m], the links' thickness taken off."""
        centres = (self.world_from_base @ link_poses(joints))[1:, 2, 3]
        return float(centres.min()) - 0.06

    def _forearm_height(self, world_from_palm: np.ndarray) -> float:
        """Return how high the lowest point of the hand's forearm is over the table [m]."""
        radius, half, along = FOREARM
        axis = world_from_palm[2, 2]
        middle = world_from_palm[2, 3] + world_from_palm[2, :3] @ (MOUNT_OFFSET + [0.0, 0.02, along])
        return float(middle - half * abs(axis) - radius * np.sqrt(max(1.0 - axis * axis, 0.0)))
