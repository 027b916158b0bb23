"""A fixed RGB-D camera without OpenGL: rays against primitives, each within its own rectangle of the image.

The noise of depth follows active stereo cameras of the D435i kind: its standard deviation grows with the square of the distance,
neighbouring pixels err together, and pixels at edges drop out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from palpate.core.errors import RecordError
from palpate.core.transforms import apply, inverse
from palpate.sensors import raster
from palpate.sensors.geometry import Ellipsoid, Primitive, Sphere

_MARGIN = 64
"""Noise banks are larger than the image by this, so that each frame takes another cut [px]."""

EDGE = 0.015
"""A pixel whose neighbourhood spans more depth than this lies at an edge [m]."""

_LIGHTS = np.array([[0.35, -0.45, 0.82], [0.55, 0.65, 0.52]], np.float32)
"""Directions towards the key light and the fill light, world frame."""


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """Pinhole camera. Its axes: x right, y down, z forward."""

    world_from_camera: np.ndarray
    """(4, 4)."""
    focal_px: float = 1000.0
    width: int = 640
    height: int = 480
    rgb_noise: float = 1.5
    """Standard deviation per pixel and channel [grey levels]."""
    white_balance: float = 0.02
    """Standard deviation of each channel's gain between episodes."""
    baseline: float = 0.050
    """Of the stereo pair [m]."""
    stereo_focal_px: float = 385.0
    """Focal length of the depth imagers, which see wider than the colour imager [px]."""
    disparity_noise: float = 0.08
    """Standard deviation of the disparity [px]."""
    depth_step: float = 0.001
    """Depth is rounded to this [m]."""
    edge_drop: float = 0.5
    """Share of pixels at depth edges that give no depth."""


