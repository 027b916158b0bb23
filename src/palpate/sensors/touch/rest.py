"""What one unit shows without contact: light from its sides, the tint of its gel, its wear.

A rest image belongs to one unit with one gel, never to a kind of sensor. Three sources of difference are kept apart: the unit
(lights and camera, for good), the gel (until it is replaced), the wear (grows with every press).
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from palpate.core.errors import RecordError
from palpate.sensors.touch.markers import MarkerGrid


@dataclass(frozen=True, kw_only=True)
class RestLook:
    """How rest images of a kind of sensor look and how far units and gels differ."""

    base: tuple[float, float, float]
    """Mean grey level of each colour."""
    azimuth_deg: tuple[float, float, float] = (-90.0, 30.0, 150.0)
    """Where each colour's light stands; 0 is to the right, 90 up."""
    fall: tuple[float, float] = (0.1, 0.3)
    """Least and largest relative fall-off of a colour from its light, by unit."""
    spot: float = 0.1
    """Largest relative brightness of the pool of light before a lamp, by unit."""
    vignette: float = 0.2
    """Share of light lost in the corners."""
    light_spread: float = 0.06
    """Relative difference of a colour's brightness between units."""
    turn_deg: float = 10.0
    """Difference of a light's azimuth between units [deg]."""
    tint: float = 0.03
    """Relative difference of a colour between gels."""
    blotch: float = 0.015
    """Relative unevenness of a gel's coat over about a quarter of the picture."""
    grain: float = 0.006
    """Relative unevenness of a gel's coat from pixel to pixel."""


@dataclass(frozen=True, kw_only=True)
class GelFigures:
    """How gels of a kind differ in their markers, and how they wear."""

    marker_jitter: float = 0.04
    """Misplacement of a marker, as a share of the grid's pitch."""
    marker_skew: float = 0.01
    """Of the whole grid: turn [rad], relative stretch and shift by pitches."""
    scratches: float = 4.0
    """Number of scratches after 1,000 presses."""
    fading: float = 0.05
    """Share of the coat's brightness lost after 1,000 presses, where it is pressed most."""


def rest_light(look: RestLook, shape: tuple[int, int], unit: np.random.Generator, gel: np.random.Generator) -> np.ndarray:
    """Draw the rest image of a unit with a fresh gel, without markers.

    Args:
        look: of the kind of sensor.
        shape: rows and columns.
        unit: randomness of lights and camera.
        gel: randomness of the gel.

    Returns:
        (H, W, 3) float32 grey levels within 0 and 255, not rounded.
    """
    rows, cols = shape
    reach = float(np.hypot(rows, cols)) / 2
    y, x = np.meshgrid((np.arange(rows) - (rows - 1) / 2) / reach, (np.arange(cols) - (cols - 1) / 2) / reach, indexing="ij")
    angle = np.deg2rad(np.asarray(look.azimuth_deg) + look.turn_deg * unit.normal(size=3))
    fall = unit.uniform(*look.fall, size=3)
    bright = np.asarray(look.base) * (1 + look.light_spread * unit.normal(size=3)) * (1 + look.tint * gel.normal(size=3))
    shape_of_light = 1 + fall * (x[..., None] * np.cos(angle) - y[..., None] * np.sin(angle))
    for channel in range(3):
        place = 0.6 * np.array([np.cos(angle[channel]), -np.sin(angle[channel])]) * (cols, rows) / (2 * reach)
        place, size = place + 0.1 * unit.normal(size=2), unit.uniform(0.2, 0.4)
        pool = look.spot * unit.uniform(0, 1) * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * size**2))
        shape_of_light[..., channel] *= (1 + pool) / (1 + pool.mean())
    lens = 1 - look.vignette * (x * x + y * y)
    image = bright * shape_of_light * (lens / lens.mean())[..., None]
    coarse = gel.normal(size=(6, 6, 3)).astype(np.float32)
    coat = 1 + look.blotch * cv2.resize(coarse, (cols, rows), interpolation=cv2.INTER_CUBIC)
    coat += look.grain * gel.normal(size=(rows, cols, 1)).astype(np.float32)
    return np.clip(image * coat, 0, 255).astype(np.float32)


def marker_points(grid: MarkerGrid, figures: GelFigures, gel: np.random.Generator) -> np.ndarray:
    """Return the places (M, 2) [m] of the markers of one gel: not evenly aligned, each gel otherwise."""
    pitch = np.array([grid.pitch[1], grid.pitch[0]])
    turn, stretch_x, stretch_y = figures.marker_skew * gel.normal(size=3)
    shift = figures.marker_skew * gel.normal(size=2) * pitch
    own = figures.marker_jitter * gel.normal(size=(grid.rows * grid.cols, 2)) * pitch
    skew = np.array([[1 + stretch_x, -turn], [turn, 1 + stretch_y]])
    return grid.points() @ skew.T + shift + own


def wear_layer(figures: GelFigures, shape: tuple[int, int], presses: float, gel: np.random.Generator) -> np.ndarray:
    """Return the share (H, W) float32 of light that a gel gives after a number of presses; 1 exactly if there were none.

    Scratches come one after another and stay: with equal randomness more presses only add to what fewer presses did.

    Raises:
        RecordError: a negative number of presses.
    """
    if not presses >= 0:
        raise RecordError(f"presses must be 0 or more, got {presses}; a replaced gel starts at 0")
    rows, cols = shape
    layer = np.ones(shape, np.float32)
    if presses == 0:
        return layer
    thousands = presses / 1000.0
    centre = gel.normal(0.0, 0.1, 2)
    y, x = np.meshgrid(np.linspace(-1, 1, rows) - centre[0], np.linspace(-1, 1, cols) - centre[1], indexing="ij")
    layer -= ((1 - (1 - figures.fading) ** thousands) * np.exp(-(x * x + y * y) / 0.5)).astype(np.float32)
    waits = 0.0
    for _ in range(200):  # more scratches than this would leave nothing to see
        waits += gel.exponential(1.0)
        place, angle = gel.uniform(0, 1, 2) * (cols, rows), gel.uniform(0, np.pi)
        length, depth = gel.uniform(0.05, 0.35) * rows, gel.uniform(0.08, 0.3)
        if waits > figures.scratches * thousands:
            break
        half = 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
        line = np.zeros(shape, np.uint8)
        first, last = (np.rint(16 * (place + side * half)).astype(int) for side in (-1, 1))
        cv2.line(line, (int(first[0]), int(first[1])), (int(last[0]), int(last[1])), 255, 1, cv2.LINE_AA, 4)
        layer *= 1 - np.float32(depth / 255) * line
    return layer


def mean_level(look: RestLook, image: np.ndarray) -> RestLook:
    """Return the look with the mean colours of a real rest image (H, W, 3) uint8, RGB."""
    red, green, blue = (float(v) for v in image.reshape(-1, 3).mean(axis=0))
    return replace(look, base=(red, green, blue))
