"""From touch recordings of any data set to small clips of contact in a memory-mapped cache, one for each data set, built once.

A recording is one touch by one sensor: stream `touch.SENSOR` of an episode. Its frames without contact are left out; from the rest clips
of F + 1 frames are cut, F that a model sees and one that it foretells, and stills where contact is too short for a clip. Every picture is
squashed to a square; pictures higher than wide are first turned a quarter left, so that a sensor's longer side always lies across.

Axis letters: R recording, F frame, S side of the square [px].
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
from tqdm import tqdm

from palpate.core.errors import DataError, PalpateError
from palpate.core.records import Episode, Stream
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.data.sample_cache import SampleCache
from palpate.perception.contact_frames import ENDS, find_contact
from palpate.perception.views import changed

VERSION = 1
"""Of the way clips are cut: another one makes what was kept stale."""
PICTURE = 96
"""Side of the kept camera pictures [px]."""
TEXT = "touch"
"""Kind of an episode's text that tells how a touch feels."""
CACHE = Path("cache") / "touch"

_NAMES = MappingProxyType({"gelsight-2017": "gelsight"})
_PADS = MappingProxyType({"octopi_physiclear": "gelsight-mini", "gelsight_wedge_compliance": "gelsight-wedge"})
"""What the sensor is in sets that call its stream `touch.pad`."""


@dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """How recordings are cut."""

    size: int = 64
    """S [px]."""
    frames: int = 3
    """F."""
    rate_hz: float = 30.0
    """Rate of the frames in a clip; of a faster recording every n-th is taken, of a slower one each."""
    hop: int = 1
    """Frames from the start of one clip to that of the next."""
    most: int = 12
    """Clips of one recording at most, evenly spread: long ones shall not outweigh the others."""
    view: Literal["picture", "change"] = "picture"
    """See `TouchEncoderConfig.view`."""

    def __post_init__(self) -> None:
        """Refuse what cuts nothing."""
        if min(self.size, self.frames, self.hop, self.most) < 1 or not self.rate_hz > 0:
            raise PalpateError(f"size, frames, hop and most must be 1 or more and rate_hz above 0, got {self}")


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """The recordings of one data set, R of them, and their clips."""

    root: Path
    position: np.ndarray
    """(R,) row of the episode in the reader."""
    sensor: np.ndarray
    """(R,) str."""
    object: np.ndarray
    """(R,) str; of an episode without one, the episode itself."""
    spot: np.ndarray
    """(R,) str: the same for one place touched by several sensors; empty where it is not known."""
    text: np.ndarray
    """(R,) object: str or None."""
    clip: np.ndarray
    """(R * most, F + 1, S, S, 3) uint8, oldest first, memory-mapped; rows of recording r are r * most and following."""
    still: np.ndarray
    """(R * most, S, S, 3) uint8, memory-mapped; only of recordings too short for a clip."""
    has_clip: np.ndarray
    """(R * most,) bool."""
    has_still: np.ndarray
    """(R * most,) bool."""
    picture: np.ndarray
    """(P, PICTURE, PICTURE, 3) uint8 of the camera, memory-mapped; sensors that touch one place in turn share one."""
    picture_of: np.ndarray
    """(R,) int64 which picture is of a recording; -1: none."""
    fingerprint: str
    """Changes with the data and the settings."""

    def summary(self) -> dict[str, dict[str, int]]:
        """Return the number of recordings, clips and stills of each sensor, as JSON values."""
        rows = np.repeat(self.sensor, len(self.has_clip) // max(len(self.sensor), 1))
        return {
            str(name): {
                "recordings": int((self.sensor == name).sum()),
                "clips": int(self.has_clip[rows == name].sum()),
                "stills_only": int(self.has_still[rows == name].sum()),
            }
            for name in np.unique(self.sensor)
        }


def square(picture: np.ndarray, size: int) -> np.ndarray:
    """Return a touch picture (H, W, 3) uint8 as (size, size, 3): longer side across, then squashed."""
    lying = picture if picture.shape[0] <= picture.shape[1] else np.rot90(picture)
    shrink = size <= min(lying.shape[:2])
    return cv2.resize(np.ascontiguousarray(lying), (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)


def open_recordings(root: Path, settings: ClipSettings, *, progress: bool = True) -> Recordings:
    """Return the recordings of a data set; clips come from the cache in its folder, or are cut now.

    Args:
        root: a data set with streams `touch.SENSOR` of pictures. A stream `contact.SENSOR` tells which frames show contact, else the
            difference from the background does.
        settings: how to cut.
        progress: show a bar.

    Raises:
        DataError: no data set, no touch pictures in it, or no contact in any of them.
    """
    reader = open_dataset(root)
    rows = _rows(reader)
    if not rows:
        raise DataError(
            f"{root} has no streams touch.SENSOR with pictures; it has {', '.join(sorted(reader.streams)) or 'none'}"
        )
    about = json.dumps([VERSION, PICTURE, reader.fingerprint(), asdict(settings)])
    path = reader.root / CACHE / settings.view
    if not SampleCache.is_current(path / "clips", about) or not SampleCache.is_current(path / "pictures", about):
        _build(reader, rows, settings, about, progress=progress)
    clips, pictures = path / "clips", path / "pictures"
    at = np.array([position for position, _ in rows])
    groups = {kind: _column(reader, f"group.{kind}")[at] for kind in ("object", "folder", "spot")}
    folders = groups["folder"]  # several pieces of one imported recording
    episodes = [folder or f"episode {index}" for folder, index in zip(folders, reader.indices[at], strict=True)]
    out = Recordings(
        root=reader.root,
        position=at,
        sensor=np.array([sensor_name(reader, stream) for _, stream in rows]),
        object=np.array([name or episode for name, episode in zip(groups["object"], episodes, strict=True)]),
        spot=np.array([name or "" for name in groups["spot"]]),
        text=_column(reader, f"text.{TEXT}")[at],
        **{name: np.load(clips / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("clip", "still")},
        **{f"has_{name}": np.load(clips / f"{name}.present.npy", allow_pickle=False) for name in ("clip", "still")},
        picture=np.load(pictures / "picture.npy", mmap_mode="r", allow_pickle=False),
        picture_of=_picture_of(reader, rows),
        fingerprint=hashlib.sha256(about.encode()).hexdigest()[:24],
    )
    if not (out.has_clip | out.has_still).any():
        raise DataError(
            f"{root}: none of {len(rows)} recordings shows contact; do they hold the gel at rest as well as pressed?"
        )
    return out


def _rows(reader: EpisodeReader) -> list[tuple[int, str]]:
    """Return position and stream of every recording."""
    streams = sorted(n for n, spec in reader.streams.items() if n.startswith("touch.") and spec.kind in ("touch", "rgb"))
    present = {name: reader.present(name) for name in streams}
    return [(position, name) for position in range(len(reader)) for name in streams if present[name][position]]


def _column(reader: EpisodeReader, name: str) -> np.ndarray:
    return reader.column(name) if name in reader.names else np.full(len(reader), None, object)


def sensor_name(reader: EpisodeReader, stream: str) -> str:
    """Return the sensor's name: the second part of the stream's, as long as that is a sensor's."""
    name = stream.split(".")[1]
    if name == "pad":
        return _PADS.get(str(reader.head.config.get("source")), name)
    return _NAMES.get(name, name)


def _build(
    reader: EpisodeReader, rows: Sequence[tuple[int, str]], settings: ClipSettings, about: str, *, progress: bool
) -> None:
    """Cut all recordings; samples that a recording does not fill stay absent and take no space."""
    path, pixels = reader.root / CACHE / settings.view, (settings.size, settings.size, 3, "uint8")
    path.mkdir(parents=True, exist_ok=True)
    clips = SampleCache.create(
        path / "clips",
        len(rows) * settings.most,
        {"clip": (settings.frames + 1, *pixels), "still": pixels},
        fingerprint=about,
    )
    which = _picture_of(reader, rows)
    pictures = SampleCache.create(
        path / "pictures", int(which.max()) + 1, {"picture": (PICTURE, PICTURE, 3, "uint8")}, fingerprint=about
    )
    numbers = iter(range(len(rows)))
    with tqdm(total=len(rows), desc="clips", unit="touch", disable=not progress) as bar:
        for episode, streams in _episodes(reader, rows):
            for stream in streams:
                number = next(numbers)
                for k, sample in enumerate(_samples(episode, episode.streams[stream], settings)):
                    clips.write(number * settings.most + k, sample)
                if which[number] > which[:number].max(initial=-1):
                    pictures.write(int(which[number]), {"picture": _picture(episode, stream)})
                bar.update()
    clips.finish()
    pictures.finish()


def _episodes(reader: EpisodeReader, rows: Sequence[tuple[int, str]]) -> Iterator[tuple[Episode, list[str]]]:
    """Yield each episode once, with its touch streams in the order of rows."""
    wanted: dict[int, list[str]] = {}
    for position, name in rows:
        wanted.setdefault(position, []).append(name)
    beside = [name for name in reader.streams if name.startswith(("contact.", "camera.rgb"))]
    for position, streams in wanted.items():
        yield reader.episode(position, streams=[*streams, *beside]), streams


def _samples(episode: Episode, touch: Stream, settings: ClipSettings) -> Iterator[dict[str, np.ndarray]]:
    """Yield the clips of a recording, or its stills if contact is too short for one."""
    contact = _contact(episode, touch)
    windows = clip_windows(contact, touch.times, settings)
    frames = touch.values
    if settings.view == "change":
        frames = changed(frames, _rest(frames))
    for window in windows:
        yield {"clip": np.stack([square(frames[i], settings.size) for i in window])}
    if not len(windows):
        for i in _spread(np.flatnonzero(contact), settings.most):
            yield {"still": square(frames[i], settings.size)}


def _rest(frames: np.ndarray) -> np.ndarray:
    """Return the gel at rest (H, W, 3) uint8 as the frames tell it; of too few frames the first."""
    if len(frames) < 2 * ENDS:
        return frames[0]
    return find_contact(frames).background


def _contact(episode: Episode, touch: Stream) -> np.ndarray:
    """Return (T,) bool. Of fewer than two ends' worth of frames none can be told to be the background: all count as contact."""
    told = episode.streams.get(touch.spec.name.replace("touch.", "contact.", 1))
    if told is not None and len(told.times) == len(touch.times):
        return np.asarray(told.values, bool).reshape(len(touch.times))
    return find_contact(touch.values).contact if len(touch.times) >= 2 * ENDS else np.ones(len(touch.times), bool)


def clip_windows(contact: np.ndarray, times: np.ndarray, settings: ClipSettings) -> np.ndarray:
    """Return the frames (n, F + 1) of the clips of one recording: all in contact, `1 / rate_hz` apart or as near as its rate allows.

    Args:
        contact: (T,) bool.
        times: (T,) [s].
        settings: how to cut.
    """
    count = settings.frames + 1
    if len(times) < count:
        return np.empty((0, count), np.int64)
    interval = max(float(np.median(np.diff(times))), 1e-6)
    step = max(1, round(1 / (settings.rate_hz * interval)))
    starts = np.arange(0, len(times) - settings.frames * step, settings.hop * step)
    windows = starts[:, None] + np.arange(count) * step
    long = (times[windows[:, -1]] - times[windows[:, 0]]) > 1.5 * settings.frames * step * interval  # frames were dropped
    return _spread(windows[contact[windows].all(axis=1) & ~long], settings.most)


def _spread(values: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of the values, evenly spread."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).round().astype(int)]


def _picture_of(reader: EpisodeReader, rows: Sequence[tuple[int, str]]) -> np.ndarray:
    """Return (R,) which picture is of a recording, numbered in the order of rows; -1: none."""
    there = {name: reader.present(name) for name in reader.streams if name.startswith("camera.rgb")}
    number: dict[tuple[int, str], int] = {}
    out = np.full(len(rows), -1, np.int64)
    for i, (position, touch) in enumerate(rows):
        camera = next((name for name in _cameras(touch) if name in there and there[name][position]), None)
        if camera is not None:
            out[i] = number.setdefault((position, camera), len(number))
    return out


def _cameras(touch: str) -> tuple[str, str]:
    """Return the streams that may show a touch: the sensor's own camera first, then the one of all."""
    return f"camera.rgb.{touch.removeprefix('touch.')}", "camera.rgb"


def _picture(episode: Episode, touch: str) -> np.ndarray:
    """Return the camera's picture at about the middle of a touch."""
    camera = next(episode.streams[name] for name in _cameras(touch) if name in episode.streams)
    times = episode.streams[touch].times
    nearest = int(np.abs(camera.times - (times[0] + times[-1]) / 2).argmin())
    return cv2.resize(camera.values[nearest], (PICTURE, PICTURE), interpolation=cv2.INTER_AREA)
