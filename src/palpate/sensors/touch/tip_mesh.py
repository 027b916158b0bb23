"""Curved fingertips as constants, their skin as tetrahedra, and its compliance condensed onto the sensing surface.

The skin is a shell of soft material between an outer ellipsoid-like surface and a rigid core that it is bonded to. A regular grid of
cells (i, j, k), each cut into six tetrahedra, is bent onto it; the grid is cut symmetrically about its two middle planes, so that
symmetric tips give symmetric answers. Displacements are quadratic (P2), tractions are constant on a *facet*, one outer face of a cell.

Frame: the gel frame of `palpate.sensors.touch.contact`; the origin is the tip's apex, z points into the tip, -y is distal.
"""

import hashlib
import itertools
import json
import os
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp
import skfem
from skfem.models.elasticity import lame_parameters, linear_elasticity

from palpate.core.errors import RecordError

VERSION = 1
"""Of the numbers in a cache file; raise it whenever the mesh or the elements change."""
LEAF = 240
"""Unknowns that nested dissection no longer splits."""


@dataclass(frozen=True, kw_only=True)
class TipShape:
    """Constants of a soft fingertip over a rigid core."""

    half_width: float
    """Half axis of the outer surface along x [m]."""
    distal: float
    """Half axis along y, towards the tip's end (y < 0) [m]."""
    proximal: float
    """Half axis along y, towards the palm (y > 0) [m]; of a `straight` tip: how far its cylinder reaches."""
    height: float
    """Half axis along z: how deep the ellipsoid's centre lies below the apex [m]."""
    skin: float
    """Thickness of the soft material over the core [m]; a solid tip has a small core."""
    reach: float
    """Half angle that the skin covers, seen from the ellipsoid's centre, at the middle of its four sides [rad]."""
    young: float
    """Young's modulus [Pa]."""
    poisson: float
    """Poisson ratio, in (-1, 0.49]: quadratic displacements lock beyond."""
    friction: float
    """Coulomb coefficient between skin and object."""
    cells: tuple[int, int, int, int] = (10, 10, 14, 3)
    """Cells of the mesh: x in each half, y distal, y proximal, layers."""
    focus: float = 0.0
    """0: cells of equal angle; towards 1: smaller cells about the apex."""
    straight: bool = False
    """Towards the palm the tip is a cylinder about y and no ellipsoid; with equal half axes it is a capsule."""
    estimates: tuple[str, ...] = ()
    """Names of the fields that are guesses and not measured or published."""

    def __post_init__(self) -> None:
        """Refuse constants that make no tip."""
        lengths = {name: getattr(self, name) for name in ("half_width", "distal", "proximal", "height", "skin")}
        for name, value in {**lengths, "young": self.young, "reach": self.reach}.items():
            if not (np.isfinite(value) and value > 0):
                raise RecordError(f"{name} of a fingertip is {value}; it must be positive and finite, in SI units")
        if self.skin >= min(value for name, value in lengths.items() if name != "skin"):
            raise RecordError(f"skin is {self.skin} m, which leaves no core; it must be less than every half axis")
        if not -1 < self.poisson <= 0.49:
            raise RecordError(f"poisson is {self.poisson}; allowed: above -1 up to 0.49 (use 0.49 for incompressible skin)")
        if not (np.isfinite(self.friction) and self.friction >= 0):
            raise RecordError(f"friction is {self.friction}; allowed: 0 or more")
        if self.reach > 1.6 or not 0 <= self.focus < 1:
            raise RecordError(f"reach {self.reach} rad and focus {self.focus}: allowed are up to 1.6 rad and 0 <= focus < 1")
        if len(self.cells) != 4 or min(self.cells) < 1:
            raise RecordError(f"cells is {self.cells}; give four positive counts: x half, y distal, y proximal, layers")

    @property
    def key(self) -> str:
        """Name of its compliance in a cache: a hash of what the mesh and the unit compliance depend on."""
        names = ("half_width", "distal", "proximal", "height", "skin", "reach", "poisson", "cells", "focus", "straight")
        text = json.dumps([VERSION, skfem.__version__, [getattr(self, name) for name in names]])
        return hashlib.sha256(text.encode()).hexdigest()[:24]


BIOTAC_SP = TipShape(
    half_width=7.5e-3,
    distal=8e-3,
    proximal=14e-3,
    height=7.5e-3,
    skin=2.5e-3,
    reach=1.4,
    young=0.25e6,
    poisson=0.47,
    friction=0.8,
    estimates=(
        *("half_width", "distal", "proximal", "height", "skin", "reach"),
        *("young", "poisson", "friction"),
    ),
)
"""A tip of about a BioTac SP's size. Every figure is an estimate: skin and fluid are one soft solid here."""

