"""Touch as one more modality of a SoftGrasp policy: pictures of the fingers' sensors through a frozen touch encoder.

Of each finger the encoder sees a clip of its last pictures at the policy's rate, less the gel at rest; the first picture stands for those
before it. What it gives of all fingers, one after another, is one frame of touch.

Axis letters: N frame, K finger, T frame of a clip, D feature of a finger, F = K D.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from palpate.core.errors import DataError
from palpate.core.records import Episode, Observation, TactileFrame
from palpate.data.reader import EpisodeReader
from palpate.data.sample_cache import SampleCache
from palpate.recipes.softgrasp_data import Frames, latest
from palpate.recipes.touch_backbone import TouchBackbone, sensor_of

STREAM = "touch."
"""How the streams of touch begin; a finger's name follows."""


@dataclass(frozen=True, kw_only=True)
class FingerTouch:
    """An encoder, and the fingers that it is used for."""

    backbone: TouchBackbone
    fingers: tuple[str, ...]
    """Those with a sensor, in the order of the features."""
    sensor: str
    """What they wear, by the name that the encoder knows it by."""

    @classmethod
    def of(cls, reader: EpisodeReader, encoder: Path) -> Self:
        """Take the encoder of a run of `palpate train touch` for all fingers whose touch a data set holds.

        Raises:
            RunError: no such run.
            DataError: no touch, or pictures of different sizes.
        """
        backbone = TouchBackbone.open(encoder)
        found = {n: spec.shape for n, spec in reader.streams.items() if n.startswith(STREAM) and spec.kind in ("touch", "rgb")}
        if not found:
            raise DataError(
                f"{reader.root} has no touch pictures (streams {STREAM}FINGER), only {', '.join(sorted(reader.streams))}; collect with "
                "`palpate collect softgrasp --touch`, or train without touch"
            )
        if len(set(found.values())) > 1:
            raise DataError(
                f"{reader.root} has touch pictures of different sizes, {found}; all fingers must wear the same sensor"
            )
        fingers = tuple(sorted(name.removeprefix(STREAM) for name in found))
        return cls(backbone=backbone, fingers=fingers, sensor=sensor_of(reader, STREAM + fingers[0]))

    @classmethod
    def kept(cls, folder: Path, about: Mapping[str, Any]) -> Self | None:
        """Return what a run was trained with: the encoder in its folder, and what `about` returned; None if `about` is empty.

        Raises:
            RunError: the encoder is gone, or not the one that the run was trained with.
        """
        backbone = TouchBackbone.kept(folder, about)
        return None if backbone is None else cls(backbone=backbone, fingers=tuple(about["fingers"]), sensor=about["sensor"])

    @property
    def dim(self) -> int:
        """F."""
        return self.backbone.dim * len(self.fingers)

    @property
    def frames(self) -> int:
        """T."""
        return self.backbone.encoder.config.frames

    def about(self) -> dict[str, Any]:
        """Return what a run says of it, as JSON values."""
        return {"fingers": list(self.fingers), "sensor": self.sensor, "fingerprint": self.backbone.fingerprint()}

    def at_rest(self, rest: np.ndarray) -> np.ndarray:
        """Return (K, D) features of the gels at rest (K, H, W, 3), which `features` takes off; 0 if the encoder sees changes anyway."""
        if self.backbone.encoder.config.view == "change":
            return np.zeros((len(rest), self.backbone.dim), np.float32)
        return self.backbone.features(rest, self.sensor)

    def features(self, clips: np.ndarray, rest: np.ndarray, at_rest: np.ndarray) -> np.ndarray:
        """Return (N, F) float32 of clips (N, K, T, H, W, 3) uint8; the gels at rest (K, H, W, 3) are encoded once for many calls."""
        flat = clips.reshape(-1, *clips.shape[2:])
        changes = self.backbone.encoder.config.view == "change"
        still = np.tile(rest, (len(clips), 1, 1, 1)) if changes else None
        found = self.backbone.features(flat, self.sensor, still).reshape(*clips.shape[:2], -1)
        return (found - at_rest).reshape(len(clips), -1)


