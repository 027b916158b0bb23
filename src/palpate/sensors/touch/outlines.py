"""Flat outlines as signed distances (negative inside) and the cross-sections that turn them into solid things.

All lengths in one unit [m]; x and y broadcast against each other.
"""

import itertools
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

WALL = 10.0
"""Rise of a side wall over its run: all but upright, yet continuous, as solvers that follow distances ask for."""
FAR = 0.02
"""Where nothing is, the distance is this [m]."""


def circle(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Return the signed distance from a circle about the origin."""
    return np.hypot(x, y) - radius


def box(x: np.ndarray, y: np.ndarray, half: tuple[float, float], round_: float = 0.0) -> np.ndarray:
    """Return the signed distance from a rectangle with half sides (x, y) and rounded corners."""
    right, down = np.abs(x) - half[0] + round_, np.abs(y) - half[1] + round_
    outside = np.hypot(np.maximum(right, 0.0), np.maximum(down, 0.0))
    return outside + np.minimum(np.maximum(right, down), 0.0) - round_


def segment(x: np.ndarray, y: np.ndarray, start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """Return the distance from a segment, 0 or more."""
    along = np.array(end) - np.array(start)
    share = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(float(along @ along), 1e-30), 0.0, 1.0)
    return np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])


def polygon(x: np.ndarray, y: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the signed distance from a simple polygon with corners (N, 2)."""
    x, y = np.broadcast_arrays(x, y)
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        nearest = np.minimum(nearest, segment(x, y, (x0, y0), (x1, y1)))
        crosses = (y0 > y) != (y1 > y)
        if y0 != y1:
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return np.where(inside, -nearest, nearest)


def star_corners(radius: float, inner: float, points: int) -> np.ndarray:
    """Return the corners (2 points, 2) of a star, or with inner = radius cos(pi / points) of a regular polygon."""
    angle = np.arange(2 * points) * np.pi / points
    reach = np.where(np.arange(2 * points) % 2 == 0, radius, inner)
    return np.stack([reach * np.sin(angle), -reach * np.cos(angle)], axis=1)


def gear_corners(radius: float, teeth: int, depth: float) -> np.ndarray:
    """Return the corners (4 teeth, 2) of a gear with straight flanks."""
    angle = (np.arange(teeth)[:, None] + np.array([-0.32, -0.18, 0.18, 0.32])) * 2 * np.pi / teeth
    reach = np.broadcast_to(np.array([radius - depth, radius, radius, radius - depth]), angle.shape)
    return np.stack([(reach * np.cos(angle)).ravel(), (reach * np.sin(angle)).ravel()], axis=1)


_STROKES: Mapping[str, str] = MappingProxyType(
    {
        "A": "04 02 10 22 24/02 22",
        "B": "00 04 14 23 12 02/12 21 10 00",
        "C": "21 10 01 03 14 23",
        "D": "00 04 14 23 21 10 00",
        "E": "20 00 04 24/02 12",
        "F": "20 00 04/02 12",
        "G": "21 10 01 03 14 23 22 12",
        "H": "00 04/20 24/02 22",
        "I": "00 20/10 14/04 24",
        "J": "20 23 14 03",
        "K": "00 04/20 02 24",
        "L": "00 04 24",
        "M": "04 00 12 20 24",
        "N": "04 00 24 20",
        "O": "10 01 03 14 23 21 10",
        "P": "04 00 10 21 12 02",
        "Q": "10 01 03 14 23 21 10/13 24",
        "R": "04 00 10 21 12 02/12 24",
        "S": "21 10 01 23 14 03",
        "T": "00 20/10 14",
        "U": "00 03 14 23 20",
        "V": "00 14 20",
        "W": "00 04 12 24 20",
        "X": "00 24/20 04",
        "Y": "00 12 20/12 14",
        "Z": "00 20 04 24",
        "0": "10 01 03 14 23 21 10/21 03",
        "1": "01 10 14/04 24",
        "2": "01 10 21 04 24",
        "3": "00 20 12 23 14 03",
        "4": "24 20 03 23",
        "5": "20 00 02 12 23 14 03",
        "6": "20 11 02 03 14 23 12 02",
        "7": "00 20 14",
        "8": "12 01 10 21 12 03 14 23 12",
        "9": "04 13 22 21 10 01 12 22",
    }
)
"""Letters and digits as lines through points (column 0-2, row 0-4)."""
LETTERS = "".join(_STROKES)


def letter(x: np.ndarray, y: np.ndarray, character: str, height: float) -> np.ndarray:
    """Return the signed distance from one of `LETTERS` of the given height, centred, upright as seen in the gel frame."""
    pen = 0.07 * height
    step = (height - 2 * pen) / 4
    nearest = np.full(np.broadcast_shapes(np.shape(x), np.shape(y)), np.inf)
    for stroke in _STROKES[character].split("/"):
        points = [(step * 1.2 * (int(p[0]) - 1), step * (int(p[1]) - 2)) for p in stroke.split()]
        for start, end in itertools.pairwise(points):
            nearest = np.minimum(nearest, segment(x, y, start, end))
    return nearest - pen


def solid(distance: np.ndarray, rim: float) -> np.ndarray:
    """Return the height over the lowest point of an upright solid with this outline, its edge rounded with radius `rim`."""
    across = np.clip(distance + rim, 0.0, rim)
    return rim - np.sqrt(np.maximum(rim * rim - across * across, 0.0)) + WALL * np.maximum(distance, 0.0)


def relief(distance: np.ndarray, height: float, edge: float) -> np.ndarray:
    """Return 0 inside the outline and `height` outside, with a smooth step `edge` wide about it."""
    share = np.clip(distance / edge + 0.5, 0.0, 1.0)
    return height * share * share * (3 - 2 * share)


def ball(distance: np.ndarray, radius: float) -> np.ndarray:
    """Return the height of a ball (or of a rod, by the distance from its axis) over its lowest point."""
    inside = np.sqrt(np.maximum(radius * radius - distance * distance, 0.0))
    return radius - inside + WALL * np.maximum(np.abs(distance) - radius, 0.0)


def blunt(rise: np.ndarray, slope: float, tip: float) -> np.ndarray:
    """Return a wedge's or cone's height at slope `slope` from its tip of curvature radius `tip`; `rise` is the way sideways."""
    soft = tip * slope * slope
    return np.sqrt((slope * rise) ** 2 + soft * soft) - soft


def saw(phase: np.ndarray) -> np.ndarray:
    """Return a triangle wave of period 1: 0 at whole numbers, 1 between them."""
    return 2 * np.abs(phase - np.rint(phase))


def near(value: np.ndarray, pitch: float) -> np.ndarray:
    """Return the signed way from the nearest multiple of `pitch`."""
    return value - pitch * np.rint(value / pitch)
