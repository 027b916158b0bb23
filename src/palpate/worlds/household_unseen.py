"""Two sets of 11 objects that nothing is trained on, of other kinds than the training family.

Their masses are those of More Than a Feeling, Table II. Shapes, friction and stiffness are ours: the paper shows pictures only.
"""

from dataclasses import dataclass, replace

from palpate.core.randomness import generator
from palpate.worlds.household import (
    GraspObject,
    Part,
    Vector,
    any_colour,
    box,
    capsule,
    ellipsoid,
    frustum,
    half_turn,
    polytope,
    prism,
    put,
    stone,
)

EASY_MASSES = (0.215, 0.160, 0.040, 0.125, 0.125, 0.065, 0.135, 0.030, 0.380, 0.140, 0.010)
HARD_MASSES = (0.230, 0.120, 0.195, 0.050, 0.070, 0.085, 0.038, 0.165, 0.065, 0.340, 0.110)
"""[kg], in the order of Table II."""


@dataclass(frozen=True)
class _Plan:
    """Shape and matter of a test object."""

    name: str
    friction: float
    parts: tuple[Part, ...]
    young: float | None = None
    ballast: Vector = (0.0, 0.0, 0.0)


def _double(below: float, middle: float, above: float, half: float) -> tuple[Part, ...]:
    """Two cut cones on one another."""
    return put(frustum(below, middle, half), (0, 0, -half)), put(frustum(middle, above, half), (0, 0, half))


def _house() -> tuple[Part, ...]:
    eaves = [(x, y, -0.01) for x in (-0.024, 0.024) for y in (-0.022, 0.022)]
    roof = polytope(*eaves, (-0.024, 0.0, 0.014), (0.024, 0.0, 0.014))
    return box(0.024, 0.022, 0.030), put(roof, (0, 0, 0.04), second=True)


def _tower() -> tuple[Part, ...]:
    steps = ((0.030, -0.028), (0.024, 0.0), (0.018, 0.028))
    return tuple(put(box(half, half, 0.014), (0, 0, z), second=z == 0) for half, z in steps)


def _trophy() -> tuple[Part, ...]:
    foot, bowl = (
        put(frustum(0.030, 0.030, 0.006), (0, 0, -0.034)),
        put(frustum(0.018, 0.030, 0.018), (0, 0, 0.045), second=True),
    )
    return foot, frustum(0.012, 0.012, 0.030), bowl


def _easy() -> tuple[_Plan, ...]:
    """Upright, mostly hard, of good friction."""
    lid = put(frustum(0.027, 0.027, 0.008), (0, 0, 0.053), second=True)
    return (
        _Plan("house", 0.38, _house()),
        _Plan("barrel", 0.35, _double(0.024, 0.031, 0.024, 0.020)),
        _Plan("octagon", 0.38, (prism(8, 0.026, 0.026, 0.036),)),
        _Plan("pyramid", 0.42, (prism(4, 0.040, 0.024, 0.036),)),
        _Plan("hourglass", 0.42, _double(0.028, 0.018, 0.028, 0.020)),
        _Plan("tower", 0.40, _tower()),
        _Plan("plus", 0.38, (box(0.032, 0.012, 0.034), put(box(0.012, 0.032, 0.033), (0, 0, -0.001), second=True))),
        _Plan("sponge", 0.42, (prism(5, 0.030, 0.030, 0.034),), young=4e5),
        _Plan("jar", 0.42, (frustum(0.033, 0.033, 0.045), lid)),
        _Plan("trophy", 0.42, _trophy()),
        _Plan("lampshade", 0.35, (prism(12, 0.034, 0.022, 0.030),), young=8e5),
    )


def _plush() -> tuple[Part, ...]:
    legs = [put(ellipsoid(0.012, 0.012, 0.016), (x, y, -0.018), second=True) for x in (-0.022, 0.022) for y in (-0.018, 0.018)]
    return ellipsoid(0.030, 0.026, 0.032), *legs


def _wedge() -> tuple[Part, ...]:
    profile = ((-0.026, -0.030), (0.026, -0.030), (-0.004, 0.030), (0.004, 0.030))
    return (polytope(*((x, y, z) for x in (-0.030, 0.030) for y, z in profile)),)


def _bird() -> tuple[Part, ...]:
    wings = [
        put(ellipsoid(0.026, 0.012, 0.010), (0, side * 0.020, 0.004), half_turn("z", side * 60), second=True)
        for side in (1, -1)
    ]
    return ellipsoid(0.034, 0.018, 0.020), put(ellipsoid(0.013, 0.013, 0.013), (0.032, 0, 0.018)), *wings


def _bellows() -> tuple[Part, ...]:
    wide = [0.004 * (k % 2) for k in range(5)]
    return tuple(put(frustum(0.014 + w, 0.018 - w, 0.008), (0, 0, 0.016 * (k - 2))) for k, w in enumerate(wide))


def _hard() -> tuple[_Plan, ...]:
    """Compliant, small, irregular, heavy, slippery."""
    rng = generator(0, 2_000_081)
    rock, pebble, chip = (
        (stone(rng, axes, corners),)
        for axes, corners in (((0.036, 0.028, 0.030), 16), ((0.022, 0.018, 0.016), 14), ((0.024, 0.016, 0.009), 12))
    )
    triangle = prism(3, 0.030, 0.030, 0.012)
    star = put(prism(3, 0.030, 0.030, 0.011), (0, 0, -0.001), half_turn("z", 180), second=True)
    head = put(box(0.028, 0.013, 0.013), (0, 0.042, 0), second=True)
    return (
        _Plan("rock", 0.30, rock),
        _Plan("plush", 0.38, _plush(), young=8e4),
        _Plan("wedge", 0.20, _wedge()),
        _Plan("die", 0.25, (box(0.009, 0.009, 0.009),)),
        _Plan("bird", 0.30, _bird(), young=2e5),
        _Plan("pebble", 0.25, pebble),
        _Plan("chip", 0.30, chip),
        _Plan("soap", 0.16, (ellipsoid(0.040, 0.026, 0.016), prism(12, 0.036, 0.036, 0.010, squash=0.65)), young=1.2e6),
        _Plan("star", 0.25, (triangle, star)),
        _Plan("hammer", 0.30, (put(capsule(0.010, 0.036), (0, 0, 0), half_turn("x")), head), ballast=(0.0, 0.042, 0.0)),
        _Plan("bellows", 0.22, _bellows(), young=1.5e5),
    )


def _dressed(kind: str, plans: tuple[_Plan, ...], masses: tuple[float, ...], key: int) -> tuple[GraspObject, ...]:
    """Give plans their masses and colours."""
    out = []
    for number, (plan, mass) in enumerate(zip(plans, masses, strict=True)):
        rng = generator(key, number)
        thing = GraspObject(name=f"{kind}-{plan.name}", parts=plan.parts, mass=mass, friction=plan.friction, young=plan.young)
        out.append(replace(thing, ballast=plan.ballast, colour=any_colour(rng), second_colour=any_colour(rng)))
    return tuple(out)


def easy_objects() -> tuple[GraspObject, ...]:
    """Return the easy test objects."""
    return _dressed("easy", _easy(), EASY_MASSES, 2_000_029)


def hard_objects() -> tuple[GraspObject, ...]:
    """Return the hard test objects."""
    return _dressed("hard", _hard(), HARD_MASSES, 2_000_039)
