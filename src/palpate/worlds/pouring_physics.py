"""Beads in a cup that is tilted: soft spheres with friction and spin, stepped in the frame of the cup.

A discrete element model (P. A. Cundall and O. D. L. Strack, 1979): springs along the line of contact with the damping of a restitution,
a tangential spring that Coulomb's law cuts off, so that a heap rests at its angle of repose, and dry friction against rolling. The cup
turns so slowly (1.25 deg/s) that gravity turns about it instead; the forces of its turning are left out (below 1e-4 g).
Cup frame: origin in the middle of the bottom, z along the axis to the mouth, x towards the lip that goes down, tilt about y. SI units.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

GRAVITY = 9.81

DENSITY = 2500.0
"""Of glass [kg/m^3]."""

COLLISION = 5e-3
"""Duration of a collision of two beads [s]; a real one is a thousand times shorter, at the price of as many more steps."""
SUBSTEPS = 84
"""Steps in a thirtieth of a second: 0.40 ms each, a thirteenth of a collision."""
FRAME = 1.0 / 30.0
_DT = FRAME / SUBSTEPS

_TANGENTIAL = 2.0 / 7.0
"""Of the normal stiffness: normal and tangential contact then swing alike."""
_SKIN = 0.15
"""Pairs farther apart than this beyond touch are not listed, in radii; the list is renewed when a bead may have come so near."""
_SETTLE = 0.8
"""Time in which beads that were let fall come to rest [s]."""
_REST_DAMPING = 8.0
"""Meanwhile their motion is damped [1/s]."""
_SHAKEN = 0.05
"""Friction while the cup is filled, as if it were shaken: columns of beads would stand else."""


@dataclass(frozen=True, kw_only=True)
class Cup:
    """An upright cylinder, open above, and what is in it."""

    radius: float
    """Inner [m]."""
    height: float
    """Inner [m]."""
    mass: float
    """Empty [kg]."""
    beads: int
    """Number."""
    load: float
    """Mass of all beads [kg]."""
    spread: float
    """Relative standard deviation of the beads' diameter."""
    friction: float
    """Coulomb coefficient, bead on bead and on the wall."""
    rolling: float
    """Coefficient of the friction against rolling: its moment is this times normal force times radius."""
    restitution: float
    """Of a collision."""


@njit(cache=True, fastmath={"nnan", "nsz", "arcp", "contract", "afn", "reassoc"}, error_model="numpy")
def _contact(  # noqa: PLR0917 - compiled loops take no keywords cheaply
    n: np.ndarray,
    overlap: float,
    v: np.ndarray,
    pull: np.ndarray,
    mass: float,
    laws: np.ndarray,
    force: np.ndarray,
) -> float:
    """Write the force on the first of two bodies into `force` and return its normal part [N].

    `n` points from the second body to the first, `v` is the first one's velocity at the contact against the second's, `pull` the stretch
    of the tangential spring (changed in place), `mass` the reduced one, `laws` are 1/collision^2, damping share, friction and step.
    """
    stiffness = mass * laws[0]
    damping = 2.0 * laws[1] * np.sqrt(stiffness * mass)
    along = v[0] * n[0] + v[1] * n[1] + v[2] * n[2]
    normal = max(stiffness * overlap - damping * along, 0.0)
    stiff, damped = _TANGENTIAL * stiffness, _TANGENTIAL * damping
    out = pull[0] * n[0] + pull[1] * n[1] + pull[2] * n[2]
    size = 0.0
    for k in range(3):
        slide = v[k] - along * n[k]
        pull[k] += slide * laws[3] - out * n[k]
        force[k] = -stiff * pull[k] - damped * slide
        size += force[k] ** 2
    size, most = np.sqrt(size), laws[2] * normal
    if size > most:
        scale = most / size
        for k in range(3):
            force[k] *= scale
            pull[k] = -force[k] / stiff
    for k in range(3):
        force[k] += normal * n[k]
    return normal


