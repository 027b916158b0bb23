"""Stability from proprioception: was the object still between the fingertips at the end of the hold?

The paper trains "a logistic regression model to learn the relationship between grasp success labels and actual fingertip
displacements during grasping, calculated via kinematics from observed joint angles of the fingers. This model is first trained
on supervised data and then progressively fine-tuned during the data collection using all the available data" (Section V).

Fingers that hold an object stay apart *and* short of their targets. Fingers that lost it reach their targets; fingers that hit
each other fall short of them too, but with no gap between. Neither gap nor error alone tells, and no plane in both does, so the
regression gets saturating functions of them and their product.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from palpate.core.errors import RecordError

_GAP_SCALE, _ERROR_SCALE = 0.015, 0.0015
"""Where gap and error count half [m]. A finger is as thick as the first; errors of free fingers are below the second."""


class Evidence(Protocol):
    """What was sensed at the end of a trial that tells whether the object is still held."""

    def vector(self) -> np.ndarray:
        """Return the regression's inputs (D,)."""
        ...

    def array(self) -> np.ndarray:
        """Return everything as numbers (M,), to be kept with the trial."""
        ...


@dataclass(frozen=True, kw_only=True)
class HoldFeatures:
    """What forward kinematics of measured joint angles tells about one trial."""

    gap_m: float
    """Distance between the two pads at the end of the hold [m]."""
    error_lift_m: tuple[float, ...]
    """Of each finger just before the lift: distance between the target of the pad and where it is [m]."""
    error_hold_m: tuple[float, ...]
    """The same at the end of the hold [m]."""

    def __post_init__(self) -> None:
        """Refuse what cannot be a distance."""
        values = np.array([self.gap_m, *self.error_lift_m, *self.error_hold_m], float)
        if len(self.error_lift_m) < 2 or len(self.error_lift_m) != len(self.error_hold_m):
            raise RecordError(f"{self}: errors of the same two or more fingers are needed before the lift and at the hold")
        if not np.isfinite(values).all() or (values < 0).any() or values.max() > 1.0:
            raise RecordError(f"{self}: distances must be finite, not negative and in metres")

    def vector(self) -> np.ndarray:
        """Return the regression's inputs (3,), without unit: weakest and mean error at the hold, and what the lift changed.

        Errors saturate, and each counts only as far as there is a gap. So fingers that hit each other look like fingers that
        hold nothing, even if no such trial was supervised.
        """
        open_share = self.gap_m**2 / (self.gap_m**2 + _GAP_SCALE**2)
        before, after = (np.array(e) / (np.array(e) + _ERROR_SCALE) for e in (self.error_lift_m, self.error_hold_m))
        return open_share * np.array([after.min(), after.mean(), (after - before).mean()])

    def array(self) -> np.ndarray:
        """Return (1 + 2 F,): gap, errors before the lift, errors at the end of the hold [m]."""
        return np.array([self.gap_m, *self.error_lift_m, *self.error_hold_m])

    @classmethod
    def restore(cls, values: np.ndarray) -> "HoldFeatures":
        """Invert `array`."""
        n = (len(values) - 1) // 2
        return cls(
            gap_m=float(values[0]), error_lift_m=tuple(values[1 : 1 + n].tolist()), error_hold_m=tuple(values[1 + n :].tolist())
        )


class StabilityLabel(NamedTuple):
    """The label of one trial."""

    stable: bool
    probability: float
    """That the grasp was stable."""
    ambiguous: bool
    """The regression is unsure; a person should look."""


@dataclass(frozen=True, kw_only=True)
class StabilityConfig:
    """How the labeller learns."""

    refit_every: int = 25
    """Trials between two refits."""
    confident: float = 0.95
    """Own labels enter a refit if their probability of being right is at least this."""
    own_weight: float = 0.3
    """Weight of an own label relative to a person's."""
    ambiguous: tuple[float, float] = (0.2, 0.8)
    """Probabilities between these ask for a person."""
    ridge: float = 0.1
    """Penalty on squared weights of standardised inputs; keeps them finite when the classes are separable."""


def fit_logistic(x: np.ndarray, y: np.ndarray, weight: np.ndarray, ridge: float, *, steps: int = 50) -> np.ndarray:
    """Return weights (D + 1,), the last the bias, of a logistic regression on inputs (N, D) by Newton's method.

    Minimises sum_i weight_i * cross_entropy_i + ridge / 2 * |w|^2, the bias not penalised; halves a step that does not improve.

    Args:
        x: inputs (N, D).
        y: labels (N,), 0 or 1.
        weight: of each sample (N,).
        ridge: penalty, above 0.
        steps: at most this many Newton steps.
    """
    inputs = np.column_stack([x, np.ones(len(x))])
    penalty = np.append(np.full(x.shape[1], ridge), 1e-9)

    def loss(w: np.ndarray) -> float:
        z = inputs @ w
        return float(weight @ (np.logaddexp(0.0, z) - y * z) + 0.5 * penalty @ w**2)

    w = np.zeros(inputs.shape[1])
    now = loss(w)
    for _ in range(steps):
        p = _sigmoid(inputs @ w)
        gradient = inputs.T @ (weight * (p - y)) + penalty * w
        hessian = (inputs * (weight * p * (1 - p))[:, None]).T @ inputs + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while loss(w - size * step) > now and size > 1e-6:
            size /= 2
        w, before, now = w - size * step, now, loss(w - size * step)
        if abs(before - now) < 1e-10 * (1.0 + abs(now)):
            break
    return w


