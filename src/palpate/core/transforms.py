"""Rigid transforms. A pose is written `a_from_b`, so that `p_a = a_from_b @ p_b`. Quaternions are (w, x, y, z)."""

import numpy as np


def rotation_z(angle: float) -> np.ndarray:
    """Return the (3, 3) rotation by `angle` [rad] about z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def pose(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Return the (4, 4) homogeneous transform of a (3, 3) rotation and a (3,) translation [m]."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation, translation
    return out


def inverse(a_from_b: np.ndarray) -> np.ndarray:
    """Return `b_from_a` of a rigid (4, 4) transform."""
    rotation = a_from_b[:3, :3].T
    return pose(rotation, -rotation @ a_from_b[:3, 3])


def apply(a_from_b: np.ndarray, points_b: np.ndarray) -> np.ndarray:
    """Map points (..., 3) [m] from frame b to frame a."""
    return points_b @ a_from_b[:3, :3].T + a_from_b[:3, 3]


def look_at(eye: np.ndarray, target: np.ndarray, up: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> np.ndarray:
    """Return `world_from_camera` (4, 4) of a camera at `eye` that looks at `target` [m].

    Camera axes follow the field's optical frame: x right, y down, z forward.
    """
    eye, target = np.asarray(eye, float), np.asarray(target, float)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, np.asarray(up, float))
    right /= np.linalg.norm(right)
    return pose(np.stack([right, np.cross(forward, right), forward], axis=1), eye)


def quaternion_to_matrix(q: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation of a unit quaternion (w, x, y, z)."""
    w, x, y, z = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
