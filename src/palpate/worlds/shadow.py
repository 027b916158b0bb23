# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without complete stubs)
"""The right Shadow Dexterous Hand: its 22 finger joints, their ranges and couplings, and the model of the installed package.

The model is that of `gymnasium-robotics` (Apache-2.0, after ShadowRobot's description), found among the installed files and not
imported. The wrist is held at zero; collision shapes, self-collision pairs, inertias and torque limits stay those of the file.
"""

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import mujoco
import numpy as np

from palpate.core.errors import MissingPackageError, RecordError

FINGERS = ("ff", "mf", "rf", "lf", "th")
"""First, middle, ring, little finger and thumb, in the order of all per-finger arrays."""

JOINTS = (
    *("FFJ3", "FFJ2", "FFJ1", "FFJ0"),
    *("MFJ3", "MFJ2", "MFJ1", "MFJ0"),
    *("RFJ3", "RFJ2", "RFJ1", "RFJ0"),
    *("LFJ4", "LFJ3", "LFJ2", "LFJ1", "LFJ0"),
    *("THJ4", "THJ3", "THJ2", "THJ1", "THJ0"),
)
"""The finger joints; J3 (of the little finger J4, J3) moves sideways, J2 to J0 bend."""

COUPLED = tuple((JOINTS.index(f"{finger}J0"), JOINTS.index(f"{finger}J1")) for finger in ("FF", "MF", "RF", "LF"))
"""Numbers of the joints that have no motor and follow the one before them."""

ACTUATED = tuple(i for i in range(len(JOINTS)) if i not in {follower for follower, _ in COUPLED})
"""Numbers of the 18 joints with a motor, in the order of the actuators."""

_FINGER = {"J3": (-0.349, 0.349), "J2": (0.0, 1.571), "J1": (0.0, 1.571), "J0": (0.0, 1.571)}
_OTHERS = {
    "LFJ4": (0.0, 0.785),
    **{"THJ4": (-1.047, 1.047), "THJ3": (0.0, 1.222), "THJ2": (-0.209, 0.209), "THJ1": (-0.524, 0.524), "THJ0": (-1.571, 0.0)},
}
RANGES = np.array([_OTHERS.get(name) or _FINGER[name[2:]] for name in JOINTS])
"""(22, 2) lowest and highest angle [rad]."""

TENDON = (0.00705, 0.00805, 0.001)
"""A finger's last two joints: 0.00705 J0 and 0.00805 J1 differ by no more than 0.001 [m]."""

MODEL_BODY = "robot0:hand mount"
PALM_FROM_MOUNT = 0.29
"""The palm's frame lies so far in front of the mount, which bolts to the arm's flange [m]."""
MOUNT_OFFSET = np.array([0.0, -0.01, -PALM_FROM_MOUNT])
"""(3,) the mount in the palm's frame, axes alike; the palm faces -y, straight fingers point along z, the thumb is at +x."""

FOREARM = (0.0685, 0.117, 0.154)
"""Radius, half length and place along z in the forearm's frame of a cylinder that holds the forearm's mesh [m]."""

_TOLERANCE = 1e-4
"""Joint values may leave their range by rounding of float32 [rad]."""


def check_joints(joints: np.ndarray, *, repair: bool = True, slack: float = 0.0) -> tuple[np.ndarray, tuple[str, ...]]:
    """Check joint angles against the hand's ranges and couplings.

    Args:
        joints: (22,) angles [rad] in the order of `JOINTS`.
        repair: move a coupled J0 to the nearest angle that its J1 allows, with a word on it; otherwise refuse.
        slack: angles that leave their range by no more than this are set to its end, with a word [rad].

    Returns:
        The angles (22,) and a sentence for each that was repaired.

    Raises:
        RecordError: Wrong shape, not finite, out of range, or (without `repair`) inconsistent; names joint, value and range.
    """
    values = np.array(joints, float)
    if values.shape != (len(JOINTS),):
        raise RecordError(
            f"joints of the Shadow hand are ({len(JOINTS)},) angles {JOINTS[0]}...{JOINTS[-1]}, got {values.shape}"
        )
    low, high = RANGES.T
    margin = _TOLERANCE + slack
    bad = np.flatnonzero(~((values >= low - margin) & (values <= high + margin)))
    if len(bad):
        told = (f"{JOINTS[i]} is {values[i]:.4g}, allowed {low[i]:g} to {high[i]:g} rad" for i in bad)
        raise RecordError(f"joints out of range: {'; '.join(told)}; are they in radians and in the order of JOINTS?")
    inside = values.clip(low, high)
    words = [f"{JOINTS[i]} {values[i]:.3f} set to {inside[i]:.3f}" for i in np.flatnonzero(abs(inside - values) > _TOLERANCE)]
    words += _couple(inside)
    if words and not repair:
        raise RecordError(f"joints contradict range or coupling: {'; '.join(words)} would repair it")
    return inside, tuple(words)


def _couple(values: np.ndarray) -> list[str]:
    """Move coupled joints of (22,) angles to what their tendons allow, in place; return a sentence for each that was moved."""
    low, high = RANGES.T
    words = []
    weight, other, slack = TENDON
    for follower, leader in COUPLED:
        least, most = ((other * values[leader] + side * slack) / weight for side in (-1, 1))
        allowed = float(np.clip(values[follower], max(least, low[follower]), min(most, high[follower])))
        if least > high[follower]:
            # J1 bends farther than its J0 can follow.
            values[leader] = (weight * high[follower] + slack) / other
            words.append(f"{JOINTS[leader]} set to {values[leader]:.3f}, the most that {JOINTS[follower]} can follow")
            allowed = high[follower]
        if abs(allowed - values[follower]) > _TOLERANCE:
            words.append(f"{JOINTS[follower]} {values[follower]:.3f} set to {allowed:.3f}, as {JOINTS[leader]} leads it")
        values[follower] = allowed
    return words


