"""From a data set of episodes to the samples that the outcome model is trained on.

Gentle Grasping, Section V: each trial gives three state-action pairs. The state during the initial grasp and the state after
its release pair with the regrasp that followed; the state during the regrasp pairs with no motion and the hand pose it has.
With the two crops of Section IV-A.1 that makes six samples a trial.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from palpate.core.errors import DataError
from palpate.core.randomness import generator
from palpate.core.records import Episode
from palpate.data.reader import EpisodeReader
from palpate.data.sample_cache import SampleCache
from palpate.learning.features import FeatureConfig, extract_features
from palpate.models.backbones import build_backbone
from palpate.perception.views import OBJECT_SIDE, VIEW_SIZE, object_view, touch_view
from palpate.recipes.touch_backbone import TouchBackbone, sensor_of

MOMENTS = ("initial", "release", "regrasp")
"""Initial grasp, after its release, during the regrasp. Only the first is prediction before acting with everything sensed."""

CAMERA = "camera.rgb"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One row a trial and moment, in that order. N = trials * moments."""

    position: np.ndarray
    """(N,) row of the trial in the reader."""
    trial: np.ndarray
    """(N,) index of the trial."""
    object: np.ndarray
    pose: np.ndarray
    moment: np.ndarray
    """(N,) each one of `MOMENTS`."""
    actions: Mapping[str, np.ndarray]
    """(N, ...) float32 by input of the net that is numbers: the action, and where the object was found."""
    outcomes: tuple[str, ...]
    labels: np.ndarray
    """(N, outcomes) float32; NaN unknown."""


def gentle_rows(reader: EpisodeReader) -> Rows:
    """Return the rows of every gentle-grasping trial that has an action (trials that failed have none)."""
    if len(reader) == 0:
        raise DataError(f"{reader.root} holds no finished trial; collect some first")
    action = reader.column("array.action")
    good = np.flatnonzero(np.isfinite(action).all(axis=1))
    position = np.repeat(good, len(MOMENTS))
    moment = np.tile(np.array(MOMENTS), len(good))
    motion = action[position, :4].astype(np.float32)
    motion[moment == "regrasp"] = 0.0
    labels = np.stack([reader.column(f"label.{name}") for name in ("stable", "gentle")], axis=1)
    return Rows(
        position=position,
        trial=reader.indices[position],
        object=reader.column("group.object")[position].astype(str),
        pose=reader.column("group.pose")[position].astype(str),
        moment=moment,
        actions={"motion": motion, "joints": action[position, 4:].astype(np.float32)},
        outcomes=("stable", "gentle"),
        labels=labels[position].astype(np.float32),
    )


def fingers(reader: EpisodeReader) -> tuple[str, ...]:
    """Return the fingers with optical touch, thumb first."""
    names = [name.split(".", 1)[1] for name, spec in reader.streams.items() if spec.kind == "touch"]
    return tuple(sorted(names, key=lambda name: (name != "thumb", name)))


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """How a camera is made worse, for the curve of touch's gain against the camera's measured size error."""

    pixels: int = 0
    """Pixels across the window around the object; 0: as recorded."""
    zoom_sd: float = 0.0
    """Standard deviation of the logarithm of the zoom, drawn once a trial: a lens or a distance that is not known exactly."""

    def view(self, image: np.ndarray, pixel: np.ndarray, trial: int) -> np.ndarray:
        """Return the view (256, 256, 3) uint8 around `pixel` of an (H, W, 3) uint8 image of this trial."""
        zoom = np.exp(self.zoom_sd * generator(trial, 77).standard_normal()) if self.zoom_sd else 1.0
        view = object_view(image, pixel, side=2 * round(OBJECT_SIDE / zoom / 2))
        if not self.pixels:
            return view
        small = cv2.resize(view, (self.pixels, self.pixels), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (view.shape[1], view.shape[0]), interpolation=cv2.INTER_LINEAR)


CLEAR = Degradation()


