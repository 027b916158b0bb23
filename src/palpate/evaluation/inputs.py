"""What an evaluation is made from: frozen tables that a recipe writes and the report reads. No pickle.

Every class here saves to and loads from `.npz` (arrays plus a JSON header) or `.json` (for small ones, readable anywhere).
Unknown numbers are nan; absent parts are None or have no entry.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from palpate.core.errors import DataError, RecordError, SchemaError, UnknownNameError

SPLITS = ("trial", "object", "pose")
"""What was held out: trials, whole toys, or whole poses."""
MOMENTS = ("initial", "release", "regrasp")
"""When the state was seen: during the initial grasp (the prediction before acting), after its release, during the regrasp."""
OUTCOMES = ("stable", "gentle", "both")
"""What an accuracy is about; `both` is right only if both labels are."""


class Stored:
    """Saves and loads a frozen dataclass of arrays, mappings of arrays, and values that JSON knows."""

    schema = 1
    """Raised when a stored form changes; a file of another schema is refused."""

    def save(self, path: Path | str) -> Path:
        """Write to `path` (`.npz` or `.json`) and return it; parent folders are made."""
        path = Path(path)
        _check_suffix(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        values, arrays = _split(self)
        header = {"kind": type(self).__name__, "schema": self.schema, "values": values}
        if path.suffix == ".json":
            lists = {name: {"dtype": a.dtype.str, "shape": list(a.shape), "data": _as_json(a)} for name, a in arrays.items()}
            path.write_text(json.dumps({**header, "arrays": lists}, allow_nan=False), encoding="utf-8")
        else:
            np.savez_compressed(path, allow_pickle=False, **{"header": np.array(json.dumps(header))}, **_prefixed(arrays))
        return path

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote.

        Raises:
            DataError: if the file is missing, unreadable, or holds another kind of table.
            SchemaError: if it was written with another schema.
        """
        path = Path(path)
        _check_suffix(path)
        try:
            header, arrays = _read_json(path) if path.suffix == ".json" else _read_npz(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"cannot read {path} as {cls.__name__}: {error}; write it with {cls.__name__}.save") from error
        if header.get("kind") != cls.__name__:
            raise DataError(f"{path} holds a {header.get('kind')!r}, not a {cls.__name__!r}")
        if header.get("schema") != cls.schema:
            raise SchemaError(f"{path} has schema {header.get('schema')!r}, this version reads {cls.schema}; write it again")
        values: dict[str, Any] = {name: _tuples(value) for name, value in header["values"].items()}
        for name, array in arrays.items():
            owner, _, key = name.partition("/")
            if key:
                values.setdefault(owner, {})[key] = array
            else:
                values[owner] = array
        known = {f.name for f in fields(cls)}  # pyright: ignore[reportArgumentType] - every subclass is a dataclass
        if set(values) - known:
            raise SchemaError(f"{path} has unknown fields {sorted(set(values) - known)}; known: {sorted(known)}")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class PredictionTable(Stored):
    """What one model predicted for held-out samples, one row a sample."""

    model: str
    """Modalities joined by `+`, for example `vision+touch+action`; `oracle` for the bound from the simulator's truth."""
    split: str
    """One of `SPLITS`."""
    seed: int
    """Training seed."""
    fold: np.ndarray
    """(N,) int, the fold in which the sample was held out."""
    trial: np.ndarray
    """(N,) int, index of the trial."""
    object: np.ndarray
    """(N,) str, name of the toy."""
    pose: np.ndarray
    """(N,) str, for example upright or lying."""
    moment: np.ndarray
    """(N,) str, each one of `MOMENTS`."""
    labels: np.ndarray
    """(N, 2) float, stable and gentle as 1 or 0; nan unknown. (N, 1) of a task that knows stable alone."""
    probs: np.ndarray
    """(N, 2) float in [0, 1], predicted probability of stable and of gentle, or (N, 1)."""
    ablation: str = "none"
    """What was done to the inputs at test time: `none`, `touch:zero`, `touch:shuffle`, `vision:zero`, ...; `platt` if nothing was
    done to them, and the probabilities are calibrated by what the other folds say."""
    backbone: str = ""
    """Name of the image backbone; empty if there is none or it does not matter."""

    def __post_init__(self) -> None:
        """Check names, lengths and ranges."""
        if self.split not in SPLITS:
            raise UnknownNameError("split", self.split, SPLITS)
        unknown = set(np.unique(self.moment).tolist()) - set(MOMENTS)
        if unknown:
            raise UnknownNameError("moment", sorted(unknown)[0], MOMENTS)
        rows = len(self.trial)
        one = (self.fold, self.trial, self.object, self.pose, self.moment)
        _check_rows(f"predictions of {self.model!r}", rows, one, (self.labels, self.probs), len(self.labels.T))
        if not np.all((self.probs >= 0) & (self.probs <= 1)):
            raise RecordError(f"predictions of {self.model!r}: probabilities must lie in [0, 1] and be known for every sample")


