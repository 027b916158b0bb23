"""One demonstration of pouring by touch: a scripted person at a keyboard who watches the scale under the bowl.

AnyTouch (Feng et al., 2025), Appendix A.8: training data are collected using a keyboard, with three keys: pour, wait, retract.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from palpate.core.records import Command, Episode, Observation
from palpate.core.rollout import steer
from palpate.worlds.pouring import STEP, TARGET, PouringConfig, PouringWorld

Act = Literal["retract", "wait", "pour"]

ACTS: tuple[Act, ...] = ("retract", "wait", "pour")
"""In the order of the classes of a policy; the stream `arm.command` holds -1, 0 and 1 for them."""


def command(act: Act) -> Command:
    """Return what the arm is told for an act."""
    return Command(joints=np.array([(ACTS.index(act) - 1) * STEP]))


@dataclass(frozen=True, kw_only=True)
class PourerConfig:
    """What people have in common, and how much they differ from trial to trial. Estimates."""

    reaction: int = 1
    """Periods from a reading to the key: 0.2 s."""
    misread: float = 0.3e-3
    """Standard deviation of what is read off a scale whose digits change [kg]."""
    near: tuple[float, float] = (14e-3, 3e-3)
    """Mean and spread of how much is missing when the person goes on step by step [kg]."""
    lead: tuple[float, float] = (3.5e-3, 0.5e-3)
    """Of how much is missing when the person tilts back, as some more beads fall then [kg]."""
    patience: tuple[int, int] = (2, 4)
    """Fewest and most periods that the person waits after a step."""
    flowing: float = 0.5e-3
    """Near the end the person waits while a period brings more than this [kg]."""
    pause: float = 0.04
    """Chance of a needless wait in a period."""


class Pourer:
    """Implements `palpate.core.protocols.Controller` from the scale alone."""

    def __init__(self, read: Callable[[], float], config: PourerConfig | None = None) -> None:
        """Take what reads the scale [kg]."""
        self._read, self.config = read, config or PourerConfig()

    def reset(self, rng: np.random.Generator) -> None:
        """Begin a trial: a little more or less careful than in others."""
        config = self.config
        self._rng = rng
        self._near, self._lead = (max(float(rng.normal(*habit)), 0.0) for habit in (config.near, config.lead))
        self._patience = int(rng.integers(config.patience[0], config.patience[1] + 1))
        self._readings: deque[float] = deque([0.0] * (config.reaction + 2), maxlen=config.reaction + 2)
        self._waits, self._enough = 0, False

    def act(self, observation: Observation) -> Command:
        """Look at the scale and press a key."""
        self._readings.append(self._read() + self.config.misread * float(self._rng.normal()))
        before, now = self._readings[0], self._readings[1]
        return command(self._decide(TARGET - now, now - before))

    def _decide(self, missing: float, gained: float) -> Act:
        """Choose the key from what is missing and what the last period brought [kg]."""
        if self._enough or missing <= self._lead:
            self._enough = True
            return "retract"
        self._waits -= 1
        if self._rng.random() < self.config.pause:
            return "wait"
        if missing > self._near:
            return "pour"
        if gained > self.config.flowing or self._waits >= 0:
            return "wait"
        self._waits = self._patience
        return "pour"


@dataclass(frozen=True, kw_only=True)
class PouringTask:
    """AnyTouch (Feng et al., 2025), Appendix A.8."""

    world: PouringConfig = field(default_factory=PouringConfig)
    person: PourerConfig = field(default_factory=PourerConfig)
    name: str = "pouring"

    def build(self) -> PouringWorld:
        """Build the world."""
        return PouringWorld(self.world)

    def demonstrate(self, world: PouringWorld, seed: int, index: int) -> Episode:
        """Let the scripted person pour, and return the episode with its labels."""
        return finished(steer(world, Pourer(lambda: world.scale, self.person), seed, index))


def finished(episode: Episode) -> Episode:
    """Return an episode with what the scale reads at its end: `poured_g`, and `error_g` beyond the target [g]."""
    poured = float(episode.streams["scale"].values[-1, 0])
    return episode.with_labels({"poured_g": 1e3 * poured, "error_g": 1e3 * (poured - TARGET)})
