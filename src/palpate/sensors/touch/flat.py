"""Press a surface on a flat pad: pressure, shear and the moved surface of a bonded elastic layer or a half-space.

Linear elasticity and small slopes; the pad is taken to go on beyond its edges, where nothing touches it.
Gel frame: x right, y down, z into the gel, origin at the pad's centre.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from palpate.core.errors import RecordError
from palpate.sensors.touch.contact import Contact, Pad, cell_centres
from palpate.sensors.touch.flat_item import Before, Given, Pressing, Result, Soft

_FREE = 0.1
"""A gap this wide everywhere [m] means that the object is elsewhere."""


@dataclass(frozen=True, kw_only=True)
class RelaxingContact(Contact):
    """A contact of a gel that relaxes: it also holds what the next step needs to know of the past."""

    memory: np.ndarray
    """(..., 1 + n, 3, H, W) [Pa] along x, y and z: what an elastic gel would carry for this surface; then one stress per term."""


def press(
    pad: Pad,
    gap: np.ndarray,
    pitch: tuple[float, float],
    *,
    depth: float | np.ndarray | None = None,
    force: float | np.ndarray | None = None,
    shift: tuple[float, float] | np.ndarray | None = None,
    twist: float | np.ndarray | None = None,
    before: Contact | None = None,
    dt: float | None = None,
    object_young: float | None = None,
    object_poisson: float = 0.5,
    coupled: bool = False,
) -> Contact:
    """Press surfaces on a pad, and shear it.

    Pressure comes from the method of Polonsky and Keer (1999), shear from Coulomb's law with partial slip, step by step. By default
    the two are solved one after the other, as if shear did not lift the surface nor pressure pull it along (Goodman 1962): exact for
    a half-space with nu = 0.5, and usual elsewhere. The pull of pressure is still part of `drift`.

    Args:
        pad: the gel. Its `young` is that of a sudden press; with `relaxation` it falls to young (1 - sum of shares).
        gap: (..., H, W) [m] distance of the object from the undeformed gel; its minimum is taken off, so that 0 is first touch.
            float32 is solved in float32, anything else in float64. Cells beyond the pad's edges are never touched.
        pitch: size of a cell along rows (y) and columns (x) [m].
        depth: approach beyond first contact [m], one number or (...); 0 or less is no contact.
        force: normal force [N], one number or (...), instead of `depth`; 0 is no contact.
        shift: motion (..., 2) of the object along x and y since `before`, or since first contact [m].
        twist: rotation (...) of the object about the pad's centre since then [rad], positive from x to y. Turn
            in steps of 0.2 rad or less: within a step cells go straight.
        before: the state to go on from, of the same grid and batch. Cells that stuck stay stuck; it is also the first guess.
        dt: time since `before` [s]; needed with `pad.relaxation`. A first press is sudden.
        object_young: Young's modulus of a soft object [Pa]; None is rigid. It answers as a half-space.
        object_poisson: its Poisson ratio.
        coupled: also let shear lift the surface and pressure pull it along; alternates between both problems, two to three times slower.

    Returns:
        Contact with the same leading axes. Without contact every field is exactly 0 (a relaxing gel may still recover its dent).

    Raises:
        RecordError: a gap, constant, depth, force, motion or state that cannot be.
        SimulationError: the solver did not settle (not seen in 300 random presses).
    """
    _check_pad(pad)
    gap, pitch = _checked_gap(gap, pitch)
    lead, shape = gap.shape[:-2], (gap.shape[-2], gap.shape[-1])
    if (depth is None) == (force is None):
        raise RecordError(f"give exactly one of depth [m] and force [N], got depth={depth!r}, force={force!r}")
    count = int(np.prod(lead))
    soft = _soft(object_young, object_poisson)
    # A soft object may come nearer than that: it gives way itself.
    depths, forces = _loads(pad.thickness if soft is None else np.inf, depth, force, lead)
    step = _checked_step(pad, before, dt)
    pressing = Pressing(pad, pitch, shape, gap.dtype, soft=soft, coupled=coupled)
    carried = _carried(shift, twist, lead=lead, shape=shape, pitch=pitch, dtype=gap.dtype)
    states = _states(pressing, before, gap.shape, pitch, count)
    gaps = _on_pad(pad, gap.reshape(count, *shape), pitch)
    results = [
        pressing.press(
            Given(
                gap=gaps[i], depth=depths[i], force=forces[i], carried=None if carried is None else carried[i], before=states[i]
            ),
            step,
        )
        for i in range(count)
    ]
    return _gather(results, pitch, lead)


def _gather(results: Sequence[Result], pitch: tuple[float, float], lead: tuple[int, ...]) -> Contact:
    """Stack the items of a batch."""

    def stack(values: list[np.ndarray]) -> np.ndarray:
        whole = np.stack(values)
        return whole.reshape(*lead, *whole.shape[1:])

    def last(values: list[np.ndarray]) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(stack(values), -3, -1))

    fields = {
        "pressure": stack([r.pressure for r in results]),
        "shear": last([r.shear for r in results]),
        "sunk": stack([r.sunk for r in results]),
        "drift": last([r.drift for r in results]),
        "approach": np.array([r.approach for r in results]).reshape(lead),
    }
    memory = [r.memory for r in results if r.memory is not None]
    if memory:
        return RelaxingContact(pitch=pitch, memory=stack(memory), **fields)
    return Contact(pitch=pitch, **fields)


def _loads(
    most: float, depth: float | np.ndarray | None, force: float | np.ndarray | None, lead: tuple[int, ...]
) -> tuple[list[float | None], list[float | None]]:
    """Return depth and force of every item, one of them None."""
    nothing: list[float | None] = [None] * int(np.prod(lead))
    if depth is not None:
        depths = _spread("depth", depth, lead)
        if (depths > most).any():
            raise RecordError(
                f"depth {depths.max() * 1e3:g} mm is more than the gel's thickness, {most * 1e3:g} mm; press less deep (Python: metres)"
            )
        return list(depths.ravel().tolist()), nothing
    forces = _spread("force", 0.0 if force is None else force, lead)
    if (forces < 0).any():
        raise RecordError(f"force must be 0 or more newtons, got {forces.min():g}; a gel does not pull")
    return nothing, list(forces.ravel().tolist())


def _soft(young: float | None, poisson: float) -> Soft | None:
    """Return the constants of a soft object."""
    if young is None:
        return None
    if not (np.isfinite(young) and young > 0 and -1 < poisson <= 0.5):
        raise RecordError(
            f"object_young must be more than 0 Pa and object_poisson above -1 and at most 0.5, got {young!r} and {poisson!r}; "
            "leave object_young out for a rigid object"
        )
    return Soft(young=float(young), poisson=float(poisson))


def _checked_step(pad: Pad, before: Contact | None, dt: float | None) -> float:
    """Return the step of time, 0 where it has no meaning."""
    if dt is not None and not (np.isfinite(dt) and dt >= 0):
        raise RecordError(f"dt must be 0 or more seconds, got {dt!r}")
    if pad.relaxation and before is not None and dt is None:
        raise RecordError("this gel relaxes: give dt, the seconds since `before`, or a pad without relaxation")
    return 0.0 if dt is None else float(dt)


def _carried(
    shift: tuple[float, float] | np.ndarray | None,
    twist: float | np.ndarray | None,
    *,
    lead: tuple[int, ...],
    shape: tuple[int, int],
    pitch: tuple[float, float],
    dtype: np.dtype,
) -> np.ndarray | None:
    """Return how far the object carries every cell along (N, 2, H, W) [m]; None if it does not."""
    if shift is None and twist is None:
        return None
    moves = _spread("shift", (0.0, 0.0) if shift is None else shift, (*lead, 2)).reshape(-1, 2)
    turns = _spread("twist", 0.0 if twist is None else twist, lead).reshape(-1)
    y, x = cell_centres(shape, pitch)
    # Along the tangent, which is the way that slipping cells go; the chord of a large turn would point inwards.
    along_x = moves[:, 0, None, None] - turns[:, None, None] * y
    along_y = moves[:, 1, None, None] + turns[:, None, None] * x
    return np.stack(np.broadcast_arrays(along_x, along_y), axis=1).astype(dtype)


def _states(
    pressing: Pressing, before: Contact | None, shape: tuple[int, ...], pitch: tuple[float, float], count: int
) -> list[Before | None]:
    """Return the state that every item starts from."""
    if before is None:
        return [None] * count
    if before.pressure.shape != shape or before.pitch != pitch:
        raise RecordError(
            f"`before` has a grid of {before.pressure.shape} cells of {before.pitch} m, this press {shape} of {pitch}; "
            "go on with the same grid and batch"
        )
    rows, cols = shape[-2:]
    pressure = before.pressure.reshape(count, rows, cols).astype(pressing.dtype)
    shear = np.moveaxis(before.shear.reshape(count, rows, cols, 2), -1, 1).astype(pressing.dtype)
    memory: list[np.ndarray | None] = [None] * count
    if pressing.prony is not None:
        terms = 1 + len(pressing.prony.share)
        if isinstance(before, RelaxingContact) and before.memory.shape[-4] == terms:
            memory = list(before.memory.reshape(count, terms, 3, rows, cols).astype(pressing.dtype))
        else:
            memory = [pressing.prony.begin(np.concatenate([s, p[None]])) for s, p in zip(shear, pressure, strict=True)]
    return [Before(pressure=p, shear=s, memory=m) for p, s, m in zip(pressure, shear, memory, strict=True)]


def _on_pad(pad: Pad, gaps: np.ndarray, pitch: tuple[float, float]) -> np.ndarray:
    """Return the gaps (N, H, W) from first touch on, with everything beyond the pad's edges out of reach."""
    y, x = cell_centres(gaps.shape[-2:], pitch)
    # A cell belongs to the pad if its centre does, give or take rounding of the pitch.
    beyond = (np.abs(y) > pad.height / 2 * (1 + 1e-6)) | (np.abs(x) > pad.width / 2 * (1 + 1e-6))
    if beyond.any():
        gaps = np.where(beyond, gaps.dtype.type(10 * _FREE), gaps)
    nearest = gaps.min(axis=(-2, -1))
    if (nearest >= _FREE).any():
        raise RecordError(
            f"the object lies outside the pad: its smallest gap over it is {nearest.max():g} m, allowed is less than {_FREE} m; "
            f"the pad is {pad.width:g} m wide and {pad.height:g} m high about the grid's centre"
        )
    return gaps - nearest[:, None, None]


