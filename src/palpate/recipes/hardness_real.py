"""Hardness and roughness of real things from touch video: experiments on the PhysiCLeAR recordings, folds by object.

Every number is per object, by a model that never saw it: the mean over its clips of the place on the model's latent scale. That
scale, not the expected rank, is compared with the true rank: the expected rank also holds how common the ranks are among the training
objects, which by-object folds turn into a correlation below zero for any input that tells nothing. The
penalty and the group of features are chosen inside the training objects. Chosen by people who had seen scores of all objects: what
the features are, their scales, and which groups there are to choose from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from palpate.core.errors import DataError
from palpate.core.randomness import generator
from palpate.data.external.octopi import LABELS
from palpate.data.external.video import PAD
from palpate.data.reader import EpisodeReader
from palpate.data.splits import grouped_folds
from palpate.evaluation.intervals import Interval, cluster_mean
from palpate.learning.ordinal import fit_ordinal
from palpate.perception.press_features import NAMES, press_features
from palpate.perception.press_video import PressReading, read_press
from palpate.recipes.hardness_touch import PressTouch

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
GROUPS = {"all": ("",), "shape": ("edges", "broad", "change", "rise")}
"""Beginnings of the names of the features that may be used together."""
FOLDS = 5
INNER_FOLDS = 4
INNER_REPEATS = 3
"""Splits over which a choice is averaged; from one split alone it is mostly chance."""
SEEDS = (0, 1, 2)
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class PressTable:
    """Features of all clips of a data set. Axis letters: N clip, D feature."""

    press: np.ndarray
    """(N, D) of the frames with contact; of a touch encoder the last `encoder` columns."""
    still: np.ndarray
    """(N, D) the same figures of frames without contact, for the control; rows of nan where a clip has none."""
    setting: np.ndarray
    """(N, S) one column per capture setting, for the control."""
    objects: np.ndarray
    """(N,) str."""
    labels: dict[str, np.ndarray]
    """(N,) each, nan where not known."""
    problems: tuple[str, ...]
    """One line per clip that is odd but used."""
    left_out: tuple[str, ...]
    """One line per clip that could not be used."""
    unlabelled: tuple[str, ...]
    """Objects without any label; they count nowhere."""
    encoder: int = 0


@dataclass(frozen=True, kw_only=True)
class RankRow:
    """One line of the table: how well an input orders objects."""

    label: str
    input: str
    spearman: Interval
    """Over objects, mean over seeds; interval from resampling objects."""
    by_seed: tuple[float, ...]
    accuracy: Interval
    """Share of objects whose class, by mean probability over clips, is right; mean over seeds."""
    majority: float
    """Share of objects in the most frequent class."""
    choices: tuple[str, ...]
    """Features and penalty chosen in each fold of each seed."""
    objects: int
    clips: int


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is fitted beside the weights."""

    columns: np.ndarray
    """(D,) bool: features that are used."""
    penalty: float
    name: str


@dataclass(frozen=True, kw_only=True)
class ObjectScore:
    """What a model that never saw an object says of it, mean over its clips."""

    object: str
    truth: float
    score: float
    """Place on the latent scale [log odds]."""
    predicted: float
    """Rank of largest mean probability."""


def read_presses(data: EpisodeReader, touch: PressTouch | None = None) -> PressTable:
    """Read every clip of a data set with `touch.pad` and compute its features, with those of a touch encoder if there is one."""
    rows: list[tuple[np.ndarray, np.ndarray, str, str, list[float]]] = []
    problems, left_out = [], []
    for episode in data:
        name = episode.groups.get("take", str(episode.index))
        if PAD not in episode.streams:
            left_out.append(f"{name}: no {PAD}")
            continue
        video = episode.streams[PAD]
        try:
            reading = read_press(video.values, video.times)
        except DataError as error:
            left_out.append(f"{name}: {error}")
            continue
        if reading.problems:
            problems.append(f"{name}: {', '.join(reading.problems)}")
        press = press_features(video.values, reading)
        ranks = [np.nan if episode.labels.get(n) is None else float(episode.labels[n] or 0.0) for n in LABELS]
        still = _still(video.values, reading, len(press))
        press = press if touch is None else np.concatenate([press, touch(video, reading)])
        rows.append((press, still, episode.groups["object"], episode.groups.get("setting", ""), ranks))
    if not rows:
        raise DataError(f"{data.root}: no usable press; left out:\n  " + "\n  ".join(left_out))
    press, still, objects, setting, ranks = (list(column) for column in zip(*rows, strict=True))
    kinds, which = np.unique(np.array(setting), return_inverse=True)
    table = np.array(ranks)
    names = np.array(objects)
    return PressTable(
        press=np.stack(press),
        still=np.stack(still),
        setting=np.eye(len(kinds))[which],
        objects=names,
        labels={label: table[:, i] for i, label in enumerate(LABELS)},
        problems=tuple(problems),
        left_out=tuple(left_out),
        unlabelled=tuple(sorted({str(o) for o in names[np.isnan(table).all(axis=1)]})),
        encoder=0 if touch is None else touch.backbone.dim,
    )


def _still(frames: np.ndarray, reading: PressReading, n: int) -> np.ndarray:
    try:
        return press_features(frames, reading, contact=False)
    except DataError:
        return np.full(n, np.nan)


def rank_rows(table: PressTable, *, seeds: Sequence[int] = SEEDS, folds: int = FOLDS) -> list[RankRow]:
    """Return the table: for each label the press, and the two controls that must not order anything."""
    inputs = {"press": table.press, "contact-free frames": table.still, "capture setting": table.setting}
    return [
        rank_row(label, name, features, table.labels[label], table.objects, seeds=seeds, folds=folds)
        for label in LABELS
        for name, features in inputs.items()
    ]


