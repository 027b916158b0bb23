"""Signed distance of an object's surface: what a soft fingertip asks where a rigid one was left."""

import math

import numpy as np
from numba import njit

from palpate.worlds.household import GraspObject
from palpate.worlds.household_rays import BOX, CAPSULE, ELLIPSOID, FRUSTUM, pack

_STEPS = 60
"""Newton steps at most; it converges from one side, mostly in fewer than 8."""


@njit(cache=True)
def _ellipsoid(x: float, y: float, z: float, s: np.ndarray) -> float:
    """Distance of a point to an ellipsoid: the root t of sum (s p / (t + s^2))^2 = 1 gives the foot s^2 p / (t + s^2) (D. Eberly)."""
    smallest = min(s[0], s[1], s[2])
    p = np.array([abs(x), abs(y), abs(z)])
    for i in range(3):
        if s[i] == smallest:
            p[i] = max(p[i], 1e-9 * smallest)  # the centre and its like have no single foot
    squares = s * s
    t = -smallest * smallest
    for i in range(3):
        t = max(t, s[i] * p[i] - squares[i])
    for _ in range(_STEPS):
        value, slope = -1.0, 0.0
        for i in range(3):
            part = s[i] * p[i] / (t + squares[i])
            value += part * part
            slope -= 2.0 * part * part / (t + squares[i])
        step = value / slope
        t -= step
        if abs(step) <= 1e-13 * smallest * smallest:
            break
    away = 0.0
    for i in range(3):
        gap = p[i] - squares[i] * p[i] / (t + squares[i])
        away += gap * gap
    return math.copysign(math.sqrt(away), t)


@njit(cache=True)
def _box(x: float, y: float, z: float, s: np.ndarray) -> float:
    a, b, c = abs(x) - s[0], abs(y) - s[1], abs(z) - s[2]
    outside = math.sqrt(max(a, 0.0) ** 2 + max(b, 0.0) ** 2 + max(c, 0.0) ** 2)
    return outside + min(max(a, b, c), 0.0)


@njit(cache=True)
def _capsule(x: float, y: float, z: float, s: np.ndarray) -> float:
    along = z - min(max(z, -s[1]), s[1])
    return math.sqrt(x * x + y * y + along * along) - s[0]


@njit(cache=True)
def _frustum(x: float, y: float, z: float, s: np.ndarray) -> float:
    """In the half plane of radius and height: the nearest of a cap and the slanted side."""
    r = math.hypot(x, y)
    cap = s[0] if z < 0 else s[1]
    over = max(r - cap, 0.0)
    end = abs(z) - s[2]
    squared = over * over + end * end
    dr, dz = s[1] - s[0], 2.0 * s[2]
    share = min(max(((r - s[0]) * dr + (z + s[2]) * dz) / (dr * dr + dz * dz), 0.0), 1.0)
    gap_r, gap_z = r - s[0] - share * dr, z + s[2] - share * dz
    squared = min(squared, gap_r * gap_r + gap_z * gap_z)
    inside = end < 0 and r < s[0] + dr * (z + s[2]) / dz
    return -math.sqrt(squared) if inside else math.sqrt(squared)


@njit(cache=True)
def _polytope(x: float, y: float, z: float, planes: np.ndarray) -> float:
    """The farthest of the faces' planes: exact inside and over a face, too small over edges and corners."""
    best = -1e9
    for k in range(len(planes)):
        best = max(best, planes[k, 0] * x + planes[k, 1] * y + planes[k, 2] * z + planes[k, 3])
    return best


@njit(cache=True)
def _distances(  # noqa: PLR0917 - the fields of `Packed`, in their order
    points: np.ndarray,
    kinds: np.ndarray,
    turns: np.ndarray,
    places: np.ndarray,
    sizes: np.ndarray,
    planes: np.ndarray,
    spans: np.ndarray,
) -> np.ndarray:
    out = np.full(len(points), 1e9)
    for n in range(len(points)):
        for k in range(len(kinds)):
            px, py, pz = points[n, 0] - places[k, 0], points[n, 1] - places[k, 1], points[n, 2] - places[k, 2]
            turn, s = turns[k], sizes[k]
            x = turn[0, 0] * px + turn[1, 0] * py + turn[2, 0] * pz
            y = turn[0, 1] * px + turn[1, 1] * py + turn[2, 1] * pz
            z = turn[0, 2] * px + turn[1, 2] * py + turn[2, 2] * pz
            if kinds[k] == ELLIPSOID:
                d = _ellipsoid(x, y, z, s)
            elif kinds[k] == BOX:
                d = _box(x, y, z, s)
            elif kinds[k] == CAPSULE:
                d = _capsule(x, y, z, s)
            elif kinds[k] == FRUSTUM:
                d = _frustum(x, y, z, s)
            else:
                d = _polytope(x, y, z, planes[spans[k, 0] : spans[k, 1]])
            out[n] = min(out[n], d)
    return out


def signed_distance(thing: GraspObject, points: np.ndarray) -> np.ndarray:
    """Return the distance (n,) [m] of points (n, 3) [m], object frame, from the object's surface; negative inside.

    Outside exact for ellipsoids, boxes, capsules and frustums; over edges of polytopes too small by what rounds them. It never changes
    faster than the point moves. Where parts overlap, the depth is that in the part where it is deepest.
    """
    return _distances(np.ascontiguousarray(points, dtype=float), *pack(thing))
