"""A camera's picture of a thing where it is touched: lit from one side, in the colour and grain of its material.

The solids of `palpate.sensors.raster` are convex, things that are touched are not: here rays march over the thing's own heights, so that
the picture shows the relief that the gel feels. Parallel rays; a macro picture of about 18 mm. The gel is not in view.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np

from palpate.core.errors import RecordError
from palpate.core.randomness import generator
from palpate.core.units import DEG, MM
from palpate.sensors.camera import CameraConfig
from palpate.sensors.touch.shapes import Thing

VIEW = 18 * MM
"""Width of what the picture shows [m]."""
_FLOOR = 5 * MM
"""How far the table lies below the highest point [m]."""
_REACH = 16 * MM
"""Heights are known so far to every side of the touched place [m]."""
_CELLS = 224
_STEPS, _SHADE_STEPS = 56, 20
_OVER = 2
"""Rays a pixel to each side."""


@dataclass(frozen=True)
class _Look:
    """How a material looks."""

    colours: tuple[tuple[int, int, int], ...]
    """Grey levels, RGB; one is chosen for an object."""
    gloss: float
    """Strength of the highlight, 0 to 1."""
    grain: float = 0.0
    """How much the colour varies from place to place."""
    spots: float = 0.0
    """Share of dark spots or pores."""
    along: float = 1.0
    """How many times longer than wide the grain is."""
    scale: float = 0.6 * MM
    """Size of the grain [m]."""


_LOOKS: Mapping[str, _Look] = MappingProxyType(
    {
        "steel": _Look(((150, 154, 160), (178, 176, 170), (120, 122, 126)), 0.9, 0.05, along=12, scale=0.15 * MM),
        "glass": _Look(((120, 160, 150), (150, 175, 190), (90, 120, 100)), 1.0, 0.02),
        "plastic": _Look(
            ((200, 40, 40), (40, 90, 190), (235, 200, 40), (40, 150, 80), (235, 235, 235), (40, 40, 44)), 0.6, 0.02
        ),
        "wood": _Look(((176, 128, 78), (122, 78, 44), (212, 176, 124)), 0.1, 0.3, along=10, scale=0.5 * MM),
        "stone": _Look(((136, 132, 126), (92, 94, 98), (176, 160, 140)), 0.05, 0.14, 0.06, scale=0.5 * MM),
        "sandpaper": _Look(((150, 104, 66), (96, 70, 58), (110, 110, 112)), 0.1, 0.22, scale=0.18 * MM),
        "cork": _Look(((190, 146, 98), (168, 124, 80)), 0.02, 0.12, 0.12, scale=0.8 * MM),
        "leather": _Look(((94, 56, 34), (44, 36, 32), (140, 84, 48)), 0.25, 0.1, 0.04, scale=0.5 * MM),
        "rubber": _Look(((42, 42, 44), (60, 58, 56), (120, 40, 36)), 0.15, 0.05),
        "silicone": _Look(((222, 216, 208), (120, 190, 200), (230, 160, 170)), 0.4, 0.02),
        "gel": _Look(((170, 205, 220), (215, 225, 190), (225, 200, 215)), 0.8, 0.03),
        "apple": _Look(((190, 44, 40), (150, 180, 60), (214, 170, 70)), 0.5, 0.25, 0.03, scale=1.2 * MM),
        "tomato": _Look(((206, 46, 30), (220, 90, 40)), 0.8, 0.06, scale=2 * MM),
        "bread": _Look(((206, 164, 104), (176, 122, 66), (228, 204, 160)), 0.02, 0.3, 0.25, scale=0.9 * MM),
        "foam": _Look(((236, 214, 120), (110, 112, 120), (240, 238, 232)), 0.02, 0.1, 0.1, scale=0.5 * MM),
        "cloth": _Look(((60, 80, 130), (150, 50, 60), (196, 190, 176), (70, 110, 80)), 0.02, 0.12, scale=0.25 * MM),
        "paper": _Look(((238, 236, 228), (200, 180, 146)), 0.05, 0.06, along=3, scale=0.3 * MM),
    }
)
_PLAIN = _Look(((160, 160, 160),), 0.3)


@dataclass(frozen=True)
class _Field:
    """Heights, slopes and their places around the touched one."""

    height: np.ndarray
    """(n, n) float32 [m], 0 at the highest point, -_FLOOR on the table."""
    down: np.ndarray
    right: np.ndarray

    def at(self, grid: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return a grid's values at places [m] (h, w) float32."""
        scale, middle = np.float32((_CELLS - 1) / (2 * _REACH)), np.float32((_CELLS - 1) / 2)
        return cv2.remap(grid, x * scale + middle, y * scale + middle, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def photograph(thing: Thing, rng: np.random.Generator, side: int = 96) -> np.ndarray:
    """Return a picture (side, side, 3) uint8 RGB of the touched place and what is around it.

    Args:
        thing: what is touched; the middle of the picture is where the middle of the pad comes to lie.
        rng: of this touch: where the camera stands, the light, the table, noise. The object's own colour and grain go by its seed.
        side: rows and columns [px].

    Raises:
        RecordError: a picture of less than 16 pixels.
    """
    if side < 16:
        raise RecordError(f"a picture of {side} pixels shows nothing; give 16 or more")
    field = _field(thing)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(48, 72) * DEG
    x, y, z = _hits(field, azimuth, elevation, side * _OVER)
    lamp = _direction(azimuth + rng.uniform(0.5, 1.3) * rng.choice([-1.0, 1.0]), rng.uniform(35, 55) * DEG)
    view = _direction(azimuth, elevation)
    table = np.array([[186, 172, 150], [96, 98, 104], [226, 224, 220], [70, 92, 80]][int(rng.integers(4))]) * rng.uniform(
        0.8, 1.1
    )
    look = _LOOKS.get(thing.material.name, _PLAIN)
    on_table = z < -_FLOOR + 0.05 * MM
    paint = np.where(on_table[..., None], table, _paint(thing, look, x, y))
    light, shine = _light(field, (x, y, z), lamp, view)
    picture = paint * light[..., None] + np.where(on_table, 0.0, 190.0 * look.gloss * shine)[..., None]
    small = cv2.resize(picture.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    small *= 1 + rng.normal(0.0, CameraConfig.white_balance, 3)
    return np.clip(small + rng.normal(0.0, CameraConfig.rgb_noise, small.shape), 0, 255).astype(np.uint8)


def _field(thing: Thing) -> _Field:
    along = np.linspace(-_REACH, _REACH, _CELLS)
    heights = thing.height(along[None, :], along[:, None])
    height = np.maximum(heights.min() - heights, -_FLOOR).astype(np.float32)
    down, right = np.gradient(height, along[1] - along[0])
    return _Field(height, down.astype(np.float32), right.astype(np.float32))


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    """Return the unit vector from the touched place towards something: x right, y down (as the gel's), z up."""
    return np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], np.float32)


