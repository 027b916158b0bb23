"""From the joints of a glove to the joints of a hand: one polynomial per joint, fitted to a recording of both.

SoftGrasp, Section 3.1.2 and Table 1: the glove is worn on the hand itself, the hand is moved, and both are recorded. Angles are shares
of each joint's range and grow as the finger bends (recordings of the hand count the other way: 1 is open).
"""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.errors import DataError

JOINTS = ("little", "ring", "middle", "index", "thumb_bend", "thumb_swing")
"""The six controlled joints, in the order of all arrays (6,)."""
ORDERS = (3, 5)
TABLE_1_ORDERS = (3, 3, 3, 3, 5, 5)
"""Order of each joint's polynomial in Table 1."""

_FORMAT = "palpate-glove-mapping"
_SAMPLES_PER_COEFFICIENT = 4
_REJECT = 4.0
"""Samples farther from the curve than so many standard deviations are bad."""
_BAD_SHARE = 1.0 / 3.0
"""With a larger share of bad samples it is the recording that is wrong."""
_LOOSE = 0.1
"""A deviation of more than this part of the hand's travel is no mapping."""
_FLOOR = 1e-6  # a noiseless recording must not reject its own rounding
_GRID = 201


@dataclass(frozen=True, kw_only=True)
class JointMapping:
    """The angle of a hand's joint as a polynomial of the glove's."""

    joint: str
    coefficients: tuple[float, ...]
    """Highest power first."""
    deviation: float
    """Standard deviation of the samples about the curve, in the unit of the hand's angle."""
    low: float
    """Lower end of the glove's calibrated range; what lies outside is clamped to it."""
    high: float
    samples: int | None = None
    """How many were recorded; None if not known."""
    rejected: int | None = None
    """How many of them were bad."""

    def __call__(self, glove: np.ndarray | float) -> np.ndarray:
        """Return the hand's angle for any shape of glove angles."""
        return np.polyval(self.coefficients, np.clip(glove, self.low, self.high))


GloveMapping = tuple[JointMapping, ...]
"""One mapping for each of `JOINTS`."""


def _printed(joint: str, coefficients: tuple[float, ...], deviation: float, low: float, high: float) -> JointMapping:
    return JointMapping(joint=joint, coefficients=coefficients, deviation=deviation, low=low, high=high)


SOFTGRASP_TABLE_1: GloveMapping = (
    _printed("little", (0.3678, -1.03, 1.844, 0.037), 9.944e-3, 0.0, 0.755),
    _printed("ring", (-0.07913, -0.8193, 2.003, -0.02124), 5.903e-3, 0.011, 0.771),
    _printed("middle", (0.2115, -1.393, 2.25, -0.0123), 6.201e-3, 0.006, 0.790),
    _printed("index", (0.5385, -1.42, 2.064, -0.002128), 5.818e-3, 0.002, 0.781),
    _printed("thumb_bend", (-196.1, 582.0, -674.2, 378.3, -99.9, 9.904), 9.721e-3, 0.301, 0.775),
    _printed("thumb_swing", (-549.1, 1764.0, -2247.0, 1417.0, -438.4, 52.98), 4.446e-3, 0.420, 0.712),
)
"""Table 1. The paper prints no ranges; these are where the curves rise from 0, or from their lowest point, to 1. Outside the thumb's
curves turn and leave 0 to 1 (thumb bend is 9.9 at 0)."""


def map_angles(mapping: GloveMapping, glove: np.ndarray) -> np.ndarray:
    """Return hand angles (..., 6) of glove angles (..., 6), each clamped to its calibrated range."""
    return np.stack([joint(glove[..., i]) for i, joint in enumerate(mapping)], axis=-1)


