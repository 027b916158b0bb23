"""Pressing one thing on one touch sensor: a unit with its optics and its mechanics, and what came of a press as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.errors import PalpateError, RecordError
from palpate.sensors.touch import flat, taxels, tip
from palpate.sensors.touch.catalog import SENSORS, get_sensor, lit
from palpate.sensors.touch.contact import Contact
from palpate.sensors.touch.files import read_sensor
from palpate.sensors.touch.model import SensorModel, Shader
from palpate.sensors.touch.optics import Optics, load_optics
from palpate.sensors.touch.sensor import Reading, TouchSensor
from palpate.sensors.touch.shapes import Thing, describe
from palpate.sensors.touch.tip import SoftTip, TipContact
from palpate.sensors.touch.tip_mesh import BIOTAC_SP, TipShape

AnyContact = Contact | TipContact

FINE = 0.12e-3
"""Cells of contact for single pictures [m]."""
COARSE = 0.24e-3
"""Cells of contact for long recordings [m]."""

CURVED: dict[str, TipShape] = {"biotac-sp": BIOTAC_SP}
"""Sensors that are no flat pad, with their tips."""

_GUESSED = "optics: three lamps of Lambert's law, as bright and placed as its rest images; nothing was calibrated"


def find_sensor(name: str) -> SensorModel:
    """Return a known sensor, or the one that a `.toml` or `.json` file describes.

    Raises:
        PalpateError: no such sensor.
        DataError: the file cannot be read as a description.
    """
    path = Path(name)
    if path.suffix in (".toml", ".json"):
        return read_sensor(path)
    if name not in SENSORS:
        raise PalpateError(
            f"unknown touch sensor {name!r}; allowed: {', '.join(SENSORS)}, or a .json or .toml file that describes one"
        )
    return get_sensor(name)


def resized(model: SensorModel, longest: int | None) -> SensorModel:
    """Return the sensor with a picture of at most `longest` pixels on its longer side; the seen gel stays."""
    if model.picture_shape is None or longest is None or max(model.picture_shape) <= longest:
        return model
    scale = longest / max(model.picture_shape)
    rows, cols = (max(round(n * scale), 2) for n in model.picture_shape)
    optics = model.optics.resized((rows, cols)) if isinstance(model.optics, Optics) else model.optics
    return replace(model, picture_shape=(rows, cols), optics=optics)


def optics_for(model: SensorModel, file: Path | None = None) -> tuple[Shader | None, str]:
    """Return the optics of a sensor and, if they are a guess, the words that say so.

    Args:
        model: the sensor.
        file: written by `palpate calibrate touch`; None takes the model's own, or else a guess.

    Raises:
        DataError: the file is no optics file, or one of a sensor that sees another part of its gel.
    """
    if model.picture_shape is None:
        if file is not None:
            raise PalpateError(f"--optics {file}: {model.name} gives no picture; leave it out")
        return None, ""
    if file is not None:
        fitted = load_optics(file)
        if any(abs(a - b) > 0.02 * b for a, b in zip(fitted.extent, model.field_of_view, strict=True)):
            raise PalpateError(
                f"--optics {file} is of a sensor that sees {fitted.extent[0] * 1e3:.2f} x {fitted.extent[1] * 1e3:.2f} mm, {model.name} "
                f"sees {model.field_of_view[0] * 1e3:.2f} x {model.field_of_view[1] * 1e3:.2f} mm; calibrate {model.name} itself"
            )
        return fitted.resized(model.picture_shape), ""
    if model.optics is not None:
        reason = model.estimates.get("optics", "")
        return model.optics, f"optics: {reason}" if reason else ""
    return lit(model).optics, _GUESSED


@lru_cache(maxsize=4)
def _soft_tip(shape: TipShape) -> SoftTip:
    return SoftTip(shape)


@dataclass(frozen=True)
class Step:
    """One increment of a press."""

    depth: float | None = None
    """Approach beyond first contact [m]; it or `force`."""
    force: float | None = None
    """[N]"""
    shift: tuple[float, float] = (0.0, 0.0)
    """Motion along the gel since the step before [m]."""
    twist: float = 0.0
    """Turn about the pad's centre since the step before [rad]."""


