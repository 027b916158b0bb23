"""Every touch of a data set, cut for encoders, and the features of it that belong to no run.

A felt touch is one recording by one sensor. A few clips are taken where the picture changes most, and some where nothing touches, for a
control that must not tell anything. Clips are cut in seconds, so that cameras of different rates give the same thing. Features of the
frozen ImageNet network are of pictures less the gel at rest, which suits it better than the pictures themselves; hand-made ones are
those of `perception.press_features`.

Axis letters: N felt touch, C clip, F frame, S side of the picture, D feature.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from palpate.core.errors import DataError
from palpate.core.records import Stream
from palpate.data.reader import EpisodeReader
from palpate.data.sample_cache import SampleCache
from palpate.models.backbones import BACKBONES, Backbone, build_backbone
from palpate.perception.contact_frames import find_contact
from palpate.perception.press_features import NAMES, PICTURES, press_features, still_frames, strongest_frames
from palpate.perception.press_video import PressReading, read_press
from palpate.perception.views import touch_view
from palpate.recipes.touch_frames import ClipSettings, sensor_name, square

CLIPS = 4
"""C, clips of a touch."""
STILLS = 2
"""Clips of a touch without contact."""
SPACING = 1 / ClipSettings().rate_hz
"""Between the frames of a clip [s], or as near as the camera has one: as in training, but in seconds whatever the camera's rate."""
IMAGENET_SIZE = 160
"""Side of what the frozen ImageNet network sees [px]."""
BACKBONE = "efficientnet_lite0"
VERSION = 2
"""Of the way clips are chosen: another one makes kept ones stale."""


@dataclass(frozen=True, kw_only=True)
class FeltTouches:
    """Every felt touch of a data set that could be read."""

    root: Path
    """Folder of the data set."""
    row: np.ndarray
    """(N,) number in `samples`."""
    position: np.ndarray
    """(N,) row of the trial in the reader."""
    touch: np.ndarray
    """(N,) str: the same for one place touched by several sensors."""
    object: np.ndarray
    """(N,) str."""
    sensor: np.ndarray
    """(N,) str."""
    samples: SampleCache
    """`clip`, `still` and `rest`, and the features that belong to no run."""
    left_out: int
    """Recordings that are too short."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.position)

    def take(self, rows: np.ndarray) -> "FeltTouches":
        """Return some felt touches."""
        parts = {name: getattr(self, name)[rows] for name in ("row", "position", "touch", "object", "sensor")}
        return replace(self, **parts)

    def kept(self, name: str) -> np.ndarray:
        """Return features (N, D) that are kept with the clips, rows of NaN where absent: `imagenet`, `press`, or either `_still`."""
        values, present = (self._array(part) for part in (name, f"{name}.present"))
        return np.where(present[:, None], values, np.nan)

    @property
    def contact(self) -> np.ndarray:
        """(N,) bool: whether any contact was seen."""
        return self._array("contact") > 0

    def clips(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return `clip`, `still` or `rest`, (B, C, F, S, S, 3) uint8, of some felt touches (B,); of the gel at rest one still."""
        return np.load(self.samples.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)[self.row[rows]]

    def present(self, name: str) -> np.ndarray:
        """Return (N,) bool: whether a felt touch has this."""
        return self._array(f"{name}.present")

    def _array(self, name: str) -> np.ndarray:
        return np.load(self.samples.path / f"{name}.npy", allow_pickle=False)[self.row]


def felt_touches(
    reader: EpisodeReader,
    *,
    size: int,
    frames: int,
    sensors: Collection[str] = (),
    objects: Collection[str] = (),
    progress: bool = True,
) -> FeltTouches:
    """Return the touches of a data set, from the cache in its folder or, the first time, from its recordings.

    Args:
        reader: a data set with optical touch and the group `object`.
        size: S [px].
        frames: F.
        sensors: only these; all if there are none.
        objects: only these; all if there are none.
        progress: show a bar.

    Raises:
        DataError: no touch pictures, or none that could be used.
    """
    rows = _rows(reader, sensors, objects)
    settings = json.dumps(
        [VERSION, size, frames, CLIPS, STILLS, SPACING, IMAGENET_SIZE, sorted(_fields(size, frames)), sorted(rows)]
    )
    about = f"{reader.fingerprint()} {hashlib.sha256(settings.encode()).hexdigest()}"
    path = reader.root / "cache" / f"felt-{hashlib.sha256(about.encode()).hexdigest()[:16]}"
    if not SampleCache.is_current(path, about):
        path.parent.mkdir(exist_ok=True)
        _build(reader, rows, SampleCache.create(path, len(rows), _fields(size, frames), fingerprint=about), progress)
    samples = SampleCache.open(path, fingerprint=about)
    used = np.flatnonzero(np.load(path / "clip.present.npy", allow_pickle=False))
    if not len(used):
        raise DataError(
            f"{reader.root}: none of {len(rows)} touch recordings has {PICTURES} frames; nothing can be told from them"
        )
    position = np.array([rows[i][0] for i in used])
    column = "group.spot" if "group.spot" in reader.names else "index"
    return FeltTouches(
        root=reader.root,
        row=used,
        position=position,
        touch=reader.column(column)[position].astype(str),
        object=reader.column("group.object")[position].astype(str),
        sensor=np.array([sensor_name(reader, rows[i][1]) for i in used]),
        samples=samples,
        left_out=len(rows) - len(used),
    )


