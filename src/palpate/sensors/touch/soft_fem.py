"""The same press by other means: axisymmetric finite elements of a whole hemisphere on a bonded layer.

Shares no code with `flat`: quadratic quadrilaterals, one pressure per ring, contact by an active set. And it leaves out one
simplification: the sample is a hemisphere of finite size glued to a plate, not a half-space, so that a small sample is stiffer. Small
strain and no friction as there. It is the second opinion that estimators trained on `soft.press_soft` are tried on.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import skfem as sk
from scipy.interpolate import CubicSpline
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from palpate.core.errors import RecordError, SimulationError
from palpate.sensors.touch.contact import Contact, Pad, cell_centres
from palpate.sensors.touch.soft import SoftBall

RING = 0.125e-3
"""Width of a ring of even pressure [m]."""
REACH = 7.5e-3
"""Rings go on to this distance from the axis at most [m]."""
_STEEPEST = 0.85
"""Rings go on to this share of the ball's radius at most: beyond, its wall is too steep for small slopes."""
_EQUATOR = np.deg2rad(86.0)
"""The wall ends here, short of the equator, so that no element degenerates."""
_WIDE = 9.0
"""Radius of the modelled layer in thicknesses."""
_ROUNDS = 100


@dataclass(frozen=True)
class _Body:
    """How one body of unit Young's modulus answers to pressure on its n rings."""

    answer: np.ndarray
    """(n, n) mean displacement of a ring against the pressure, per pressure on another ring [m]."""
    at: np.ndarray
    """(k,) distances of the surface's nodes from the axis [m], rising."""
    sunk: np.ndarray
    """(k, n) displacement of these nodes against the pressure, per pressure on each ring [m]."""
    drift: np.ndarray
    """(k, n) their displacement away from the axis [m]."""


def press_finite(
    pad: Pad,
    ball: SoftBall,
    depths: np.ndarray,
    *,
    shape: tuple[int, int],
    pitch: tuple[float, float],
    centre: tuple[float, float] = (0.0, 0.0),
) -> list[Contact]:
    """Press a soft hemisphere on a bonded layer by finite elements; arguments and result as `soft.press_soft`.

    Raises:
        RecordError: a half-space, or a contact that outgrows the rings.
        SimulationError: the contact did not settle.
    """
    if not np.isfinite(pad.thickness):
        raise RecordError("finite elements need a layer of finite thickness; use soft.press_soft for a half-space")
    rings = np.arange(0.0, min(REACH, _STEEPEST * ball.radius) + RING / 2, RING)
    count = len(rings) - 1
    gel = _layer(pad.thickness, pad.poisson)
    sample = _hemisphere(ball.radius, ball.poisson, count)
    both = gel.answer[:count, :count] / pad.young + sample.answer / ball.young
    # Mean over a ring of the sphere's height, exactly: the integral of sqrt(R^2 - r^2) r dr is -(R^2 - r^2)^1.5 / 3.
    cubes = (ball.radius**2 - rings**2) ** 1.5
    gap = ball.radius - (cubes[:-1] - cubes[1:]) * 2 / 3 / np.diff(rings**2)
    y, x = cell_centres(shape, pitch)
    right, down = x - centre[0], y - centre[1]
    distance = np.hypot(right, down)
    away = np.stack(np.broadcast_arrays(right, down), axis=-1) / np.maximum(distance, 1e-12)[..., None]
    out = []
    for depth in np.asarray(depths, float):
        pressure = _contact(both, gap, float(depth))
        if pressure[-1] > 0:
            raise RecordError(
                f"a depth of {depth * 1e3:.2f} mm presses a ball of {ball.radius * 1e3:.1f} mm beyond a contact radius of "
                f"{rings[-1] * 1e3:.1f} mm; press less"
            )
        sunk, drift = (
            CubicSpline(gel.at, part @ pressure / pad.young)(distance) for part in (gel.sunk[:, :count], gel.drift[:, :count])
        )
        ring = np.minimum((distance / RING).astype(int), len(pressure) - 1)
        inside = distance < rings[-1]
        contact = Contact(
            pitch=pitch,
            pressure=np.where(inside, pressure[ring], 0.0),
            shear=np.zeros((*shape, 2)),
            sunk=sunk,
            drift=drift[..., None] * away,
            approach=np.array(depth),
        )
        out.append(contact)
    return out


def _contact(both: np.ndarray, gap: np.ndarray, depth: float) -> np.ndarray:
    """Return the pressure (n,) [Pa] on each ring: 0 or more, and no overlap anywhere."""
    over = depth - gap
    pressure, touching = np.zeros_like(over), over > 0
    for _ in range(_ROUNDS):
        pressure[:] = 0.0
        pressure[touching] = np.linalg.solve(both[np.ix_(touching, touching)], over[touching])
        now = np.where(touching, pressure > 0, both @ pressure < over)
        if (now == touching).all():
            return pressure
        touching = now
    raise SimulationError(f"the contact of a soft ball did not settle in {_ROUNDS} rounds at a depth of {depth * 1e3:.2f} mm")


