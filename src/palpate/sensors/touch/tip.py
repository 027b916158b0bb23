"""A soft curved fingertip pressed by a rigid object: pressure, friction and motion of its skin.

`SoftTip` holds the skin's condensed compliance (quadratic tetrahedra, `tip_mesh`), `press` solves one contact on it (`tip_solve`).
Small-strain linear elasticity; inertia, viscosity and large rotations are left out.

Frame: the gel frame; the origin is the tip's apex, x to the right, y towards the palm, z into the tip.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palpate.core.errors import RecordError, SimulationError
from palpate.sensors.touch.tip_gap import LEVEL, Distance, Gap, first_touch, gap_at
from palpate.sensors.touch.tip_mesh import Surface, TipShape, compliance_of, surface_of
from palpate.sensors.touch.tip_solve import Goal, Patch, Rub, displace, gather, press_rough, press_smooth

TOLERANCE = 1e-5
"""Of a facet's force over the largest, and of a wanted load."""
ROUNDS = 60
"""Most looks at a distance function on the way to a wanted load."""


@dataclass(frozen=True, kw_only=True)
class TipContact:
    """State of a tip's surface, one press or a batch (leading axes `...`); n facets."""

    points: np.ndarray
    """(n, 3) facets' mean positions at rest [m], gel frame."""
    areas: np.ndarray
    """(n,) [m^2]."""
    facing: np.ndarray
    """(n, 3) facets' unit normals at rest, into the tip."""
    normals: np.ndarray
    """(..., n, 3) unit directions, into the tip, along which the pressure acts: the object's where it was given as a function."""
    pressure: np.ndarray
    """(..., n) [Pa], 0 or more: normal traction of the object on the tip."""
    shear: np.ndarray
    """(..., n, 3) [Pa]: tangential traction of the object on the tip, orthogonal to `normals`."""
    displacement: np.ndarray
    """(..., n, 3) [m]: mean displacement of each facet. 0 everywhere without contact."""
    approach: np.ndarray
    """(...) [m]: how far the object moved in beyond first contact."""

    @property
    def traction(self) -> np.ndarray:
        """(..., n, 3) traction of the object on the tip [Pa], gel frame."""
        return self.pressure[..., None] * self.normals + self.shear

    @property
    def forces(self) -> np.ndarray:
        """(..., n, 3) force of the object on each facet [N], gel frame."""
        return self.traction * self.areas[:, None]

    @property
    def force(self) -> np.ndarray:
        """(..., 3) net force of the object on the tip [N], gel frame."""
        return self.forces.sum(axis=-2)

    @property
    def torque(self) -> np.ndarray:
        """(..., 3) net moment of the object on the tip about the apex at rest [N m], gel frame."""
        return np.cross(self.points, self.forces).sum(axis=-2)

    @property
    def contact_area(self) -> np.ndarray:
        """(...) area that carries pressure [m^2]."""
        return ((self.pressure > 0) * self.areas).sum(axis=-1)


class SoftTip:
    """A fingertip ready to be pressed.

    Args:
        shape: its constants.
        cache: folder where its compliance is kept; None takes the user's cache folder. The first call for a shape takes seconds.

    Attributes:
        shape: its constants.
        surface: its facets.
        compliance: (3n, 3n) float32 [m/N]: mean displacement of facet f along axis c by a force on facet g along e, at (3f+c, 3g+e).
    """

    def __init__(self, shape: TipShape, cache: Path | None = None) -> None:
        self.shape = shape
        self.surface: Surface = surface_of(shape)
        self.compliance = compliance_of(shape, cache) / np.float32(shape.young)


@dataclass(frozen=True)
class _Order:
    """What one press is to do."""

    wanted: float
    """Depth [m] or load [N]."""
    is_load: bool
    along: np.ndarray
    """(3,) unit direction of approach."""
    motion: np.ndarray
    """(n, 3) how the object's material moved at each facet [m]."""


