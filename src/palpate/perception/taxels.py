"""Taxel arrays whose sensors drift: estimate how a grasp deviates from the usual grasp of its own object and pose.

Raw taxels are `x = m + s + e`: the training mean, an offset `s` of the recording (object, pose, day: drift of the sensor)
with covariance `B`, and the deviation `e` of this one grasp with covariance `T`, which alone tells of the outcome. With `K`
unlabelled grasps of the same recording, of mean `c`, the offset has the posterior mean `G (c - m)`, `G = B (B + T/K)^-1`, and
the posterior covariance `R = B - G B = G T/K`; without any, 0 and `B`. The feature is the posterior mean of the deviation, a
Wiener filter,

    E[e | x, c] = T (T + R)^-1 (x - m - G (c - m))

divided by its expected spread and squashed. It means the same for every `K`: with many calibration grasps it is plain
centring, with none it keeps the contrasts between taxels that drift leaves alone. This is the best linear predictor of a
linear mixed model (Laird and Ware 1982, "Random-effects models for longitudinal data"), applied to recordings.

Offsets are not all: a sensor that was opened or refilled answers differently. A finger whose effect on the outcome disagrees
between the training sessions is *doubtful*: it is used only where a reading lies close to one of the training recordings, and
else masked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from palpate.core.errors import DataError

MANY = 40
"""Calibration grasps beyond which nothing is gained; training draws use up to this many."""
CONSISTENT = 0.7
"""Least cosine between two sessions' effects of a finger on the outcome for which the finger is trusted everywhere."""
FAMILIAR_SHARE = 0.95
"""Share of left-out training readings that count as familiar."""
SQUASH = 3.0
"""Features are bounded to this many standard deviations, smoothly."""


