"""What differs between trials of the pouring world, and what a cup that is held does to the gels.

Half of the weight of cup and beads pulls on each gel, and half of their moment about the grasp twists it; beads that push sideways press
more on one finger. The gels give way as far as their own mechanics say, and the cup with them, so that its imprint moves and turns.

The cup is knurled, as cups that must not slip are: relief that varies along the cup and around it shows motion in both directions. At 60 to
85 degrees of tilt nearly all of the weight pulls across the cup, where the imprint of a smooth cylinder, or of rings, hardly changes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from palpate.core.units import DEG, MM
from palpate.sensors.touch.contact import Contact, cell_centres
from palpate.sensors.touch.sensor import TouchSensor
from palpate.worlds.gripper import FORCE_ERROR, SIDES
from palpate.worlds.pouring_physics import DENSITY, Cup

LOAD = 0.100
"""Of beads [kg] (A.8)."""
PACKING = 0.58
"""Share of the volume that beads fill when poured loosely; sizes the cups."""

GAP_SHAPE = (30, 40)
"""Rows and columns of the gap maps; cells of 0.47 mm."""
_PROBE_SHIFT, _PROBE_TWIST = 0.05 * MM, 0.01
"""Motion with which a gel's stiffness is found, [m] and [rad]."""
_UNFELT = np.array([0.5e-6, 0.5e-6, 0.5e-4, 0.0025])
"""A gel is not solved anew for less: motion along x and y [m], turn [rad], push [N]. Half a micrometre is half a gram of beads."""

KEPT = 0.02
"""A cup that stays in the gripper is found so much less displaced than one that is grasped anew; an estimate: 16 micrometres."""

