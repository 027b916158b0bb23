"""A soft curved fingertip pressed by a rigid or soft object: pressure, friction and motion of its skin.

`SoftTip` holds the skin's condensed compliance (quadratic tetrahedra, `tip_mesh`), `press` solves one contact on it (`tip_solve`).
Small-strain linear elasticity; inertia, viscosity and large rotations are left out.

Frame: the gel frame; the origin is the tip's apex, x to the right, y towards the palm, z into the tip.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palpate.core.errors import RecordError, SimulationError
from palpate.sensors.touch.tip_gap import CLOSE, LEVEL, Distance, Gap, first_touch, gap_at
from palpate.sensors.touch.tip_mesh import Surface, TipShape, compliance_of, surface_of
from palpate.sensors.touch.tip_object import SoftObject, soft_object, softness
from palpate.sensors.touch.tip_solve import Goal, Patch, Rub, displace, gather, press_halving, press_rough, press_smooth

TOLERANCE = 1e-6
"""Of a facet's force over the largest, and of a wanted load."""
ROUNDS = 60
"""Most looks at a distance function on the way to a wanted load."""


class TooDeepError(SimulationError):
    """A wanted force would press the object in by more than the skin's thickness."""


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
    pull: np.ndarray | None
    """(3,) wanted force across `along` [N]."""
    friction: float
    """Coulomb coefficient."""
    soft: SoftObject | None
    """None: the object is rigid."""

    def goal(self, depth: float) -> Goal:
        """Return what the solver is to reach, from a first guess of the depth if that is free."""
        pull = np.zeros(3) if self.pull is None else self.pull
        return Goal(depth, self.wanted if self.is_load else -1.0, self.along, pull, self.pull is not None)


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
    pull: Sequence[float] | None = None,
    friction: float | None = None,
    object_young: float | None = None,
    object_poisson: float = 0.5,
) -> TipContact:
    """Press an object against a tip.

    Contact with Coulomb friction, stick and slip facet by facet, normal and tangential motion coupled both ways. A facet that touches
    sticks to the object until friction gives way; `shift` and `twist` move the object's material from where it was in `before` (or at
    first contact), one increment per call; with `pull` that is found. The gap is always that of the object where it is now.

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
        before: the last state of the same tip, one or with the same leading axes; not with a soft object, whose state it lacks.
        pull: wanted force on the tip across `along` (3,) [N], reached by moving the object along, instead of `shift`; what is along
            `along` is left out. If friction cannot give it every facet slips, and the force is about friction times load.
        friction: Coulomb coefficient between this object and the skin; None takes the tip's.
        object_young: Young's modulus of a soft object [Pa]; None is rigid. It answers as a half-space behind the plane across `along`.
        object_poisson: its Poisson ratio.

    Returns:
        The state; `displacement` is the skin's alone. Without contact pressure, shear and displacement are exactly 0.

    Raises:
        RecordError: arguments of wrong shape, sign or number, or an object that never meets the tip.
        TooDeepError: the wanted force needs more than the skin's thickness.
        SimulationError: friction or the approach does not settle.
    """
    soft = soft_object(object_young, object_poisson)
    if (depth is None) == (force is None):
        raise RecordError(f"press got depth={depth} and force={force}; give exactly one of them")
    direction = _direction(along)
    wanted = np.asarray(depth if force is None else force, float)
    _check_wanted(tip, wanted, force is not None)
    _check_history(before, soft, (shift, twist), pull)
    across = None if pull is None else _across(pull, direction)
    rub = tip.shape.friction if friction is None else friction
    if not (np.isfinite(rub) and rub >= 0):
        raise RecordError(f"friction is {friction}; allowed: 0 or more")
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
        order = _Order(float(wanted[index]), force is not None, direction, motion, across, rub, soft)
        singles.append(_press_one(tip, one, order, last))
    return _stack(tip, singles, lead)


_Single = tuple[np.ndarray, np.ndarray, np.ndarray, float]
"""Facet forces (n, 3) [N], displacement (n, 3) [m], contact normals (n, 3), approach [m]."""


