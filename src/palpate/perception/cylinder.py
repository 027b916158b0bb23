"""An upright cylinder around what appeared between two depth images (More Than a Feeling, Section V)."""

from dataclasses import dataclass

import cv2
import numpy as np

from palpate.core.errors import PalpateError
from palpate.sensors.camera import Camera

RISE = 0.012
"""A pixel belongs to the object if it came nearer by more than this times the square of its depth [1/m], as depth noise grows."""

SMALLEST = 60
"""Fewer pixels than this are no object."""

FLOOR = 0.003
"""Points lower than this over the table are left out: they are the table's noise [m]."""

TRIM = 0.003
"""Share of points that may lie outside the circle: edges are noisy."""


@dataclass(frozen=True, kw_only=True)
class Cylinder:
    """An upright cylinder that stands on the table."""

    position: np.ndarray
    """(3,) centre of its top [m], world."""
    radius: float
    """[m]"""
    height: float
    """[m]"""
    pixel: np.ndarray
    """(2,) column and row of the middle of what changed."""


def fit_cylinder(before: np.ndarray, after: np.ndarray, camera: Camera) -> Cylinder:
    """Enclose what appeared between two depth images (H, W) [m], 0 where there is no depth, in an upright cylinder.

    A front camera sees the near side and the top only: what it does not see behind the object is not enclosed.

    Raises:
        PalpateError: nothing large enough came nearer.
    """
    changed = (before > 0) & (after > 0) & (before - after > RISE * before * before)
    mask = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    if count < 2 or sizes.max() < SMALLEST:
        found = int(sizes.max()) if count > 1 else 0
        raise PalpateError(
            f"no object found: the largest change of depth (more than {RISE * 1000:.0f} mm at 1 m) covers {found} pixels, at least "
            f"{SMALLEST} are needed; is the object in the camera's view, and was the table empty before?"
        )
    label = 1 + int(np.argmax(sizes))
    # Opening also eats the rim, whose pixels are few: take back what changed beside the object.
    near = cv2.dilate((labels == label).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    points = camera.deproject(after, near & changed)
    points = points[points[:, 2] > min(FLOOR, float(np.median(points[:, 2])))]
    height = float(np.percentile(points[:, 2], 98))
    centre, radius = _circle(points[:, :2])
    left, upper, width, rows = stats[label, :4]
    return Cylinder(
        position=np.array([*centre, height]),
        radius=radius,
        height=height,
        pixel=np.array([left + width / 2, upper + rows / 2]),
    )


def _circle(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Return centre (2,) and radius [m] of the smallest circle about points (N, 2), the outermost few left out."""
    distance = np.hypot(*(points - np.median(points, axis=0)).T)
    kept = points[distance <= np.quantile(distance, 1 - TRIM)]
    centre, radius = cv2.minEnclosingCircle((kept * 1000).astype(np.float32))
    return np.array(centre) / 1000, float(radius) / 1000
