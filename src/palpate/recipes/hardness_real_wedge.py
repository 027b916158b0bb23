"""Contact onset, stiffness and softness of real squeezes: experiments on the GelSight Wedge recordings.

The stiffness that an index is compared with comes from force and width; it is object and gel in series. No index is a modulus, and
none is turned into newtons per millimetre. The indices have no fitted weights; the row "left out in turn" fits a line on the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from palpate.core.errors import DataError
from palpate.core.randomness import generator
from palpate.core.records import Episode
from palpate.data.external.video import PAD
from palpate.data.external.wedge import FORCE, WIDTH
from palpate.data.reader import EpisodeReader
from palpate.evaluation.intervals import Interval
from palpate.perception.press_features import rise_speed
from palpate.perception.press_video import Problem, read_press
from palpate.perception.stiffness import Stiffness, force_onset, squeeze_stiffness
from palpate.recipes.hardness_real import rank_interval, spearman

MM = 1e-3
NEAR = 3
"""Onsets within so many frames agree."""
LEAST_CLOSING = 0.5 * MM
"""Less closing between onset and peak is no denominator [m]."""
INDICES = ("steepest rise (video)", "change per closing (video and width)", "peak force (no touch, a confound)")


@dataclass(frozen=True, kw_only=True)
class Squeeze:
    """What one trial gave."""

    object: str
    take: str
    problems: tuple[Problem, ...]
    video_onset: int | None
    """Frame."""
    force_onset: int | None
    """Sample at which the force passes 0.75 N as recorded."""
    force_onset_above_rest: int | None
    """The same with the force at the start taken off."""
    stiffness: Stiffness
    indices: Mapping[str, float]
    """By name, larger is stiffer; nan where it cannot be had. Units do not compare."""


@dataclass(frozen=True, kw_only=True)
class OnsetRow:
    """How well onsets from video agree with those from force."""

    reference: str
    trials: int
    """Those that begin without contact."""
    within: float
    """Share within `NEAR` frames."""
    worst: int
    """[frames]."""
    median: float
    """Of the absolute difference [frames]."""
    missed: int
    """Trials in which the video shows no contact; not within, and not part of worst and median."""
    off: Mapping[str, int]
    """Differences, video minus force, of the trials that are not within `NEAR` [frames]."""


@dataclass(frozen=True, kw_only=True)
class SoftnessRow:
    """How well an index orders objects by stiffness."""

    index: str
    trials: float
    """Spearman over trials with a stiffness."""
    objects: Interval
    """Spearman over objects, medians of their trials; interval from resampling objects."""
    left_out: float
    """Spearman over objects of the stiffness that a line in logarithms, fitted on the other objects, predicts."""
    separated: float
    """Share of pairs ordered right among those whose stiffness intervals do not overlap."""
    pairs: int
    """Number of these pairs."""
    n_trials: int


def read_squeezes(data: EpisodeReader) -> list[Squeeze]:
    """Read every trial of a data set with touch video, force and width.

    Raises:
        DataError: A trial lacks a stream, names the trial.
    """
    return [_squeeze(episode) for episode in data]


def _squeeze(episode: Episode) -> Squeeze:
    missing = [name for name in (PAD, FORCE, WIDTH) if name not in episode.streams]
    if missing:
        raise DataError(f"trial {episode.index} has no {missing[0]}; squeezes need {PAD}, {FORCE} and {WIDTH}")
    video = episode.streams[PAD]
    force, width = (episode.streams[name].values[:, 0] for name in (FORCE, WIDTH))
    reading = read_press(video.values, video.times)
    start = reading.onset or 0
    closing = float(width[start] - width[reading.peak])
    change = float(reading.change[reading.peak])
    values = (
        rise_speed(reading.times, reading.change),
        change / (closing / MM) if closing > LEAST_CLOSING else float("nan"),
        float(force.max()),
    )
    return Squeeze(
        object=episode.groups["object"],
        take=episode.groups["take"],
        problems=reading.problems,
        video_onset=reading.onset,
        force_onset=force_onset(force),
        force_onset_above_rest=force_onset(force, above_rest=True),
        stiffness=squeeze_stiffness(force, width),
        indices=dict(zip(INDICES, values, strict=True)),
    )


def onset_rows(squeezes: Sequence[Squeeze]) -> list[OnsetRow]:
    """Compare onsets over the trials whose force is below the threshold at the first sample."""
    free = [s for s in squeezes if s.force_onset is not None and s.force_onset > 0]
    return [
        _onset_row("force passes 0.75 N", {s.take: (s.video_onset, s.force_onset) for s in free}),
        _onset_row("force passes 0.75 N above its start", {s.take: (s.video_onset, s.force_onset_above_rest) for s in free}),
    ]


def _onset_row(reference: str, onsets: Mapping[str, tuple[int | None, int | None]]) -> OnsetRow:
    off = {take: video - force for take, (video, force) in onsets.items() if video is not None and force is not None}
    size = np.abs(list(off.values()))
    if not len(size):
        raise DataError("no trial begins without contact and shows one; there is nothing to compare onsets on")
    return OnsetRow(
        reference=reference,
        trials=len(onsets),
        within=float((size <= NEAR).sum() / len(onsets)),
        worst=int(size.max()),
        median=float(np.median(size)),
        missed=len(onsets) - len(off),
        off={take: d for take, d in off.items() if abs(d) > NEAR},
    )


def softness_rows(squeezes: Sequence[Squeeze], *, seed: int = 0) -> list[SoftnessRow]:
    """Compare every index with the stiffness from force and width.

    Raises:
        DataError: Fewer than three objects have a stiffness.
    """
    names = sorted({s.object for s in squeezes if not s.stiffness.reason})
    if len(names) < 3:
        raise DataError(f"{len(names)} objects have a stiffness; at least 3 are needed to speak of an order")
    return [_softness_row(index, squeezes, names, seed) for index in INDICES]


def _softness_row(index: str, squeezes: Sequence[Squeeze], names: Sequence[str], seed: int) -> SoftnessRow:
    both = [s for s in squeezes if not s.stiffness.reason and np.isfinite(s.indices[index])]
    stiff = object_stiffness(squeezes)
    truth = np.array([stiff[name][0] for name in names])
    score = np.array([np.nanmedian([s.indices[index] for s in squeezes if s.object == name]) for name in names])
    pairs = [(a, b) for a, b in combinations(range(len(names)), 2) if _apart(stiff[names[a]], stiff[names[b]])]
    right = [(truth[a] - truth[b]) * (score[a] - score[b]) > 0 for a, b in pairs]
    return SoftnessRow(
        index=index,
        trials=spearman(np.array([s.indices[index] for s in both]), np.array([s.stiffness.value for s in both])),
        objects=rank_interval(score[None], truth, generator(seed, 8)),
        left_out=spearman(_left_out(np.log(score), np.log(truth)), truth),
        separated=float(np.mean(right)) if right else float("nan"),
        pairs=len(pairs),
        n_trials=len(both),
    )


def object_stiffness(squeezes: Sequence[Squeeze]) -> dict[str, tuple[float, float, float]]:
    """Return by object the medians over trials of stiffness and the ends of its interval [N/m]."""
    found: dict[str, list[Stiffness]] = {}
    for squeeze in squeezes:
        if not squeeze.stiffness.reason:
            found.setdefault(squeeze.object, []).append(squeeze.stiffness)
    return {
        name: (
            float(np.median([t.value for t in trials])),
            float(np.median([t.low for t in trials])),
            float(np.median([t.high for t in trials])),
        )
        for name, trials in found.items()
    }


def _apart(a: tuple[float, float, float], b: tuple[float, float, float]) -> bool:
    return a[2] < b[1] or b[2] < a[1]


def _left_out(index: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Predict each value by a line through the others."""
    others = ~np.eye(len(index), dtype=bool)
    return np.array([np.polyval(np.polyfit(index[keep], truth[keep], 1), x) for keep, x in zip(others, index, strict=True)])