class PressRig:
    """A unit of a touch sensor on a stand, and the mechanics of its gel."""

    def __init__(
        self, model: SensorModel, *, unit_seed: int = 0, optics: Path | None = None, cell: float = FINE, presses: float = 0.0
    ) -> None:
        """Set up one unit.

        Args:
            model: kind of sensor; see `resized` for smaller pictures.
            unit_seed: which unit of its kind.
            optics: file of calibrated optics; None takes the model's own, or else a guess.
            cell: about how large a cell of contact is [m]; a whole number of them covers the view.
            presses: how often the gel was pressed before.
        """
        shader, self.guess = optics_for(model, optics)
        self.model = model
        self.tip: SoftTip | None = None
        layout = None
        if "taxels" in model.read_outs:
            if model.name not in CURVED:
                raise PalpateError(f"sensor {model.name!r} gives taxels, but only of {', '.join(CURVED)} the layout is known")
            self.tip = _soft_tip(CURVED[model.name])
            layout = taxels.biotac_sp_taxels(self.tip)
        self.layout = layout
        self.unit = TouchSensor(model, unit_seed, optics=shader, taxels=layout, presses=presses)
        self.grid, self.pitch = _grid(model, cell)

    @property
    def depth_limit(self) -> float:
        """Thickness of the gel [m]."""
        return self.model.pad.thickness if self.tip is None else self.tip.shape.skin

    def estimates(self, thing: Thing) -> list[str]:
        """Return what about a press is a guess: figures of the sensor, its optics, its layout, the material."""
        out = [f"{name}: {reason}" for name, reason in self.model.estimates.items() if name != "optics"]
        out += [self.guess] if self.guess else []
        out += [f"taxels: {self.layout.estimate}"] if self.layout is not None and self.layout.estimate else []
        out.append(f"material {thing.material.name}: {thing.material.origin}")
        if self.tip is not None and thing.material.young is not None:
            out.append("the object is taken as rigid: a curved tip's contact with a soft object is not modelled")
        return out

    def meet(self, thing: Thing) -> "Encounter":
        """Hold a thing over the sensor.

        Raises:
            RecordError: what touches first is not over the pad.
        """
        return Encounter(self, thing)


class Encounter:
    """One thing over one sensor, as it is moved: each step goes on from the one before."""

    def __init__(self, rig: PressRig, thing: Thing) -> None:
        """Start without contact."""
        self.rig, self.thing = rig, thing
        self.contact: AnyContact | None = None
        self._gap = self._measured()

    def _measured(self) -> np.ndarray:
        if self.rig.tip is not None:
            return np.empty(0)
        return self.thing.gap(self.rig.model.pad, self.rig.grid, self.rig.pitch)

    def press(self, step: Step, *, guard: bool = True) -> AnyContact:
        """Take one step and return the state; friction remembers the steps before.

        Args:
            step: depth or force, and motion.
            guard: refuse forces beyond what the sensor is made for.

        Raises:
            RecordError: a depth beyond the gel, a force that is negative, an object that has left the pad.
            PalpateError: the force is beyond what the sensor is made for.
        """
        moves = step.shift != (0.0, 0.0) or step.twist != 0.0
        if moves:
            self.thing = replace(self.thing, pose=self.thing.pose.moved(step.shift, step.twist))
            self._gap = self._measured()
        limit, model = self.rig.model.max_force, self.rig.model
        self.contact = self._tip(step, moves) if self.rig.tip is not None else self._flat(step, moves)
        normal = float(self.contact.force[2])
        if guard and normal > limit:
            raise PalpateError(
                f"this press takes {normal:.1f} N, beyond {model.name}'s {limit:.0f} N; use a smaller depth or force, or a smaller thing"
            )
        return self.contact

    def release(self) -> None:
        """Take the thing off; the next step is a first contact again."""
        self.contact = None

    def _flat(self, step: Step, moves: bool) -> Contact:
        before = self.contact if isinstance(self.contact, Contact) else None
        material = self.thing.material
        return flat.press(
            replace(self.rig.model.pad, friction=material.friction),
            self._gap,
            self.rig.pitch,
            depth=step.depth,
            force=step.force,
            shift=step.shift if moves else None,
            twist=step.twist if moves else None,
            before=before,
            object_young=material.young,
            object_poisson=material.poisson,
        )

    def _tip(self, step: Step, moves: bool) -> TipContact:
        soft = self.rig.tip
        if soft is None:
            raise RecordError(f"{self.rig.model.name} has no curved tip")
        before = self.contact if isinstance(self.contact, TipContact) else None
        return tip.press(
            soft,
            self.thing.distance(),
            depth=step.depth,
            force=step.force,
            shift=step.shift if moves else None,
            twist=step.twist if moves else None,
            before=before,
        )


