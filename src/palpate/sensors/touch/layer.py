"""How a gel's surface answers traction: an elastic layer bonded to a rigid base, or a half-space.

Gel frame: x right, y down, z into the gel. A traction wave `q exp(i k.x)` on the surface moves it by

    along k:   u_l = L q_l + i C p          across k:  u_t = T q_t          into the gel:  u_z = N p - i C q_l

`transfer` gives L, T, N and C. `table` gives the same in real space, between the cells of a grid: the half-space part is exact
for constant traction on a rectangle (Love 1929; Cerruti), the rest is smooth on the scale of the thickness and comes from a
Hankel integral. So nothing is periodic, and a thick layer costs no more than a thin one.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import j0, j1

_FAR = 12.0
"""Distance in thicknesses beyond which a bonded layer feels nothing: the answer decays faster than exp(-r/h)."""
_TOP = 16.0
"""Wave number times thickness above which layer and half-space are one: they differ by exp(-2 k h)."""


def transfer(k: np.ndarray, thickness: float, poisson: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return how waves of traction move the surface of a layer of unit Young's modulus; divide by the modulus.

    With x = 2 k h and D = (3-4nu) cosh x + x^2/2 + 5 - 12nu + 8nu^2:

        N, L = 2(1-nu^2)/k ((3-4nu) sinh x -+ x)/D,    T = 2(1+nu)/k tanh(k h),
        C = (1+nu)/k ((1-2nu)(3-4nu)(cosh x - 1) - x^2/2)/D

    Derived from the Papkovich-Neuber solution with no displacement at the base; a test solves the same problem numerically.

    Args:
        k: wave numbers, 0 or more [rad/m].
        thickness: of the layer [m]; infinite for a half-space, which has no answer at k = 0 (infinite values come back).
        poisson: ratio in (-1, 0.5]; at 0.5 an even pressure moves nothing: N(0) = 0.

    Returns:
        Normal N, along L, across T and coupling C, each of the shape of `k` [m, to be divided by the modulus in Pa].
    """
    k = np.asarray(k, float)
    nu = poisson
    if np.isinf(thickness):
        with np.errstate(divide="ignore"):
            inverse = 1.0 / k
        return 2 * (1 - nu**2) * inverse, 2 * (1 - nu**2) * inverse, 2 * (1 + nu) * inverse, (1 + nu) * (1 - 2 * nu) * inverse
    # In units of the thickness, and scaled by exp(-x) so that nothing overflows.
    kh = np.maximum(k * thickness, 1e-9)
    x = 2 * kh
    e1, e2 = np.exp(-x), np.exp(-2 * x)
    cosh, sinh = (1 + e2) / 2, (1 - e2) / 2
    scale = thickness / kh
    below = (3 - 4 * nu) * cosh + (x * x / 2 + 5 - 12 * nu + 8 * nu * nu) * e1
    normal = 2 * (1 - nu**2) * scale * ((3 - 4 * nu) * sinh - x * e1) / below
    along = 2 * (1 - nu**2) * scale * ((3 - 4 * nu) * sinh + x * e1) / below
    across = 2 * (1 + nu) * scale * np.tanh(kh)
    coupling = (1 + nu) * scale * ((1 - 2 * nu) * (3 - 4 * nu) * (cosh - e1) - x * x / 2 * e1) / below
    rest = kh <= 1e-6  # the formula loses its digits here, and its limit is known
    even = thickness * (1 + nu) * (1 - 2 * nu) / (1 - nu)
    return (
        np.where(rest, even, normal),
        np.where(rest, 2 * (1 + nu) * thickness, along),
        np.where(rest, 2 * (1 + nu) * thickness, across),
        np.where(rest, 0.0, coupling),
    )


@dataclass(frozen=True, kw_only=True)
class Table:
    """Displacement of a cell per traction on another one, for unit Young's modulus [m]; divide by the modulus.

    Arrays are (H, W): the displaced cell lies (row, column) cells below and right of the loaded one. Entries for negative
    offsets follow by mirroring: `xz` is odd in x, `yz` odd in y, `xy` odd in both, the rest even.
    """

    zz: np.ndarray
    """Into the gel, by pressure."""
    xx: np.ndarray
    """Along x, by traction along x."""
    yy: np.ndarray
    xy: np.ndarray
    """Along x by traction along y, and the reverse."""
    xz: np.ndarray
    """Along x, by pressure; into the gel by traction along x is its negative."""
    yz: np.ndarray


@lru_cache(maxsize=32)
def table(thickness: float, poisson: float, pitch: tuple[float, float], shape: tuple[int, int]) -> Table:
    """Return the influence between cells of a grid.

    Args:
        thickness: of the layer [m]; infinite for a half-space.
        poisson: ratio in (-1, 0.5].
        pitch: size of a cell along y and x [m].
        shape: rows and columns of the grid.
    """
    y, x = np.arange(shape[0]) * pitch[0], np.arange(shape[1]) * pitch[1]
    parts = _half_space(poisson, pitch, y[:, None], x[None, :])
    if np.isfinite(thickness):
        for name, value in _base(thickness, poisson, pitch, y, x).items():
            parts[name] = parts[name] + value
        far = np.hypot(y[:, None], x[None, :]) > _FAR * thickness + np.hypot(*pitch)
        parts = {name: np.where(far, 0.0, value) for name, value in parts.items()}
    for value in parts.values():
        value.setflags(write=False)
    return Table(**parts)


