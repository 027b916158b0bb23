"""Rays against the convex parts of an object: what the camera sees of it and how far it is from a pad.

Every part answers with the distance along the ray at which the ray enters it, on either side of the origin. Arithmetic is float64: a
gel shows micrometres.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from scipy.spatial import ConvexHull

from palpate.core.transforms import quaternion_to_matrix
from palpate.worlds.household import GraspObject, Part

ELLIPSOID, BOX, CAPSULE, FRUSTUM, POLYTOPE = range(5)
_KINDS = {"ellipsoid": ELLIPSOID, "box": BOX, "capsule": CAPSULE, "frustum": FRUSTUM, "polytope": POLYTOPE}

MISS = 1e9
"""Distance of what a ray does not meet [m]."""

_EPS = 1e-12

Packed = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Kind (N,), turn object-from-part (N, 3, 3), centre (N, 3), sizes (N, 3), planes (K, 4), first and end plane (N, 2)."""


def planes_of(part: Part) -> np.ndarray:
    """Return outward normals and offsets (K, 4) of a polytope: n.x + d <= 0 inside."""
    equations = ConvexHull(np.array(part.vertices)).equations
    return np.unique(equations.round(7), axis=0)


@lru_cache(maxsize=512)
def pack(thing: GraspObject) -> Packed:
    """Return the parts of an object as arrays for the compiled loops."""
    planes, spans = [np.zeros((0, 4))], []
    for part in thing.parts:
        start = sum(map(len, planes))
        if part.kind == "polytope":
            planes.append(planes_of(part))
        spans.append((start, sum(map(len, planes))))
    sizes = np.zeros((len(thing.parts), 3))
    for i, part in enumerate(thing.parts):
        sizes[i, : len(part.size)] = part.size
    return (
        np.array([_KINDS[part.kind] for part in thing.parts]),
        np.stack([quaternion_to_matrix(np.array(part.turn)) for part in thing.parts]),
        np.array([part.at for part in thing.parts], float),
        sizes,
        np.concatenate(planes),
        np.array(spans),
    )


@njit(cache=True)
def _enter_round(o: np.ndarray, d: np.ndarray, s: np.ndarray) -> float:
    """Ellipsoid."""
    a = b = c = 0.0
    for i in range(3):
        p, q = o[i] / s[i], d[i] / s[i]
        a += q * q
        b += p * q
        c += p * p
    root = b * b - a * (c - 1.0)
    return -(b + math.sqrt(root)) / a if root > 0 else MISS


@njit(cache=True)
def _enter_box(o: np.ndarray, d: np.ndarray, s: np.ndarray) -> float:
    enter, leave = -MISS, MISS
    for i in range(3):
        inverse = 1.0 / (d[i] if abs(d[i]) > _EPS else _EPS)
        middle, reach = -o[i] * inverse, s[i] * abs(inverse)
        enter, leave = max(enter, middle - reach), min(leave, middle + reach)
    return enter if enter < leave else MISS


@njit(cache=True)
def _enter_capsule(o: np.ndarray, d: np.ndarray, s: np.ndarray) -> float:
    """The nearest of the cylinder's side and the two end balls."""
    best = MISS
    a = d[0] * d[0] + d[1] * d[1]
    b = o[0] * d[0] + o[1] * d[1]
    root = b * b - a * (o[0] * o[0] + o[1] * o[1] - s[0] * s[0])
    if a > _EPS and root > 0:
        t = -(b + math.sqrt(root)) / a
        if abs(o[2] + t * d[2]) <= s[1]:
            best = t
    for sign in (-1.0, 1.0):
        z = o[2] - sign * s[1]
        b3 = b + z * d[2]
        length = a + d[2] * d[2]
        root = b3 * b3 - length * (o[0] * o[0] + o[1] * o[1] + z * z - s[0] * s[0])
        if root > 0:
            best = min(best, -(b3 + math.sqrt(root)) / length)
    return best


