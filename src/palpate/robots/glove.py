"""What a glove and a hand must offer, and a guard against a glove that stops sending, sends nonsense or jumps."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from palpate.core.errors import PalpateError, RecordError

GuardState = Literal["waiting", "following", "holding", "recovering"]
"""No good sample yet; the glove is believed; it is not; it is again, and the angles go back to it at a limited speed."""


class GloveError(PalpateError):
    """A glove that cannot be read just now. The guard treats it as silence."""


@dataclass(frozen=True, kw_only=True)
class GloveSample:
    """What the glove measured at one moment."""

    angles: np.ndarray
    """(6,) in the order of `glove_mapping.JOINTS`, growing as fingers bend; [rad] or shares of the range, as the mapping takes them."""
    time: float
    """Capture time [s] on the glove's own clock; a repeated time means that nothing new came."""


@dataclass(frozen=True, kw_only=True)
class HandState:
    """What the hand measured at one moment."""

    angles: np.ndarray
    """(6,) as the glove's, after the mapping."""
    torques: np.ndarray
    """(6,) of the joints, positive where the object pushes back [N m], or the fingertip force that stands for it [N]."""

    def __post_init__(self) -> None:
        """Refuse what nobody can act on."""
        for name, values in (("angles", self.angles), ("torques", self.torques)):
            if np.shape(values) != (6,) or not np.isfinite(values).all():
                raise RecordError(
                    f"hand {name} are {values}; six finite numbers are needed: stop the hand and check its sensors"
                )


class Glove(Protocol):
    """A force-feedback glove, real, simulated or a keyboard."""

    def read(self) -> GloveSample | None:
        """Return the newest sample, the same one again if nothing came, None before the first.

        Raises:
            GloveError: It cannot be read just now.
        """
        ...

    def feel(self, torque: np.ndarray, angle: np.ndarray) -> None:
        """Let each joint resist with at most `torque` (6,) towards `angle` (6,), in the units of hand and glove."""
        ...


class Hand(Protocol):
    """A hand of six controlled joints, real or simulated."""

    def read(self) -> HandState:
        """Return the present state."""
        ...

    def command(self, angles: np.ndarray) -> None:
        """Move towards the joint angles (6,)."""
        ...


@dataclass(frozen=True, kw_only=True)
class GuardLimits:
    """What a glove must keep to. Speeds are in its own angle unit per second, [rad/s] or shares of the range per second."""

    stale: float = 0.2
    """A glove without a new sample for longer has stopped sending [s]."""
    max_speed: float = 25.0
    """A faster change between two samples is a jump; fingers of people reach about 20 rad/s."""
    recovery_samples: int = 5
    """So many good samples one after another end a hold."""
    recovery_speed: float = 2.0
    """How fast the angles go from where they were held to where the glove is now."""

    def __post_init__(self) -> None:
        """Refuse limits that make no sense."""
        if min(self.stale, self.max_speed, self.recovery_speed) <= 0.0 or self.recovery_samples < 1:
            raise RecordError(f"{self}: times and speeds must be positive, and recovery_samples at least 1")


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """What the guard makes of one step."""

    angles: np.ndarray | None
    """(6,) glove angles to act on; None before the first good sample."""
    state: GuardState
    message: str = ""
    """What happened, at the step in which the state changed; empty otherwise."""


class GloveGuard:
    """Passes the glove's angles on while they can be believed, and holds the last good ones while not.

    States: `waiting` -> `following` <-> `holding` -> `recovering` -> `following`. A jump is judged between neighbouring samples, so a
    glove that comes back in another pose is believed again after a few samples that agree with each other.
    """

    def __init__(self, limits: GuardLimits | None = None) -> None:
        """Start without a sample."""
        self.limits = limits or GuardLimits()
        self.state: GuardState = "waiting"
        self._angles: np.ndarray | None = None
        self._seen: GloveSample | None = None  # newest finite sample, good or not
        self._last_time: float | None = None
        self._silence = 0.0
        self._good = 0

    def step(self, sample: GloveSample | None, dt: float) -> Guarded:
        """Judge the newest sample.

        Args:
            sample: As the glove gave it; None if it gave none or could not be read.
            dt: Time since the last step [s].
        """
        new = sample is not None and sample.time != self._last_time
        self._silence = 0.0 if new else self._silence + dt
        if sample is not None and new:
            trouble = self._judge(sample)
            self._good = 0 if trouble else self._good + 1
        else:
            trouble = self._stale()
        message = self._change(trouble)
        self._move(dt)
        if self.state == "recovering" and self._distance() < 1e-9:
            self.state, message = "following", "following the glove again"
        return Guarded(angles=None if self._angles is None else self._angles.copy(), state=self.state, message=message)

    def _judge(self, sample: GloveSample) -> str:
        """Take note of a new sample and return what is wrong with it, or nothing."""
        before, last = self._seen, self._last_time
        self._last_time = sample.time
        angles = np.asarray(sample.angles, float)
        if angles.shape != (6,) or not np.isfinite(angles).all():
            return f"the glove sent {angles}, not six finite angles"
        self._seen = sample
        if last is not None and sample.time < last:
            return f"the glove's clock went back by {last - sample.time:.3g} s"
        if before is not None and before.time < sample.time:
            speed = float(np.abs(angles - before.angles).max()) / (sample.time - before.time)
            if speed > self.limits.max_speed:
                return f"the glove jumped: {speed:.3g}/s, allowed {self.limits.max_speed:g}/s"
        return ""

    def _stale(self) -> str:
        if self._silence <= self.limits.stale:
            return ""
        self._good = 0
        return f"stale after {self.limits.stale * 1000:.0f} ms: the glove has stopped sending"

    def _change(self, trouble: str) -> str:
        """Go to the next state and return what to say about it."""
        if self.state == "waiting":
            if self._good:
                self.state = "following"
                return "following the glove"
            return ""
        if trouble:
            told = "" if self.state == "holding" else f"holding: {trouble}"
            self.state = "holding"
            return told
        if self.state == "holding" and self._good >= self.limits.recovery_samples:
            self.state = "recovering"
            return "the glove is back; going to where it is"
        return ""

    def _move(self, dt: float) -> None:
        if self._seen is None or self.state in ("waiting", "holding"):
            return
        target = np.asarray(self._seen.angles, float)
        if self.state == "following" or self._angles is None:
            self._angles = target.copy()
        else:
            reach = self.limits.recovery_speed * dt
            self._angles = self._angles + np.clip(target - self._angles, -reach, reach)

    def _distance(self) -> float:
        if self._seen is None or self._angles is None:
            return np.inf
        return float(np.abs(self._seen.angles - self._angles).max())
