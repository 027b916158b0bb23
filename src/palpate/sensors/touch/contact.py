"""What a press does to a gel: the record that mechanics write and every read-out reads.

Gel frame: x to the right (columns), y down (rows), z into the gel; the origin is the pad's centre.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Pad:
    """Constants of a flat elastic layer bonded to a rigid base."""

    width: float
    """Modelled width, along x [m]."""
    height: float
    """Modelled height, along y [m]."""
    thickness: float
    """[m]; infinite for a half-space."""
    young: float
    """Young's modulus [Pa]."""
    poisson: float
    """Poisson ratio, in (-1, 0.5]."""
    friction: float = 0.8
    """Coulomb coefficient between gel and object."""
    relaxation: tuple[tuple[float, float], ...] = ()
    """Prony series of the shear modulus: (share, time constant [s]); empty: elastic."""


@dataclass(frozen=True, kw_only=True)
class Contact:
    """State of the gel's surface, one press or a batch (leading axes `...`)."""

    pitch: tuple[float, float]
    """Size of a cell along rows (y) and along columns (x) [m]."""
    pressure: np.ndarray
    """(..., H, W) [Pa], 0 or more: normal traction of the object on the gel, along +z."""
    shear: np.ndarray
    """(..., H, W, 2) [Pa]: tangential traction of the object on the gel, x and y."""
    sunk: np.ndarray
    """(..., H, W) [m]: displacement of the surface into the gel (+z); negative where it bulges. 0 everywhere without contact."""
    drift: np.ndarray
    """(..., H, W, 2) [m]: tangential displacement of the surface, x and y."""
    approach: np.ndarray
    """(...) [m]: how far the object moved in beyond first contact."""

    @property
    def force(self) -> np.ndarray:
        """(..., 3) net force of the object on the gel [N], gel frame."""
        cell = self.pitch[0] * self.pitch[1]
        normal = self.pressure.sum(axis=(-2, -1))[..., None]
        return np.concatenate([self.shear.sum(axis=(-3, -2)), normal], axis=-1) * cell

    @property
    def torque(self) -> np.ndarray:
        """(..., 3) net moment of the object on the gel about the pad's centre [N m], gel frame (z = 0 plane)."""
        y, x = cell_centres(self.pressure.shape[-2:], self.pitch)
        cell = self.pitch[0] * self.pitch[1]
        about_x = (self.pressure * y).sum(axis=(-2, -1))
        about_y = -(self.pressure * x).sum(axis=(-2, -1))
        about_z = (x * self.shear[..., 1] - y * self.shear[..., 0]).sum(axis=(-2, -1))
        return np.stack([about_x, about_y, about_z], axis=-1) * cell

    @property
    def contact_area(self) -> np.ndarray:
        """(...) area that carries pressure [m^2]."""
        return (self.pressure > 0).sum(axis=(-2, -1)) * (self.pitch[0] * self.pitch[1])

    @property
    def contact_radius(self) -> np.ndarray:
        """(...) radius of the disc of equal area [m]."""
        return np.sqrt(self.contact_area / np.pi)


def cell_centres(shape: tuple[int, ...], pitch: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return y (H, 1) and x (1, W) of the cells' centres [m] about the pad's centre."""
    rows, cols = shape
    y = (np.arange(rows) - (rows - 1) / 2) * pitch[0]
    x = (np.arange(cols) - (cols - 1) / 2) * pitch[1]
    return y[:, None], x[None, :]