def coupled(joints: np.ndarray) -> np.ndarray:
    """Return joint angles (..., 22) [rad] with each J0 where a taut tendon puts it, and its J1 no farther than J0 can follow."""
    out = np.array(joints, float)
    for follower, leader in COUPLED:
        out[..., leader] = np.minimum(out[..., leader], RANGES[follower, 1] * TENDON[0] / TENDON[1])
        out[..., follower] = out[..., leader] * TENDON[1] / TENDON[0]
    return out


_OPENING = dict.fromkeys(("J3", "J4"), 1.0) | {"J2": 0.35, "J1": 0.2, "J0": 0.2}
_THUMB_OPENING = {"THJ4": 1.0, "THJ3": 0.7, "THJ2": 0.5, "THJ1": 0.0, "THJ0": 0.1}
OPENING = np.array([_THUMB_OPENING.get(name, _OPENING[name[2:]]) for name in JOINTS])
"""(22,) share of its target at which a joint waits before the hand closes: spread as wanted, hardly bent."""


def preshape(joints: np.ndarray) -> np.ndarray:
    """Return the open hand (..., 22) [rad] from which it closes to the targets `joints` (..., 22)."""
    out = np.asarray(joints, float) * OPENING
    out[..., JOINTS.index("THJ1")] = RANGES[JOINTS.index("THJ1"), 1] * 0.5  # stretched, away from the palm
    return coupled(out)


@lru_cache(maxsize=1)
def model_path() -> Path:
    """Return where the installed package keeps its hand.

    Raises:
        MissingPackageError: `gymnasium-robotics` is not installed or holds no such file.
    """
    line = "the Shadow hand's model is in gymnasium-robotics: pip install --no-deps 'gymnasium-robotics>=1.4,<2'"
    try:
        found = [file for file in files("gymnasium-robotics") or () if file.parts[-2:] == ("hand", "reach.xml")]
    except PackageNotFoundError as error:
        raise MissingPackageError(line) from error
    if not found or not (path := Path(str(found[0].locate()))).is_file():
        raise MissingPackageError(f"the installed gymnasium-robotics has no hand/reach.xml; {line}")
    return path


def hand_spec() -> mujoco.MjSpec:
    """Return the hand alone, its mount a fixed body of the world: collision shapes only, wrist at zero, 18 motors."""
    spec = mujoco.MjSpec.from_file(str(model_path()))
    for thing in (*spec.sensors, *spec.lights, *spec.sites, *spec.textures):
        spec.delete(thing)
    spec.delete(spec.body("floor0"))
    for tendon in list(spec.tendons):
        # The others only repeat joint ranges, at angles beyond them.
        if not (tendon.name.endswith("J1c") and tendon.name[-5:-3] in ("FF", "MF", "RF", "LF")):
            spec.delete(tendon)
    for name in ("WRJ1", "WRJ0"):
        spec.delete(spec.actuator(f"robot0:A_{name}"))
        spec.delete(spec.joint(f"robot0:{name}"))
    for geom in list(spec.geoms):
        if not geom.name.startswith("robot0:C_"):
            spec.delete(geom)
        elif geom.name == "robot0:C_forearm":
            radius, half, along = FOREARM
            geom.type, geom.meshname = mujoco.mjtGeom.mjGEOM_CYLINDER, ""
            geom.size, geom.pos, geom.quat = [radius, half, 0.0], [0.0, 0.01, along], [1.0, 0.0, 0.0, 0.0]
    for geom in spec.geoms:
        # With the file's margin fingers would push from half a millimetre away.
        geom.margin, geom.material = 0.0, ""
    for thing in (*spec.meshes, *spec.materials):
        spec.delete(thing)
    return spec


def lowest_point(model: mujoco.MjModel, data: mujoco.MjData, geoms: list[int]) -> float:
    """Return the height of the lowest point of boxes, capsules and cylinders of a model [m]."""
    up = np.abs(data.geom_xmat[geoms, 6:9])
    size, kind = model.geom_size[geoms], model.geom_type[geoms]
    along = size[:, 1] * up[:, 2]
    cylinder = size[:, 0] * np.sqrt(np.maximum(1.0 - up[:, 2] ** 2, 0.0)) + along
    box = (size * up).sum(axis=1)
    rounded = np.where(kind == mujoco.mjtGeom.mjGEOM_CAPSULE, size[:, 0] + along, cylinder)
    return float((data.geom_xpos[geoms, 2] - np.where(kind == mujoco.mjtGeom.mjGEOM_BOX, box, rounded)).min())


def put_mount(model: mujoco.MjModel, world_from_palm: np.ndarray) -> None:
    """Move the hand of a model so that its palm has a pose (4, 4)."""
    mount = model.body(MODEL_BODY).id
    model.body_pos[mount] = world_from_palm[:3, :3] @ MOUNT_OFFSET + world_from_palm[:3, 3]
    mujoco.mju_mat2Quat(model.body_quat[mount], np.ascontiguousarray(world_from_palm[:3, :3]).ravel())


@lru_cache(maxsize=1)
def _alone() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = hand_spec().compile()
    return model, mujoco.MjData(model)


def hand_clearance(world_from_palm: np.ndarray, joints: np.ndarray) -> float:
    """Return the height of the hand's lowest point [m] at a pose of the palm (4, 4) and joints (22,) [rad]."""
    model, data = _alone()
    put_mount(model, world_from_palm)
    data.qpos[:] = joints
    mujoco.mj_kinematics(model, data)
    return lowest_point(model, data, list(range(model.ngeom)))
