"""From regrasp trials to the samples of the outcome model: which numbers describe an action, and which states it pairs with.

More Than a Feeling, Sections IV-A and V: three state-action pairs a trial. The state during the initial grasp and the state after
its release pair with the regrasp that followed; the state during the regrasp pairs with no motion and no change of force.

The paper's action network sees a motion, an in-plane rotation, a *change* of force, the pose of the end effector and the motion in
the gripper's frame. Here it also sees the present force, which the controller knows: without it a model that does not feel could
not know how hard the grasp that it asks for will be, and touch would win for that alone.
"""

import numpy as np

from palpate.core.errors import DataError
from palpate.data.reader import EpisodeReader
from palpate.recipes.outcome_data import MOMENTS, Rows
from palpate.worlds.regrasp_physics import CLOSING_YAW

ACTION_NAMES = ("dx", "dy", "dz", "dyaw", "dforce", "force", "x", "y", "z", "yaw", "gripper dx", "gripper dy", "gripper dz")
"""Motion [m, rad] in the world and change of force [N], present force [N], pose [m, rad], motion in the gripper's frame [m]."""

PLACE_NAMES = ("across", "along", "up", "radius", "height")
"""Centre of the cylinder's top from the gripper, in its frame, and the cylinder's size [m]."""


def action_input(actions: np.ndarray, pose: np.ndarray, force: np.ndarray | float) -> np.ndarray:
    """Return what the action branch sees (N, 13) float32; see `ACTION_NAMES`.

    Args:
        actions: (N, 5) motion in the gripper's yaw frame [m, m, m, rad], then the absolute force [N].
        pose: (N, 4) or (4,) present x, y, z [m] and yaw [rad].
        force: (N,) or one number, present commanded force [N]; 0 if the gripper is open.
    """
    actions = np.asarray(actions, float)
    n = len(actions)
    pose, force = np.broadcast_to(pose, (n, 4)), np.broadcast_to(force, n)
    turn = pose[:, 3] + CLOSING_YAW
    cos, sin = np.cos(turn), np.sin(turn)
    dx, dy = actions[:, 0], actions[:, 1]
    world = np.stack([cos * dx - sin * dy, sin * dx + cos * dy, actions[:, 2]], axis=1)
    columns = (world, actions[:, 3:4], (actions[:, 4] - force)[:, None], force[:, None], pose, actions[:, :3])
    return np.concatenate(columns, axis=1).astype(np.float32)


def place_input(pose: np.ndarray, position: np.ndarray, cylinder: np.ndarray) -> np.ndarray:
    """Return where the object was found relative to the gripper (N, 5) float32: see `PLACE_NAMES`.

    Args:
        pose: (N, 4) present x, y, z [m] and yaw [rad] of the end effector.
        position: (N, 3) centre of the top of the cylinder around the object [m], from depth images.
        cylinder: (N, 2) its radius and height [m].
    """
    pose, position, cylinder = (np.atleast_2d(values) for values in (pose, position, cylinder))
    turn = pose[:, 3] + CLOSING_YAW
    cos, sin = np.cos(turn), np.sin(turn)
    dx, dy = (position[:, :2] - pose[:, :2]).T
    columns = (cos * dx + sin * dy, -sin * dx + cos * dy, position[:, 2] - pose[:, 2], cylinder[:, 0], cylinder[:, 1])
    return np.stack(columns, axis=1).astype(np.float32)


def regrasp_rows(reader: EpisodeReader) -> Rows:
    """Return the rows of every trial with a closed initial grasp (trials that failed have no action)."""
    if len(reader) == 0 or "array.force" not in reader.names:
        raise DataError(f"{reader.root} holds no finished trial with an initial grasp; `palpate collect regrasp` makes them")
    action, start, end = (reader.column(f"array.{name}") for name in ("action", "start_pose", "hand_pose"))
    first_force = reader.column("array.force")[:, 0]
    good = np.flatnonzero(np.isfinite(action).all(axis=1) & np.isfinite(first_force))
    position = np.repeat(good, len(MOMENTS))
    moment = np.tile(np.array(MOMENTS), len(good))
    still = action[good].copy()
    still[:, :4] = 0.0
    by_moment = (
        action_input(action[good], start[good], first_force[good]),
        action_input(action[good], start[good], 0.0),
        action_input(still, end[good], still[:, 4]),
    )
    found, cylinder = (reader.column(f"array.{name}")[good] for name in ("object_position", "cylinder"))
    before, after = (place_input(pose[good], found, cylinder) for pose in (start, end))
    by_place = (before, before, after)
    return Rows(
        position=position,
        trial=reader.indices[position],
        object=reader.column("group.object")[position].astype(str),
        pose=np.full(len(position), "any"),
        moment=moment,
        actions={
            "action": np.stack(by_moment, axis=1).reshape(len(position), -1),
            "place": np.stack(by_place, axis=1).reshape(len(position), -1),
        },
        outcomes=("stable",),
        labels=reader.column("label.stable")[position, None].astype(np.float32),
    )
