"""What frozen features of touch tell: a linear head, objects held out, beside what a trained encoder must beat (AnyTouch, Tables 2, 3).

Classes (material, grasp) have a logistic head and are scored by accuracy, ranks (hardness, roughness) a ridge regression, by Spearman's
correlation over objects. The penalty is chosen inside the training objects of each fold; every input is judged on the same folds. Folds
by object would make the intercept alone a correlation below zero: it does not count. Frames without contact must not tell anything.

Axis letters: N felt touch, D feature, G group (object), R seed, P penalty.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from palpate.core.errors import DataError, UnknownNameError
from palpate.core.randomness import generator
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.data.splits import grouped_folds
from palpate.evaluation.intervals import RESAMPLES, Interval, cluster_mean, paired_difference
from palpate.evaluation.tables import NOTHING, Table, plain
from palpate.models.touch_encoder import TouchEncoder
from palpate.recipes.hardness_real import spearman
from palpate.recipes.touch_embedding import IMAGENET, UNTRAINED, Source, encode, open_source, untrained
from palpate.recipes.touch_felt import FeltTouches, felt_touches

Target = Literal["material", "hardness", "roughness", "grasp"]
Kind = Literal["rank", "class"]

RIDGE = tuple(10.0 ** np.arange(0, 7))
"""Penalties of ridge regression to choose from, features standardised."""
LOGISTIC = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse penalties of logistic regression to choose from."""
RIGID = 1e9
"""Stands for the modulus of what does not yield at all [Pa]: the last rank."""
FOLDS, INNER_FOLDS, INNER_REPEATS = 5, 4, 3
SEEDS = (0, 1, 2)
LESS_REST, PATCHES = ", less rest", ", patches less rest"
"""Ends of the names of rows whose features are less those of the gel at rest: of the class token, and of the patches."""
_STILL = {IMAGENET: "imagenet", "hand-made": "press"}
"""What is kept without contact too, by the name of the row."""
_SOURCES: Mapping[str, tuple[tuple[str, Kind], ...]] = {
    "hardness": (("label.hardness_rank", "rank"), ("label.hardness", "rank"), ("truth.young", "rank")),
    "roughness": (("label.roughness_rank", "rank"), ("label.roughness", "rank"), ("truth.roughness", "rank")),
    "material": (("group.material", "class"),),
    "grasp": (("label.stable", "class"), ("label.grasp", "class")),
}
"""Columns that hold a target, the first that a data set has counts. Of simulated things the truth is the annotation: no model sees it."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is to be told."""

    kind: Kind
    values: np.ndarray
    """(N,) float, NaN not known, or str, empty not known."""
    group: np.ndarray
    """(N,) str: what folds and intervals keep together."""
    source: str
    """Column that it comes from."""

    @property
    def known(self) -> np.ndarray:
        """(N,) bool."""
        return ~np.isnan(self.values) if self.kind == "rank" else self.values != ""

    def take(self, rows: np.ndarray) -> "Goal":
        """Return some rows."""
        return Goal(kind=self.kind, values=self.values[rows], group=self.group[rows], source=self.source)


@dataclass(frozen=True, kw_only=True)
class Probed:
    """How well one input tells the target."""

    kind: Kind
    group: np.ndarray
    """(G,) names."""
    truth: np.ndarray
    """(G,) mean rank; NaN for classes."""
    scores: np.ndarray
    """(R, G) of ranks the mean score of a group's touches, of classes the share of them that are told right."""
    value: Interval
    """Spearman's correlation, or accuracy over groups; means over seeds, interval over groups."""
    by_seed: tuple[float, ...]


def read_goal(reader: EpisodeReader, position: np.ndarray, target: str, group: str = "object") -> Goal:
    """Return the target of felt touches.

    Args:
        reader: of the data set.
        position: (N,) rows of their trials.
        target: `hardness`, `roughness`, `material` or `grasp`.
        group: kind of group that folds keep together.

    Raises:
        UnknownNameError: no such target.
        DataError: the data set lacks the target or the group, or has fewer than two values of it.
    """
    if target not in _SOURCES:
        raise UnknownNameError("target", target, _SOURCES)
    there: list[tuple[str, Kind]] = [(name, kind) for name, kind in _SOURCES[target] if name in reader.names]
    if not there or f"group.{group}" not in reader.names:
        raise DataError(
            f"{reader.root} lacks the target {target!r} (one of {', '.join(n for n, _ in _SOURCES[target])}) or the group {group!r}; "
            f"it has {', '.join(n for n in reader.names if n.startswith(('label.', 'group.', 'truth.')))}"
        )
    source, kind = there[0]
    column = reader.column(source)
    if source == "truth.young":
        column = np.where(reader.column("truth.rigid") > 0, RIGID, column)
    values = column[position]
    if kind == "class":
        values = np.array(["" if v is None or v != v else str(v) for v in values])  # noqa: PLR0124 - NaN differs from itself
    goal = Goal(kind=kind, values=values, group=reader.column(f"group.{group}")[position].astype(str), source=source)
    if len(np.unique(values[goal.known])) < 2:
        raise DataError(f"{reader.root} has fewer than two different values of {source} among the touches that are probed")
    return goal


