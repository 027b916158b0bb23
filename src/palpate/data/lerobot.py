"""Export to LeRobot v3.0 (checked with lerobot 0.4.4). Needs neither lerobot nor pandas.

What LeRobot has no place for stays behind: native rates (rows lie on one regular grid), depth images, events, texts but the
task's, and the simulator's truth. Touch images are exact; colour images are the JPEG files of the data folder, passed on unchanged.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from palpate.core.errors import DataError
from palpate.data.files import TEMPORARY, disk_error, publish, write_atomic
from palpate.data.lerobot_rows import Columns, Images, Numbers, columns, features, left_out, with_fps
from palpate.data.lerobot_stats import FeatureStats, Stats
from palpate.data.reader import EpisodeReader, open_dataset

TASK = "grasp gently"
CHUNK = 1000
"""Files per folder."""
FILE_MB = 100
"""Size at which the next data file begins."""
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_DICTIONARY_BYTES = 1 << 30  # the whole of an episode's images: past the limit a repeated image would be stored again


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export wrote."""

    episodes: int
    frames: int
    features: dict[str, dict[str, Any]]
    left_out: dict[str, str]
    """Streams and texts that LeRobot cannot hold, with the reason."""


def export_lerobot(root: str | Path | EpisodeReader, out: str | Path, *, fps: int = 10, task: str = TASK) -> ExportReport:
    """Write a data folder as a LeRobot v3.0 data set.

    Args:
        root: Data folder, or a reader of one. Episodes are numbered anew without gaps.
        out: Folder to make; must not exist or be empty. It appears only when it is complete.
        fps: Rows per second, a whole number as LeRobot demands.
        task: Text of the task, for trials without a group `task`, which is the text of their own.

    Raises:
        DataError: No episodes, `out` is in use, or `fps` is no positive whole number.
    """
    reader = root if isinstance(root, EpisodeReader) else open_dataset(root)
    out = Path(out)
    if not isinstance(fps, int) or fps < 1:
        raise DataError(f"fps is {fps!r}; LeRobot takes whole numbers of at least 1")
    if len(reader) == 0:
        raise DataError(f"{reader.root} holds no finished trials; there is nothing to export")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not empty; choose another folder")
    temporary = out.with_name(out.name + TEMPORARY)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        report = _write(reader, temporary, fps, task)
        if out.exists():
            out.rmdir()
        publish(temporary, out)
    except OSError as error:
        raise disk_error(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return report


def _write(reader: EpisodeReader, out: Path, fps: int, task: str) -> ExportReport:
    all_features = with_fps(features(reader), reader.streams, fps)
    stats = {key: FeatureStats(image=feature["dtype"] == "image") for key, feature in all_features.items()}
    files = _DataFiles(out, _schema(all_features))
    rows: list[dict[str, Any]] = []
    said = reader.column("group.task") if "group.task" in reader.names else np.full(len(reader), None)
    texts = [str(text or task) for text in said]
    tasks = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    start = 0
    with files:
        for number in range(len(reader)):
            grid, table_columns = columns(reader, number, fps)
            n = len(grid)
            table_columns |= _automatic(number, start, n, fps, tasks[texts[number]])
            chunk, file = files.write({key: _arrow(table_columns, key, feature) for key, feature in all_features.items()})
            own = {key: stats[key].add(*_for_stats(table_columns, key, n)) for key in all_features}
            rows.append(_episode_row(number, texts[number], (start, start + n), (chunk, file), own))
            start += n
    _write_parquet(out / _EPISODES.format(chunk_index=0, file_index=0), pa.Table.from_pylist(rows))
    _write_parquet(out / "meta/tasks.parquet", _tasks(list(tasks)))
    _write_json(out / "meta/stats.json", {key: value.total() for key, value in stats.items()})
    _write_json(out / "meta/info.json", _info(reader, all_features, (len(rows), start, len(tasks)), fps))
    words = {
        name: "LeRobot v3.0 has a place for the words of the task only" for name in reader.names if name.startswith("text.")
    }
    return ExportReport(episodes=len(rows), frames=start, features=all_features, left_out=left_out(reader.streams) | words)


class _DataFiles:
    """Data files one after another: a row group per episode, a new file past `FILE_MB`."""

    def __init__(self, out: Path, schema: pa.Schema) -> None:
        self._out = out
        self._schema = schema
        self._number = -1
        self._writer: pq.ParquetWriter | None = None
        self._path = out

    def write(self, arrays: dict[str, pa.Array]) -> tuple[int, int]:
        """Write one episode and return the chunk and file it went to."""
        if self._writer is None or self._path.stat().st_size >= FILE_MB * 1e6:
            self._next()
        assert self._writer is not None
        self._writer.write_table(pa.table(arrays, schema=self._schema))
        return divmod(self._number, CHUNK)

    def __enter__(self) -> "_DataFiles":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def _next(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._number += 1
        chunk, file = divmod(self._number, CHUNK)
        self._path = self._out / _DATA.format(chunk_index=chunk, file_index=file)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(
            self._path, self._schema, compression="snappy", use_dictionary=True, dictionary_pagesize_limit=_DICTIONARY_BYTES
        )


def _arrow_type(feature: dict[str, Any]) -> pa.DataType:
    if feature["dtype"] == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kind = pa.from_numpy_dtype(np.dtype(feature["dtype"]))
    shape = feature["shape"]
    if shape == [1]:
        return kind
    if len(shape) == 1:
        return pa.list_(kind, shape[0])
    for _ in shape:  # LeRobot reads arrays of several axes from plain nested lists
        kind = pa.list_(kind)
    return kind


def _schema(all_features: dict[str, dict[str, Any]]) -> pa.Schema:
    return pa.schema([(key, _arrow_type(feature)) for key, feature in all_features.items()])


def _arrow(table_columns: Columns, key: str, feature: dict[str, Any]) -> pa.Array:
    column = table_columns[key]
    if isinstance(column, Images):
        files = pa.array(column.files, pa.binary()).take(pa.array(column.pick))
        paths = pa.array([f"frame-{i:06d}.{column.suffix}" for i in range(len(column.pick))])
        return pa.StructArray.from_arrays([files, paths], fields=list(_arrow_type(feature)))
    values = np.ascontiguousarray(column.values)
    if list(values.shape[1:]) != feature["shape"] or str(values.dtype) != feature["dtype"]:
        raise DataError(
            f"{key}: rows of {values.shape[1:]} {values.dtype}, the feature is {feature['shape']} {feature['dtype']}"
        )
    array = pa.array(values.ravel())
    if feature["shape"] == [1]:
        return array
    if len(feature["shape"]) == 1:
        return pa.FixedSizeListArray.from_arrays(array, feature["shape"][0])
    for axis in range(values.ndim - 1, 0, -1):
        size = values.shape[axis]
        array = pa.ListArray.from_arrays(pa.array(np.arange(0, len(array) + 1, size), pa.int32()), array)
    return array


def _automatic(number: int, start: int, n: int, fps: int, task: int) -> Columns:
    frame = np.arange(n, dtype=np.int64)[:, None]
    return {
        "timestamp": Numbers(values=(frame / fps).astype(np.float32)),
        "frame_index": Numbers(values=frame),
        "episode_index": Numbers(values=np.full_like(frame, number)),
        "index": Numbers(values=start + frame),
        "task_index": Numbers(values=np.full_like(frame, task)),
    }


def _for_stats(table_columns: Columns, key: str, n: int) -> tuple[np.ndarray, int]:
    column = table_columns[key]
    return (column.pixels, n) if isinstance(column, Images) else (column.values, n)


def _episode_row(
    number: int, task: str, span: tuple[int, int], place: tuple[int, int], stats: dict[str, Stats]
) -> dict[str, Any]:
    return {
        "episode_index": number,
        "tasks": [task],
        "length": span[1] - span[0],
        "data/chunk_index": place[0],
        "data/file_index": place[1],
        "dataset_from_index": span[0],
        "dataset_to_index": span[1],
        **{f"stats/{key}/{name}": value for key, numbers in stats.items() for name, value in numbers.items()},
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }


def _info(
    reader: EpisodeReader, all_features: dict[str, dict[str, Any]], counts: tuple[int, int, int], fps: int
) -> dict[str, Any]:
    episodes, frames, tasks = counts
    return {
        "codebase_version": "v3.0",
        "robot_type": reader.head.task,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": CHUNK,
        "data_files_size_in_mb": FILE_MB,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": _DATA,
        "video_path": None,
        "features": all_features,
    }


def _tasks(tasks: list[str]) -> pa.Table:
    """Return the table of tasks. LeRobot reads it with pandas and needs `task` as its index, which this metadata says."""
    text = {"pandas_type": "unicode", "numpy_type": "object"}
    about = {
        "index_columns": ["task"],
        "column_indexes": [{"name": None, "field_name": None, **text, "metadata": {"encoding": "UTF-8"}}],
        "columns": [
            {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64", "metadata": None},
            {"name": "task", "field_name": "task", **text, "metadata": None},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks)})
    return table.replace_schema_metadata({"pandas": json.dumps(about)})


def _write_parquet(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1).encode())
