"""Policies that decide on a regrasp."""

from dataclasses import dataclass, field

import numpy as np

from palpate.core.actions import ActionSpace
from palpate.core.protocols import OutcomeModel
from palpate.core.records import Decision, GraspAction, Observation
from palpate.planning.search import Objective, SamplingSearch, Search


@dataclass(frozen=True, kw_only=True)
class RegraspPolicy:
    """Grasp gently and stably with a learned model, looking again where it is not sure.

    K. Nakahara and R. Calandra, "Learning Gentle Grasping Using Vision, Sound, and Touch", Section VI-C: solve Eq. 1 over all
    candidates. If the best one is also predicted to be stable, do it and lift. Otherwise solve for stability alone to choose
    the next end-effector motion, perform it with the hand pose of the initial grasp, and look again.
    """

    model: OutcomeModel
    """Predicts `stable` and `gentle`."""
    space: ActionSpace
    """Actions to choose from."""
    initial_joints: np.ndarray
    """(J,) hand pose of the initial grasp [rad]."""
    search: Search = field(default_factory=SamplingSearch)
    gentle_threshold: float = 0.95
    """Predicted gentleness must be above this (T of Eq. 1)."""
    stable_threshold: float = 0.95
    """Predicted stability must be above this to lift."""
    max_looks: int = 3
    """On the last look the policy does the best it knows and lifts; give `rollout` the same number."""

    def act(self, observation: Observation, look: int, rng: np.random.Generator) -> Decision:
        """Decide after look number `look` (0 is the initial grasp)."""
        state = self.model.encode(observation)
        plan = self.search(self.model, state, self.space, rng, Objective(threshold=self.gentle_threshold))
        sure = plan.feasible and plan.predicted["stable"] > self.stable_threshold
        if sure or look + 1 >= self.max_looks:
            return Decision(action=GraspAction.from_vector(plan.action), lift=True, predicted=plan.predicted)
        plan = self.search(self.model, state, self.space, rng, Objective(subject_to=None))
        vector = np.concatenate([plan.action[:4], self.initial_joints]).astype(np.float32)
        scores = self.model.score(state, vector[None])[0]
        predicted = {name: float(score) for name, score in zip(self.model.outcomes, scores, strict=True)}
        return Decision(action=GraspAction.from_vector(vector), lift=False, predicted=predicted)


@dataclass(frozen=True, kw_only=True)
class RandomPolicy:
    """Regrasps at random and lifts: data collection (Section V) and the chance level of Fig. 9."""

    space: ActionSpace

    def act(self, observation: Observation, look: int, rng: np.random.Generator) -> Decision:
        """Draw one action of the space, whatever is sensed."""
        del observation, look
        return Decision(action=GraspAction.from_vector(self.space.sample(rng, 1)[0]), lift=True)
