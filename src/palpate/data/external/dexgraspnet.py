"""DexGraspNet (R. Wang et al., ICRA 2023): grasps of a Shadow hand on meshes, found by optimisation. CC BY-NC 4.0; synthetic.

A folder holds `<object>.npy`, a pickled array of dicts `{qpos, scale}`, and `meshdata/<object>/coacd/decomposed.obj`, the object's convex
parts without unit: metres are vertices times scale. Poses are in the frame of the scaled mesh. The stored fingers touch or nearly touch;
they do not squeeze.
"""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.transform import Rotation

from palpate.core.errors import DataError
from palpate.core.transforms import pose, vector_from_pose
from palpate.data.external.restricted_pickle import RestrictedReader

_COUNTS = {"FF": 4, "MF": 4, "RF": 4, "LF": 5, "TH": 5}
JOINTS = tuple(f"robot0:{finger}J{k}" for finger, n in _COUNTS.items() for k in reversed(range(n)))
"""Keys of the 22 finger joints, in the house's order."""
PLACE = ("WRJTx", "WRJTy", "WRJTz")
TURN = ("WRJRx", "WRJRy", "WRJRz")
"""Euler angles about the fixed x, y, z, in this order ("sxyz")."""


@dataclass(frozen=True, kw_only=True)
class DexGrasp:
    """One grasp."""

    object: str
    number: int
    """In the object's file, from 0."""
    scale: float
    """Metres per unit of the object's mesh: 0.06, 0.08, 0.10, 0.12 or 0.15."""
    joints: np.ndarray
    """(22,) [rad] in the house's order: first finger J3 to J0, ... little finger J4 to J0, thumb J4 to J0."""
    palm: np.ndarray
    """(6,) pose of the palm's frame in that of the scaled mesh: x, y, z [m], rotation vector [rad]."""


@dataclass(frozen=True, kw_only=True)
class MeshParts:
    """The convex parts of a mesh."""

    corners: tuple[np.ndarray, ...]
    """Per part (N, 3), in the unit of the file."""
    repaired: tuple[str, ...]
    """A sentence for each part that was replaced by its convex hull."""


def read_dexgraspnet(folder: str | Path, objects: Sequence[str] | None = None) -> Iterator[DexGrasp]:
    """Yield the grasps of the objects of a folder, file by file.

    Args:
        folder: that of the data set.
        objects: names of those to read; None reads all, in order of name.

    Raises:
        DataError: No such folder or file, or one that is something else; names file and grasp.
    """
    root = Path(folder)
    paths = sorted(root.glob("*.npy")) if objects is None else [root / f"{name}.npy" for name in objects]
    if not paths:
        raise DataError(f"{root}: no .npy file; give the folder of the data set, which holds <object>.npy and meshdata")
    for path in paths:
        for number, entry in enumerate(_entries(path)):
            yield _grasp(path, number, entry)


def _entries(path: Path) -> list[object]:
    """Return what a file's array holds, read without running anybody's code."""
    try:
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("not an .npy file of version 1.0")
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
            if kind != np.dtype(object) or len(shape) != 1:
                raise ValueError(f"it holds {shape} {kind}, expected one row of objects")
            return list(np.asarray(RestrictedReader(file).load(), object))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (ValueError, EOFError, pickle.UnpicklingError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} is not a file of DexGraspNet: {error}; it needs an array of dicts with qpos and scale"
        ) from error


def _grasp(path: Path, number: int, entry: object) -> DexGrasp:
    where = f"{path} grasp {number}"
    if not isinstance(entry, Mapping) or not isinstance(entry.get("qpos"), Mapping) or "scale" not in entry:
        raise DataError(f"{where}: expected a dict with qpos (a dict) and scale")
    qpos = entry["qpos"]
    joints, place, turn = (np.array([_number(where, qpos, key) for key in keys]) for keys in (JOINTS, PLACE, TURN))
    scale = round(_number(where, entry, "scale"), 4)  # stored as float32: 0.11999999
    if scale <= 0:
        raise DataError(f"{where}: scale is {scale}; it must be above 0")
    rotation = Rotation.from_euler("xyz", turn).as_matrix()
    return DexGrasp(object=path.stem, number=number, scale=scale, joints=joints, palm=vector_from_pose(pose(rotation, place)))