def press(
    tip: SoftTip,
    thing: np.ndarray | Distance,
    *,
    depth: float | np.ndarray | None = None,
    force: float | np.ndarray | None = None,
    along: Sequence[float] = (0.0, 0.0, 1.0),
    shift: Sequence[float] | None = None,
    twist: float | None = None,
    before: TipContact | None = None,
) -> TipContact:
    """Press a rigid object against a tip.

    Contact with Coulomb friction, stick and slip facet by facet, normal and tangential motion coupled both ways. A facet that touches
    sticks to the object until friction gives way; `shift` and `twist` move the object's material from where it was in `before` (or at
    first contact), one increment per call. The gap is always that of the object where it is now.

    Args:
        tip: the tip.
        thing: the object, as distances (..., n) [m] along the facets' outward normals (inf: never met), or as a function of points,
            its signed distance. Distances make contact along the facets' normals and close by their cosine with `along`; a function
            makes contact along its own gradient and is moved exactly. Prefer the function for deep or steep contact.
        depth: approach along `along` beyond first contact [m], scalar or (...); 0 or less is no contact. Give it or `force`.
        force: net force on the tip along `along` [N], scalar or (...); 0 is no contact.
        along: direction of approach (3,), gel frame; made a unit vector.
        shift: translation of the object (dx, dy) or (dx, dy, dz) since `before` [m].
        twist: rotation of the object about the z axis since `before` [rad].
        before: the last state of the same tip, one or with the same leading axes.

    Returns:
        The state. Without contact pressure, shear and displacement are exactly 0.

    Raises:
        RecordError: arguments of wrong shape, sign or number, or an object that never meets the tip.
        SimulationError: the wanted force needs more than the skin's thickness.
    """
    if (depth is None) == (force is None):
        raise RecordError(f"press got depth={depth} and force={force}; give exactly one of them")
    direction = _direction(along)
    wanted = np.asarray(depth if force is None else force, float)
    _check_wanted(tip, wanted, force is not None)
    gaps = None if callable(thing) else _check_gaps(tip, np.asarray(thing, float))
    lead = np.broadcast_shapes(wanted.shape, () if gaps is None else gaps.shape[:-1])
    motion = _rigid_motion(tip.surface.points, shift, twist)
    wanted = np.broadcast_to(wanted, lead)
    singles = []
    for index, last in zip(np.ndindex(*lead), _singles(tip, before, lead), strict=True):
        if wanted[index] <= 0:
            singles.append(_untouched(tip))
            continue
        one = thing if callable(thing) else np.broadcast_to(thing, (*lead, tip.surface.areas.size))[index]
        singles.append(_press_one(tip, one, _Order(float(wanted[index]), force is not None, direction, motion), last))
    return _stack(tip, singles, lead)


_Single = tuple[np.ndarray, np.ndarray, np.ndarray, float]
"""Facet forces (n, 3) [N], displacement (n, 3) [m], contact normals (n, 3), approach [m]."""


def _press_one(tip: SoftTip, thing: np.ndarray | Distance, order: _Order, last: _Single) -> _Single:
    """Press once, following a distance function to the approach that balances the load."""
    start = first_touch(tip.surface, thing, order.along)
    depth = _hertz_depth(tip.shape, order.wanted) if order.is_load else order.wanted
    load, skin = order.wanted if order.is_load else -1.0, tip.shape.skin
    low, high = 0.0, 2 * skin
    final = not order.is_load or not callable(thing)  # a load on a function: first close in without friction, which may stiffen
    for _ in range(ROUNDS):
        near = gap_at(tip.surface, thing, order.along, start, depth)
        goal = Goal(depth, load, order.along)
        forces, moved, reached = _balance(tip, near, goal, last[1] + order.motion, last[0] if final else None)
        low, high = (depth, high) if reached > depth else (low, depth)
        if final and (
            not callable(thing) or low > skin or abs(reached - depth) < TOLERANCE * depth or high - low < TOLERANCE * high
        ):
            break
        depth = reached if low < reached < high else (low + high) / 2
        if not final and (low > skin or abs(reached - depth) < 1e-2 * depth):
            low, high, final = 0.0, 2 * skin, True
    else:
        raise SimulationError(f"no approach balances {load} N on this object; its distance function must be continuous")
    if reached > skin:
        raise SimulationError(
            f"{load} N would press the object more than {skin * 1e3:.2f} mm in, the thickness of the skin; "
            "use a smaller force, a stiffer tip or a blunter object"
        )
    return forces, moved, near.normals, reached


