"""What a touch data set presses, where, and how: drawn from a seed, the same for every sensor.

`fine`: a stand presses the same place with the same speed and depth on every sensor. `coarse`: a hand does, each time a little elsewhere,
at an uneven speed, sliding and turning while it holds. (After the two kinds of data of AnyTouch 2, arXiv 2602.09617.)
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from palpate.core.errors import PalpateError
from palpate.core.randomness import generator
from palpate.core.units import DEG, MM
from palpate.sensors.touch.forms import KINDS
from palpate.sensors.touch.materials import MATERIALS, Material
from palpate.sensors.touch.outlines import LETTERS
from palpate.sensors.touch.shapes import Pose, Shape, Thing, make_shape

Mode = Literal["fine", "coarse"]

LEAD, HOLD, TAIL = 0.06, 0.12, 0.05
"""Without contact before, at full depth, without contact after [s]."""
_OBJECTS = 1
"""Key of the generator of objects; touches use keys of 2 and more."""

_SPREAD = np.array([0.4, 0.6, 0.1])
"""How much pieces of one material differ in stiffness, roughness and friction, standard deviations of their logarithms: guesses."""
_FINISH = 1e-6
"""Added to every roughness, so that polished things differ too [m]."""
_SIZES: dict[str, tuple[float, float]] = {"sphere": (2, 10), "cylinder": (1.5, 8), "flat": (1.5, 4), "key": (18, 28)}
"""Range of the first length of some families [mm]; others: 0.7 to 1.4 of their default."""


@dataclass(frozen=True, kw_only=True)
class Touch:
    """One touch as planned, before any gel has a say."""

    thing: Thing
    object_name: str
    spot: str
    """The place on the object: what every sensor touches in turn. Each touch has its own."""
    depth: float
    """[m]; less where a sensor could not take it."""
    speed: float
    """Of approach and release, at full depth [m/s]."""


@dataclass(frozen=True, kw_only=True)
class Path:
    """How one sensor is touched: pose, depth and motion along its gel over time."""

    pose: Pose
    depth: float
    ramp: float
    """Time from first contact to full depth, and back [s]."""
    pause: float = 0.0
    """Least time of each phase without motion [s]; longer than a frame, so that no sensor misses it."""
    uneven: float = 0.0
    """0: constant speed; 1: as smooth as a hand."""
    slide: tuple[float, float] = (0.0, 0.0)
    """Motion along the gel during the hold [m]."""
    twist: float = 0.0
    """Turn during the hold [rad]."""

    @property
    def times(self) -> tuple[float, float, float, float, float]:
        """First contact, full depth, start of the release, last contact, end [s]."""
        contact = max(LEAD, self.pause)
        hold = contact + self.ramp
        release = hold + max(HOLD, self.pause)
        return contact, hold, release, release + self.ramp, release + self.ramp + max(TAIL, self.pause)

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return (T, 4) depth [m], x, y [m] along the gel since first contact, and turn [rad] at times [s]."""
        contact, hold, release, free, _ = self.times
        share = np.interp(times, [contact, hold, release, free], [0.0, 1.0, 1.0, 0.0])
        share = share + self.uneven * (share * share * (3 - 2 * share) - share)
        moved = np.interp(times, [hold, release], [0.0, 1.0])
        return np.stack([self.depth * share, self.slide[0] * moved, self.slide[1] * moved, self.twist * moved], axis=1)


def draw_object(seed: int, number: int) -> Thing:
    """Return object `number` of a seed: a shape of some size, and a piece of a material that it may be made of.

    Pieces of one material differ: in stiffness, friction and roughness, which touch can sense. `Material.name` stays.
    """
    rng = generator(seed, _OBJECTS, number)
    names = sorted(KINDS)
    shape = _draw_shape(names[number % len(names)], rng)
    materials = sorted(MATERIALS)
    material = MATERIALS["cloth" if shape.name == "weave" else materials[int(rng.integers(len(materials)))]]
    return Thing(shape, _piece(material, rng), seed=int(rng.integers(2**31)))


