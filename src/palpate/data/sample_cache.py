"""The training reader: decoded samples in memory-mapped arrays, so that a batch is one copy per input.

Decoding images and cutting out windows costs far more than training on them; it is done once and kept.
"""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from palpate.core.errors import DataError, RecordError, UnknownNameError
from palpate.data.files import TEMPORARY, disk_error, publish, sync, write_atomic

VERSION = 1
HEAD = "cache.json"
"""Written last: a folder with it is complete."""

Fields = Mapping[str, tuple[Any, ...]]
"""Shape and dtype of each input: `{"vision": (256, 256, 3, "uint8"), "action": (11, "float32"), "weight": ("float32",)}`."""


class SampleCache:
    """N samples of named arrays, each with a presence mask.

    Build: `create`, `write` every sample (from several processes if need be: the cache can be sent to them), `finish`.
    Read: `open`, `batch`. A build that was cut off leaves nothing that `open` takes for whole.
    """

    def __init__(
        self, *, folder: Path, final: Path, fields: Fields, n: int, mode: Literal["r", "r+"], fingerprint: str
    ) -> None:
        """Map the arrays of a prepared folder; `create` and `open` are the ways in."""
        self.path = final
        self.fields = {name: tuple(field) for name, field in fields.items()}
        self.fingerprint = fingerprint
        self._folder = folder
        self._n = n
        self._mode: Literal["r", "r+"] = mode
        self._arrays = {name: _map(folder / f"{name}.npy", mode) for name in fields}
        self._present = {name: _map(folder / f"{name}.present.npy", mode) for name in fields}

    @classmethod
    def create(cls, path: str | Path, n: int, fields: Fields, *, fingerprint: str = "") -> "SampleCache":
        """Start to build a cache of `n` samples; what was cut off or is stale at `path` is replaced by `finish`.

        Args:
            path: Folder of the cache.
            n: Number of samples.
            fields: Shape and dtype of each input.
            fingerprint: What the content depends on (`EpisodeReader.fingerprint` and the settings), to tell a stale cache.
        """
        path = Path(path)
        folder = path.with_name(path.name + TEMPORARY)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            for name, (*shape, dtype) in fields.items():
                # open_memmap makes sparse files of zeros; samples that are never written stay absent.
                np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.dtype(dtype), (n, *shape))
                np.lib.format.open_memmap(folder / f"{name}.present.npy", "w+", np.dtype(bool), (n,))
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise disk_error(path, error) from error
        return cls(folder=folder, final=path, fields=fields, n=n, mode="r+", fingerprint=fingerprint)

    @classmethod
    def open(cls, path: str | Path, *, fingerprint: str | None = None) -> "SampleCache":
        """Open a complete cache for reading.

        Raises:
            DataError: There is none, it was cut off, or it was made from other data than `fingerprint` tells.
        """
        path = Path(path)
        head = _head(path)
        if head is None:
            raise DataError(f"{path} is no complete sample cache; build it again")
        if fingerprint is not None and head["fingerprint"] != fingerprint:
            raise DataError(f"{path} was built from other data or settings; build it again")
        return cls(folder=path, final=path, fields=head["fields"], n=head["n"], mode="r", fingerprint=head["fingerprint"])

    @staticmethod
    def is_current(path: str | Path, fingerprint: str) -> bool:
        """Whether a complete cache with this fingerprint is there."""
        head = _head(Path(path))
        return head is not None and head["fingerprint"] == fingerprint

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._n

    def write(self, i: int, values: Mapping[str, np.ndarray | float | None]) -> None:
        """Write sample `i`. An input that is missing or None is absent: its values stay zero and its mask False.

        Raises:
            UnknownNameError: No such input.
            RecordError: A value of another shape.
        """
        for name, value in values.items():
            if name not in self.fields:
                raise UnknownNameError("input", name, self.fields)
            if value is None:
                continue
            target = self._arrays[name]
            if np.shape(value) != target.shape[1:]:
                raise RecordError(
                    f"sample {i}: input {name!r} has shape {np.shape(value)}, this cache holds {target.shape[1:]}"
                )
            target[i] = value
            self._present[name][i] = True

    def finish(self) -> "SampleCache":
        """Make the cache complete, durably and at once, and return it opened for reading."""
        for file in self._folder.glob("*.npy"):
            sync(file)
        head = {"version": VERSION, "n": self._n, "fields": self.fields, "fingerprint": self.fingerprint}
        write_atomic(self._folder / HEAD, json.dumps(head).encode())
        sync(self._folder)
        shutil.rmtree(self.path, ignore_errors=True)
        publish(self._folder, self.path)
        return SampleCache.open(self.path)

    def batch(
        self, indices: np.ndarray, *, out: dict[str, np.ndarray] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return copies of the samples `indices` (B,), each 0 to len - 1.

        Args:
            indices: Samples, in any order, also repeated.
            out: Values of an earlier batch of the same size to write over. Fresh memory for large images costs several
                times as much as the copy itself.

        Returns:
            Values by input, (B, *shape), zero where absent; and presence by input, (B,) bool.

        Raises:
            IndexError: No such sample.
        """
        indices = np.asarray(indices, np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < self._n):
            raise IndexError(f"samples {indices.min()} to {indices.max()} of a cache of {self._n}")
        values = {name: self._copy(array, indices, None if out is None else out[name]) for name, array in self._arrays.items()}
        return values, {name: mask[indices] for name, mask in self._present.items()}

    def _copy(self, array: np.ndarray, indices: np.ndarray, out: np.ndarray | None) -> np.ndarray:
        shape = (len(indices), *array.shape[1:])
        if out is None or out.shape != shape:
            out = np.empty(shape, array.dtype)
        size = math.prod(array.shape[1:])
        # On two axes each row is one memcpy; on the axes of an image `take` is five times slower. The indices are checked,
        # and any mode but "clip" would make a copy of `out` first.
        np.take(array.reshape(self._n, size), indices, axis=0, out=out.reshape(len(indices), size), mode="clip")
        return out

    def __getstate__(self) -> dict[str, Any]:
        """Send the place, not the arrays."""
        return {
            "folder": self._folder,
            "final": self.path,
            "fields": self.fields,
            "n": self._n,
            "mode": self._mode,
            "fingerprint": self.fingerprint,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Map the arrays again."""
        self.__init__(**state)


def _map(path: Path, mode: Literal["r", "r+"]) -> np.ndarray:
    # A plain view: every operation of the memmap subclass makes another memmap, which costs more than a small copy.
    return np.load(path, mmap_mode=mode).view(np.ndarray)


def _head(path: Path) -> dict[str, Any] | None:
    """Return the content of `cache.json` if the cache is complete and of this version."""
    try:
        head = json.loads((path / HEAD).read_text())
        return head if head["version"] == VERSION else None
    except (OSError, ValueError, KeyError):
        return None
