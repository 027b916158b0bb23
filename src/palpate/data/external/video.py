"""Reading recorded touch videos and writing them as presses: what the importers of press recordings share."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from palpate.core.errors import DataError
from palpate.core.records import Episode, Stream, StreamSpec
from palpate.data.writer import EpisodeWriter

PAD = "touch.pad"


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What an import did."""

    out: Path
    """The data folder."""
    episodes: int
    left_out: tuple[str, ...]
    """One line for each recording that could not be imported, with the reason."""
    unlabelled: tuple[str, ...]
    """Objects without a label; imported, but they cannot be scored."""
    notes: tuple[str, ...]
    """What is odd about recordings that were imported."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A decoded video."""

    frames: np.ndarray
    """(T, H, W, 3) uint8 RGB."""
    times: np.ndarray
    """(T,) [s] from the file's own stamps, from 0; even steps if it has none."""
    rate_hz: float
    missing: int
    """Frames that the file promises and that cannot be decoded."""


def read_clip(path: Path) -> Clip:
    """Decode a video whole.

    Raises:
        DataError: It is no video, OpenCV lacks its decoder, or it names no frame rate.
    """
    video = cv2.VideoCapture(str(path))
    rate, promised = float(video.get(cv2.CAP_PROP_FPS)), int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    fourcc = (int(video.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF).to_bytes(4, "little").decode("ascii", "replace")
    frames, stamps = [], []
    while True:
        good, frame = video.read()
        if not good:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        stamps.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000.0)
    video.release()
    if not frames:
        raise DataError(
            f"{path}: no picture can be decoded (codec {fourcc!r}); the file is damaged or OpenCV lacks the decoder"
        )
    if not 0.0 < rate < 1e4:
        raise DataError(f"{path}: the file names no frame rate ({rate}); write it again with one")
    times = np.array(stamps) - stamps[0]
    if len(times) > 1 and not (np.diff(times) > 0).all():
        times = np.arange(len(frames)) / rate
    return Clip(frames=np.stack(frames), times=times, rate_hz=rate, missing=max(0, promised - len(frames)))


def most_common_size(paths: Iterable[Path]) -> tuple[int, int] | None:
    """Return rows and columns that most of the videos claim; None if none can be opened."""
    sizes: Counter[tuple[int, int]] = Counter()
    for path in paths:
        video = cv2.VideoCapture(str(path))
        if video.isOpened():
            sizes[int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(video.get(cv2.CAP_PROP_FRAME_WIDTH))] += 1
        video.release()
    return sizes.most_common(1)[0][0] if sizes else None


def check_size(path: Path, clip: Clip, size: tuple[int, int] | None) -> None:
    """Refuse a clip of another size than the others."""
    rows, cols = clip.frames.shape[1:3]
    if size is not None and (rows, cols) != size:
        raise DataError(f"{path}: pictures of {cols} x {rows}, the others have {size[1]} x {size[0]}; import it on its own")


def pad_stream(frames: np.ndarray, times: np.ndarray, frame: str) -> Stream:
    """Return the stream `touch.pad`. Kind `rgb` (JPEG): these sources were lossy already."""
    spec = StreamSpec(name=PAD, kind="rgb", shape=frames.shape[1:], dtype="uint8", frame=frame)
    return Stream(spec=spec, times=times, values=frames)


def series_stream(name: str, unit: str, values: np.ndarray, times: np.ndarray) -> Stream:
    """Return one number per frame as a stream."""
    spec = StreamSpec(name=name, kind="series", shape=(1,), dtype="float64", unit=unit)
    return Stream(spec=spec, times=times, values=values[:, None])


def take_number(name: str) -> tuple[str, str]:
    """Split `object__t=3` or `object_name_3` into object and take. Object names hold underscores themselves.

    Raises:
        DataError: There is no take number at the end.
    """
    head, mark, take = name.partition("__t=")
    if not mark:
        head, _, take = name.rpartition("_")
    if not head or not take.isdigit():
        raise DataError(f"{name!r}: no take number; recordings are named OBJECT_NUMBER or OBJECT__t=NUMBER")
    return head, take


def write_presses(
    out: Path,
    config: Mapping[str, Any],
    paths: Sequence[Path],
    read: Callable[[Path, int], tuple[Episode, list[str]]],
) -> tuple[int, list[str], list[str]]:
    """Write one episode per recording; a recording that cannot be read is left out and named.

    Args:
        out: Data folder, new or empty.
        config: How the data was made, as JSON values.
        paths: Recordings in order.
        read: Makes the episode of a recording with an index, and notes on it.

    Returns:
        Number of episodes, lines on those left out, notes.

    Raises:
        DataError: None could be imported, or the folder cannot be written.
    """
    left_out: list[str] = []
    notes: list[str] = []
    done = 0
    with EpisodeWriter.create(out, task="press", config=config) as writer:
        for path in paths:
            try:
                episode, more = read(path, done)
            except DataError as error:
                left_out.append(str(error))
                continue
            writer.write(episode)
            notes += more
            done += 1
    if not done:
        raise DataError("nothing could be imported:\n  " + "\n  ".join(left_out or ["no recordings"]))
    return done, left_out, notes
