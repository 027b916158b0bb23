"""Reading a data folder: light columns at once, sensor data of one trial at a time."""

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from palpate.core.errors import DataError, UnknownNameError
from palpate.core.records import Episode, StreamSpec
from palpate.data.codecs import ENCODED
from palpate.data.layout import BLOCK, SCHEMA_VERSION, Head, as_ranges, merge_specs, numbered
from palpate.data.review import corrections
from palpate.data.shards import naming, open_file
from palpate.data.table import file_specs, is_light, row_to_episode

_RANKS = 10
"""A label of whole numbers with more different values than this is no rank."""

OPEN_FILES = 32
"""Shards kept open at once."""


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A file, or a trial in it, that could not be read."""

    path: Path
    trials: str
    """Indices of the trials that are lost."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class _File:
    path: Path
    trials: str
    specs: dict[str, StreamSpec]


class EpisodeReader:
    """Read-only view of a data folder. Rows are trials in order of index; positions run from 0 to len - 1.

    It can be pickled and read from several processes. Trials that are written later need a new reader.
    """

    def __init__(self, root: str | Path, *, skip_damaged: bool = False) -> None:
        """Open a folder and read all light columns.

        Args:
            root: The data folder.
            skip_damaged: Read every file in full now and leave out the trials that are damaged; see `damaged`.

        Raises:
            SchemaError: No data folder, or one of another schema version.
            DataError: A file is damaged.
        """
        self.root = Path(root)
        self.head = Head.read(self.root)
        self.damaged: list[Damage] = []
        self.duplicates: list[str] = []
        """Trials that more than one shard claims; the first was taken."""
        self._files: list[_File] = []
        self._cache: OrderedDict[Path, pq.ParquetFile] = OrderedDict()
        tables, places = self._load(skip_damaged)
        specs = dict(self.head.streams)
        for file in self._files:
            specs = merge_specs(specs, file.specs, str(file.path))
        self.streams: dict[str, StreamSpec] = specs
        """Spec of every stream that any trial may hold, by name."""
        light = (
            pa.concat_tables([t.replace_schema_metadata(None) for t in tables], promote_options="default") if tables else None
        )
        order = np.argsort(light["index"].to_numpy(), kind="stable") if light is not None else np.zeros(0, np.int64)
        self._light = light.take(pa.array(order)).combine_chunks() if light is not None else None
        self._places = [places[i] for i in order]
        self._said = corrections(self.root)

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self._places)

    def __getitem__(self, position: int) -> Episode:
        """Return one trial with all its streams; see `episode`."""
        return self.episode(position)

    def __iter__(self) -> Iterator[Episode]:
        """Yield all trials in order of index."""
        return (self.episode(position) for position in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind when sent to another process."""
        return {**self.__dict__, "_cache": OrderedDict()}

    @property
    def indices(self) -> np.ndarray:
        """(N,) int64 index of each row's trial, ascending."""
        return self.column("index")

    @property
    def names(self) -> list[str]:
        """Names of the columns that `column` reads."""
        return [] if self._light is None else self._light.column_names

    @property
    def missing(self) -> list[int]:
        """Indices below the largest one that have no trial: not finished yet, or lost."""
        indices = self.indices
        return sorted(set(range(int(indices[-1]) + 1)) - set(indices.tolist())) if len(indices) else []

    def episode(self, position: int, streams: Collection[str] | None = None) -> Episode:
        """Return the trial at a position.

        Args:
            position: 0 to len - 1; negative counts from the end.
            streams: Names of the streams to read and decode; None for all, () for none. What the trial lacks is left out.

        Raises:
            IndexError: No such position.
            UnknownNameError: A stream that no trial of this data set has.
            DataError: The file is damaged.
        """
        wanted = set(self.streams) if streams is None else set(streams)
        for name in sorted(wanted - set(self.streams)):
            raise UnknownNameError("stream", name, self.streams)
        entry = self._entry(position)
        with naming(entry.path, str(self.indices[position])):
            episode = row_to_episode(self._row(position, wanted), entry.specs, wanted)
        # A label that another trial of the set has and this one has not is not known here; so it is whatever the file.
        names = (c.removeprefix("label.") for c in self.names if c.startswith("label."))
        labels = {name: episode.labels.get(name) for name in names}
        said = {name: value for (trial, name), value in self._said.items() if trial == episode.index}
        return episode.with_labels(labels | said)

    def encoded(self, position: int, stream: str) -> tuple[np.ndarray, list[bytes]] | None:
        """Return times (T,) [s] and samples of an image or sound stream as they lie on disk; None if the trial lacks it.

        For passing files on without decoding them. Raises as `episode` does.
        """
        if stream not in self.streams or self.streams[stream].kind not in ENCODED:
            allowed = [name for name, spec in self.streams.items() if spec.kind in ENCODED]
            raise UnknownNameError("encoded stream", stream, allowed)
        with naming(self._entry(position).path, str(self.indices[position])):
            row = self._row(position, {stream})
            if f"stream.{stream}" not in row.column_names or not row[f"stream.{stream}"][0].is_valid:
                return None
            times = row[f"time.{stream}"][0].values.to_numpy(zero_copy_only=False)
            return np.array(times, np.float64), row[f"stream.{stream}"][0].as_py()

    def column(self, name: str) -> np.ndarray:
        """Return one light column for all trials, in order of index, without touching sensor data.

        Args:
            name: `index`, `seed`: (N,) int64. `task`, `group.KIND`, `text.KIND`: (N,) object, str or None. `label.NAME`, `truth.NAME`:
                (N,) float64, NaN where not known. `array.NAME`: (N, D) float64, rows of NaN where absent.

        Raises:
            UnknownNameError: No such column.
            DataError: An array that is not equally long in all trials.
        """
        if self._light is None and name in ("index", "seed"):
            return np.zeros(0, np.int64)
        if self._light is None or name not in self.names:
            raise UnknownNameError("column", name, self.names)
        column = self._light[name]
        if name in ("index", "seed"):
            return column.to_numpy()
        if name.startswith(("label.", "truth.")):
            values = column.cast(pa.float64()).fill_null(float("nan")).to_numpy()
            return self._corrected(name.removeprefix("label."), values) if name.startswith("label.") else values
        if name.startswith("array."):
            return _stack(name, column.to_pylist())
        return np.array(column.to_pylist(), object)

    def _corrected(self, label: str, values: np.ndarray) -> np.ndarray:
        """Return a label (N,) with the word of persons in the place of the labeller's."""
        said = {trial: np.nan if value is None else value for (trial, name), value in self._said.items() if name == label}
        return np.array([said.get(int(i), v) for i, v in zip(self.indices, values, strict=True)]) if said else values

    def present(self, stream: str) -> np.ndarray:
        """Return (N,) bool: whether each trial has the stream."""
        if stream not in self.streams:
            raise UnknownNameError("stream", stream, self.streams)
        return np.array([stream in row for row in self._samples()], bool)

    def summary(self) -> dict[str, Any]:
        """Return what the folder holds, as JSON values."""
        samples = self._samples()
        labels = {c.removeprefix("label."): self.column(c) for c in self.names if c.startswith("label.")}
        groups = {c.removeprefix("group."): self.column(c) for c in self.names if c.startswith("group.")}
        texts = {c.removeprefix("text."): self.column(c) for c in self.names if c.startswith("text.")}
        return {
            "root": str(self.root),
            "schema_version": SCHEMA_VERSION,
            "created_by": self.head.created_by,
            "task": self.head.task,
            "episodes": len(self),
            "missing": as_ranges(self.missing),
            "duplicates": self.duplicates,
            "damaged": [f"{d.path}: trials {d.trials}" for d in self.damaged],
            "streams": {
                name: {
                    "kind": spec.kind,
                    "shape": list(spec.shape),
                    "rate_hz": spec.rate_hz,
                    "samples": sum(row.get(name, 0) for row in samples),
                    "present_in": sum(name in row for row in samples),
                }
                for name, spec in sorted(self.streams.items())
            },
            "labels": {name: _counts(values) for name, values in labels.items()},
            "groups": {kind: len({g for g in values if g is not None}) for kind, values in groups.items()},
            "texts": {kind: sum(text is not None for text in values) for kind, values in texts.items()},
            "size_bytes": sum(file.path.stat().st_size for file in self._files),
        }

    def fingerprint(self) -> str:
        """Return a short text that changes when any file of the data does: names, sizes and times of change."""
        digest = hashlib.sha256()
        for file in self._files:
            status = file.path.stat()
            digest.update(f"{file.path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        digest.update(repr([(d.path.name, d.trials) for d in self.damaged]).encode())
        return digest.hexdigest()[:32]

    def _entry(self, position: int) -> _File:
        return self._files[self._places[position][0]]

    def _row(self, position: int, streams: set[str]) -> pa.Table:
        number, group = self._places[position]
        file = self._open(self._files[number].path)
        row = file.read_row_group(group, columns=_columns(file.schema_arrow, streams), use_threads=False)
        if row["index"].to_pylist() != [self.indices[position]]:
            raise DataError(f"row group {group} holds trial {row['index'].to_pylist()}, expected {self.indices[position]}")
        return row

    def _samples(self) -> list[dict[str, int]]:
        rows = [] if self._light is None else self._light["present"].to_pylist()
        return [{entry["stream"]: entry["samples"] for entry in row} for row in rows]

    def _open(self, path: Path) -> pq.ParquetFile:
        if path not in self._cache:
            self._cache[path] = open_file(path)
            if len(self._cache) > OPEN_FILES:
                self._cache.popitem(last=False)[1].close()
        self._cache.move_to_end(path)
        return self._cache[path]

    def _load(self, skip_damaged: bool) -> tuple[list[pa.Table], list[tuple[int, int]]]:
        """Return the light columns of every file, and file number and row group of each of their rows."""
        shards = [(b, p, f"{b * BLOCK}-{(b + 1) * BLOCK - 1}") for b, p in numbered(self.root / "shards", "shard")]
        covered = {block for block, _, _ in shards}
        singles = [(p, str(i)) for i, p in numbered(self.root / "episodes", "episode") if i // BLOCK not in covered]
        tables, places = [], []
        seen: set[int] = set()
        for path, trials in [(p, t) for _, p, t in shards] + singles:
            try:
                table, groups, specs = self._load_file(path, trials, skip_damaged)
            except DataError as error:
                if not skip_damaged:
                    raise
                self.damaged.append(Damage(path=path, trials=trials, reason=str(error)))
                continue
            indices = table["index"].to_pylist()
            new = [i not in seen for i in indices]
            seen.update(indices)
            if not all(new):
                self.duplicates += [f"{i} in {path.name}" for i, is_new in zip(indices, new, strict=True) if not is_new]
                table = table.filter(pa.array(new))
            tables.append(table)
            places += [(len(self._files), group) for group, is_new in zip(groups, new, strict=True) if is_new]
            self._files.append(_File(path=path, trials=trials, specs=specs))
        return tables, places

    def _load_file(self, path: Path, trials: str, check: bool) -> tuple[pa.Table, list[int], dict[str, StreamSpec]]:
        with naming(path, trials):
            file = open_file(path)
            specs = file_specs(file.schema_arrow, str(path))
            light = [name for name in file.schema_arrow.names if is_light(name)]
            if not check:
                table = file.read(columns=light, use_threads=False)
                return table, list(range(len(table))), specs
        rows, groups = [], []
        for group in range(file.num_row_groups):
            trial = trials if file.num_row_groups == 1 else str(int(trials.partition("-")[0]) + group)
            try:
                with naming(path, trial):
                    row = file.read_row_group(group, use_threads=False)
                    row_to_episode(row, specs)
            except DataError as error:
                self.damaged.append(Damage(path=path, trials=trial, reason=str(error)))
            else:
                rows.append(row.select(light))
                groups.append(group)
        return (pa.concat_tables(rows) if rows else file.schema_arrow.empty_table().select(light)), groups, specs


def open_dataset(root: str | Path, *, skip_damaged: bool = False) -> EpisodeReader:
    """Open a data folder for reading; see `EpisodeReader`."""
    return EpisodeReader(root, skip_damaged=skip_damaged)


def _counts(label: np.ndarray) -> dict[str, int | str]:
    """Return how often each value of a label (N,) occurs, or its range if it is no yes or no and no rank."""
    known = label[np.isfinite(label)]
    unknown = {"unknown": len(label) - len(known)}
    if np.isin(known, (0.0, 1.0)).all():
        return {"yes": int((known == 1).sum()), "no": int((known == 0).sum()), **unknown}
    values, counts = np.unique(known, return_counts=True)
    if len(values) <= _RANKS and (values == np.rint(values)).all():
        return {**{f"{int(v)}:": int(n) for v, n in zip(values, counts, strict=True)}, **unknown}
    return {"from": f"{known.min():.4g}", "to": f"{known.max():.4g}", **unknown}


def _columns(schema: pa.Schema, streams: set[str]) -> list[str]:
    names = {*(f"stream.{s}" for s in streams), *(f"time.{s}" for s in streams)}
    return [name for name in schema.names if name in names or is_light(name)]


def _stack(name: str, rows: list[list[float] | None]) -> np.ndarray:
    lengths = {len(row) for row in rows if row is not None}
    if len(lengths) > 1:
        raise DataError(f"{name} has {sorted(lengths)} values in different trials; read it trial by trial")
    out = np.full((len(rows), lengths.pop() if lengths else 0), np.nan)
    for i, row in enumerate(rows):
        if row is not None:
            out[i] = row
    return out
