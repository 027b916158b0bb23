"""Reading LeRobot data sets, v2.1 and v3.0, whoever recorded them; those that palpate exported give their own streams back.

A feature becomes a stream that `palpate.data.lerobot` writes under the same key again: `observation.state` is `state`, `action` is
`action`, `observation.images.CAM` is `CAM.rgb`, `observation.images.tactile_F` is the touch image `touch.F`, `observation.tactile.F` is
`touch.F`. LeRobot states no units. Exported with the data set's own rate, every integer, boolean and float32 value comes out bit by
bit (float64 becomes float32); pictures pass through the data folder's JPEG, touch images without loss.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from palpate.core.errors import DataError, RecordError
from palpate.core.records import Episode, Stream, StreamKind, StreamSpec
from palpate.data import codecs
from palpate.data.external.findings import Findings, nothing_read, write_episodes
from palpate.data.external.lerobot_source import AUTOMATIC, Feature, Place, Source, open_lerobot, read_rows
from palpate.data.external.lerobot_video import VideoFrames
from palpate.data.external.video import Imported
from palpate.data.layout import as_ranges, spec_from_json
from palpate.data.lerobot_rows import plain

TASK = "lerobot"
_LATE = 1e-4  # [s]; LeRobot's own tolerance between a time stamp and frame_index / fps


def import_lerobot(folder: Path, out: Path, *, videos: bool = True, units: Mapping[str, str] | None = None) -> Imported:
    """Import a LeRobot data set as episodes of task `lerobot`; see `read_lerobot`.

    Raises:
        DataError: No episode could be read, or `out` cannot be written.
        MissingPackageError: A video is AV1 and PyAV is not installed.
    """
    findings = Findings()
    episodes = read_lerobot(folder, findings, videos=videos, units=units)
    return write_episodes(out, TASK, {"source": "lerobot"}, episodes, findings)


def read_lerobot(
    folder: Path, findings: Findings, *, videos: bool = True, units: Mapping[str, str] | None = None
) -> Iterator[Episode]:
    """Yield the episodes that are on disk, under their LeRobot numbers.

    Groups: `task`, the text. `next.success` and other booleans of `next.` become labels: yes if any row says so. Episodes that
    `meta` promises and that are absent or damaged are left out and listed; an absent or short video is noted, and its stream is absent
    or short. Depth videos, texts and `next.done` are not read.

    Args:
        folder: Holds `meta`, `data` and `videos`.
        findings: Filled while reading.
        videos: Whether to decode videos.
        units: Physical unit by feature key, for example `{"observation.state": "rad"}`; LeRobot does not say.

    Raises:
        DataError: No LeRobot data set, an unknown key in `units`, or no episode can be read.
        MissingPackageError: A video is AV1 and PyAV is not installed.
    """
    source = open_lerobot(Path(folder))
    reader = _Reader(source, findings, videos, dict(units or {}))
    absent: list[int] = []
    done = 0
    for place in source.places:
        if not place.data.is_file():
            absent.append(place.index)
            continue
        try:
            episode = reader.episode(place)
        except (DataError, RecordError) as error:
            findings.left_out.append(str(error))
            continue
        done += 1
        yield episode
    if absent:
        findings.left_out.append(
            f"episodes {as_ranges(absent)}: promised by meta, but absent on disk ({len(absent)} of {len(source.places)})"
        )
    if done == 0:
        raise nothing_read(source.folder, findings, "meta names no episode")


@dataclass(frozen=True)
class _Rows:
    """The rows of one episode."""

    place: Place
    table: pa.Table
    times: np.ndarray
    """(N,) [s] from the first row."""


class _Reader:
    """Turns rows into streams; keeps videos open from one episode to the next."""

    def __init__(self, source: Source, findings: Findings, videos: bool, units: dict[str, str]) -> None:
        unknown = sorted(units.keys() - source.features.keys())
        if unknown:
            raise DataError(f"units for {', '.join(unknown)}, which is no feature; there are {', '.join(source.features)}")
        self._source, self._findings, self._units = source, findings, units
        self._videos: dict[str, VideoFrames] = {}
        self._ours = any(_own_specs(feature) for feature in source.features.values())
        self._features = [f for f in source.features.values() if f.key not in AUTOMATIC and self._wanted(f, videos)]
        findings.notes += source.notes
        findings.notes.append(
            f"LeRobot {source.version}, {source.fps:g} rows a second: export with that rate to get the same rows"
        )

    def episode(self, place: Place) -> Episode:
        table = read_rows(place)
        if len(table) != place.length:
            self._note(place, f"{len(table)} rows, meta promises {place.length}")
        rows = _Rows(place, table, self._times(place, table))
        streams: list[Stream] = []
        labels: dict[str, float | None] = {}
        arrays: dict[str, np.ndarray] = {}
        for feature in self._features:
            if feature.dtype != "video" and feature.key not in table.column_names:
                self._note(place, f"{feature.key}: no such column; absent")
            elif feature.key.startswith("next.") and feature.dtype == "bool":
                labels[feature.key.removeprefix("next.")] = self._label(rows, feature)
            elif self._ours and feature.key == "action" and not _own_specs(feature):
                if _numbers(rows, "observation.valid.action").any():
                    arrays["action"] = _numbers(rows, "action", feature.shape)[0].astype(np.float64)
            elif _own_specs(feature):
                streams += self._restored(rows, feature)
            else:
                stream = self._pictures(rows, feature) if feature.is_picture else self._series(rows, feature)
                streams += [stream] if stream is not None else []
        return Episode(
            index=place.index,
            seed=0,
            task=TASK,
            groups=self._task(rows),
            streams={stream.spec.name: stream for stream in streams},
            labels=labels,
            arrays=arrays,
        )

    def _wanted(self, feature: Feature, videos: bool) -> bool:
        """Whether a feature is read, with a note if not."""
        reason = ""
        if feature.is_picture and feature.is_depth:
            reason = "depth maps of LeRobot are quantised and are not read"
        elif feature.dtype == "video" and not videos:
            reason = "videos are not wanted"
        elif feature.dtype in ("string", "language"):
            reason = "texts are not read"
        elif self._ours and any(spec.kind == "audio" for spec in _own_specs(feature)):
            reason = "sound windows cannot be joined to clips again; keep the data folder that was exported"
        if reason:
            self._findings.notes.append(f"{feature.key}: {reason}")
        made = feature.key.startswith(("observation.valid.", "observation.stamp.", "next.valid.")) if self._ours else False
        return not reason and not made and feature.key != "next.done"

    def _note(self, place: Place, text: str) -> None:
        self._findings.notes.append(f"episode {place.index}: {text}")

    def _times(self, place: Place, table: pa.Table) -> np.ndarray:
        """LeRobot's time stamps are frame_index / fps in single precision; the exact value is taken where it fits."""
        exact = np.arange(len(table)) / self._source.fps
        if "timestamp" not in table.column_names:
            self._note(place, "no time stamps; rows are taken as regular")
            return exact
        stamps = table["timestamp"].to_numpy().astype(np.float64)
        if not np.isfinite(stamps).all() or (np.diff(stamps) < 0).any():
            raise DataError(f"episode {place.index}: {place.data}: time stamps are not finite or go backwards")
        if np.abs(stamps - stamps[0] - exact).max() > _LATE:
            self._note(
                place,
                f"time stamps are not regular (off by up to {np.abs(stamps - stamps[0] - exact).max():.3g} s); kept as they are",
            )
            return stamps - stamps[0]
        return exact

    def _task(self, rows: _Rows) -> dict[str, str]:
        if "task_index" not in rows.table.column_names:
            return {}
        numbers = list(dict.fromkeys(rows.table["task_index"].to_pylist()))
        texts = [self._source.tasks.get(number, f"task {number}") for number in numbers]
        if len(texts) > 1:
            self._note(rows.place, f"{len(texts)} tasks one after another; kept as one text")
        return {"task": "; then ".join(texts)}

    def _label(self, rows: _Rows, feature: Feature) -> float | None:
        said = _numbers(rows, feature.key)
        known = f"next.valid.{feature.key.removeprefix('next.')}"
        if self._ours and known in rows.table.column_names and not _numbers(rows, known).any():
            return None
        return float(said.any())

    def _series(self, rows: _Rows, feature: Feature) -> Stream:
        values = _numbers(rows, feature.key, feature.shape)
        if values.dtype == np.float64:
            self._once(f"{feature.key}: float64, which an export to LeRobot writes as float32")
        name, kind = _numeric_name(feature)
        spec = StreamSpec(
            name=name,
            kind=kind,
            shape=feature.shape,
            dtype=str(values.dtype),
            rate_hz=self._source.fps,
            unit=self._units.get(feature.key, ""),
            names=feature.names,
        )
        return Stream(spec=spec, times=rows.times, values=values)

    def _pictures(self, rows: _Rows, feature: Feature) -> Stream | None:
        name, kind = _picture_name(feature.key)
        values = self._frames(rows, feature) if feature.dtype == "video" else _embedded(rows, feature.key)
        if values is None:
            return None
        if len(values) < len(rows.times):
            self._note(rows.place, f"{feature.key}: {len(values)} frames for {len(rows.times)} rows; the last rows have none")
        spec = StreamSpec(name=name, kind=kind, shape=values.shape[1:], dtype="uint8", rate_hz=self._source.fps, frame="camera")
        return Stream(spec=spec, times=rows.times[: len(values)], values=values)

    def _frames(self, rows: _Rows, feature: Feature) -> np.ndarray | None:
        path, first = rows.place.videos.get(feature.key, (None, 0))
        if path is None or not path.is_file():
            self._note(rows.place, f"{feature.key}: no video on disk; absent")
            return None
        if feature.key not in self._videos or self._videos[feature.key].path != path:
            self._videos[feature.key] = VideoFrames(path)
        values = self._videos[feature.key].take(first, len(rows.times))
        if len(values) == 0:
            self._note(rows.place, f"{feature.key}: the video ends before this episode; absent")
            return None
        return values

    def _restored(self, rows: _Rows, feature: Feature) -> list[Stream]:
        """Undo palpate's export: drop rows before the first sample and rows that only hold a sample, and take its capture time."""
        out, at = [], 0
        for spec in _own_specs(feature):
            valid = _numbers(rows, f"observation.valid.{plain(spec.name)}")
            stamps = _numbers(rows, f"observation.stamp.{plain(spec.name)}")
            pick = np.flatnonzero(valid & np.append(True, np.diff(stamps) != 0))
            width = spec.shape[0]
            if len(pick):
                if feature.dtype == "image":
                    values = _embedded(rows, feature.key, pick)
                elif len(spec.shape) == 1:
                    values = _numbers(rows, feature.key, feature.shape)[pick, at : at + width]
                else:
                    values = _numbers(rows, feature.key, feature.shape)[pick]
                kept = replace(spec, rate_hz=min(spec.rate_hz, self._source.fps)) if spec.rate_hz else spec
                out.append(Stream(spec=kept, times=stamps[pick] * 1e-9, values=values.astype(spec.dtype)))
            at += width
        return out

    def _once(self, note: str) -> None:
        if note not in self._findings.notes:
            self._findings.notes.append(note)


