"""How far a rigid object is from a fingertip's facets, and when it first touches: from distances or from a distance function."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from palpate.core.errors import RecordError
from palpate.sensors.touch.tip_mesh import Surface, axes, bend

Distance = Callable[[np.ndarray], np.ndarray]
"""A rigid object: points (m, 3) [m], gel frame -> signed distances (m,) [m], negative inside."""

STEP = 1e-6
"""Step for the gradient of a distance [m]."""
FACING = 0.3
"""Least cosine between an object's and a facet's normal for which the object's is believed; edges of objects fall below."""
LEVEL = 0.03
"""Least cosine between a facet's normal and the approach for which the facet can be met first."""
CLOSE = 1e-8
"""Distance that counts as touching [m]."""
TIE = 1e-9
"""Distances that differ by less are equal [m]."""
FAR = 1.0
"""Distance that counts as never met [m]."""
ZOOM = np.stack(np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)), axis=-1).reshape(-1, 2)
"""Where to look about the facet that is met first, in facets."""


class MissedError(RecordError):
    """An object that does not meet the tip, however far it moves."""


@dataclass(frozen=True)
class Gap:
    """Distances of an object from the facets near one approach."""

    gap: np.ndarray
    """(n,) [m] at approach 0 (first contact), continued linearly from where it was measured."""
    rate: np.ndarray
    """(n,) how much it closes per unit of approach."""
    normals: np.ndarray
    """(n, 3) directions of contact, into the tip."""


def gap_at(surface: Surface, thing: np.ndarray | Distance, along: np.ndarray, start: float, depth: float) -> Gap:
    """Measure the object's distance and direction with the object moved by `start + depth`."""
    if not callable(thing):
        rate = surface.normals @ along
        gap = np.where(np.isfinite(thing), thing, FAR) - start * rate
        return Gap(gap, rate, surface.normals)
    offset = (start + depth) * along
    gap = _measure(thing, surface.points - offset)
    normals = surface.normals.copy()
    close = np.flatnonzero(gap < surface.shape.skin / 2)  # means over facets and directions matter for these alone
    if close.size:
        gap[close] = _measure(thing, (surface.samples[close] - offset).reshape(-1, 3)).reshape(-1, 4).mean(axis=1)
        slope = _slope(thing, surface.points[close] - offset)
        trusted = (slope * normals[close]).sum(axis=1) > FACING
        normals[close[trusted]] = slope[trusted]
    rate = normals @ along
    return Gap(gap + depth * rate, rate, normals)


def _slope(thing: Distance, points: np.ndarray) -> np.ndarray:
    """Return the unit direction (m, 3) in which the distance grows at points (m, 3)."""
    steps = STEP * np.concatenate([np.eye(3), -np.eye(3)])[:, None, :]
    around = _measure(thing, (points + steps).reshape(-1, 3)).reshape(2, 3, -1)
    slope = (around[0] - around[1]).T
    return slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-12 * STEP)


def nearest(surface: Surface, thing: Distance) -> tuple[np.ndarray, float]:
    """Return the place (3,) on the skin that is nearest to an object, or deepest in it, and its signed distance [m]."""
    middle, span = _facet(surface, int(np.argmin(_measure(thing, surface.points))))
    for zoom in (1.0, 0.2, 0.04):
        places = np.clip(middle + zoom * span * ZOOM, -1, 1)
        points = bend(surface.shape, places[:, 0], places[:, 1], np.ones(1))
        apart = _measure(thing, points)
        middle = places[apart < apart.min() + TIE].mean(axis=0)  # a mean, so that a mirrored object gives the mirrored place
    return bend(surface.shape, middle[0], middle[1], np.ones(())), float(apart.min())


def _facet(surface: Surface, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return middle and size of a facet in grid parameters (u, v)."""
    row, col = divmod(number, surface.grid[1])
    u, v, _ = axes(surface.shape)
    low, high = np.array([u[col], v[row]]), np.array([u[col + 1], v[row + 1]])
    return (low + high) / 2, high - low


def first_touch(surface: Surface, thing: np.ndarray | Distance, along: np.ndarray) -> float:
    """Return how far along `along` the object is from first contact [m]; negative if it already overlaps."""
    if not callable(thing):
        rate = surface.normals @ along
        ready = (rate > LEVEL) & np.isfinite(thing)
        if not ready.any():
            raise MissedError(f"the object never meets the tip along {along}: no finite gap on a facet that faces it; move it")
        travel = np.where(ready, thing, np.inf) / np.where(ready, rate, 1.0)
        return _least(travel.reshape(surface.grid))
    moved = _advance(thing, surface.points, along, 0.0, 1e-5)
    middle, span = _facet(surface, int(np.argmin(_measure(thing, surface.points - moved * along))))
    for zoom in (1.0, 0.2):
        places = np.clip(middle + zoom * span * ZOOM, -1, 1)
        points = bend(surface.shape, places[:, 0], places[:, 1], np.ones(1))
        moved = _advance(thing, points, along, moved, CLOSE)
        middle = places[int(np.argmin(_measure(thing, points - moved * along)))]
    return moved


def _least(means: np.ndarray) -> float:
    """Return the least value of a field given by its means over cells (rows, cols): where a parabola through 3 x 3 of them is least.

    The least mean alone would lie a share of a facet too deep, as facets are curved.
    """
    row, col = np.unravel_index(int(np.argmin(means)), means.shape)
    near = means[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
    lowest = float(means[row, col])
    if near.shape != (3, 3) or not np.isfinite(near).all():
        return lowest
    y, x = (part.ravel() for part in np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], indexing="ij"))
    terms = np.stack(
        [np.ones(9), x, y, x * x / 2 + 1 / 24, x * y, y * y / 2 + 1 / 24], axis=1
    )  # 1/24: means of x^2/2 over a cell
    c, cx, cy, cxx, cxy, cyy = np.linalg.lstsq(terms, near.ravel(), rcond=None)[0]
    product, total = cxx * cyy - cxy * cxy, cxx + cyy
    if product <= 1e-3 * total**2:  # a flat or saddle-shaped field has no vertex
        return lowest
    at_x, at_y = (cxy * cy - cyy * cx) / product, (cxy * cx - cxx * cy) / product
    if max(abs(at_x), abs(at_y)) > 1:
        return lowest
    return min(lowest, float(c + (cx * at_x + cy * at_y) / 2))


def _advance(thing: Distance, points: np.ndarray, along: np.ndarray, moved: float, close: float) -> float:
    """Move the object by the distance left until it touches one of the points, with longer steps where it comes in askew."""
    low, high, last, stretch = -np.inf, np.inf, np.inf, 1.0
    for _ in range(200):
        left = float(_measure(thing, points - moved * along).min())
        if abs(left) < close or high - low < close:
            return moved
        if abs(moved) > FAR:
            break
        low, high = (max(low, moved), high) if left > 0 else (low, min(high, moved))
        if abs(left) < abs(last) < np.inf:  # the secant
            stretch = float(np.clip(stretch * last / (last - left), 0.5, 4.0))
        moved += stretch * left
        if not low < moved < high:
            moved = (low + high) / 2
        last = left
    raise MissedError(f"the object never meets the tip along {along}; move it in front of the tip or change `along`")


def _measure(thing: Distance, points: np.ndarray) -> np.ndarray:
    values = np.asarray(thing(points), float)
    if values.shape != points.shape[:1] or not np.isfinite(values).all():
        raise RecordError(
            f"the object's distance function returned shape {values.shape} for points {points.shape}, finite: "
            f"{bool(np.isfinite(values).all())}; it must return one finite signed distance [m] per point"
        )
    return values
