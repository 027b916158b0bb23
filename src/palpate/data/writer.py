"""Writing a data folder so that a crash at any moment costs at most the trial in flight."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from palpate.core.errors import DataError
from palpate.core.records import Episode
from palpate.data.files import TEMPORARY, FolderLock, write_atomic
from palpate.data.layout import BLOCK, HEAD, LOCK, Head, config_difference, episode_path, merge_specs, numbered
from palpate.data.shards import drop_covered, merge_block, naming, open_file
from palpate.data.table import encode_episode, file_metadata, file_specs

KEEP_SINGLE = 2000
"""So many trials stay files of their own. Merging one costs as much as encoding it, which a small data set need not pay."""


class EpisodeWriter:
    """The one writer of a data folder. Make it with `create`; use it as a context manager."""

    def __init__(self, root: Path, head: Head, lock: FolderLock) -> None:
        """Take over a prepared folder; `create` is the way in."""
        self.root = root
        self._head = head
        self._lock = lock
        self._finished = _scan(root)
        self._single = {index for index, _ in numbered(root / "episodes", "episode")}
        self._merge_old()

    @classmethod
    def create(
        cls, root: str | Path, *, task: str, config: Mapping[str, Any] | None = None, resume: bool = False
    ) -> "EpisodeWriter":
        """Start a data folder, or go on with one.

        Args:
            root: The folder; made if absent.
            task: Name of the task, for example `gentle`.
            config: How the data is made, as JSON values; must be the same at every resume.
            resume: Go on with what is there. Without data there it starts a new folder.

        Raises:
            DataError: Data is there and `resume` was not asked for, or it was made with another configuration, or another
                process writes there, or a file there is damaged.
            SchemaError: The folder was written with another schema version.
        """
        root = Path(root)
        if root.exists() and not root.is_dir():
            raise DataError(f"{root} is a file; give a folder")
        if root.is_dir() and not (root / HEAD).exists() and any(_foreign(root)):
            raise DataError(f"{root} holds other files and no {HEAD}; choose an empty or new folder with --out")
        for folder in (root, root / "episodes", root / "shards"):
            folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(root / LOCK)
        try:
            _remove_temporaries(root)
            return cls(root, _head(root, Head(task=task, config=dict(config or {})), resume), lock)
        except BaseException:
            lock.release()
            raise

    @property
    def finished(self) -> frozenset[int]:
        """Indices of the trials that are safe on disk."""
        return frozenset(self._finished)

    @property
    def next_index(self) -> int:
        """Return the first index that is not finished."""
        index = 0
        while index in self._finished:
            index += 1
        return index

    def write(self, episode: Episode | bytes, index: int | None = None) -> None:
        """Make one finished trial durable. When this returns, no crash can take it away.

        Args:
            episode: The trial, or the bytes that `encode_episode` made of it in another process.
            index: Its number; checked against the trial's own if given.

        Raises:
            DataError: The number is there already or is not the trial's own, a stream differs from what the data set has
                under its name, or the disk is full. Finished trials are untouched.
            RecordError: The trial cannot be encoded.
        """
        data = episode if isinstance(episode, bytes) else encode_episode(episode)
        try:
            schema = pq.read_schema(pa.BufferReader(data))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"trial {index}: {len(data)} bytes that are no encoded episode: {error}") from error
        own = file_metadata(schema, "encoded episode")["index"]
        if index is not None and index != own:
            raise DataError(f"trial {own} was given to write as trial {index}")
        if own in self._finished or own < 0:
            raise DataError(f"trial {own} is finished already (or negative); write each of 0, 1, 2, ... once")
        streams = merge_specs(self._head.streams, file_specs(schema, f"trial {own}"), f"trial {own}")
        if streams != self._head.streams:
            self._head = Head(task=self._head.task, config=self._head.config, streams=streams, created_by=self._head.created_by)
            self._head.write(self.root)
        write_atomic(episode_path(self.root, own), data)
        self._finished.add(own)
        self._single.add(own)
        self._merge_old()

    def close(self) -> None:
        """Give the folder back. Nothing is pending, so there is nothing else to do."""
        self._lock.release()

    def __enter__(self) -> "EpisodeWriter":
        """Return the writer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close."""
        self.close()

    def _merge_old(self) -> None:
        """Merge the oldest full blocks while more than `KEEP_SINGLE` trials are files of their own."""
        if len(self._single) <= KEEP_SINGLE:
            return
        for block in sorted({index // BLOCK for index in self._single}):
            if len(self._single) <= KEEP_SINGLE:
                return
            trials = range(block * BLOCK, (block + 1) * BLOCK)
            if self._single.issuperset(trials):
                merge_block(self.root, block)
                self._single.difference_update(trials)


def _foreign(root: Path) -> list[Path]:
    """Return what does not come from a writer that died before it wrote its head."""
    own = {LOCK, HEAD + TEMPORARY}
    return [p for p in root.iterdir() if p.name not in own and not (p.name in ("episodes", "shards") and not any(p.iterdir()))]


def _remove_temporaries(root: Path) -> None:
    for folder in (root, root / "episodes", root / "shards"):
        for path in folder.glob(f"*{TEMPORARY}"):
            path.unlink()


def _head(root: Path, new: Head, resume: bool) -> Head:
    """Return the head to go on with: the one on disk if it fits `new`, else `new`."""
    if not (root / HEAD).exists():
        new.write(root)
        return new
    old = Head.read(root)
    has_data = any(True for kind in ("episode", "shard") for _ in numbered(root / f"{kind}s", kind))
    if not resume:
        if has_data:
            raise DataError(f"{root} holds finished trials; go on with --resume, or choose another folder with --out")
        new.write(root)
        return new
    difference = config_difference({"task": old.task, "config": old.config}, {"task": new.task, "config": new.config})
    if difference:
        lines = "\n  ".join(difference)
        raise DataError(
            f"{root} was begun with another configuration, and its trials would not fit together:\n  {lines}\n"
            "give the old values, or choose another folder with --out"
        )
    return old


def _scan(root: Path) -> set[int]:
    """Return the finished trials, and delete single files that a shard covers."""
    finished: set[int] = set()
    for block, path in numbered(root / "shards", "shard"):
        with naming(path, f"{block * BLOCK}-{(block + 1) * BLOCK - 1}"):
            finished.update(open_file(path).read(columns=["index"])["index"].to_pylist())
        drop_covered(root, block)
    for index, path in numbered(root / "episodes", "episode"):
        with naming(path, str(index)):
            found = open_file(path).read(columns=["index"])["index"].to_pylist()
            if found != [index]:
                raise DataError(f"it holds trial {found}, its name says {index}")
        finished.add(index)
    return finished
