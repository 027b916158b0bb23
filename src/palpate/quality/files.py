"""Contacts of grasps from files, and results for files. What is wrong is refused, or repaired and told: grasp, contact and field.

JSON, one object or a list of them:

    {"object_radius_m": r,
     "contacts": [{"position_m": [x, y, z], "normal": [x, y, z], "friction": mu, "torsion_radius_m": e, "finger": "th"}, ...],
     "external_wrench": [fx, fy, fz, tx, ty, tz], "normal_force_n": F}

Positions are relative to the centre of mass, normals point into the object. `torsion_radius_m` (0: a point contact), `finger` (each
contact is one of its own), `external_wrench` (none) and `normal_force_n` may be left out. The wrench is in N and N m for a grasp whose
normal forces add up to `normal_force_n`, which is 1 unless given: then the wrench is in parts of that sum.

NPZ for B grasps of at most C contacts: `count` (B,), `position_m` (B, C, 3), `normal` (B, C, 3), `friction` (B, C), `object_radius_m`
(B,), and, if wanted, `torsion_radius_m` (B, C), `finger` (B, C) text, `external_wrench` (B, 6), `normal_force_n` (B,). Rows from
`count` on are not read.
"""

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.contacts import GraspContacts
from palpate.core.errors import DataError
from palpate.quality.friction import GraspQuality

OFF_UNIT = 0.1
"""Normals whose length differs from 1 by more are refused: they may be something else."""
TOLD_UNIT = 1e-3
"""Normals are made unit vectors without a word up to this difference: a few written digits."""
OUTWARD = 0.2
"""Cosine between a normal and the way out from the centre above which the normal points outward, clearly."""
SAME_PLACE, SAME_NORMAL = 1e-4, 0.999
"""Contacts closer than this part of the object's radius, with a cosine between normals above this, are one contact."""
FAR = 5.0
"""Contacts farther from the centre than this many object radii are told of."""
CONTACT = {"position_m": 3, "normal": 3, "friction": 0, "torsion_radius_m": 0}
GRASP = {"object_radius_m": 0, "external_wrench": 6, "normal_force_n": 0}
"""Fields and the length of their vectors; 0 is a number."""
NEEDED = {"position_m", "normal", "friction", "object_radius_m"}
POSITIVE, NOT_NEGATIVE = {"friction", "object_radius_m", "normal_force_n"}, {"torsion_radius_m"}


def read_contacts(path: Path, tell: Callable[[str], None]) -> list[GraspContacts]:
    """Read the grasps of a JSON or NPZ file (layouts above).

    Repaired and told: normals up to 10 % off unit length, contacts given twice (merged, with the lower friction). Told: some normals
    that point outward (a hollow or bent object may have them), contacts far outside the object, grasps of a single finger or none.

    Raises:
        DataError: the file is missing or of neither kind; a field is missing, unknown or of the wrong form; NaN; friction, radius or
            force not above 0; a normal that is not of unit length; a grasp all of whose normals point outward, as if fingers pulled.
    """
    try:
        if path.suffix == ".npz":
            return [_contacts(*grasp, path, number, tell) for number, grasp in enumerate(_npz(path))]
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as contacts in JSON or NPZ ({error})") from error
    entries = content if isinstance(content, list) else [content]
    return [
        _contacts(*_json_grasp(entry, f"{path}: grasp {number}"), path, number, tell) for number, entry in enumerate(entries)
    ]


def result(quality: GraspQuality) -> dict[str, Any]:
    """Return what a results file says of one grasp; `residual` is null without contact, `gap` where the solver proves none."""
    return {
        "q": quality.q,
        "friction_use": quality.friction_use,
        "residual": quality.residual if np.isfinite(quality.residual) else None,
        "success": quality.success,
        "gap": quality.gap,
        "status": quality.status,
        "forces": quality.forces.tolist(),
        "torsion_m": quality.torsion.tolist(),
    }


Fields = dict[str, np.ndarray]
"""Fields of a grasp by name; those of contacts have a first axis of contacts."""


def _json_grasp(entry: Any, where: str) -> tuple[Fields, list[str] | None]:
    if not isinstance(entry, dict) or not isinstance(entry.get("contacts"), list):
        raise DataError(f"{where}: must be an object with a list `contacts`")
    listed: list[Any] = entry["contacts"]
    fields = _numbers({k: v for k, v in entry.items() if k != "contacts"}, GRASP, where)
    rows, fingers = [], []
    for index, contact in enumerate(listed):
        at = f"{where}, contact {index}"
        if not isinstance(contact, dict):
            raise DataError(f"{at}: must be an object, got {contact!r}")
        fingers.append(str(contact.get("finger", f"contact {index}")))
        rows.append(
            {"torsion_radius_m": np.array(0.0), **_numbers({k: v for k, v in contact.items() if k != "finger"}, CONTACT, at)}
        )
    for name, size in CONTACT.items():
        fields[name] = np.array([row[name] for row in rows]) if rows else np.zeros((0, size) if size else 0)
    return fields, fingers


def _numbers(given: dict[str, Any], allowed: dict[str, int], where: str) -> Fields:
    _check_names(given.keys(), allowed.keys(), where)
    fields = {}
    for name, value in given.items():
        shape = (allowed[name],) if allowed[name] else ()
        try:
            fields[name] = np.asarray(value, float)
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}, {name}: must be {_form(shape)}, got {value!r}") from error
        if fields[name].shape != shape:
            raise DataError(f"{where}, {name}: must be {_form(shape)}, got {value!r}")
    return fields


