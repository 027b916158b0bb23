"""Compiled contact solver on a condensed compliance: non-penetration by an active set, Coulomb friction by block Gauss-Seidel.

Unknowns are facet forces f (a, 3) [N] in the gel frame; a facet's mean displacement is u_i = sum_j C_ij f_j. With the contact's normal
n_i (into the tip), the gap g_i [m], the object's approach d and its rate of closing c_i:

    n_i.u_i + g_i - d c_i >= 0,  n_i.f_i >= 0, one of them zero;   |f_t| <= mu n_i.f_i, and slip opposes f_t where equal.

Sweeps over facets with 3 x 3 blocks follow Jean (1999), "The non-smooth contact dynamics method"; the frictionless start is the primal
active set of Hintermueller, Ito and Kunisch (2002).
"""

from typing import NamedTuple

import numpy as np
from numba import njit

SETS = 60
"""Most changes of the active set; should it cycle, the sweeps go on from there."""
SWEEPS = 4000
"""Most sweeps with friction."""
FIRST = 1e-5
"""Depth [m] that a search for depth spans at least."""
CALMED = 500
"""Sweeps after which a sweep goes half the way: by then slip and pressure chase each other."""
SLIPPED = 0.999
"""Share of the friction there is that counts as all of it."""


class Patch(NamedTuple):
    """Facets that may touch."""

    rows: np.ndarray
    """(a, 3, 3a) compliance [m/N]: displacement of a facet by the forces on all."""
    normals: np.ndarray
    """(a, 3) contact normals."""
    gap: np.ndarray
    """(a,) [m] at depth 0."""
    rate: np.ndarray
    """(a,) how much the gap closes per unit of depth."""


class Goal(NamedTuple):
    """How far or how hard the object is pressed."""

    depth: float
    """Approach [m]; the first guess where the load is given."""
    load: float
    """Wanted force along the approach [N]; negative: none, the depth is given."""
    along: np.ndarray
    """(3,) unit direction of approach."""
    pull: np.ndarray
    """(3,) wanted force across `along` [N]; counts only where `pulled`."""
    pulled: bool
    """Whether the object is moved along the skin until the force across is `pull`."""


class Rub(NamedTuple):
    """What friction needs besides."""

    anchor: np.ndarray
    """(a, 3) displacement that a sticking facet has, of which the tangential part counts [m]."""
    start: np.ndarray
    """(a, 3) first guess of the forces [N]."""
    growth: np.ndarray
    """(a,) rise of the normal forces per unit of depth without friction [N/m]."""
    friction: float
    """Coulomb coefficient."""
    tolerance: float
    """Largest change by a sweep over the largest force; and of the load."""


