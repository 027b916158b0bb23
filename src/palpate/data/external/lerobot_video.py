"""Pictures of LeRobot's videos, frame by frame and without seeking: seeking is inexact with some codecs, and episodes come in order."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from palpate.core.errors import DataError, MissingPackageError


class VideoFrames:
    """One video file, read onwards. A file that packs many episodes is decoded once if they are taken in order."""

    def __init__(self, path: Path) -> None:
        """Open a video.

        Raises:
            DataError: It is no video.
            MissingPackageError: It is AV1, and PyAV is not installed.
        """
        self.path = path
        self._next = 0
        self._frames = _decode(path)

    def take(self, first: int, count: int) -> np.ndarray:
        """Return frames `first` to `first + count - 1` (M, H, W, 3) uint8 RGB; M is less than `count` where the video ends before.

        Raises:
            DataError: A frame is damaged.
        """
        if first < self._next:
            self._next, self._frames = 0, _decode(self.path)
        out = []
        while self._next < first + count:
            frame = next(self._frames, None)
            if frame is None:
                break
            if self._next >= first:
                out.append(frame)
            self._next += 1
        return np.stack(out) if out else np.zeros((0, 0, 0, 3), np.uint8)


def _decode(path: Path) -> Iterator[np.ndarray]:
    """OpenCV decodes most codecs. Its wheels have no AV1 decoder in software: they open such a file, count its frames and give none."""
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise DataError(f"{path}: no video that can be opened; the file is damaged")
    fourcc = (int(video.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF).to_bytes(4, "little").decode("ascii", "replace")
    if fourcc.lower() in ("av01", "av1 "):
        video.release()
        return _with_pyav(path)
    return _with_opencv(path, video, fourcc)


def _with_opencv(path: Path, video: cv2.VideoCapture, fourcc: str) -> Iterator[np.ndarray]:
    promised, given = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0
    while True:
        good, frame = video.read()
        if not good:
            break
        given += 1
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    video.release()
    if promised > 0 and not given:
        raise DataError(f"{path}: none of {promised} frames can be decoded (codec {fourcc!r}); OpenCV lacks the decoder")


def _with_pyav(path: Path) -> Iterator[np.ndarray]:
    try:
        av: Any = import_module("av")
    except ImportError as error:
        raise MissingPackageError(
            f"{path} is AV1, which OpenCV cannot decode: pip install 'palpate[video]' (PyAV), or import without videos"
        ) from error
    return _pyav_frames(path, av)


def _pyav_frames(path: Path, av: Any) -> Iterator[np.ndarray]:
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except av.error.FFmpegError as error:
        raise DataError(f"{path}: damaged video: {error}") from error
