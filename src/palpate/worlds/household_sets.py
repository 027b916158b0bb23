"""The objects of the regrasp world by set: a training family of 72, drawn here, and the two unseen sets."""

from collections.abc import Callable

import numpy as np

from palpate.core.errors import UnknownNameError
from palpate.core.randomness import generator
from palpate.worlds.household import (
    GraspObject,
    Part,
    any_colour,
    box,
    capsule,
    ellipsoid,
    frustum,
    half_turn,
    prism,
    put,
)
from palpate.worlds.household_unseen import easy_objects, hard_objects

SOFT_SHARE = 0.35
"""Share of the training objects that are soft."""
YOUNG = (6e4, 1.5e6)
"""Of soft objects, log-uniform [Pa]: foam and plush to rubber."""
FRICTION = (0.10, 0.42)
"""Uniform: glossy plastic to cardboard on a worn, coated gel. An estimate, chosen so that about 4 of 10 random regrasps hold."""
MASS = (0.010, 0.380)
"""[kg]. Light things are more frequent, so that the median is that of More Than a Feeling, Table II: 0.12."""
BALLAST_SHARE = 0.35
"""Share of the objects with a centre of mass off the middle."""

Maker = Callable[[np.random.Generator], tuple[Part, ...]]


def _between(rng: np.random.Generator, low_mm: float, high_mm: float) -> float:
    return round(float(rng.uniform(low_mm, high_mm)) / 1000, 5)


def _block(rng: np.random.Generator) -> tuple[Part, ...]:
    return (box(_between(rng, 10, 38), _between(rng, 10, 32), _between(rng, 15, 55)),)


def _tin(rng: np.random.Generator) -> tuple[Part, ...]:
    radius = _between(rng, 12, 38)
    return (frustum(radius, radius, _between(rng, 18, 60)),)


def _egg(rng: np.random.Generator) -> tuple[Part, ...]:
    return (ellipsoid(_between(rng, 18, 40), _between(rng, 18, 36), _between(rng, 18, 36)),)


def _sausage(rng: np.random.Generator) -> tuple[Part, ...]:
    return (capsule(_between(rng, 11, 24), _between(rng, 14, 32)),)


def _cup(rng: np.random.Generator) -> tuple[Part, ...]:
    return (frustum(_between(rng, 16, 36), _between(rng, 14, 34), _between(rng, 20, 50)),)


def _hexagon(rng: np.random.Generator) -> tuple[Part, ...]:
    radius = _between(rng, 14, 38)
    return (prism(6, radius, radius, _between(rng, 18, 50)),)


def _angle(rng: np.random.Generator) -> tuple[Part, ...]:
    """An L."""
    long, thick, wide = _between(rng, 26, 42), _between(rng, 8, 13), _between(rng, 10, 18)
    foot = _between(rng, 12, 24)
    return (box(thick, wide, long), put(box(foot, wide, thick), (thick + foot, 0.0, thick - long), second=True))


def _tee(rng: np.random.Generator) -> tuple[Part, ...]:
    stem, bar, thick = _between(rng, 20, 34), _between(rng, 22, 40), _between(rng, 8, 13)
    wide = _between(rng, 10, 18)
    return (box(thick, wide, stem), put(box(bar, wide, thick), (0.0, 0.0, stem + thick), second=True))


def _mug(rng: np.random.Generator) -> tuple[Part, ...]:
    radius, height, bow = _between(rng, 22, 34), _between(rng, 30, 48), _between(rng, 9, 13)
    grip = box(0.004, 0.007, 0.6 * height)
    arms = [put(box(bow, 0.007, 0.005), (radius + bow, 0.0, side * 0.5 * height), second=True) for side in (-1, 1)]
    return (frustum(radius, radius, height), put(grip, (radius + 2 * bow, 0.0, 0.0), second=True), *arms)


