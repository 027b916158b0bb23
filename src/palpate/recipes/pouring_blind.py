"""Pouring without feeling anything: what a policy that pours by touch has to be better than.

`FixedSteps` pours the same number of steps in every trial, as whoever feels and measures nothing can. `FixedTilt` pours on to the same
measured tilt, which policies are not told: in a laboratory, where cup and beads stay the same, tilt alone tells much of what is poured.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from palpate.core.errors import DataError
from palpate.core.records import Command, Observation
from palpate.data.reader import EpisodeReader
from palpate.recipes.pouring_task import command
from palpate.worlds.pouring import STEP, TARGET

_LEAST_SLOPE = 10.0
"""What a radian more is taken to pour at least [g], lest a search from few demonstrations runs away; it is about 200."""


class FixedSteps:
    """Implements `palpate.core.protocols.Controller`: so many steps on, then back."""

    def __init__(self, steps: float) -> None:
        """Take the number of steps, rounded to a whole one."""
        self.steps = round(steps)

    def reset(self, rng: np.random.Generator) -> None:
        """Begin a trial."""
        self._done = 0

    def act(self, observation: Observation) -> Command:
        """Count."""
        self._done += 1
        return command("pour" if self._done <= self.steps else "retract")


class FixedTilt:
    """Implements `palpate.core.protocols.Controller`: on to a measured tilt, then back."""

    def __init__(self, tilt: float) -> None:
        """Take the tilt [rad]."""
        self.tilt = tilt

    def reset(self, rng: np.random.Generator) -> None:
        """Begin a trial."""
        self._there = False

    def act(self, observation: Observation) -> Command:
        """Look at the tilt, nothing else."""
        assert observation.joint_position is not None
        self._there = self._there or float(observation.joint_position[0]) >= self.tilt
        return command("retract" if self._there else "pour")


BLIND: dict[str, Callable[[float], FixedSteps | FixedTilt]] = {"steps": FixedSteps, "tilt": FixedTilt}


@dataclass(frozen=True, kw_only=True)
class BlindStart:
    """Where the search for the best number begins, from demonstrations alone."""

    number: float
    """Steps, or tilt [rad], after which people tilted back, on average."""
    slope: float
    """What one more brings, in the second half of what is poured [g]."""


def blind_start(reader: EpisodeReader, kind: str) -> BlindStart:
    """Read off demonstrations after how many steps, or at which tilt, people tilted back, and what a little more pours.

    Raises:
        DataError: no demonstration with keys, tilt and scale.
    """
    ends, numbers, grams = [], [], []
    for episode in reader:
        if any(name not in episode.streams for name in ("arm.command", "arm.tilt", "scale")):
            continue
        keys = episode.streams["arm.command"].values[:, 0]
        tilt = episode.streams["arm.tilt"].values[: len(keys), 0]
        poured = 1e3 * episode.streams["scale"].values[: len(keys), 0]
        back = int(np.argmax(keys < 0)) if (keys < 0).any() else len(keys) - 1
        ends.append(float(tilt[back]) if kind == "tilt" else float((keys[:back] > 0).sum()))
        late = (np.arange(len(keys)) < back) & (poured > 0.5e3 * TARGET)
        numbers.append(tilt[late])
        grams.append(poured[late])
    if not ends or not sum(map(len, grams)):
        raise DataError(f"{reader.root} holds no demonstration in which half of the target is poured; collect more")
    # Gram per radian: the tilt says what falls, and steps are tilt.
    slope = float(np.polyfit(np.concatenate(numbers), np.concatenate(grams), 1)[0])
    slope = max(slope, _LEAST_SLOPE)
    return BlindStart(number=float(np.mean(ends)), slope=slope if kind == "tilt" else slope * STEP)


def best_number(start: BlindStart, errors: Callable[[float], np.ndarray], tries: int = 3) -> float:
    """Return the number with the least mean absolute error of a few tries, each corrected by the median error of the one before.

    Args:
        start: where to begin.
        errors: from a number to the errors (N,) of trials with it [g], on starting states that no result is reported of.
        tries: how many numbers are tried.
    """
    number, found = start.number, []
    for _ in range(tries):
        errors_here = errors(number)
        found.append((float(np.abs(errors_here).mean()), number))
        number -= float(np.median(errors_here)) / start.slope
    return min(found)[1]
