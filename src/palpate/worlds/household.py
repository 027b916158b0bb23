"""Things to grasp: rigid or soft bodies made of convex parts, and how each kind is drawn at random.

Colour says nothing about the rest, and size nothing about stiffness, friction or mass. A soft object gives way under a pad like a
half-space of its modulus (see `GraspObject.yielding`); its shape as a whole stays.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.spatial import ConvexHull

Kind = Literal["ellipsoid", "box", "capsule", "frustum", "polytope"]

Vector = tuple[float, float, float]

POISSON = 0.45
"""Of soft objects; an estimate between foam and rubber."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One convex solid, in its own frame: centred, any axis of its own along z."""

    kind: Kind
    size: tuple[float, ...] = ()
    """[m]. Ellipsoid and box: half axes. Capsule: radius, half length. Frustum: radius below, radius above, half height."""
    vertices: tuple[Vector, ...] = ()
    """Corners of a polytope [m]."""
    at: Vector = (0.0, 0.0, 0.0)
    """Place in the object's frame [m]."""
    turn: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    """Quaternion (w, x, y, z), object from part."""
    second: bool = False
    """Shown in the object's second colour."""

    @property
    def volume(self) -> float:
        """[m^3]."""
        s = self.size
        if self.kind == "polytope":
            return float(ConvexHull(np.array(self.vertices)).volume)
        volumes = {
            "ellipsoid": lambda: 4 / 3 * np.pi * s[0] * s[1] * s[2],
            "box": lambda: 8 * s[0] * s[1] * s[2],
            "capsule": lambda: np.pi * s[0] ** 2 * (2 * s[1] + 4 / 3 * s[0]),
            "frustum": lambda: 2 / 3 * np.pi * s[2] * (s[0] ** 2 + s[0] * s[1] + s[1] ** 2),
        }
        return float(volumes[self.kind]())


@dataclass(frozen=True, kw_only=True)
class GraspObject:
    """One thing to grasp."""

    name: str
    parts: tuple[Part, ...]
    mass: float
    """[kg]."""
    friction: float
    """Coulomb coefficient against pads and table."""
    young: float | None = None
    """Young's modulus of a soft object [Pa]; None is hard."""
    ballast: Vector = (0.0, 0.0, 0.0)
    """Where half of the mass sits [m]; the rest is spread over the parts by volume."""
    colour: Vector = (0.6, 0.6, 0.6)
    second_colour: Vector = (0.6, 0.6, 0.6)

    def yielding(self, area: float) -> float | None:
        """Return the stiffness [N/m] with which it gives way to a flat pad of `area` [m^2]: a punch on a half-space; None if hard."""
        if self.young is None:
            return None
        return 2 * self.young / (1 - POISSON**2) * float(np.sqrt(area / np.pi))


def half_turn(axis: str, degrees: float = 90.0) -> tuple[float, float, float, float]:
    """Return the quaternion of a turn about `x`, `y` or `z`."""
    half = np.deg2rad(degrees) / 2
    x, y, z = (float(np.sin(half)) * (axis == name) for name in "xyz")
    return float(np.cos(half)), x, y, z


def prism(sides: int, below: float, above: float, half_height: float, *, squash: float = 1.0) -> Part:
    """Return a prism, or with unequal radii [m] a cut pyramid, on a regular polygon; `squash` narrows it along y."""
    angles = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    ring = np.stack([np.cos(angles), squash * np.sin(angles)], axis=1)
    corners = [(*(radius * ring).T, np.full(sides, z)) for radius, z in ((below, -half_height), (above, half_height))]
    vertices = np.round(np.concatenate([np.stack(c, axis=1) for c in corners]), 6)
    return Part(kind="polytope", vertices=tuple(map(tuple, vertices.tolist())))


def stone(rng: np.random.Generator, half_axes: Vector, corners: int) -> Part:
    """Return an irregular convex stone: the hull of random points on an ellipsoid of these half axes [m]."""
    points = rng.normal(size=(corners, 3))
    points *= np.array(half_axes) / np.linalg.norm(points, axis=1, keepdims=True)
    hull = np.round(points[ConvexHull(points).vertices], 6)
    return Part(kind="polytope", vertices=tuple(map(tuple, (hull - hull.mean(axis=0)).round(6).tolist())))


def put(part: Part, at: Vector, turn: tuple[float, float, float, float] | None = None, *, second: bool = False) -> Part:
    """Return the part somewhere else in its object."""
    return replace(part, at=at, turn=part.turn if turn is None else turn, second=second)


def box(x: float, y: float, z: float) -> Part:
    """Return a box of these half sizes [m]."""
    return Part(kind="box", size=(x, y, z))


def frustum(below: float, above: float, half_height: float) -> Part:
    """Return a cut cone, a cylinder if both radii [m] are equal."""
    return Part(kind="frustum", size=(below, above, half_height))


def ellipsoid(x: float, y: float, z: float) -> Part:
    """Return an ellipsoid of these half axes [m]."""
    return Part(kind="ellipsoid", size=(x, y, z))


def capsule(radius: float, half_length: float) -> Part:
    """Return a cylinder along z with round ends; the half length [m] is that between the balls' centres."""
    return Part(kind="capsule", size=(radius, half_length))


def polytope(*corners: Vector) -> Part:
    """Return the convex hull of corners [m]."""
    return Part(kind="polytope", vertices=corners)


def any_colour(rng: np.random.Generator) -> Vector:
    """Draw a colour."""
    red, green, blue = rng.uniform(0.12, 0.9, 3).round(3).tolist()
    return red, green, blue