@njit(cache=True, fastmath={"nnan", "nsz", "arcp", "contract", "afn", "reassoc"}, error_model="numpy")
def _list_pairs(at: np.ndarray, radius: np.ndarray, inside: np.ndarray, pairs: np.ndarray) -> int:
    """Write the pairs (N, 2) that are near one another and return how many they are."""
    count = 0
    for i in range(len(at)):
        if not inside[i]:
            continue
        for j in range(i):
            reach = (radius[i] + radius[j]) * (1.0 + _SKIN)
            dx, dy, dz = at[i, 0] - at[j, 0], at[i, 1] - at[j, 1], at[i, 2] - at[j, 2]
            if inside[j] and dx * dx + dy * dy + dz * dz < reach * reach and count < len(pairs):
                pairs[count, 0], pairs[count, 1] = i, j
                count += 1
    return count


@njit(cache=True, fastmath={"nnan", "nsz", "arcp", "contract", "afn", "reassoc"}, error_model="numpy")
def _add(  # noqa: PLR0917 - compiled loops take no keywords cheaply
    i: int, side: float, n: np.ndarray, force: np.ndarray, normal: float, arm: float, total: np.ndarray
) -> None:
    """Add a contact's force to bead `i`: on it (side 1) or by it (-1). `total` (N, 7): force, moment, sum of normal forces."""
    for k in range(3):
        total[i, k] += side * force[k]
    # The contact lies at -side * arm * n from the centre.
    total[i, 3] += -arm * (n[1] * force[2] - n[2] * force[1])
    total[i, 4] += -arm * (n[2] * force[0] - n[0] * force[2])
    total[i, 5] += -arm * (n[0] * force[1] - n[1] * force[0])
    total[i, 6] += normal


@njit(cache=True, fastmath={"nnan", "nsz", "arcp", "contract", "afn", "reassoc"}, error_model="numpy")
def _between(  # noqa: PLR0917 - compiled loops take no keywords cheaply
    pairs: np.ndarray,
    at: np.ndarray,
    speed: np.ndarray,
    spin: np.ndarray,
    radius: np.ndarray,
    mass: np.ndarray,
    pulls: np.ndarray,
    laws: np.ndarray,
    total: np.ndarray,
) -> None:
    """Add what beads do to one another."""
    n, v, force = np.empty(3), np.empty(3), np.empty(3)
    for p in range(len(pairs)):
        i, j = pairs[p]
        gap = 0.0
        for k in range(3):
            n[k] = at[i, k] - at[j, k]
            gap += n[k] ** 2
        gap = np.sqrt(gap)
        overlap = radius[i] + radius[j] - gap
        if overlap <= 0.0:
            pulls[i, j] = 0.0
            continue
        for k in range(3):
            n[k] /= gap
        a, b = float(radius[i]), float(radius[j])
        for k in range(3):
            k1, k2 = (k + 1) % 3, (k + 2) % 3
            turn1, turn2 = a * spin[i, k1] + b * spin[j, k1], a * spin[i, k2] + b * spin[j, k2]
            v[k] = speed[i, k] - speed[j, k] - (turn1 * n[k2] - turn2 * n[k1])
        normal = _contact(n, overlap, v, pulls[i, j], float(mass[i] * mass[j] / (mass[i] + mass[j])), laws, force)
        _add(i, 1.0, n, force, normal, a, total)
        _add(j, -1.0, n, force, normal, b, total)


@njit(cache=True, fastmath={"nnan", "nsz", "arcp", "contract", "afn", "reassoc"}, error_model="numpy")
def _wall(at: np.ndarray, radius: float, height: float, n: np.ndarray) -> float:
    """Write the direction from the cup's side to a bead at `at` and return the distance; above the wall it is that of the rim."""
    out = max(np.hypot(at[0], at[1]), 1e-12)
    across, up = radius - out, max(at[2] - height, 0.0)
    far = max(np.hypot(across, up), 1e-12)
    n[0], n[1], n[2] = -across * at[0] / (out * far), -across * at[1] / (out * far), up / far
    return far


