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
    """Scores actions and keeps the best one seen.

    While no action is feasible that is the one with the largest product of both probabilities: the chance that both outcomes
    are good, were they independent. The most gentle action instead would often be not to grasp at all.
    """

    def __init__(self, model: OutcomeModel, state: Any, objective: Objective) -> None:
        self.model, self.state, self.objective = model, state, objective
        self.relaxed = False
        """Whether `score` ranks by the product instead of by the constrained objective."""
        self.key = (False, -np.inf)
        self.action = self.probabilities = np.empty(0)
        self.n = 0

    @property
    def feasible(self) -> bool:
        return self.key[0]

    def score(self, actions: np.ndarray) -> np.ndarray:
        """Score actions (N, 4 + J), remember the best, and return their ranks (N,)."""
        probabilities = np.asarray(self.model.score(self.state, actions))
        main, constrained = self.objective.values(probabilities, self.model.outcomes)
        rank = self.objective.rank(main, constrained)
        best = int(np.argmax(rank))
        feasible = self.objective.subject_to is None or bool(constrained[best] > self.objective.threshold)
        product = main * constrained
        if not feasible:
            best = int(np.argmax(product))
        key = (feasible, float(main[best] if feasible else product[best]))
        if key > self.key:
            self.key, self.action, self.probabilities = key, actions[best].copy(), probabilities[best]
        self.n += len(actions)
        return product if self.relaxed else rank

    def plan(self) -> Plan:
        predicted = {name: float(value) for name, value in zip(self.model.outcomes, self.probabilities, strict=True)}
        return Plan(action=self.action, predicted=predicted, feasible=self.feasible, n_evaluations=self.n)


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
    """Annealed random search over a grid of motions by hand poses: as good as 100,000 random actions with a few thousand.

    Each iteration scores every pair of some motions and some hand poses. The elite motions (poses), those whose best pair ranks
    highest, are kept, and the others are drawn anew around them with a spread that shrinks from iteration to iteration. Pairs
    make the population large for few distinct motions and poses, which is cheap with a model that treats repeated ones once,
    and merely correct with any other. Staying in place is always among the motions.

    If nothing feasible is found, the search is repeated for the product of both probabilities, and the plan says so.
    """

    iterations: int = 8
    motions: int = 16
    """Motions an iteration."""
    poses: int = 48
    """Hand poses an iteration; they have more to say about the outcome than the motions."""
    elite: int = 3
    """How many of each are kept."""
    first_spread: float = 0.6
    """Standard deviation of the first draws around the elite, in coordinates where the space is [-1, 1]."""
    last_spread: float = 0.05
    """The same in the last iteration."""

    def __call__(
        self, model: OutcomeModel, state: Any, space: ActionSpace, rng: np.random.Generator, objective: Objective
    ) -> Plan:
        """Return the best action found."""
        best = _Best(model, state, objective)
        self._search(best, space, rng)
        if not best.feasible:
            best.relaxed = True
            self._search(best, space, rng)
        return best.plan()

    def _search(self, best: _Best, space: ActionSpace, rng: np.random.Generator) -> None:
        stay = _resting(space)
        motions = rng.uniform(-1.0, 1.0, (self.motions, 4))
        poses = rng.uniform(-1.0, 1.0, (self.poses, space.n_free - 4))
        for spread in np.geomspace(self.first_spread, self.last_spread, self.iterations):
            motions[-1] = stay
            pairs = np.concatenate([np.repeat(motions, len(poses), axis=0), np.tile(poses, (len(motions), 1))], axis=1)
            rank = best.score(space.vectors(pairs)).reshape(len(motions), len(poses))
            motions = self._next(motions, rank.max(axis=1), spread, rng)
            poses = self._next(poses, rank.max(axis=0), spread, rng)

    def _next(self, points: np.ndarray, rank: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
        """Return as many points: the elite, and others drawn around its members."""
        elite = points[np.argsort(-rank, kind="stable")[: self.elite]]
        centres = elite[rng.integers(0, len(elite), len(points) - len(elite))]
        return np.clip(np.concatenate([elite, centres + spread * rng.standard_normal(centres.shape)]), -1.0, 1.0)


def _resting(space: ActionSpace) -> np.ndarray:
    """Return the free coordinates (4,) of no motion, or of the motion nearest to it that the space allows."""
    low, high = np.array(space.motion_low), np.array(space.motion_high)
    extent = np.where(high > low, high - low, 1.0)
    return np.clip(-2.0 * low / extent - 1.0, -1.0, 1.0)
