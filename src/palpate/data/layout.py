"""What a data folder consists of: names of files, `palpate.json`, stream specs as JSON. See docs/data-format.md."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palpate import __version__
from palpate.core.errors import DataError, SchemaError
from palpate.core.records import StreamSpec
from palpate.data.files import write_atomic

FORMAT = "palpate-episodes"
SCHEMA_VERSION = 1
BLOCK = 100
"""Finished episodes per shard."""
HEAD = "palpate.json"
LOCK = ".lock"


def episode_path(root: Path, index: int) -> Path:
    """Return the file of one finished trial that is not in a shard yet."""
    return root / "episodes" / f"episode-{index:06d}.parquet"


def shard_path(root: Path, block: int) -> Path:
    """Return the file of the trials `BLOCK * block` to `BLOCK * (block + 1) - 1`."""
    return root / "shards" / f"shard-{block:06d}.parquet"


def numbered(folder: Path, kind: str) -> Iterator[tuple[int, Path]]:
    """Yield number and path of every `KIND-000123.parquet` in a folder, in order of number."""
    found = []
    for path in folder.glob(f"{kind}-*.parquet"):
        digits = path.stem.removeprefix(f"{kind}-")
        if digits.isdigit():
            found.append((int(digits), path))
    yield from sorted(found)


def spec_to_json(spec: StreamSpec) -> dict[str, Any]:
    """Return a stream spec as plain JSON values."""
    return {
        "name": spec.name,
        "kind": spec.kind,
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "rate_hz": spec.rate_hz,
        "unit": spec.unit,
        "frame": spec.frame,
        "names": list(spec.names),
    }


def spec_from_json(value: Mapping[str, Any]) -> StreamSpec:
    """Inverse of `spec_to_json`."""
    return StreamSpec(**{**value, "shape": tuple(value["shape"]), "names": tuple(value["names"])})


def merge_specs(known: Mapping[str, StreamSpec], new: Mapping[str, StreamSpec], where: str) -> dict[str, StreamSpec]:
    """Return both sets of specs together.

    Raises:
        DataError: A name stands for two different streams; one data set has one spec per name.
    """
    for name, spec in new.items():
        if known.get(name, spec) != spec:
            raise DataError(
                f"{where}: stream {name!r} is {spec_to_json(spec)}, but this data set has it as {spec_to_json(known[name])}; "
                "give the stream another name or write to another --out"
            )
    return {**known, **new}


@dataclass(frozen=True, kw_only=True)
class Head:
    """Content of `palpate.json`."""

    task: str
    config: Mapping[str, Any] = field(default_factory=dict)
    """How the data was made, as JSON values: seed, world, policy, ..."""
    streams: Mapping[str, StreamSpec] = field(default_factory=dict)
    """Every stream that any episode of the folder may hold."""
    created_by: str = f"palpate {__version__}"

    def write(self, root: Path) -> None:
        """Write `palpate.json` atomically."""
        content = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "created_by": self.created_by,
            "task": self.task,
            "config": self.config,
            "streams": {name: spec_to_json(spec) for name, spec in sorted(self.streams.items())},
        }
        write_atomic(root / HEAD, (json.dumps(content, indent=1) + "\n").encode())

    @classmethod
    def read(cls, root: Path) -> "Head":
        """Read `palpate.json`.

        Raises:
            SchemaError: No data folder, or one of another schema version.
        """
        path = root / HEAD
        if not path.is_file():
            raise SchemaError(f"{root} is not a palpate data folder: it has no {HEAD}; give the folder that `collect` wrote to")
        try:
            content = json.loads(path.read_text())
            check_version(content, str(path))
            streams = {name: spec_from_json(value) for name, value in content["streams"].items()}
            return cls(task=content["task"], config=content["config"], streams=streams, created_by=content["created_by"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SchemaError(
                f"{path} is damaged ({error!r}); the episodes may be whole: put back a copy of this file from a backup"
            ) from error


def check_version(content: Mapping[str, Any], where: str) -> None:
    """Refuse another format or schema version."""
    if content.get("format") != FORMAT:
        raise SchemaError(f"{where}: format is {content.get('format')!r}, expected {FORMAT!r}; this is no palpate data folder")
    if content.get("schema_version") != SCHEMA_VERSION:
        raise SchemaError(
            f"{where}: written with schema version {content.get('schema_version')}, "
            f"this palpate reads version {SCHEMA_VERSION}; "
            f"use the palpate that made it ({content.get('created_by', 'unknown')}) or collect again"
        )


def config_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one line per dotted key that differs, empty if the two configurations are the same as JSON."""
    left, right = _flatten(json.loads(json.dumps(old))), _flatten(json.loads(json.dumps(new)))
    absent = "(absent)"
    return [
        f"{key}: was {left.get(key, absent)!r}, now {right.get(key, absent)!r}"
        for key in sorted({*left, *right})
        if left.get(key, absent) != right.get(key, absent)
    ]


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    out: dict[str, Any] = {}
    for key, item in value.items():
        out |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return out


def as_ranges(indices: Iterable[int]) -> str:
    """Write sorted numbers short: `0-99, 104, 110-112`."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts) or "none"
