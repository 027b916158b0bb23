"""What an object that is pressed on a pad does to its gel."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from palpate.core.errors import RecordError
from palpate.sensors.touch.contact import Contact, Pad
from palpate.sensors.touch.flat import press
from palpate.sensors.touch.model import SensorModel
from palpate.sensors.touch.optics import Optics
from palpate.worlds.household import POISSON

DEEPEST = 0.8
"""Share of its thickness by which a gel sinks at most before its rigid base carries the load."""

FAR = 0.03
"""A surface farther than this from the whole gel does not touch it [m]."""

LARGEST_SHEAR = (1.0e-3, 0.15)
"""An object drags the gel along no farther than this [m] and turns it no more [rad] in one step."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What an object does to one gel; gel frame (x right, y down, z into the gel)."""

    force: np.ndarray
    """(3,) [N]."""
    torque: float
    """About z, at the pad's centre [N m]."""


def pictured(model: SensorModel, longest: int) -> SensorModel:
    """Return the sensor with a picture of at most `longest` pixels on its longer side."""
    if model.picture_shape is None or not isinstance(model.optics, Optics):
        raise RecordError(f"sensor {model.name!r} gives no picture of known optics; name one that does, as gelsight-2017")
    scale = longest / max(model.picture_shape)
    if scale >= 1:
        return model
    rows, cols = (round(n * scale) for n in model.picture_shape)
    return replace(model, picture_shape=(rows, cols), optics=model.optics.resized((rows, cols)))


def felt(model: SensorModel, gap: np.ndarray, load: Load, young: float | None) -> Contact | None:
    """Return what an object does to a gel: its normal force first, then its pull along the gel and its twist.

    The pull is turned into a shift by the gel's stiffness against a disc as large as the contact; where friction does not carry it,
    the gel slips.

    Args:
        model: constants of the sensor.
        gap: (H, W) distance of the object's surface from the undeformed gel [m].
        load: on the gel, normal force above 0.
        young: modulus of the object [Pa]; None is rigid.

    Returns:
        The contact; None if the object only meets the finger beside the gel.
    """
    layer = model.pad
    pitch = (layer.height / gap.shape[0], layer.width / gap.shape[1])
    if float(gap.min()) >= FAR:
        return None
    force = float(min(load.force[2], model.max_force))
    given = partial(press, layer, gap, pitch, force=force, object_young=young, object_poisson=POISSON)
    try:
        pressed = given()
    except RecordError:
        # An object that meets only the pad's edge would sink through the gel there. Its rigid base under it carries the rest.
        given = partial(press, layer, gap, pitch, depth=DEEPEST * layer.thickness)
        pressed = given()
    if not pressed.contact_area:
        return pressed
    along, about = _stiffness(layer, float(pressed.contact_area))
    most, most_turn = LARGEST_SHEAR
    shift = load.force[:2] / along
    shift *= min(1.0, most / max(float(np.hypot(*shift)), 1e-12))
    twist = float(np.clip(load.torque / about, -most_turn, most_turn))
    return given(shift=(float(shift[0]), float(shift[1])), twist=twist, before=pressed)


def _stiffness(layer: Pad, area: float) -> tuple[float, float]:
    """Return the stiffness of a gel against a disc of this area [m^2] that is pulled along it [N/m] and turned on it [N m/rad].

    The sum of the two limits: a sheared layer, which a wide disc meets, and a half-space, which a small one meets (K. L. Johnson,
    Contact Mechanics, 1985, Sections 3.9 and 7.4).
    """
    modulus, radius = layer.young / (2 * (1 + layer.poisson)), np.sqrt(area / np.pi)
    along = area / layer.thickness + 8 * radius / (2 - layer.poisson)
    about = area**2 / (2 * np.pi * layer.thickness) + 16 / 3 * radius**3
    return float(modulus * along), float(modulus * about)
