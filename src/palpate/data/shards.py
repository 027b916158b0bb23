"""Merging finished trials into shards, and the checks of one file."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from palpate.core.errors import DataError, PalpateError, SchemaError
from palpate.core.records import StreamSpec
from palpate.data.files import TEMPORARY, disk_error, publish, sync
from palpate.data.layout import BLOCK, as_ranges, episode_path, merge_specs, shard_path
from palpate.data.table import file_specs, metadata, sort_fields, table_writer

log = logging.getLogger(__name__)


@contextmanager
def naming(path: Path, trials: str) -> Iterator[None]:
    """Turn whatever a damaged file provokes into a DataError that names the file, the trials and the way out."""
    try:
        yield
    except SchemaError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} is gone; trials are merged while a collection runs, so open the folder again") from error
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, cv2.error, PalpateError) as error:
        raise DataError(
            f"{path} is damaged (trials {trials}): {str(error).strip()}. Put the file back from a backup, or read the "
            "rest with skip_damaged=True, or delete the file and collect its trials again with --resume"
        ) from error


def open_file(path: Path) -> pq.ParquetFile:
    """Open a Parquet file so that every page is checked against its checksum when it is read."""
    return pq.ParquetFile(path, page_checksum_verification=True)


def widen(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table with the columns of `schema`; what it lacks is null, absent."""
    names = set(table.column_names)
    columns = [table[f.name] if f.name in names else pa.nulls(len(table), f.type) for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def merge_block(root: Path, block: int) -> None:
    """Merge the finished trials of a full block into one shard, one row group per trial, and delete their own files.

    A crash at any moment leaves either all the single files or a complete shard (and perhaps single files that it covers).

    Raises:
        DataError: A trial cannot be read, or the disk is full; the single files stay.
    """
    indices = range(block * BLOCK, (block + 1) * BLOCK)
    paths = [episode_path(root, index) for index in indices]
    shard = shard_path(root, block)
    temporary = shard.with_name(shard.name + TEMPORARY)
    schema = _common_schema(paths)
    try:
        with temporary.open("wb") as sink, table_writer(sink, schema) as writer:
            for path, index in zip(paths, indices, strict=True):
                with naming(path, str(index)):
                    row = widen(open_file(path).read(), schema)
                writer.write_table(row)
        _verify(temporary, paths, schema)
        publish(temporary, shard)
    except OSError as error:
        raise disk_error(shard, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    drop_covered(root, block)


def drop_covered(root: Path, block: int) -> None:
    """Delete the single files of trials that a shard holds."""
    for index in range(block * BLOCK, (block + 1) * BLOCK):
        episode_path(root, index).unlink(missing_ok=True)
    sync(root / "episodes")


def _common_schema(paths: list[Path]) -> pa.Schema:
    fields: dict[str, pa.Field] = {}
    specs: dict[str, StreamSpec] = {}
    for path in paths:
        with naming(path, path.stem.removeprefix("episode-").lstrip("0") or "0"):
            schema = pq.read_schema(path)
            specs = merge_specs(specs, file_specs(schema, str(path)), str(path))
        fields |= {f.name: f for f in schema}
    return pa.schema(sort_fields(list(fields.values())), metadata(specs))


def _verify(shard: Path, paths: list[Path], schema: pa.Schema) -> None:
    """Read the shard back and compare every trial with its own file, before that is deleted."""
    file = open_file(shard)
    wrong = [
        group
        for group, path in enumerate(paths)
        if not file.read_row_group(group).equals(widen(open_file(path).read(), schema))
    ]  # fmt: skip
    if wrong or file.num_row_groups != len(paths):
        raise DataError(f"{shard}: trials at rows {as_ranges(wrong)} came back changed after writing; check the disk")
