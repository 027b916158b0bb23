"""Figures of regrasping with a gripper: accuracy by model, calibration, and success and force in the closed loop.

More Than a Feeling, Tables I and II and Fig. 8. Objects are what is resampled for intervals: trials of one object are not independent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from palpate.core.randomness import generator
from palpate.evaluation.inputs import PredictionTable
from palpate.evaluation.intervals import Interval, cluster_mean, paired_difference, wilson
from palpate.evaluation.metrics import correct, expected_calibration_error

MOMENT_WORDS = {"initial": "before the regrasp", "release": "after the release", "regrasp": "during the regrasp"}

_ENOUGH = 8
"""With fewer objects than this the bootstrap over objects is no interval, and Wilson's over trials stands in."""


def as_json(interval: Interval) -> dict[str, Any]:
    """Return an interval as JSON values."""
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}


def right(tables: Sequence[PredictionTable], moment: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of seeds that are right (N,) in each sample and its object (N,); all moments if `moment` is None.

    The tables are one model's, one a seed, over the same samples.
    """
    chosen = np.ones(len(tables[0].trial), bool) if moment is None else tables[0].moment == moment
    each = np.stack([correct(table.labels, table.probs)[:, 0] for table in tables])
    return each.mean(axis=0)[chosen], tables[0].object[chosen]


def accuracy_of(tables: Sequence[PredictionTable], rng: np.random.Generator, moment: str | None = None) -> Interval:
    """Return the accuracy of one model, a table a seed, with an interval over objects."""
    return cluster_mean(*right(tables, moment), rng)


def gain(
    a: Sequence[PredictionTable], b: Sequence[PredictionTable], rng: np.random.Generator, moment: str | None = None
) -> Interval:
    """Return accuracy of model `a` less that of `b` over the same samples, with an interval over objects."""
    values, objects = right(a, moment)
    return paired_difference(values, right(b, moment)[0], objects, rng)


def calibration_error(tables: Sequence[PredictionTable]) -> float:
    """Return the expected calibration error (10 bins), mean over seeds."""
    return float(np.mean([expected_calibration_error(table.labels[:, 0], table.probs[:, 0]) for table in tables]))


def accuracy_figures(tables: Sequence[PredictionTable], rng: np.random.Generator) -> dict[str, Any]:
    """Return the figures of one model as JSON values: accuracy over all states (the paper's), by moment, calibration error."""
    whole = accuracy_of(tables, rng)
    moments = [m for m in MOMENT_WORDS if (tables[0].moment == m).any()]
    return {
        "accuracy": whole.value,
        "interval": [whole.low, whole.high],
        "n": whole.n,
        **{m: as_json(accuracy_of(tables, rng, m)) for m in moments},
        "expected_calibration_error": calibration_error(tables),
    }


def accuracy_text(tables: Sequence[PredictionTable]) -> str:
    """Return the accuracies of one model in words."""
    rng = generator(0)
    lines = [f"{'all states':20s} {_percent(accuracy_of(tables, rng))}"]
    for moment, words in MOMENT_WORDS.items():
        if (tables[0].moment == moment).any():
            lines.append(f"{words:20s} {_percent(accuracy_of(tables, rng, moment))}")
    return "\n".join(lines)


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _rate(values: np.ndarray, objects: np.ndarray, rng: np.random.Generator) -> Interval:
    if len(np.unique(objects)) < _ENOUGH:
        return wilson(float(np.nansum(values)), int(np.isfinite(values).sum()))
    return cluster_mean(values, objects, rng)


def grasp_figures(rows: Mapping[str, Any], rng: np.random.Generator, threshold: float = 0.9) -> dict[str, Any]:
    """Return the figures of a closed-loop test.

    Args:
        rows: by column, a list with a value a trial: `object`, `stable`, `average_grip_force`, `maximum_grip_force` [N], `looks`,
            `predicted`; and `policy`.
        rng: for the bootstrap.
        threshold: lifts predicted above it count as sure.

    Returns:
        JSON values: `accuracy` (success rate) with `interval` and `n`, `per_object` (successes, trials), forces in newtons
        (`force_when_stable`: mean commanded force of successes), `looks`, and `sure`: how many lifts were
        predicted above the threshold, and how many of those succeeded.
    """
    objects, stable = np.array(rows["object"]), np.array(rows["stable"], float)
    predicted = np.array(rows["predicted"], float)
    success = _rate(stable, objects, rng)
    commanded = np.array(rows["commanded_force"], float)
    sure = predicted > threshold
    kept = wilson(float(np.nansum(stable[sure])), int(sure.sum()))
    return {
        "policy": rows["policy"],
        "accuracy": success.value,
        "interval": [success.low, success.high],
        "n": success.n,
        "per_object": {
            name: [int(np.nansum(stable[objects == name])), int((objects == name).sum())]
            for name in dict.fromkeys(objects.tolist())
        },
        "average_grip_force": as_json(cluster_mean(np.array(rows["average_grip_force"], float), objects, rng)),
        "maximum_grip_force": as_json(cluster_mean(np.array(rows["maximum_grip_force"], float), objects, rng)),
        "force_when_stable": float(commanded[stable == 1.0].mean()) if (stable == 1.0).any() else None,
        "commanded_force": as_json(cluster_mean(commanded, objects, rng)),
        "looks": float(np.mean(rows["looks"])),
        "sure": {"lifts": int(sure.sum()), "success": as_json(kept)} if np.isfinite(predicted).any() else None,
    }


def grasp_text(figures: Mapping[str, Any]) -> str:
    """Return the figures of a closed-loop test in words."""
    low, high = figures["interval"]
    lines = [
        f"{figures['policy']}: success {100 * figures['accuracy']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] of {figures['n']}"
    ]
    lines += [f"  {name:18s} {done}/{n}" for name, (done, n) in figures["per_object"].items()]
    force = figures["commanded_force"]
    lines.append(
        f"  commanded force {force['value']:.1f} N [{force['low']:.1f}, {force['high']:.1f}], {figures['looks']:.2f} regrasps"
    )
    if figures["sure"]:
        kept = figures["sure"]["success"]
        share = f"{100 * kept['value']:.0f} % [{100 * kept['low']:.0f}, {100 * kept['high']:.0f}]" if kept["n"] else "-"
        lines.append(f"  lifts predicted above the threshold: {figures['sure']['lifts']}, of which succeeded {share}")
    return "\n".join(lines)


def paired_success(a: Mapping[str, Any], b: Mapping[str, Any], rng: np.random.Generator) -> Interval:
    """Return success of `a` less that of `b` (rows of `grasp_figures`) over their common starting states."""
    i, j = _common(a, b)
    return paired_difference(np.array(a["stable"], float)[i], np.array(b["stable"], float)[j], np.array(a["object"])[i], rng)


def force_ratio(a: Mapping[str, Any], b: Mapping[str, Any], column: str = "commanded_force") -> float:
    """Return the mean force of `a` as a share of that of `b` over their common starting states."""
    i, j = _common(a, b)
    return float(np.mean(np.array(a[column])[i]) / np.mean(np.array(b[column])[j]))


def sure_forces(least: Mapping[str, Any], likeliest: Mapping[str, Any], threshold: float = 0.9) -> tuple[int, float, float]:
    """Return in how many trials least force found a grasp that is sure enough, and its mean force and that of `likeliest` there [N].

    In the other trials both objectives choose alike.
    """
    i, j = _common(least, likeliest)
    sure = np.array(least["predicted"], float)[i] > threshold
    if not sure.any():
        return 0, float("nan"), float("nan")
    forces = (np.array(rows["commanded_force"], float)[k][sure].mean() for rows, k in ((least, i), (likeliest, j)))
    a, b = (float(force) for force in forces)
    return int(sure.sum()), a, b


def _common(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    _, i, j = np.intersect1d(np.array(a["trial"]), np.array(b["trial"]), return_indices=True)
    return i, j