@dataclass(frozen=True, kw_only=True)
class GraspTable(Stored):
    """What one policy achieved in the closed loop, one row a trial. Equal trial numbers mean equal starting states."""

    policy: str
    """For example `random`, `vision+action`, `vision+touch+action`."""
    trial: np.ndarray
    """(N,) int, each once."""
    pose: np.ndarray
    """(N,) str, upright or lying."""
    labels: np.ndarray
    """(N, 2) float, stable and gentle as the sensors judged the final grasp; nan unknown."""
    truth: np.ndarray
    """(N, 2) float, the same from the simulator's state; nan unknown (always on a robot)."""
    looks: np.ndarray
    """(N,) int, grasps made before the lift, the initial one included."""
    damage_while_looking: np.ndarray
    """(N,) bool, a look before the last made a sound that counts as not gentle."""
    first_look_harsh: np.ndarray
    """(N,) bool, the initial grasp alone did."""
    object: np.ndarray | None = None
    """(N,) str, name of the toy; None if not recorded. If given, intervals resample toys."""

    def __post_init__(self) -> None:
        """Check lengths and that no trial comes twice."""
        rows = len(self.trial)
        one = [self.pose, self.looks, self.damage_while_looking, self.first_look_harsh]
        one += [] if self.object is None else [self.object]
        _check_rows(f"grasps of {self.policy!r}", rows, tuple(one), (self.labels, self.truth))
        if len(np.unique(self.trial)) != rows:
            raise RecordError(f"grasps of {self.policy!r}: a trial number comes twice; one row a trial")


@dataclass(frozen=True, kw_only=True)
class ForceTable(Stored):
    """Three stand-ins for the grasping force (paper 1, section VI-B.2), summed over both fingers, one row a trial."""

    trial: np.ndarray
    """(N,) int."""
    displacement: np.ndarray
    """(N,) [m], way of the target fingertips from before to after closing."""
    position_error: np.ndarray
    """(N,) [m], distance of measured from target fingertips."""
    touch_difference: np.ndarray
    """(N,) sum of absolute pixel differences between touch images before and during contact; nan if not sensed."""
    labels: np.ndarray
    """(N, 2) float, stable and gentle; nan unknown."""
    probs: np.ndarray
    """(N, 2) float, held-out predictions of the full model for the same trials; nan if not predicted."""

    def __post_init__(self) -> None:
        """Check lengths."""
        one = (self.displacement, self.position_error, self.touch_difference)
        _check_rows("force proxies", len(self.trial), one, (self.labels, self.probs))


@dataclass(frozen=True, kw_only=True)
class ClosingZone(Stored):
    """The range of closings in which the outcome is not trivial from the action alone."""

    low: float
    """[m] lower end of the hard zone, included."""
    high: float
    """[m] upper end, excluded."""
    trial: np.ndarray
    """(N,) int."""
    closing: np.ndarray
    """(N,) [m], mean closing per finger of each trial's regrasp."""

    def __post_init__(self) -> None:
        """Check lengths and order."""
        _check_rows("closing zone", len(self.trial), (self.closing,), ())
        if not self.low < self.high:
            raise RecordError(f"closing zone: low {self.low} must be below high {self.high}")


@dataclass(frozen=True, kw_only=True)
class GainCurve(Stored):
    """How much touch adds to `both`, by how exactly the camera measures the toy's size."""

    size_error_mm: np.ndarray
    """(K,) standard error of the size as read from the camera [mm]."""
    gain: np.ndarray
    """(K,) accuracy with touch less accuracy without, as a fraction."""
    low: np.ndarray
    """(K,) lower end of the interval of `gain`."""
    high: np.ndarray
    """(K,) upper end."""
    camera_error_mm: float | None = None
    """Size error measured on this run's own rendered or real camera images; None if not measured."""

    def __post_init__(self) -> None:
        """Check lengths."""
        _check_rows("gain curve", len(self.size_error_mm), (self.gain, self.low, self.high), ())


