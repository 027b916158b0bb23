"""Fit white-lit sensors, whose picture darkens with depth and brightens where the gel bulges (9DTact), on ball presses."""

import cv2
import numpy as np

from palpate.core.errors import RecordError
from palpate.sensors.touch.imprint import ball_sunk
from palpate.sensors.touch.optics import Darkness, Optics
from palpate.sensors.touch.presses import Presses

MARGIN = 1.8
"""Pixels up to this many contact radii are used."""
LEAST = 50
"""Pixels that a knot needs on average."""


def fit_darkness(
    presses: Presses,
    *,
    ball_radius: float,
    pitch: tuple[float, float],
    thickness: float,
    poisson: float = 0.48,
    knots: int = 12,
    blur: float = 0.1e-3,
) -> Optics:
    """Fit a monotone table from depth to darkness, per colour (Lin et al. 2023, arXiv:2308.14277, whose table runs the other way).

    Args:
        presses: rest image, pictures, circles.
        ball_radius: [m].
        pitch: of a pixel on the gel, rows and columns [m].
        thickness: of the gel [m].
        poisson: Poisson ratio of the gel.
        knots: of the table, evenly spaced from no depth to the deepest; the bulge around a press gets further ones.
        blur: of the camera, on the gel [m].

    Raises:
        RecordError: when the presses hold too few pixels for the table.
    """
    rows, cols = presses.rest.shape[:2]
    blank = Optics(shape=(rows, cols), pitch=pitch, stages=(), blur=blur)
    size = float(np.sqrt(pitch[0] * pitch[1]))
    y, x = np.ogrid[:rows, :cols]
    depths, changes = [], []
    for (cx, cy), radius, change in zip(presses.centre_xy, presses.radius_px, presses.differences(), strict=True):
        sunk = ball_sunk(
            (rows, cols), pitch, (cx, cy), radius * size, ball_radius=ball_radius, thickness=thickness, poisson=poisson
        )
        used = np.hypot(x - cx, y - cy) <= MARGIN * radius
        depths.append(blank.relief(sunk).sunk[used])
        changes.append(cv2.GaussianBlur(change, (0, 0), 1.0)[used])
    depth, change = np.concatenate(depths).astype(float), np.concatenate(changes).astype(float)
    if len(depth) < LEAST * knots:
        raise RecordError(
            f"{len(depth)} pixels around the contacts are too few for {knots} knots; take fewer knots or larger presses"
        )
    step = float(depth.max()) / knots
    bulges = int(np.ceil(max(0.0, -float(depth.min())) / step))
    at = step * np.arange(-bulges, knots + 1)
    table = np.stack([_falling(depth, change[:, c], at) for c in range(3)], axis=1)
    return Optics(shape=(rows, cols), pitch=pitch, stages=(Darkness(depth=at, change=table),), blur=blur)


def _falling(depth: np.ndarray, change: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Least squares of a piecewise linear table through 0 at depth 0, then made never to rise with depth."""
    place = np.clip((depth - at[0]) / (at[1] - at[0]), 0, len(at) - 1.000001)
    left = place.astype(int)
    share = place - left
    design = np.zeros((len(depth), len(at)))
    index = np.arange(len(depth))
    design[index, left], design[index, left + 1] = 1 - share, share
    rough = np.diff(np.eye(len(at)), n=2, axis=0) * np.sqrt(len(depth) / 100)  # ties rare depths to their neighbours
    zero = int(np.flatnonzero(at == 0)[0])
    free = np.delete(np.arange(len(at)), zero)
    wanted = np.concatenate([change, np.zeros(len(rough))])
    values = np.zeros(len(at))
    values[free] = np.linalg.lstsq(np.vstack([design, rough])[:, free], wanted, rcond=None)[0]
    values[zero:] = np.minimum.accumulate(np.minimum(values[zero:], 0.0))
    values[: zero + 1] = np.maximum.accumulate(np.maximum(values[: zero + 1], 0.0)[::-1])[::-1]
    return values