def rank_row(
    label: str,
    name: str,
    features: np.ndarray,
    truth: np.ndarray,
    objects: np.ndarray,
    *,
    seeds: Sequence[int] = SEEDS,
    folds: int = FOLDS,
    encoder: int = 0,
) -> RankRow:
    """Cross-validate one input (N, D) on one label (N,), by object. Clips without label or features do not count.

    The last `encoder` columns are of a touch encoder.
    """
    known = ~np.isnan(truth) & ~np.isnan(features).any(axis=1)
    features, truth, objects = features[known], truth[known], objects[known]
    runs = [object_scores(features, truth, objects, seed, folds, encoder=encoder) for seed in seeds]
    scores = np.array([[s.score for s in run] for run, _ in runs])
    right = np.array([[s.predicted == s.truth for s in run] for run, _ in runs], float)
    first = runs[0][0]
    actual = np.array([s.truth for s in first])
    rng = generator(seeds[0], 7)
    return RankRow(
        label=label,
        input=name,
        spearman=rank_interval(scores, actual, rng),
        by_seed=tuple(spearman(s, actual) for s in scores),
        accuracy=cluster_mean(right.mean(axis=0), np.array([s.object for s in first]), rng),
        majority=float(np.unique(actual, return_counts=True)[1].max() / len(actual)),
        choices=tuple(c.name for _, chosen in runs for c in chosen),
        objects=len(actual),
        clips=len(truth),
    )


def object_scores(
    features: np.ndarray, truth: np.ndarray, objects: np.ndarray, seed: int, folds: int = FOLDS, *, encoder: int = 0
) -> tuple[list[ObjectScore], list[Choice]]:
    """Predict every object by a model of the other folds' objects; objects in alphabetical order, and each fold's choice."""
    fold = grouped_folds(objects, folds, seed)
    scores: dict[str, ObjectScore] = {}
    chosen = []
    for k in range(folds):
        train = fold != k
        choice = choose(features[train], truth[train], objects[train], seed, encoder)
        model = fit_ordinal(features[train][:, choice.columns], truth[train], penalty=choice.penalty)
        chosen.append(choice)
        for name in np.unique(objects[~train]):
            clips = features[objects == name][:, choice.columns]
            probability = model.probability(clips).mean(axis=0)
            scores[str(name)] = ObjectScore(
                object=str(name),
                truth=float(truth[objects == name][0]),
                score=float(model.score(clips).mean()),
                predicted=float(model.classes[probability.argmax()]),
            )
    return [scores[name] for name in sorted(scores)], chosen


def choices(n_features: int, encoder: int = 0) -> list[Choice]:
    """Return what there is to choose from: groups only if the features are those of `press_features`.

    The last `encoder` columns, of a touch encoder, stay out, replace the others, or join them.
    """
    own = n_features - encoder
    groups = {"all": np.ones(own, bool)}
    if own == len(NAMES):
        groups = {group: np.array([n.startswith(begins) for n in NAMES]) for group, begins in GROUPS.items()}
    if encoder:
        groups = {group: np.pad(columns, (0, encoder)) for group, columns in groups.items()}
        last = np.arange(n_features) >= own
        groups |= {"encoder": last, "all and encoder": groups["all"] | last}
    return [Choice(columns=c, penalty=p, name=f"{group}, {p:g}") for group, c in groups.items() for p in PENALTIES]


def choose(features: np.ndarray, truth: np.ndarray, objects: np.ndarray, seed: int, encoder: int = 0) -> Choice:
    """Return the choice that orders held-out objects best inside the given ones."""
    folds = [grouped_folds(objects, INNER_FOLDS, INNER_REPEATS * seed + i) for i in range(INNER_REPEATS)]
    options = choices(features.shape[1], encoder)
    found = [np.mean([_inner(features, truth, objects, option, fold) for fold in folds]) for option in options]
    return options[int(np.argmax(np.nan_to_num(found, nan=-1.0)))]


def _inner(features: np.ndarray, truth: np.ndarray, objects: np.ndarray, option: Choice, fold: np.ndarray) -> float:
    """Order of held-out objects under one choice and one split."""
    x = features[:, option.columns]
    score = np.zeros(len(truth))
    for k in range(INNER_FOLDS):
        score[fold == k] = fit_ordinal(x[fold != k], truth[fold != k], penalty=option.penalty).score(x[fold == k])
    same = objects == np.unique(objects)[:, None]
    return spearman(same @ score / same.sum(axis=1), same @ truth / same.sum(axis=1))


def rank_interval(scores: np.ndarray, truth: np.ndarray, rng: np.random.Generator, resamples: int = RESAMPLES) -> Interval:
    """Return the Spearman correlation over objects with a bootstrap interval.

    Args:
        scores: (S, N), one row per seed; correlations are averaged over seeds, whose rows share their resamples.
        truth: (N,).
        rng: draws the resamples; those in which all objects have one rank do not count.
        resamples: how many.
    """
    n = len(truth)
    draws = []
    for _ in range(resamples):
        pick = rng.integers(n, size=n)
        draws.append(np.mean([spearman(s[pick], truth[pick]) for s in scores]))
    known = np.array(draws)[~np.isnan(draws)]
    low, high = np.quantile(known, [0.025, 0.975]) if n > 2 and len(known) else (np.nan, np.nan)
    value = float(np.mean([spearman(s, truth) for s in scores]))
    return Interval(value=value, low=float(low), high=float(high), n=n, groups=n)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Return the rank correlation of two (N,), ties by their mean rank; nan where either is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
