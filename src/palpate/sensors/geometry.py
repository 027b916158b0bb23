"""Convex shapes that a software camera or a touch pad can look at: where rays meet them, and how their surface leans.

All shapes are solid and convex, each given in its own body frame. Rays of a pinhole camera are (u, v, 1) in the camera frame, so the
ray parameter at a hit is the depth along the optical axis [m]. Arrays are float32: the image is 8 bits deep, the depth 0.25 mm.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

NEAR = 0.05
"""Shapes closer than this to the image plane [m] are looked for in the whole image, since their outline is unbounded."""


class Rays(NamedTuple):
    """A grid of rays in a body frame: origin + depth * (column * u + row * v + axis)."""

    origin: np.ndarray
    """(3,) camera centre in the body frame [m]."""
    across: np.ndarray
    """(3, w) part of the direction that depends on the image column."""
    down: np.ndarray
    """(3, h) part of the direction that depends on the image row, with the optical axis."""

    def component(self, i: int) -> np.ndarray:
        """Return (h, w) component `i` of the ray directions."""
        return self.down[i][:, None] + self.across[i][None, :]


def rays(body_from_camera: np.ndarray, u: np.ndarray, v: np.ndarray) -> Rays:
    """Return rays through normalised image coordinates u (w,) and v (h,) in a body frame given by its (4, 4) transform."""
    turn = body_from_camera[:3, :3].astype(np.float32)
    down = turn[:, 1:2] * v + turn[:, 2:3]
    return Rays(body_from_camera[:3, 3].astype(np.float32), turn[:, 0:1] * u, down)


@dataclass(frozen=True, kw_only=True)
class Primitive(ABC):
    """A coloured convex solid somewhere in the world."""

    world_from_body: np.ndarray
    """(4, 4) rigid transform."""
    colour: tuple[float, float, float] = (0.6, 0.6, 0.6)
    """RGB reflectance in 0..1."""
    id: str = ""
    """Name of what it belongs to, for example `object` or `middle`."""

    @abstractmethod
    def bounds(self, camera_from_body: np.ndarray) -> tuple[float, float, float, float] | None:
        """Return least and largest u and v of its image, or None if it is not bounded (too close) or behind the camera."""

    @abstractmethod
    def hit(self, ray: Rays) -> np.ndarray:
        """Return (h, w) depth [m] at which each ray enters the solid; NaN or negative where it does not."""

    @abstractmethod
    def normal(self, points: np.ndarray) -> np.ndarray:
        """Return (3, N) outward normals, not normalised, at surface points (3, N) of the body frame."""

    @abstractmethod
    def outline(self) -> np.ndarray:
        """Return (K, 3) body points whose convex hull is about the solid; used for its shadow."""


def _sphere_points(rings: int = 3, spokes: int = 8) -> np.ndarray:
    """Return (K, 3) points on the unit sphere."""
    polar = np.linspace(0.0, np.pi, rings + 2)[:, None]
    turn = np.linspace(0.0, 2 * np.pi, spokes, endpoint=False)[None, :]
    grid = np.stack(np.broadcast_arrays(np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)), -1)
    return np.unique(grid.reshape(-1, 3).round(6), axis=0)


_UNIT_SPHERE = _sphere_points()
_CORNERS = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]), -1).reshape(-1, 3)


def _quadric_bounds(camera_from_body: np.ndarray, semi: np.ndarray) -> tuple[float, float, float, float] | None:
    """Return the exact image rectangle of an ellipsoid from the dual conic of its outline."""
    centre, spread = camera_from_body[:3, 3], camera_from_body[:3, :3] * semi
    if centre[2] - np.sqrt((spread[2] ** 2).sum()) < NEAR:
        return None
    dual = np.outer(centre, centre) - spread @ spread.T
    half = np.sqrt(np.maximum(dual[:2, 2] ** 2 - np.diag(dual)[:2] * dual[2, 2], 0.0)) / dual[2, 2]
    mid = dual[:2, 2] / dual[2, 2]
    return mid[0] - half[0], mid[0] + half[0], mid[1] - half[1], mid[1] + half[1]


@dataclass(frozen=True, kw_only=True)
class Ellipsoid(Primitive):
    """An ellipsoid, or the half of it on one side of its own plane x = 0."""

    half_axes: tuple[float, float, float]
    """[m]."""
    keep: int = 0
    """+1 keeps x >= 0, -1 keeps x <= 0 (closed by a flat face), 0 keeps all."""

    def bounds(self, camera_from_body: np.ndarray) -> tuple[float, float, float, float] | None:
        """See `Primitive.bounds`; that of the whole ellipsoid."""
        return _quadric_bounds(camera_from_body, np.array(self.half_axes))

    def hit(self, ray: Rays) -> np.ndarray:
        """See `Primitive.hit`."""
        scale = (1.0 / np.array(self.half_axes, np.float32))[:, None]
        origin, across, down = ray.origin * scale[:, 0], ray.across * scale, ray.down * scale
        a = (down * down).sum(0)[:, None] + (across * across).sum(0)[None, :]
        a += (2.0 * down.T) @ across
        b = (origin @ down)[:, None] + (origin @ across)[None, :]
        root = np.sqrt(b * b - a * (origin @ origin - np.float32(1.0)))
        enter = -(b + root) / a
        if not self.keep:
            return enter
        direction = ray.component(0)
        x0 = ray.origin[0]
        rows, columns = np.nonzero((x0 + enter * direction) * self.keep < 0)
        # Where the curved side that a ray meets is cut away, it can still come in through the flat face.
        toward = direction[rows, columns]
        plane = -x0 / np.where(toward == 0, np.float32(1e-12), toward)
        last = (root[rows, columns] - b[rows, columns]) / a[rows, columns]
        enter[rows, columns] = np.where((toward * self.keep > 0) & (plane < last), plane, np.float32(np.nan))
        return enter

    def normal(self, points: np.ndarray) -> np.ndarray:
        """See `Primitive.normal`; the flat face of a half looks along x."""
        axes = np.array(self.half_axes, np.float32)[:, None]
        out = points / (axes * axes)
        if self.keep:
            scaled = points / axes
            flat = ((scaled * scaled).sum(0) < 0.999) & (np.abs(points[0]) < 1e-4)
            out[:, flat] = np.array([[-self.keep], [0.0], [0.0]], np.float32)
        return out

    def outline(self) -> np.ndarray:
        """See `Primitive.outline`."""
        points = _UNIT_SPHERE if not self.keep else _UNIT_SPHERE[_UNIT_SPHERE[:, 0] * self.keep >= 0]
        return points * np.array(self.half_axes)


@dataclass(frozen=True, kw_only=True)
class Sphere(Primitive):
    """A ball."""

    radius: float
    """[m]."""

    def bounds(self, camera_from_body: np.ndarray) -> tuple[float, float, float, float] | None:
        """See `Primitive.bounds`."""
        return _quadric_bounds(camera_from_body, np.full(3, self.radius))

    def hit(self, ray: Rays) -> np.ndarray:
        """See `Primitive.hit`."""
        return Ellipsoid(world_from_body=self.world_from_body, half_axes=(self.radius, self.radius, self.radius)).hit(ray)

    def normal(self, points: np.ndarray) -> np.ndarray:
        """See `Primitive.normal`."""
        return points.copy()

    def outline(self) -> np.ndarray:
        """See `Primitive.outline`."""
        return _UNIT_SPHERE * self.radius


@dataclass(frozen=True, kw_only=True)
class Capsule(Primitive):
    """A cylinder along z with round ends."""

    radius: float
    """[m]."""
    half_length: float
    """From the centre to the centre of either end ball [m]."""

    def bounds(self, camera_from_body: np.ndarray) -> tuple[float, float, float, float] | None:
        """See `Primitive.bounds`; the rectangle around both end balls."""
        boxes = []
        for end in (-self.half_length, self.half_length):
            at = camera_from_body.copy()
            at[:3, 3] += camera_from_body[:3, 2] * end
            box = _quadric_bounds(at, np.full(3, self.radius))
            if box is None:
                return None
            boxes.append(box)
        (a, b, c, d), (e, f, g, h) = boxes
        return min(a, e), max(b, f), min(c, g), max(d, h)

    def hit(self, ray: Rays) -> np.ndarray:
        """See `Primitive.hit`: the side first, then the end ball on whose side the endless cylinder was met."""
        across, down, (ox, oy, oz) = ray.across, ray.down, ray.origin
        radius, half = np.float32(self.radius), np.float32(self.half_length)
        a = (down[:2] ** 2).sum(0)[:, None] + (across[:2] ** 2).sum(0)[None, :] + (2.0 * down[:2].T) @ across[:2]
        np.maximum(a, np.float32(1e-9), out=a)
        b = (ray.origin[:2] @ down[:2])[:, None] + (ray.origin[:2] @ across[:2])[None, :]
        side = -(b + np.sqrt(b * b - a * (ox * ox + oy * oy - radius * radius))) / a
        dz = ray.component(2)
        height = oz + side * dz
        rows, columns = np.nonzero(np.abs(height) > half)
        if len(rows):
            end = np.copysign(half, height[rows, columns])
            dz = dz[rows, columns]
            aa = a[rows, columns] + dz * dz
            bb = b[rows, columns] + (oz - end) * dz
            cc = ox * ox + oy * oy + (oz - end) ** 2 - radius * radius
            side[rows, columns] = -(bb + np.sqrt(bb * bb - aa * cc)) / aa
        return side

    def normal(self, points: np.ndarray) -> np.ndarray:
        """See `Primitive.normal`."""
        out = points.copy()
        out[2] -= np.clip(points[2], -self.half_length, self.half_length)
        return out

    def outline(self) -> np.ndarray:
        """See `Primitive.outline`."""
        ends = np.where(_UNIT_SPHERE[:, 2:] >= 0, self.half_length, -self.half_length)
        return _UNIT_SPHERE * self.radius + ends * np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class Box(Primitive):
    """A box with its centre in the origin."""

    half_sizes: tuple[float, float, float]
    """[m]."""

    def bounds(self, camera_from_body: np.ndarray) -> tuple[float, float, float, float] | None:
        """See `Primitive.bounds`."""
        corners = self.outline() @ camera_from_body[:3, :3].T + camera_from_body[:3, 3]
        if corners[:, 2].min() < NEAR:
            return None
        image = corners[:, :2] / corners[:, 2:]
        (left, top), (right, bottom) = image.min(0), image.max(0)
        return left, right, top, bottom

    def hit(self, ray: Rays) -> np.ndarray:
        """See `Primitive.hit`: the overlap of three slabs."""
        enter, leave = np.float32(-np.inf), np.float32(np.inf)
        for i in range(3):
            direction = ray.component(i)
            inverse = np.float32(1.0) / np.where(direction == 0, np.float32(1e-12), direction)
            middle, reach = -ray.origin[i] * inverse, np.float32(self.half_sizes[i]) * np.abs(inverse)
            enter, leave = np.maximum(enter, middle - reach), np.minimum(leave, middle + reach)
        return np.where(enter < leave, enter, np.float32(np.nan))

    def normal(self, points: np.ndarray) -> np.ndarray:
        """See `Primitive.normal`; on an edge, between its two faces."""
        sizes = np.array(self.half_sizes, np.float32)[:, None]
        return np.where(np.abs(points) > sizes - np.float32(2e-5), np.sign(points), np.float32(0.0))

    def outline(self) -> np.ndarray:
        """See `Primitive.outline`."""
        return _CORNERS * np.array(self.half_sizes)
