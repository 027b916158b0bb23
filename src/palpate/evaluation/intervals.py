"""Intervals of rates and of paired differences.

Trials of one toy resemble each other, so accuracies and differences resample whole groups (cluster bootstrap, percentile
interval). Plain independent rates have Wilson's interval.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.stats import binomtest

from palpate.core.errors import DataError

RESAMPLES = 2000
CONFIDENCE = 0.95
_CHUNK = 250
"""Resamples drawn at once; bounds the memory to a few megabytes per thousand groups."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number and where it may lie."""

    value: float
    low: float
    """nan if there is no interval (fewer than two groups)."""
    high: float
    n: int
    """Number of values behind it."""
    groups: int
    """Number of independent groups behind it."""

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside (False if there is no interval)."""
        return self.low > 0 or self.high < 0


def wilson(successes: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Return a rate with Wilson's score interval (E. B. Wilson 1927). `successes` may be fractional (mean over seeds)."""
    if n == 0:
        return Interval(value=float("nan"), low=float("nan"), high=float("nan"), n=0, groups=0)
    if not 0 <= successes <= n:
        raise DataError(f"{successes} successes of {n} trials; allowed: 0 to {n}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(value=p, low=max(0.0, float(centre - half)), high=min(1.0, float(centre + half)), n=n, groups=n)


def _weights(rng: np.random.Generator, groups: int, resamples: int) -> Iterator[np.ndarray]:
    """Yield (chunk, groups) float: how often each group was drawn in each resample."""
    for start in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - start)
        drawn = rng.integers(groups, size=(rows, groups)) + np.arange(rows)[:, None] * groups
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(float)


def _percentiles(draws: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the percentile interval of the resampled values, those without data left out."""
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def cluster_mean(
    values: np.ndarray,
    groups: np.ndarray,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the mean of `values` (N,) with a percentile interval from resampling whole groups.

    nan values do not count. With fewer than two groups there is no interval. If a rate is 0 or 1 everywhere the resamples
    cannot vary, and Wilson's interval with the number of groups as sample size stands in.
    """
    plain = _resampled_mean(values, groups, rng, resamples, confidence)
    if plain.value in (0.0, 1.0) and plain.groups > 1 and plain.low == plain.high:
        edge = wilson(plain.value * plain.groups, plain.groups, confidence)
        return Interval(value=plain.value, low=edge.low, high=edge.high, n=plain.n, groups=plain.groups)
    return plain


def _resampled_mean(
    values: np.ndarray, groups: np.ndarray, rng: np.random.Generator, resamples: int, confidence: float
) -> Interval:
    """Return the mean over known values with the percentile interval of the cluster bootstrap."""
    values, groups = np.asarray(values, float), np.asarray(groups)
    if values.shape != groups.shape:
        raise DataError(f"values {values.shape} and groups {groups.shape} must have the same length")
    known = ~np.isnan(values)
    values, groups = values[known], groups[known]
    names, index = np.unique(groups, return_inverse=True)
    mean = float(values.mean()) if len(values) else float("nan")
    if len(names) < 2:
        return Interval(value=mean, low=float("nan"), high=float("nan"), n=len(values), groups=len(names))
    sums = np.bincount(index, weights=values)
    counts = np.bincount(index).astype(float)
    draws = np.concatenate([w @ sums / (w @ counts) for w in _weights(rng, len(names), resamples)])
    low, high = _percentiles(draws, confidence)
    return Interval(value=mean, low=low, high=high, n=len(values), groups=len(names))


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    groups: np.ndarray,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return mean(a - b) over the same samples, (N,) each, with an interval from resampling whole groups.

    Average over seeds before. A difference that is 0 everywhere has no spread: its interval is then (0, 0).
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        raise DataError(f"paired values must belong to the same samples, got {a.shape} and {b.shape}")
    return _resampled_mean(a - b, groups, rng, resamples, confidence)


def cluster_auc(
    label: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the area under the ROC curve of one outcome with a cluster bootstrap interval.

    `label` (N,), `scores` (N,), ties counted half. Resamples in which a class is absent do not count.
    """
    known = ~(np.isnan(label) | np.isnan(scores))
    label, scores, groups = label[known] >= 0.5, scores[known], groups[known]
    order = np.argsort(scores, kind="stable")
    label, scores = label[order], scores[order]
    names, group = np.unique(groups[order], return_inverse=True)
    starts = np.flatnonzero(np.r_[True, np.diff(scores) > 0]) if len(scores) else np.zeros(0, int)

    def area(weights: np.ndarray) -> np.ndarray:
        each = weights[:, group]
        up = np.add.reduceat(each * label, starts, axis=1)
        down = np.add.reduceat(each * ~label, starts, axis=1)
        below = np.cumsum(down, axis=1) - 0.5 * down
        total = up.sum(axis=1) * down.sum(axis=1)
        return np.where(total > 0, (up * below).sum(axis=1) / np.maximum(total, 1.0), np.nan)

    value = float(area(np.ones((1, len(names))))[0]) if len(names) else float("nan")
    if len(names) < 2:
        return Interval(value=value, low=float("nan"), high=float("nan"), n=len(label), groups=len(names))
    draws = np.concatenate([area(w) for w in _weights(rng, len(names), resamples)])
    low, high = _percentiles(draws, confidence)
    return Interval(value=value, low=low, high=high, n=len(label), groups=len(names))


def mcnemar(a: np.ndarray, b: np.ndarray) -> float:
    """Return the exact two-sided p value that two paired yes/no results, (N,) each, have equal rates. nan pairs are left out.

    It takes pairs as independent; with several trials a toy read it beside the cluster interval, not instead of it.
    """
    known = ~(np.isnan(a) | np.isnan(b))
    only_a = int(np.sum((a[known] >= 0.5) & (b[known] < 0.5)))
    only_b = int(np.sum((a[known] < 0.5) & (b[known] >= 0.5)))
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b).pvalue)
