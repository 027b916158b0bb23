"""Where is the object? From the difference of depth before and after it was set down (Gentle Grasping, Section V)."""

from dataclasses import dataclass

import cv2
import numpy as np

from palpate.core.errors import PalpateError
from palpate.sensors.camera import Camera

RISE = 0.010
"""A pixel belongs to the object if it came nearer by more than this [m]."""

SMALLEST = 400
"""Fewer pixels than this are no object: depth noise far behind the workspace makes blobs of up to about 170, a ball of 40 mm 1500."""

CAP = 0.45
"""Share of the object's height, from the top, whose points give its position: the part that a camera from above sees on all sides."""


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where the object was found."""

    position: np.ndarray
    """(3,) [m] world: above its top's centre, at its top's height."""
    pixel: np.ndarray
    """(2,) column and row of the middle of what changed."""
    n_pixels: int


def locate_object(before: np.ndarray, after: np.ndarray, camera: Camera) -> Located:
    """Find what appeared between two depth images (H, W) [m], 0 where there is no depth.

    Raises:
        PalpateError: nothing large enough came nearer.
    """
    changed = (before > 0) & (after > 0) & (before - after > RISE)
    mask = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_16U)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    if count < 2 or sizes.max() < SMALLEST:
        found = int(sizes.max()) if count > 1 else 0
        raise PalpateError(
            f"no object found: the largest change of depth by more than {RISE * 1000:.0f} mm covers {found} pixels, at least "
            f"{SMALLEST} are needed; is the object in the camera's view, and was the table empty before?"
        )
    part = labels == 1 + int(np.argmax(sizes))
    points = camera.deproject(after, part)
    top = np.percentile(points[:, 2], 98)
    position = np.array([*_summit(points[points[:, 2] > (1 - CAP) * top]), top])
    left, upper, width, height = stats[1 + int(np.argmax(sizes)), :4]
    return Located(position=position, pixel=np.array([left + width / 2, upper + height / 2]), n_pixels=int(part.sum()))


def _summit(points: np.ndarray) -> np.ndarray:
    """Return x, y (2,) [m] of the top of a paraboloid through points (N, 3) [m].

    The side that faces the camera fills more pixels, so a mean or median of the points lies too near to it. The cross term lets
    the paraboloid turn with an object that lies askew; without it such objects are missed by up to 18 mm.
    """
    middle = points.mean(axis=0)
    x, y, z = (points - middle).T
    design = np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y])
    a = np.linalg.lstsq(design, z, rcond=None)[0]
    bend = np.array([[2 * a[3], a[5]], [a[5], 2 * a[4]]])
    if np.linalg.eigvalsh(bend).max() >= 0:
        return middle[:2]  # no top: flat or saddle-shaped, as a box is
    offset = -np.linalg.solve(bend, a[1:3])
    reach = np.ptp(points[:, :2], axis=0) / 2
    return middle[:2] + np.clip(offset, -reach, reach)