@dataclass(frozen=True, kw_only=True)
class TaxelNormaliser:
    """Turns raw taxels (N, P) into features (N, P + F + 1) that carry over to recordings never seen. Make it with `fit`.

    Columns: P estimated deviations (unit spread; 0 for a masked finger), F flags (1 = finger used), and `K / (K + 3)`.
    All arrays are float64 and in the unit of the raw taxels.
    """

    fingers: int
    """F; taxels are stored finger after finger, P / F each."""
    mean: np.ndarray
    """(P,) mean over recordings."""
    within: np.ndarray
    """(P, P) covariance `T` of grasps about the mean of their recording."""
    between: np.ndarray
    """(P, P) prior covariance `B` of a recording's offset, inflated for recordings unlike those of training."""
    centres: np.ndarray
    """(G, P) mean of each training recording, for telling whether a reading is familiar."""
    doubtful: np.ndarray
    """(F,) bool: the finger is used only where familiar."""
    limit: np.ndarray
    """(F,) largest familiar distance (mean squared standard deviations per taxel)."""
    _cache: dict[tuple[int, bytes], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def dimension(self) -> int:
        """Number of feature columns D."""
        return len(self.mean) + self.fingers + 1

    @classmethod
    def fit(
        cls,
        x: np.ndarray,
        group: np.ndarray,
        session: np.ndarray | None = None,
        label: np.ndarray | None = None,
        *,
        fingers: int = 3,
        inflation: float = 4.0,
        finger_drift: float = 1.0,
        taxel_drift: float = 0.5,
    ) -> "TaxelNormaliser":
        """Measure drift and deviation on training data.

        Args:
            x: (N, P) raw taxels, finger after finger.
            group: (N,) recording of each row: an object in a pose.
            session: (N,) coarser unit between which sensors may have been changed: the pose or file. Needed, with `label`,
                to find doubtful fingers; without them every finger is trusted.
            label: (N,) outcome, 0 or 1.
            fingers: number of fingers F.
            inflation: factor on the measured covariance of offsets; new recordings differ more than those of training.
            finger_drift: standard deviation of an extra offset common to a finger's taxels, in units of the finger's mean
                within-recording spread.
            taxel_drift: standard deviation of an extra offset of each taxel by itself, in units of its within-recording spread:
                it lets calibration follow drift of kinds never seen in training.

        Raises:
            DataError: wrong shapes, not finite, fewer than 2 recordings, or no recording with 2 rows.
        """
        x, group = _checked(x, group, fingers)
        centres, index, count = _group_means(x, group)
        if len(centres) < 2 or count.max() < 2:
            raise DataError(
                f"drift needs at least 2 recordings, one with 2 grasps; got {len(centres)} of at most {count.max()}: "
                "give each (object, pose) its own group"
            )
        deviation = x - centres[index]
        within = deviation.T @ deviation / max(len(x) - len(centres), 1)
        within += np.diag(0.01 * np.diag(within) + 1e-6 * max(float(np.diag(within).mean()), 1e-9))
        mean = centres.mean(axis=0)
        between = inflation * (centres - mean).T @ (centres - mean) / len(centres)
        size = x.shape[1] // fingers
        for f in range(fingers):
            part = slice(f * size, (f + 1) * size)
            between[part, part] += (finger_drift**2) * float(np.diag(within)[part].mean())
        between += np.diag(taxel_drift**2 * np.diag(within))
        doubtful = np.zeros(fingers, bool)
        if session is not None and label is not None:
            agreement = session_agreement(x, group, np.asarray(session), np.asarray(label), fingers=fingers)
            doubtful = agreement < CONSISTENT
        made = cls(
            fingers=fingers,
            mean=mean,
            within=within,
            between=between,
            centres=centres,
            doubtful=doubtful,
            limit=np.zeros(fingers),
        )
        own = np.zeros((len(x), len(centres)), bool)
        own[np.arange(len(x)), index] = True
        made.limit[:] = np.quantile(made._distance(x, own), FAMILIAR_SHARE, axis=0)
        return made

    def transform(self, x: np.ndarray, calibration: np.ndarray | None = None) -> np.ndarray:
        """Return features (N, D) float32 of grasps `x` (N, P) of one recording, or of any recordings without calibration.

        Args:
            x: raw taxels; each row is treated alone, so results do not depend on the other rows.
            calibration: (K, P) unlabelled grasps of the same object and pose, mixed in outcome; None or K = 0 for none.
        """
        x = self._rows(x, "x")
        known = None if calibration is None or len(calibration) == 0 else self._rows(calibration, "calibration")
        if known is None:
            used = self._used(self._distance(x))
        else:
            used = np.broadcast_to(self._used(np.median(self._distance(known), axis=0)[None]), (len(x), self.fingers))
        return self._features(x, known, used)

    def augment(self, x: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return training features (N, D) float32 as they could have come: call it anew in each epoch.

        Each recording draws how many calibration grasps it has (half the time none), which ones, and whether a doubtful finger
        is masked. No grasp takes part in its own calibration, except where all do.
        """
        x, group = _checked(x, group, self.fingers)
        out = np.zeros((len(x), self.dimension), np.float32)
        _, index = np.unique(group, return_inverse=True)
        for rows in np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1]):
            k = int(rng.choice([0, 0, 0, 3, 10, MANY]))
            mask = ~(self.doubtful & (rng.random(self.fingers) < 0.5))
            if k == 0 or len(rows) < 4:
                out[rows] = self._features(x[rows], None, np.broadcast_to(mask, (len(rows), self.fingers)))
                continue
            chosen = rng.permutation(rows)[: min(k, len(rows))]
            rest = np.setdiff1d(rows, chosen, assume_unique=True) if 2 * len(chosen) <= len(rows) else rows
            out[rest] = self._features(x[rest], x[chosen], np.broadcast_to(mask, (len(rest), self.fingers)))
            spare = np.setdiff1d(rows, rest, assume_unique=True)
            if len(spare):
                other = rng.permutation(rest)[: len(chosen)]
                out[spare] = self._features(x[spare], x[other], np.broadcast_to(mask, (len(spare), self.fingers)))
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        names = ("mean", "within", "between", "centres", "doubtful", "limit")
        return {"fingers": self.fingers, **{name: getattr(self, name).tolist() for name in names}}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "TaxelNormaliser":
        """Rebuild from `to_dict`.

        Raises:
            DataError: an entry is missing.
        """
        names = ("mean", "within", "between", "centres", "doubtful", "limit")
        missing = sorted({"fingers", *names} - set(state))
        if missing:
            raise DataError(f"the state of a TaxelNormaliser lacks {missing}; store what to_dict() returns")
        return cls(
            fingers=int(state["fingers"]),
            mean=np.asarray(state["mean"], float),
            within=np.asarray(state["within"], float),
            between=np.asarray(state["between"], float),
            centres=np.asarray(state["centres"], float),
            doubtful=np.asarray(state["doubtful"], bool),
            limit=np.asarray(state["limit"], float),
        )

    def _rows(self, x: np.ndarray, what: str) -> np.ndarray:
        x = np.asarray(x, float)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise DataError(f"{what} must be (N, {len(self.mean)}) raw taxels as in training, got {x.shape}")
        if not np.isfinite(x).all():
            raise DataError(f"{what} holds values that are not finite; leave such grasps out")
        return x

    def _parts(self) -> list[slice]:
        size = len(self.mean) // self.fingers
        return [slice(f * size, (f + 1) * size) for f in range(self.fingers)]

    def _distance(self, x: np.ndarray, excluded: np.ndarray | None = None) -> np.ndarray:
        """Return (N, F) distance of each finger's reading to the nearest training recording; `excluded` (N, G) do not count."""
        out = np.empty((len(x), self.fingers))
        for f, part in enumerate(self._parts()):
            whiten = np.linalg.inv(np.linalg.cholesky(self.within[part, part])).T
            a, b = x[:, part] @ whiten, self.centres[:, part] @ whiten
            square = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2.0 * a @ b.T
            if excluded is not None:
                square = np.where(excluded, np.inf, square)
            out[:, f] = np.maximum(square.min(axis=1), 0.0) / a.shape[1]
        return out

    def _used(self, distance: np.ndarray) -> np.ndarray:
        """Return (N, F) bool; where every finger would be masked, all are used: a doubtful reading is better than none."""
        used = ~self.doubtful[None] | (distance <= self.limit[None])
        return used | ~used.any(axis=1, keepdims=True)

    def _filter(self, k: int, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `G` and the standardised Wiener filter for `k` calibration grasps and the taxels in `mask` (P,) bool."""
        key = (k, mask.tobytes())
        if key not in self._cache:
            t, b = self.within[np.ix_(mask, mask)], self.between[np.ix_(mask, mask)]
            gain = np.linalg.solve(b + t / k, b).T if k else np.zeros_like(b)
            residual = gain @ t / k if k else b
            wiener = np.linalg.solve(t + residual, t).T
            spread = np.sqrt(np.maximum(np.einsum("ij,ij->i", wiener, t), 1e-12))
            self._cache[key] = gain, wiener / spread[:, None]
        return self._cache[key]

    def _features(self, x: np.ndarray, calibration: np.ndarray | None, used: np.ndarray) -> np.ndarray:
        size, k = len(self.mean) // self.fingers, 0 if calibration is None else len(calibration)
        out = np.zeros((len(x), self.dimension), np.float32)
        code = used @ (1 << np.arange(self.fingers))
        for value in np.unique(code):
            rows = np.flatnonzero(code == value)
            mask = np.repeat(used[rows[0]], size)
            gain, wiener = self._filter(k, mask)
            offset = self.mean[mask]
            if calibration is not None:
                offset = offset + gain @ (calibration.mean(axis=0) - self.mean)[mask]
            deviation = (x[rows][:, mask] - offset) @ wiener.T
            out[np.ix_(rows, np.flatnonzero(mask))] = SQUASH * np.tanh(deviation / SQUASH)
        out[:, len(self.mean) : -1] = used
        out[:, -1] = k / (k + 3.0)
        return out


def session_agreement(
    x: np.ndarray, group: np.ndarray, session: np.ndarray, label: np.ndarray, *, fingers: int = 3
) -> np.ndarray:
    """Return (F,) how far the sessions agree on what each finger tells of the outcome: 1 = the same pattern, 0 = unrelated.

    Per session and finger: the difference between the classes after centring each recording, in within-recording standard
    deviations; of these patterns the mean cosine over pairs of sessions. With a single usable session, 1.

    Args:
        x: (N, P) raw taxels.
        group: (N,) recordings.
        session: (N,) coarser units.
        label: (N,) outcome, 0 or 1.
        fingers: number of fingers F.
    """
    patterns: list[np.ndarray] = []
    for name in np.unique(session):
        rows = session == name
        y = label[rows].astype(float)
        centres, index, _ = _group_means(np.column_stack([x[rows].astype(float), y]), group[rows])
        both = np.column_stack([x[rows], y]) - centres[index]
        weight = float((both[:, -1] ** 2).sum())
        if weight > 0:
            effect = both[:, -1] @ both[:, :-1] / weight
            patterns.append((effect / np.maximum(both[:, :-1].std(axis=0), 1e-9)).reshape(fingers, -1))
    if len(patterns) < 2:
        return np.ones(fingers)
    unit = [p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-9) for p in patterns]
    return np.mean([(unit[i] * unit[j]).sum(axis=1) for i in range(len(unit)) for j in range(i)], axis=0)


def draw_calibration(group: np.ndarray, k: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return for each recording the row numbers of `k` calibration grasps, drawn at random without labels.

    They are not the first `k`: recordings are often sorted by outcome, and calibration grasps of one outcome mislead.
    A recording of `k` rows or fewer gives all its rows.
    """
    out: dict[str, np.ndarray] = {}
    for name in np.unique(group):
        rows = np.flatnonzero(group == name)
        out[str(name)] = np.sort(rng.choice(rows, min(k, len(rows)), replace=False))
    return out


def _checked(x: np.ndarray, group: np.ndarray, fingers: int) -> tuple[np.ndarray, np.ndarray]:
    x, group = np.asarray(x, float), np.asarray(group)
    if x.ndim != 2 or group.shape != (len(x),) or fingers < 1 or x.shape[1] % fingers:
        raise DataError(
            f"taxels must be (N, P) with P a multiple of {fingers} fingers and one group a row; got {x.shape} and {group.shape}"
        )
    if not np.isfinite(x).all():
        raise DataError("taxels hold values that are not finite; leave such grasps out before fitting")
    return x, group


def _group_means(x: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return group means (G, P), the group index of each row (N,), and the group sizes (G,)."""
    _, index = np.unique(group, return_inverse=True)
    count = np.bincount(index)
    sums = np.zeros((len(count), x.shape[1]))
    np.add.at(sums, index, x)
    return sums / count[:, None], index, count
