"""A number with an interval that says how well it is known: Gaussian process, local spread, conformal calibration.

The process gives the value. How far it is off where (the spread) is learned from its errors on groups it was not fitted to; last, the
interval is stretched until it holds for the promised share of those (locally weighted conformal prediction: Lei et al. 2018). So
it is wide where the inputs cannot tell, for example where a stiff small ball and a soft large one look alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from palpate.core.errors import DataError

CONFIDENCE = 0.9
_MOST = 250
"""Rows that the process's constants are fitted on; more cost the third power."""
_RIDGE = 3.0
"""Strength that holds the spread's dependence on the inputs back, in rows."""
_WIDEST = 6.0
"""The spread differs from its middle by at most this factor."""
_FOLDS = 10
_PRIOR = 2.0
"""Standard deviation of the weak prior on the logs of the process's constants."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Values and intervals of presses."""

    value: np.ndarray
    """(N,)"""
    low: np.ndarray
    """(N,) lower end of the interval."""
    high: np.ndarray
    """(N,)"""


@dataclass(frozen=True, kw_only=True)
class IntervalRegressor:
    """A fitted estimator; all its state is arrays."""

    mean: np.ndarray
    """(D,) of the features."""
    scale: np.ndarray
    """(D,) standard deviation of the features."""
    target: np.ndarray
    """(2,) mean and standard deviation of the target."""
    limits: np.ndarray
    """(2,) range of targets that were learned from: nothing beyond is ever said."""
    points: np.ndarray
    """(N, D) standardised features."""
    weights: np.ndarray
    """(N,) of the process."""
    kernel: np.ndarray
    """(D + 2,) variance, length along each feature, and variance of the noise."""
    spread: np.ndarray
    """(2 D + 4,) log size of errors: its middle, then constant and coefficients of features and value, and of their squares."""
    stretch: np.ndarray
    """(2,) quantiles of errors over spread, low and high."""

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        target: np.ndarray,
        groups: np.ndarray,
        rng: np.random.Generator,
        confidence: float = CONFIDENCE,
    ) -> "IntervalRegressor":
        """Fit to features (N, D), target (N,) and groups (N,): rows of one group are left out together.

        Raises:
            DataError: fewer than 10 groups, or values that are not finite.
        """
        names, group = np.unique(groups, return_inverse=True)
        if len(names) < _FOLDS or not (np.isfinite(features).all() and np.isfinite(target).all()):
            raise DataError(
                f"{len(names)} objects and {np.count_nonzero(~np.isfinite(features))} features that are not finite; an interval needs "
                f"{_FOLDS} objects or more and finite features"
            )
        mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-9
        points = (features - mean) / scale
        middle = np.array([target.mean(), target.std() + 1e-9])
        y = (target - middle[0]) / middle[1]
        fold = rng.permutation(len(names))[group] % _FOLDS
        error = np.empty_like(y)
        for half in (0, 1):  # constants that saw a row would make its error look small
            rows = fold % 2 == half
            inverse = _inverse(points, _constants(points[~rows], y[~rows], rng))
            error[rows] = _left_out(inverse, inverse @ y, fold)[rows]
        inputs = np.column_stack([points, y - error])
        middle_size = float(np.log(np.abs(error).mean() + 1e-9))
        size = np.empty_like(error)
        for k in range(_FOLDS):  # the spread of a row must not have seen its error either
            coefficients = _fit_spread(inputs[fold != k], error[fold != k])
            size[fold == k] = _spread(inputs[fold == k], np.r_[middle_size, coefficients])
        tail = (1 - confidence) / 2 * (1 - 1 / len(names))  # a little wider for few objects
        kernel = _constants(points, y, rng)
        return cls(
            mean=mean,
            scale=scale,
            target=middle,
            limits=np.array([target.min(), target.max()]),
            points=points,
            weights=_inverse(points, kernel) @ y,
            kernel=kernel,
            spread=np.r_[middle_size, _fit_spread(inputs, error)],
            stretch=np.quantile(error / size, [tail, 1 - tail]),
        )

    def predict(self, features: np.ndarray) -> Estimate:
        """Return values and intervals for features (N, D)."""
        points = (features - self.mean) / self.scale
        value = _covariance(points, self.points, self.kernel) @ self.weights
        spread = _spread(np.column_stack([points, value]), self.spread)
        # The error is truth minus value, so its quantiles are added.
        ends = [self.target[0] + self.target[1] * (value + q * spread) for q in (0.0, *self.stretch)]
        value, low, high = (np.clip(end, *self.limits) for end in ends)
        return Estimate(value=value, low=np.minimum(low, value), high=np.maximum(high, value))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return its state, to be saved."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "IntervalRegressor":
        """Return the estimator of saved arrays; DataError if some are missing."""
        missing = [field.name for field in fields(cls) if field.name not in arrays]
        if missing:
            raise DataError(f"a saved estimator lacks {missing}; train again")
        return cls(**{field.name: np.asarray(arrays[field.name], float) for field in fields(cls)})


