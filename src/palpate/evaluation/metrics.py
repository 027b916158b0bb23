"""Metrics of outcome predictions: accuracy, confusion, calibration, ranking, and the majority baseline.

Labels are (N, 2) float, stable and gentle, nan where unknown; probabilities are (N, 2). Unknown labels never count. A task with
another number of outcomes has other columns; only accuracy and calibration know those.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from palpate.core.errors import DataError

THRESHOLD = 0.5
"""A probability of at least this is a yes (paper 1, section IV-A: 0.5 for both outcomes)."""
CLASSES = ((1, 1), (1, 0), (0, 1), (0, 0))
"""(stable, gentle) of the four classes, in the order of the paper's Table II."""


def correct(labels: np.ndarray, probs: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Return (N, K + 1) float: each of K outcomes right, all right (1 or 0; nan where a needed label is unknown)."""
    agree = np.equal(probs >= threshold, labels >= 0.5).astype(float)
    right = np.where(np.isnan(labels), np.nan, agree)
    return np.column_stack([right, right.prod(axis=1)])


def accuracy(labels: np.ndarray, probs: np.ndarray) -> tuple[float, ...]:
    """Return the accuracy on each of K outcomes, then on all of them, over rows with known labels; nan if there are none."""
    right = correct(labels, probs)
    known = ~np.isnan(right)
    sums = np.where(known, right, 0.0).sum(axis=0)
    counts = known.sum(axis=0)
    return tuple(float(s / c) if c else float("nan") for s, c in zip(sums, counts, strict=True))


def class_index(labels: np.ndarray) -> np.ndarray:
    """Return (N,) int, position in `CLASSES`; -1 where a label is unknown."""
    known = ~(np.isnan(labels[:, 0]) | np.isnan(labels[:, 1]))
    no = np.less(np.where(known[:, None], labels, 0.0), 0.5).astype(int)
    return np.where(known, no @ np.array([2, 1]), -1)


def class_counts(labels: np.ndarray) -> np.ndarray:
    """Return (2, 2) int in the layout of the paper's Table I: rows stable 1, 0; columns gentle 1, 0."""
    index = class_index(labels)
    return np.bincount(index[index >= 0], minlength=4).reshape(2, 2)


def confusion(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Return (4, 4) int in the layout of the paper's Table II: rows actual, columns predicted, order `CLASSES`."""
    actual = class_index(labels)
    predicted = class_index((probs >= THRESHOLD).astype(float))
    known = actual >= 0
    return np.bincount(actual[known] * 4 + predicted[known], minlength=16).reshape(4, 4)


def squared_error(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Return (N, 2) squared errors of the probabilities; their mean is the Brier score. nan where unknown."""
    return (probs - labels) ** 2


def brier(label: np.ndarray, prob: np.ndarray) -> float:
    """Return the Brier score of one outcome, (N,) and (N,): 0 is perfect, 0.25 is what a constant 0.5 gives."""
    known = ~np.isnan(label)
    return float(np.mean((prob[known] - label[known]) ** 2)) if known.any() else float("nan")


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Observed frequency by predicted probability, in bins of equal width. Empty bins are left out."""

    predicted: np.ndarray
    """(B,) mean probability in the bin."""
    observed: np.ndarray
    """(B,) share of yes labels in the bin."""
    count: np.ndarray
    """(B,) int, samples in the bin."""

    @property
    def error(self) -> float:
        """Expected calibration error: mean of |observed - predicted|, weighted by count."""
        if not len(self.count):
            return float("nan")
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.count))


def reliability(label: np.ndarray, prob: np.ndarray, bins: int = 10) -> Reliability:
    """Return the reliability diagram of one outcome, (N,) and (N,); bin i holds probabilities in [i, i + 1) / bins."""
    known = ~np.isnan(label)
    label, prob = label[known], prob[known]
    index = np.minimum((prob * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    full = count > 0
    predicted = np.bincount(index, weights=prob, minlength=bins)[full] / count[full]
    observed = np.bincount(index, weights=label, minlength=bins)[full] / count[full]
    return Reliability(predicted=predicted, observed=observed, count=count[full])


def expected_calibration_error(label: np.ndarray, prob: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error of one outcome in `bins` bins of equal width."""
    return reliability(label, prob, bins).error


def auc(label: np.ndarray, score: np.ndarray) -> float:
    """Return the area under the ROC curve, ties counted half; nan if a class is absent. Rows with nan do not count."""
    known = ~(np.isnan(label) | np.isnan(score))
    yes = label[known] >= 0.5
    n_yes, n_no = int(yes.sum()), int((~yes).sum())
    if n_yes == 0 or n_no == 0:
        return float("nan")
    ranks = rankdata(score[known])
    return float((ranks[yes].sum() - n_yes * (n_yes + 1) / 2) / (n_yes * n_no))


def majority_probs(labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return (N, 2) certain predictions: for each fold the most frequent of the four classes in the other folds.

    The paper's baseline takes the majority of the validation set itself; this one never sees it.

    Raises:
        DataError: if there are fewer than two folds, or the other folds hold no known label.
    """
    folds = np.unique(fold)
    if len(folds) < 2:
        raise DataError(f"the majority baseline needs at least two folds, got {folds.tolist()}; give it as a row instead")
    index = class_index(labels)
    probs = np.empty((len(fold), 2))
    for f in folds:
        train = index[(fold != f) & (index >= 0)]
        if not len(train):
            raise DataError(f"no known labels outside fold {f}")
        probs[fold == f] = CLASSES[int(np.bincount(train, minlength=4).argmax())]
    return probs