def fit_joint(joint: str, glove: np.ndarray, hand: np.ndarray, order: int) -> JointMapping:
    """Fit the polynomial of one joint; bad samples are found and left out.

    The start is the curve of least absolute deviations, which a minority of bad samples hardly moves; least squares over the samples
    near it follow until the same samples stay.

    Args:
        joint: Its name.
        glove: (T,) angles of the glove.
        hand: (T,) angles of the hand at the same moments.
        order: 3 or 5.

    Raises:
        DataError: Another order, series that do not fit together, values that are not finite, too few or too similar samples, more than
            a third of bad ones, samples that lie on no curve, or a curve that turns back inside the recorded range.
    """
    glove, hand = np.asarray(glove, float), np.asarray(hand, float)
    _check_samples(joint, glove, hand, order)
    good = _good_samples(glove, hand, order)
    curve = np.polynomial.Polynomial.fit(glove[good], hand[good], order)
    residual = hand[good] - curve(glove[good])
    deviation = float(np.sqrt(np.sum(residual**2) / (len(residual) - order - 1)))
    if good.mean() < 1.0 - _BAD_SHARE or deviation >= _LOOSE * np.ptp(hand[good]):
        raise DataError(
            f"joint {joint}: no curve of order {order} fits; {np.sum(~good)} of {len(good)} samples lie far from the best one, the others "
            f"deviate by {deviation:.3g}. Are glove and hand recorded at the same moments, and are the columns in order?"
        )
    _check_spread(joint, glove[good], order)
    low, high = float(glove[good].min()), float(glove[good].max())
    steps = np.diff(curve(np.linspace(low, high, _GRID)))
    back = float(min(steps[steps > 0].sum(), -steps[steps < 0].sum()))
    if back > max(deviation, _FLOOR):  # less than the noise may be the noise
        raise DataError(
            f"joint {joint}: the fitted curve of order {order} turns back by {back:.3g} between {low:.3g} and {high:.3g}, "
            f"more than its deviation of {deviation:.3g}; a glove angle must mean one hand angle. "
            "Record the whole range evenly, or fit a lower order"
        )
    return JointMapping(
        joint=joint,
        coefficients=tuple(float(c) for c in curve.convert(domain=(-1.0, 1.0), window=(-1.0, 1.0)).coef[::-1]),
        deviation=deviation,
        low=low,
        high=high,
        samples=len(glove),
        rejected=int(np.sum(~good)),
    )


def fit_mapping(glove: np.ndarray, hand: np.ndarray, orders: tuple[int, ...] = TABLE_1_ORDERS) -> GloveMapping:
    """Fit all joints to a recording.

    Args:
        glove: (T, 6) angles of the glove in the order of `JOINTS`.
        hand: (T, 6) angles of the hand at the same moments.
        orders: Order of each joint's polynomial, 3 or 5.

    Raises:
        DataError: As `fit_joint`, or the arrays are not (T, 6) both.
    """
    if glove.shape != hand.shape or glove.ndim != 2 or glove.shape[1] != len(JOINTS) or len(orders) != len(JOINTS):
        raise DataError(f"glove {glove.shape}, hand {hand.shape}, {len(orders)} orders; needed are (T, 6), (T, 6) and 6")
    return tuple(fit_joint(joint, glove[:, i], hand[:, i], orders[i]) for i, joint in enumerate(JOINTS))


