"""The files of a LeRobot data set, v2.1 and v3.0: what it promises and where it lies.

v2.1 has one parquet file and one video per episode and `meta/episodes.jsonl`; v3.0 packs many episodes in each file and says in
`meta/episodes/**.parquet` where each lies. What `meta` promises may be absent on disk: look, and count what is there.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from palpate.core.errors import DataError

AUTOMATIC = ("timestamp", "frame_index", "episode_index", "index", "task_index")
"""Columns that LeRobot makes itself."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One column or video of the data set."""

    key: str
    dtype: str
    """NumPy name, or `image`, `video`, `string`, `language`."""
    shape: tuple[int, ...]
    names: tuple[str, ...]
    """Of the components of a row of numbers; empty if there are none that fit."""
    about: Mapping[str, Any]
    """All that `info.json` says of it."""

    @property
    def is_picture(self) -> bool:
        """Whether rows are pictures."""
        return self.dtype in ("image", "video")

    @property
    def is_depth(self) -> bool:
        """Whether the pictures are depth maps."""
        info = self.about.get("info") or {}
        return bool(info.get("is_depth_map", info.get("video.is_depth_map", False)))


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one episode lies."""

    index: int
    """LeRobot's own number of the episode."""
    length: int
    """Rows that `meta` promises."""
    data: Path
    videos: Mapping[str, tuple[Path, int]]
    """By feature: file, and the episode's first frame in it."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What `meta` says."""

    folder: Path
    version: str
    fps: float
    features: Mapping[str, Feature]
    tasks: Mapping[int, str]
    """Text by number."""
    places: tuple[Place, ...]
    notes: tuple[str, ...]


def open_lerobot(folder: Path) -> Source:
    """Read `meta`.

    Raises:
        DataError: No LeRobot data set, another version, or damaged metadata; names the file and the key.
    """
    path = folder / "meta/info.json"
    info = _json(path)
    version = str(info.get("codebase_version"))
    if not version.startswith(("v2.", "v3.")):
        raise DataError(f"{path}: codebase_version is {version!r}; v2.1 and v3.0 are read. Convert it with LeRobot first")
    fps = info.get("fps")
    if not isinstance(fps, int | float) or not 0 < fps < 1e4:
        raise DataError(f"{path}: fps is {fps!r}; it must be a positive number")
    notes: list[str] = []
    features = _features(path, info.get("features"), notes)
    videos = [key for key, feature in features.items() if feature.dtype == "video"]
    try:
        if version.startswith("v2."):
            tasks = {int(row["task_index"]): str(row["task"]) for row in _jsonl(folder / "meta/tasks.jsonl")}
            places = tuple(_places_v2(folder, info, videos))
        else:
            tasks = _tasks_v3(folder / "meta/tasks.parquet")
            places = tuple(_places_v3(folder, info, videos, float(fps)))
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"{folder}/meta: {error!r} is missing or has a wrong form for {version}") from error
    return Source(
        folder=folder, version=version, fps=float(fps), features=features, tasks=tasks, places=places, notes=tuple(notes)
    )


def read_rows(place: Place) -> pa.Table:
    """Return the rows of one episode, in order.

    Raises:
        DataError: The file is absent, damaged or has no row of the episode.
    """
    if not place.data.is_file():
        raise DataError(f"episode {place.index}: promised by meta, but {place.data} is absent")
    try:
        names = pq.read_schema(place.data).names
        mine = [("episode_index", "=", place.index)] if "episode_index" in names else None
        table = pq.read_table(place.data, filters=mine, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"episode {place.index}: {place.data} is damaged: {error}") from error
    if len(table) == 0:
        raise DataError(f"episode {place.index}: promised by meta, but {place.data} has no row of it")
    return table


def _features(path: Path, given: Any, notes: list[str]) -> dict[str, Feature]:
    if not isinstance(given, dict) or not given:
        raise DataError(f"{path}: features is {given!r}; it must name the columns")
    out = {}
    for key, about in given.items():
        try:
            shape = tuple(int(n) for n in about["shape"])
            names = _names(about.get("names"))
            dtype = str(about["dtype"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: feature {key!r} is damaged ({error!r}); it needs dtype and shape") from error
        if dtype in ("image", "video") or len(shape) != 1:
            names = ()
        elif names and len(names) != shape[0]:
            notes.append(f"{key}: {len(names)} names for {shape[0]} components; the names are not kept")
            names = ()
        out[key] = Feature(key=key, dtype=dtype, shape=shape, names=names, about=about)
    return out


def _names(given: Any) -> tuple[str, ...]:
    """Flatten names: a list, a list in a list, a dict of lists, a dict of name and place, or none."""
    if given is None:
        return ()
    if isinstance(given, str | int):
        return (str(given),)
    if isinstance(given, dict):
        if given and all(isinstance(place, int) for place in given.values()):
            return tuple(sorted(map(str, given), key=lambda name: given[name]))
        given = list(given.values())
    return tuple(name for part in given for name in _names(part))


def _places_v2(folder: Path, info: Mapping[str, Any], videos: list[str]) -> Iterator[Place]:
    for row in sorted(_jsonl(folder / "meta/episodes.jsonl"), key=lambda row: int(row["episode_index"])):
        index = int(row["episode_index"])
        at = {"episode_chunk": index // int(info.get("chunks_size") or 1000), "episode_index": index}
        yield Place(
            index=index,
            length=int(row["length"]),
            data=folder / info["data_path"].format(**at),
            videos={key: (folder / info["video_path"].format(video_key=key, **at), 0) for key in videos},
        )


def _places_v3(folder: Path, info: Mapping[str, Any], videos: list[str], fps: float) -> Iterator[Place]:
    files = sorted((folder / "meta/episodes").rglob("*.parquet"))
    if not files:
        raise DataError(
            f"{folder}/meta/episodes holds no parquet file: the recording ended without finalize(), and is not whole"
        )
    rows = [row for file in files for row in _table(file, leave_out="stats/").to_pylist()]
    for row in sorted(rows, key=lambda row: int(row["episode_index"])):
        data = {name: int(row[f"data/{name}"]) for name in ("chunk_index", "file_index")}
        at = {}
        for key in videos:
            if row.get(f"videos/{key}/file_index") is None:
                continue
            video = {name: int(row[f"videos/{key}/{name}"]) for name in ("chunk_index", "file_index")}
            first = round(float(row[f"videos/{key}/from_timestamp"]) * fps)
            at[key] = (folder / info["video_path"].format(video_key=key, **video), first)
        yield Place(
            index=int(row["episode_index"]),
            length=int(row["length"]),
            data=folder / info["data_path"].format(**data),
            videos=at,
        )


def _tasks_v3(path: Path) -> dict[int, str]:
    """The text is the pandas index, which older files leave without its name."""
    table = _table(path)
    text = next(name for name in ("task", "__index_level_0__") if name in table.column_names)
    return {int(n): str(t) for n, t in zip(table["task_index"].to_pylist(), table[text].to_pylist(), strict=True)}


def _table(path: Path, leave_out: str | None = None) -> pa.Table:
    try:
        file = pq.ParquetFile(path)
        names = [name for name in file.schema_arrow.names if leave_out is None or not name.startswith(leave_out)]
        return file.read(columns=names, use_threads=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; the data set is not whole") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged: {error}") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise DataError(
            f"{path} does not exist; give the folder of a LeRobot data set, which holds meta, data and videos"
        ) from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is damaged: it holds no JSON object")
    return content


def _jsonl(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; the data set is not whole") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from error