@lru_cache(maxsize=64)
def _layer(thickness: float, poisson: float) -> _Body:
    """Return how a bonded layer answers to pressure on rings up to `REACH`."""
    fine = np.arange(round(REACH / RING) + 1) * RING
    far = fine[-1] + np.cumsum(np.geomspace(RING, 0.5 * thickness, 28))
    r = np.r_[fine, far[far < _WIDE * thickness]]
    mesh = sk.MeshQuad.init_tensor(r, _graded(12))
    return _solve(mesh, sk.MeshQuad(mesh.p * np.array([[1.0], [thickness]]), mesh.t), poisson, len(fine) - 1)


@lru_cache(maxsize=256)
def _hemisphere(radius: float, poisson: float, count: int) -> _Body:
    """Return how a hemisphere on a rigid plate answers; its apex lies at height `radius`, the plate at 0."""
    fine = np.arange(count + 1) * RING
    wall = radius * np.sin(np.linspace(np.arcsin(fine[-1] / radius), _EQUATOR, 14)[1:])
    r = np.r_[fine, wall]
    mesh = sk.MeshQuad.init_tensor(r, _graded(18))
    across, up = mesh.p
    # Every column of elements leads straight from the wall to the plate, on which the sample ends at its full radius.
    foot = across * radius / r[-1]
    bent = np.stack([foot + (across - foot) * up, np.sqrt(radius**2 - across**2) * up])
    return _solve(mesh, sk.MeshQuad(bent, mesh.t), poisson, count)


def _graded(count: int) -> np.ndarray:
    """Return heights from 0 to 1, close to one another near 1, where the bodies touch."""
    return np.sort(1 - np.linspace(0, 1, count) ** 1.6)


def _solve(plain: sk.MeshQuad, mesh: sk.MeshQuad, poisson: float, count: int) -> _Body:
    """Return how a body of unit Young's modulus answers; `plain` is its mesh before bending, held at height 0, pressed at 1."""
    element = sk.ElementVector(sk.ElementQuad2())
    basis = sk.Basis(mesh, element, intorder=5)
    matrix = csc_matrix(_stiffness(poisson).assemble(basis))
    top = plain.facets_satisfying(lambda x: np.isclose(x[1], 1.0), boundaries_only=True)
    facets, owners = np.asarray(plain.facets), np.asarray(plain.f2t)[0]
    top = top[np.argsort(plain.p[0, facets[:, top]].min(axis=0))]
    pressed = top[:count]
    ends = np.sort(mesh.p[0, facets[:, pressed]], axis=0)
    even, moving = (sk.FacetBasis(mesh, e, facets=pressed, intorder=5) for e in (sk.ElementQuad0(), element))
    loads = csc_matrix(_push.assemble(even, moving))[:, owners[pressed]].toarray()
    held = basis.get_dofs(plain.facets_satisfying(lambda x: np.isclose(x[1], 0.0), boundaries_only=True)).all()
    axis = basis.get_dofs(plain.facets_satisfying(lambda x: np.isclose(x[0], 0.0), boundaries_only=True)).all(["u^1"])
    free = np.setdiff1d(np.arange(len(loads)), np.r_[held, axis])
    moved = np.zeros_like(loads)
    inner = matrix[free][:, free]
    moved[free] = splu(inner.tocsc()).solve(loads[free])
    surface = basis.get_dofs(top)
    out, up = surface.all(["u^1"]), surface.all(["u^2"])
    out, up = out[np.argsort(basis.doflocs[0, out])], up[np.argsort(basis.doflocs[0, up])]
    area = np.pi * (ends[1] ** 2 - ends[0] ** 2)
    return _Body(answer=loads.T @ moved / area[:, None], at=basis.doflocs[0, up], sunk=-moved[up], drift=moved[out])


def _stiffness(poisson: float) -> sk.BilinearForm:
    """Return the elastic energy of an axisymmetric body of unit Young's modulus (x is the distance from the axis, y the height)."""
    lame, shear = poisson / (1 + poisson) / (1 - 2 * poisson), 0.5 / (1 + poisson)

    def strains(u: Any, x: np.ndarray) -> tuple[np.ndarray, ...]:
        return u.grad[0, 0], u.grad[1, 1], u[0] / x[0], u.grad[0, 1] + u.grad[1, 0]

    @sk.BilinearForm
    def energy(u: Any, v: Any, w: Any) -> np.ndarray:
        a, b = strains(u, w.x), strains(v, w.x)
        volume = lame * sum(a[:3]) * sum(b[:3])
        return 2 * np.pi * w.x[0] * (volume + 2 * shear * (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) + shear * a[3] * b[3])

    return energy


@sk.BilinearForm
def _push(p: Any, v: Any, w: Any) -> np.ndarray:
    """Work of a pressure along the axis, per area as seen along it."""
    return -2 * np.pi * w.x[0] * np.abs(w.n[1]) * p * v[1]
