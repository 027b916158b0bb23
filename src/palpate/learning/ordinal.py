"""Ordinal regression: classes with an order (soft < middle < hard) from a feature vector.

Proportional odds (P. McCullagh, Regression Models for Ordinal Data, 1980): P(y <= k | x) = logistic(cut_k - w . x), one
direction w for all cuts, with an L2 penalty on w. Few parameters, so it suits some hundred samples of some dozen objects.
Axis letters: N sample, D feature, K class.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from palpate.core.errors import DataError

_FLAT = 1e-9
"""A feature that spreads by less, relative to its size, is a constant and gets weight 0."""


@dataclass(frozen=True, kw_only=True)
class OrdinalModel:
    """A fitted model. Features are standardised by the mean and spread of the training samples."""

    classes: np.ndarray
    """(K,) float, ascending: the values of the labels."""
    mean: np.ndarray
    """(D,)."""
    scale: np.ndarray
    """(D,) standard deviation, 1 for constants."""
    weights: np.ndarray
    """(D,) per standard deviation; a larger `score` means a higher class."""
    cuts: np.ndarray
    """(K - 1,) ascending."""

    def score(self, features: np.ndarray) -> np.ndarray:
        """Return (N,) position on the latent scale of `cuts` [log odds] from features (N, D).

        Raises:
            DataError: features are not (N, D) finite numbers.
        """
        features = np.asarray(features, float)
        if features.ndim != 2 or features.shape[1] != len(self.mean) or not np.isfinite(features).all():
            raise DataError(f"features {features.shape}; (N, {len(self.mean)}) finite numbers are needed, as in training")
        return ((features - self.mean) / self.scale) @ self.weights

    def probability(self, features: np.ndarray) -> np.ndarray:
        """Return (N, K) probabilities of the classes; rows sum to 1."""
        below = expit(self.cuts[None, :] - self.score(features)[:, None])
        edges = np.hstack([np.zeros((len(below), 1)), below, np.ones((len(below), 1))])
        return np.diff(edges, axis=1)

    def expected(self, features: np.ndarray) -> np.ndarray:
        """Return (N,) mean of the classes' values under `probability`."""
        return self.probability(features) @ self.classes

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return (N,) most probable class."""
        return self.classes[self.probability(features).argmax(axis=1)]


def fit_ordinal(features: np.ndarray, labels: np.ndarray, *, penalty: float = 1.0) -> OrdinalModel:
    """Fit by maximum likelihood with an L2 penalty.

    Minimises sum of -log P(y_i | x_i) + penalty / 2 |w|^2 over w and the cuts (standardised features; cuts are free).

    Args:
        features: (N, D) float.
        labels: (N,) class values, any numbers; at least two different ones.
        penalty: more than 0, else separable samples have no optimum.

    Raises:
        DataError: shapes do not fit, numbers are not finite, one class only, or `penalty` is not positive.
    """
    features, labels = np.asarray(features, float), np.asarray(labels, float)
    if features.ndim != 2 or labels.shape != (len(features),):
        raise DataError(f"features {features.shape} and labels {labels.shape}; (N, D) and (N,) are needed")
    if not (np.isfinite(features).all() and np.isfinite(labels).all()):
        raise DataError("features or labels that are not finite; leave out samples that are not known")
    if penalty <= 0:
        raise DataError(f"penalty {penalty}; give more than 0")
    classes, y = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"labels hold the classes {classes.tolist()}; at least two are needed to fit an order")
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > _FLAT * (1.0 + np.abs(mean)), scale, 1.0)
    x = (features - mean) / scale
    share = np.cumsum(np.bincount(y))[:-1] / len(y)
    cuts = np.log(share / (1.0 - share))
    start = np.concatenate([np.zeros(x.shape[1]), cuts[:1], np.log(np.diff(cuts))])
    found = minimize(_loss, start, args=(x, y, penalty), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    weights, cuts = _unpack(found.x, x.shape[1])
    return OrdinalModel(classes=classes, mean=mean, scale=scale, weights=weights, cuts=cuts)


def _unpack(theta: np.ndarray, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and cuts; all but the first cut are coded as log distances, so that they stay in order."""
    rest = theta[n_features:]
    return theta[:n_features], np.cumsum(np.concatenate([rest[:1], np.exp(rest[1:])]))


def _loss(theta: np.ndarray, x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    """Penalised negative log likelihood and its gradient."""
    weights, cuts = _unpack(theta, x.shape[1])
    edges = np.concatenate([[-np.inf], cuts, [np.inf]])
    score = x @ weights
    upper, lower = expit(edges[y + 1] - score), expit(edges[y] - score)
    p = np.maximum(upper - lower, 1e-300)
    # d logistic = logistic (1 - logistic), 0 at the infinite edges by itself
    d_upper, d_lower = upper * (1 - upper) / p, lower * (1 - lower) / p
    by_cut = np.bincount(y, weights=-d_upper, minlength=len(cuts) + 1)[:-1] + np.bincount(y, weights=d_lower)[1:]
    by_weight = x.T @ (d_upper - d_lower) + penalty * weights
    tail = np.cumsum(by_cut[::-1])[::-1]  # a cut moves all the cuts above it
    by_rest = np.concatenate([tail[:1], tail[1:] * np.exp(theta[x.shape[1] + 1 :])])
    value = -np.log(p).sum() + 0.5 * penalty * float(weights @ weights)
    return float(value), np.concatenate([by_weight, by_rest])