def _rows(reader: EpisodeReader, sensors: Collection[str], objects: Collection[str]) -> list[tuple[int, str]]:
    """Return reader position and stream of every recording that is asked for."""
    there = {
        name: sensor_name(reader, name)
        for name, spec in sorted(reader.streams.items())
        if name.startswith("touch.") and len(spec.shape) == 3
    }
    streams = [stream for stream, name in there.items() if not sensors or name in sensors]
    if not streams or "group.object" not in reader.names:
        raise DataError(
            f"{reader.root} has touch pictures of {', '.join(there.values()) or 'no sensor'} (asked for: {', '.join(sensors) or 'any'}) "
            f"and {', '.join(n for n in reader.names if n.startswith('group.')) or 'no groups'}; pictures and the group 'object' are needed"
        )
    of = reader.column("group.object")
    wanted = np.array([not objects or str(name) in objects for name in of], bool)
    return [(int(p), stream) for stream in streams for p in np.flatnonzero(reader.present(stream) & wanted)]


def _fields(size: int, frames: int) -> dict[str, tuple[Any, ...]]:
    picture = (frames, size, size, 3, "uint8")
    numbers = {"imagenet": BACKBONES[BACKBONE].feature_dim, "press": len(NAMES)}
    kept = {f"{name}{still}": (n, "float32") for name, n in numbers.items() for still in ("", "_still")}
    rest = (1, 1, *picture[1:])
    return {"clip": (CLIPS, *picture), "still": (STILLS, *picture), "rest": rest, "contact": ("float32",), **kept}


@threadpool_limits.wrap(limits=1)  # one small picture at a time: threads only wait for one another
def _build(reader: EpisodeReader, rows: list[tuple[int, str]], cache: SampleCache, progress: bool) -> None:
    backbone = build_backbone(BACKBONE)
    for i, (position, name) in enumerate(tqdm(rows, desc="touches", unit="recording", disable=not progress)):
        stream = reader.episode(position, streams=[name]).streams[name]
        if len(stream.times) >= PICTURES:
            cache.write(i, _describe(stream, cache.fields["clip"][1:3], backbone))
    cache.finish()


def _describe(stream: Stream, shape: tuple[int, int], backbone: Backbone) -> dict[str, np.ndarray | float | None]:
    """Return what is kept of one recording."""
    pictures, reading = stream.values, read_touch(stream.values, stream.times)
    frames, size = shape
    chosen = strongest_frames(reading.change, CLIPS)
    out: dict[str, np.ndarray | float | None] = {
        "clip": cut_clips(pictures, stream.times, chosen, frames, size),
        "rest": square(np.clip(np.rint(reading.rest), 0, 255).astype(np.uint8), size)[None, None],
        "imagenet": _imagenet(pictures[chosen], reading.rest, backbone),
        "press": press_features(pictures, reading),
        "contact": float(reading.onset is not None or "starts_in_contact" in reading.problems),
    }
    quiet = still_frames(reading)
    if len(quiet) >= PICTURES:
        spread = quiet[np.linspace(0, len(quiet) - 1, STILLS).round().astype(int)]
        out["still"] = cut_clips(pictures[quiet], stream.times[quiet], np.searchsorted(quiet, spread), frames, size)
        out["imagenet_still"] = _imagenet(pictures[spread], reading.rest, backbone)
        out["press_still"] = press_features(pictures, reading, contact=False)
    return out


def read_touch(frames: np.ndarray, times: np.ndarray) -> PressReading:
    """Return the time course of a recording, also of one that is too short for `read_press`.

    Args:
        frames: (T, H, W, 3) uint8.
        times: (T,) [s].
    """
    try:
        return read_press(frames, times)
    except DataError:
        found = find_contact(frames)
    seen = np.flatnonzero(found.contact)
    return PressReading(
        times=np.asarray(times, float),
        rest=found.background.astype(np.float32),
        change=found.strength,
        strongest=found.strength,
        area=found.contact.astype(float),
        noise=found.threshold,
        onset=int(seen[0]) if len(seen) else None,
        peak=int(found.strength.argmax()),
        quiet=~found.contact,
        problems=(),
    )


def cut_clips(frames: np.ndarray, times: np.ndarray, last: np.ndarray, length: int, size: int) -> np.ndarray:
    """Return clips (C, F, S, S, 3) uint8 that end at the frames `last` (C,), the frames before them `SPACING` seconds apart.

    Before the first frame of a recording stands that frame. Pictures are squashed to squares, as in training.

    Args:
        frames: (T, H, W, 3) uint8.
        times: (T,) [s].
        last: (C,) indices.
        length: F.
        size: S [px].
    """
    wanted = times[last][:, None] - SPACING * np.arange(length - 1, -1, -1)
    index = np.abs(times[None, None, :] - wanted[:, :, None]).argmin(axis=2)
    used, inverse = np.unique(index, return_inverse=True)
    small = np.stack([square(frames[i], size) for i in used])
    return small[inverse.reshape(index.shape)]


def _imagenet(pictures: np.ndarray, rest: np.ndarray, backbone: Backbone) -> np.ndarray:
    background = np.clip(np.rint(rest), 0, 255).astype(np.uint8)
    views = np.stack([touch_view(picture, background, IMAGENET_SIZE) for picture in pictures])
    with torch.inference_mode():
        return backbone(torch.from_numpy(views)).mean(dim=0).numpy()
