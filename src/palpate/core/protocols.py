"""What the rooms expect of one another. Users need not inherit: any object with these members will do."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from palpate.core.actions import ActionSpace
from palpate.core.records import Command, Decision, Episode, GraspAction, GraspOutcome, Observation, TactileFrame


class TouchSensor(Protocol):
    """A touch sensor as a function of how the object lies over its pad."""

    name: str

    def rest(self, time: float = 0.0) -> TactileFrame:
        """Return what the sensor gives without contact."""
        ...

    def press(self, gap: np.ndarray, force: float, time: float = 0.0) -> TactileFrame:
        """Return what it gives when a surface at distance `gap` (H, W) [m] is pressed on with `force` [N]."""
        ...


@runtime_checkable
class Embodiment(Protocol):
    """A simulated world or a real robot that can attempt a grasp, look, grasp again, and lift."""

    action_space: ActionSpace

    def begin(self, seed: int, index: int) -> Observation:
        """Place an object, find it, take the initial grasp if the task has one, and return what is sensed then."""
        ...

    def regrasp(self, action: GraspAction) -> Observation:
        """Open, move, close, and return what is sensed during the new grasp."""
        ...

    def lift(self) -> GraspOutcome:
        """Lift and hold; return what the embodiment itself knows of the outcome (a robot knows nothing)."""
        ...

    def finish(self) -> Episode:
        """Return everything recorded since `begin`, without labels."""
        ...


@runtime_checkable
class Releasing(Protocol):
    """An embodiment that can let go and look."""

    def release(self) -> Observation:
        """Open, step back, find the object anew, and return what is sensed then."""
        ...


class Policy(Protocol):
    """Anything that decides on a regrasp."""

    def act(self, observation: Observation, look: int, rng: np.random.Generator) -> Decision:
        """Decide after look number `look` (0 is the initial grasp)."""
        ...


class Steered(Protocol):
    """A world or robot whose hand is told what to do at a fixed rate, from closing to the end of the hold."""

    rate_hz: float

    def begin(self, seed: int, index: int) -> Observation:
        """Place an object, bring the open hand to it, and return what is sensed."""
        ...

    def step(self, command: Command) -> Observation:
        """Do as told for one period, and return what is sensed at its end."""
        ...

    @property
    def done(self) -> bool:
        """Whether the object was lifted and held, or dropped, or time is up."""
        ...

    def finish(self) -> Episode:
        """Return everything recorded since `begin`, without labels."""
        ...


class Controller(Protocol):
    """Steers a hand: a trained policy, or a person with a glove."""

    def reset(self, rng: np.random.Generator) -> None:
        """Forget the last episode."""
        ...

    def act(self, observation: Observation) -> Command:
        """Decide what to do for one period."""
        ...


class OutcomeModel(Protocol):
    """Predicts the probability of each outcome of an action. The state is encoded once for many actions."""

    outcomes: tuple[str, ...]

    def encode(self, observation: Observation) -> Any:
        """Return the model's own form of the state."""
        ...

    def score(self, state: Any, actions: np.ndarray) -> np.ndarray:
        """Return (N, len(outcomes)) float32 probabilities of actions (N, 4 + J)."""
        ...


class Labeller(Protocol):
    """Turns what was sensed into labels."""

    def label(self, episode: Episode) -> Mapping[str, float | None]:
        """Return labels by name; None where they cannot be known."""
        ...
