"""Whether features of touch tell what was touched or what touched it: the number beside the picture of Fig. 4 of AnyTouch (ICLR 2025).

Of the nearest neighbours of a touch, which share is the same touch felt by another sensor, and which share is anything felt by the same
sensor? A map of t-SNE shows the same thing but bends distances, so it has no number of its own. Axis letters: N felt touch, E feature.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.manifold import TSNE

from palpate.core.errors import DataError
from palpate.core.randomness import generator
from palpate.evaluation.intervals import Interval, cluster_mean

PERPLEXITY = 15.0


@dataclass(frozen=True, kw_only=True)
class NeighbourShares:
    """What the nearest neighbours are, with intervals over touches."""

    same_touch: Interval
    """Share that is the same touch by another sensor; at most 1."""
    same_sensor: Interval
    """Share that is another touch by the same sensor."""
    chance_touch: float
    """`same_touch` of features that tell nothing."""
    chance_sensor: float
    """`same_sensor` of features that tell nothing."""


def neighbour_shares(features: np.ndarray, touch: np.ndarray, sensor: np.ndarray, *, seed: int = 0) -> NeighbourShares:
    """Return what the nearest neighbours of each felt touch are, by the cosine between features.

    A touch that k other sensors felt has its k nearest neighbours looked at, so that 1 means: all of them and nothing else.
    One that no other sensor felt is a neighbour only.

    Args:
        features: (N, E), finite.
        touch: (N,) name of the touch.
        sensor: (N,) name of the sensor.
        seed: of the resamples of touches.

    Raises:
        DataError: arrays that do not fit each other, features that are not finite, or no touch that two sensors felt.
    """
    asked, found = neighbours(features, touch, sensor)
    same = sensor[:, None] == sensor
    others = ((touch[:, None] == touch) & ~same).sum(axis=1)
    rest = len(touch) - 1
    return NeighbourShares(
        same_touch=cluster_mean(found[:, 0], touch[asked], generator(seed)),
        same_sensor=cluster_mean(found[:, 1], touch[asked], generator(seed)),
        chance_touch=float(others[asked].mean() / rest),
        chance_sensor=float((same.sum(axis=1)[asked] - 1).mean() / rest),
    )


def neighbours(features: np.ndarray, touch: np.ndarray, sensor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (n,) that another sensor felt too, and (n, 2) shares of their neighbours: same touch, same sensor.

    Arguments and errors as in `neighbour_shares`.
    """
    features = np.asarray(features, float)
    if features.ndim != 2 or not len(features) == len(touch) == len(sensor) or not np.isfinite(features).all():
        raise DataError(
            f"features {features.shape}, {len(touch)} touches, {len(sensor)} sensors: give (N, E) finite numbers and N of each"
        )
    near = _unit(features) @ _unit(features).T
    np.fill_diagonal(near, -np.inf)
    same_sensor = sensor[:, None] == sensor
    same_touch = (touch[:, None] == touch) & ~same_sensor
    others = same_touch.sum(axis=1)
    asked = np.flatnonzero(others)
    if not len(asked):
        raise DataError("no touch was felt by two sensors, so there is nothing to find again; give data of several sensors")
    order = np.argsort(-near, axis=1, kind="stable")
    found = [[rows[i, order[i, : others[i]]].mean() for rows in (same_touch, same_sensor)] for i in asked]
    return asked, np.array(found)


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def flat_map(features: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return (N, 2) places of features (N, E) on a t-SNE map (van der Maaten and Hinton, 2008), by the cosine between them.

    Raises:
        DataError: fewer than 5 rows.
    """
    if len(features) < 5:
        raise DataError(f"{len(features)} touches are too few for a map; give 5 or more")
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    unit = _unit(np.asarray(features, float))
    return TSNE(perplexity=perplexity, random_state=seed, init="pca").fit_transform(unit)
