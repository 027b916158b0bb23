"""The space that regrasp actions are drawn from."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class ActionSpace:
    """A box of motions and active joints around a fixed hand pose.

    The full action vector is (4 + J,): dx, dy, dz [m], dyaw [rad] in the hand's yaw frame, then J absolute joint targets [rad].
    A gripper under force control has one "joint", whose target is its force [N].
    The *free* coordinates are the four motions and the active joints, scaled to [-1, 1].
    """

    motion_low: tuple[float, float, float, float]
    motion_high: tuple[float, float, float, float]
    joints: tuple[float, ...]
    """(J,) pose in which the inactive joints stay [rad]."""
    active: tuple[int, ...]
    """Indices of the active joints."""
    joint_low: tuple[float, ...]
    """Lower end of each active joint [rad]: the pose that always fails to grasp."""
    joint_high: tuple[float, ...]
    """Upper end of each active joint [rad]: the pose that always squeaks."""

    @property
    def n_free(self) -> int:
        """Number of free coordinates."""
        return 4 + len(self.active)

    def vectors(self, free: np.ndarray) -> np.ndarray:
        """Map free coordinates (N, n_free) in [-1, 1] to full action vectors (N, 4 + J) float32."""
        low = np.array(self.motion_low + self.joint_low)
        high = np.array(self.motion_high + self.joint_high)
        values = low + (np.clip(free, -1.0, 1.0) + 1.0) / 2.0 * (high - low)
        out = np.empty((len(free), 4 + len(self.joints)), np.float32)
        out[:, :4] = values[:, :4]
        out[:, 4:] = np.asarray(self.joints, np.float32)
        out[:, 4 + np.asarray(self.active)] = values[:, 4:]
        return out

    def sample(self, rng: np.random.Generator, n: int, *, fingers_only: bool = False) -> np.ndarray:
        """Draw `n` action vectors (n, 4 + J); with `fingers_only` the end effector does not move."""
        free = rng.uniform(-1.0, 1.0, (n, self.n_free))
        out = self.vectors(free)
        if fingers_only:
            out[:, :4] = 0.0
        return out