def probe(
    features: np.ndarray | Sequence[np.ndarray], goal: Goal, *, seeds: Sequence[int] = SEEDS, folds: int = FOLDS
) -> Probed:
    """Cross-validate a linear head on frozen features.

    Touches without the target do not count. Those with features of NaN are in no fold, but do not change the folds of others.

    Args:
        features: (N, D), or one such array for each seed.
        goal: what to tell.
        seeds: of folds; scores are averaged over them.
        folds: at least 2.

    Raises:
        DataError: too few groups for so many folds.
    """
    each = [features] * len(seeds) if isinstance(features, np.ndarray) else list(features)
    known = goal.known
    goal, each = goal.take(known), [x[known] for x in each]
    have = np.logical_and.reduce([np.isfinite(x).all(axis=1) for x in each])
    names, place = np.unique(goal.group[have], return_inverse=True)
    if len(names) < folds:
        raise DataError(f"{len(names)} groups with this input are too few for {folds} folds; give fewer folds or more data")
    scores = []
    with threadpool_limits(1):  # small matrices: threads only wait for one another
        for seed, x in zip(seeds, each, strict=True):
            fold = grouped_folds(goal.group, folds, seed)[have]
            said = _held_out(x[have].astype(float), goal.take(have), fold, seed)
            scores.append(np.bincount(place, weights=said) / np.bincount(place))
    truth = np.full(len(names), np.nan)
    if goal.kind == "rank":
        truth = np.bincount(place, weights=goal.values[have]) / np.bincount(place)
    return summed_up(goal.kind, names, truth, np.array(scores))


def summed_up(kind: Kind, names: np.ndarray, truth: np.ndarray, scores: np.ndarray) -> Probed:
    """Return scores (R, G) of groups with their figure and its interval; see `Probed`."""
    rng = generator(0, 7)
    if kind == "rank":
        by_seed = tuple(spearman(row, truth) for row in scores)
        value = _interval(float(np.mean(by_seed)), _correlations(scores, truth, _resamples(rng, len(names))), len(names))
    else:
        value = cluster_mean(scores.mean(axis=0), names, rng)
        by_seed = tuple(scores.mean(axis=1).tolist())
    return Probed(kind=kind, group=names, truth=truth, scores=scores, value=value, by_seed=by_seed)


def majority(goal: Goal, *, seeds: Sequence[int] = SEEDS, folds: int = FOLDS) -> Probed:
    """Return the score of saying what is most frequent among the training touches. Of ranks it orders nothing: NaN."""
    return probe(np.zeros((len(goal.values), 1)), goal, seeds=seeds, folds=folds)


def difference(a: Probed, b: Probed, seed: int = 0) -> Interval:
    """Return how much better `a` is than `b`, with a paired interval over the groups that both were probed on."""
    shared, of_a, of_b = np.intersect1d(a.group, b.group, return_indices=True)
    x, y, truth = a.scores[:, of_a], b.scores[:, of_b], a.truth[of_a]
    rng = generator(seed, 8)
    if a.kind == "class":
        return paired_difference(x.mean(axis=0), y.mean(axis=0), shared, rng)
    every, draws = np.arange(len(shared))[None], _resamples(rng, len(shared))
    gain = [_correlations(x, truth, pick) - _correlations(y, truth, pick) for pick in (every, draws)]
    return _interval(float(gain[0][0]), gain[1], len(shared))


