"""Gels that relax: a Prony series of the modulus, stepped in time.

The Poisson ratio stays, so that all tractions relax alike. With the modulus E(t) = E (1 - sum_i g_i (1 - exp(-t/tau_i))) and s the
traction that an elastic gel of modulus E would carry for the same surface,

    traction = (1 - sum g_i) s + sum_i h_i,     dh_i/dt + h_i / tau_i = g_i ds/dt

Over a step s changes evenly (Taylor, Pister and Goudreau 1970), so a step is an elastic press: traction = a s + b with known a, b.
"""

from dataclasses import dataclass

import numpy as np

from palpate.core.errors import RecordError


@dataclass(frozen=True)
class Step:
    """One step of time: traction = `a` s + `b`."""

    a: float
    b: np.ndarray
    """(3, H, W) [Pa], along x, y and into the gel."""


@dataclass(frozen=True)
class Prony:
    """The series. A gel's memory is (1 + n, 3, H, W) [Pa]: s, then each h_i; along x, y and into the gel."""

    share: np.ndarray
    """(n,) g_i."""
    time: np.ndarray
    """(n,) tau_i [s]."""

    @classmethod
    def of(cls, series: tuple[tuple[float, float], ...]) -> "Prony":
        """Check and split the series of a pad.

        Raises:
            RecordError: a share outside [0, 1), shares that leave no modulus, or a time that is not positive.
        """
        share, time = (np.array([term[i] for term in series], float) for i in (0, 1))
        if not (np.isfinite(share).all() and (share >= 0).all() and share.sum() < 1 and (time > 0).all()):
            raise RecordError(
                f"pad.relaxation is {series!r}; allowed: (share, seconds) with shares of 0 or more whose sum is below 1, and positive "
                "times; correct the sensor's constants"
            )
        return cls(share, time)

    def step(self, memory: np.ndarray, dt: float) -> Step:
        """Return the step that follows a memory after `dt` [s]."""
        fade, gain = self._factors(dt)
        b = np.einsum("i,ichw->chw", fade, memory[1:]) - gain.sum() * memory[0]
        return Step(float(1 - self.share.sum() + gain.sum()), b)

    def begin(self, carried: np.ndarray) -> np.ndarray:
        """Return the memory after a sudden first press with traction (3, H, W)."""
        return np.concatenate([carried[None], self.share.astype(carried.dtype)[:, None, None, None] * carried])

    def remember(self, memory: np.ndarray, carried: np.ndarray, dt: float) -> np.ndarray:
        """Return the memory after a step to s = `carried`."""
        fade, gain = self._factors(dt)
        change = carried - memory[0]
        kept = fade[:, None, None, None] * memory[1:] + gain[:, None, None, None] * change
        return np.concatenate([carried[None], kept]).astype(carried.dtype)

    def _factors(self, dt: float) -> tuple[np.ndarray, np.ndarray]:
        """Return how much of each h_i stays, and what it gains of a change of s."""
        turns = dt / self.time
        even = np.where(turns > 1e-8, -np.expm1(-turns) / np.maximum(turns, 1e-8), 1.0)
        return np.exp(-turns), self.share * even