@njit(cache=True)
def gather(compliance: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the rows (a, 3, 3a) of the chosen facets from (3n, 3n), float64."""
    count = chosen.size
    out = np.empty((count, 3, 3 * count))
    for i in range(count):
        for a in range(3):
            row = compliance[3 * chosen[i] + a]
            for j in range(count):
                for b in range(3):
                    out[i, a, 3 * j + b] = row[3 * chosen[j] + b]
    return out


@njit(cache=True)
def displace(compliance: np.ndarray, chosen: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Return the mean displacement (n, 3) [m] of all facets by forces (a, 3) [N] on the chosen ones."""
    out = np.zeros(compliance.shape[0])
    for j in range(chosen.size):
        for b in range(3):
            size = force[j, b]
            if size != 0.0:
                row = compliance[3 * chosen[j] + b]  # symmetric: a row is read as the column, in the order it is stored
                for i in range(out.size):
                    out[i] += row[i] * size
    return out.reshape(-1, 3)


@njit(cache=True)
def _normal_block(rows: np.ndarray, normals: np.ndarray) -> np.ndarray:
    count = normals.shape[0]
    out = np.zeros((count, count))
    for i in range(count):
        for j in range(count):
            for a in range(3):
                for b in range(3):
                    out[i, j] += normals[i, a] * rows[i, a, 3 * j + b] * normals[j, b]
    return out


@njit(cache=True)
def press_smooth(patch: Patch, goal: Goal) -> tuple[np.ndarray, np.ndarray, float, bool]:
    """Solve the contact without friction.

    Returns:
        Normal forces (a,) [N], their growth per unit of depth (a,) [N/m], the depth [m], and whether the set of facets settled.
    """
    rows, normals, gap, rate = patch
    depth, load = goal.depth, goal.load
    matrix = _normal_block(rows, normals)
    active = gap - depth * rate < 0
    if load >= 0 and not active.any():
        active[np.argmin(gap - depth * rate)] = True
    force, growth, settled = np.zeros(gap.size), np.zeros(gap.size), False
    for _ in range(SETS):
        index = np.flatnonzero(active)
        force[:], growth[:] = 0.0, 0.0
        if index.size == 0:
            settled = True
            break
        inner = np.empty((index.size, index.size))
        sides = np.empty((index.size, 2))
        for i in range(index.size):
            sides[i, 0], sides[i, 1] = -gap[index[i]], rate[index[i]]
            for j in range(index.size):
                inner[i, j] = matrix[index[i], index[j]]
        answer = np.linalg.solve(inner, sides)
        if load >= 0:
            depth = (load - (rate[index] * answer[:, 0]).sum()) / (rate[index] * answer[:, 1]).sum()
        for i in range(index.size):
            force[index[i]] = answer[i, 0] + depth * answer[i, 1]
            growth[index[i]] = answer[i, 1]
        room = matrix @ force + gap - depth * rate
        fresh = np.where(active, force > 0, room < -1e-12)
        if (fresh == active).all():
            settled = True
            break
        active = fresh
    return np.maximum(force, 0.0), growth, depth, settled


@njit(cache=True)
def _own(patch: Patch) -> np.ndarray:
    """Return each facet's compliance to its own force, along its normal and along its tangents (mean), (2, a) [m/N]."""
    rows, normals, gap, _ = patch
    out = np.zeros((2, gap.size))
    for i in range(gap.size):
        for a in range(3):
            for b in range(3):
                out[0, i] += normals[i, a] * rows[i, a, 3 * i + b] * normals[i, b]
            out[1, i] += rows[i, a, 3 * i + a] / 2
        out[1, i] -= out[0, i] / 2
    return out


class _Step(NamedTuple):
    """Where the object is in one sweep, and how far the sweep goes."""

    depth: float
    shift: np.ndarray
    """(3,) [m] along the skin."""
    part: float
    """Of the way to each facet's own balance."""


class _Swept(NamedTuple):
    """What a sweep tells."""

    total: np.ndarray
    """(3,) net force [N]."""
    change: float
    """Largest change of a component of a force, over the largest normal force."""
    used: float
    """Sum of the tangential forces over what friction allows."""


@njit(cache=True, fastmath=True)
def _sweep(patch: Patch, rub: Rub, own: np.ndarray, step: _Step, force: np.ndarray) -> _Swept:
    """Go once over the facets and take each towards its own balance, given their `_own` compliance; changes the forces (3a,)."""
    rows, normals, gap, rate = patch
    depth, shift, part = step
    anchor, friction = rub.anchor, rub.friction
    change, largest, used, most = 0.0, 0.0, 0.0, 0.0
    total = np.zeros(3)
    for i in range(gap.size):
        x, y, z = 0.0, 0.0, 0.0
        for j in range(force.size):
            x += rows[i, 0, j] * force[j]
            y += rows[i, 1, j] * force[j]
            z += rows[i, 2, j] * force[j]
        nx, ny, nz = normals[i]
        fx, fy, fz = force[3 * i], force[3 * i + 1], force[3 * i + 2]
        push = fx * nx + fy * ny + fz * nz
        away = gap[i] - depth * rate[i] + x * nx + y * ny + z * nz
        fresh = max(0.0, push - away / own[0, i])
        x, y, z = x - anchor[i, 0] - shift[0], y - anchor[i, 1] - shift[1], z - anchor[i, 2] - shift[2]
        slip = x * nx + y * ny + z * nz
        tx = fx - push * nx - (x - slip * nx) / own[1, i]
        ty = fy - push * ny - (y - slip * ny) / own[1, i]
        tz = fz - push * nz - (z - slip * nz) / own[1, i]
        size, limit = np.sqrt(tx * tx + ty * ty + tz * tz), friction * fresh
        scale = 1.0 if size <= limit else limit / size
        x = fx + part * (fresh * nx + scale * tx - fx)
        y = fy + part * (fresh * ny + scale * ty - fy)
        z = fz + part * (fresh * nz + scale * tz - fz)
        change = max(change, abs(x - fx), abs(y - fy), abs(z - fz))
        largest = max(largest, fresh)
        force[3 * i], force[3 * i + 1], force[3 * i + 2] = x, y, z
        total += np.array((x, y, z))
        used += min(size, limit)
        most += limit
    return _Swept(total, change / largest if largest > 0 else 0.0, used / most if most > 0 else 1.0)


@njit(cache=True, fastmath=True)
def press_rough(patch: Patch, goal: Goal, rub: Rub) -> tuple[np.ndarray, float, bool]:
    """Solve the contact with friction.

    A wanted load is met by moving the depth between sweeps, together with the forces by their frictionless growth. A wanted pull is met
    by moving the object along the skin, by a secant rule; where every facet slips, friction cannot give more.

    Returns:
        Forces (a, 3) [N], the depth [m], and whether the tolerance was met.
    """
    depth, load, along, pull, pulled = goal
    force = rub.start.copy().reshape(-1)
    own = _own(patch)
    stiffness = (rub.growth * patch.rate).sum()
    rise = np.expand_dims(rub.growth, 1) * patch.normals
    shift, last, before, nothing = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    give = stiffness
    for sweep in range(SWEEPS):
        total, change, used = _sweep(patch, rub, own, _Step(depth, shift, 1.0 if sweep < CALMED else 0.5), force)
        pushed = (total * along).sum()
        across = total - pushed * along
        lack = load - pushed if load >= 0 else 0.0
        miss = pull - across if pulled and used < SLIPPED else nothing
        near = np.sqrt((miss * miss).sum()) <= 10 * rub.tolerance * pushed
        if change <= rub.tolerance and abs(lack) <= rub.tolerance * abs(load) and near:
            return force.reshape(-1, 3), depth, True
        if sweep % 4 == 3 and miss.any():
            square = (last * last).sum()
            if square > 0:
                give = min(max(((across - before) * last).sum() / square, give / 3), give * 3)
            before, last = across, miss / give
            shift += last
        if sweep % 4 == 3 and load >= 0:
            step = lack / stiffness * (1.0 if sweep < 100 else 0.3)  # friction may stiffen the contact a lot
            depth += step
            force += step * rise.reshape(-1)
    return force.reshape(-1, 3), depth, False


@njit(cache=True)
def press_halving(patch: Patch, goal: Goal, rub: Rub) -> tuple[np.ndarray, float, bool]:
    """Solve as `press_rough`, but look for the depth of a wanted load by halving, from 0 to twice the first guess.

    Slow and sure, to ten times the tolerance, for contacts that friction jams: there the load may jump with depth, and the state at
    the jump comes back.
    """
    low, high = 0.0, 2 * max(goal.depth, 0.0) + FIRST
    force, depth, settled = rub.start, high, False
    while high - low > rub.tolerance * high + 1e-9:
        depth = (low + high) / 2
        trial = Goal(depth, -1.0, goal.along, goal.pull, goal.pulled)
        force, _, settled = press_rough(patch, trial, Rub(rub.anchor, force, rub.growth, rub.friction, 10 * rub.tolerance))
        if (force * goal.along).sum() < goal.load:
            low = depth
        else:
            high = depth
    return force, depth, settled
