"""Closed-loop results: rates per policy and paired differences between policies that began in the same states."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from palpate.core.errors import DataError
from palpate.evaluation.inputs import GraspTable
from palpate.evaluation.intervals import RESAMPLES, Interval, cluster_mean, mcnemar, paired_difference, wilson

RATES = ("stable", "gentle", "both", "damage", "clean")
"""What a rate is about: final grasp stable, gentle, both; harsh in a look before the last; both without such a look."""


@dataclass(frozen=True, kw_only=True)
class LoopDifference:
    """How two policies differ on their common trials."""

    interval: Interval
    p: float
    """Exact McNemar test; takes trials as independent."""


def events(table: GraspTable, *, truth: bool = False) -> dict[str, np.ndarray]:
    """Return (N,) float per rate, 1 or 0, nan unknown; `truth` judges by the simulator instead of the sensors."""
    stable, gentle = (table.truth if truth else table.labels).T
    both = stable * gentle
    damage = table.damage_while_looking.astype(float)
    return {"stable": stable, "gentle": gentle, "both": both, "damage": damage, "clean": both * (1.0 - damage)}


def rate(table: GraspTable, values: np.ndarray, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> Interval:
    """Return the mean of yes/no `values` (N,): toys are resampled where they are known and repeat, else Wilson's interval."""
    known = ~np.isnan(values)
    groups = clusters(table)
    if groups is None:
        return wilson(float(values[known].sum()), int(known.sum()))
    return cluster_mean(values, groups, rng, resamples=resamples)


def clusters(table: GraspTable) -> np.ndarray | None:
    """Return the toys (N,) if they are known and come more than once each; None if trials count as independent."""
    if table.object is None:
        return None
    names = len(np.unique(table.object))
    return table.object if 2 <= names < len(table.trial) else None


def difference(
    a: GraspTable, b: GraspTable, of: str, rng: np.random.Generator, *, resamples: int = RESAMPLES, truth: bool = False
) -> LoopDifference:
    """Return rate of `a` less rate of `b` over the trials that both made.

    Raises:
        DataError: if they share no trial; policies must start from the same seeds to be paired.
    """
    common, i, j = np.intersect1d(a.trial, b.trial, return_indices=True)
    if not len(common):
        raise DataError(f"policies {a.policy!r} and {b.policy!r} share no trial; run both from the same seed")
    left, right = events(a, truth=truth)[of][i], events(b, truth=truth)[of][j]
    toys = clusters(a)
    groups = a.trial[i] if toys is None else toys[i]
    interval = paired_difference(left, right, groups, rng, resamples=resamples)
    return LoopDifference(interval=interval, p=mcnemar(left, right))


def by_pose(
    tables: Sequence[GraspTable], rng: Callable[[], np.random.Generator], *, resamples: int = RESAMPLES
) -> dict[str, dict[str, dict[str, Interval]]]:
    """Return rates by pose (`all` first), policy and kind of rate."""
    poses = sorted({p for t in tables for p in np.unique(t.pose).tolist()}, key=lambda p: (p != "upright", p))
    out: dict[str, dict[str, dict[str, Interval]]] = {}
    for pose in ("all", *poses):
        out[pose] = {}
        for t in tables:
            here = np.ones(len(t.trial), bool) if pose == "all" else t.pose == pose
            judged = events(t)
            out[pose][t.policy] = {
                name: rate(t, np.where(here, judged[name], np.nan), rng(), resamples=resamples) for name in RATES
            }
    return out
