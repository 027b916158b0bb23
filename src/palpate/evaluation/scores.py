"""From prediction tables to numbers with intervals: average over seeds first, then resample trials or toys."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from palpate.core.errors import DataError, UnknownNameError
from palpate.core.randomness import generator
from palpate.evaluation.inputs import OUTCOMES, PredictionTable
from palpate.evaluation.intervals import RESAMPLES, Interval, cluster_auc, cluster_mean, paired_difference
from palpate.evaluation.metrics import (
    class_index,
    correct,
    expected_calibration_error,
    majority_probs,
    squared_error,
)

MAJORITY = "majority"
ORACLE = "oracle"
FULL = "vision+touch+action"
_ORDER = (MAJORITY, "vision+touch", "action", "touch+action", "vision+action", FULL, ORACLE)
GROUPINGS = ("auto", "trial", "object")
_ENOUGH_OBJECTS = 10
"""With fewer toys than this, resampling toys says little, and `auto` resamples trials."""


@dataclass(frozen=True, kw_only=True)
class TrialValues:
    """Values per trial at one moment, averaged over the samples of the trial and over seeds."""

    trial: np.ndarray
    """(T,) int, ascending."""
    object: np.ndarray
    """(T,) str."""
    values: np.ndarray
    """(T, K); nan unknown."""
    per_seed: np.ndarray
    """(S, K), mean over trials of each seed alone."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How far the probabilities of one outcome can be taken at their word; means over seeds."""

    brier: Interval
    error: float
    """Expected calibration error, 10 bins. No interval: it is biased upward under resampling."""
    auc: Interval


def canonical(model: str) -> str:
    """Return the model name with its modalities in the paper's order: vision, touch, action, then others."""
    order = {"vision": 0, "touch": 1, "audio": 2, "action": 3}
    parts = [part.strip() for part in model.split("+")]
    return "+".join(sorted(parts, key=lambda part: (order.get(part, 2.5), part)))


def sort_models(models: Sequence[str]) -> tuple[str, ...]:
    """Return the names from least to most informed; unknown ones in alphabetical order before the full model."""
    rank = {name: i for i, name in enumerate(_ORDER)}
    return tuple(sorted(set(models), key=lambda m: (rank.get(m, rank[FULL] - 0.5), m)))


