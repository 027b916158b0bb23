"""Read-outs that are forces: three-axis taxels, force along one part of the surface, and a field of forces.

All are weighted sums of the forces of the object on the surface's elements (cells of a flat `Contact`, row by row, or facets of a
`TipContact`). Weights that add up to 1 over the taxels keep the net force. Frame: the gel frame.
"""

from dataclasses import dataclass

import numpy as np

from palpate.core.errors import RecordError
from palpate.sensors.touch.contact import Contact, cell_centres
from palpate.sensors.touch.tip import SoftTip, TipContact

BIOTAC_SP_ROWS = (2, 3, 4, 3, 4, 3, 3, 2)
"""Electrodes in rows from the tip's end to the palm: an estimate of the BioTac SP's 24. No published coordinates were used."""


@dataclass(frozen=True, kw_only=True)
class Taxels:
    """P taxels over a surface of n elements."""

    positions: np.ndarray
    """(P, 3) centres [m], gel frame."""
    normals: np.ndarray
    """(P, 3) unit normals, into the gel."""
    weights: np.ndarray
    """(P, n) share of an element's force that each taxel reads; columns add up to 1."""
    estimate: str = ""
    """What about the layout is a guess; empty: nothing is."""

    def __post_init__(self) -> None:
        """Refuse weights that lose or make force."""
        if (
            self.weights.ndim != 2
            or self.positions.shape != (len(self.weights), 3)
            or self.normals.shape != self.positions.shape
        ):
            raise RecordError(
                f"taxels have positions {self.positions.shape}, normals {self.normals.shape} and weights {self.weights.shape}; "
                "they must be (P, 3), (P, 3) and (P, n)"
            )
        if not np.allclose(self.weights.sum(axis=0), 1, atol=1e-9) or (self.weights < 0).any():
            raise RecordError(
                "the weights of taxels must be 0 or more and add up to 1 on every element, so that no force is lost"
            )


def element_forces(contact: Contact | TipContact) -> np.ndarray:
    """Return the object's force on each surface element (..., n, 3) [N], gel frame; cells of a flat contact row by row."""
    if isinstance(contact, TipContact):
        return contact.forces
    traction = np.concatenate([contact.shear, contact.pressure[..., None]], axis=-1)
    return traction.reshape(*traction.shape[:-3], -1, 3) * (contact.pitch[0] * contact.pitch[1])


def taxel_forces(contact: Contact | TipContact, taxels: Taxels) -> np.ndarray:
    """Return three-axis taxel readings (..., P, 3) [N], gel frame; their sum over P is `contact.force`."""
    forces = element_forces(contact)
    _check_count(forces, taxels.weights.shape[1], "these taxels")
    return np.einsum("pn,...nc->...pc", taxels.weights, forces)


def local_forces(forces: np.ndarray, taxels: Taxels) -> np.ndarray:
    """Turn readings (..., P, 3) [N] into each taxel's own axes: along its tangents nearest to x and y, and its normal."""
    x = np.array([1.0, 0.0, 0.0]) - taxels.normals[:, :1] * taxels.normals
    length = np.linalg.norm(x, axis=1, keepdims=True)
    side = np.cross(taxels.normals, [0.0, 1.0, 0.0]) * -1.0
    x = np.where(length > 1e-3, x / np.maximum(length, 1e-12), side)
    axes = np.stack([x, np.cross(taxels.normals, x), taxels.normals], axis=1)
    return np.einsum("pac,...pc->...pa", axes, forces)


def region_force(
    contact: Contact | TipContact, region: np.ndarray | None = None, normal: np.ndarray | None = None
) -> np.ndarray:
    """Return the net force on a part of the surface along its normal (...) [N], positive where it is pushed: a 1-D sensor.

    Args:
        contact: flat or curved, any leading axes.
        region: weights (n,) or (H, W) of the elements in 0..1, or a mask; None takes all.
        normal: (3,) direction, into the gel; None takes the region's mean normal at rest (z for a flat contact).

    Raises:
        RecordError: the region does not fit the contact or is empty.
    """
    forces = element_forces(contact)
    n = forces.shape[-2]
    weights = np.ones(n) if region is None else np.asarray(region, float).ravel()
    _check_count(forces, weights.size, "this region")
    if not weights.any() or (weights < 0).any() or (weights > 1).any():
        raise RecordError("a region needs weights in 0..1, at least one above 0")
    net = np.einsum("n,...nc->...c", weights, forces)
    if normal is not None:
        direction = np.asarray(normal, float)
    elif isinstance(contact, TipContact):
        direction = (weights * contact.areas) @ contact.facing
    else:
        direction = np.array([0.0, 0.0, 1.0])
    size = np.linalg.norm(direction)
    if direction.shape != (3,) or not 0 < size < np.inf:
        raise RecordError(f"the region's normal is {direction}; give a direction (3,) that is not 0")
    return net @ (direction / size)


