"""The space that regrasp actions are drawn from."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class ActionSpace:
    """A box of motions and active joints around a fixed hand pose.

    The full action vector is (M + J,): a motion as in `GraspAction`, then J absolute joint targets [rad].
    A gripper under force control has one "joint", whose target is its force [N].
    The *free* coordinates are the M motions and the active joints, scaled to [-1, 1].
    """

    motion_low: tuple[float, ...]
    """(M,) with M 4 or 6."""
    motion_high: tuple[float, ...]
    joints: tuple[float, ...]
    """(J,) pose in which the inactive joints stay [rad]."""
    active: tuple[int, ...]
    """Indices of the active joints."""
    joint_low: tuple[float, ...]
    """Lower end of each active joint [rad]: the pose that always fails to grasp."""
    joint_high: tuple[float, ...]
    """Upper end of each active joint [rad]: the pose that always squeaks."""

    @property
    def n_motion(self) -> int:
        """Number of motion coordinates."""
        return len(self.motion_low)

    @property
    def n_free(self) -> int:
        """Number of free coordinates."""
        return self.n_motion + len(self.active)

    def vectors(self, free: np.ndarray) -> np.ndarray:
        """Map free coordinates (N, n_free) in [-1, 1] to full action vectors (N, M + J) float32."""
        m = self.n_motion
        low = np.array(self.motion_low + self.joint_low)
        high = np.array(self.motion_high + self.joint_high)
        values = low + (np.clip(free, -1.0, 1.0) + 1.0) / 2.0 * (high - low)
        out = np.empty((len(free), m + len(self.joints)), np.float32)
        out[:, :m] = values[:, :m]
        out[:, m:] = np.asarray(self.joints, np.float32)
        out[:, m + np.asarray(self.active)] = values[:, m:]
        return out

    def sample(self, rng: np.random.Generator, n: int, *, fingers_only: bool = False) -> np.ndarray:
        """Draw `n` action vectors (n, M + J); with `fingers_only` the end effector does not move."""
        free = rng.uniform(-1.0, 1.0, (n, self.n_free))
        out = self.vectors(free)
        if fingers_only:
            out[:, : self.n_motion] = 0.0
        return out