def _number(where: str, values: Mapping[str, object], key: str) -> float:
    value = values.get(key)
    if not isinstance(value, int | float | np.number) or not np.isfinite(float(value)):
        raise DataError(f"{where}, {key}: {value!r} is not a finite number")
    return float(value)


def object_parts(folder: str | Path, name: str, *, repair: bool = False) -> MeshParts:
    """Return the convex parts of an object's mesh; arguments and errors as `read_parts`."""
    return read_parts(Path(folder) / "meshdata" / name / "coacd" / "decomposed.obj", repair=repair)


def read_parts(path: str | Path, *, repair: bool = False) -> MeshParts:
    """Return the parts (`o` or `g`) of an OBJ file, each a closed convex solid.

    Args:
        path: the file.
        repair: take the convex hull of a part that is not closed, and say so; otherwise refuse.

    Raises:
        DataError: No file, no part, a flat part, a line that is no vertex or face, or a part that is not watertight; names file and part.
    """
    path = Path(path)
    vertices, parts = _obj(path)
    corners, repaired = [], []
    for name, faces in parts.items():
        used = np.unique(np.concatenate(faces))
        if used.min() < 0 or used.max() >= len(vertices):
            raise DataError(f"{path} part {name!r}: a face names a vertex that the file has not ({len(vertices)} vertices)")
        points = vertices[used]
        problem = _opening(vertices, faces)
        if problem and not repair:
            raise DataError(f"{path} part {name!r} is not watertight: {problem}; close it, or ask for its convex hull instead")
        try:
            hull = ConvexHull(points)
        except (QhullError, ValueError) as error:
            raise DataError(f"{path} part {name!r} is flat: {len(points)} vertices enclose no volume") from error
        if problem:
            repaired.append(f"{path.name} part {name!r} is not watertight ({problem}): replaced by its convex hull")
        corners.append(points[hull.vertices])
    return MeshParts(corners=tuple(corners), repaired=tuple(repaired))


def _obj(path: Path) -> tuple[np.ndarray, dict[str, list[np.ndarray]]]:
    """Return the vertices (N, 3) of an OBJ file and the faces of its parts, as numbers of vertices from 0."""
    if not path.is_file():
        raise DataError(f"{path} does not exist; the mesh of an object is in meshdata/<object>/coacd/decomposed.obj")
    vertices, parts, name = [], {}, "unnamed"
    for row, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        word, *cells = line.split() or [""]
        try:
            if word == "v":
                vertices.append([float(cell) for cell in cells[:3]])
            elif word in ("o", "g"):
                name = cells[0] if cells else f"part {len(parts)}"
            elif word == "f":
                numbers = np.array([int(cell.split("/")[0]) for cell in cells])
                parts.setdefault(name, []).append(np.where(numbers < 0, len(vertices) + numbers, numbers - 1))
        except ValueError as error:
            raise DataError(f"{path} row {row}: {line!r} is no vertex or face of an OBJ file") from error
    points = np.array(vertices, float)
    if not parts or points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise DataError(
            f"{path} holds no mesh: {len(vertices)} vertices, {len(parts)} parts; every vertex needs three finite numbers"
        )
    return points, parts


def _opening(vertices: np.ndarray, faces: list[np.ndarray]) -> str:
    """Return what is wrong with a surface that should be closed, or nothing: each edge must be run through once each way."""
    _, merged = np.unique(vertices.round(7), axis=0, return_inverse=True)  # equal places are one vertex, whatever their texture
    edges: dict[tuple[int, int], int] = {}
    for face in faces:
        ring = merged[face].ravel()
        for a, b in zip(ring.tolist(), np.roll(ring, -1).tolist(), strict=True):
            if a != b:
                edges[a, b] = edges.get((a, b), 0) + 1
    single = sum(count != edges.get((b, a), 0) for (a, b), count in edges.items())
    return f"{single} of {len(edges)} half edges have no partner" if single else ""