def force_field(contact: Contact | TipContact, shape: tuple[int, int]) -> np.ndarray:
    """Return forces on a coarse or fine grid over the surface, (..., rows, cols, 3) [N]; their sum is `contact.force`.

    The force of a flat cell is shared by the overlap of its area with the grid; a curved tip's facet gives all its force to the grid
    cell, in x and y over the tip's extent, that its middle lies in.
    """
    rows, cols = shape
    if rows < 1 or cols < 1:
        raise RecordError(f"a force field has shape {shape}; give two counts of 1 or more")
    forces = element_forces(contact)
    lead = forces.shape[:-2]
    if isinstance(contact, TipContact):
        low, high = contact.points[:, :2].min(axis=0), contact.points[:, :2].max(axis=0)
        share = (contact.points[:, :2] - low) / (high - low)
        col, row = np.minimum((share * (cols, rows)).astype(int), (cols - 1, rows - 1)).T
        out = np.zeros((rows * cols, *lead, 3))
        np.add.at(out, row * cols + col, np.moveaxis(forces, -2, 0))
        return np.moveaxis(out, 0, -2).reshape(*lead, rows, cols, 3)
    height, width = contact.pressure.shape[-2:]
    grid = forces.reshape(*lead, height, width, 3)
    return np.einsum("rh,cw,...hwk->...rck", _overlap(height, rows), _overlap(width, cols), grid, optimize=True)


def _overlap(count: int, parts: int) -> np.ndarray:
    """Return the share (parts, count) of each of `count` equal cells that lies in each of `parts` equal cells of the same length."""
    cells, edges = np.arange(count) / count, np.arange(parts) / parts
    start = np.maximum(cells[None, :], edges[:, None])
    end = np.minimum(cells[None, :] + 1 / count, edges[:, None] + 1 / parts)
    share = np.maximum(end - start, 0) * count
    return share / share.sum(axis=0)


def spread_taxels(positions: np.ndarray, normals: np.ndarray, points: np.ndarray, spread: float, estimate: str = "") -> Taxels:
    """Return taxels that read wide regions: Gaussian weights by distance, made to add up to 1.

    Args:
        positions: (P, 3) centres [m].
        normals: (P, 3).
        points: (n, 3) elements of the surface [m].
        spread: standard deviation of a taxel's region [m].
        estimate: see `Taxels.estimate`.
    """
    if not (np.isfinite(spread) and spread > 0):
        raise RecordError(f"the spread of taxels is {spread} m; it must be positive")
    apart = ((positions[:, None, :] - points[None, :, :]) ** 2).sum(axis=-1)
    weights = np.exp(-(apart - apart.min(axis=0)) / (2 * spread**2))
    return Taxels(positions=positions, normals=normals, weights=weights / weights.sum(axis=0), estimate=estimate)


def flat_points(shape: tuple[int, int], pitch: tuple[float, float]) -> np.ndarray:
    """Return the cells' centres (H W, 3) of a flat contact [m], row by row."""
    y, x = np.broadcast_arrays(*cell_centres(shape, pitch))
    return np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)


def biotac_sp_taxels(tip: SoftTip, spread: float = 2e-3) -> Taxels:
    """Return 24 three-axis taxels laid out over a tip as an estimate of the BioTac SP's electrodes.

    Their places, their spread [m] and that they read forces are guesses: real electrodes read the impedance of the fluid above them.
    """
    surface = tip.surface
    rows, cols = surface.grid
    chosen = []
    for number, count in enumerate(BIOTAC_SP_ROWS):
        row = int((0.12 + 0.76 * number / (len(BIOTAC_SP_ROWS) - 1)) * rows)
        places = (np.arange(count) + 0.5) / count * 0.8 + 0.1
        chosen += [row * cols + int(place * cols) for place in places]
    return spread_taxels(
        surface.points[chosen], surface.normals[chosen], surface.points, spread, "layout, spread and physics of all 24 taxels"
    )


def _check_count(forces: np.ndarray, given: int, what: str) -> None:
    if forces.shape[-2] != given:
        raise RecordError(
            f"{what} cover {given} surface elements, the contact has {forces.shape[-2]}; make them for this surface"
        )