@dataclass(frozen=True, kw_only=True)
class TrialPicture(Stored):
    """What one trial looked, felt and sounded like."""

    index: int
    title: str
    camera: np.ndarray | None = None
    """(H, W, 3) uint8."""
    touch_before: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By finger, (H, W, 3) uint8 without contact; an absent sensor has no entry."""
    touch_after: Mapping[str, np.ndarray] = field(default_factory=dict)
    """By finger, (H, W, 3) uint8 during the grasp."""
    spectrogram: np.ndarray | None = None
    """(F, T) [dB]."""
    frequency_hz: np.ndarray | None = None
    """(F,) [Hz] of the rows of the spectrogram."""
    time: np.ndarray | None = None
    """(T,) [s] of its columns."""
    action: str = ""
    """The chosen action in words."""
    labels: str = ""
    """What came of it, in words."""
    predicted: str = ""
    """What the model had predicted, in words."""

    def __post_init__(self) -> None:
        """Check that the axes fit the spectrogram."""
        if self.spectrogram is None:
            return
        axes = (len(self.frequency_hz) if self.frequency_hz is not None else 0, len(self.time) if self.time is not None else 0)
        if self.spectrogram.shape != axes:
            raise RecordError(f"trial {self.index}: spectrogram {self.spectrogram.shape} does not fit its axes {axes}")


@dataclass(frozen=True, kw_only=True)
class BaselineRow:
    """A row to print beside the models, where only its accuracies are known."""

    name: str
    stable: float
    gentle: float
    both: float
    trials: int
    """Number of trials behind it; its intervals are Wilson's."""


@dataclass(frozen=True, kw_only=True)
class RunInfo(Stored):
    """Where the figures come from."""

    name: str
    data: str = ""
    """The data in a sentence or two."""
    world: tuple[str, ...] = ()
    """Facts of the world or robot: toys, sensors, labels, thresholds."""
    seeds: tuple[int, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    commands: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    """Anything that JSON knows."""
    notes: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    """What differs from the paper, one sentence each."""
    baselines: tuple[BaselineRow, ...] = ()
    model_bytes: Mapping[str, int] = field(default_factory=dict)
    """Size of the stored parameters by backbone."""
    created: str = ""
    """Date and time of the run, as the recipe wrote it."""

    def __post_init__(self) -> None:
        """Turn baselines that come from JSON into rows."""
        rows = tuple(BaselineRow(**row) if isinstance(row, Mapping) else row for row in self.baselines)
        object.__setattr__(self, "baselines", rows)


def _check_suffix(path: Path) -> None:
    if path.suffix not in (".npz", ".json"):
        raise DataError(f"{path}: name it .npz or .json")


def _check_rows(what: str, rows: int, one: tuple[np.ndarray, ...], more: tuple[np.ndarray, ...], outcomes: int = 2) -> None:
    """Refuse columns of unequal length; `one` are (N,), `more` are (N, outcomes)."""
    if any(a.shape != (rows,) for a in one) or any(a.shape != (rows, outcomes) for a in more):
        shapes = [a.shape for a in one + more]
        raise RecordError(f"{what}: {rows} rows, so columns must be ({rows},) and labels ({rows}, {outcomes}), got {shapes}")


def _split(table: Stored) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Part the fields into JSON values and arrays; mappings of arrays become `field/key`."""
    values: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for f in fields(table):  # pyright: ignore[reportArgumentType] - every subclass is a dataclass
        value = getattr(table, f.name)
        if isinstance(value, np.ndarray):
            arrays[f.name] = value
        elif isinstance(value, Mapping) and any(isinstance(v, np.ndarray) for v in value.values()):
            arrays |= {f"{f.name}/{key}": v for key, v in value.items()}
        elif f.name == "baselines":
            values[f.name] = [vars(row) for row in value]
        else:
            values[f.name] = dict(value) if isinstance(value, Mapping) else value
    return values, arrays


def _prefixed(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {f"array/{name}": array for name, array in arrays.items()}


def _as_json(array: np.ndarray) -> list[Any]:
    """Return a flat list with None for nan, which JSON does not know."""
    flat = array.ravel().tolist()
    return [None if isinstance(v, float) and math.isnan(v) else v for v in flat]


def _read_json(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    header = json.loads(path.read_text(encoding="utf-8"))
    arrays = {}
    for name, stored in header["arrays"].items():
        dtype = np.dtype(stored["dtype"])
        data = [float("nan") if v is None else v for v in stored["data"]]
        arrays[name] = np.array(data, dtype).reshape(stored["shape"])
    return header, arrays


def _read_npz(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as stored:
        header = json.loads(str(stored["header"]))
        arrays = {name.removeprefix("array/"): stored[name] for name in stored.files if name != "header"}
    return header, arrays


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