class Study:
    """All predictions of a run, asked by model, split, moment, ablation and backbone.

    Every interval draws its resamples from the same seed, so numbers do not depend on the order in which they are asked for.
    """

    def __init__(
        self,
        tables: Sequence[PredictionTable],
        *,
        group: str = "auto",
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        """Take the tables; `group` says what is resampled. A majority baseline is added for every split with folds."""
        if group not in GROUPINGS:
            raise UnknownNameError("grouping", group, GROUPINGS)
        named = [replace(t, model=canonical(t.model)) for t in tables]
        _refuse_twins(named)
        self.tables = (*named, *_majorities(named))
        objects = {name for t in named for name in np.unique(t.object).tolist()}
        self.group = group if group != "auto" else ("object" if len(objects) >= _ENOUGH_OBJECTS else "trial")
        self.resamples = resamples
        self._seed = seed
        full = [t.backbone for t in named if t.model == FULL]
        self.backbone = (full or [t.backbone for t in named] or [""])[0]

    def select(
        self, model: str, split: str, *, ablation: str = "none", backbone: str | None = None
    ) -> tuple[PredictionTable, ...]:
        """Return the tables (one a seed) of a model; models without a backbone always match."""
        wanted = self.backbone if backbone is None else backbone
        return tuple(
            t for t in self.tables if (t.model, t.split, t.ablation) == (model, split, ablation) and t.backbone in (wanted, "")
        )

    def models(self, split: str) -> tuple[str, ...]:
        """Return the models evaluated on a split with the main backbone, from least to most informed."""
        names = [t.model for t in self.tables if t.split == split and t.ablation == "none"]
        return sort_models([m for m in names if self.select(m, split)])

    def splits(self) -> tuple[str, ...]:
        """Return the splits present, `trial` first."""
        present = {t.split for t in self.tables}
        return tuple(s for s in ("trial", "object", "pose") if s in present)

    def moments(self) -> tuple[str, ...]:
        """Return the moments present, `initial` first."""
        present = {m for t in self.tables for m in np.unique(t.moment).tolist()}
        return tuple(m for m in ("initial", "release", "regrasp") if m in present)

    def ablations(self, split: str) -> tuple[str, ...]:
        """Return the ablations of the full model on a split, without `none`."""
        return tuple(sorted({t.ablation for t in self.tables if t.model == FULL and t.split == split} - {"none"}))

    def backbones(self, split: str) -> tuple[str, ...]:
        """Return the backbones of the full model on a split."""
        return tuple(sorted({t.backbone for t in self.tables if t.model == FULL and t.split == split and t.backbone}))

    def rng(self) -> np.random.Generator:
        """Return the generator from which an interval draws its resamples."""
        return generator(self._seed, 0)

    def groups(self, values: TrialValues) -> np.ndarray:
        """Return what is resampled, one entry a trial."""
        return values.object if self.group == "object" else values.trial

    def accuracy(
        self, tables: Sequence[PredictionTable], moment: str = "initial", trials: np.ndarray | None = None
    ) -> dict[str, Interval]:
        """Return the accuracy by outcome (`stable`, `gentle`, `both`) at a moment, on some trials only if given."""
        values = _only(per_trial(tables, moment, correct), trials)
        return {
            name: cluster_mean(values.values[:, k], self.groups(values), self.rng(), resamples=self.resamples)
            for k, name in enumerate(OUTCOMES)
        }

    def difference(
        self,
        a: Sequence[PredictionTable],
        b: Sequence[PredictionTable],
        moment: str = "initial",
        trials: np.ndarray | None = None,
    ) -> dict[str, Interval]:
        """Return accuracy of `a` less accuracy of `b` on their common trials, by outcome."""
        left, right = (_only(per_trial(t, moment, correct), trials) for t in (a, b))
        common, i, j = np.intersect1d(left.trial, right.trial, return_indices=True)
        if not len(common):
            raise DataError(f"{a[0].model!r} and {b[0].model!r} share no trial at moment {moment!r}; nothing is paired")
        groups = self.groups(left)[i]
        return {
            name: paired_difference(left.values[i, k], right.values[j, k], groups, self.rng(), resamples=self.resamples)
            for k, name in enumerate(OUTCOMES)
        }

    def class_accuracy(self, table: PredictionTable, moment: str = "initial") -> tuple[Interval, ...]:
        """Return the share of each actual class (order of `CLASSES`) that one table predicted rightly."""
        row = table.moment == moment
        right = correct(table.labels[row], table.probs[row])[:, 2]
        actual = class_index(table.labels[row])
        groups = (table.object if self.group == "object" else table.trial)[row]
        return tuple(
            cluster_mean(right[actual == c], groups[actual == c], self.rng(), resamples=self.resamples) for c in range(4)
        )

    def calibration(self, tables: Sequence[PredictionTable], outcome: int, moment: str = "initial") -> Calibration:
        """Return calibration and ranking of outcome 0 (stable) or 1 (gentle)."""
        brier = per_trial(tables, moment, squared_error)
        errors: list[float] = []
        areas: list[Interval] = []
        for t in tables:
            row = t.moment == moment
            label, prob = t.labels[row, outcome], t.probs[row, outcome]
            groups = (t.object if self.group == "object" else t.trial)[row]
            errors.append(expected_calibration_error(label, prob))
            areas.append(cluster_auc(label, prob, groups, self.rng(), resamples=self.resamples))
        area = replace(
            areas[0],
            value=float(np.mean([a.value for a in areas])),
            low=float(np.mean([a.low for a in areas])),
            high=float(np.mean([a.high for a in areas])),
        )
        mean = cluster_mean(brier.values[:, outcome], self.groups(brier), self.rng(), resamples=self.resamples)
        return Calibration(brier=mean, error=float(np.mean(errors)), auc=area)


def per_trial(
    tables: Sequence[PredictionTable], moment: str, metric: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> TrialValues:
    """Return `metric(labels, probs)` (N, K) at one moment, averaged per trial and then over seeds.

    Raises:
        DataError: if no table has a sample at that moment.
    """
    rows = [(t, t.moment == moment) for t in tables]
    rows = [(t, row) for t, row in rows if row.any()]
    if not rows:
        raise DataError(
            f"no prediction at moment {moment!r}; moments present: {sorted({str(m) for t in tables for m in t.moment})}"
        )
    trials = np.unique(np.concatenate([t.trial[row] for t, row in rows]))
    objects = np.empty(len(trials), dtype=object)
    by_seed = []
    for t, row in rows:
        at = np.searchsorted(trials, t.trial[row])
        objects[at] = t.object[row]
        by_seed.append(_mean_by(at, metric(t.labels[row], t.probs[row]), len(trials)))
    stacked = np.stack(by_seed)
    return TrialValues(
        trial=trials,
        object=objects.astype(str),
        values=_nanmean(stacked, 0),
        per_seed=_nanmean(stacked, 1),
    )


def _mean_by(index: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Return (size, K), the mean of the known values (N, K) at each index; nan where there is none."""
    out = np.full((size, values.shape[1]), np.nan)
    for k in range(values.shape[1]):
        known = ~np.isnan(values[:, k])
        count = np.bincount(index[known], minlength=size)
        total = np.bincount(index[known], weights=values[known, k], minlength=size)
        out[count > 0, k] = total[count > 0] / count[count > 0]
    return out


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of known values along an axis, nan (without a warning) where there is none."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _only(values: TrialValues, trials: np.ndarray | None) -> TrialValues:
    if trials is None:
        return values
    keep = np.isin(values.trial, trials)
    return replace(values, trial=values.trial[keep], object=values.object[keep], values=values.values[keep])


def _refuse_twins(tables: Sequence[PredictionTable]) -> None:
    seen: set[tuple[str, str, str, str, int]] = set()
    for t in tables:
        key = (t.model, t.split, t.ablation, t.backbone, t.seed)
        if key in seen:
            raise DataError(f"two prediction tables for model, split, ablation, backbone, seed = {key}; give each once")
        seen.add(key)


def _majorities(tables: Sequence[PredictionTable]) -> list[PredictionTable]:
    """Return a majority baseline per split and seed from the folds of a present model; none where folds are missing."""
    out: dict[tuple[str, int], PredictionTable] = {}
    given = {t.split for t in tables if t.model == MAJORITY}
    for t in tables:
        key = (t.split, t.seed)
        if key in out or t.split in given or t.ablation != "none" or len(np.unique(t.fold)) < 2:
            continue
        out[key] = replace(t, model=MAJORITY, backbone="", probs=majority_probs(t.labels, t.fold))
    return list(out.values())