HEMISPHERE = TipShape(
    half_width=8e-3,
    distal=8e-3,
    proximal=8e-3,
    height=8e-3,
    skin=5e-3,
    reach=1.4,
    young=0.2e6,
    poisson=0.48,
    friction=0.8,
    cells=(10, 10, 10, 4),
    focus=0.4,
    estimates=("half_width", "skin", "young", "poisson", "friction"),
)
"""A nearly solid silicone hemisphere on a post, a generic soft fingertip."""

_ROUND = 0.8
"""Between 0 (the skin's outline is a square in angle) and 1 (a disc, whose four corner cells are degenerate)."""


@dataclass(frozen=True)
class Surface:
    """The sensing surface: one facet per outer cell face, row by row (y), then x."""

    shape: TipShape
    """The tip it belongs to."""
    points: np.ndarray
    """(n, 3) mean position of each facet [m]."""
    normals: np.ndarray
    """(n, 3) unit normals, into the tip."""
    areas: np.ndarray
    """(n,) [m^2], of the two flat triangles that carry the load."""
    samples: np.ndarray
    """(n, 4, 3) points of the true surface whose mean stands for the facet's mean [m]."""
    grid: tuple[int, int]
    """Rows (y) and columns (x) of facets; n is their product."""


def _axis(cells: int, focus: float) -> np.ndarray:
    t = np.linspace(0, 1, cells + 1)
    return t * (1 - focus) + focus * t**3