class EpisodeViews:
    """The model's views of a data set as a sequence of images: by trial, moment, then input. Decodes each trial once, ahead."""

    def __init__(
        self, reader: EpisodeReader, positions: np.ndarray, inputs: tuple[str, ...], camera: Degradation = CLEAR
    ) -> None:
        """Serve `inputs` (`vision`, `touch.FINGER`) of the trials at these reader positions; `camera` degrades vision."""
        self._reader, self._positions, self._inputs, self._degradation = reader, positions, inputs, camera
        self._streams = [CAMERA if name == "vision" else name for name in inputs]
        self._pool = ThreadPoolExecutor(1)
        self._ready: OrderedDict[int, Future[list[np.ndarray]]] = OrderedDict()

    def __len__(self) -> int:
        """Return trials * moments * inputs."""
        return len(self._positions) * len(MOMENTS) * len(self._inputs)

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Return one view (256, 256, 3) uint8; grey where the trial lacks the stream (see `present`)."""
        each = len(MOMENTS) * len(self._inputs)
        k = index // each
        for ahead in (k, k + 1, k + 2):
            if ahead not in self._ready and ahead < len(self._positions):
                self._ready[ahead] = self._pool.submit(self._views, ahead)
        while len(self._ready) > 6:
            self._ready.popitem(last=False)
        return self._ready[k].result()[index % each]

    def present(self) -> dict[str, np.ndarray]:
        """Return (trials * moments,) bool by input: whether the trial has the stream."""
        return {
            name: np.repeat(self._reader.present(stream)[self._positions], len(MOMENTS))
            for name, stream in zip(self._inputs, self._streams, strict=True)
        }

    def _views(self, k: int) -> list[np.ndarray]:
        episode = self._reader.episode(int(self._positions[k]), streams=self._streams)
        return [self._view(episode, moment, name) for moment in MOMENTS for name in self._inputs]

    def _view(self, episode: Episode, moment: str, name: str) -> np.ndarray:
        stream = episode.streams.get(CAMERA if name == "vision" else name)
        if stream is None:
            return np.full((VIEW_SIZE, VIEW_SIZE, 3), 128, np.uint8)
        now = stream.at(episode.event(f"look_{moment}"))
        if name != "vision":
            return touch_view(now, stream.at(episode.event("before")))
        return self._degradation.view(now, episode.arrays["object_pixel"], episode.index)


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """How the images of a data set become features."""

    backbone: str = "efficientnet_lite0"
    weights: Path | None = None
    size: int = 224
    crops: int = 1
    """Random crops beside the one in the middle."""
    camera: Degradation = CLEAR
    """Makes the camera worse."""
    touch_encoder: Path | None = None
    """Run of `palpate train touch` whose encoder sees the touch pictures, instead of the backbone."""

    @property
    def name(self) -> str:
        """What tables call the networks behind the features."""
        return self.backbone if self.touch_encoder is None else f"{self.backbone}+touch encoder"


def image_features(
    reader: EpisodeReader, positions: np.ndarray, inputs: tuple[str, ...], settings: FeatureSettings, *, progress: bool = True
) -> dict[str, np.ndarray]:
    """Return (V, N, D) float16 features by image input, cached in the data folder."""
    if settings.camera != CLEAR and inputs != ("vision",):
        whole = image_features(reader, positions, inputs, replace(settings, camera=CLEAR), progress=progress)
        return {**whole, **image_features(reader, positions, ("vision",), settings, progress=progress)}
    touch = tuple(name for name in inputs if name != "vision")
    if touch and settings.touch_encoder is not None:
        felt = touch_features(reader, positions, touch, TouchBackbone.open(settings.touch_encoder), progress=progress)
        alike = {name: np.broadcast_to(found, (1 + settings.crops, *found.shape)) for name, found in felt.items()}
        return {**image_features(reader, positions, ("vision",), settings, progress=progress), **alike}
    views = EpisodeViews(reader, positions, inputs, settings.camera)
    backbone = build_backbone(settings.backbone, weights=settings.weights)
    if torch.cuda.is_available():
        backbone = backbone.cuda()
    config = FeatureConfig(size=settings.size, random_crops=settings.crops)
    zoom = f" zoom {settings.camera.zoom_sd:g}" if settings.camera.zoom_sd else ""
    key = f"{reader.fingerprint()} {','.join(inputs)} {settings.camera.pixels}{zoom}"
    features = extract_features(backbone, views, config, cache=reader.root / "cache", key=key, progress=progress)
    shaped = features.reshape(len(features), len(positions) * len(MOMENTS), len(inputs), -1)
    return {name: shaped[:, :, i] for i, name in enumerate(inputs)}


def touch_features(
    reader: EpisodeReader, positions: np.ndarray, inputs: tuple[str, ...], backbone: TouchBackbone, *, progress: bool = True
) -> dict[str, np.ndarray]:
    """Return (N, D) float32 features by touch input, less those of the gel at rest, from a cache in the data folder.

    Pictures are not cropped: where on the gel the contact lies tells something. Rows of trials without the stream are zero, and absent.
    """
    path = reader.root / "cache" / f"touch-{backbone.fingerprint()}"
    about = f"{reader.fingerprint()} {','.join(inputs)} {hashlib.sha256(positions.astype(np.int64).tobytes()).hexdigest()}"
    if not SampleCache.is_current(path, about):
        path.parent.mkdir(exist_ok=True)
        if torch.cuda.is_available():
            backbone.encoder.cuda()
        fields = {name: (backbone.dim, "float32") for name in inputs}
        building = SampleCache.create(path, len(positions) * len(MOMENTS), fields, fingerprint=about)
        for k, position in enumerate(tqdm(positions, desc="touch features", unit="trial", disable=not progress)):
            episode = reader.episode(int(position), streams=inputs)
            for name, stream in episode.streams.items():
                now = np.stack([stream.at(episode.event(f"look_{moment}")) for moment in MOMENTS])
                found = backbone.features(now, sensor_of(reader, name), stream.at(episode.event("before")))
                for i, row in enumerate(found):
                    building.write(k * len(MOMENTS) + i, {name: row})
        building.finish()
    return {name: np.load(path / f"{name}.npy", allow_pickle=False) for name in inputs}


def raw_views(reader: EpisodeReader, positions: np.ndarray, inputs: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return (N, 256, 256, 3) uint8 views by image input, memory-mapped from a cache in the data folder; for fine-tuning."""
    path = reader.root / "cache" / "views"
    fingerprint = f"{reader.fingerprint()} {','.join(inputs)} {len(positions)}"
    if not SampleCache.is_current(path, fingerprint):
        path.parent.mkdir(exist_ok=True)
        views = EpisodeViews(reader, positions, inputs)
        fields = {name: (VIEW_SIZE, VIEW_SIZE, 3, "uint8") for name in inputs}
        building = SampleCache.create(path, len(views) // len(inputs), fields, fingerprint=fingerprint)
        for i in tqdm(range(len(building)), desc="views", unit="sample"):
            building.write(i, {name: views[i * len(inputs) + k] for k, name in enumerate(inputs)})
        building.finish()
    return {name: np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in inputs}