def _piece(material: Material, rng: np.random.Generator) -> Material:
    """Return one piece of a material: its figures are of usual size, not those of any one thing."""
    stiffer, rougher, grippier = np.exp(rng.normal(0.0, _SPREAD))
    return replace(
        material,
        young=None if material.young is None else float(material.young * stiffer),
        roughness=float((material.roughness + _FINISH) * rougher),
        friction=float(material.friction * grippier),
    )


def _draw_shape(name: str, rng: np.random.Generator) -> Shape:
    given: dict[str, float | str] = {}
    scale = rng.uniform(0.7, 1.4)  # one scale for all lengths keeps a nut a nut
    for key, parameter in KINDS[name].parameters.items():
        default = parameter.default
        if parameter.kind == "text":
            given[key] = LETTERS[int(rng.integers(len(LETTERS)))]
        elif parameter.kind == "count":
            given[key] = float(rng.integers(4, 10)) if key != "seed" else float(rng.integers(2**31))
        elif parameter.kind == "length" and isinstance(default, float):
            given[key] = default * scale
        elif parameter.kind == "angle":
            given[key] = float(rng.uniform(60, 130)) * DEG
    first = next(iter(KINDS[name].parameters))
    if name in _SIZES:
        given[first] = float(np.exp(rng.uniform(*np.log(_SIZES[name])))) * MM
    return make_shape(name, **given)


def draw_touch(seed: int, index: int, objects: int) -> Touch:
    """Return touch `index` of a seed.

    Args:
        seed: of the data set.
        index: number of the touch.
        objects: how many different objects there are.

    Raises:
        PalpateError: less than one object.
    """
    if objects < 1:
        raise PalpateError(f"--objects {objects}: at least 1 is needed")
    rng = generator(seed, 2, index)
    number = int(rng.integers(objects))
    thing = draw_object(seed, number)
    x, y = rng.uniform(-2.0, 2.0, 2) * MM
    pose = Pose(float(x), float(y), float(rng.uniform(0, 2 * np.pi)))
    depth, speed = np.exp(rng.uniform(np.log([0.25, 4.0]), np.log([1.2, 12.0]))) * MM
    name = f"object-{number:04d}"
    return Touch(
        thing=replace(thing, pose=pose), object_name=name, spot=f"{name}/{index}", depth=float(depth), speed=float(speed)
    )


def draw_path(touch: Touch, mode: Mode, rng: np.random.Generator, *, pause: float = 0.0) -> Path:
    """Return how one sensor is touched; in `fine` mode the same for all.

    Args:
        touch: the touch, its depth already one that every sensor can take.
        mode: `fine` or `coarse`.
        rng: of this touch and sensor; unused in `fine` mode.
        pause: least time of each phase without motion [s].
    """
    ramp = touch.depth / touch.speed
    pose = touch.thing.pose
    if mode == "fine":
        return Path(pose=pose, depth=touch.depth, ramp=ramp, pause=pause)
    x, y = rng.normal(0.0, 0.4, 2) * MM
    pose = Pose(pose.x + float(x), pose.y + float(y), pose.yaw + float(rng.normal(0.0, 8.0)) * DEG)
    slide, turn = rng.uniform(0.1, 0.8) * MM, rng.uniform(0, 2 * np.pi)
    twist = float(rng.choice([-1.0, 1.0]) * rng.uniform(1.0, 10.0)) * DEG
    return Path(
        pose=pose,
        depth=touch.depth * float(rng.uniform(0.7, 1.0)),
        ramp=ramp,  # of one hand: the phases of all sensors begin and end together, only the speed differs
        pause=pause,
        uneven=float(rng.uniform(0.3, 1.0)),
        slide=(float(slide * np.cos(turn)), float(slide * np.sin(turn))),
        twist=twist,
    )
