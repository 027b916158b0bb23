"""How near a drawn press is to the real one: measured on the change against the rest image, never on whole pictures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from palpate.core.errors import RecordError

RING = 2.0
"""Outer radius of the ring around the contact, and half the side of the scored box [contact radii]."""


@dataclass(frozen=True, kw_only=True)
class PressScore:
    """Agreement of a drawn change with a real one around one press; the box has a side of 4 contact radii."""

    correlation: float
    """Pearson's, over the box and all colours; 0 for a constant drawing."""
    correlation_inside: float
    correlation_ring: float
    """From 1 to 2 contact radii."""
    nrmse: float
    """Root mean square error over the root mean square of the real change, in the box."""
    nrmse_inside: float
    nrmse_ring: float
    psnr_db: float
    """Of the clipped, rounded picture in the box."""


def press_score(
    rest: np.ndarray, image: np.ndarray, drawn: np.ndarray, centre_xy: tuple[float, float], radius_px: float
) -> PressScore:
    """Score one press.

    Args:
        rest: (H, W, 3) uint8.
        image: (H, W, 3) uint8, the real picture.
        drawn: (H, W, 3) float, the drawn change [grey levels].
        centre_xy: of the contact [px].
        radius_px: of the contact.

    Raises:
        RecordError: when the shapes differ.
    """
    if not rest.shape == image.shape == drawn.shape:
        raise RecordError(f"rest {rest.shape}, image {image.shape} and drawn {drawn.shape} must have one shape")
    y, x = np.ogrid[: rest.shape[0], : rest.shape[1]]
    x, y = np.abs(x - centre_xy[0]), np.abs(y - centre_xy[1])
    box = (x <= RING * radius_px) & (y <= RING * radius_px)
    distance = np.hypot(x, y)
    ring = (distance > radius_px) & (distance <= RING * radius_px)
    real = image.astype(float) - rest
    areas = {"": box, "_inside": distance <= radius_px, "_ring": ring}
    values = {f"correlation{name}": _correlation(real[area], drawn[area]) for name, area in areas.items()}
    values |= {f"nrmse{name}": _nrmse(real[area], drawn[area]) for name, area in areas.items()}
    picture = np.clip(np.rint(rest[box] + drawn[box]), 0, 255)
    error = max(float(((image[box] - picture) ** 2).mean()), 1e-9)
    return PressScore(**values, psnr_db=10 * np.log10(255.0**2 / error))


def mean_score(scores: Sequence[PressScore]) -> PressScore:
    """Return the mean of each figure."""
    rows = [asdict(score) for score in scores]
    return PressScore(**{key: float(np.mean([row[key] for row in rows])) for key in rows[0]})


def _correlation(real: np.ndarray, drawn: np.ndarray) -> float:
    a, b = real.ravel() - real.mean(), drawn.ravel().astype(float) - drawn.mean(dtype=float)
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else 0.0


def _nrmse(real: np.ndarray, drawn: np.ndarray) -> float:
    size = float((real**2).mean())
    return float(np.sqrt(((real - drawn) ** 2).mean() / size)) if size > 0 else 0.0