def _grid(model: SensorModel, cell: float) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return rows and columns over the whole pad and the pitch [m], such that whole cells cover the field of view."""
    shape, pitch = [], []
    for seen, whole in zip(model.field_of_view, (model.pad.height, model.pad.width), strict=True):
        count = max(round(seen / cell), 8)
        side = seen / count
        shape.append(count + 2 * int((whole - seen) / 2 / side + 1e-6))
        pitch.append(side)
    return (shape[0], shape[1]), (pitch[0], pitch[1])


@dataclass(frozen=True, kw_only=True)
class Pressed:
    """One press: what the gel did and what the sensor gave."""

    rig: PressRig
    thing: Thing
    contact: AnyContact
    reading: Reading
    rest: Reading
    """Of the same unit without contact, free of noise."""


def press_once(rig: PressRig, thing: Thing, step: Step, *, steps: int = 6, rng: np.random.Generator | None = None) -> Pressed:
    """Press a thing straight in, then move it along and turn it in small steps, as friction asks for.

    Args:
        rig: the sensor.
        thing: what is pressed, where it touches first.
        step: depth or force, and the motion after it.
        steps: increments of the motion at least; a turn takes more if it is large.
        rng: source of the reading's noise; None gives a reading free of noise.

    Raises:
        PalpateError: see `Encounter.press`.
    """
    meeting = rig.meet(thing)
    contact = meeting.press(Step(step.depth, step.force))
    moves = step.shift != (0.0, 0.0) or step.twist != 0.0
    count = max(steps, int(abs(step.twist) / 0.1) + 1) if moves else 0
    for _ in range(count):
        part = (step.shift[0] / count, step.shift[1] / count)
        contact = meeting.press(Step(step.depth, step.force, part, step.twist / count))
    if rng is not None:
        rig.unit.begin_episode(rng)
    reading = rig.unit.ideal(contact) if rng is None else rig.unit.sense(contact, rng)
    return Pressed(rig=rig, thing=thing, contact=contact, reading=reading, rest=rig.unit.ideal(None))


def figures(contact: AnyContact) -> dict[str, Any]:
    """Return the figures of one contact as JSON values, SI units, gel frame."""
    force, torque = np.asarray(contact.force, float), np.asarray(contact.torque, float)
    area = float(contact.contact_area)
    sunk = contact.displacement[..., 2] if isinstance(contact, TipContact) else contact.sunk
    return {
        "depth_m": float(contact.approach),
        "normal_force_n": float(force[2]),
        "shear_force_n": [float(force[0]), float(force[1])],
        "torque_nm": [float(part) for part in torque],
        "contact_area_m2": area,
        "contact_radius_m": float(np.sqrt(area / np.pi)),
        "max_pressure_pa": float(contact.pressure.max()),
        "max_sunk_m": float(sunk.max()),
    }


def summary(pressed: Pressed) -> dict[str, Any]:
    """Return everything worth telling about a press as JSON values."""
    rig, thing = pressed.rig, pressed.thing
    return {
        "sensor": rig.model.name,
        "unit": rig.unit.unit_seed,
        "read_outs": list(rig.model.read_outs),
        "shape": describe(thing.shape),
        "material": thing.material.name,
        "pose": {"x_m": thing.pose.x, "y_m": thing.pose.y, "yaw_rad": thing.pose.yaw},
        **figures(pressed.contact),
        "estimates": rig.estimates(thing),
    }


def press_all(rigs: Sequence[PressRig], things: Sequence[Thing], step: Step) -> list[list[Pressed]]:
    """Press each thing on each sensor; rows are things."""
    return [[press_once(rig, thing, step) for rig in rigs] for thing in things]
