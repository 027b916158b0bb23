"""Choosing the best action with any outcome model.

K. Nakahara and R. Calandra, "Learning Gentle Grasping Using Vision, Sound, and Touch", Eq. 1:
`a* = argmax f_s(s, a) subject to f_g(s, a) > T`, solved there by scoring 100,000 random actions.

Axis letters: N candidate action, K outcome, J joint.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from palpate.core.actions import ActionSpace
from palpate.core.errors import UnknownNameError
from palpate.core.protocols import OutcomeModel


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Maximise one probability, subject to another being above a threshold."""

    maximise: str = "stable"
    """Outcome to maximise."""
    subject_to: str | None = "gentle"
    """Outcome whose probability is constrained; None for no constraint."""
    threshold: float = 0.95
    """The constraint holds strictly above this (T of Eq. 1)."""

    def values(self, probabilities: np.ndarray, outcomes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return the maximised and the constrained probability (N,) each of (N, K) predictions; the latter is 1 if unused."""
        for name in filter(None, (self.maximise, self.subject_to)):
            if name not in outcomes:
                raise UnknownNameError("outcome of the model", name, outcomes)
        probabilities = np.asarray(probabilities, np.float64)
        main = probabilities[:, outcomes.index(self.maximise)]
        return main, np.ones_like(main) if self.subject_to is None else probabilities[:, outcomes.index(self.subject_to)]

    def rank(self, main: np.ndarray, constrained: np.ndarray) -> np.ndarray:
        """Return (N,) numbers whose largest is the best: any feasible action before any infeasible one.

        Feasible ones are ordered by what is maximised, infeasible ones by how close they come to the constraint
        (Deb, "An efficient constraint handling method for genetic algorithms", 2000).
        """
        if self.subject_to is None:
            return main
        return np.where(constrained > self.threshold, main, constrained - 1.0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The action that a search chose."""

    action: np.ndarray
    """(4 + J,) float32: motion [m, m, m, rad], then joint targets [rad]."""
    predicted: Mapping[str, float]
    """Probability of each outcome of the model."""
    feasible: bool
    """Whether the constraint holds; True without a constraint."""
    n_evaluations: int
    """How many actions were scored."""


class Search(Protocol):
    """Finds the best action in a space."""

    def __call__(
        self, model: OutcomeModel, state: Any, space: ActionSpace, rng: np.random.Generator, objective: Objective
    ) -> Plan:
        """Return the best action found for a state that the model encoded."""
        ...


class _Best:
    """Keeps the best action seen.

    When no action is feasible it is the one with the largest product of both probabilities: the chance that both outcomes are
    good, were they independent. The most gentle action instead would often be not to grasp at all.
    """

    def __init__(self, model: OutcomeModel, state: Any, objective: Objective) -> None:
        self.model, self.state, self.objective = model, state, objective
        self.key = (False, -np.inf)
        self.action = self.probabilities = np.empty(0)
        self.n = 0

    def score(self, actions: np.ndarray) -> np.ndarray:
        """Score actions (N, 4 + J), remember the best, and return their ranks (N,)."""
        probabilities = np.asarray(self.model.score(self.state, actions))
        main, constrained = self.objective.values(probabilities, self.model.outcomes)
        rank = self.objective.rank(main, constrained)
        best = int(np.argmax(rank))
        feasible = self.objective.subject_to is None or bool(constrained[best] > self.objective.threshold)
        if not feasible:
            best = int(np.argmax(main * constrained))
        key = (feasible, float(main[best] if feasible else main[best] * constrained[best]))
        if key > self.key:
            self.key, self.action, self.probabilities = key, actions[best].copy(), probabilities[best]
        self.n += len(actions)
        return rank

    def plan(self) -> Plan:
        predicted = {name: float(value) for name, value in zip(self.model.outcomes, self.probabilities, strict=True)}
        return Plan(action=self.action, predicted=predicted, feasible=self.key[0], n_evaluations=self.n)


@dataclass(frozen=True, kw_only=True)
class ExhaustiveSearch:
    """Random search over many actions, as in the paper (Section VI-C)."""

    n_random: int = 95_000
    """Actions drawn from the whole space."""
    n_fingers_only: int = 5_000
    """Further actions with the end effector at rest."""
    batch: int = 5_000
    """Actions scored at a time."""

    def __call__(
        self, model: OutcomeModel, state: Any, space: ActionSpace, rng: np.random.Generator, objective: Objective
    ) -> Plan:
        """Return the best of the drawn actions."""
        best = _Best(model, state, objective)
        for total, fingers_only in ((self.n_random, False), (self.n_fingers_only, True)):
            for start in range(0, total, self.batch):
                best.score(space.sample(rng, min(self.batch, total - start), fingers_only=fingers_only))
        return best.plan()


@dataclass(frozen=True, kw_only=True)
class SamplingSearch:
    """Cross-entropy search over a grid of motions by hand poses: better than 100,000 random actions with a few thousand.

    Each iteration draws some motions and some hand poses from normal distributions, scores every pair, and moves each
    distribution to its elite, the motions (poses) whose best pair ranks highest. Pairs make the population large for few
    distinct motions and poses, which is cheap with a model that treats repeated ones once, and merely correct with any other.
    Staying in place is always among the motions, and so is the best motion so far; likewise the best pose.
    """

    iterations: int = 8
    motions: int = 32
    """Motions an iteration."""
    poses: int = 32
    """Hand poses an iteration."""
    elite: int = 6
    """How many of each move the distributions."""
    min_spread: float = 0.02
    """Added to the spread, in coordinates where the space is [-1, 1], so that the search does not freeze."""

    def __call__(
        self, model: OutcomeModel, state: Any, space: ActionSpace, rng: np.random.Generator, objective: Objective
    ) -> Plan:
        """Return the best action found."""
        best = _Best(model, state, objective)
        stay = _resting(space)
        motions = rng.uniform(-1.0, 1.0, (self.motions, 4))
        poses = rng.uniform(-1.0, 1.0, (self.poses, space.n_free - 4))
        for _ in range(self.iterations):
            motions[-1] = stay
            pairs = np.concatenate([np.repeat(motions, len(poses), axis=0), np.tile(poses, (len(motions), 1))], axis=1)
            rank = best.score(space.vectors(pairs)).reshape(len(motions), len(poses))
            motions = self._next(motions, rank.max(axis=1), self.motions, rng)
            poses = self._next(poses, rank.max(axis=0), self.poses, rng)
        return best.plan()

    def _next(self, points: np.ndarray, rank: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return n points: the best one, and others drawn around the elite."""
        elite = points[np.argsort(-rank, kind="stable")[: self.elite]]
        spread = elite.std(axis=0) + self.min_spread
        drawn = elite.mean(axis=0) + spread * rng.standard_normal((n - 1, points.shape[1]))
        return np.clip(np.concatenate([elite[:1], drawn]), -1.0, 1.0)


def _resting(space: ActionSpace) -> np.ndarray:
    """Return the free coordinates (4,) of no motion, or of the motion nearest to it that the space allows."""
    low, high = np.array(space.motion_low), np.array(space.motion_high)
    extent = np.where(high > low, high - low, 1.0)
    return np.clip(-2.0 * low / extent - 1.0, -1.0, 1.0)