def _sigmoid(z: np.ndarray) -> np.ndarray:
    """Return the logistic function, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


class StabilityLabeller:
    """Learns from a few supervised trials, labels the rest, and refits on the way with its own confident labels.

    Own labels are made anew at each refit, from the regression before it, so an early mistake does not stay for ever.
    The state depends only on the calls and their order.
    """

    def __init__(self, config: StabilityConfig | None = None) -> None:
        """Start without knowledge."""
        self.config = config or StabilityConfig()
        self._inputs: list[np.ndarray] = []
        self._answers: list[bool] = []
        self._own: list[np.ndarray] = []
        self._since_refit = 0
        self._mean: np.ndarray | None = None
        self._scale = np.ones(0)
        self._weights = np.ones(0)

    @property
    def ready(self) -> bool:
        """Whether supervised trials of both kinds are known."""
        return len(set(self._answers)) == 2

    def supervise(self, evidence: Evidence, stable: bool) -> None:
        """Add a trial that a person judged: one of the first, or a reviewed ambiguous one. Refits."""
        self._inputs.append(evidence.vector())
        self._answers.append(bool(stable))
        if self.ready:
            self._refit()

    def label(self, evidence: Evidence) -> StabilityLabel:
        """Judge a trial.

        Raises:
            RecordError: no supervised trial of one of the two kinds yet.
        """
        probability = float(self._probability(evidence.vector()[None])[0])
        low, high = self.config.ambiguous
        return StabilityLabel(probability > 0.5, probability, low < probability < high)

    def update(self, evidence: Evidence) -> StabilityLabel:
        """Judge a trial and learn from it: every `refit_every` trials the regression is refitted with the confident ones."""
        label = self.label(evidence)
        self._own.append(evidence.vector())
        self._since_refit += 1
        if self._since_refit >= self.config.refit_every:
            self._refit()
        return label

    def to_dict(self) -> dict[str, Any]:
        """Return the whole state in types that JSON knows."""
        return {
            "config": asdict(self.config),
            "inputs": [v.tolist() for v in self._inputs],
            "answers": list(self._answers),
            "own": [v.tolist() for v in self._own],
            "since_refit": self._since_refit,
            "mean": None if self._mean is None else self._mean.tolist(),
            "scale": self._scale.tolist(),
            "weights": self._weights.tolist(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "StabilityLabeller":
        """Restore the state of `to_dict`; what follows is as if the collection had not been interrupted.

        Raises:
            RecordError: an entry is missing or unknown.
        """
        try:
            config = {**state["config"], "ambiguous": tuple(state["config"]["ambiguous"])}
            out = cls(StabilityConfig(**config))
            out._inputs = [np.array(v, float) for v in state["inputs"]]
            out._answers = [bool(a) for a in state["answers"]]
            out._own = [np.array(v, float) for v in state["own"]]
            out._since_refit = int(state["since_refit"])
            out._mean = None if state["mean"] is None else np.array(state["mean"], float)
            out._scale, out._weights = np.array(state["scale"], float), np.array(state["weights"], float)
        except (KeyError, TypeError) as error:
            raise RecordError(f"this is no state of a stability labeller: {error!r}; pass what to_dict returned") from error
        return out

    def _probability(self, inputs: np.ndarray) -> np.ndarray:
        """Return the probability of stable (N,) of inputs (N, D)."""
        if self._mean is None:
            raise RecordError(
                f"the stability labeller knows {self._answers.count(True)} stable and {self._answers.count(False)} unstable "
                "supervised trials; it needs both kinds before it can label"
            )
        return _sigmoid((inputs - self._mean) / self._scale @ self._weights[:-1] + self._weights[-1])

    def _refit(self) -> None:
        """Fit to the person's labels and to own labels that are confident now."""
        self._since_refit = 0
        x, y = np.array(self._inputs), np.array(self._answers, float)
        weight = np.ones(len(y))
        if self._own and self._mean is not None:
            own = np.array(self._own)
            p = self._probability(own)
            sure = np.maximum(p, 1 - p) >= self.config.confident
            x, y = np.concatenate([x, own[sure]]), np.concatenate([y, (p[sure] > 0.5).astype(float)])
            weight = np.concatenate([weight, np.full(int(sure.sum()), self.config.own_weight)])
        self._mean, self._scale = x.mean(axis=0), x.std(axis=0) + 1e-6
        self._weights = fit_logistic((x - self._mean) / self._scale, y, weight, self.config.ridge)