def _form(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} numbers" if shape else "a number"


def _check_names(given: Any, allowed: Any, where: str) -> None:
    if unknown := set(given) - set(allowed):
        raise DataError(f"{where}: unknown field {', '.join(sorted(unknown))}; allowed: {', '.join(sorted(allowed))}")
    if missing := (NEEDED & set(allowed)) - set(given):
        raise DataError(f"{where}: lacks {', '.join(sorted(missing))}")


def _npz(path: Path) -> Iterator[tuple[Fields, list[str] | None]]:
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    _check_names(arrays.keys(), {*CONTACT, *GRASP, "count", "finger"}, str(path))
    if "count" not in arrays:
        raise DataError(f"{path}: lacks count")
    counts, fingers = arrays.pop("count"), arrays.pop("finger", None)
    most = arrays["position_m"].shape[1] if arrays["position_m"].ndim == 3 else 0
    for name, array in {**arrays, **({} if fingers is None else {"finger": fingers})}.items():
        size = {**CONTACT, **GRASP}.get(name, 0)
        shape = (len(counts), *([] if name in GRASP else [most]), *([size] if size else []))
        if array.shape != shape:
            raise DataError(f"{path}: {name} must be {shape} to fit count and position_m, got {array.shape}")
    if counts.dtype.kind not in "iu" or not ((counts >= 0) & (counts <= most)).all():
        raise DataError(f"{path}: count must hold whole numbers from 0 to {most}")
    for grasp, count in enumerate(counts):
        fields = {name: array[grasp] if name in GRASP else array[grasp, :count] for name, array in arrays.items()}
        fields.setdefault("torsion_radius_m", np.zeros(count))
        yield fields, None if fingers is None else [str(f) for f in fingers[grasp, :count]]


def _contacts(fields: Fields, fingers: list[str] | None, path: Path, number: int, tell: Callable[[str], None]) -> GraspContacts:
    where = f"{path}: grasp {number}"
    for name, value in fields.items():
        _check_values(name, value, where)
    normals = _unit_normals(fields["normal"], where, tell)
    radius = float(fields["object_radius_m"])
    _check_places(fields["position_m"], normals, radius, where, tell)
    keep = _distinct(fields["position_m"] / radius, normals, fields["friction"], where, tell)
    wrench = fields.get("external_wrench")
    if wrench is not None:
        wrench = wrench / float(fields.get("normal_force_n", 1.0)) / np.repeat([1.0, radius], 3)
    contacts = GraspContacts(
        positions=fields["position_m"][keep],
        normals=normals[keep],
        friction=fields["friction"][keep],
        torsion_radius=fields["torsion_radius_m"][keep],
        object_radius=radius,
        external_wrench=wrench,
        fingers=None if fingers is None else tuple(fingers[i] for i in keep),
    )
    if contacts.finger_count < 2:
        tell(f"{where}: fingers in contact: {contacts.finger_count}; judged, but no success")
    return contacts


def _check_values(name: str, value: np.ndarray, where: str) -> None:
    bad = ~np.isfinite(value)
    rule = "must be finite"
    if name in POSITIVE and not bad.any():
        bad, rule = value <= 0, "must be above 0"
    elif name in NOT_NEGATIVE and not bad.any():
        bad, rule = value < 0, "must be 0 or more"
    if bad.any():
        at = "" if name in GRASP else f", contact {np.argwhere(bad)[0][0]}"
        raise DataError(f"{where}{at}, {name}: {rule}, got {value[bad][0] if value.ndim else value}")


def _unit_normals(normals: np.ndarray, where: str, tell: Callable[[str], None]) -> np.ndarray:
    lengths = np.linalg.norm(normals, axis=1)
    for index, length in enumerate(lengths):
        at = f"{where}, contact {index}, normal: length {length:.4g}"
        if abs(length - 1.0) > OFF_UNIT:
            raise DataError(f"{at}, must be 1 (up to {OFF_UNIT:.0%} off is repaired)")
        if abs(length - 1.0) > TOLD_UNIT:
            tell(f"{at}, made 1")
    return normals / lengths[:, None]


def _check_places(positions: np.ndarray, normals: np.ndarray, radius: float, where: str, tell: Callable[[str], None]) -> None:
    distance = np.linalg.norm(positions, axis=1)
    outward = np.sum(positions * normals, axis=1) > OUTWARD * distance
    if len(normals) and outward.all():
        raise DataError(
            f"{where}, normal: all point outward, away from the centre of mass; they must point into the object: turn them round"
        )
    if outward.any():
        tell(
            f"{where}, normal: outward at contacts {np.flatnonzero(outward).tolist()}; kept, right for a hollow or bent object only"
        )
    if (distance > FAR * radius).any():
        tell(
            f"{where}, position_m: {distance.max():.3g} m from the centre of an object of radius {radius:.3g} m; kept, check the units"
        )


def _distinct(
    places: np.ndarray, normals: np.ndarray, friction: np.ndarray, where: str, tell: Callable[[str], None]
) -> list[int]:
    """Return which contacts stay when those at one place are merged; the one with the lower friction stands for both."""
    keep: list[int] = []
    for index in range(len(places)):
        near = [
            k
            for k in keep
            if np.linalg.norm(places[k] - places[index]) < SAME_PLACE and normals[k] @ normals[index] > SAME_NORMAL
        ]
        if not near:
            keep.append(index)
            continue
        tell(f"{where}, position_m: contacts {near[0]} and {index} coincide; merged")
        if friction[index] < friction[near[0]]:
            keep[keep.index(near[0])] = index
    return keep
