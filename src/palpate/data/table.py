"""One episode as one Parquet row, and back. The layout is written down in docs/data-format.md.

Encoding is a pure function of the episode, so worker processes can encode and the parent only writes bytes.
"""

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from palpate import __version__
from palpate.core.errors import DataError, RecordError
from palpate.core.records import Episode, Event, Stream, StreamSpec
from palpate.data import codecs
from palpate.data.layout import FORMAT, SCHEMA_VERSION, check_version, spec_from_json, spec_to_json

META = b"palpate"
"""Key of the schema metadata that makes every file self-describing."""

EVENTS = pa.list_(pa.struct([("name", pa.string()), ("time", pa.float64())]))
PRESENT = pa.list_(pa.struct([("stream", pa.string()), ("samples", pa.int64())]))
LIGHT = ("index", "seed", "task", "group.", "text.", "label.", "truth.", "array.", "events", "present")
"""Columns that hold no sensor data, in their order, by name or prefix; `time.` and `stream.` follow."""
_ORDER = (*LIGHT, "time.", "stream.")


def is_light(column: str) -> bool:
    """Whether a column can be read without touching sensor data."""
    return column.startswith(LIGHT)


def encode_episode(episode: Episode) -> bytes:
    """Return the episode as a Parquet file in memory.

    Raises:
        RecordError: A stream without samples (leave it out instead), a stream that its kind cannot hold, a label that is
            not a number (None stands for not known), a text that says nothing (leave it out instead), an array that is not 1-D.
    """
    table = episode_to_table(episode)
    sink = pa.BufferOutputStream()
    with table_writer(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def decode_episode(data: bytes) -> Episode:
    """Inverse of `encode_episode`, but for the loss that each kind of stream states."""
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    return row_to_episode(file.read(), file_specs(file.schema_arrow, "episode in memory"))


def table_writer(sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """Return a Parquet writer as all files of a data folder use it.

    Page checksums guard every byte of data. JPEG and FLAC are small already; all else is compressed.
    """
    small = {name for name, spec in file_specs(schema, "schema").items() if spec.kind in ("rgb", "audio")}
    zstd = {f"{f.name}.list.element": "zstd" for f in schema if f.name.removeprefix("stream.") not in small}
    zstd |= {f"{f.name}.list.element.list.element": "zstd" for f in schema if f.name.startswith("stream.")}
    codecs_by_leaf: Any = zstd  # the stub knows the single name only
    return pq.ParquetWriter(
        sink, schema, compression=codecs_by_leaf, use_dictionary=False, write_statistics=False, write_page_checksum=True
    )


def episode_to_table(episode: Episode) -> pa.Table:
    """Return a table of one row."""
    columns: dict[str, pa.Array] = {
        "index": pa.array([episode.index], pa.int64()),
        "seed": pa.array([episode.seed], pa.int64()),
        "task": pa.array([episode.task], pa.string()),
        "events": pa.array([[{"name": e.name, "time": e.time} for e in episode.events]], EVENTS),
        "present": pa.array([[{"stream": k, "samples": len(s.times)} for k, s in sorted(episode.streams.items())]], PRESENT),
    }
    for kind, group in episode.groups.items():
        columns[f"group.{kind}"] = pa.array([group], pa.string())
    for kind, text in episode.texts.items():
        if not isinstance(text, str) or not text.strip():
            raise RecordError(
                f"text {kind!r} of episode {episode.index} is {text!r}; give words, or leave it out: absent is not empty"
            )
        columns[f"text.{kind}"] = pa.array([text], pa.string())
    for name, value in episode.labels.items():
        if value is not None and not math.isfinite(value):
            raise RecordError(
                f"label {name!r} of episode {episode.index} is {value}; give a number, or None where it is not known"
            )
        columns[f"label.{name}"] = pa.array([value], pa.float64())
    for name, value in episode.truth.items():
        columns[f"truth.{name}"] = pa.array([value], pa.float64())
    for name, array in episode.arrays.items():
        if np.ndim(array) != 1:
            raise RecordError(f"array {name!r} of episode {episode.index} has shape {np.shape(array)}; it must be 1-D")
        columns[f"array.{name}"] = _one_row(pa.array(np.asarray(array, np.float64)))
    for name, stream in episode.streams.items():
        columns[f"time.{name}"] = _one_row(pa.array(np.asarray(stream.times, np.float64)))
        columns[f"stream.{name}"] = _one_row(_samples(name, stream))
    fields = sort_fields([pa.field(name, array.type) for name, array in columns.items()])
    schema = pa.schema(fields, metadata({name: stream.spec for name, stream in episode.streams.items()}, index=episode.index))
    return pa.Table.from_arrays([columns[f.name] for f in fields], schema=schema)


def sort_fields(fields: list[pa.Field]) -> list[pa.Field]:
    """Order columns: light ones first, then times, then samples."""
    return sorted(fields, key=lambda f: (next(i for i, prefix in enumerate(_ORDER) if f.name.startswith(prefix)), f.name))


def metadata(specs: Mapping[str, StreamSpec], **more: Any) -> dict[bytes, bytes]:
    """Return the schema metadata that describes a file."""
    content = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "created_by": f"palpate {__version__}",
        "streams": {name: spec_to_json(spec) for name, spec in sorted(specs.items())},
        **more,
    }
    return {META: json.dumps(content).encode()}


def file_metadata(schema: pa.Schema, where: str) -> dict[str, Any]:
    """Return the metadata that `metadata` wrote.

    Raises:
        SchemaError: Another format or version.
        DataError: No such metadata.
    """
    try:
        content = json.loads((schema.metadata or {})[META])
    except (KeyError, ValueError) as error:
        raise DataError(f"{where} carries no palpate metadata; it was not written by palpate, or it is damaged") from error
    check_version(content, where)
    return content


def file_specs(schema: pa.Schema, where: str) -> dict[str, StreamSpec]:
    """Return the stream specs of one file."""
    return {name: spec_from_json(value) for name, value in file_metadata(schema, where)["streams"].items()}


def row_to_episode(row: pa.Table, specs: Mapping[str, StreamSpec], streams: Collection[str] | None = None) -> Episode:
    """Return the episode of a table of one row.

    Args:
        row: With all light columns and at least those of the wanted streams.
        specs: Of all streams the row may hold.
        streams: Names to decode; None for all.
    """
    names = set(row.column_names)
    wanted = [name for name in specs if f"stream.{name}" in names and (streams is None or name in streams)]
    decoded = {name: _stream(row, spec) for name, spec in specs.items() if name in wanted}

    def entries(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): row[name][0].as_py() for name in row.column_names if name.startswith(prefix)}

    return Episode(
        index=row["index"][0].as_py(),
        seed=row["seed"][0].as_py(),
        task=row["task"][0].as_py(),
        groups={k: v for k, v in entries("group.").items() if v is not None},
        texts={k: v for k, v in entries("text.").items() if v is not None},
        labels=entries("label."),
        truth={k: v for k, v in entries("truth.").items() if v is not None},
        arrays={k: np.array(v, np.float64) for k, v in entries("array.").items() if v is not None},
        events=tuple(Event(name=e["name"], time=e["time"]) for e in row["events"][0].as_py()),
        streams={name: stream for name, stream in decoded.items() if stream is not None},
    )