def _hits(field: _Field, azimuth: float, elevation: float, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where each pixel's ray meets the surface, x, y and z (n, n) [m]."""
    toward = _direction(azimuth, elevation)
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0], np.float32)
    up = np.cross(right, toward)
    up = up if up[2] > 0 else -up
    place = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5) * np.float32(VIEW)
    # Seen from above the gel's axes are as in the gel's own picture: right is right when down points to the camera.
    start = place[None, :, None] * -right - place[:, None, None] * up
    level = start - toward * (start[..., 2:] / toward[2])  # where the ray passes the height of the highest point
    reach = np.full((n, n), _FLOOR / toward[2], np.float32)
    open_ = np.ones((n, n), bool)
    for share in np.linspace(0, 1, _STEPS, dtype=np.float32):
        t = share * np.float32(_FLOOR / toward[2])
        under = field.at(field.height, level[..., 0] - t * toward[0], level[..., 1] - t * toward[1]) >= -t * toward[2]
        reach[open_ & under] = t
        open_ &= ~under
    x, y = level[..., 0] - reach * toward[0], level[..., 1] - reach * toward[1]
    return x, y, -reach * toward[2]


def _light(
    field: _Field, place: tuple[np.ndarray, np.ndarray, np.ndarray], lamp: np.ndarray, view: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return diffuse light and highlight (n, n) of one lamp and a bright room."""
    x, y, z = place
    normal = np.stack([-field.at(field.right, x, y), -field.at(field.down, x, y), np.ones_like(x)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lit = np.ones_like(x)
    for far in np.linspace(0.15 * MM, _FLOOR / lamp[2], _SHADE_STEPS, dtype=np.float32):
        lit[field.at(field.height, x + far * lamp[0], y + far * lamp[1]) > z + far * lamp[2] + 0.12 * MM] = 0.0
    lit = cv2.GaussianBlur(lit, (0, 0), 1.5)
    half = (lamp + view) / np.linalg.norm(lamp + view)
    diffuse = np.maximum(normal @ lamp, 0.0) * lit
    return 0.34 + 0.24 * normal[..., 2] + 0.62 * diffuse, lit * np.maximum(normal @ half, 0.0) ** 40


def _paint(thing: Thing, look: _Look, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the object's own colour (n, n, 3) at places, tied to the object however it lies."""
    rng = generator(thing.seed, 11)
    colour = np.array(look.colours[int(rng.integers(len(look.colours)))]) * rng.uniform(0.85, 1.12) + rng.normal(0, 6, 3)
    u, v = thing.pose.to_object(x, y)
    size = look.scale * rng.uniform(0.7, 1.4)
    rough = _noise(u / (size * look.along), v / size, rng) + 0.5 * _noise(2 * u / (size * look.along), 2 * v / size, rng)
    shade = 1 + look.grain * rough
    if look.spots > 0:
        spots = _noise(0.7 * u / size, 0.7 * v / size, rng)
        shade = np.where(spots > np.quantile(spots, 1 - look.spots), 0.62 * shade, shade)
    return colour * shade[..., None]


def _noise(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return smooth noise of standard deviation about 0.6 at places in units of its grain; it repeats after 255 grains."""
    grid = np.pad(rng.normal(size=(255, 255)).astype(np.float32), (0, 1), mode="wrap")
    return cv2.remap(grid, (u % 255).astype(np.float32), (v % 255).astype(np.float32), cv2.INTER_LINEAR)
