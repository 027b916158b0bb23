"""A camera that also sees household objects: the house's camera for hand and table, rays against convex parts for the object."""

from dataclasses import dataclass

import numpy as np

from palpate.core.transforms import inverse, pose, quaternion_to_matrix
from palpate.sensors.camera import Camera
from palpate.sensors.geometry import Bounds, Ellipsoid, Primitive
from palpate.worlds.household import GraspObject, Part
from palpate.worlds.household_rays import draw_part, pack

_LIGHTS = np.array([[0.35, -0.45, 0.82], [0.55, 0.65, 0.52]])
"""Directions towards key and fill light in the world, as `palpate.sensors.camera` has them."""

_SIGNS = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]), -1).reshape(-1, 3)


def half_extent(part: Part) -> tuple[float, float, float]:
    """Return half sizes [m] of a box about the part's origin that holds it, part frame."""
    s = part.size
    if part.kind == "polytope":
        x, y, z = np.abs(np.array(part.vertices)).max(axis=0).tolist()
        return x, y, z
    if part.kind == "capsule":
        return s[0], s[0], s[0] + s[1]
    if part.kind == "frustum":
        widest = max(s[0], s[1])
        return widest, widest, s[2]
    return s[0], s[1], s[2]


def part_corners(part: Part) -> np.ndarray:
    """Return the corners (8, 3) of a box that holds a part, or a polytope's own (N, 3) [m], object frame."""
    own = np.array(part.vertices) if part.kind == "polytope" else _SIGNS * half_extent(part)
    return own @ quaternion_to_matrix(np.array(part.turn)).T + part.at


@dataclass(frozen=True, kw_only=True)
class ConvexPart(Ellipsoid):
    """Part `number` of an object, as the camera takes it; its half axes hold it and throw its shadow."""

    thing: GraspObject
    number: int

    def bounds(self, camera_from_body: np.ndarray) -> Bounds | None:
        """See `Primitive.bounds`: the rectangle around the corners of the box that holds the part."""
        corners = (_SIGNS * self.half_axes) @ camera_from_body[:3, :3].T + camera_from_body[:3, 3]
        if corners[:, 2].min() < 0.05:
            return None
        image = corners[:, :2] / corners[:, 2:]
        (left, top), (right, bottom) = image.min(0), image.max(0)
        return float(left), float(right), float(top), float(bottom)


def seen(thing: GraspObject, world_from_object: np.ndarray) -> list[ConvexPart]:
    """Return what a `SceneCamera` draws of an object."""
    out = []
    for number, part in enumerate(thing.parts):
        object_from_part = pose(quaternion_to_matrix(np.array(part.turn)), np.array(part.at))
        out.append(
            ConvexPart(
                world_from_body=world_from_object @ object_from_part,
                half_axes=half_extent(part),
                colour=thing.second_colour if part.second else thing.colour,
                id="object",
                thing=thing,
                number=number,
            )
        )
    return out


class SceneCamera(Camera):
    """Draws household objects beside the primitives."""

    def _draw(self, rgb: np.ndarray, depth: np.ndarray, primitive: Primitive) -> None:
        if not isinstance(primitive, ConvexPart):
            super()._draw(rgb, depth, primitive)
            return
        camera_from_body = self._camera_from_world @ primitive.world_from_body
        window = self._window(primitive.bounds(camera_from_body))
        if window is None:
            return
        rows, cols = window
        kinds, _, _, sizes, planes, spans = pack(primitive.thing)
        first, end = spans[primitive.number]
        body_from_camera = inverse(camera_from_body)
        draw_part(
            rgb[window],
            depth[window],
            int(kinds[primitive.number]),
            sizes[primitive.number],
            planes[first:end],
            np.ascontiguousarray(body_from_camera[:3, :3]),
            np.ascontiguousarray(body_from_camera[:3, 3]),
            np.array(primitive.colour) * self._gain * 235.0,
            _LIGHTS @ primitive.world_from_body[:3, :3],
            self._u[cols].astype(float),
            self._v[rows].astype(float),
        )
