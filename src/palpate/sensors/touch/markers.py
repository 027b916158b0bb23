"""Markers in or on the gel: where they move under a press, and how they look in a picture.

A marker follows the tangential displacement of the surface. One that lies `inlay` below the surface also moves as the surface tilts
above it: along the surface's normal, by -inlay * gradient of the sunk depth, hence outwards beside a press.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from palpate.core.errors import RecordError
from palpate.sensors.touch.contact import Contact


@dataclass(frozen=True, kw_only=True)
class MarkerGrid:
    """A regular grid of round markers about the pad's centre."""

    rows: int
    cols: int
    pitch: tuple[float, float]
    """Distance of neighbours along rows (y) and along columns (x) [m]."""
    radius: float
    """Of a marker [m]."""
    darkness: tuple[float, float, float] = (0.8, 0.8, 0.8)
    """Share of each colour's light that a marker takes."""
    inlay: float = 0.0
    """How far the markers lie below the surface [m]."""

    def points(self) -> np.ndarray:
        """Return (M, 2) places at rest, x and y [m], row by row."""
        y = (np.arange(self.rows) - (self.rows - 1) / 2) * self.pitch[0]
        x = (np.arange(self.cols) - (self.cols - 1) / 2) * self.pitch[1]
        return np.stack([np.tile(x, self.rows), np.repeat(y, self.cols)], axis=1)


def sample(field: np.ndarray, points: np.ndarray, pitch: tuple[float, float]) -> np.ndarray:
    """Read a field between its cells' centres, bilinearly; beyond the outer centres the nearest ones count.

    Args:
        field: (..., H, W, c) on a grid about the pad's centre.
        points: (M, 2) x and y [m].
        pitch: size of a cell along y and x [m].

    Returns:
        (..., M, c).
    """
    rows, cols = field.shape[-3:-1]
    col = np.clip(points[:, 0] / pitch[1] + (cols - 1) / 2, 0, cols - 1)
    row = np.clip(points[:, 1] / pitch[0] + (rows - 1) / 2, 0, rows - 1)
    left, top = np.minimum(col.astype(int), max(cols - 2, 0)), np.minimum(row.astype(int), max(rows - 2, 0))
    right, below = np.minimum(left + 1, cols - 1), np.minimum(top + 1, rows - 1)
    u, v = (col - left)[:, None], (row - top)[:, None]
    upper = field[..., top, left, :] * (1 - u) + field[..., top, right, :] * u
    lower = field[..., below, left, :] * (1 - u) + field[..., below, right, :] * u
    return upper * (1 - v) + lower * v


def displacement(points: np.ndarray, contact: Contact, inlay: float = 0.0) -> np.ndarray:
    """Return how far markers at `points` (M, 2) [m] move: (..., M, 2) [m], 0 exactly without contact.

    Args:
        points: places at rest, x and y [m].
        contact: what the press did; leading axes are a batch.
        inlay: depth of the markers below the surface [m].
    """
    if inlay == 0.0:
        return sample(contact.drift, points, contact.pitch)
    pitch_y, pitch_x = contact.pitch
    spread = np.empty_like(contact.drift)
    spread[..., 0] = contact.drift[..., 0] - inlay * np.gradient(contact.sunk, pitch_x, axis=-1)
    spread[..., 1] = contact.drift[..., 1] - inlay * np.gradient(contact.sunk, pitch_y, axis=-2)
    return sample(spread, points, contact.pitch)


def to_pixels(points: np.ndarray, shape: tuple[int, int], field_of_view: tuple[float, float]) -> np.ndarray:
    """Map points (..., 2) x, y [m] to column and row [px]; the centre of the first pixel is (0, 0).

    Args:
        points: about the pad's centre [m].
        shape: rows and columns of the picture.
        field_of_view: height and width that the picture shows [m].
    """
    per_metre = np.array([shape[1] / field_of_view[1], shape[0] / field_of_view[0]])
    return points * per_metre + (np.array([shape[1], shape[0]]) - 1) / 2


def from_pixels(pixels: np.ndarray, shape: tuple[int, int], field_of_view: tuple[float, float]) -> np.ndarray:
    """Map columns and rows (..., 2) [px] to x, y [m]. Inverse of `to_pixels`."""
    per_metre = np.array([shape[1] / field_of_view[1], shape[0] / field_of_view[0]])
    return (pixels - (np.array([shape[1], shape[0]]) - 1) / 2) / per_metre


@njit(cache=True)
def _stamp(cover: np.ndarray, pixels: np.ndarray, radius_y: float, radius_x: float) -> None:
    """Raise `cover` (H, W) to the share of each pixel that some ellipse at `pixels` (M, 2) fills."""
    rows, cols = cover.shape
    small = min(radius_y, radius_x)
    for m in range(pixels.shape[0]):
        x, y = pixels[m, 0], pixels[m, 1]
        if not (-2 * cols < x < 3 * cols and -2 * rows < y < 3 * rows):  # far outside, or not a number
            continue
        top, bottom = max(0, int(np.ceil(y - radius_y - 1))), min(rows - 1, int(np.floor(y + radius_y + 1)))
        left, right = max(0, int(np.ceil(x - radius_x - 1))), min(cols - 1, int(np.floor(x + radius_x + 1)))
        for i in range(top, bottom + 1):
            v = (i - y) / radius_y
            for j in range(left, right + 1):
                u = (j - x) / radius_x
                inside = small * (1.0 - np.sqrt(u * u + v * v)) + 0.5  # distance to the rim in pixels, half a pixel in
                share = min(max(inside, 0.0), 1.0)
                cover[i, j] = max(cover[i, j], share)


def coverage(
    pixels: np.ndarray, radius_px: tuple[float, float], shape: tuple[int, int], out: np.ndarray | None = None
) -> np.ndarray:
    """Return the share (H, W) float32 of each pixel that markers cover, anti-aliased; markers outside the picture are cut.

    Args:
        pixels: (M, 2) column and row of each marker [px].
        radius_px: along rows and columns [px].
        shape: rows and columns of the picture.
        out: reused if given.
    """
    if out is None:
        out = np.zeros(shape, np.float32)
    else:
        out[:] = 0
    _stamp(out, np.ascontiguousarray(pixels, dtype=np.float64), float(radius_px[0]), float(radius_px[1]))
    return out


def draw(
    image: np.ndarray, pixels: np.ndarray, radius_px: tuple[float, float], darkness: tuple[float, float, float]
) -> np.ndarray:
    """Return a picture (H, W, 3) float32 with dark dots at `pixels` (M, 2) [px].

    Raises:
        RecordError: the picture has no three colours.
    """
    if image.ndim != 3 or image.shape[2] != 3:
        raise RecordError(f"markers are drawn into a picture (H, W, 3), got {image.shape}; draw a batch frame by frame")
    cover = coverage(pixels, radius_px, (image.shape[0], image.shape[1]))
    return image * (1.0 - cover[..., None] * np.asarray(darkness, np.float32))
