"""Platt scaling: a logistic function of the net's logit, fitted on predictions for samples that the net had not seen.

J. Platt, "Probabilistic outputs for support vector machines", 1999, with his smoothed targets; More Than a Feeling, Section VI-B.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

_LEAST = 1e-6
"""Probabilities nearer to 0 or 1 than this count as this near."""


def logit(probs: np.ndarray) -> np.ndarray:
    """Return log odds of probabilities, any shape, finite."""
    probs = np.clip(np.asarray(probs, float), _LEAST, 1 - _LEAST)
    return np.log(probs / (1 - probs))


def fit_platt(probs: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return slope and offset (a, b) such that sigmoid(a logit(p) + b) fits labels (N,), nan unknown, of held-out `probs` (N,).

    With no or only one class of labels nothing can be said, and (1, 0), no change, is returned.
    """
    known = ~np.isnan(labels)
    x, y = logit(probs[known]), labels[known] >= 0.5
    yes, no = int(y.sum()), int((~y).sum())
    if not yes or not no:
        return 1.0, 0.0
    target = np.where(y, (yes + 1) / (yes + 2), 1 / (no + 2))

    def loss(ab: np.ndarray) -> tuple[float, np.ndarray]:
        z = ab[0] * x + ab[1]
        error = 0.5 * (1 + np.tanh(z / 2)) - target
        return float(np.sum(np.logaddexp(0, z) - target * z)), np.array([error @ x, error.sum()])

    a, b = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    return float(a), float(b)


def fit_calibrators(probs: np.ndarray, labels: np.ndarray) -> list[list[float]]:
    """Return [slope, offset] of each outcome, from held-out predictions (N, K) and labels (N, K)."""
    return [list(fit_platt(p, y)) for p, y in zip(probs.T, labels.T, strict=True)]


def calibrate(probs: np.ndarray, calibrators: Sequence[Sequence[float]]) -> np.ndarray:
    """Return calibrated probabilities (N, K) of `probs` (N, K)."""
    a, b = np.array(calibrators, float).T
    return 0.5 * (1 + np.tanh((a * logit(probs) + b) / 2))


def cross_calibrate(probs: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return calibrated probabilities (N, K), those of each fold (N,) by calibrators fitted on the other folds: to judge them."""
    out = np.empty_like(probs, dtype=float)
    for k in np.unique(fold):
        out[fold == k] = calibrate(probs[fold == k], fit_calibrators(probs[fold != k], labels[fold != k]))
    return out