def _press_one(tip: SoftTip, thing: np.ndarray | Distance, order: _Order, last: _Single) -> _Single:
    """Press once, following a distance function to the approach that balances the load."""
    start = first_touch(tip.surface, thing, order.along)
    depth = _hertz_depth(tip.shape, order.wanted) if order.is_load else order.wanted
    most = tip.shape.skin if order.soft is None else tip.shape.skin + tip.shape.half_width / 2  # a soft object gives way itself
    low, high = 0.0, 2 * most
    final = not order.is_load or not callable(thing)  # a load on a function: first close in without friction, which may stiffen
    for look in range(1, ROUNDS + 1):
        near = gap_at(tip.surface, thing, order.along, start, depth)
        forces, moved, reached = _balance(tip, near, order, depth, last if final else None)
        low, high = (depth, high) if reached > depth else (low, depth)
        if final and (
            not callable(thing) or low > most or abs(reached - depth) < TOLERANCE * depth or high - low < 1e-4 * high
        ):
            break
        depth = reached if low < reached < high and look % 4 else (low + high) / 2  # halved now and then: looks may swing
        if not final and (low > most or abs(reached - depth) < 1e-2 * depth or high - low < 1e-2 * high):
            low, high, final = 0.0, 2 * most, True
    else:
        raise SimulationError(f"no approach balances {order.wanted} N on this object; its distance function must be continuous")
    if max(reached if order.soft is None else 0.0, (moved * near.normals).sum(axis=1).max()) > tip.shape.skin or reached > most:
        raise TooDeepError(
            f"{order.wanted} N would press the object more than {tip.shape.skin * 1e3:.2f} mm in, the thickness of the skin; "
            "use a smaller force, a stiffer tip or a blunter object"
        )
    return forces, moved, near.normals, reached


def _balance(
    tip: SoftTip, near: Gap, order: _Order, depth: float, last: _Single | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return facet forces (n, 3) [N], displacement (n, 3) [m] and the approach [m] for a gap that closes linearly.

    Friction goes on from the `last` state; None leaves it out.
    """
    closing = near.rate > LEVEL
    chosen = near.gap - depth * near.rate < 0
    if order.is_load:  # a guess that is too shallow would start from nothing
        chosen |= closing & (near.gap <= np.sort(near.gap[closing])[:5].max())
    while True:
        index = np.flatnonzero(chosen)
        push, growth, depth, settled = press_smooth(_patch(tip, near, index, order), order.goal(depth))
        forces = push[:, None] * near.normals[index]
        moved = displace(tip.compliance, index, forces)
        missing = _missing(near, depth, moved, chosen)
        if not _near(tip, depth) or not missing.any():
            break
        chosen |= missing
    guess, rise = np.zeros_like(near.normals), np.zeros_like(near.gap)
    guess[index], rise[index] = forces, growth * (push > 0)
    if last is None or not _near(tip, depth) or (order.friction == 0 and settled):
        return guess, moved, depth
    # The tangents of the last forces are the history of friction.
    guess += last[0] - (last[0] * near.normals).sum(axis=1, keepdims=True) * near.normals
    return _rub(tip, near, order, last[1] + order.motion, (guess, rise, depth))


def _rub(
    tip: SoftTip, near: Gap, order: _Order, anchor: np.ndarray, start: tuple[np.ndarray, np.ndarray, float]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Go on with friction from frictionless forces (n, 3) [N], their growth with depth (n,) [N/m] and depth [m]. See `_balance`."""
    guess, growth, depth = start
    chosen = (guess * near.normals).sum(axis=1) > 0
    forces = guess * chosen[:, None]
    if not chosen.any():  # nothing is pressed here: a wanted load lies deeper
        return forces, np.zeros_like(forces), 1.5 * depth + CLOSE if order.is_load else depth
    while True:
        index = np.flatnonzero(chosen)
        rub = Rub(anchor[index], forces[index], growth[index], order.friction, TOLERANCE)
        patch, goal = _patch(tip, near, index, order), order.goal(depth)
        forces[index], depth, settled = press_rough(patch, goal, rub)
        if order.is_load and not (settled and _near(tip, depth)):
            forces[index], depth, settled = press_halving(patch, goal, rub)
        if not settled:
            raise SimulationError(f"friction does not settle at depth {depth} m; use smaller steps of depth, shift and twist")
        moved = displace(tip.compliance, index, forces[index])
        missing = _missing(near, depth, moved, chosen)
        if not missing.any():
            return forces, moved, depth
        chosen |= missing


def _near(tip: SoftTip, depth: float) -> bool:
    """Return whether a depth can be; else the gap was continued from a look too far off."""
    return 0 <= depth < 2 * tip.shape.half_width


def _patch(tip: SoftTip, near: Gap, index: np.ndarray, order: _Order) -> Patch:
    rows = gather(tip.compliance, index)
    if order.soft is not None:
        rows += softness(tip.surface.samples[index], tip.surface.areas[index], order.along, order.soft)
    return Patch(rows, near.normals[index], near.gap[index], near.rate[index])


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


def _across(pull: Sequence[float], along: np.ndarray) -> np.ndarray:
    """Return the part of a wanted force (3,) [N] across `along`."""
    vector = np.asarray(pull, float)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise RecordError(f"pull is {pull}; give a force of three finite numbers [N]")
    return vector - (vector @ along) * along


def _check_history(before: TipContact | None, soft: SoftObject | None, moves: tuple[object, object], pull: object) -> None:
    if before is not None and soft is not None:
        raise RecordError("`before` of a soft object is not known; press it from first contact")
    if pull is not None and moves != (None, None):
        raise RecordError("give `pull`, or `shift` and `twist`: with a wanted force the motion is found")


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
