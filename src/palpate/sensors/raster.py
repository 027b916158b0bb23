"""Compiled inner loops of the software camera: rays against one solid, and the noise of a frame.

Rays of a pinhole camera are (u, v, 1) in the camera frame, so the ray parameter at a hit is the depth along the optical axis [m].
Arithmetic is float32: the image is 8 bits deep, the depth is stored in quarter millimetres.
"""

import math
from typing import Any

import numpy as np
from numba import njit

ELLIPSOID, CAPSULE, BOX = 0, 1, 2
"""Kinds of solids."""

_F = np.float32
_MISS = np.float32(-1.0)


@njit(cache=True, inline="always")
def _hit_ellipsoid(o: np.ndarray, d: np.ndarray, s: np.ndarray) -> Any:
    a = b = c = _F(0.0)
    for i in range(3):
        p, q = o[i] / s[i], d[i] / s[i]
        a += q * q
        b += p * q
        c += p * p
    root = b * b - a * (c - _F(1.0))
    return -(b + math.sqrt(root)) / a if root > 0 else _MISS


@njit(cache=True, inline="always")
def _hit_capsule(o: np.ndarray, d: np.ndarray, s: np.ndarray) -> Any:
    """The side first, then the end ball on whose side the endless cylinder was met."""
    a = max(d[0] * d[0] + d[1] * d[1], _F(1e-9))
    b = o[0] * d[0] + o[1] * d[1]
    c = o[0] * o[0] + o[1] * o[1] - s[0] * s[0]
    root = b * b - a * c
    if root <= 0:
        return _MISS
    t = -(b + math.sqrt(root)) / a
    height = o[2] + t * d[2]
    if abs(height) <= s[1]:
        return t
    z = o[2] - math.copysign(s[1], height)
    a += d[2] * d[2]
    b += z * d[2]
    root = b * b - a * (c + z * z)
    return -(b + math.sqrt(root)) / a if root > 0 else _MISS


@njit(cache=True, inline="always")
def _hit_box(o: np.ndarray, d: np.ndarray, s: np.ndarray) -> Any:
    """The overlap of three slabs."""
    enter, leave = _F(-1e9), _F(1e9)
    for i in range(3):
        inverse = _F(1.0) / (d[i] if d[i] != 0 else _F(1e-12))
        middle, reach = -o[i] * inverse, s[i] * abs(inverse)
        enter, leave = max(enter, middle - reach), min(leave, middle + reach)
    return enter if enter < leave else _MISS


@njit(cache=True, inline="always")
def _normal(kind: int, p: np.ndarray, s: np.ndarray, out: np.ndarray) -> None:
    """Outward unit normal of the solid at the surface point p."""
    for i in range(3):
        if kind == ELLIPSOID:
            out[i] = p[i] / (s[i] * s[i])
        elif kind == BOX:
            out[i] = math.copysign(_F(1.0), p[i]) if abs(p[i]) > s[i] - _F(2e-5) else _F(0.0)
        else:
            out[i] = p[i] - min(max(p[i], -s[1]), s[1]) if i == 2 else p[i]
    size = _F(1.0) / (math.sqrt(out[0] * out[0] + out[1] * out[1] + out[2] * out[2]) + _F(1e-9))
    for i in range(3):
        out[i] *= size


@njit(cache=True, error_model="numpy")
def draw(  # noqa: PLR0917 - compiled functions take no keywords cheaply
    rgb: np.ndarray,
    depth: np.ndarray,
    kind: int,
    sizes: np.ndarray,
    turn: np.ndarray,
    origin: np.ndarray,
    colour: np.ndarray,
    lights: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
) -> None:
    """Draw one solid into a window of an image, where it is nearer than what is there.

    Args:
        rgb: (h, w, 3) uint8 window of the image, changed in place.
        depth: (h, w) float32 [m], changed in place.
        kind: ELLIPSOID, CAPSULE or BOX.
        sizes: (3,) float32 [m].
        turn: (3, 3) float32 body-from-camera rotation.
        origin: (3,) float32 camera centre in the body frame [m].
        colour: (3,) float32 reflectance times full brightness [grey levels].
        lights: (2, 3) float32 directions towards key and fill light, body frame.
        u: (w,) float32 normalised image columns.
        v: (h,) float32 normalised image rows.
    """
    d, p, n = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
    for row in range(depth.shape[0]):
        for col in range(depth.shape[1]):
            for i in range(3):
                d[i] = turn[i, 0] * u[col] + turn[i, 1] * v[row] + turn[i, 2]
            if kind == ELLIPSOID:
                t = _hit_ellipsoid(origin, d, sizes)
            elif kind == CAPSULE:
                t = _hit_capsule(origin, d, sizes)
            else:
                t = _hit_box(origin, d, sizes)
            if not (_F(0.0) < t < depth[row, col]):
                continue
            depth[row, col] = t
            for i in range(3):
                p[i] = origin[i] + t * d[i]
            _normal(kind, p, sizes, n)
            key = max(lights[0, 0] * n[0] + lights[0, 1] * n[1] + lights[0, 2] * n[2], _F(0.0))
            fill = max(lights[1, 0] * n[0] + lights[1, 1] * n[1] + lights[1, 2] * n[2], _F(0.0))
            light = _F(0.38) + _F(0.52) * key + _F(0.30) * fill
            sharp = key * key
            sharp *= sharp
            sharp *= sharp
            sharp *= _F(40.0) * sharp  # 40 key ** 16: the highlight
            for i in range(3):
                rgb[row, col, i] = np.uint8(min(light * colour[i] + sharp, _F(255.0)))


@njit(cache=True)
def shadow(rgb: np.ndarray, table: np.ndarray, centre: np.ndarray, reach: np.float32, strength: np.float32) -> None:
    """Darken a window of the image (h, w, 3) uint8 around `centre` (2,) by a Gaussian of width `reach`; `table` (h, w, 2) is in metres."""
    inverse = _F(1.0) / (reach * reach)
    for row in range(rgb.shape[0]):
        for col in range(rgb.shape[1]):
            x, y = table[row, col, 0] - centre[0], table[row, col, 1] - centre[1]
            light = _F(1.0) - strength * math.exp(-(x * x + y * y) * inverse)
            for i in range(3):
                rgb[row, col, i] = np.uint8(rgb[row, col, i] * light + _F(0.5))


@njit(cache=True, error_model="numpy")
def depth_noise(  # noqa: PLR0917 - compiled functions take no keywords cheaply
    depth: np.ndarray,
    ripple: np.ndarray,
    luck: np.ndarray,
    jump: np.ndarray,
    scale: np.float32,
    step: np.float32,
    drop: np.float32,
    edge: np.float32,
    out: np.ndarray,
) -> None:
    """Write into `out` (H, W) float32 what a stereo camera gives of a clean `depth` (H, W) float32 [m].

    Args:
        depth: clean.
        ripple: (H, W) float32 unit noise; its size is `scale` times the square of the depth.
        luck: (H, W) float32 in 0..1; a pixel at an edge whose luck is below `drop` gives no depth, 0.
        jump: (H, W) float32 range of depth around each pixel [m]; more than `edge` is an edge.
        scale: [1/m].
        step: quantum [m].
        drop: share of edge pixels that are lost.
        edge: [m].
        out: written.
    """
    inverse = _F(1.0) / step
    for row in range(depth.shape[0]):
        for col in range(depth.shape[1]):
            z = depth[row, col]
            if jump[row, col] > edge and luck[row, col] < drop:
                out[row, col] = _F(0.0)
            else:
                out[row, col] = np.rint((z + scale * z * z * ripple[row, col]) * inverse) * step