def _own_specs(feature: Feature) -> list[StreamSpec]:
    """Return the streams that a feature of palpate's export was made of; none of a stranger's."""
    given = feature.about.get("palpate")
    return [spec_from_json(value) for value in given] if isinstance(given, list) else []


def _picture_name(key: str) -> tuple[str, StreamKind]:
    name = key.removeprefix("observation.").removeprefix("images.")
    if name.startswith("tactile_"):
        return f"touch.{name.removeprefix('tactile_')}", "touch"
    return f"{name}.rgb", "rgb"


def _numeric_name(feature: Feature) -> tuple[str, StreamKind]:
    name = feature.key.removeprefix("observation.")
    if name.startswith("tactile.") and len(feature.shape) == 2:
        return f"touch.{name.removeprefix('tactile.')}", "taxels"
    return name, "series"


def _numbers(rows: _Rows, key: str, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Return a column as (N, *shape) in the type it is stored in."""
    array: Any = rows.table[key].combine_chunks()
    where = f"episode {rows.place.index}: {rows.place.data}, column {key}"
    while isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        if array.null_count:
            raise DataError(f"{where}: {array.null_count} rows are empty")
        array = array.flatten()
    if array.null_count or not (pa.types.is_primitive(array.type)):
        raise DataError(f"{where}: {array.type} with {array.null_count} empty cells; numbers are needed")
    values = np.array(array.to_numpy(zero_copy_only=False))
    if values.size != len(rows.times) * int(np.prod(shape)):
        raise DataError(f"{where}: {values.size} numbers in {len(rows.times)} rows, info.json says {shape} a row")
    return values.reshape(len(rows.times), *shape)


def _embedded(rows: _Rows, key: str, pick: np.ndarray | None = None) -> np.ndarray:
    """Return pictures (N, H, W, 3) uint8 that are files inside the table."""
    column = rows.table[key] if pick is None else rows.table[key].take(pa.array(pick))
    where = f"episode {rows.place.index}: {rows.place.data}, column {key}"
    files = [(cell or {}).get("bytes") for cell in column.to_pylist()]
    if any(file is None for file in files):
        raise DataError(f"{where}: a row has no picture inside the table")
    try:
        return np.stack([codecs.read_rgb(file) for file in files if file is not None])
    except (DataError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error
