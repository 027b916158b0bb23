"""Grasping with two estimates: one from sight to choose the grasp, one from touch to decide whether to lift it.

Sim2real Multimodal Learning for Dexterous Gripper, Section 2.2: look, estimate, close, feel, estimate again; adjust or grasp elsewhere
when the second estimate says that the grasp will fail, else lift.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.records import Decision, GraspAction, Observation
from palpate.core.transforms import inverse, pose_from_vector, vector_from_pose


class Guess(Protocol):
    """A grasp that is offered."""

    @property
    def hand_pose(self) -> np.ndarray:
        """(6,) palm in the world: x, y, z [m], rotation vector [rad]."""
        ...

    @property
    def joints(self) -> np.ndarray:
        """(J,) targets [rad]."""
        ...


class First(Protocol):
    """What is thought before touch."""

    @property
    def status(self) -> float:
        """Probability of success."""
        ...

    @property
    def alternatives(self) -> Sequence[Guess]:
        """Grasps to try, the best first."""
        ...


class Second(Protocol):
    """What is thought during touch."""

    @property
    def status(self) -> float:
        """Probability of success."""
        ...

    @property
    def joints(self) -> np.ndarray:
        """(J,) targets that would hold here [rad]."""
        ...


class TwoEstimates(Protocol):
    """A model that makes both estimates."""

    def first(self, observation: Observation) -> First:
        """Estimate from sight."""
        ...

    def second(self, observation: Observation) -> Second:
        """Estimate from sight, joints and touch."""
        ...


Draw = Callable[[Observation, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Draws a reachable grasp at random: palm pose (6,) and joint targets (J,)."""

Reachable = Callable[[np.ndarray, Observation], np.ndarray | None]
"""Palm pose (6,) -> the nearest one that arm and table allow, or None."""


def towards(observation: Observation, hand_pose: np.ndarray, joints: np.ndarray) -> GraspAction:
    """Return the action that brings the palm from where it is to `hand_pose` (6,) in the world.

    Raises:
        RecordError: the observation does not say where the palm is.
    """
    if observation.hand_pose is None:
        raise RecordError("a motion of the hand needs hand_pose in the observation; record it")
    motion = inverse(pose_from_vector(observation.hand_pose)) @ pose_from_vector(hand_pose)
    return GraspAction(motion=vector_from_pose(motion), joints=np.asarray(joints, float))


@dataclass(frozen=True, kw_only=True)
class DrawnPolicy:
    """Grasps at random within reach and lifts: how data are collected, and the level to beat."""

    draw: Draw

    def act(self, observation: Observation, look: int, rng: np.random.Generator) -> Decision:
        """Draw one grasp."""
        del look
        return Decision(action=towards(observation, *self.draw(observation, rng)), lift=True)


@dataclass(frozen=True, kw_only=True)
class EstimatePolicy:
    """Takes the first estimate; with `feel` it lifts only what the second estimate expects to hold."""

    model: TwoEstimates
    reachable: Reachable
    draw: Draw
    """When no offered grasp is within reach, or all have failed."""
    feel: bool = True
    """Ask for the second estimate; otherwise lift the first grasp."""
    lift_above: float = 0.7
    """Probability of success that is enough to lift."""
    adjust: bool = True
    """Where touch says that a grasp fails, first close again at the same place with the joints that the second estimate gives."""
    max_looks: int = 8
    """On the last look the policy lifts whatever it holds; give `rollout` the same number."""

    def act(self, observation: Observation, look: int, rng: np.random.Generator) -> Decision:
        """Decide after look number `look`; before the first grasp it is 0."""
        last = look + 1 >= self.max_looks
        round_, step = divmod(look, 2 + self.adjust)  # grasp, adjust, let go
        if step == 0:
            first = self.model.first(observation)
            return Decision(
                action=towards(observation, *self._offer(observation, round_, rng, first)),
                lift=last or not self.feel,
                predicted={"stable": first.status},
            )
        second = self.model.second(observation)
        told = {"stable": second.status}
        if second.status > self.lift_above or last:
            return Decision(action=None, lift=True, predicted=told)
        if self.adjust and step == 1 and observation.hand_pose is not None:
            return Decision(action=towards(observation, observation.hand_pose, second.joints), lift=False, predicted=told)
        return Decision(action=None, release=True, lift=False, predicted=told)

    def _offer(
        self, observation: Observation, number: int, rng: np.random.Generator, first: First
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return grasp `number` of those offered that are within reach; after the last a drawn one."""
        for guess in first.alternatives:
            near = self.reachable(guess.hand_pose, observation)
            if near is None:
                continue
            if number == 0:
                return near, guess.joints
            number -= 1
        return self.draw(observation, rng)