def with_touch(frames: Frames, reader: EpisodeReader, touch: FingerTouch, *, progress: bool = True) -> Frames:
    """Return the frames with features of touch, which are kept in the data folder; NaN where a finger was not felt.

    Raises:
        DataError: no demonstration has touch of all fingers.
    """
    path = reader.root / "cache" / f"softgrasp-touch-{touch.backbone.fingerprint()}"
    about = f"{reader.fingerprint()} {len(frames)} {touch.fingers} {touch.sensor}"
    if not SampleCache.is_current(path, about):
        path.parent.mkdir(exist_ok=True)
        building = SampleCache.create(path, len(frames), {"touch": (touch.dim, "float32")}, fingerprint=about)
        streams = [STREAM + finger for finger in touch.fingers]
        for number, position in enumerate(tqdm(frames.position, "touch", unit="demo", disable=not progress)):
            rows = np.flatnonzero(frames.demonstration == number)
            episode = reader.episode(int(position), streams=streams)
            if all(name in episode.streams for name in streams):
                known, found = _felt(episode, frames.time[rows], touch)
                for row, values in zip(rows[known], found, strict=True):
                    building.write(int(row), {"touch": values})
        building.finish()
    there = np.load(path / "touch.present.npy", allow_pickle=False)
    if not there.any():
        raise DataError(f"no demonstration of {reader.root} has touch of {' and '.join(touch.fingers)} at once")
    return replace(frames, touch=np.where(there[:, None], np.load(path / "touch.npy", allow_pickle=False), np.nan))


def _felt(episode: Episode, when: np.ndarray, touch: FingerTouch) -> tuple[np.ndarray, np.ndarray]:
    """Return which times (N,) [s] of a demonstration have touch of all fingers, and the features of those."""
    back = np.maximum(np.arange(len(when))[:, None] - np.arange(touch.frames - 1, -1, -1), 0)
    streams = [episode.streams[STREAM + finger] for finger in touch.fingers]
    seen = [latest(stream.times, when) for stream in streams]
    known = np.all([fresh[back].all(axis=1) for _, fresh in seen], axis=0)
    clips = np.stack([stream.values[at[back[known]]] for stream, (at, _) in zip(streams, seen, strict=True)], axis=1)
    rest = np.stack([stream.values[0] for stream in streams])
    return known, touch.features(clips, rest, touch.at_rest(rest))


class LiveTouch:
    """Touch as it comes, one observation after another."""

    def __init__(self, touch: FingerTouch) -> None:
        """Start without anything felt."""
        self._touch = touch
        self.reset()

    def reset(self) -> None:
        """Forget the last episode."""
        self._seen: deque[np.ndarray | None] = deque(maxlen=self._touch.frames)
        self._rest: tuple[np.ndarray, np.ndarray] | None = None

    def features(self, observation: Observation) -> np.ndarray | None:
        """Return the features (F,) of what is felt now; None if a finger gave no picture, now or within a clip's time."""
        self._seen.append(_pictures(observation.touch, self._touch.fingers))
        rest = _pictures(observation.touch_rest, self._touch.fingers)
        if self._rest is None and rest is not None:
            self._rest = rest, self._touch.at_rest(rest)
        frames = [frame for frame in self._seen if frame is not None]
        if self._rest is None or len(frames) < len(self._seen):
            return None
        clip = np.stack([frames[0]] * (self._touch.frames - len(frames)) + frames, axis=1)
        return self._touch.features(clip[None], *self._rest)[0]


def _pictures(touch: Mapping[str, TactileFrame], fingers: tuple[str, ...]) -> np.ndarray | None:
    """Return (K, H, W, 3), None if one is not there."""
    images = [touch[finger].image if finger in touch else None for finger in fingers]
    there = [image for image in images if image is not None]
    return np.stack(there) if len(there) == len(images) else None
