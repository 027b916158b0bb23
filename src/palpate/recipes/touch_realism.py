"""How real simulated touch looks: figures of pictures and of camera noise, profiles around ball presses, and a classifier.

All work on changes against the rest image as well as on whole pictures. None sees whether a picture is real.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from palpate.core.errors import DataError
from palpate.evaluation.intervals import Interval, cluster_auc

RINGS = (0.0, 0.5, 0.9, 1.1, 1.5, 2.0, 3.0, 4.5)
"""Borders of the rings around a press [contact radii]."""
PAIRS = ((0, 1), (0, 2), (1, 2))
_BAND = (4.0, 64.0)
"""Cycles per picture height between which a spectrum's slope is fitted."""
_NOISE_ROWS = 64
"""Rows at which the published figures of noise were found."""
_BLOCK = 8
_OCTAVES = 5
_QUIET = 1e-6


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Figures of a set of pictures or changes; means over the set."""

    mean: tuple[float, float, float]
    """Per colour [grey levels]."""
    std: tuple[float, float, float]
    """Per colour, within a picture [grey levels]."""
    low: float
    """First percentile about the mean [grey levels]."""
    high: float
    """99th percentile about the mean [grey levels]."""
    colour: float
    """Standard deviation of the differences of two colours, mean over the three pairs [grey levels]."""
    correlation: tuple[float, float, float]
    """Between red and green, red and blue, green and blue."""
    slope: float
    """k of a power spectrum of 1/f^k, grey, 4 to 64 cycles per picture height."""
    steep: float
    """99th percentile of the gradient over the standard deviation [1/px]."""


@dataclass(frozen=True, kw_only=True)
class Flicker:
    """Camera noise from pictures between which nothing happened."""

    std: float
    """Per pixel and picture [grey levels]."""
    std_small: float
    """The same after joining pixels to 64 rows."""
    slope: float
    """k of a power spectrum of 1/f^k."""
    correlation: float
    """Between two colours, mean over the pairs."""
    neighbour: float
    """Correlation of a pixel with the next one."""
    frozen: float
    """Share of 8 x 8 blocks that do not change at all: what video compression took away."""
    pairs: int


def contrast(pictures: np.ndarray) -> Contrast:
    """Measure pictures or changes (N, H, W, 3).

    Raises:
        DataError: when there are none.
    """
    _check(pictures)
    rows = [_one_contrast(np.asarray(p, np.float32)) for p in pictures]
    mean, std, low, high, colour, correlation, slope, steep = (
        np.mean(np.array([r[i] for r in rows]), axis=0) for i in range(8)
    )
    return Contrast(
        mean=_three(mean),
        std=_three(std),
        low=float(low),
        high=float(high),
        colour=float(colour),
        correlation=_three(correlation),
        slope=float(slope),
        steep=float(steep),
    )


def _check(pictures: np.ndarray) -> None:
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or len(pictures) == 0:
        raise DataError(f"pictures of shape {pictures.shape}; (N, H, W, 3) with at least one picture are needed")


def _three(values: np.ndarray) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c


def _one_contrast(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float, float, np.ndarray, float, float]:
    flat = picture.reshape(-1, 3)
    mean, std = flat.mean(axis=0), flat.std(axis=0)
    centred = flat - mean
    low, high = np.percentile(centred, [1, 99])
    colour = float(np.mean([(centred[:, a] - centred[:, b]).std() for a, b in PAIRS]))
    correlation = np.array([_correlation(centred[:, a], centred[:, b]) for a, b in PAIRS])
    slope = spectrum_slope(picture.mean(axis=2))
    return mean, std, float(low), float(high), colour, correlation, slope, _steep(picture) / max(float(std.mean()), _QUIET)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    size = float(np.sqrt((a * a).sum(dtype=float) * (b * b).sum(dtype=float)))
    return float((a * b).sum(dtype=float) / size) if size > 0 else 0.0


def _gradient(picture: np.ndarray) -> np.ndarray:
    """Return the length (H, W) of the gradient over all colours [grey levels per pixel]."""
    right = cv2.Sobel(picture, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(picture, cv2.CV_32F, 0, 1, scale=1 / 8)
    return np.sqrt((right**2 + down**2).sum(axis=2))


def _steep(picture: np.ndarray) -> float:
    return float(np.percentile(_gradient(picture), 99))


def spectrum_slope(picture: np.ndarray) -> float:
    """Return k of the power spectrum 1/f^k of a picture (H, W) between 4 and 64 cycles per height; 0 is white."""
    rows, cols = picture.shape
    window = np.hanning(rows)[:, None] * np.hanning(cols)[None, :]
    power = np.abs(np.fft.rfft2((picture - picture.mean()) * window)) ** 2
    cycles = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(cols)[None, :]) * rows
    edges = np.geomspace(_BAND[0], min(_BAND[1], rows / 2), 13)
    index = np.digitize(cycles.ravel(), edges)
    total, count = (np.bincount(index, weights=w, minlength=14)[1:13] for w in (power.ravel(), np.ones(power.size)))
    filled = (count > 0) & (total > 0)
    if np.count_nonzero(filled) < 2:
        return 0.0
    middle = np.sqrt(edges[1:] * edges[:-1])[filled]
    return -float(np.polyfit(np.log(middle), np.log(total[filled] / count[filled]), 1)[0])


def flicker(frames: np.ndarray, lag: int = 1) -> Flicker:
    """Measure camera noise on pictures (T, H, W, 3) uint8 between which nothing happened.

    Half the mean square of what changes over `lag` pictures; slow drift counts as noise. Compressed video copies still blocks: choose
    a lag of its key frames' distance.

    Raises:
        DataError: when there are not enough pictures.
    """
    _check(frames)
    if len(frames) <= lag:
        raise DataError(f"{len(frames)} pictures; noise over {lag} pictures needs {lag + 1} or more")
    changes = (frames[lag:].astype(np.float32) - frames[:-lag].astype(np.float32)) / np.float32(np.sqrt(2))
    rows, cols = frames.shape[1:3]
    small = (round(cols * _NOISE_ROWS / rows), _NOISE_ROWS)
    joined = np.stack([cv2.resize(c, small, interpolation=cv2.INTER_AREA) for c in changes])
    flat = changes.reshape(-1, 3)
    left, right = changes[:, :, :-1].ravel(), changes[:, :, 1:].ravel()
    blocks = np.abs(changes[:, : rows // _BLOCK * _BLOCK, : cols // _BLOCK * _BLOCK]).max(axis=3)
    blocks = blocks.reshape(len(changes), rows // _BLOCK, _BLOCK, cols // _BLOCK, _BLOCK).max(axis=(2, 4))
    return Flicker(
        std=float(np.sqrt((flat**2).mean(dtype=float))),
        std_small=float(np.sqrt((joined**2).mean(dtype=float))),
        slope=float(np.mean([spectrum_slope(c[..., k]) for c in changes for k in range(3)])),
        correlation=float(np.mean([_correlation(flat[:, a], flat[:, b]) for a, b in PAIRS])),
        neighbour=_correlation(left, right),
        frozen=float((blocks == 0).mean()),
        pairs=len(changes),
    )


def quiet(frames: np.ndarray, background: np.ndarray, share: float = 1.5) -> np.ndarray:
    """Return which pictures (T,) show nothing but the background.

    Pictures are joined to 40 x 30 parts; a picture is quiet if its most changed part is within `share` times that of the quietest
    fifth of all pictures, or 3 grey levels.

    Args:
        frames: (T, H, W, 3) uint8.
        background: (H, W, 3).
        share: how much more than the quietest pictures may change.
    """
    worst = np.array([_most_changed(frame, background) for frame in frames])
    return worst <= max(share * float(np.percentile(worst, 20)), 3.0)


def _most_changed(frame: np.ndarray, background: np.ndarray) -> float:
    change = frame.astype(np.float32) - background.astype(np.float32)
    return float(np.abs(cv2.resize(change, (40, 30), interpolation=cv2.INTER_AREA)).max())


def strongest(frames: np.ndarray, background: np.ndarray) -> tuple[int, float]:
    """Return the picture of (T, H, W, 3) that differs most from the background, and by how much its most changed part does."""
    worst = np.array([_most_changed(frame, background) for frame in frames])
    return int(worst.argmax()), float(worst.max())


def ring_profile(change: np.ndarray, centre_xy: tuple[float, float], radius_px: float) -> np.ndarray:
    """Return the root mean square of a change (H, W, 3) in each of `RINGS` (R,) [grey levels]; nan where a ring is out of sight."""
    distance = _distance(change.shape[:2], centre_xy) / radius_px
    power = (change.astype(float) ** 2).mean(axis=2)
    rings = [(distance >= a) & (distance < b) for a, b in itertools.pairwise(RINGS)]
    return np.array([np.sqrt(power[ring].mean()) if ring.any() else np.nan for ring in rings])


def rim_steepness(change: np.ndarray, centre_xy: tuple[float, float], radius_px: float) -> float:
    """Return the 95th percentile of a change's gradient around the rim, 0.8 to 1.25 contact radii [grey levels per pixel]."""
    soft = cv2.GaussianBlur(change.astype(np.float32), (0, 0), 1.0)
    distance = _distance(change.shape[:2], centre_xy) / radius_px
    return float(np.percentile(_gradient(soft)[(distance > 0.8) & (distance < 1.25)], 95))