@njit(cache=True, fastmath={"nnan", "nsz", "arcp", "contract", "afn", "reassoc"}, error_model="numpy")
def _on_cup(  # noqa: PLR0917 - compiled loops take no keywords cheaply
    size: np.ndarray,
    at: np.ndarray,
    speed: np.ndarray,
    spin: np.ndarray,
    radius: np.ndarray,
    mass: np.ndarray,
    inside: np.ndarray,
    pulls: np.ndarray,
    laws: np.ndarray,
    total: np.ndarray,
    load: np.ndarray,
) -> None:
    """Add what side and bottom do to the beads, and to `load` (6,) what the beads do to the cup: force, moment about the grasp."""
    n, v, force, where = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for i in range(len(at)):
        if not inside[i]:
            continue
        for part in range(2):
            if part == 0:
                gap = _wall(at[i], size[0], size[1], n)
            else:
                n[0], n[1], n[2] = 0.0, 0.0, 1.0
                gap = at[i, 2]
            if gap >= radius[i]:
                pulls[i, part] = 0.0
                continue
            for k in range(3):
                k1, k2 = (k + 1) % 3, (k + 2) % 3
                v[k] = speed[i, k] - radius[i] * (spin[i, k1] * n[k2] - spin[i, k2] * n[k1])
                where[k] = at[i, k] - gap * n[k]
            normal = _contact(n, radius[i] - gap, v, pulls[i, part], mass[i], laws, force)
            _add(i, 1.0, n, force, normal, radius[i], total)
            where[2] -= size[2]
            for k in range(3):
                k1, k2 = (k + 1) % 3, (k + 2) % 3
                load[k] -= force[k]
                load[3 + k] -= where[k1] * force[k2] - where[k2] * force[k1]


@njit(cache=True, fastmath={"nnan", "nsz", "arcp", "contract", "afn", "reassoc"}, error_model="numpy")
def _move(  # noqa: PLR0917 - compiled loops take no keywords cheaply
    at: np.ndarray,
    speed: np.ndarray,
    spin: np.ndarray,
    radius: np.ndarray,
    mass: np.ndarray,
    inside: np.ndarray,
    pull: np.ndarray,
    rolling: float,
    keep: float,
    total: np.ndarray,
) -> float:
    """Move the beads on by one step and return the greatest speed [m/s]."""
    fastest = 0.0
    for i in range(len(at)):
        if not inside[i]:
            continue
        inertia = 0.4 * mass[i] * radius[i] ** 2
        moving, turning = 0.0, 0.0
        for k in range(3):
            speed[i, k] = keep * (speed[i, k] + _DT * (total[i, k] / mass[i] + pull[k]))
            spin[i, k] += _DT * total[i, 3 + k] / inertia
            at[i, k] += _DT * speed[i, k]
            moving += speed[i, k] ** 2
            turning += spin[i, k] ** 2
        slower = _DT * rolling * total[i, 6] * radius[i] / inertia
        left = max(0.0, 1.0 - slower / max(np.sqrt(turning), 1e-12))
        for k in range(3):
            spin[i, k] *= left
        fastest = max(fastest, moving)
    return np.sqrt(fastest)


@njit(cache=True, fastmath={"nnan", "nsz", "arcp", "contract", "afn", "reassoc"}, error_model="numpy")
def _advance(  # noqa: PLR0917 - compiled loops take no keywords cheaply
    steps: int,
    tilts: tuple[float, float],
    shake: np.ndarray,
    size: np.ndarray,
    beads: tuple[np.ndarray, ...],
    inside: np.ndarray,
    pair_pulls: np.ndarray,
    cup_pulls: np.ndarray,
    laws: np.ndarray,
    rolling: float,
    keep: float,
) -> np.ndarray:
    """Tilt evenly from one angle to the other [rad] in `steps`, shaking the cup once [m/s^2]; return the mean load on it (6,)."""
    at, speed, spin, radius, mass = beads
    count = len(at)
    pairs, total, load, pull = np.empty((16 * count, 2), np.int64), np.empty((count, 7)), np.zeros(6), np.zeros(3)
    near, way, smallest = 0, np.inf, radius.min()
    for step in range(1, steps + 1):
        # Two beads that go towards each other use up the skin between them.
        if 2.0 * way >= 2.0 * _SKIN * smallest:
            near, way = _list_pairs(at, radius, inside, pairs), 0.0
        tilt = tilts[0] + (tilts[1] - tilts[0]) * step / steps
        wave = np.sin(2.0 * np.pi * step / steps)
        pull[0], pull[1], pull[2] = (
            GRAVITY * np.sin(tilt) + wave * shake[0],
            wave * shake[1],
            wave * shake[2] - GRAVITY * np.cos(tilt),
        )
        total[:] = 0.0
        _between(pairs[:near], at, speed, spin, radius, mass, pair_pulls, laws, total)
        _on_cup(size, at, speed, spin, radius, mass, inside, cup_pulls, laws, total, load)
        way += _DT * _move(at, speed, spin, radius, mass, inside, pull, rolling, keep, total)
    return load / steps


