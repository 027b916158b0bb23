"""One press on a flat pad: where to solve, what to solve, and the surface that follows."""

from dataclasses import dataclass

import numpy as np

from palpate.core.errors import RecordError
from palpate.sensors.touch.contact import Pad
from palpate.sensors.touch.flat_convolve import Compliance, influence
from palpate.sensors.touch.flat_friction import solve_shear
from palpate.sensors.touch.flat_normal import Pressed, solve_depth, solve_force
from palpate.sensors.touch.flat_relax import Prony
from palpate.sensors.touch.layer import transfer

Box = tuple[slice, slice]

_TOLERANCE = 3e-4
"""Misfit of touching cells (root mean square) as a share of the approach; forces are then good to about 3e-4."""
_SHEAR_TOLERANCE = 2e-3
"""Likewise of shear; net shear forces are then good to about 1e-3."""
_SEEN = 1e-3
"""Overlap outside the solved box, as a share of the approach, that makes the box grow."""
_STEP = 8
"""Boxes grow in steps of so many cells, so that few sizes of transforms are needed."""
_ROUNDS = 12
"""Most alternations between pressure and shear where they act on each other."""
_SETTLED = 2e-3
"""Change of pressure between alternations, as a share, that ends them."""


@dataclass(frozen=True, kw_only=True)
class Before:
    """The state of one pad that a press starts from."""

    pressure: np.ndarray
    """(H, W) [Pa]."""
    shear: np.ndarray
    """(2, H, W) [Pa]."""
    memory: np.ndarray | None
    """As of `Prony`; None without relaxation."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What is imposed on one pad."""

    gap: np.ndarray
    """(H, W) [m], smallest value 0."""
    depth: float | None
    force: float | None
    carried: np.ndarray | None
    """(2, H, W) [m]: how far the object carries each place along since `before`; None if it does not move along the gel."""
    before: Before | None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of it; fields as in `Contact`, components first."""

    pressure: np.ndarray
    shear: np.ndarray
    sunk: np.ndarray
    drift: np.ndarray
    approach: float
    memory: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class Soft:
    """Young's modulus [Pa] and Poisson ratio of a soft object."""

    young: float
    poisson: float


@dataclass(frozen=True)
class _Bodies:
    """Who answers to traction t during one step: the gel moves as an elastic one would under t / share - bias."""

    both: Compliance
    """The gel by t / share, and a soft object by t."""
    share: float
    bias: np.ndarray | None
    """(3, H, W) [Pa]; None without a memory."""
    since: np.ndarray | None
    """(3, H, W) [Pa] what an elastic gel would have to carry more for the surface of the state before; None without a memory."""


