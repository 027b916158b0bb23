"""From demonstrations of a steered hand to frames on a clock of 30 Hz; `softgrasp_samples` cuts a policy's samples from them.

Each sensor counts as sensed at a frame by its last sample, if that is not old. Simulated demonstrations and the authors' recording lie
alike.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from tqdm import tqdm

from palpate.core.errors import DataError
from palpate.core.records import Episode, Stream
from palpate.data.reader import EpisodeReader
from palpate.data.sample_cache import SampleCache
from palpate.learning.features import FeatureConfig, extract_features
from palpate.models.backbones import build_backbone
from palpate.robots.glove_mapping import JOINTS

RECIPE = "softgrasp"
"""What a run folder says that it is."""
RATE_HZ = 30.0
"""Of pictures, angles and torques, and so of the policy (Section 4.1)."""
PICTURE = (75, 100)
"""Rows and columns of the pictures as kept, the size that the authors' code trains on."""
MAX_AGE = 0.2
"""A sample older than this does not tell what is sensed now [s]."""
CAMERA, ANGLE, TORQUE, COMMAND = "camera.rgb", "hand.joint_position", "hand.joint_torque", "hand.command"

AngleTarget = Literal["command", "position"]
"""What the next angles are: `command`, what the hand was told; `position`, where it then was, as in the paper."""


def small_picture(rgb: np.ndarray) -> np.ndarray:
    """Return (75, 100, 3) uint8 of an (H, W, 3) picture: what is kept, and what a policy sees."""
    return cv2.resize(rgb, PICTURE[::-1], interpolation=cv2.INTER_AREA)


@dataclass(frozen=True, kw_only=True)
class Frames:
    """All frames of all demonstrations, one after another. N frames, D demonstrations, J joints; NaN is not known."""

    position: np.ndarray
    """(D,) row of the demonstration in the reader."""
    trial: np.ndarray
    """(D,) its index."""
    object: np.ndarray
    """(D,) name, empty if there is none."""
    demonstration: np.ndarray
    """(N,) number of the frame's demonstration, 0 to D - 1."""
    first: np.ndarray
    """(N,) number of the first frame of the frame's demonstration."""
    time: np.ndarray
    """(N,) [s], clock of the demonstration."""
    angle: np.ndarray
    """(N, J) measured joint angles, in the stream's unit."""
    torque: np.ndarray
    """(N, J) measured joint torques, in the stream's unit."""
    told: np.ndarray
    """(N, J) the angles that are learnt (command or position) as of this frame."""
    next_angle: np.ndarray
    """(N, J) the same one frame later: the target."""
    next_torque: np.ndarray
    """(N, J)."""
    lift: np.ndarray
    """(N,) 1 just before the person let the hand be lifted, 0 earlier, NaN after, or if nothing was lifted."""
    target: AngleTarget
    units: Mapping[str, str]
    """Unit by stream name."""
    pictured: np.ndarray
    """(N,) bool: whether the camera saw this frame."""
    image: np.ndarray | None = None
    """(N, F) features or (N, 75, 100, 3) uint8 pictures; None without pictures."""
    touch: np.ndarray | None = None
    """(N, F) features of the touch of all fingers that have a sensor; None without touch."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.time)

    def rows(self, demonstrations: np.ndarray) -> np.ndarray:
        """Return the frames of some demonstrations that have a target."""
        return np.flatnonzero(np.isin(self.demonstration, demonstrations) & np.isfinite(self.next_angle).all(axis=1))


def read_frames(
    reader: EpisodeReader, *, target: Literal["auto", "command", "position"] = "auto", lift_window: float = 0.4
) -> Frames:
    """Read angles, torques and events of all demonstrations; pictures come with `with_pictures`.

    Args:
        reader: a data set of task `softgrasp`. A demonstration whose label `held` says that the object was lost is no example, and is
            left out.
        target: what the next angles are; `auto`: commands where every demonstration has them, else positions. A hand that is told to be
            where it was measured to be presses on nothing, so commands are what to imitate; a recording may hold none.
        lift_window: so long before the lift began it would have been right as well [s].

    Raises:
        DataError: no usable demonstration, or one without angles or commands that are needed.
    """
    keep = np.arange(len(reader))
    if "label.held" in reader.names:
        keep = np.flatnonzero(reader.column("label.held") != 0.0)
    if not len(keep):
        raise DataError(f"{reader.root} holds no demonstration to learn from; collect some in which the object is held")
    names = [name for name in (CAMERA, ANGLE, TORQUE, COMMAND) if name in reader.streams]
    if target == "auto":
        target = "command" if COMMAND in names and reader.present(COMMAND)[keep].all() else "position"
    needed = ANGLE if target == "position" else COMMAND
    for name in (ANGLE, TORQUE, needed):
        if name not in names:
            raise DataError(
                f"{reader.root} has no stream {name!r}, which a SoftGrasp policy learns; it has {sorted(reader.streams)}"
            )
        if reader.streams[name].shape != (len(JOINTS),):
            raise DataError(
                f"{reader.root} is of task {reader.head.task!r} and its {name!r} has {reader.streams[name].shape} values a sample; a "
                f"SoftGrasp policy moves a hand of {len(JOINTS)} joints: {', '.join(JOINTS)}"
            )
    parts = []
    for number, position in enumerate(keep):
        episode = reader.episode(int(position), streams=[name for name in names if name != CAMERA])
        parts.append(_columns(episode, _clock(episode, reader), needed, lift_window) | {"demonstration": number})
    counts = [len(part["time"]) for part in parts]
    columns = {
        name: np.concatenate(
            [np.broadcast_to(part[name], (n, *np.shape(part[name])[1:])) for part, n in zip(parts, counts, strict=True)]
        )
        for name in parts[0]
    }
    objects = reader.column("group.object")[keep] if "group.object" in reader.names else np.full(len(keep), "")
    return Frames(
        position=keep,
        trial=reader.indices[keep],
        object=objects.astype(str),
        first=np.repeat(np.cumsum([0, *counts[:-1]]), counts),
        target=target,
        units={name: reader.streams[name].unit for name in (ANGLE, TORQUE, needed)},
        pictured=np.zeros(len(columns["time"]), bool),
        **columns,
    )


def _clock(episode: Episode, reader: EpisodeReader) -> np.ndarray:
    """Return the times (T,) [s] of the frames of a demonstration."""
    times = [episode.streams[name].times for name in (ANGLE, TORQUE) if name in episode.streams]
    if ANGLE not in episode.streams:
        raise DataError(f"{reader.root}: trial {episode.index} has no {ANGLE!r}; leave it out, or record it again")
    start, stop = times[0][0], max(t[-1] for t in times)
    return start + np.arange(int(np.floor((stop - start) * RATE_HZ + 1e-6)) + 1) / RATE_HZ


def _columns(episode: Episode, clock: np.ndarray, told: str, lift_window: float) -> dict[str, np.ndarray]:
    """Return the columns of `Frames` that one demonstration gives."""
    lifts = [event.time for event in episode.events if event.name == "lift"]
    lift = np.full(len(clock), np.nan)
    if lifts:
        before = clock <= lifts[0] + 1e-6
        lift[before] = clock[before] > lifts[0] - lift_window
    next_clock = clock + 1.0 / RATE_HZ
    next_clock[-1:] = np.inf  # after the last frame nothing is known
    out = {"time": clock, "lift": lift}
    for name, stream, when in (
        ("angle", ANGLE, clock),
        ("torque", TORQUE, clock),
        ("told", told, clock),
        ("next_angle", told, next_clock),
        ("next_torque", TORQUE, next_clock),
    ):
        out[name] = _sampled(episode.streams.get(stream), when)
    return out


def _sampled(stream: Stream | None, when: np.ndarray) -> np.ndarray:
    """Return (T, J) float32 as sensed at each time (T,) [s], NaN where there is nothing or only something old."""
    if stream is None:
        return np.full((len(when), 6), np.nan, np.float32)
    at, fresh = latest(stream.times, when)
    return np.where(fresh[:, None], stream.values[at], np.nan).astype(np.float32)


def latest(times: np.ndarray, when: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the last sample at each time, and whether there is one that is not old."""
    at = np.searchsorted(times, when + 1e-6, side="right") - 1
    return np.maximum(at, 0), (at >= 0) & (when - times[np.maximum(at, 0)] <= MAX_AGE + 1e-6)


