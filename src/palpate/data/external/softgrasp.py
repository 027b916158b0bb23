"""SoftGrasp demonstrations in their authors' layout: a hand of six joints on an arm, watched by one camera.

A public data set, Apache-2.0. A recording NAME is `NAME.pickle` beside the folder `NAME/` of pictures `0.jpg`, `1.jpg`, ... (not
zero-padded; `masked_*.jpg` are by-products). The pickle is a dict of arrays, one row per step: `joint` (T, 6), `force` (T, 6),
`actions` (T, 18): pose of the arm, then each joint of the *same* row and a zero. Some files hold the hand's registers (0 to 1000), in
others the recorder has divided them by 1000 already, and no file says which. There are no time stamps, and more rows than pictures.
`init_state_dict` and `trajectory` are poses of the lifted hand, not of the start, and are not read.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from palpate.core.errors import DataError
from palpate.core.recording import series
from palpate.core.records import Episode, Stream, StreamSpec
from palpate.data.external.findings import Findings, nothing_read, write_episodes
from palpate.data.external.restricted_pickle import load_pickle
from palpate.data.external.video import Imported

TASK = "softgrasp"
JOINTS = ("little", "ring", "middle", "index", "thumb_bend", "thumb_swing")
"""Columns of `joint` and `force`."""
POSE = ("x", "y", "z", "rx", "ry", "rz")
PAPER_RATE_HZ = 30.0
"""Rows a second by the paper; one recorder of its authors has a timer of 10 Hz."""
SPLITS = ("train", "val", "test")

_SHARE_MAX = 2.0  # largest |joint| of a recording whose unit is the share of the range
_REGISTER = 1000.0
_REGISTER_MAX = 1100.0


def import_softgrasp(folder: Path, out: Path, *, rate_hz: float | None = None, scaled: bool | None = None) -> Imported:
    """Import all recordings below a folder as episodes of task `softgrasp`; see `read_softgrasp`.

    Raises:
        DataError: No recording could be read, or `out` cannot be written.
    """
    findings = Findings()
    episodes = read_softgrasp(folder, findings, rate_hz=rate_hz, scaled=scaled)
    config = {"source": "softgrasp", "rate_hz": rate_hz or PAPER_RATE_HZ}
    return write_episodes(out, TASK, config, episodes, findings)


def read_softgrasp(
    folder: Path, findings: Findings, *, rate_hz: float | None = None, scaled: bool | None = None
) -> Iterator[Episode]:
    """Yield one episode per recording, those that cannot be read left out and listed.

    Streams: `camera.rgb`; `hand.joint_position` (6,) share of the range, 1 is open; `hand.joint_torque` (6,) force register over
    1000, which has no stated unit; `arm.pose` (6,) [m] and rotation vector [rad]. A stream that the recording lacks is absent. Where
    there are pictures, rows without one are dropped; pictures without a row are dropped too; a row keeps its number as its time.
    Groups: `recording`, `object` (from names like `exp_OBJECT_NUMBER`), `split` where exactly one list of `data_csv` names it.

    Args:
        folder: Holds the recordings at any depth, and optionally `data_csv/{train,val,test}.csv`.
        findings: Filled while reading.
        rate_hz: Rows a second; by default the paper's 30, which is then noted as assumed.
        scaled: Whether `joint` and `force` are divided by 1000 already; by default told from the largest joint value.

    Raises:
        DataError: No recording, or none that can be read; a rate that is not positive.
    """
    folder = Path(folder)
    if rate_hz is not None and not 0.0 < rate_hz < 1e4:
        raise DataError(f"rate_hz is {rate_hz}; give rows a second, for example 30")
    splits = _splits(folder, findings)
    paths = sorted(path for path in folder.rglob("*.pickle") if path.is_file())
    for name in sorted(splits.keys() - {path.stem for path in paths}):
        findings.left_out.append(f"{name}: named by {', '.join(splits[name])}.csv, but there is no {name}.pickle")
    if rate_hz is None and paths:
        findings.notes.append(
            f"no time stamps: {PAPER_RATE_HZ:g} rows a second assumed, as the paper says; give the rate if it was another"
        )
    index, size = 0, None
    for path in paths:
        try:
            episode, notes = _episode(path, index, rate_hz or PAPER_RATE_HZ, scaled, splits.get(path.stem, []))
            own = episode.streams["camera.rgb"].spec.shape if "camera.rgb" in episode.streams else size
            if size is not None and own != size:
                raise DataError(f"{path}: pictures of {own}, those before have {size}; import it on its own")
        except DataError as error:
            findings.left_out.append(str(error))
            continue
        size = own
        findings.notes += [f"{path.stem}: {note}" for note in notes]
        yield episode
        index += 1
    if index == 0:
        raise nothing_read(folder, findings, "no NAME.pickle; give the folder that holds NAME.pickle beside NAME/0.jpg")


def _episode(path: Path, index: int, rate_hz: float, scaled: bool | None, splits: list[str]) -> tuple[Episode, list[str]]:
    arrays = _arrays(path)
    notes = [_rescale(path, arrays, scaled)]
    rows = len(arrays["joint"])
    pictures, told = _pictures(path.with_suffix(""), rows)
    notes += told
    keep = np.array(sorted(pictures) or range(rows))
    times = keep / rate_hz
    streams = [
        series("hand.joint_position", arrays["joint"][keep], "share of range, 1 is open", JOINTS, times, rate_hz),
        series("hand.joint_torque", arrays["force"][keep], "force register / 1000", JOINTS, times, rate_hz),
    ]
    if "actions" in arrays:
        streams.append(series("arm.pose", arrays["actions"][keep, :6], "m, rad", POSE, times, rate_hz))
    if pictures:
        values = np.stack([pictures[i] for i in keep])
        spec = StreamSpec(name="camera.rgb", kind="rgb", shape=values.shape[1:], dtype="uint8", rate_hz=rate_hz, frame="camera")
        streams.append(Stream(spec=spec, times=times, values=values))
    groups = {"recording": path.stem} | ({"split": splits[0]} if len(splits) == 1 else {})
    named = re.fullmatch(r"exp_(.+)_\d+", path.stem)
    if named:
        groups["object"] = named[1]
    else:
        notes.append("the name does not tell the object (exp_OBJECT_NUMBER does)")
    episode = Episode(index=index, seed=0, task=TASK, groups=groups, streams={s.spec.name: s for s in streams})
    return episode, notes


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Return `joint`, `force` and, if there, `actions` as (T, D) float64."""
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; a recording is a dict with joint (T, 6) and force (T, 6)")
    out = {}
    for name, columns in {"joint": 6, "force": 6, "actions": 18}.items():
        if name not in content:
            if name == "actions":
                continue
            raise DataError(
                f"{path} has no {name!r}, only {sorted(map(str, content))}; it must hold joint and force, (T, 6) each"
            )
        value = content[name]
        if (
            not isinstance(value, np.ndarray)
            or value.dtype.kind not in "iuf"
            or value.shape[1:] != (columns,)
            or not len(value)
        ):
            found = f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            raise DataError(f"{path}: {name} is {found}; it must be numbers (T, {columns}) with at least one row")
        bad = np.flatnonzero(~np.isfinite(value).all(axis=1))
        if len(bad):
            raise DataError(
                f"{path}: {name} has {len(bad)} rows that are not finite, the first is row {bad[0]}; repair or leave it out"
            )
        out[name] = value.astype(np.float64)
    lengths = {name: len(value) for name, value in out.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{path}: {lengths} rows; they belong together one by one, and which are missing cannot be told")
    return out


def _rescale(path: Path, arrays: dict[str, np.ndarray], scaled: bool | None) -> str:
    """Bring `joint` and `force` to shares of the range, in place, and return what was found."""
    largest = float(np.abs(arrays["joint"]).max())
    said = "told to be" if scaled is not None else "found to be"
    if scaled is None:
        scaled = largest <= _SHARE_MAX
    if largest > (_SHARE_MAX if scaled else _REGISTER_MAX):
        raise DataError(
            f"{path}: the largest joint value is {largest:g}; shares go to 1 and registers to 1000. Is this another hand's recording?"
        )
    if scaled:
        return f"joints and forces {said} scaled already (largest joint {largest:g})"
    for name in ("joint", "force"):
        arrays[name] = arrays[name] / _REGISTER
    return f"joints and forces {said} registers (largest joint {largest:g}) and divided by 1000"


def _pictures(folder: Path, rows: int) -> tuple[dict[int, np.ndarray], list[str]]:
    """Return pictures (H, W, 3) uint8 RGB by row, and what was dropped."""
    numbered = {int(p.stem): p for p in folder.glob("*.jpg") if p.stem.isascii() and p.stem.isdigit()}
    if not numbered:
        return {}, [f"no pictures in {folder.name}/: {rows} rows without camera"]
    notes, out = [], {}
    unreadable = 0
    for number in sorted(n for n in numbered if n < rows):
        image = (
            cv2.imdecode(np.fromfile(numbered[number], np.uint8), cv2.IMREAD_COLOR) if numbered[number].stat().st_size else None
        )
        if image is None:
            unreadable += 1
            continue
        out[number] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    sizes = {image.shape for image in out.values()}
    if len(sizes) > 1:
        raise DataError(f"{folder}: pictures of different sizes {sorted(sizes)}; a camera stream has one")
    if not out:
        raise DataError(f"{folder}: {len(numbered)} pictures for {rows} rows, and none belongs to a row and can be decoded")
    if unreadable:
        notes.append(f"{unreadable} pictures cannot be decoded")
    if len(out) < rows:
        notes.append(f"{rows - len(out)} of {rows} rows have no picture and were dropped")
    extra = sum(n >= rows for n in numbered)
    if extra:
        notes.append(f"{extra} of {len(numbered)} pictures have no row and were dropped")
    return out, notes


def _splits(folder: Path, findings: Findings) -> dict[str, list[str]]:
    """Return the lists of `data_csv` that name each recording."""
    out: dict[str, list[str]] = {}
    for split in SPLITS:
        path = folder / "data_csv" / f"{split}.csv"
        if not path.is_file():
            continue
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not a CSV file in UTF-8: {error}") from error
        if any("Time" not in row for row in rows):
            raise DataError(f"{path} row 1: no column Time, which names the recordings")
        for name in {row["Time"].strip().replace(":", "_") for row in rows if (row["Time"] or "").strip()}:
            out.setdefault(name, []).append(split)
    shared = {name: splits for name, splits in out.items() if len(splits) > 1}
    if shared:
        some = ", ".join(f"{name} ({', '.join(splits)})" for name, splits in sorted(shared.items())[:3])
        findings.notes.append(
            f"{len(shared)} recordings are in more than one split and would leak: {some}; no split is kept for them"
        )
    return out