def axes(shape: TipShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the grid lines: u (x) and v (y) in [-1, 1], w from the core (0) to the outer surface (1)."""
    half, distal, proximal, layers = shape.cells
    u, lower, upper = (_axis(count, shape.focus) for count in (half, distal, proximal))
    w = 1 - (1 - np.linspace(0, 1, layers + 1)) ** (1.5 if layers > 3 else 1.0)  # thick skins: thinner layers outside
    return np.r_[-u[:0:-1], u], np.r_[-lower[:0:-1], upper], w


def bend(shape: TipShape, u: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Map grid parameters u, v in [-1, 1] and w in [0, 1] (0: core, 1: outer surface) to points (..., 3) [m] of the gel frame."""
    barrel = shape.straight & (v > 0)
    a = shape.reach * u * np.sqrt(1 - _ROUND * np.where(barrel, 0, v) ** 2 / 2)
    b = shape.reach * np.where(barrel, 0, v) * np.sqrt(1 - _ROUND * u**2 / 2)
    angle = np.hypot(a, b)
    ratio = np.sinc(angle / np.pi)
    inner = shape.skin * (1 - w)
    length = np.where(v < 0, shape.distal, shape.proximal)
    x = (shape.half_width - inner) * a * ratio
    y = np.where(barrel, shape.proximal * v, (length - inner) * b * ratio)
    z = shape.height - (shape.height - inner) * np.cos(angle)
    return np.stack(np.broadcast_arrays(x, y, z), -1)


def outer_normals(shape: TipShape, points: np.ndarray) -> np.ndarray:
    """Return the unit normals, into the tip, of the ellipsoid through `points` (..., 3) [m] that is similar to the outer surface.

    Where a straight tip is a cylinder (y > 0), those of the cylinder.
    """
    length = np.where(points[..., 1] < 0, shape.distal, np.inf if shape.straight else shape.proximal)
    steep = np.stack(
        [points[..., 0] / shape.half_width**2, points[..., 1] / length**2, (points[..., 2] - shape.height) / shape.height**2],
        -1,
    )
    return -steep / np.linalg.norm(steep, axis=-1, keepdims=True)


def surface_of(shape: TipShape) -> Surface:
    """Return the facets of a tip's sensing surface."""
    u, v, _ = axes(shape)
    rows, cols = len(v) - 1, len(u) - 1
    offset = 0.5 + np.array([-0.5, 0.5]) / np.sqrt(3)
    us = (u[:-1, None] + np.diff(u)[:, None] * offset)[None, :, None, :]
    vs = (v[:-1, None] + np.diff(v)[:, None] * offset)[:, None, :, None]
    samples = bend(shape, us, vs, np.ones(1)).reshape(rows * cols, 4, 3)
    corner = bend(shape, u[None, :], v[:, None], np.ones(1))
    middle = bend(shape, (u[:-1] + u[1:])[None, :] / 2, (v[:-1] + v[1:])[:, None] / 2, np.ones(1)).reshape(-1, 3)
    one, two, three, four = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    # A cell's diagonal runs away from the middle planes, as the tetrahedra are cut.
    same = (u[:-1] >= 0)[None, :] == (v[:-1] >= 0)[:, None]
    first = np.where(same, _triangle(one, two, three), _triangle(two, three, four))
    second = np.where(same, _triangle(one, three, four), _triangle(one, two, four))
    return Surface(
        shape=shape,
        points=samples.mean(axis=1),
        normals=outer_normals(shape, middle),
        areas=(first + second).ravel(),
        samples=samples,
        grid=(rows, cols),
    )


def _triangle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return the areas of triangles with corners (..., 3)."""
    return np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 2


def skin_mesh(shape: TipShape) -> tuple[skfem.MeshTet, skfem.MeshTet]:
    """Return the skin as tetrahedra, straight (in units of grid lines: 0, 2, 4, ...) and bent onto the tip [m], equally numbered.

    Raises:
        RecordError: a tetrahedron is turned inside out; the constants fit no mesh.
    """
    u, v, w = axes(shape)
    nx, ny, nz = len(u) - 1, len(v) - 1, len(w) - 1
    index = np.arange((nx + 1) * (ny + 1) * (nz + 1)).reshape(nx + 1, ny + 1, nz + 1)
    lines = np.stack(np.meshgrid(np.arange(nx + 1), np.arange(ny + 1), np.arange(nz + 1), indexing="ij")).reshape(3, -1)
    i, j, k = (part.ravel() for part in np.meshgrid(np.arange(nx), np.arange(ny), np.arange(nz), indexing="ij"))
    right, down = u[i] >= 0, v[j] >= 0
    corners = []
    for order in itertools.permutations(range(3)):  # Kuhn: one tetrahedron per order in which a path takes the three directions
        step = np.zeros(3, int)
        path = [step.copy()]
        for direction in order:
            step[direction] = 1
            path.append(step.copy())
        corners.append(
            np.stack([index[i + np.where(right, a, 1 - a), j + np.where(down, b, 1 - b), k + c] for a, b, c in path])
        )
    cells = np.concatenate(corners, axis=1)
    places = bend(shape, u[lines[0]], v[lines[1]], w[lines[2]])
    edges = places[cells[1:]] - places[cells[0]]
    volume = np.linalg.det(edges.transpose(1, 0, 2))
    straight = np.linalg.det((lines.T[cells[1:]] - lines.T[cells[0]]).transpose(1, 0, 2).astype(float))
    if (volume * straight * np.sign(volume[0] * straight[0]) <= 0).any():
        raise RecordError(
            f"the mesh of this fingertip folds over itself (reach {shape.reach} rad, skin {shape.skin} m): use a smaller reach or skin"
        )
    return skfem.MeshTet(2.0 * lines, cells), skfem.MeshTet(places.T.copy(), cells)


def assemble(shape: TipShape) -> tuple[sp.csr_matrix, sp.csc_matrix, np.ndarray]:
    """Return stiffness (N, N) and facet loads (N, 3n) of the free unknowns at unit Young's modulus, and their grid places (N, 2).

    Column 3 f + c is a unit force [N] on facet f along axis c, spread evenly over it; so its transpose takes mean displacements.
    """
    straight, mesh = skin_mesh(shape)
    element = skfem.ElementVector(skfem.ElementTetP2())
    basis = skfem.Basis(mesh, element, intorder=2)
    stiffness = sp.csr_matrix(skfem.asm(linear_elasticity(*lame_parameters(1.0, shape.poisson)), basis))
    rows, cols = surface_of(shape).grid
    top = straight.facets_satisfying(lambda x: np.isclose(x[2], 2 * shape.cells[3]), boundaries_only=True)
    middle = straight.p[:, np.asarray(straight.facets)[:, top]].mean(axis=1)
    facet = (middle[1] // 2).astype(int) * cols + (middle[0] // 2).astype(int)
    sides = skfem.FacetBasis(mesh, element, facets=top, intorder=2)
    size = np.bincount(facet, sides.dx.sum(axis=1), minlength=rows * cols)
    # Shape functions integrated over each triangle, by hand: skfem sums over all facets at once.
    parts = []
    for number, function in enumerate(sides.basis):
        value = (np.asarray(function[0]) * sides.dx).sum(axis=-1)  # (3, triangles)
        dofs = sides.element_dofs[number]
        for axis in range(3):
            parts.append((value[axis] / size[facet], dofs, 3 * facet + axis))
    value, dofs, column = (np.concatenate(part) for part in zip(*parts, strict=True))
    loads = sp.csc_matrix((value, (dofs, column)), shape=(basis.N, 3 * rows * cols))
    loads.eliminate_zeros()
    place = np.rint(skfem.Basis(straight, element, intorder=2).doflocs).astype(int)
    free = np.flatnonzero(place[2] > 0)
    return stiffness[free][:, free].tocsr(), loads[free].tocsc(), place[:2, free].T


def condense(stiffness: sp.csr_matrix, loads: sp.csc_matrix, place: np.ndarray) -> np.ndarray:
    """Return `loads.T @ inv(stiffness) @ loads` by multifrontal nested dissection with dense fronts.

    Unknowns are eliminated from `[[K, B], [B', 0]]`, small regions first, then the planes between them; what is left is -B' K^-1 B.
    The loads' rows ride along as borders, so that no triangular solves over the whole skin are needed.

    Args:
        stiffness: (N, N) symmetric positive definite.
        loads: (N, m).
        place: (N, 2) integer grid places; unknowns on two sides of an even line are not coupled.
    """
    n = len(place)
    m = loads.indptr.size - 1
    both = sp.hstack([stiffness, loads]).tocsr()
    done = np.zeros(n + m, bool)
    slot = np.zeros(n + m, int)

    def front(dofs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        own, children = dofs, []
        line, axis = _cut(place[dofs])
        if line is not None:
            where = place[dofs, axis]
            own = dofs[where == line]
            children = [front(part) for part in (dofs[where < line], dofs[where > line])]
        rows = both[own].tocoo()
        near = np.unique(np.concatenate([rows.col, *(border for border, _ in children)]))
        border = near[~done[near] & ~np.isin(near, own)]
        index = np.concatenate([own, border])
        slot[index] = np.arange(len(index))
        matrix = np.zeros((len(index), len(index)))
        for part, update in children:
            matrix[np.ix_(slot[part], slot[part])] += update
        fresh = ~done[rows.col]
        matrix[rows.row[fresh], slot[rows.col[fresh]]] += rows.data[fresh]
        k = len(own)
        lower = la.cholesky(matrix[:k, :k], lower=True, check_finite=False)
        side = la.solve_triangular(lower, matrix[:k, k:], lower=True, check_finite=False)
        done[own] = True
        return border, matrix[k:, k:] - side.T @ side

    border, update = front(np.arange(n))
    out = np.zeros((m, m))
    out[np.ix_(border - n, border - n)] = -update
    return (out + out.T) / 2


def _cut(place: np.ndarray) -> tuple[int | None, int]:
    """Return the even grid line that halves a region best, and its axis; None if the region is small."""
    low, high = place.min(axis=0), place.max(axis=0)
    axis = int(np.argmax(high - low))
    line = int((low[axis] + high[axis]) // 4 * 2)
    if len(place) <= LEAF or not low[axis] < line < high[axis]:
        return None, axis
    return line, axis


def default_cache() -> Path:
    """Return the user's folder for what can be computed again: $XDG_CACHE_HOME/palpate, else ~/.cache/palpate."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "palpate"


def compliance_of(shape: TipShape, cache: Path | None = None) -> np.ndarray:
    """Return a tip's compliance (3n, 3n) [m/N] at a Young's modulus of 1 Pa, float32, from the cache if it is there.

    Entry (3 f + c, 3 g + e): mean displacement of facet f along axis c by a unit force spread over facet g along axis e. A damaged
    cache file is computed again. If the folder cannot be written a warning says so.

    Args:
        shape: the tip.
        cache: folder of the cache; None takes `default_cache()`.
    """
    file = (default_cache() if cache is None else Path(cache)) / f"tip-{shape.key}.npz"
    size = 3 * surface_of(shape).areas.size
    stored = _read(file, shape.key, size)
    if stored is not None:
        return stored
    compliance = condense(*assemble(shape)).astype(np.float32)
    try:
        _write(file, shape.key, compliance)
    except OSError as error:
        warnings.warn(
            f"cannot keep the fingertip's compliance in {file.parent} ({error}); it is computed again next time", stacklevel=2
        )
    return compliance


def _read(file: Path, key: str, size: int) -> np.ndarray | None:
    try:
        with file.open("rb") as source, np.load(source, allow_pickle=False) as data:
            compliance, stored = data["compliance"], str(data["key"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if stored != key or compliance.shape != (size, size) or compliance.dtype != np.float32:
        return None
    return compliance if np.isfinite(compliance).all() and (compliance.diagonal() > 0).all() else None


def _write(file: Path, key: str, compliance: np.ndarray) -> None:
    """Write under another name first, so that no reader ever sees half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".tip-", delete=False) as part:
        try:
            np.savez(part, key=np.array(key), compliance=compliance)
        except BaseException:
            Path(part.name).unlink()
            raise
    Path(part.name).replace(file)
