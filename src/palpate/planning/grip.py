"""Choosing a regrasp for a gripper under force control: the surest one, or the one that needs the least force.

More Than a Feeling, Sections IV-B and VI: random search over motions and forces, a lift once success is sure enough.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from palpate.core.actions import ActionSpace
from palpate.core.errors import RecordError, UnknownNameError
from palpate.core.protocols import OutcomeModel
from palpate.core.records import Decision, GraspAction, Observation

OBJECTIVES = ("success", "min-force", "mixture")


@dataclass(frozen=True, kw_only=True)
class GripObjective:
    """Which of many candidates is the best."""

    kind: Literal["success", "min-force", "mixture"] = "success"
    """`success`: the most likely success. `min-force`: the least force among those above `threshold`; if there is none, as `success`.
    `mixture`: the largest probability less `weight` times the force as a share of the largest candidate's."""
    threshold: float = 0.9
    """Success must be more likely than this."""
    weight: float = 0.2
    """Price of the largest force, in probability; of `mixture` only."""

    def __post_init__(self) -> None:
        """Refuse an unknown kind."""
        if self.kind not in OBJECTIVES:
            raise UnknownNameError("objective", self.kind, OBJECTIVES)

    def choose(self, success: np.ndarray, force: np.ndarray) -> int:
        """Return the best of N candidates with these probabilities (N,) and forces (N,) [N]."""
        if self.kind == "mixture":
            return int(np.argmax(success - self.weight * force / force.max()))
        sure = success > self.threshold
        if self.kind == "min-force" and sure.any():
            candidates = np.flatnonzero(sure)
            least = candidates[force[candidates] <= force[candidates].min() + 1e-9]
            return int(least[np.argmax(success[least])])
        return int(np.argmax(success))


@dataclass(frozen=True, kw_only=True)
class GripPolicy:
    """Regrasp until a lift is likely to succeed."""

    model: OutcomeModel
    """Predicts `stable`; calibrated, or the thresholds mean little."""
    space: ActionSpace
    """Motions, and one joint: the force [N]."""
    objective: GripObjective = field(default_factory=GripObjective)
    n_random: int = 4_900
    """Candidates drawn from the whole space."""
    n_sweep: int = 100
    """Candidates without motion that sweep the force."""
    lift_above: float = 0.9
    """Lift after a grasp whose success is more likely than this."""
    max_looks: int = 5
    """After the last look the policy does the best it knows and lifts; give `rollout` the same number."""
    explore: float = 0.0
    """Share of decisions that are drawn at random instead: for data collection with a trained model."""

    def candidates(self, rng: np.random.Generator) -> np.ndarray:
        """Draw actions (n_random + n_sweep, 5) float32."""
        free = np.zeros((self.n_sweep, self.space.n_free))
        free[:, -1] = np.linspace(-1.0, 1.0, self.n_sweep)
        sweep = self.space.vectors(free)
        sweep[:, :4] = 0.0
        return np.concatenate([self.space.sample(rng, self.n_random), sweep])

    def act(self, observation: Observation, look: int, rng: np.random.Generator) -> Decision:
        """Decide after look number `look` (0 is the start)."""
        actions = self.candidates(rng)
        success = np.asarray(self.model.score(self.model.encode(observation), actions))[:, 0]
        random = self.explore > 0 and rng.random() < self.explore
        best = int(rng.integers(self.n_random)) if random else self.objective.choose(success, actions[:, 4])
        sure = bool(success[best] > self.lift_above)
        return Decision(
            action=GraspAction.from_vector(actions[best]),
            lift=sure or look + 1 >= self.max_looks,
            predicted={"stable": float(success[best])},
        )


@dataclass(frozen=True, kw_only=True)
class CylinderPolicy:
    """Grasp the middle of the cylinder around the object with a constant force, and lift: the paper's baseline."""

    space: ActionSpace
    yaw_offset: float
    """Yaw of the gripper's frame over the commanded yaw [rad]."""
    force: float = 10.0
    """[N]"""

    def act(self, observation: Observation, look: int, rng: np.random.Generator) -> Decision:
        """Move to the centre, whatever is felt."""
        del look, rng
        if observation.object_position is None or observation.hand_pose is None:
            raise RecordError("the cylinder policy needs object_position and hand_pose in the observation; record both")
        top = observation.object_position
        away = np.array([top[0], top[1], top[2] / 2]) - observation.hand_pose[:3]
        turn = observation.hand_pose[3] + self.yaw_offset
        cos, sin = np.cos(turn), np.sin(turn)
        motion = np.array([cos * away[0] + sin * away[1], -sin * away[0] + cos * away[1], away[2], 0.0])
        return Decision(action=GraspAction(motion=motion, joints=np.array([self.force])), lift=True)