def read_recording(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a recording of glove and hand.

    A CSV file has the columns `glove_JOINT` and `hand_JOINT` for each of `JOINTS`, in any order, others beside; an NPZ file has the
    arrays `glove` and `hand`, (T, 6) each.

    Returns:
        Angles of the glove (T, 6) and of the hand (T, 6).

    Raises:
        DataError: No such file, another suffix, a missing column or array, or a cell that is no number; names row and column.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is no file; give a recording of glove and hand, .csv or .npz")
    if path.suffix == ".csv":
        return _read_csv(path)
    if path.suffix != ".npz":
        raise DataError(f"{path}: a recording is a .csv or .npz file")
    try:
        with np.load(path, allow_pickle=False) as content:
            missing = [name for name in ("glove", "hand") if name not in content]
            if missing:
                raise DataError(
                    f"{path} has no array {missing[0]!r}, only {content.files}; it needs glove and hand, (T, 6) each"
                )
            return np.asarray(content["glove"], float), np.asarray(content["hand"], float)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is damaged or holds other than numbers: {error}") from error


def write_mapping(path: Path, mapping: GloveMapping) -> None:
    """Write a mapping as JSON; `read_mapping` gives it back exactly."""
    content = {"format": _FORMAT, "version": 1, "joints": [asdict(joint) for joint in mapping]}
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


def read_mapping(path: Path) -> GloveMapping:
    """Read what `write_mapping` wrote.

    Raises:
        DataError: No such file, or another content.
    """
    try:
        content: Any = json.loads(Path(path).read_text())
        if content.get("format") != _FORMAT or content.get("version") != 1:
            raise DataError(
                f"{path}: format {content.get('format')!r}, version {content.get('version')!r}; needed is {_FORMAT!r}, 1"
            )
        mapping = tuple(
            JointMapping(**{**joint, "coefficients": tuple(map(float, joint["coefficients"]))}) for joint in content["joints"]
        )
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; make it with `palpate calibrate glove`") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no glove mapping: {error!r}") from error
    if tuple(joint.joint for joint in mapping) != JOINTS:
        raise DataError(f"{path} has the joints {[joint.joint for joint in mapping]}; needed are {list(JOINTS)}, in this order")
    return mapping


def _good_samples(glove: np.ndarray, hand: np.ndarray, order: int) -> np.ndarray:
    """Return (T,) which samples lie near the curve that most of them agree on."""
    residual = np.ones(len(glove))
    for _ in range(50):  # least absolute deviations by reweighting
        curve = np.polynomial.Polynomial.fit(glove, hand, order, w=np.sqrt(1.0 / np.maximum(residual, _FLOOR)))
        residual = np.abs(hand - curve(glove))
    good = residual <= max(_REJECT * 1.4826 * float(np.median(residual)), _FLOOR)
    for _ in range(20):
        curve = np.polynomial.Polynomial.fit(glove[good], hand[good], order)
        residual = np.abs(hand - curve(glove))
        now = residual <= max(_REJECT * 1.4826 * float(np.median(residual[good])), _FLOOR)
        if (now == good).all():
            break
        good = now
    return good


def _check_samples(joint: str, glove: np.ndarray, hand: np.ndarray, order: int) -> None:
    if order not in ORDERS:
        raise DataError(f"joint {joint}: order {order}; allowed: 3, 5")
    if glove.shape != hand.shape or glove.ndim != 1:
        raise DataError(f"joint {joint}: glove {glove.shape} and hand {hand.shape}; both must be (T,)")
    bad = np.flatnonzero(~(np.isfinite(glove) & np.isfinite(hand)))
    if len(bad):
        raise DataError(f"joint {joint}: {len(bad)} samples are not finite, the first is number {bad[0]}; delete them")
    needed = _SAMPLES_PER_COEFFICIENT * (order + 1)
    if len(glove) < needed:
        raise DataError(f"joint {joint}: {len(glove)} samples; order {order} needs {needed} or more")
    _check_spread(joint, glove, order)


def _check_spread(joint: str, glove: np.ndarray, order: int) -> None:
    different, needed = len(np.unique(glove)), 2 * (order + 1)
    if different < needed:
        raise DataError(
            f"joint {joint}: the glove took {different} different angles; order {order} needs {needed}. Move the joint while recording"
        )


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    columns = [f"{side}_{joint}" for side in ("glove", "hand") for joint in JOINTS]
    rows = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path} row 1: column {missing[0]} is missing ({len(missing)} of {len(columns)} are)")
            rows = [[_number(path, reader.line_num, column, row[column]) for column in columns] for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from error
    values = np.array(rows, float).reshape(-1, len(columns))
    return values[:, : len(JOINTS)], values[:, len(JOINTS) :]


def _number(path: Path, row: int, column: str, cell: str | None) -> float:
    try:
        return float(cell or "")
    except ValueError as error:
        raise DataError(f"{path} row {row}, column {column}: {cell!r} is not a number; repair or delete the row") from error