def grain(picture: np.ndarray, where: np.ndarray | None = None) -> float:
    """Return the standard deviation of what a blur of 2 px takes out of a picture (H, W, 3) [grey levels]."""
    picture = picture.astype(np.float32)
    fine = picture - cv2.GaussianBlur(picture, (0, 0), 2.0)
    return float((fine if where is None else fine[where]).std())


def far(shape: tuple[int, int], centre_xy: tuple[float, float], radius_px: float, radii: float = 2.5) -> np.ndarray:
    """Return where (H, W) a picture is far from a press."""
    return _distance(shape, centre_xy) > radii * radius_px


def _distance(shape: tuple[int, ...], centre_xy: tuple[float, float]) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(x - centre_xy[0], y - centre_xy[1])


def describe(picture: np.ndarray) -> np.ndarray:
    """Return simple features (F,) of a picture or change (H, W, 3): levels, colours, and the energy of each octave."""
    picture = np.asarray(picture, np.float32)
    flat = picture.reshape(-1, 3)
    centred = flat - flat.mean(axis=0)
    parts = [flat.mean(axis=0), np.log(flat.std(axis=0) + 0.1)]
    parts += list(np.percentile(centred, [1, 25, 75, 99], axis=0))
    parts.append(np.array([_correlation(centred[:, a], centred[:, b]) for a, b in PAIRS]))
    rest = picture
    for _ in range(_OCTAVES):
        half = cv2.resize(rest, (max(rest.shape[1] // 2, 1), max(rest.shape[0] // 2, 1)), interpolation=cv2.INTER_AREA)
        fine = rest - cv2.resize(half, (rest.shape[1], rest.shape[0]), interpolation=cv2.INTER_LINEAR)
        parts.append(np.log(fine.std(axis=(0, 1)) + 0.05))
        rest = half
    return np.concatenate(parts)


def told_apart(
    first: Sequence[np.ndarray] | np.ndarray,
    second: Sequence[np.ndarray] | np.ndarray,
    groups: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
    *,
    folds: int = 5,
) -> Interval:
    """Return how well a linear classifier tells two sets apart: area under the curve, 0.5 if not at all, 1 if always.

    Logistic regression on standardised features, cross-validated by group; the interval resamples groups.

    Args:
        first: (N, F) features of one set.
        second: (M, F) of the other.
        groups: (N,) and (M,) press, clip or object; one group never lies on both sides of a split.
        rng: shuffles groups and resamples.
        folds: of the cross-validation.

    Raises:
        DataError: fewer than two groups.
    """
    features = np.concatenate([np.asarray(first, float), np.asarray(second, float)])
    label = np.repeat([0.0, 1.0], [len(first), len(second)])
    _, group = np.unique(np.concatenate(groups), return_inverse=True)
    count = int(group.max()) + 1
    if count < 2:
        raise DataError("one group of pictures; telling apart needs two or more presses or clips")
    fold_of = rng.permutation(count) % min(folds, count)
    scores = np.zeros(len(label))
    for fold in range(min(folds, count)):
        out = fold_of[group] == fold
        if len(np.unique(label[~out])) < 2:
            raise DataError(f"fold {fold} leaves one set only to learn from; give more groups or fewer folds")
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
        scores[out] = model.fit(features[~out], label[~out]).decision_function(features[out])
    return cluster_auc(label, scores, group, rng)


def halves_apart(features: np.ndarray, groups: np.ndarray, rng: np.random.Generator, *, repeats: int = 9) -> list[Interval]:
    """Return `told_apart` for random halves of one set, split by group: what the classifier finds where there is nothing."""
    names = np.unique(groups)
    found = []
    for _ in range(repeats):
        left = np.isin(groups, rng.permutation(names)[: len(names) // 2])
        found.append(told_apart(features[left], features[~left], (groups[left], groups[~left]), rng))
    return found
