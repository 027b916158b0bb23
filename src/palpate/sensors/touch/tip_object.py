"""How the surface of a soft object gives way under a fingertip: a half-space pressed and sheared on small patches.

The object fills the half-space behind the plane across the approach. Good where the contact is small beside the object; a thin or
small object is stiffer or softer than that, by how it is held.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from palpate.core.errors import RecordError

SELF = 4 * np.log(1 + np.sqrt(2)) + 4 / 3 * (1 - np.sqrt(2))
"""Mean of 1/distance between two points of a unit square."""

NEAR = 3.0
"""Distance, in sides of a facet, beyond which facets act like points."""


class SoftObject(NamedTuple):
    """Elastic constants of an object."""

    young: float
    """[Pa]."""
    poisson: float


def soft_object(young: float | None, poisson: float) -> SoftObject | None:
    """Return a soft object, None for a rigid one (`young` None).

    Raises:
        RecordError: constants that no material has.
    """
    if young is None:
        return None
    if not (np.isfinite(young) and young > 0 and -1 < poisson <= 0.5):
        raise RecordError(
            f"object_young is {young} Pa and object_poisson {poisson}; allowed are more than 0 and above -1 up to 0.5 "
            "(leave object_young out for a rigid object)"
        )
    return SoftObject(float(young), float(poisson))


@njit(cache=True, fastmath=True)
def softness(samples: np.ndarray, areas: np.ndarray, along: np.ndarray, thing: SoftObject) -> np.ndarray:
    """Return the compliance that an object adds to facets, (a, 3, 3a) [m/N], laid out as `tip_solve.Patch.rows`.

    A force f on a facet pushes the object by -f. With n the approach, r from the loaded point to the one that moves and T = 1 - n n':

        G = ((1-nu^2) n n' + (1+nu)((1-nu) T + nu r_t r_t'/r^2)) / (pi E r) + (1+nu)(1-2nu)/(2 pi E) (r_t n' - n r_t')/r^2

    Boussinesq and Cerruti; Johnson, Contact Mechanics (1985), Eqs. 3.18 and 3.75 at the surface. Between two facets it is averaged over
    four points of each if they are near, on one facet over a square of the same area.

    Args:
        samples: (a, 4, 3) points of the facets [m], `Surface.samples`.
        areas: (a,) [m^2].
        along: (3,) unit direction of approach, out of the object.
        thing: the object's constants.
    """
    count = areas.size
    out = np.zeros((count, 3, 3 * count))
    flat = np.eye(3) - np.outer(along, along)
    middles = np.empty((count, 3))
    for i in range(count):
        for a in range(3):
            middles[i, a] = samples[i, :, a].mean()
    for i in range(count):
        for j in range(i + 1):
            if i == j:
                mean = SELF / np.sqrt(areas[i])
                way, stretch = np.zeros(3), mean / 2 * flat
            elif ((middles[i] - middles[j]) ** 2).sum() > NEAR**2 * (areas[i] + areas[j]) / 2:
                mean, way, stretch = _mean_influence(middles[i : i + 1], middles[j : j + 1], along)
            else:
                mean, way, stretch = _mean_influence(samples[i], samples[j], along)
            block = _block(mean, way, stretch, along, thing)
            for a in range(3):
                for b in range(3):
                    out[i, a, 3 * j + b] = block[a, b]
                    out[j, b, 3 * i + a] = block[a, b]
    return out


@njit(cache=True, fastmath=True)
def _block(mean: float, way: np.ndarray, stretch: np.ndarray, along: np.ndarray, thing: SoftObject) -> np.ndarray:
    """Return G (3, 3) of `softness` from the means of `_mean_influence`."""
    young, nu = thing.young, thing.poisson
    push, side = (1 - nu * nu) / (np.pi * young), (1 + nu) / (np.pi * young)
    lift = (1 + nu) * (1 - 2 * nu) / (2 * np.pi * young)
    block = np.empty((3, 3))
    for a in range(3):
        for b in range(3):
            straight = along[a] * along[b]
            flat = (1.0 if a == b else 0.0) - straight
            block[a, b] = push * straight * mean + side * ((1 - nu) * flat * mean + nu * stretch[a, b])
            block[a, b] += lift * (way[a] * along[b] - along[a] * way[b])
    return block


@njit(cache=True, fastmath=True)
def _mean_influence(one: np.ndarray, other: np.ndarray, along: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return means over pairs of points of 1/r, r_t/r^2 (3,) and r_t r_t'/r^3 (3, 3), r from `other` to `one` (4, 3) each."""
    mean, way, stretch, apart = 0.0, np.zeros(3), np.zeros((3, 3)), np.empty(3)
    for p in range(one.shape[0]):
        for q in range(other.shape[0]):
            height, square = 0.0, 0.0
            for a in range(3):
                apart[a] = one[p, a] - other[q, a]
                height += apart[a] * along[a]
                square += apart[a] * apart[a]
            inverse = 1 / np.sqrt(square)
            mean += inverse
            for a in range(3):
                apart[a] -= height * along[a]
            for a in range(3):
                way[a] += apart[a] / square
                for b in range(3):
                    stretch[a, b] += apart[a] * apart[b] * inverse / square
    pairs = one.shape[0] * other.shape[0]
    return mean / pairs, way / pairs, stretch / pairs
