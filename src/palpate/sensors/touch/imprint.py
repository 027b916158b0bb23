"""Shape that a ball leaves in a bonded layer, given the contact radius: what a ball press looks like to the optics."""

from functools import lru_cache

import numpy as np
from scipy.special import j0

from palpate.core.errors import RecordError

STEEPEST = 0.97
"""Largest contact radius over ball radius that is drawn; a ball pressed to its equator has a vertical wall."""
NODES = 24
TABLE = 129
"""Points of a smooth function that is read many times; reading between them errs by less than 1e-5 of it."""


def layer_excess(x: np.ndarray, poisson: float) -> np.ndarray:
    """Return how much a bonded layer's normal compliance differs from the half-space's, as a share: -1 at x = 0, 0 far on.

    Args:
        x: twice the wave number times the thickness.
        poisson: Poisson ratio of the layer.
    """
    x = np.minimum(x, 60.0)
    rise, fall = np.sinh(x), np.cosh(x)
    stiff = 3 - 4 * poisson
    return (stiff * rise - x) / (stiff * fall + x * x / 2 + 5 - 12 * poisson + 8 * poisson**2) - 1


def ball_profile(
    ball_radius: float, contact_radius: float, thickness: float, poisson: float, at: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return how far a frictionless ball sinks a bonded elastic layer at given distances from its axis, and its approach.

    The pressure's Hankel transform is written as the cosine transform of f(t) on 0..a, which turns the mixed boundary problem into
    a Fredholm equation of the second kind (Sneddon 1965 for the half-space; the layer adds a smooth kernel). f(a) = 0, pressure
    that ends smoothly at the edge, fixes the approach. For an infinite thickness this is Sneddon's exact sphere.

    Args:
        ball_radius: [m].
        contact_radius: [m], more than 0; at most 0.97 ball radii are drawn.
        thickness: of the layer [m]; infinite for a half-space.
        poisson: Poisson ratio.
        at: (N,) distances from the axis [m].

    Raises:
        RecordError: for sizes that are not positive.
    """
    if not (ball_radius > 0 and contact_radius > 0 and thickness > 0):
        raise RecordError(
            f"ball radius {ball_radius} m, contact radius {contact_radius} m, thickness {thickness} m: all must be positive"
        )
    edge = min(contact_radius, STEEPEST * ball_radius)
    ball, thick = ball_radius / edge, thickness / edge
    r = np.asarray(at, float) / edge
    nodes, weights = _gauss(NODES, 0.0, 1.0)
    waves, excess = _spectrum(thick, poisson, 1.0 + float(r.max(initial=1.0)))
    cosines = np.cos(np.outer(nodes, waves)) * excess

    def coupling(t: np.ndarray) -> np.ndarray:
        return 2 / np.pi * np.cos(t[..., None] * waves) @ cosines.T

    ends = np.append(nodes, 1.0)
    system = np.full((NODES + 1, NODES + 1), -1 / np.pi)
    system[:, :NODES] = coupling(ends) * weights
    system[:NODES, :NODES] += np.eye(NODES)
    solution = np.linalg.solve(system, -_cap(ends, ball) / np.pi)
    density, approach = solution[:NODES] * weights, solution[NODES]

    inside = r < 1
    sunk = np.empty_like(r)
    sunk[inside] = approach - (ball - np.sqrt(ball**2 - r[inside] ** 2))
    out = r[~inside]
    reach = np.arcsin(1 / out)
    share, share_weights = _gauss(2 * NODES, 0.0, 1.0)
    t = np.minimum(out[:, None] * np.sin(reach[:, None] * share), 1.0)
    table = np.linspace(0.0, 1.0, TABLE)
    f = (approach - _cap(t, ball)) / np.pi - np.interp(t, table, coupling(table) @ density)
    near = 2 * reach * (f @ share_weights)
    sunk[~inside] = near + 2 * (j0(np.outer(out, waves)) @ cosines.T) @ density
    return sunk * edge, float(approach * edge)


def ball_sunk(
    shape: tuple[int, int],
    pitch: tuple[float, float],
    centre_xy: tuple[float, float],
    contact_radius: float,
    *,
    ball_radius: float,
    thickness: float,
    poisson: float = 0.48,
) -> np.ndarray:
    """Draw a ball press as a map (H, W) float32 of how far the gel sinks [m], positive into the gel.

    Args:
        shape: rows and columns.
        pitch: of rows and of columns [m].
        centre_xy: of the ball, column and row [cells; the first cell's centre is 0, 0].
        contact_radius: [m].
        ball_radius: [m].
        thickness: of the gel [m].
        poisson: Poisson ratio of the gel.
    """
    down = (np.arange(shape[0], dtype=np.float32) - centre_xy[1]) * pitch[0]
    right = (np.arange(shape[1], dtype=np.float32) - centre_xy[0]) * pitch[1]
    distance = np.hypot(down[:, None], right[None, :])
    edge = min(contact_radius, STEEPEST * ball_radius)
    beyond = max(float(distance.max()) - edge, edge)
    at = np.concatenate([np.linspace(0, edge, 48, endpoint=False), edge + beyond * np.linspace(0, 1, 64) ** 2])
    sunk, _ = ball_profile(ball_radius, contact_radius, thickness, poisson, at)
    return np.interp(distance, at, sunk).astype(np.float32)


def _cap(t: np.ndarray, ball: float) -> np.ndarray:
    """Half-space answer to a sphere of radius `ball` (Sneddon 1965)."""
    return t / 2 * np.log((ball + t) / (ball - t))


@lru_cache(maxsize=64)
def _unit_gauss(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(count)


def _gauss(count: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on low..high."""
    node, weight = _unit_gauss(count)
    half = (high - low) / 2
    return half * node + (high + low) / 2, half * weight


def _spectrum(thick: float, poisson: float, farthest: float) -> tuple[np.ndarray, np.ndarray]:
    """Wave numbers and the layer's weighted excess there; the excess dies out as exp(-2 k h)."""
    if not np.isfinite(thick):
        return np.zeros(1), np.zeros(1)
    top = 14.0 / thick
    waves, weights = _gauss(96 + 32 * int(np.ceil(top * farthest / 32)), 0.0, top)
    return waves, layer_excess(2 * waves * thick, poisson) * weights