def _spread(name: str, value: float | tuple[float, float] | np.ndarray, lead: tuple[int, ...]) -> np.ndarray:
    """Return a number for every item of the batch."""
    numbers = np.asarray(value, float)
    if not np.isfinite(numbers).all():
        raise RecordError(f"{name} must be finite, got {value!r}")
    try:
        return np.broadcast_to(numbers, lead)
    except ValueError:
        raise RecordError(
            f"{name} has shape {numbers.shape}, but the gaps have leading axes {lead}; give one number or one per gap"
        ) from None


def _checked_gap(gap: np.ndarray, pitch: tuple[float, float]) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the gap as float32 or float64 and the pitch as plain numbers."""
    gap = np.asarray(gap)
    if gap.dtype != np.float32:
        gap = gap.astype(float)
    if gap.ndim < 2 or min(gap.shape[-2:]) < 2 or gap.size == 0:
        raise RecordError(f"gap must be (..., H, W) with at least 2 x 2 cells and no empty axis, got shape {gap.shape}")
    bad = ~np.isfinite(gap)
    if bad.any():
        raise RecordError(
            f"gap holds {np.count_nonzero(bad)} values that are NaN or infinite; mark free space with a large finite distance, "
            f"for example {_FREE} m"
        )
    if len(pitch) != 2 or not all(np.isfinite(p) and p > 0 for p in pitch):
        raise RecordError(f"pitch must be two positive lengths (along y, along x) in metres, got {pitch!r}")
    return gap, (float(pitch[0]), float(pitch[1]))


def _check_pad(pad: Pad) -> None:
    """Refuse constants that no gel has."""
    rules = (
        ("thickness", pad.thickness > 0, "more than 0 m"),
        ("young", np.isfinite(pad.young) and pad.young > 0, "more than 0 Pa"),
        ("poisson", -1 < pad.poisson <= 0.5, "above -1 and at most 0.5"),
        ("friction", np.isfinite(pad.friction) and pad.friction >= 0, "0 or more"),
        ("width", pad.width > 0, "more than 0 m"),
        ("height", pad.height > 0, "more than 0 m"),
    )
    for name, good, allowed in rules:
        if not good:
            raise RecordError(f"pad.{name} is {getattr(pad, name)!r}; allowed: {allowed}; correct the sensor's constants")
