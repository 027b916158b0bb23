"""Touch sensors that the SoftGrasp hand may wear: one on the last link of the thumb, one on that of the middle finger.

These two face each other; the index meets things with its side. Gel and picture are the sensor room's. Their gel stands proud of the link,
so what presses on the link presses on the gel, as far as the object lies before it; a link touched only beside its gel feels nothing.

What lies before a gel is the object's smooth shape where it stands, not its panels: a cup or bottle is a cylinder of its mean radius, a toy
an ellipsoid through its greatest width and its ends, the carton a box. How far its wall is pushed in is not seen by a gel. Softness shows
only as a gel would feel it, by force and by how the surface under it gives way: rubber and fibre like a half-space of their modulus, the
walls of the others not at all. The gel is a little domed, as a DIGIT's is; how much is an estimate. It is not twisted.
"""

from functools import lru_cache

import numpy as np

from palpate.core.records import StreamSpec, TactileFrame
from palpate.sensors.touch.catalog import get_sensor
from palpate.sensors.touch.contact import Contact, cell_centres
from palpate.sensors.touch.sensor import TouchSensor
from palpate.worlds.household import GraspObject, Part, box, ellipsoid, frustum, put
from palpate.worlds.household_rays import gap_map, pack
from palpate.worlds.household_touch import Load, felt, pictured
from palpate.worlds.humanoid_hand import RADIUS
from palpate.worlds.softgrasp_objects import FILLING_YOUNG, SHORE_A, SoftgraspObject, young_of_shore_a
from palpate.worlds.softgrasp_physics import RATE_HZ, Rig

WORN = ("thumb", "middle")
"""Fingers with a sensor."""
SENSOR = "digit"
"""Its name in the catalogue."""
LONGEST = 96
"""Longer side of the pictures [px]."""

_DOME = 0.030
"""Radius of the gel's surface [m]; an estimate, which makes a DIGIT's corners 2.6 mm lower than its middle."""
_CELLS = (38, 32)
"""Rows and columns of a gel in the mechanics: 0.5 mm on a DIGIT."""
_FREE, _BEHIND = 0.05, 0.05
"""Where nothing lies before a gel, and how deep a wall may be pushed in under it [m]."""

_LINK = {
    "thumb": (np.array([0.0, 0.0, -1.0]), np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])),
    "middle": (np.array([1.0, 0.0, 0.0]), np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])),
}
"""Direction of the link from its joint to its tip (3,), and the gel's x, y, z (3, 3), rows, in the link's frame: the tip is above."""


@lru_cache(maxsize=16)
def felt_shape(thing: SoftgraspObject) -> GraspObject:
    """Return what an object is to a gel: one smooth part with its origin in the middle of the foot, and the modulus of its surface."""
    across, along, height = (length / 2 for length in thing.size)
    young, middle = None, (0.0, 0.0, height)
    if thing.hardness == "deformable":
        reach = height / np.sqrt(1.0 - thing.profile[0] ** 2)
        part: Part = ellipsoid(along, across, float(reach))
        young = FILLING_YOUNG if thing.material == "Polyester" else young_of_shore_a(SHORE_A)
    else:
        part = box(along, across, height) if thing.boxy else frustum(thing.radius, thing.radius, height)
    return GraspObject(name=thing.name, parts=(put(part, middle),), mass=thing.mass, friction=thing.friction, young=young)


class Fingertips:
    """The worn sensors."""

    def __init__(self) -> None:
        """Put a sensor with small pictures on each finger of `WORN`."""
        model = pictured(get_sensor(SENSOR), LONGEST)
        self._pads = {finger: TouchSensor(model, unit) for unit, finger in enumerate(WORN)}
        pad = model.pad
        self._half = np.array([pad.height / 2, pad.width / 2])
        y, x = cell_centres(_CELLS, (pad.height / _CELLS[0], pad.width / _CELLS[1]))
        self._dome = ((x**2 + y**2) / (2 * _DOME)).astype(np.float32)

    def specs(self) -> list[StreamSpec]:
        """Return the streams `touch.FINGER`."""
        return [
            StreamSpec(
                name=f"touch.{finger}", kind="touch", shape=(*pad.image_shape, 3), dtype="uint8", rate_hz=RATE_HZ, frame="gel"
            )
            for finger, pad in self._pads.items()
        ]

    def begin_episode(self, rng: np.random.Generator) -> None:
        """Draw what stays the same for an episode; all noise of the episode comes from `rng`."""
        self._rng = rng
        for pad in self._pads.values():
            pad.begin_episode(rng)

    def sense(self, rig: Rig, now: float) -> dict[str, TactileFrame]:
        """Return a frame of each finger."""
        return {finger: pad.frame(self.contact(finger, rig), self._rng, now) for finger, pad in self._pads.items()}

    def contact(self, finger: str, rig: Rig) -> Contact | None:
        """Return what the object does to a finger's gel; None if it does nothing."""
        object_from_link, length, force = rig.last_link(finger)
        along, axes = _LINK[finger]
        load = Load(force=axes @ force, torque=0.0)
        if load.force[2] <= 0.0:
            return None
        thing = felt_shape(rig.thing)
        centre = (length - self._half[0]) * along - RADIUS * axes[2]
        turn = object_from_link[:3, :3]
        gap = gap_map(pack(thing), turn @ centre + object_from_link[:3, 3], axes @ turn.T, self._half, _CELLS, _FREE, _BEHIND)
        return felt(self._pads[finger].model, gap + self._dome, load, thing.young)