class Beads:
    """The beads of one cup."""

    def __init__(self, cup: Cup, grasp_height: float, rng: np.random.Generator) -> None:
        """Fill the upright cup and let the beads come to rest.

        Args:
            cup: the cup and what is in it.
            grasp_height: of the point above the bottom about which moments are taken [m].
            rng: source of randomness.
        """
        self.cup, self.tilt = cup, 0.0
        shares = np.clip(1.0 + cup.spread * rng.normal(size=cup.beads), 0.7, 1.3) ** 3
        self._mass = cup.load * shares / shares.sum()
        self._radius = np.cbrt(self._mass / (DENSITY * 4.0 / 3.0 * np.pi))
        self._at = _stacked(cup.beads, float(self._radius.max()), cup.radius, rng)
        self._speed, self._spin = np.zeros_like(self._at), np.zeros_like(self._at)
        self._inside = np.ones(cup.beads, bool)
        self._pair_pulls, self._cup_pulls = np.zeros((cup.beads, cup.beads, 3)), np.zeros((cup.beads, 2, 3))
        self._size = np.array([cup.radius, np.inf, grasp_height])  # no bead leaves while they are filled in
        bounce = np.log(cup.restitution)
        damping = -bounce / np.hypot(bounce, np.pi)
        self._laws = np.array([(np.pi / COLLISION) ** 2, damping, _SHAKEN, _DT])
        self._go(round(_SETTLE / _DT), 0.0, np.zeros(3), float(np.exp(-_REST_DAMPING * _DT)))
        self._size[1], self._laws[2] = cup.height, cup.friction

    def step(self, tilt: float, shake: np.ndarray) -> np.ndarray:
        """Go on by a thirtieth of a second.

        Args:
            tilt: to which the cup is tilted evenly [rad].
            shake: (3,) amplitude of one swing of the cup in that time [m/s^2], cup frame.

        Returns:
            (6,) mean force [N] of the beads on the cup and its moment about the grasp [N m], cup frame.
        """
        return self._go(SUBSTEPS, tilt, shake, 1.0)

    def _go(self, steps: int, tilt: float, shake: np.ndarray, keep: float) -> np.ndarray:
        beads = (self._at, self._speed, self._spin, self._radius, self._mass)
        load = _advance(
            steps,
            (self.tilt, tilt),
            shake,
            self._size,
            beads,
            self._inside,
            self._pair_pulls,
            self._cup_pulls,
            self._laws,
            self.cup.rolling,
            keep,
        )
        self.tilt = tilt
        lip = np.array([self.cup.radius, 0.0, self.cup.height])
        below = (self._at - lip) @ np.array([np.sin(tilt), 0.0, -np.cos(tilt)])
        over = self._at[:, 2] > self.cup.height
        outside = np.hypot(self._at[:, 0], self._at[:, 1]) > self.cup.radius
        self._inside &= ~np.where(over, below > self._radius, outside)
        return load

    @property
    def poured(self) -> float:
        """Mass of the beads that have left the cup [kg]."""
        return float(self._mass[~self._inside].sum())

    @property
    def places(self) -> np.ndarray:
        """Centres (K, 3) of the beads in the cup [m]."""
        return self._at[self._inside]

    @property
    def speeds(self) -> np.ndarray:
        """Speeds (K,) of the beads in the cup [m/s]."""
        return np.linalg.norm(self._speed[self._inside], axis=1)


def _stacked(count: int, radius: float, inner: float, rng: np.random.Generator) -> np.ndarray:
    """Return places (count, 3) of beads that do not touch, layer over layer in a cylinder [m]."""
    pitch = 2.1 * radius
    line = np.arange(-(inner // pitch), inner // pitch + 1) * pitch
    layer = np.array([(x, y) for x in line for y in line if np.hypot(x, y) < inner - 1.05 * radius])
    number = np.arange(count)
    place = np.column_stack([layer[number % len(layer)], radius * 1.1 + pitch * (number // len(layer))])
    place[:, :2] += rng.uniform(-0.05, 0.05, (count, 2)) * radius
    return place