Cups = Literal["same", "varied"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What differs from trial to trial."""

    cup: Cup
    wall: float
    """Thickness of the cup's wall [m]."""
    balance: float
    """Height of the empty cup's centre of mass, share of the cup's height."""
    grasp: float
    """Height of the pads' centres, share of the cup's height."""
    grip: float
    """Force of each pad at rest [N]."""
    place: tuple[float, float]
    """How far the cup's axis lies beside the pads' centres, towards the lip [m], and how it leans there [rad]."""
    knurl: tuple[float, float, float]
    """Height and pitch, along and around the cup, of its diamond knurl [m], and the phase along the cup at the pads' middle [rad]."""
    mount: tuple[tuple[float, float], tuple[float, float]]
    """How far each sensor sits beside where it should, along its x [m], and how it is turned there [rad]."""


def draw_trial(cups: Cups, rng: np.random.Generator) -> Trial:
    """Draw cup, beads and grasp. Estimates: plastic cups with a coarse moulded knurl, glass beads."""
    wide = 1.0 if cups == "varied" else 0.0
    held = 1.0 if cups == "varied" else KEPT

    def between(low: float, high: float, share: float = wide) -> float:
        middle, half = (low + high) / 2, (high - low) / 2
        return float(middle + share * half * rng.uniform(-1.0, 1.0))

    radius, fill = between(0.023, 0.027), between(0.68, 0.80)
    cup = Cup(
        radius=radius,
        height=LOAD / (DENSITY * PACKING * np.pi * radius**2 * fill),
        mass=between(0.030, 0.060),
        beads=round(between(80, 120)),
        load=LOAD,
        spread=0.05,
        friction=between(0.15, 0.30),
        rolling=between(0.005, 0.02),
        restitution=0.5,
    )
    return Trial(
        cup=cup,
        wall=0.0015,
        balance=0.45,
        grasp=between(0.40, 0.60),
        grip=between(5.0, 8.0) * (1 + FORCE_ERROR * rng.normal()),
        place=(held * 0.8 * MM * rng.normal(), held * 1.5 * DEG * rng.normal()),
        knurl=(between(0.05 * MM, 0.25 * MM), between(2.5 * MM, 4.0 * MM), wide * rng.uniform(0.0, 2 * np.pi)),
        mount=(_mount(wide, rng), _mount(wide, rng)),
    )


def _mount(wide: float, rng: np.random.Generator) -> tuple[float, float]:
    return wide * 0.1 * MM * rng.normal(), wide * 0.2 * DEG * rng.normal()


def knurl_depth(along: np.ndarray, around: np.ndarray, knurl: tuple[float, float, float]) -> np.ndarray:
    """Return how far the side lies below the tops of its diamond knurl, 0 to the knurl's height [m].

    Args:
        along: place along the cup's axis [m].
        around: place along the circumference [m], broadcasts with `along`.
        knurl: as in `Trial`.
    """
    high, pitch, phase = knurl
    return 0.5 * high * (1.0 - np.cos(2 * np.pi * along / pitch + phase) * np.cos(2 * np.pi * around / pitch))


class Grasp:
    """What the cup does to the two gels, from the load on the cup. Cup frame as in `palpate.worlds.pouring_physics`."""

    def __init__(self, sensors: list[TouchSensor], trial: Trial) -> None:
        """Close the gripper on the cup and find how far the gels, left and right, give way."""
        self._sensors, self._trial = sensors, trial
        self._carries = [sensor.model.markers is not None for sensor in sensors]
        self._rest = [self._pressed(k, np.zeros(3), trial.grip, None) for k in range(2)]
        self._last = list(self._rest)
        self._felt = [np.array([0.0, 0.0, 0.0, trial.grip])] * 2
        self._stiffness = self._probe()

    def _pressed(self, finger: int, motion: np.ndarray, force: float, before: Contact | None) -> Contact:
        """Return the contact of a cup that has moved by x, y [m] and turned [rad] over the gel since the grasp."""
        sensor = self._sensors[finger]
        gap = self._gap(finger, motion)
        if before is None or not self._carries[finger]:
            return sensor.contact(gap, force, before=before)
        shift = (float(motion[0]), float(motion[1]))
        return sensor.contact(gap, force, shift=shift, twist=float(motion[2]), before=self._rest[finger])

    def _gap(self, finger: int, motion: np.ndarray) -> np.ndarray:
        """Return the distance of the cup's side from the undeformed gel [m]."""
        trial, pad, side = self._trial, self._sensors[finger].model.pad, SIDES[finger]
        y, x = cell_centres(GAP_SHAPE, (pad.height / GAP_SHAPE[0], pad.width / GAP_SHAPE[1]))
        x = x - side * trial.place[0] - trial.mount[finger][0] - motion[0]
        y = y - motion[1]
        turn = side * trial.place[1] + trial.mount[finger][1] + motion[2]
        across, along = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        radius = trial.cup.radius + trial.wall
        relief = knurl_depth(along, radius * np.arcsin(across / radius), trial.knurl)
        return (radius - np.sqrt(radius**2 - across**2) + relief).astype(np.float32)

    def _probe(self) -> np.ndarray:
        """Return the stiffness (3,) of one gel against shift along x and y [N/m] and twist [N m/rad], from its own mechanics."""
        rest, sensor = self._rest[0], self._sensors[0]
        gap = self._gap(0, np.zeros(3))
        out = []
        for k in range(3):
            shift, twist = [0.0, 0.0], 0.0
            if k < 2:
                shift[k] = _PROBE_SHIFT
            else:
                twist = _PROBE_TWIST
            moved = sensor.contact(gap, self._trial.grip, shift=(shift[0], shift[1]), twist=twist, before=rest)
            out.append(moved.torque[2] / _PROBE_TWIST if k == 2 else moved.force[k] / _PROBE_SHIFT)
        return np.array(out, float)

    def contacts(self, force: np.ndarray, moment: np.ndarray) -> list[Contact]:
        """Return what the gels feel of a force (3,) [N] on the cup and its moment (3,) about the pads' middle [N m], cup frame.

        Both gels carry the same share. Moments about other axes than that of the tilt come to nothing but for bead's knocks.
        """
        for k, side in enumerate(SIDES):
            # Gel frame: x is side * x of the cup, y is down the cup, z is side * y.
            load = np.array([side * force[0], -force[2], side * moment[1]]) / 2
            push = max(self._trial.grip + side * force[1] / 2, 0.0)
            state = np.append(load / self._stiffness, push)
            if (np.abs(state - self._felt[k]) > _UNFELT).any():
                self._last[k], self._felt[k] = self._pressed(k, state[:3], push, self._last[k]), state
        return list(self._last)