def _dumbbell(rng: np.random.Generator) -> tuple[Part, ...]:
    radius, other, half = _between(rng, 16, 26), _between(rng, 14, 24), _between(rng, 22, 34)
    bar, along = _between(rng, 7, 11), half_turn("y")
    ball, ball2 = ellipsoid(radius, radius, radius), ellipsoid(other, other, other)
    return (
        put(capsule(bar, half), (0.0, 0.0, 0.0), along),
        put(ball, (-half, 0.0, 0.0)),
        put(ball2, (half, 0.0, 0.0), second=True),
    )


def _bottle(rng: np.random.Generator) -> tuple[Part, ...]:
    radius, body, neck = _between(rng, 18, 32), _between(rng, 28, 42), _between(rng, 8, 13)
    shoulder, top = _between(rng, 6, 12), _between(rng, 8, 14)
    return (
        frustum(radius, radius, body),
        put(frustum(radius, neck, shoulder), (0.0, 0.0, body + shoulder)),
        put(frustum(neck, neck, top), (0.0, 0.0, body + 2 * shoulder + top), second=True),
    )


def _knobs(rng: np.random.Generator) -> tuple[Part, ...]:
    """A block with a flat knob on every face."""
    x, y, z = _between(rng, 16, 32), _between(rng, 16, 30), _between(rng, 16, 40)
    bulge = _between(rng, 3, 7)
    return (
        box(x, y, z),
        ellipsoid(x + bulge, 0.95 * y, 0.95 * z),
        ellipsoid(0.95 * x, y + bulge, 0.95 * z),
        ellipsoid(0.95 * x, 0.95 * y, z + bulge),
    )


FAMILY: dict[str, tuple[Maker, int]] = {
    "block": (_block, 11),
    "tin": (_tin, 9),
    "egg": (_egg, 7),
    "sausage": (_sausage, 6),
    "cup": (_cup, 6),
    "hexagon": (_hexagon, 5),
    "angle": (_angle, 5),
    "tee": (_tee, 4),
    "mug": (_mug, 5),
    "dumbbell": (_dumbbell, 4),
    "bottle": (_bottle, 6),
    "knobs": (_knobs, 4),
}
"""Kinds of training objects and how many there are of each."""


def _matter(rng: np.random.Generator, name: str, parts: tuple[Part, ...]) -> GraspObject:
    """Draw what is independent of the shape: mass, friction, softness, ballast, colours."""
    soft = rng.random() < SOFT_SHARE
    young = float(np.exp(rng.uniform(*np.log(YOUNG))))
    reach = np.min([[abs(c) + 0.5 * min(part.size or (0.02,)) for c in part.at] for part in parts], axis=0)
    off = rng.uniform(-1, 1, 3) * np.maximum(reach, 0.012)
    heavy = rng.random() < BALLAST_SHARE
    return GraspObject(
        name=name,
        parts=parts,
        mass=float(MASS[0] + (MASS[1] - MASS[0]) * rng.random() ** 1.7),
        friction=float(rng.uniform(*FRICTION)),
        young=young if soft else None,
        ballast=tuple(off.round(5).tolist()) if heavy else (0.0, 0.0, 0.0),
        colour=any_colour(rng),
        second_colour=any_colour(rng),
    )


def training_objects(seed: int = 0) -> tuple[GraspObject, ...]:
    """Return the training objects, kinds mixed; the same for ever for a seed."""
    kinds = [(kind, maker) for kind, (maker, count) in FAMILY.items() for _ in range(count)]
    order = generator(seed, 2_000_003).permutation(len(kinds))
    out = []
    for number, place in enumerate(order):
        kind, maker = kinds[place]
        rng = generator(seed, 2_000_003, number)
        out.append(_matter(rng, f"{kind}-{seed}-{number:02d}", maker(rng)))
    return tuple(out)


SETS = ("training", "easy", "hard")


def object_set(name: str, seed: int = 0) -> tuple[GraspObject, ...]:
    """Return the objects of a set; `seed` is that of the training family.

    Raises:
        UnknownNameError: no such set.
    """
    if name not in SETS:
        raise UnknownNameError("set of objects", name, SETS)
    if name == "training":
        return training_objects(seed)
    return easy_objects() if name == "easy" else hard_objects()