class Pressing:
    """Everything that the presses of one call share."""

    def __init__(
        self, pad: Pad, pitch: tuple[float, float], shape: tuple[int, int], dtype: np.dtype, *, soft: Soft | None, coupled: bool
    ) -> None:
        """Look up the influence of the layer, and of the object if it is soft."""
        self.pad, self.shape, self.dtype, self.coupled = pad, shape, dtype, coupled
        self.cell = pitch[0] * pitch[1]
        self.prony = Prony.of(pad.relaxation) if pad.relaxation else None
        self._layer = influence(pad.thickness, pad.poisson, pitch, shape)
        self._object = () if soft is None else ((influence(np.inf, soft.poisson, pitch, shape), 1 / soft.young),)
        radius = np.geomspace(min(pitch), shape[0] * pitch[0] + shape[1] * pitch[1], 24)
        self._softness = radius, transfer(1.2 / radius, pad.thickness, pad.poisson)[0] / pad.young
        self._elastic = Compliance(((self._layer, 1 / pad.young),))
        self._still = Compliance((*self._elastic.parts, *self._object))

    def press(self, given: Given, dt: float) -> Result:
        """Solve one press, `dt` [s] after the one before."""
        bodies = self._bodies(given, dt)
        pressure, shear, approach = np.zeros(self.shape, self.dtype), np.zeros((2, *self.shape), self.dtype), 0.0
        nothing = (given.force is not None and given.force <= 0) or (given.depth is not None and given.depth <= 0)
        if not nothing:
            pressure, shear, approach = self._contact(given, bodies)
        elif bodies.bias is None:
            memory = None if self.prony is None else self.prony.begin(np.zeros((3, *self.shape), self.dtype))
            return Result(pressure=pressure, shear=shear, sunk=pressure, drift=shear, approach=0.0, memory=memory)
        held = np.concatenate([shear, pressure[None]])
        if bodies.bias is not None:
            held = held / self.dtype.type(bodies.share) - bodies.bias
        memory = None
        if self.prony is not None:
            old = None if given.before is None else given.before.memory
            memory = self.prony.begin(held) if old is None else self.prony.remember(old, held, dt)
        sunk, drift = self._surface(held)
        if sunk.max() > self.pad.thickness:
            raise RecordError(
                f"{'the depth' if given.force is None else f'force {given.force:g} N'} sinks the surface {sunk.max() * 1e3:.2f} mm into "
                f"a gel of thickness {self.pad.thickness * 1e3:g} mm; press less or take a stiffer gel"
            )
        return Result(pressure=pressure, shear=shear, sunk=sunk, drift=drift, approach=approach, memory=memory)

    def _bodies(self, given: Given, dt: float) -> _Bodies:
        """Return who answers in this step."""
        before = given.before
        if self.prony is None or before is None or before.memory is None:
            return _Bodies(self._still, 1.0, None, None)
        step = self.prony.step(before.memory, dt)
        gel = (self._layer, 1 / (self.pad.young * step.a))
        bias = (step.b / step.a).astype(self.dtype)
        since = before.memory[0] - np.concatenate([before.shear, before.pressure[None]]) + bias
        return _Bodies(Compliance((gel, *self._object)), step.a, bias, since)

    def _contact(self, given: Given, bodies: _Bodies) -> tuple[np.ndarray, np.ndarray, float]:
        """Return pressure, shear and approach."""
        gap = given.gap
        if bodies.bias is not None:
            # What has not yet recovered leaves a dent under no load.
            gap = gap - self._elastic.normal(self.shape, self.dtype)(bodies.bias[2])
            if self.coupled:
                gap = gap - self._elastic.lifted(bodies.bias[:2])
        shear = np.zeros((2, *self.shape), self.dtype)
        start = None if given.before is None else given.before.pressure
        pressure, approach = self._normal(given, gap, bodies, start)
        history = given.before is not None and bool(given.before.shear.any())
        if self.pad.friction == 0 or not (given.carried is not None or history or self.coupled):
            return pressure, shear, approach
        start = shear if given.before is None else given.before.shear
        shear = self._friction(given, bodies, pressure, start)
        if self.coupled:
            for _ in range(_ROUNDS):
                last = pressure
                pressure, approach = self._normal(given, gap + bodies.both.lifted(shear), bodies, last)
                shear = self._friction(given, bodies, pressure, shear)
                if float(np.abs(pressure - last).sum()) <= _SETTLED * float(pressure.sum()):
                    break
        return pressure, shear, approach

    def _normal(self, given: Given, gap: np.ndarray, bodies: _Bodies, start: np.ndarray | None) -> tuple[np.ndarray, float]:
        """Solve for the pressure in a box around the contact, and widen the box until nothing overlaps outside it."""
        depth = given.depth if given.depth is not None else self._guess(gap, given.force or 0.0)
        inside = gap < depth * (1.0 if given.depth is not None else 1.2)
        if start is not None:
            inside |= start > 0
        if not inside.any():
            return np.zeros(self.shape, self.dtype), depth
        box = _around(inside, 1)
        whole = bodies.both.normal(self.shape, self.dtype)
        while True:
            solved = self._solve(given, gap[box], bodies.both, depth, None if start is None else start[box])
            pressure = np.zeros(self.shape, self.dtype)
            pressure[box] = solved.pressure
            over = whole(pressure) + gap < solved.approach * (1 - _SEEN)
            over[box] = False
            if not over.any():
                break
            over[box] = True
            box, depth, start = _around(over, 2), solved.approach, pressure
        return pressure, solved.approach

    def _solve(self, given: Given, gap: np.ndarray, both: Compliance, depth: float, last: np.ndarray | None) -> Pressed:
        """Solve for the pressure inside a box."""
        answer = both.normal((gap.shape[0], gap.shape[1]), self.dtype)
        start = np.maximum(self.dtype.type(depth) - gap, 0) * self.dtype.type(self.pad.young / depth)
        if last is not None and last.any():
            start = last
        if given.depth is None:
            return solve_force(answer, gap, (given.force or 0.0) / self.cell, start, tolerance=_TOLERANCE)
        if not start.any():
            return Pressed(start, given.depth)
        return solve_depth(answer, gap, given.depth, start, tolerance=_TOLERANCE)

    def _friction(self, given: Given, bodies: _Bodies, pressure: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Return the shear (2, H, W) after the object carried the surface along."""
        shear = np.zeros_like(start)
        limit = self.dtype.type(self.pad.friction) * pressure
        if not limit.any():
            return shear
        loaded = (limit > 0) | start.any(axis=0)
        if given.before is not None:
            loaded |= given.before.shear.any(axis=0)
        if bodies.since is not None:
            loaded |= bodies.since[:2].any(axis=0)
        box = _around(loaded, 0)
        inner = (slice(None), *box)
        carried = np.zeros_like(start[inner]) if given.carried is None else given.carried[inner].copy()
        shape = (carried.shape[1], carried.shape[2])
        # Places that stick keep where they were before, however they came there.
        if given.before is not None:
            carried += self._still.tangential(shape, self.dtype)(given.before.shear[inner])
        if bodies.since is not None:
            carried += self._elastic.tangential(shape, self.dtype)(bodies.since[inner][:2])
        if self.coupled:
            carried -= self._pulled_since(given, bodies, pressure)[inner]
        answer = bodies.both.tangential(shape, self.dtype)
        stride = 4 / float(bodies.both.spectrum("xx", bodies.both.size(shape), self.dtype).max())
        shear[inner], _ = solve_shear(answer, carried, limit[box], start[inner], stride=stride, tolerance=_SHEAR_TOLERANCE)
        return shear

    def _pulled_since(self, given: Given, bodies: _Bodies, pressure: np.ndarray) -> np.ndarray:
        """Return how far the change of pressure since before would pull the surface along itself (2, H, W) [m]."""
        pulled = bodies.both.pulled(pressure)
        if given.before is not None:
            pulled -= self._still.pulled(given.before.pressure)
        if bodies.since is not None:
            pulled -= self._elastic.pulled(bodies.since[2])
        return pulled

    def _surface(self, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how the gel's whole surface moves into itself (H, W) and along itself (2, H, W) [m]."""
        moved = self._elastic.pressed(held[2])
        drift, sunk = moved[:2], moved[2]
        if held[:2].any():
            drift += self._elastic.tangential(self.shape, self.dtype)(held[:2])
            if self.coupled:
                sunk = sunk + self._elastic.lifted(held[:2])
        return sunk, drift

    def _guess(self, gap: np.ndarray, force: float) -> float:
        """Return about how deep a force presses: the overlap's volume, answered by the layer at the scale of its area."""
        every = (slice(None, None, 2), slice(None, None, 2))
        coarse, cell = gap[every], self.cell * gap.size / gap[every].size
        low, high = float(gap.min()), float(gap.max()) + 1e-6
        for _ in range(10):
            middle = (low + high) / 2
            over = np.maximum(self.dtype.type(middle) - coarse, 0)
            radius = np.sqrt(max(np.count_nonzero(over), 1) * cell / np.pi)
            soft = np.interp(radius, *self._softness)
            low, high = (middle, high) if float(over.sum()) * cell < force * soft else (low, middle)
        return high


def _around(cells: np.ndarray, margin: int) -> Box:
    """Return the box around the marked cells, widened by a margin and to a few sizes."""
    out = []
    for axis in (0, 1):
        n = cells.shape[axis]
        where = np.flatnonzero(cells.any(axis=1 - axis))
        first, last = max(int(where[0]) - margin, 0), min(int(where[-1]) + margin, n - 1) + 1
        want = min(-(-(last - first) // _STEP) * _STEP, n)
        first = min(max(first - (want - (last - first)) // 2, 0), n - want)
        out.append(slice(first, first + want))
    return out[0], out[1]