@njit(cache=True)
def _enter_frustum(o: np.ndarray, d: np.ndarray, s: np.ndarray) -> float:
    """The overlap of a slab and a cone whose radius grows from s[0] at -s[2] to s[1] at s[2]; the inside of the cone is one interval."""
    inverse = 1.0 / (d[2] if abs(d[2]) > _EPS else _EPS)
    enter = -o[2] * inverse - s[2] * abs(inverse)
    leave = -o[2] * inverse + s[2] * abs(inverse)
    k = (s[1] - s[0]) / (2 * s[2])
    r = (s[0] + s[1]) / 2 + k * o[2]
    a = d[0] * d[0] + d[1] * d[1] - k * k * d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] - k * r * d[2]
    c = o[0] * o[0] + o[1] * o[1] - r * r
    root = b * b - a * c
    if abs(a) < _EPS:
        if abs(b) < _EPS:
            return enter if c < 0 and enter < leave else MISS
        t = -c / (2 * b)
        enter, leave = (enter, min(leave, t)) if b > 0 else (max(enter, t), leave)
        return enter if enter < leave else MISS
    if root <= 0:
        # Wholly inside the (double) cone, or outside it.
        return enter if a < 0 and enter < leave else MISS
    root = math.sqrt(root)
    first, last = min((-b - root) / a, (-b + root) / a), max((-b - root) / a, (-b + root) / a)
    if a > 0:
        enter, leave = max(enter, first), min(leave, last)
        return enter if enter < leave else MISS
    # Steeper than the cone: inside before `first` and after `last`, of which the slab holds one.
    if enter < first:
        return enter
    return max(enter, last) if max(enter, last) < leave else MISS


@njit(cache=True)
def _enter_polytope(o: np.ndarray, d: np.ndarray, planes: np.ndarray) -> float:
    enter, leave = -MISS, MISS
    for i in range(planes.shape[0]):
        speed = planes[i, 0] * d[0] + planes[i, 1] * d[1] + planes[i, 2] * d[2]
        above = planes[i, 0] * o[0] + planes[i, 1] * o[1] + planes[i, 2] * o[2] + planes[i, 3]
        if abs(speed) < _EPS:
            if above > 0:
                return MISS
        elif speed < 0:
            enter = max(enter, -above / speed)
        else:
            leave = min(leave, -above / speed)
    return enter if enter < leave else MISS


@njit(cache=True)
def enter_part(kind: int, o: np.ndarray, d: np.ndarray, s: np.ndarray, planes: np.ndarray) -> float:
    """Return where a ray from `o` along `d` (part frame) enters a part; `MISS` if it does not."""
    if kind == ELLIPSOID:
        return _enter_round(o, d, s)
    if kind == BOX:
        return _enter_box(o, d, s)
    if kind == CAPSULE:
        return _enter_capsule(o, d, s)
    if kind == FRUSTUM:
        return _enter_frustum(o, d, s)
    return _enter_polytope(o, d, planes)


@njit(cache=True)
def gap_map(  # noqa: PLR0917 - compiled functions take no keywords cheaply
    packed: Any, face: np.ndarray, axes: np.ndarray, half: np.ndarray, shape: tuple[int, int], free: float, behind: float
) -> np.ndarray:
    """Return how far an object is from a flat pad, along the pad's outward normal (rows, cols) [m].

    Args:
        packed: the object's parts.
        face: (3,) centre of the pad's face, object frame [m].
        axes: (3, 3) rows: the gel's x, y, z, object frame; z goes into the gel.
        half: (2,) half height (along y) and half width (along x) of the pad [m].
        shape: rows and columns.
        free: value where there is nothing, and the farthest that is looked for [m].
        behind: what lies deeper than this behind the face is not over the pad [m].
    """
    kinds, turns, centres, sizes, planes, spans = packed
    rows, cols = shape
    gap = np.full((rows, cols), np.float32(free))
    o, d = np.empty(3), np.empty(3)
    for part in range(len(kinds)):
        turn = turns[part]
        own = planes[spans[part, 0] : spans[part, 1]]
        for i in range(3):
            d[i] = -(turn[0, i] * axes[2, 0] + turn[1, i] * axes[2, 1] + turn[2, i] * axes[2, 2])
        for row in range(rows):
            y = ((row + 0.5) / rows * 2 - 1) * half[0]
            for col in range(cols):
                x = ((col + 0.5) / cols * 2 - 1) * half[1]
                for i in range(3):
                    o[i] = 0.0
                    for j in range(3):
                        o[i] += turn[j, i] * (face[j] + x * axes[0, j] + y * axes[1, j] - centres[part, j])
                t = enter_part(kinds[part], o, d, sizes[part], own)
                if -behind < t < gap[row, col]:
                    gap[row, col] = np.float32(t)
    return gap