@threadpool_limits.wrap(limits=1)  # matrices are small: threads only wait for one another
def _constants(points: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the process's constants (D + 2,) of greatest likelihood (Rasmussen and Williams 2006, Eq. 5.9) under a weak prior."""
    rows = rng.permutation(len(y))[:_MOST]
    x, y = points[rows], y[rows]
    apart = np.square(x[:, None] - x[None])
    prior = np.log(np.r_[4.0, np.full(x.shape[1], 4.0), 0.05])

    def unlikely(logs: np.ndarray) -> tuple[float, np.ndarray]:
        size, lengths, noise = np.exp(logs[0]), np.exp(logs[1:-1]), np.exp(logs[-1])
        smooth = size * np.exp(-0.5 * apart @ lengths**-2)
        factor = cho_factor(smooth + (noise + 1e-8) * np.eye(len(y)), lower=True)
        inverse = cho_solve(factor, np.eye(len(y)))
        alpha = inverse @ y
        slack = inverse - np.outer(alpha, alpha)
        pull = slack * smooth
        by_length = np.einsum("ij,ijd->d", pull, apart) / lengths**2
        slopes = 0.5 * np.r_[pull.sum(), by_length, noise * slack.trace()]
        off = (logs - prior) / _PRIOR
        value = 0.5 * y @ alpha + np.log(np.diag(factor[0])).sum() + 0.5 * off @ off
        return float(value), slopes + off / _PRIOR

    return np.exp(minimize(unlikely, prior, jac=True, method="L-BFGS-B", options={"maxiter": 40}).x)


def _covariance(a: np.ndarray, b: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return (N, M) covariance of points (N, D) and (M, D), free of noise."""
    lengths = kernel[1:-1]
    return kernel[0] * np.exp(-0.5 * cdist(a / lengths, b / lengths, "sqeuclidean"))


def _inverse(points: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the inverse (N, N) of the covariance of noisy targets."""
    noisy = _covariance(points, points, kernel) + (kernel[-1] + 1e-8) * np.eye(len(points))
    return cho_solve(cho_factor(noisy), np.eye(len(points)))


def _left_out(inverse: np.ndarray, weights: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return truth minus value (N,) of each row, had its fold not been learned from (Rasmussen and Williams 2006, Eq. 5.12)."""
    error = np.empty(len(weights))
    for k in np.unique(fold):
        rows = fold == k
        error[rows] = np.linalg.solve(inverse[np.ix_(rows, rows)], weights[rows])
    return error


def _terms(inputs: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(inputs)), inputs, np.square(inputs)])


def _fit_spread(inputs: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return coefficients of the errors' log size over the inputs (multiplicative heteroscedasticity: Harvey 1976)."""
    size = np.log(np.abs(error) + 0.1 * np.median(np.abs(error)) + 1e-9)
    terms = _terms(inputs)
    hold = _RIDGE * np.eye(terms.shape[1])
    hold[0, 0] = 0.0
    return np.linalg.solve(terms.T @ terms + hold, terms.T @ size)


def _spread(inputs: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return the expected size of errors (N,), within a factor of `_WIDEST` of the middle one."""
    reach = np.log(_WIDEST)
    return np.exp(np.clip(_terms(inputs) @ spread[1:], spread[0] - reach, spread[0] + reach))
