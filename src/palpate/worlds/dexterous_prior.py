"""Where to try a grasp: hand poses around the object that perception found, and joint targets, from truncated normal distributions.

Nothing is known here but the upright cylinder around the object, the hand's and the arm's real ranges and the table. The slides of the
study draw poses and joints in the same way, "limited by DOF ranges of the real-world robot".
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtr, ndtri

from palpate.core.errors import PalpateError
from palpate.core.records import Observation
from palpate.core.transforms import pose, pose_from_vector, rotation_from_vector, vector_from_pose
from palpate.core.units import DEG
from palpate.worlds.shadow import JOINTS, RANGES, coupled, hand_clearance, preshape
from palpate.worlds.ur10e import Arm

Normal = tuple[float, float, float, float]
"""Mean, standard deviation, least, most."""

TRIES = 200
"""Poses drawn before a place on the table counts as out of reach."""

TABLE_GAP = 0.004
"""The open hand starts so far over the table or higher [m]."""


def truncated(rng: np.random.Generator, mean: np.ndarray, sd: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Draw from normal distributions cut off at `low` and `high`; all arrays of one shape."""
    ends = ndtr((low - mean) / sd), ndtr((high - mean) / sd)
    return np.clip(mean + sd * ndtri(rng.uniform(*ends)), low, high)


def _one(rng: np.random.Generator, normal: Normal) -> float:
    return float(truncated(rng, *(np.array(value) for value in normal)))


_TARGETS: dict[str, tuple[float, float]] = {
    **{f"{finger}J3": (0.0, 0.10) for finger in ("FF", "MF", "RF", "LF")},
    **{f"{finger}J2": (0.77, 0.08) for finger in ("FF", "MF", "RF", "LF")},
    **{f"{finger}{joint}": (0.97, 0.08) for finger in ("FF", "MF", "RF", "LF") for joint in ("J1", "J0")},
    **{"LFJ4": (0.05, 0.08), "THJ4": (0.38, 0.10), "THJ3": (1.03, 0.09)},
    **{"THJ2": (0.0, 0.05), "THJ1": (-0.14, 0.14), "THJ0": (-0.65, 0.17)},
}
"""Mean and standard deviation of each joint's target [rad]; the means of the fingers' J2 and J1 move together by `GraspPrior.curl`."""


MEANS = np.array([_TARGETS[name][0] for name in JOINTS])
"""(22,) mean targets [rad]."""
_SPREADS = np.array([_TARGETS[name][1] for name in JOINTS])
_BENDS = np.array([name[:2] != "TH" and name[2:] in ("J2", "J1", "J0") for name in JOINTS])


@dataclass(frozen=True, kw_only=True)
class GraspPrior:
    """The distributions. Angles [rad], lengths [m], palm frame as in `shadow`.

    Means and spreads come from a cross-entropy search for what holds (15 parameters, 12 rounds of about 430 grasps, from uniform draws, of
    which 1 in 100 held), on the objects of seed 0 with their outlines blurred as perception blurs them. They describe an ordinary hand:
    thumb's side down, fingertips around the object. With the world's own perception 39 % of 419 draws hold.
    """

    heading: Normal = (0.0, 40 * DEG, -110 * DEG, 110 * DEG)
    """Of the forearm over the table, from the direction that leads from the arm's base to the object."""
    descent: Normal = (26 * DEG, 7 * DEG, 5 * DEG, 80 * DEG)
    """How steeply the fingers point down."""
    roll: Normal = (-23 * DEG, 13 * DEG, -90 * DEG, 60 * DEG)
    """About the fingers' direction; 0 is palm down, less lowers the thumb's side."""
    lateral: Normal = (0.038, 0.008, 0.0, 0.07)
    """Of the object's middle in the hand: towards the thumb,"""
    below: Normal = (0.066, 0.007, 0.045, 0.10)
    """away from the palm,"""
    ahead: Normal = (0.120, 0.009, 0.08, 0.16)
    """and towards the fingertips."""
    aim: Normal = (0.44, 0.09, 0.15, 0.9)
    """Height at which the hand aims, as a share of the object's."""
    curl: Normal = (0.0, 0.13, -0.4, 0.4)
    """Common to all four fingers' joints that bend."""
    arm: Arm = field(default_factory=Arm)

    def joints(self, rng: np.random.Generator) -> np.ndarray:
        """Draw joint targets (22,) [rad] within the real ranges, coupled joints consistent."""
        curl = _one(rng, self.curl)
        return coupled(truncated(rng, MEANS + curl * _BENDS, _SPREADS, *RANGES.T))

    def pose(self, rng: np.random.Generator, position: np.ndarray, size: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """Draw a reachable pose of the palm (6,) around an object.

        Args:
            rng: source of randomness.
            position: (3,) centre of the top of the object's cylinder [m], world.
            size: (2,) its radius and height [m].
            joints: (22,) targets of the fingers [rad]; the open hand that goes with them stays over the table.

        Raises:
            PalpateError: No pose of many is within the arm's reach.
        """
        for _ in range(TRIES):
            hand = self._pose(rng, position, size)
            hand[2, 3] += max(0.0, TABLE_GAP - hand_clearance(hand, preshape(joints)))
            if self.arm.reach(hand) is not None:
                return vector_from_pose(hand)
        raise PalpateError(
            f"no pose of the hand around {np.round(position, 3).tolist()} m is within the arm's reach in {TRIES} draws; "
            "is the object on the table in front of the arm?"
        )

    def _pose(self, rng: np.random.Generator, position: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Draw a pose (4, 4) that puts the object's centre where the fingers close."""
        to_object = np.asarray(position, float)[:2] - self.arm.world_from_base[:2, 3]
        heading = np.arctan2(to_object[1], to_object[0]) + _one(rng, self.heading)
        descent = _one(rng, self.descent)
        forward = np.array([np.cos(heading), np.sin(heading), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        fingers = np.cos(descent) * forward - np.sin(descent) * up
        back = np.sin(descent) * forward + np.cos(descent) * up
        turn = rotation_from_vector(_one(rng, self.roll) * fingers) @ np.stack([np.cross(back, fingers), back, fingers], axis=1)
        middle = np.array([_one(rng, self.lateral), -_one(rng, self.below), _one(rng, self.ahead)])
        target = np.array([*np.asarray(position, float)[:2], _one(rng, self.aim) * float(size[1])])
        return pose(turn, target - turn @ middle)

    def draw(self, rng: np.random.Generator, position: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw a grasp: pose of the palm (6,) and joint targets (22,). Arguments and errors as `pose`."""
        joints = self.joints(rng)
        return self.pose(rng, position, size, joints), joints

    def nearest(self, palm: np.ndarray, observation: Observation) -> np.ndarray | None:
        """Return the pose of the palm (6,) next to a wanted one that table and arm allow, or None.

        The open hand is raised out of the table; what the arm does not reach then is given up.
        """
        del observation
        hand = pose_from_vector(palm)
        hand[2, 3] += max(0.0, TABLE_GAP - hand_clearance(hand, preshape(MEANS)))
        return None if self.arm.reach(hand) is None else vector_from_pose(hand)