@dataclass(frozen=True, kw_only=True)
class PictureSettings:
    """How pictures enter a policy."""

    backbone: Literal["efficientnet_lite0", "resnet18"] = "efficientnet_lite0"
    """`efficientnet_lite0`: frozen, its features cached, for training on a CPU; `resnet18`: trained end to end, as in the paper."""
    size: int = 96
    """Side of the square that the frozen backbone sees [px]."""

    @property
    def end_to_end(self) -> bool:
        """Whether pixels train a network."""
        return self.backbone == "resnet18"

    def features(self) -> FeatureConfig:
        """Return how the frozen backbone is used; fp32, so that one picture alone gives what it gave in a batch."""
        return FeatureConfig(size=self.size, precision="fp32")


def with_pictures(frames: Frames, reader: EpisodeReader, settings: PictureSettings, *, progress: bool = True) -> Frames:
    """Return the frames with pictures or their features, which are kept in the data folder.

    Raises:
        DataError: no demonstration has pictures.
    """
    if CAMERA not in reader.streams:
        raise DataError(f"{reader.root} has no stream {CAMERA!r}; train without pictures: --modalities angle,torque")
    path, fingerprint = reader.root / "cache" / "softgrasp", f"{reader.fingerprint()} {len(frames)} {PICTURE}"
    if not SampleCache.is_current(path, fingerprint):
        path.parent.mkdir(exist_ok=True)
        building = SampleCache.create(path, len(frames), {"image": (*PICTURE, 3, "uint8")}, fingerprint=fingerprint)
        for i, picture in tqdm(_pictures(frames, reader), "pictures", len(frames), unit="frame", disable=not progress):
            building.write(i, {"image": picture})
        building.finish()
    images = np.load(path / "image.npy", mmap_mode="r", allow_pickle=False)
    pictured = np.load(path / "image.present.npy", allow_pickle=False)
    if settings.end_to_end:
        return replace(frames, image=images, pictured=pictured)
    backbone = build_backbone(settings.backbone)
    cache, key = reader.root / "cache", f"softgrasp {fingerprint}"
    features = extract_features(backbone, images, settings.features(), cache=cache, key=key, progress=progress)
    return replace(frames, image=features[0], pictured=pictured)


def _pictures(frames: Frames, reader: EpisodeReader) -> Iterator[tuple[int, np.ndarray | None]]:
    """Yield each frame's number and small picture, None where the camera saw nothing."""
    for number, position in enumerate(frames.position):
        rows = np.flatnonzero(frames.demonstration == number)
        stream = reader.episode(int(position), streams=[CAMERA]).streams.get(CAMERA)
        if stream is None:
            yield from ((int(row), None) for row in rows)
            continue
        at, fresh = latest(stream.times, frames.time[rows])
        for row, k, seen in zip(rows, at, fresh, strict=True):
            yield int(row), small_picture(stream.values[k]) if seen else None
