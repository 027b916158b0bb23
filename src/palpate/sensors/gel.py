"""A flat gel pad: from how a surface lies over it and how hard it is pressed to pressure and the gel's new shape.

First version: a Winkler foundation (springs side by side), whose depth is found so that the pressure carries the force, and a
far field around the contact that decays over about the gel's thickness. The bonded-layer solver replaces it later.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from palpate.core.errors import RecordError


@dataclass(frozen=True, kw_only=True)
class Gel:
    """Constants of a pad."""

    width: float = 0.016
    """Sensed width [m]."""
    height: float = 0.019
    """Sensed height [m]."""
    foundation: float = 1.0e8
    """Pressure per indentation of the foundation [Pa/m]: about the thin-layer modulus of 2 mm of soft silicone."""
    thickness: float = 0.002
    """[m]"""
    sink: float = 0.35
    """Share of the indentation that the gel beside the contact follows."""


@dataclass(frozen=True, kw_only=True)
class Contact:
    """What a press does to the gel."""

    pressure: np.ndarray
    """(H, W) [Pa]; sums to the force."""
    sunk: np.ndarray
    """(H, W) [m] how far the surface is below its rest; 0 everywhere without contact."""
    depth: float
    """Largest indentation [m]."""


def press(gel: Gel, gap: np.ndarray, force: float) -> Contact:
    """Press a rigid surface at distance `gap` (H, W) [m] from the undeformed gel until it carries `force` [N].

    Raises:
        RecordError: the gap is not a finite 2-D map, or the force is negative or not finite.
    """
    if gap.ndim != 2 or not np.isfinite(gap).all():
        raise RecordError(
            f"gap must be a finite (H, W) map in metres, got shape {gap.shape}; mark free space with a large distance"
        )
    if not np.isfinite(force) or force < 0:
        raise RecordError(f"force must be 0 or more newtons, got {force}")
    if force == 0:
        flat = np.zeros(gap.shape)
        return Contact(pressure=flat, sunk=flat, depth=0.0)
    area = gel.width * gel.height / gap.size
    ordered = np.sort(gap, axis=None)
    ordered -= ordered[0]
    count = np.arange(1, gap.size + 1)
    # With the n nearest cells in contact, their springs carry k dA (n d - sum of their gaps): solve for d, take the n that fits.
    depths = (force / (gel.foundation * area) + np.cumsum(ordered)) / count
    n = int(np.argmax(np.append(ordered[1:], np.inf) >= depths))
    depth = float(depths[n])
    indentation = np.maximum(depth - (gap - gap.min()), 0.0)
    return Contact(pressure=gel.foundation * indentation, sunk=_relax(gel, indentation), depth=depth)


def _relax(gel: Gel, indentation: np.ndarray) -> np.ndarray:
    """Let the gel beside the contact follow it, less and less over about its thickness."""
    pitch = gel.height / indentation.shape[0]
    sigma = gel.thickness / pitch
    near = cv2.GaussianBlur(indentation, (0, 0), 0.5 * sigma, borderType=cv2.BORDER_REPLICATE)
    far = cv2.GaussianBlur(indentation, (0, 0), 1.3 * sigma, borderType=cv2.BORDER_REPLICATE)
    tail = gel.sink * (0.6 * near + 0.8 * far)
    return cv2.GaussianBlur(np.maximum(indentation, tail), (0, 0), 0.8)
