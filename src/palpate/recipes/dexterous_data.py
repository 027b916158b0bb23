"""From episodes of the dexterous hand to the samples of its networks, and from a live observation to the same inputs.

One grasp gives two samples: what the camera saw `before` the hand came, and what camera, joints and touch told at `contact`.
The same function makes the inputs of both an episode and an observation, so that training and use cannot drift apart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from tqdm import tqdm

from palpate.core.errors import DataError, RecordError
from palpate.core.records import CameraFrame, Episode, Observation, TactileFrame
from palpate.core.transforms import rotation_from_vector
from palpate.data.reader import EpisodeReader
from palpate.data.sample_cache import SampleCache
from palpate.learning.batches import Batch
from palpate.models.dexterous import PLACE_DIM, Stage
from palpate.perception.views import object_view
from palpate.worlds.shadow import FINGERS, JOINTS

MOMENTS: dict[Stage, str] = {"before": "before", "after": "contact"}
"""The event at which each stage looks."""
PICTURES = ("rgb", "depth")
POSE_DIM = 6

StatusLabel = Literal["stable", "status"]


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """The window of the camera image that the net sees."""

    window_px: int = 256
    """Its side in the camera image: it must hold the hand as well."""
    size: int = 104
    """Its side as stored; the net crops a little off, at random in training [px]."""


@dataclass(frozen=True, kw_only=True)
class Grasps:
    """What is known of each grasp. N grasps."""

    position: np.ndarray
    """(N,) row of the trial in the reader."""
    trial: np.ndarray
    """(N,) index of the trial."""
    object: np.ndarray
    """(N,) name."""
    status: np.ndarray
    """(N,) 1 or 0, NaN unknown: the label that Status-Net learns."""
    quality: np.ndarray
    """(N,) q in [0, 1], NaN unknown."""
    hand_position: np.ndarray
    """(N, 3) of the palm relative to where perception found the object, world axes [m]."""
    hand_rotation: np.ndarray
    """(N, 3, 3) world from palm."""
    joints: np.ndarray
    """(N, J) joint targets [rad]."""

    def targets(self) -> dict[str, np.ndarray]:
        """Return the targets of `GraspObjective`; pose and joints of grasps that did not succeed are not known to be good: NaN."""
        good = self.status == 1
        imitated = {"position": self.hand_position, "rotation": self.hand_rotation, "joints": self.joints}
        masked = {name: np.where(good.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan) for name, a in imitated.items()}
        return {name: array.astype(np.float32) for name, array in {**masked, "quality": self.quality}.items()}


def read_grasps(reader: EpisodeReader, status: StatusLabel = "stable") -> Grasps:
    """Return every grasp that has an action and for which perception found the object.

    Args:
        reader: a data set of dexterous grasps.
        status: `stable`: the object stayed in the hand when lifted; `status`: q > 0.5 and at least two fingers (the slides).

    Raises:
        DataError: the data set has no such grasp, or lacks a column.
    """
    needed = ("array.action", "array.object_position", f"label.{status}", "label.quality", "group.object")
    missing = [name for name in needed if name not in reader.names]
    if missing:
        raise DataError(f"{reader.root} has no {', '.join(missing)}; `palpate collect dexterous` makes such data")
    action, found = reader.column("array.action"), reader.column("array.object_position")
    if action.shape[1] != POSE_DIM + len(JOINTS):
        raise DataError(f"{reader.root}: actions of {action.shape[1]} numbers, a hand pose and {len(JOINTS)} joints are needed")
    rows = np.flatnonzero(np.isfinite(action).all(axis=1) & np.isfinite(found).all(axis=1))
    if not len(rows):
        raise DataError(f"{reader.root} holds no grasp with an action; collect some first")
    action, found = action[rows], found[rows]
    return Grasps(
        position=rows,
        trial=reader.indices[rows],
        object=reader.column("group.object")[rows].astype(str),
        status=reader.column(f"label.{status}")[rows],
        quality=reader.column("label.quality")[rows],
        hand_position=action[:, :3] - found,
        hand_rotation=np.stack([rotation_from_vector(vector) for vector in action[:, 3:POSE_DIM]]),
        joints=action[:, POSE_DIM:],
    )


def observation_at(episode: Episode, event: str) -> Observation:
    """Return what was sensed at an event of an episode, as a live world or robot would tell it."""
    time, streams = episode.event(event), episode.streams

    def numbers(name: str) -> np.ndarray | None:
        return streams[name].at(time) if name in streams and streams[name].times[0] <= time else None

    rgb, depth = numbers("camera.rgb"), numbers("camera.depth")
    taxels = {name.split(".", 1)[1]: s for name, s in streams.items() if s.spec.kind == "taxels" and s.times[0] <= time}
    return Observation(
        time=time,
        camera=None if rgb is None else CameraFrame(rgb=rgb, depth=depth, time=time),
        touch={finger: TactileFrame(taxels=stream.at(time), time=time) for finger, stream in taxels.items()},
        touch_rest={
            f: TactileFrame(taxels=s.values[0], time=float(s.times[0])) for f, s in taxels.items() if s.times[0] < time
        },
        object_position=episode.arrays.get("object_position"),
        object_pixel=episode.arrays.get("object_pixel"),
        object_size=episode.arrays.get("object_size"),
        joint_position=numbers("hand.joint_position"),
    )


def net_inputs(observation: Observation, settings: ViewSettings) -> dict[str, np.ndarray]:
    """Return the arrays of `DexterousNet` for one observation; what was not sensed has no entry. Touch is the change since rest."""
    out: dict[str, np.ndarray] = {}
    camera, pixel = observation.camera, observation.object_pixel
    if camera is not None and pixel is not None:
        out["rgb"] = object_view(camera.rgb, pixel, side=settings.window_px, size=settings.size)
        if camera.depth is not None:
            out["depth"] = depth_view(camera.depth, pixel, settings)
    if observation.object_position is not None and observation.object_size is not None:
        out["place"] = np.concatenate([observation.object_position, observation.object_size]).astype(np.float32)
    if observation.joint_position is not None:
        out["joints"] = np.asarray(observation.joint_position, np.float32)
    for finger, frame in observation.touch.items():
        if frame.taxels is not None:
            rest = observation.touch_rest.get(finger)
            unloaded = 0.0 if rest is None or rest.taxels is None else rest.taxels
            out[f"touch.{finger}"] = (frame.taxels - unloaded).astype(np.float32)
    return out


def depth_view(depth: np.ndarray, pixel: np.ndarray, settings: ViewSettings) -> np.ndarray:
    """Return (size, size) float16 [m]: depth around `pixel` (column, row) less that of what lies there; NaN where there is none.

    Sampled, not averaged: a mean over an edge or a hole is the depth of nothing. Beyond the border the edge repeats, as in
    `object_view`.
    """
    if depth.ndim != 2:
        raise RecordError(f"depth image must be (H, W), got {depth.shape}")
    offset = ((np.arange(settings.size) + 0.5) / settings.size - 0.5) * settings.window_px
    row, col = (np.clip(np.floor(at + offset), 0, n - 1).astype(int) for at, n in zip(pixel[::-1], depth.shape, strict=True))
    window = depth[np.ix_(row, col)]
    window = np.where(window > 0, window, np.nan)
    third = settings.size // 3
    middle = window[third : settings.size - third, third : settings.size - third]
    known = middle[np.isfinite(middle)] if np.isfinite(middle).any() else window[np.isfinite(window)]
    return (window - (np.median(known) if len(known) else 0.0)).astype(np.float16)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples of one stage, for the training loop. Pictures stay on disk, all else lies in memory."""

    pictures: SampleCache
    numbers: Mapping[str, np.ndarray]
    """(N, ...) by name."""
    presence: Mapping[str, np.ndarray]
    """(N,) bool by name of `numbers`."""
    labels: np.ndarray
    """(N, 1) status, NaN unknown."""
    targets: Mapping[str, np.ndarray]
    """(N, ...) as `GraspObjective` takes them."""
    rows: np.ndarray
    """(K,) which of the N samples these are."""
    arrays: tuple[str, ...]
    """Names of the inputs to serve."""
    drop_rate: float = 0.0
    """Chance of calling an input absent from a sample of a training batch, so that a net learns to do without it."""

    def __len__(self) -> int:
        """Return K."""
        return len(self.rows)

    def take(self, rows: np.ndarray, arrays: tuple[str, ...]) -> "Samples":
        """Return the samples with these numbers of the N, and only these inputs."""
        return replace(self, rows=np.asarray(rows), arrays=arrays)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the samples at these indices of the K."""
        rows = self.rows[indices]
        inputs = {name: array[rows] for name, array in self.numbers.items() if name in self.arrays}
        presence = {name: self.presence[name][rows] for name in inputs}
        if set(PICTURES) & set(self.arrays):
            values, there = self.pictures.batch(rows)
            inputs |= {name: array for name, array in values.items() if name in self.arrays}
            presence |= {name: mask for name, mask in there.items() if name in self.arrays}
        targets = {name: array[rows] for name, array in self.targets.items()}
        return Batch(inputs=inputs, labels=self.labels[rows], presence=presence, targets=targets)

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """Yield shuffled batches; the last may be smaller."""
        order = rng.permutation(len(self))
        for start in range(0, len(order), batch_size):
            batch = self.batch(order[start : start + batch_size])
            kept = {name: mask & (rng.random(len(mask)) >= self.drop_rate) for name, mask in batch.presence.items()}
            yield replace(batch, presence=kept)


def taxel_shape(reader: EpisodeReader) -> tuple[int, int]:
    """Return taxels and components of a finger; (24, 3) if the data set has no touch.

    Raises:
        DataError: the fingers differ.
    """
    shapes = {spec.shape for name, spec in reader.streams.items() if name in {f"touch.{finger}" for finger in FINGERS}}
    if len(shapes) > 1:
        raise DataError(f"{reader.root}: fingers with different taxels {sorted(shapes)}; one encoder serves all")
    taxels, components = shapes.pop() if shapes else (24, 3)
    return taxels, components


def load_samples(reader: EpisodeReader, grasps: Grasps, stage: Stage, settings: ViewSettings) -> Samples:
    """Return the samples of a stage; inputs are cut out once and kept in the data folder."""
    folder = reader.root / "cache" / f"dexterous-{stage}-{settings.window_px}-{settings.size}"
    fingerprint = f"{reader.fingerprint()} {len(grasps.position)}"
    parts = (folder.with_name(f"{folder.name}-pictures"), folder.with_name(f"{folder.name}-numbers"))
    if not all(SampleCache.is_current(part, fingerprint) for part in parts):
        _build(reader, grasps, stage, settings, parts, fingerprint)
    pictures, small = (SampleCache.open(part, fingerprint=fingerprint) for part in parts)
    everything = np.arange(len(grasps.position))
    numbers, presence = small.batch(everything)
    return Samples(
        pictures=pictures,
        numbers=numbers,
        presence=presence,
        labels=grasps.status[:, None].astype(np.float32),
        targets=grasps.targets(),
        rows=everything,
        arrays=(*PICTURES, *numbers),
    )


def _build(  # noqa: PLR0917 - one half of `load_samples`
    reader: EpisodeReader, grasps: Grasps, stage: Stage, settings: ViewSettings, parts: tuple, fingerprint: str
) -> None:
    n, side = len(grasps.position), settings.size
    fields = {"rgb": (side, side, 3, "uint8"), "depth": (side, side, "float16")}
    small = {"place": (PLACE_DIM, "float32")}
    if stage == "after":
        small |= {"joints": (len(JOINTS), "float32"), **{f"touch.{f}": (*taxel_shape(reader), "float32") for f in FINGERS}}
    parts[0].parent.mkdir(exist_ok=True)
    caches = [SampleCache.create(p, n, f, fingerprint=fingerprint) for p, f in zip(parts, (fields, small), strict=True)]
    wanted = [
        s
        for s in ("camera.rgb", "camera.depth", "hand.joint_position", *(f"touch.{f}" for f in FINGERS))
        if s in reader.streams
    ]
    for i in tqdm(range(n), desc=f"inputs, {stage}", unit="grasp", disable=None):
        found = net_inputs(observation_at(reader.episode(int(grasps.position[i]), streams=wanted), MOMENTS[stage]), settings)
        for cache, names in zip(caches, (fields, small), strict=True):
            cache.write(i, {name: value for name, value in found.items() if name in names})
    for cache in caches:
        cache.finish()