def _half_space(nu: float, pitch: tuple[float, float], y: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """Answer of a half-space at offsets `y` (H, 1), `x` (1, W) to unit traction on a cell (Johnson 1985, Eq. 3.19 and 3.75)."""
    shear = 1 / (2 * (1 + nu))

    def over_cell(antiderivative):  # noqa: ANN001, ANN202 - a local shorthand for the four corners
        t, b = y - pitch[0] / 2, y + pitch[0] / 2
        left, right = x - pitch[1] / 2, x + pitch[1] / 2
        return antiderivative(right, b) - antiderivative(left, b) - antiderivative(right, t) + antiderivative(left, t)

    # Integrals over the cell of 1/r (as its two parts x^2/r^3 and y^2/r^3), xy/r^3, x/r^2 and y/r^2.
    of_x = over_cell(lambda a, b: b * np.arcsinh(a / np.abs(b)))
    of_y = over_cell(lambda a, b: a * np.arcsinh(b / np.abs(a)))
    of_xy = over_cell(lambda a, b: -np.hypot(a, b))
    pull_x = over_cell(lambda a, b: b * np.log(np.hypot(a, b)) + a * np.arctan(b / a))
    pull_y = over_cell(lambda a, b: a * np.log(np.hypot(a, b)) + b * np.arctan(a / b))
    near = 1 / (2 * np.pi * shear)
    inward = -(1 - 2 * nu) / (4 * np.pi * shear)
    return {
        "zz": (1 - nu) * near * (of_x + of_y),
        "xx": near * (of_x + (1 - nu) * of_y),
        "yy": near * (of_y + (1 - nu) * of_x),
        "xy": nu * near * of_xy,
        "xz": inward * pull_x,
        "yz": inward * pull_y,
    }


def _base(h: float, nu: float, pitch: tuple[float, float], y: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """What the rigid base takes from the half-space's answer, as means over a cell at offsets `y` (H,), `x` (W,)."""
    splines = _radial(nu)
    points = [np.polynomial.legendre.leggauss(int(np.clip(2 + np.ceil(2 * p / h), 2, 16))) for p in pitch]
    names = ("zz", "xx", "yy", "xy", "xz", "yz")
    total = {name: np.zeros((len(y), len(x))) for name in names}
    for ty, wy in zip(*points[0], strict=True):
        for tx, wx in zip(*points[1], strict=True):
            dy, dx = (y + ty * pitch[0] / 2)[:, None] / h, (x + tx * pitch[1] / 2)[None, :] / h
            r = np.hypot(dy, dx)
            normal, mean, split, pull = splines(np.minimum(r, _FAR + 1)).transpose(2, 0, 1)
            safe = np.maximum(r, 1e-12)
            cx, cy = dx / safe, dy / safe
            # The unit of the splines is a point force on a layer of thickness 1; its area element brings h^2, the answer 1/h.
            weight = wy * wx / 4 * pitch[0] * pitch[1] / h
            total["zz"] += weight * normal
            total["xx"] += weight * (mean + split * (cx * cx - cy * cy))
            total["yy"] += weight * (mean - split * (cx * cx - cy * cy))
            total["xy"] += weight * split * 2 * cx * cy
            total["xz"] += weight * pull * cx
            total["yz"] += weight * pull * cy
    return total


@lru_cache(maxsize=16)
def _radial(nu: float) -> CubicSpline:
    """Layer minus half-space for a unit point force on a layer of thickness 1, over the distance.

    Columns: normal, mean of the two tangential answers, half their difference (times cos 2 phi), pull along the radius.
    """
    r = np.linspace(0.0, _FAR + 1, 521)
    nodes, weights = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(0.0, _TOP, int(_TOP * r[-1] / 8) + 9)
    half = np.diff(edges)[:, None] / 2
    k = (edges[:-1, None] + half * (1 + nodes)).ravel()
    w = (half * weights).ravel()
    layer, space = transfer(k, 1.0, nu), transfer(k, np.inf, nu)
    normal, along, across, coupling = ((a - b) * k * w / (2 * np.pi) for a, b in zip(layer, space, strict=True))
    kr = r[:, None] * k[None, :]
    bessel0, bessel1 = j0(kr), j1(kr)
    bessel2 = np.where(kr > 1e-4, 2 * bessel1 / np.maximum(kr, 1e-4) - bessel0, kr**2 / 8)
    columns = [bessel0 @ normal, bessel0 @ (along + across) / 2, -bessel2 @ (along - across) / 2, -bessel1 @ coupling]
    return CubicSpline(r, np.stack(columns, axis=-1))