@njit(cache=True)
def _normal(kind: int, p: np.ndarray, s: np.ndarray, planes: np.ndarray, out: np.ndarray) -> None:
    """Outward normal of a part at its surface point `p`, unit length."""
    if kind == ELLIPSOID:
        for i in range(3):
            out[i] = p[i] / (s[i] * s[i])
    elif kind == BOX:
        for i in range(3):
            out[i] = math.copysign(1.0, p[i]) if abs(p[i]) > s[i] - 1e-7 else 0.0
    elif kind == CAPSULE:
        out[0], out[1], out[2] = p[0], p[1], p[2] - min(max(p[2], -s[1]), s[1])
    elif kind == FRUSTUM:
        k = (s[1] - s[0]) / (2 * s[2])
        cap = abs(p[2]) > s[2] - 1e-7
        side = math.sqrt(p[0] * p[0] + p[1] * p[1])
        out[0], out[1], out[2] = (0.0, 0.0, math.copysign(1.0, p[2])) if cap else (p[0], p[1], -k * side)
    else:
        best = -MISS
        for i in range(planes.shape[0]):
            above = planes[i, 0] * p[0] + planes[i, 1] * p[1] + planes[i, 2] * p[2] + planes[i, 3]
            if above > best:
                best = above
                out[0], out[1], out[2] = planes[i, 0], planes[i, 1], planes[i, 2]
    size = 1.0 / (math.sqrt(out[0] * out[0] + out[1] * out[1] + out[2] * out[2]) + _EPS)
    for i in range(3):
        out[i] *= size


@njit(cache=True)
def draw_part(  # noqa: PLR0917 - compiled functions take no keywords cheaply
    rgb: np.ndarray,
    depth: np.ndarray,
    kind: int,
    sizes: np.ndarray,
    planes: np.ndarray,
    turn: np.ndarray,
    origin: np.ndarray,
    colour: np.ndarray,
    lights: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
) -> None:
    """Draw one part into a window of an image where it is nearer; as `palpate.sensors.raster.draw`, lit alike.

    Args:
        rgb: (h, w, 3) uint8 window, changed in place.
        depth: (h, w) float32 [m], changed in place.
        kind: of the part.
        sizes: (3,) [m].
        planes: (K, 4) of a polytope.
        turn: (3, 3) part-from-camera rotation.
        origin: (3,) camera centre, part frame [m].
        colour: (3,) reflectance times full brightness [grey levels].
        lights: (2, 3) directions towards key and fill light, part frame.
        u: (w,) normalised image columns.
        v: (h,) normalised image rows.
    """
    d, p, n = np.empty(3), np.empty(3), np.empty(3)
    for row in range(depth.shape[0]):
        for col in range(depth.shape[1]):
            for i in range(3):
                d[i] = turn[i, 0] * u[col] + turn[i, 1] * v[row] + turn[i, 2]
            t = enter_part(kind, origin, d, sizes, planes)
            if not 0.0 < t < depth[row, col]:
                continue
            depth[row, col] = t
            for i in range(3):
                p[i] = origin[i] + t * d[i]
            _normal(kind, p, sizes, planes, n)
            key = max(lights[0, 0] * n[0] + lights[0, 1] * n[1] + lights[0, 2] * n[2], 0.0)
            fill = max(lights[1, 0] * n[0] + lights[1, 1] * n[1] + lights[1, 2] * n[2], 0.0)
            light = 0.38 + 0.52 * key + 0.30 * fill
            for i in range(3):
                rgb[row, col, i] = np.uint8(min(light * colour[i] + 40.0 * key**16, 255.0))