def _balance(
    tip: SoftTip, near: Gap, goal: Goal, anchor: np.ndarray, last: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return facet forces (n, 3) [N], displacement (n, 3) [m] and the approach [m] for a gap that closes linearly.

    Friction goes on from the `last` forces (n, 3) [N]; None leaves it out.
    """
    closing = near.rate > LEVEL
    chosen = near.gap - goal.depth * near.rate < 0
    if goal.load >= 0:  # a guess that is too shallow would start from nothing
        chosen |= closing & (near.gap <= np.sort(near.gap[closing])[:5].max())
    while True:
        index = np.flatnonzero(chosen)
        push, growth, depth, settled = press_smooth(_patch(tip, near, index), goal)
        forces = push[:, None] * near.normals[index]
        moved = displace(tip.compliance, index, forces)
        missing = _missing(near, depth, moved, chosen)
        if not missing.any():
            break
        chosen |= missing
        goal = goal._replace(depth=depth)
    guess, rise = np.zeros_like(near.normals), np.zeros_like(near.gap)
    guess[index], rise[index] = forces, growth * (push > 0)
    if last is None or (tip.shape.friction == 0 and settled):
        return guess, moved, depth
    guess += last - (last * near.normals).sum(axis=1, keepdims=True) * near.normals  # its tangents, the history of friction
    return _rub(tip, near, goal._replace(depth=depth), anchor, (guess, rise))


def _rub(
    tip: SoftTip, near: Gap, goal: Goal, anchor: np.ndarray, start: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Go on with friction from frictionless forces (n, 3) [N] and their growth with depth (n,) [N/m]. See `_balance`."""
    guess, growth = start
    chosen = (guess * near.normals).sum(axis=1) > 0
    forces = guess * chosen[:, None]
    while True:
        index = np.flatnonzero(chosen)
        rub = Rub(anchor[index], forces[index], growth[index], tip.shape.friction, TOLERANCE)
        forces[index], depth, settled = press_rough(_patch(tip, near, index), goal, rub)
        if not settled:
            raise SimulationError(f"friction does not settle at depth {depth} m; use smaller steps of depth, shift and twist")
        moved = displace(tip.compliance, index, forces[index])
        missing = _missing(near, depth, moved, chosen)
        if not missing.any():
            return forces, moved, depth
        chosen |= missing
        goal = goal._replace(depth=depth)


def _patch(tip: SoftTip, near: Gap, index: np.ndarray) -> Patch:
    return Patch(gather(tip.compliance, index), near.normals[index], near.gap[index], near.rate[index])


def _missing(near: Gap, depth: float, moved: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the facets (n,) that the object overlaps without touching them, as the skin bulges beside it."""
    return ~chosen & (near.gap - depth * near.rate + (moved * near.normals).sum(axis=1) < -1e-9)


def _hertz_depth(shape: TipShape, load: float) -> float:
    """Return a first guess of the approach [m]: Hertz, a plate on a sphere; Johnson (1985), Eq. 4.23."""
    radius = (shape.half_width * (shape.distal + shape.proximal) / 2) / shape.height
    stiff = shape.young / (1 - shape.poisson**2)
    return min((0.75 * load / (stiff * np.sqrt(radius))) ** (2 / 3), shape.skin / 2)


def _direction(along: Sequence[float]) -> np.ndarray:
    vector = np.asarray(along, float)
    if vector.shape != (3,) or not np.isfinite(vector).all() or not vector.any():
        raise RecordError(f"along is {along}; give a direction of three finite numbers, not all 0")
    return vector / np.linalg.norm(vector)


def _check_wanted(tip: SoftTip, wanted: np.ndarray, is_load: bool) -> None:
    name, unit = ("force", "N") if is_load else ("depth", "m")
    if not np.isfinite(wanted).all():
        raise RecordError(f"{name} is {wanted}; it must be finite [{unit}]")
    if is_load and (wanted < 0).any():
        raise RecordError(f"force is {wanted} N; it pushes along `along` and must be 0 or more")
    if not is_load and (wanted > tip.shape.skin).any():
        raise RecordError(
            f"depth is {wanted} m, beyond the skin of {tip.shape.skin} m; allowed is up to the skin (is it in mm?)"
        )


def _check_gaps(tip: SoftTip, gaps: np.ndarray) -> np.ndarray:
    n = tip.surface.areas.size
    if gaps.ndim == 0 or gaps.shape[-1] != n:
        raise RecordError(
            f"gap has shape {gaps.shape}; this tip has {n} facets, so give (..., {n}) distances at `tip.surface.points`"
        )
    if np.isnan(gaps).any() or (gaps == -np.inf).any():
        raise RecordError("gap holds NaN or -inf; give finite distances [m], or inf where the object is never met")
    return gaps


def _rigid_motion(points: np.ndarray, shift: Sequence[float] | None, twist: float | None) -> np.ndarray:
    """Return how the object's material moves at each facet (n, 3) [m]."""
    move = np.zeros(3)
    given = np.asarray([0.0, 0.0] if shift is None else shift, float)
    angle = 0.0 if twist is None else float(twist)
    if given.shape not in ((2,), (3,)) or not np.isfinite(given).all() or not np.isfinite(angle):
        raise RecordError(
            f"shift is {shift} and twist is {twist}; give (dx, dy) or (dx, dy, dz) [m] and an angle [rad], all finite"
        )
    move[: given.size] = given
    arc = angle * np.stack([-points[:, 1], points[:, 0], np.zeros(len(points))], axis=1)  # so that slip ends along the circle
    return arc + move


def _untouched(tip: SoftTip) -> _Single:
    zero = np.zeros_like(tip.surface.points)
    return zero, zero, tip.surface.normals, 0.0


def _singles(tip: SoftTip, before: TipContact | None, lead: tuple[int, ...]) -> Iterator[_Single]:
    """Yield the state before each press of a batch."""
    if before is None:
        yield from (_untouched(tip) for _ in np.ndindex(*lead))
        return
    if before.points.shape != tip.surface.points.shape or before.approach.shape not in ((), lead):
        raise RecordError(
            f"before has {before.points.shape[0]} facets and batch {before.approach.shape}; this press has "
            f"{tip.surface.areas.size} and {lead}. Give the last state of the same tip, single or of the same batch"
        )
    full = np.broadcast_to
    shape = (*lead, *tip.surface.points.shape)
    forces, moved, normals = full(before.forces, shape), full(before.displacement, shape), full(before.normals, shape)
    for index in np.ndindex(*lead):
        yield forces[index], moved[index], normals[index], 0.0


def _stack(tip: SoftTip, singles: list[_Single], lead: tuple[int, ...]) -> TipContact:
    """Turn forces into tractions and put a batch together."""
    surface = tip.surface
    shape = (*lead, *surface.points.shape)
    forces, moved, normals = (np.array([single[k] for single in singles]).reshape(shape) for k in range(3))
    push = (forces * normals).sum(axis=-1)
    return TipContact(
        points=surface.points,
        areas=surface.areas,
        facing=surface.normals,
        normals=normals,
        pressure=push / surface.areas,
        shear=(forces - push[..., None] * normals) / surface.areas[:, None],
        displacement=moved,
        approach=np.array([single[3] for single in singles]).reshape(lead),
    )
