"""Numbers of the SoftGrasp paper.

Y. Li et al., "SoftGrasp: Adaptive grasping for dexterous hand based on multimodal imitation learning", Biomimetic Intelligence and
Robotics 5 (2025). Where its text and its tables disagree the tables stand here: the text says 38.8 % for 46/120, and 0.1 for angle and
torque on object 6, which Table 5 gives 10/10.
"""

NAME = "Li et al., 2025"
PER_OBJECT, OBJECTS = 10, 12
TABLE_4 = {0.0: 82, 0.05: 96, 0.1: 118, 0.15: 88, 0.2: 86, 0.3: 79, 0.5: 46}
"""Successes of 120 by loss factor."""
TABLE_5 = {
    "image": (4, 10, 0, 10, 9, 8, 5, 0, 9, 0, 0, 0),
    "angle": (10, 0, 0, 10, 0, 1, 9, 0, 9, 2, 0, 0),
    "torque": (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    "image+angle": (9, 10, 0, 9, 0, 1, 8, 2, 0, 0, 1, 0),
    "image+torque": (10, 0, 0, 10, 0, 9, 10, 0, 10, 3, 0, 0),
    "angle+torque": (3, 0, 0, 10, 0, 10, 3, 0, 8, 0, 0, 0),
    "image+angle+torque": (10, 10, 10, 10, 10, 10, 10, 8, 10, 10, 10, 10),
}
"""Successes of 10 on each of the 12 objects, by what the policy sees."""
TABLE_6 = {
    "softgrasp": (10, 10, 10, 10, 10, 10, 10, 8, 10, 10, 10, 10),
    "direct": (4, 0, 0, 3, 0, 0, 6, 0, 3, 0, 0, 0),
    "act": (10, 9, 10, 10, 10, 10, 10, 10, 9, 10, 7, 4),
    "timesformer": (10, 6, 5, 9, 9, 8, 9, 10, 10, 9, 7, 3),
}
"""The same by strategy."""
MAPPING_DEVIATION = {
    "little": 9.944e-3,
    "ring": 5.903e-3,
    "middle": 6.201e-3,
    "index": 5.818e-3,
    "thumb_bend": 9.721e-3,
    "thumb_swing": 4.446e-3,
}
"""Table 1: standard deviation of the joint mapping's samples."""


def rate(successes: int | tuple[int, ...] | None, objects: tuple[int, ...] = tuple(range(1, OBJECTS + 1))) -> float | None:
    """Return the share of successes on some objects; None where the paper gives none, or none by object."""
    if successes is None:
        return None
    if isinstance(successes, int):
        return successes / (PER_OBJECT * OBJECTS) if len(objects) == OBJECTS else None
    return sum(successes[i - 1] for i in objects) / (PER_OBJECT * len(objects))
