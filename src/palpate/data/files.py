"""Files that are either old or new, never half: atomic writes, and a lock that dies with its process."""

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path

from palpate.core.errors import DataError

TEMPORARY = ".tmp"
"""Suffix of files that are being written; nobody reads them."""

log = logging.getLogger(__name__)


def sync(path: Path) -> None:
    """Make what was written to a file, or the renames and deletions inside a directory, durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def publish(temporary: Path, path: Path) -> None:
    """Turn a fully written temporary file or folder into `path`, durably and at once."""
    sync(temporary)
    temporary.rename(path)
    sync(path.parent)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that after a crash at any moment it holds either its old content or all of `data`.

    Raises:
        DataError: The disk is full; no part of the file remains.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def disk_error(path: Path, error: OSError) -> DataError:
    """Say what a failed write means to the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DataError(
            f"disk full while writing {path}: {error.strerror}; finished trials are safe. "
            "Free some space, then go on with --resume (or collect to another disk with --out)"
        )
    return DataError(f"cannot write {path}: {error}; finished trials are safe")


class FolderLock:
    """One writer per folder, on this machine.

    A POSIX record lock: the kernel drops it with the process, however that dies, and forked workers do not inherit it.
    The file holds who wrote last, so that a take-over after a crash can be told.
    """

    _held: set[Path] = set()  # noqa: RUF012 - shared on purpose: record locks do not see a second holder in the same process

    def __init__(self, path: Path) -> None:
        """Take the lock file `path`, made if absent.

        Raises:
            DataError: Another live process, or this one, holds it.
        """
        self._path = path.resolve()
        if self._path in self._held:
            raise DataError(f"{path.parent} is already open for writing in this process; close that writer first")
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._fd, 200).decode(errors="replace").strip() or "another process"
            os.close(self._fd)
            raise DataError(
                f"{path.parent} is being written by {holder}; wait for it or end it, or choose another --out"
            ) from error
        self._held.add(self._path)
        before = os.read(self._fd, 200).decode(errors="replace").strip()
        if before:
            log.warning("%s: taking over from %s, which ended without closing", path.parent, before)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Give the folder back; harmless when done before."""
        if self._path not in self._held:
            return
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
        self._held.discard(self._path)