class Camera:
    """Renders and observes scenes of primitives on a table at z = 0."""

    def __init__(self, config: CameraConfig) -> None:
        """Cast the rays at the table once and draw the noise banks."""
        self.config = config
        h, w, f = config.height, config.width, config.focal_px
        self._camera_from_world = inverse(np.asarray(config.world_from_camera, float))
        self._u = ((np.arange(w) - w / 2 + 0.5) / f).astype(np.float32)
        self._v = ((np.arange(h) - h / 2 + 0.5) / f).astype(np.float32)
        u, v = np.meshgrid(self._u, self._v)
        self._rays = np.stack([u, v, np.ones_like(u)], axis=-1)
        self._table_rgb, self._table_depth, self._table_xy = self._table()
        rng = np.random.default_rng(20_251_121)
        shape = (h + _MARGIN, w + _MARGIN)
        grain = rng.normal(0.0, config.rgb_noise, (*shape, 3)).round()
        # Two banks of bytes, what brightens and what darkens: seven times as fast as one with a sign.
        self._brighter, self._darker = (np.clip(part, 0, 255).astype(np.uint8) for part in (grain, -grain))
        rough = cv2.resize(rng.normal(size=(shape[0] // 4, shape[1] // 4)).astype(np.float32), (shape[1], shape[0]))
        self._ripple = (rough / rough.std()).astype(np.float32)
        self._luck = rng.random(shape, dtype=np.float32)
        self._gain, self._tinted = np.ones(3, np.float32), self._table_rgb

    def begin_episode(self, rng: np.random.Generator) -> None:
        """Draw what stays the same for an episode: the white balance."""
        self._gain = (1.0 + rng.normal(0.0, self.config.white_balance, 3)).astype(np.float32)
        self._tinted = cv2.multiply(self._table_rgb, np.append(self._gain, 1.0).astype(float))

    def _table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return colour, depth and world x, y of a bare table."""
        world = np.asarray(self.config.world_from_camera, np.float32)
        down = self._rays @ world[:3, :3].T
        t = np.minimum(np.where(down[..., 2] < -1e-3, -world[2, 3] / np.minimum(down[..., 2], -1e-3), 4.0), 4.0)
        xy = world[:2, 3] + t[..., None] * down[..., :2]
        grain = np.sin(90 * xy[..., 0] + 3 * np.sin(17 * xy[..., 1])) + 0.6 * np.sin(31 * xy[..., 1] + 5 * xy[..., 0])
        shade = 1.0 + 0.025 * grain - 0.25 * np.clip(np.hypot(xy[..., 0] - 0.55, xy[..., 1]) - 0.15, 0, 1)
        rgb = np.array([178, 168, 150], np.float32) * shade[..., None]
        return np.clip(rgb, 0, 255).astype(np.uint8), t.astype(np.float32), xy

    def render(self, scene: Sequence[Primitive]) -> tuple[np.ndarray, np.ndarray]:
        """Return colour (H, W, 3) uint8 without grain and depth (H, W) float32 [m] along the optical axis."""
        rgb, depth = self._tinted.copy(), self._table_depth.copy()
        for primitive in scene:
            if isinstance(primitive, Ellipsoid):
                self._shadow(rgb, primitive)
        toward = self._camera_from_world[2, :3]
        for primitive in sorted(
            scene, key=lambda body: float(toward @ body.world_from_body[:3, 3])
        ):  # near first: hides the rest
            self._draw(rgb, depth, primitive)
        return rgb, depth

    def _window(self, bounds: tuple[float, float, float, float] | None) -> tuple[slice, slice] | None:
        """Return the rectangle of the image that normalised bounds cover; None if it is out of sight."""
        if bounds is None:
            return None
        c = self.config
        left, right, top, bottom = (c.focal_px * value for value in bounds)
        rows = slice(max(0, int(top + c.height / 2)), min(c.height, int(bottom + c.height / 2) + 2))
        cols = slice(max(0, int(left + c.width / 2)), min(c.width, int(right + c.width / 2) + 2))
        return (rows, cols) if rows.start < rows.stop and cols.start < cols.stop else None

    def _shadow(self, rgb: np.ndarray, body: Ellipsoid) -> None:
        """Darken the table softly under a body."""
        centre, reach = body.world_from_body[:3, 3], 1.1 * max(body.half_axes)
        disc = np.eye(4)
        disc[:2, 3] = centre[:2]
        flat = Sphere(world_from_body=disc, radius=1.7 * reach)
        window = self._window(flat.bounds(self._camera_from_world @ disc))
        if window is None:
            return
        strength = 0.22 * np.exp(-max(centre[2] - max(body.half_axes), 0.0) / 0.05)
        raster.shadow(
            rgb[window], self._table_xy[window], centre[:2].astype(np.float32), np.float32(reach), np.float32(strength)
        )

    def _draw(self, rgb: np.ndarray, depth: np.ndarray, primitive: Primitive) -> None:
        """Draw into `rgb` (H, W, 3) uint8 and `depth` (H, W) float32 [m]."""
        camera_from_body = self._camera_from_world @ primitive.world_from_body
        window = self._window(primitive.bounds(camera_from_body))
        if window is None:
            return
        rows, cols = window
        body_from_camera = inverse(camera_from_body).astype(np.float32)
        raster.draw(
            rgb[window],
            depth[window],
            primitive.kind,
            np.array(primitive.sizes, np.float32),
            np.ascontiguousarray(body_from_camera[:3, :3]),
            np.ascontiguousarray(body_from_camera[:3, 3]),
            np.array(primitive.colour, np.float32) * self._gain * np.float32(235.0),
            _LIGHTS @ primitive.world_from_body[:3, :3].astype(np.float32),
            self._u[cols],
            self._v[rows],
        )

    def observe(
        self, scene: Sequence[Primitive], rng: np.random.Generator, *, with_depth: bool = True
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return what the camera gives: colour (H, W, 3) uint8, and depth (H, W) float32 [m], 0 where there is none.

        Without `with_depth` the depth is None, which saves its noise.
        """
        rgb, depth = self.render(scene)
        return self._noisy_rgb(rgb, rng), self._noisy_depth(depth, rng) if with_depth else None

    def observe_depth(self, scene: Sequence[Primitive], rng: np.random.Generator) -> np.ndarray:
        """Return only the depth image (H, W) float32 [m], 0 where there is none."""
        return self._noisy_depth(self.render(scene)[1], rng)

    def _cut(self, rng: np.random.Generator) -> tuple[slice, slice]:
        """Return where to cut the noise banks: another part, as large as the image, for each frame."""
        row, col = rng.integers(0, _MARGIN, 2)
        return slice(row, row + self.config.height), slice(col, col + self.config.width)

    def _noisy_rgb(self, rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        cut = self._cut(rng)
        return cv2.subtract(cv2.add(rgb, self._brighter[cut], dst=rgb), self._darker[cut], dst=rgb)

    def _noisy_depth(self, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        c = self.config
        out = np.empty_like(depth)
        raster.depth_noise(
            depth,
            self._ripple[self._cut(rng)],
            self._luck[self._cut(rng)],
            cv2.morphologyEx(depth, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)),
            np.float32(c.disparity_noise / (c.stereo_focal_px * c.baseline)),
            np.float32(c.depth_step),
            np.float32(c.edge_drop),
            np.float32(EDGE),
            out,
        )
        return out

    def project(self, points_world: np.ndarray) -> np.ndarray:
        """Return column and row (..., 2) of world points (..., 3) [m]."""
        p = apply(self._camera_from_world, np.asarray(points_world, float))
        c = self.config
        return c.focal_px * p[..., :2] / p[..., 2:] + [c.width / 2 - 0.5, c.height / 2 - 0.5]

    def deproject(self, depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the world points (N, 3) [m] of the pixels of an (H, W) depth image [m] where `mask` (H, W) is true."""
        if depth.shape != (self.config.height, self.config.width) or mask.shape != depth.shape:
            raise RecordError(f"depth {depth.shape} and mask {mask.shape} must be ({self.config.height}, {self.config.width})")
        points = self._rays[mask].astype(float) * depth[mask][:, None]
        return apply(np.asarray(self.config.world_from_camera, float), points)