def _resamples(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(n, size=(RESAMPLES, n))


def _interval(value: float, draws: np.ndarray, n: int) -> Interval:
    """Return the percentile interval of resampled values; those in which nothing varies do not count."""
    known = draws[~np.isnan(draws)]
    low, high = np.quantile(known, [0.025, 0.975]) if n > 2 and len(known) else (np.nan, np.nan)
    return Interval(value=value, low=float(low), high=float(high), n=n, groups=n)


def _correlations(scores: np.ndarray, truth: np.ndarray, pick: np.ndarray) -> np.ndarray:
    """Return (B,) Spearman's correlation of scores (R, G) with the truth (G,), mean over R, in each of B resamples (B, G)."""
    ranks = [rankdata(values[pick], axis=1) for values in (truth, *scores)]
    ranks = [r - r.mean(axis=1, keepdims=True) for r in ranks]
    size = [np.sqrt(np.square(r).sum(axis=1)) for r in ranks]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = [(ranks[0] * r).sum(axis=1) / (size[0] * k) for r, k in zip(ranks[1:], size[1:], strict=True)]
    return np.mean(found, axis=0)


def _held_out(x: np.ndarray, goal: Goal, fold: np.ndarray, seed: int) -> np.ndarray:
    """Return (N,) what heads that never saw a touch's group say of it."""
    out = np.zeros(len(x))
    for k in np.unique(fold):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        inner = goal.take(train)
        best = _choose(x[train], inner, seed)
        out[test] = _scores(x[train], inner, x[test], goal.values[test])[best]
    return out


def _choose(x: np.ndarray, goal: Goal, seed: int) -> int:
    """Return the number of the penalty that does best on held-out groups inside the training groups."""
    repeats, folds = (INNER_REPEATS, INNER_FOLDS) if goal.kind == "rank" else (1, INNER_FOLDS)
    names, place = np.unique(goal.group, return_inverse=True)
    found = []
    for repeat in range(repeats):
        fold = grouped_folds(goal.group, min(folds, len(names)), repeats * seed + repeat)
        parts = {int(k): (fold != k, fold == k) for k in np.unique(fold)}
        said = np.zeros((len(RIDGE if goal.kind == "rank" else LOGISTIC), len(x)))
        for train, test in parts.values():
            said[:, test] = _scores(x[train], goal.take(train), x[test], goal.values[test])
        found.append([_merit(row, goal, place) for row in said])
    return int(np.argmax(np.nan_to_num(np.mean(found, axis=0), nan=-1.0)))


def _merit(said: np.ndarray, goal: Goal, place: np.ndarray) -> float:
    if goal.kind == "class":
        return float(said.mean())
    counts = np.bincount(place)
    return spearman(np.bincount(place, weights=said) / counts, np.bincount(place, weights=goal.values) / counts)


def _scores(x: np.ndarray, goal: Goal, test: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return (P, n) what heads of each penalty, fitted on `x` and `goal`, say of the rows `test`: a score, or whether it is right."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 1e-9 * (1 + np.abs(mean)), spread, np.inf)
    x, test = (x - mean) / spread, (test - mean) / spread
    if goal.kind == "rank":
        return _ridge(x, goal.values, test)
    return np.array([_logistic(x, goal.values, test, c) == truth for c in LOGISTIC], float)


def _ridge(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return (P, n) scores of ridge regression on the ranks of `y`, less their mean, from one decomposition for all penalties."""
    ranks = rankdata(y)
    u, s, v = np.linalg.svd(x, full_matrices=False)
    along = u.T @ (ranks - ranks.mean())
    weights = s * along / (s**2 + np.array(RIDGE)[:, None])
    return weights @ (test @ v.T).T


def _logistic(x: np.ndarray, y: np.ndarray, test: np.ndarray, c: float) -> np.ndarray:
    """Return (n,) the classes that logistic regression says."""
    if len(np.unique(y)) < 2:
        return np.full(len(test), y[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a head that is nearly there says the same
        model = LogisticRegression(C=c, max_iter=200, tol=1e-3).fit(x, y)
    return model.predict(test)


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """What to probe."""

    run: str
    """Folder of a run, `untrained` or `imagenet`."""
    data: Path
    target: Target
    group: str = "object"
    """Kind of group that folds keep together and that intervals resample."""
    tokens: str = "own"
    """Sensor tokens: `own` (universal where a sensor has none), `universal`, or a sensor's name."""
    sensors: tuple[str, ...] = ()
    """Only touches by these; all if there are none."""
    seen: bool = False
    """Also objects whose pictures stage 1 was trained on, without labels; heads never see the objects that they are judged on."""
    folds: int = FOLDS
    seeds: tuple[int, ...] = SEEDS


def run_probe(config: ProbeConfig, tell: Callable[[str], None], *, progress: bool = True) -> dict[str, Any]:
    """Probe an encoder beside its baselines and controls; return the rows as JSON values.

    Objects that the encoder was trained on do not count (but see `ProbeConfig.seen`): the sentences of its training tell their properties.

    Raises:
        PalpateError: an unusable run, data without the target, too few objects.
    """
    source, reader = open_source(config.run), open_dataset(config.data)
    shape, objects = source.shape, source.objects(reader, seen=config.seen)
    felt = felt_touches(
        reader, size=shape.size, frames=shape.frames, sensors=config.sensors, objects=objects, progress=progress
    )
    if word := source.tell_tokens(felt, config.tokens):
        tell(word)
    goal = read_goal(reader, felt.position, config.target, config.group)
    inputs = probe_inputs(source, felt, config.tokens, config.seeds)
    if "group.setting" in reader.names:
        setting = reader.column("group.setting")[felt.position].astype(str)
        inputs["control: capture setting"] = (setting[:, None] == np.unique(setting)).astype(float)
    found = {
        name: probe(x, goal, seeds=config.seeds, folds=config.folds)
        for name, x in inputs.items()
        if enough(x, goal, config.folds)
    }
    if goal.kind == "class":
        found["majority"] = majority(goal, seeds=config.seeds, folds=config.folds)
    first = next(iter(found.values()))
    return {
        "run": config.run,
        "data": str(config.data),
        "target": config.target,
        "source": goal.source,
        "measure": "Spearman" if goal.kind == "rank" else "accuracy",
        "group": config.group,
        "tokens": config.tokens,
        "sensors": sorted(set(felt.sensor.tolist())),
        "held_out_only": bool(objects),
        "touches": int(goal.known.sum()),
        "left_out": felt.left_out,
        "folds": config.folds,
        "seeds": list(config.seeds),
        "rows": {name: as_row(p, difference(first, p) if p is not first else None) for name, p in found.items()},
    }


def probe_inputs(
    source: Source, felt: FeltTouches, tokens: str, seeds: Sequence[int]
) -> dict[str, np.ndarray | Sequence[np.ndarray]]:
    """Return what is probed, by name: the source first, then baselines and controls."""
    out: dict[str, np.ndarray | Sequence[np.ndarray]] = {}
    if source.run is not None and source.net is not None:
        out |= _ways(Path(source.name).name, source.net, felt, tokens)
    fresh = [_ways(UNTRAINED, untrained(source.shape, seed), felt, "universal") for seed in seeds]
    kept: dict[str, np.ndarray | Sequence[np.ndarray]] = {name: [one[name] for one in fresh] for name in fresh[0]}
    kept |= {IMAGENET: felt.kept("imagenet"), "hand-made": felt.kept("press")}
    first = {source.name: kept[source.name]} if source.run is None else {}
    out |= {**first, **kept}
    if source.net is not None:
        out |= _ways("control: contact-free", source.net, felt, tokens, part="still")
    return out | {f"control: contact-free, {name}": felt.kept(f"{key}_still") for name, key in _STILL.items()}


def _ways(name: str, net: TouchEncoder, felt: FeltTouches, tokens: str, *, part: str = "clip") -> dict[str, np.ndarray]:
    """Return features as they are, as in the paper, and less those of the gel at rest, which the baselines are told of too."""
    found, rest = encode(net, felt, tokens, part=part), encode(net, felt, tokens, part="rest")
    less = {f"{name}{LESS_REST}": found.pooled - rest.pooled, f"{name}{PATCHES}": found.patches - rest.patches}
    return {name: found.pooled, **less}


def enough(features: np.ndarray | Sequence[np.ndarray], goal: Goal, folds: int) -> bool:
    """Return whether an input is there for enough groups; short recordings have no frames well before contact."""
    one = features if isinstance(features, np.ndarray) else features[0]
    return len(np.unique(goal.group[np.isfinite(one).all(axis=1) & goal.known])) >= 2 * folds


def as_row(probed: Probed, gain: Interval | None) -> dict[str, Any]:
    """Return one input's figures as JSON values; `gain` is the first input's over it."""
    return {
        "value": probed.value.value,
        "interval": [probed.value.low, probed.value.high],
        "by_seed": list(probed.by_seed),
        "groups": len(probed.group),
        "first_minus_this": None if gain is None else [gain.value, gain.low, gain.high],
    }


def probe_table(figures: Mapping[str, Any]) -> Table:
    """Return the rows of `run_probe` as a table."""

    def cells(row: Mapping[str, Any]) -> tuple[str, str, str]:
        low, high = row["interval"]
        gain = row["first_minus_this"]
        value = Interval(value=row["value"], low=low, high=high, n=row["groups"], groups=row["groups"])
        less = NOTHING if gain is None else plain(Interval(value=gain[0], low=gain[1], high=gain[2], n=0, groups=0))
        return plain(value), less, str(row["groups"])

    rows = figures["rows"]
    return Table(
        caption=f"{figures['target']} ({figures['source']}) of {figures['touches']} touches, {figures['measure']}",
        columns=("input", f"{figures['measure']} [95 %]", f"{next(iter(rows))} less this", f"{figures['group']}s"),
        rows=tuple((name, *cells(row)) for name, row in rows.items()),
        note=f"Linear heads; {figures['folds']} folds by {figures['group']}, mean over {len(figures['seeds'])} seeds; intervals over "
        f"{figures['group']}s.",
    )