def _one_row(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def _samples(name: str, stream: Stream) -> pa.Array:
    spec = stream.spec
    if name != spec.name:
        raise RecordError(f"stream under the name {name!r} calls itself {spec.name!r}")
    if len(stream.times) == 0:
        raise RecordError(f"stream {name!r} has no samples; leave it out of the episode: absent is not empty")
    codecs.check_spec(spec)
    if spec.kind in codecs.ENCODED:
        encode = codecs.encoder(spec)
        return pa.array([encode(value) for value in stream.values], pa.binary())
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(stream.values).ravel()), math.prod(spec.shape))


def _stream(row: pa.Table, spec: StreamSpec) -> Stream | None:
    cell = row[f"stream.{spec.name}"][0]
    if not cell.is_valid:
        return None
    times = np.array(row[f"time.{spec.name}"][0].values.to_numpy(zero_copy_only=False), np.float64)
    if spec.kind in codecs.ENCODED:
        decode = codecs.decoder(spec)
        values = np.stack([decode(sample.as_buffer()) for sample in cell.values])
    else:
        # A copy: arrays over Arrow's memory are read-only, which torch.from_numpy warns about.
        values = np.array(cell.values.flatten().to_numpy(zero_copy_only=False), spec.dtype).reshape(len(times), *spec.shape)
    return Stream(spec=spec, times=times, values=values)
