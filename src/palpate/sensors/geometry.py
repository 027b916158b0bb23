"""Convex shapes that a software camera can look at: where they lie in its image, and the numbers that describe them to the rasteriser.

All shapes are solid and convex, each given in its own body frame. `palpate.sensors.raster` meets them with rays.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from palpate.sensors import raster

NEAR = 0.05
"""Shapes closer than this to the image plane [m] are looked for in the whole image, since their outline is unbounded."""

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Primitive(ABC):
    """A coloured convex solid somewhere in the world."""

    world_from_body: np.ndarray
    """(4, 4) rigid transform."""
    colour: tuple[float, float, float] = (0.6, 0.6, 0.6)
    """RGB reflectance in 0..1."""
    id: str = ""
    """Name of what it belongs to, for example `object` or `middle`."""
    kind: ClassVar[int]
    """Which solid the rasteriser takes it for."""

    @property
    @abstractmethod
    def sizes(self) -> tuple[float, float, float]:
        """Three lengths [m]; what they mean depends on `kind`."""

    @abstractmethod
    def bounds(self, camera_from_body: np.ndarray) -> Bounds | None:
        """Return least and largest u and v of its image, or None if it is not bounded (too close) or behind the camera."""


_CORNERS = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]), -1).reshape(-1, 3)


def _quadric_bounds(camera_from_body: np.ndarray, semi: tuple[float, float, float]) -> Bounds | None:
    """Return the exact image rectangle of an ellipsoid from the dual conic of its outline. Plain numbers: arrays this small cost more."""
    (ax, ay, az, cx), (bx, by, bz, cy), (gx, gy, gz, cz) = camera_from_body[:3].tolist()
    i, j, k = semi
    gx, gy, gz = gx * i, gy * j, gz * k
    depth = cz * cz - (gx * gx + gy * gy + gz * gz)
    if cz < NEAR or cz - math.sqrt(cz * cz - depth) < NEAR:
        return None
    out = []
    for x, y, z, c in ((ax * i, ay * j, az * k, cx), (bx * i, by * j, bz * k, cy)):
        side, cross = c * c - (x * x + y * y + z * z), c * cz - (x * gx + y * gy + z * gz)
        half = math.sqrt(max(cross * cross - side * depth, 0.0))
        out += [(cross - half) / depth, (cross + half) / depth]
    return out[0], out[1], out[2], out[3]


@dataclass(frozen=True, kw_only=True)
class Ellipsoid(Primitive):
    """An ellipsoid along its body's axes."""

    half_axes: tuple[float, float, float]
    """[m]."""
    kind: ClassVar[int] = raster.ELLIPSOID

    @property
    def sizes(self) -> tuple[float, float, float]:
        """Half axes [m]."""
        return self.half_axes

    def bounds(self, camera_from_body: np.ndarray) -> Bounds | None:
        """See `Primitive.bounds`."""
        return _quadric_bounds(camera_from_body, self.half_axes)


@dataclass(frozen=True, kw_only=True)
class Sphere(Primitive):
    """A ball."""

    radius: float
    """[m]."""
    kind: ClassVar[int] = raster.ELLIPSOID

    @property
    def sizes(self) -> tuple[float, float, float]:
        """Half axes [m]: the radius, three times."""
        return (self.radius, self.radius, self.radius)

    def bounds(self, camera_from_body: np.ndarray) -> Bounds | None:
        """See `Primitive.bounds`."""
        return _quadric_bounds(camera_from_body, (self.radius, self.radius, self.radius))


@dataclass(frozen=True, kw_only=True)
class Capsule(Primitive):
    """A cylinder along z with round ends."""

    radius: float
    """[m]."""
    half_length: float
    """From the centre to the centre of either end ball [m]."""
    kind: ClassVar[int] = raster.CAPSULE

    @property
    def sizes(self) -> tuple[float, float, float]:
        """Radius and half length [m]; the third is unused."""
        return (self.radius, self.half_length, 0.0)

    def bounds(self, camera_from_body: np.ndarray) -> Bounds | None:
        """See `Primitive.bounds`; the rectangle around both end balls."""
        boxes = []
        for end in (-self.half_length, self.half_length):
            at = camera_from_body.copy()
            at[:3, 3] += camera_from_body[:3, 2] * end
            box = _quadric_bounds(at, (self.radius, self.radius, self.radius))
            if box is None:
                return None
            boxes.append(box)
        (a, b, c, d), (e, f, g, h) = boxes
        return min(a, e), max(b, f), min(c, g), max(d, h)


@dataclass(frozen=True, kw_only=True)
class Box(Primitive):
    """A box with its centre in the origin."""

    half_sizes: tuple[float, float, float]
    """[m]."""
    kind: ClassVar[int] = raster.BOX

    @property
    def sizes(self) -> tuple[float, float, float]:
        """Half sizes [m]."""
        return self.half_sizes

    def bounds(self, camera_from_body: np.ndarray) -> Bounds | None:
        """See `Primitive.bounds`."""
        corners = (_CORNERS * np.array(self.half_sizes)) @ camera_from_body[:3, :3].T + camera_from_body[:3, 3]
        if corners[:, 2].min() < NEAR:
            return None
        image = corners[:, :2] / corners[:, 2:]
        (left, top), (right, bottom) = image.min(0), image.max(0)
        return left, right, top, bottom
