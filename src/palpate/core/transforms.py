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


def rotation_from_vector(vector: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation about `vector` (3,) by its length [rad] (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector, float) / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def vector_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Return the rotation vector (3,) [rad] of a (3, 3) rotation, of length 0 to pi. Inverse of `rotation_from_vector`."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]) / 2.0
    sine, cosine = float(np.linalg.norm(skew)), (float(np.trace(rotation)) - 1.0) / 2.0
    angle = float(np.arctan2(sine, cosine))
    if sine > 1e-6:
        return skew * (angle / sine)
    if cosine > 0:
        return skew
    outer = (rotation + np.eye(3)) / 2.0  # half a turn: the axis times itself
    column = int(np.argmax(np.diag(outer)))
    return outer[:, column] * (np.pi / np.linalg.norm(outer[:, column]))


def pose_from_vector(vector: np.ndarray) -> np.ndarray:
    """Return the (4, 4) transform of (6,) x, y, z [m] and a rotation vector [rad]."""
    return pose(rotation_from_vector(vector[3:]), vector[:3])


def vector_from_pose(transform: np.ndarray) -> np.ndarray:
    """Return (6,) x, y, z [m] and rotation vector [rad] of a rigid (4, 4) transform."""
    return np.concatenate([transform[:3, 3], vector_from_rotation(transform[:3, :3])])
