"""Batches of touch clips and stills for the training loop, of one or several data sets; what is in a batch: `models.touch_pretraining`.

Axis letters: N sample, B batch, F frame, S side of the square [px], R recording.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from palpate.core.errors import DataError, PalpateError
from palpate.core.randomness import generator
from palpate.data.splits import grouped_folds
from palpate.learning.batches import Batch
from palpate.learning.features import FeatureConfig, extract_features
from palpate.models.backbones import build_backbone
from palpate.recipes.touch_frames import CACHE, PICTURE, ClipSettings, Recordings, open_recordings
from palpate.sensors.touch.words import sentences_of

Kind = Literal["clip", "still"]
Embed = Callable[[list[str]], np.ndarray]
"""Sentences to unit vectors (N, T) float32."""

JITTER = (0.4, 0.4, 0.5, 0.3)
"""Of brightness, contrast, saturation and hue (in turns), as the paper's code."""
FLIP = 0.5
"""Chance of each flip."""
VISION = "efficientnet_lite0"
_GREY = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([_GREY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
_CHECKING = 6
"""Key of the generator of evaluation's pairs, which are the same whenever they are asked for."""


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """What is said of the recordings, as vectors."""

    vector: np.ndarray
    """(M, T) float32, a row for each different sentence or whole text."""
    choices: tuple[tuple[int, ...], ...]
    """(R,) rows that fit a recording, its whole text first; empty without a text."""


@dataclass(frozen=True, kw_only=True)
class TouchClips:
    """Samples of all recordings: a batch source of stills and clips in turn; `of_kind` gives one kind in order, without augmentation."""

    parts: tuple[Recordings, ...]
    sensors: tuple[str, ...]
    """Names of the sensors whose place in it is a sample's `sensor`; any other is -1."""
    kept: np.ndarray
    """(R,) bool: recordings that belong to this split. Recordings of all parts count on."""
    vision: np.ndarray | None = None
    """(R, D) float16 features of the camera's pictures; None without the second stage."""
    sentences: Sentences | None = None
    pairs: bool = False
    """Give each sample a positive (same spot, another sensor) and a negative (another spot)."""
    augmented: bool = True
    change: bool = False
    """Whether clips hold 128 and the change of the picture, not the picture."""

    @classmethod
    def open(
        cls, data: Sequence[Path], settings: ClipSettings, *, sensors: Sequence[str] | None = None, progress: bool = True
    ) -> "TouchClips":
        """Open data sets, cutting what is not cut yet.

        Args:
            data: folders.
            settings: how to cut.
            sensors: which have an index; all that there are, by name, if None.
            progress: show bars.

        Raises:
            DataError: no data set, or one without touch.
        """
        if not data:
            raise DataError(
                "no data set given; name at least one folder that `palpate collect touch` or `palpate import` wrote"
            )
        parts = tuple(open_recordings(Path(root), settings, progress=progress) for root in data)
        felt = np.concatenate([part.sensor for part in parts])
        names = tuple(np.unique(felt).tolist()) if sensors is None else tuple(sensors)
        return cls(parts=parts, sensors=names, kept=np.ones(len(felt), bool), change=settings.view == "change")

    def aligned(self, embed: Embed | None, *, progress: bool = True) -> "TouchClips":
        """Return the samples of the second stage: with features of pictures, vectors of sentences, and pairs.

        Both are kept in the data folders.

        Args:
            embed: a frozen text encoder; None leaves texts absent.
            progress: show a bar.
        """
        vision = [_vision(part, progress) for part in self.parts]
        width = max((features.shape[1] for features in vision if features is not None), default=0)
        empty = [np.zeros((len(part.sensor), width), np.float16) for part in self.parts]
        rows = [e if v is None else v for v, e in zip(vision, empty, strict=True)]
        sentences = None if embed is None else _sentences(self.parts, embed)
        return replace(self, vision=np.concatenate(rows) if width else None, sentences=sentences, pairs=True)

    def split(self, share: float, seed: int) -> tuple["TouchClips", "TouchClips"]:
        """Return samples to train on and samples of objects that are held out.

        Args:
            share: of objects to hold out, above 0 and at most a half.
            seed: which.

        Raises:
            PalpateError: a share outside this range.
            DataError: too few objects.
        """
        if not 0 < share <= 0.5:
            raise PalpateError(f"the share held out is {share}; give more than 0 and at most 0.5")
        held = np.zeros(len(self.kept), bool)
        rows = np.flatnonzero(self.kept)
        held[rows] = grouped_folds(self.object[rows], round(1 / share), seed) == 0
        return replace(self, kept=self.kept & ~held), replace(self, kept=self.kept & held, augmented=False)

    def of_kind(self, kind: Kind) -> "OneKind":
        """Return the samples of one kind by number, as they are, with pairs and texts that never change."""
        return OneKind(self, kind)

    @cached_property
    def object(self) -> np.ndarray:
        """(R,) str: object of each recording, different in each data set."""
        return self._of_set("object")

    @cached_property
    def spot(self) -> np.ndarray:
        """(R,) str: the touched place of each recording, different in each data set; empty where it is not known."""
        named = np.concatenate([part.spot for part in self.parts]) != ""
        return np.where(named, self._of_set("spot"), "")

    @cached_property
    def sensor(self) -> np.ndarray:
        """(R,) int64 index of each recording's sensor, -1 for one that is not in `sensors`."""
        index = {name: i for i, name in enumerate(self.sensors)}
        return np.array([index.get(name, -1) for part in self.parts for name in part.sensor.tolist()], np.int64)

    @cached_property
    def pictured(self) -> np.ndarray:
        """(R,) bool: recordings with a picture of a camera."""
        return np.concatenate([part.picture_of >= 0 for part in self.parts])

    def __len__(self) -> int:
        """Return the number of stills and clips."""
        return len(self.rows("still")) + len(self.rows("clip"))

    def rows(self, kind: Kind) -> np.ndarray:
        """Return (N, 2) recording and place among its samples, of each sample of a kind."""
        return self._rows[kind]

    def recording(self, kind: Kind) -> np.ndarray:
        """Return (N,) the recording of each sample of a kind, for `object`, `spot` and `sensor`."""
        return self.rows(kind)[:, 0]

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """Yield every still and every clip once: batches of one kind each, in random order. The last of a kind may be smaller."""
        batches: list[tuple[Kind, np.ndarray]] = []
        kinds: tuple[Kind, Kind] = ("still", "clip")
        for kind in kinds:
            order = rng.permutation(len(self.rows(kind)))
            for start in range(0, len(order), batch_size):
                batches.append((kind, order[start : start + batch_size]))
        for i in rng.permutation(len(batches)):
            kind, indices = batches[i]
            yield self.batch(kind, indices, rng)

    def batch(self, kind: Kind, indices: np.ndarray, rng: np.random.Generator) -> Batch:
        """Return samples of one kind as a batch; `rng` chooses what is random in them.

        Args:
            kind: of the samples.
            indices: (B,) which of that kind.
            rng: of frames of stills, flips and colours, sentences and pairs.
        """
        rows = self.rows(kind)[indices]
        frames = self._pixels(kind, rows, rng)
        inputs: dict[str, np.ndarray] = {"sensor": self.sensor[rows[:, 0]]}
        presence: dict[str, np.ndarray] = {}
        inputs["clip"] = frames[:, :-1] if kind == "clip" else frames
        if kind == "clip":
            inputs["next"] = frames[:, -1]
        if self.vision is not None:
            presence["vision"] = self.pictured[rows[:, 0]]
            inputs["vision"] = self.vision[rows[:, 0]].astype(np.float32) * presence["vision"][:, None]
        if self.sentences is not None:
            inputs["text"], presence["text"] = self._text(rows[:, 0], rng)
        if self.pairs:
            self._add_pairs(kind, rows, inputs, presence, rng)
        return Batch(inputs=inputs, labels=np.empty((len(rows), 0), np.float32), presence=presence)

    def _of_set(self, name: str) -> np.ndarray:
        return np.array([f"{i}:{value}" for i, part in enumerate(self.parts) for value in getattr(part, name).tolist()])

    @cached_property
    def _first(self) -> np.ndarray:
        """(P + 1,) number of the first recording of each part, and of all."""
        return np.cumsum([0, *(len(part.sensor) for part in self.parts)])

    @cached_property
    def _rows(self) -> dict[str, np.ndarray]:
        out = {}
        for kind in ("clip", "still"):
            found = []
            for first, part in zip(self._first, self.parts, strict=False):
                has = part.has_clip if kind == "clip" else part.has_clip | part.has_still
                most = len(has) // len(part.sensor)
                at = np.flatnonzero(has)
                found.append(np.stack([first + at // most, at % most], axis=1))
            rows = np.concatenate(found)
            out[kind] = rows[self.kept[rows[:, 0]]]
        return out

    @cached_property
    def _by_recording(self) -> dict[str, dict[int, np.ndarray]]:
        """Numbers of the samples of each recording, by kind."""
        return {kind: _grouped(self.recording(kind)) for kind in ("clip", "still")}

    @cached_property
    def _at_spot(self) -> dict[str, np.ndarray]:
        """Recordings of each known spot that belong to this split."""
        known = np.flatnonzero(self.kept & (self.spot != ""))
        return {str(self.spot[known[rows[0]]]): known[rows] for rows in _grouped(self.spot[known]).values()}

    def _pixels(self, kind: Kind, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return (B, F + 1 or 1, S, S, 3) uint8, augmented; a still is any frame of a clip but the last."""
        length = self.parts[0].clip.shape[1]
        any_frame = rng.integers(length - 1, size=len(rows)) if self.augmented else np.full(len(rows), length - 2)
        out = np.empty((len(rows), length if kind == "clip" else 1, *self.parts[0].clip.shape[2:]), np.uint8)
        part = np.searchsorted(self._first, rows[:, 0], side="right") - 1
        for i, (p, (recording, place)) in enumerate(zip(part, rows, strict=True)):
            source = self.parts[p]
            at = (recording - self._first[p]) * (len(source.has_clip) // len(source.sensor)) + place
            if kind == "clip":
                out[i] = source.clip[at]
            else:
                out[i, 0] = source.clip[at, any_frame[i]] if source.has_clip[at] else source.still[at]
        return augment(out, rng, change=self.change) if self.augmented else out

    def _text(self, recordings: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return a vector (B, T) of each recording's text, or in training of the text or one of its sentences, and presence."""
        sentences = self.sentences
        assert sentences is not None
        luck = rng.random(len(recordings)) if self.augmented else np.zeros(len(recordings))
        out = np.zeros((len(recordings), sentences.vector.shape[1]), np.float32)
        present = np.array([bool(sentences.choices[r]) for r in recordings], bool)
        for i in np.flatnonzero(present):
            choices = sentences.choices[recordings[i]]
            out[i] = sentences.vector[choices[int(luck[i] * len(choices))]]
        return out, present

    def _add_pairs(
        self,
        kind: Kind,
        rows: np.ndarray,
        inputs: dict[str, np.ndarray],
        presence: dict[str, np.ndarray],
        rng: np.random.Generator,
    ) -> None:
        """Add a positive and a negative to each sample whose spot another sensor touched too (paper Section 4.4)."""
        partner = self._partners(kind, rows[:, 0], rng)
        there = partner >= 0
        others = np.where(there, partner, 0)
        far = self._strangers(kind, rows[:, 0], rng)
        there &= far >= 0
        for name, which in (("positive", others), ("negative", np.maximum(far, 0))):
            picked = self.rows(kind)[which]
            frames = self._pixels(kind, picked, rng)
            shown = frames[:, :-1] if kind == "clip" else frames
            inputs[name] = shown * there[:, None, None, None, None].astype(np.uint8)
            inputs[f"{name}_sensor"] = self.sensor[picked[:, 0]]
            presence[name] = there

    def _partners(self, kind: Kind, recordings: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return (B,) a sample of the same spot by another sensor; -1 where there is none."""
        luck = rng.random((len(recordings), 2))
        names = np.concatenate([part.sensor for part in self.parts])
        out = np.full(len(recordings), -1)
        for i, own in enumerate(recordings):
            here = self._at_spot.get(str(self.spot[own]), np.empty(0, int))
            others = [r for r in here if names[r] != names[own] and r in self._by_recording[kind]]
            if others:
                samples = self._by_recording[kind][others[int(luck[i, 0] * len(others))]]
                out[i] = samples[int(luck[i, 1] * len(samples))]
        return out

    def _strangers(self, kind: Kind, recordings: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return (B,) a sample of another spot, of any object, sensor and data set; -1 where eight draws found none."""
        draws = rng.integers(len(self.rows(kind)), size=(len(recordings), 8))
        whose = self.recording(kind)[draws]
        away = (self.spot[whose] != self.spot[recordings][:, None]) & (whose != recordings[:, None])
        return np.where(away.any(axis=1), draws[np.arange(len(draws)), away.argmax(axis=1)], -1)


@dataclass(frozen=True)
class OneKind:
    """The samples of one kind in order, for evaluation: `learning.batches.Indexed`."""

    source: TouchClips
    kind: Kind

    def __len__(self) -> int:
        """Return N."""
        return len(self.source.rows(self.kind))

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the samples at these indices: no augmentation, a clip's last but one frame as still, whole texts."""
        plain = replace(self.source, augmented=False) if self.source.augmented else self.source
        return plain.batch(self.kind, np.asarray(indices), generator(_CHECKING, int(indices[0]) if len(indices) else 0))


def augment(frames: np.ndarray, rng: np.random.Generator, *, change: bool = False) -> np.ndarray:
    """Flip and recolour clips (B, F, S, S, 3) uint8, all frames of a clip alike.

    Brightness, contrast, saturation and hue in this order, each by a factor or turn drawn evenly from `JITTER`. They are linear in the
    colours (the hue turns in YIQ), so that one matrix a clip does all; only the result is cut to 0..255. Of a `change` 128 is none, and
    stays so.
    """
    flips = rng.random((len(frames), 2)) < FLIP
    bright, contrast, saturation, hue = (rng.uniform(-limit, limit, len(frames)) for limit in JITTER)
    out = np.empty_like(frames)
    for i, clip in enumerate(frames):
        matrix = (1 + bright[i]) * (1 + contrast[i]) * _colours(1 + saturation[i], 2 * np.pi * hue[i])
        if change:
            lifted = 128.0 * (1.0 - matrix.sum(axis=1, keepdims=True))
        else:
            grey = float(clip[:, ::4, ::4].reshape(-1, 3).mean(axis=0) @ _GREY)
            lifted = np.full((3, 1), -contrast[i] * (1 + bright[i]) * grey)
        f, h, w, _ = clip.shape
        cv2.transform(clip.reshape(f * h, w, 3), np.hstack([matrix, lifted]), dst=out[i].reshape(f * h, w, 3))
        if flips[i, 0]:
            out[i] = out[i, :, ::-1].copy()
        if flips[i, 1]:
            out[i] = out[i, :, :, ::-1].copy()
    return out


def _colours(saturation: float, turn: float) -> np.ndarray:
    """Return the matrix (3, 3) that changes saturation and turns the hue; it keeps greys."""
    c, s = saturation * np.cos(turn), saturation * np.sin(turn)
    return _FROM_YIQ @ np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]) @ _TO_YIQ


def _grouped(values: np.ndarray) -> dict[int, np.ndarray]:
    """Return the places of each different value, by value if they are whole numbers, else by its rank."""
    names, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    places = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1]) if len(names) else []
    keys = names.tolist() if np.issubdtype(names.dtype, np.integer) else range(len(names))
    return dict(zip(keys, places, strict=True))


def _vision(part: Recordings, progress: bool) -> np.ndarray | None:
    """Return features (R, D) float16 of a part's camera pictures, anything where there is none; None if it has none at all."""
    if not len(part.picture):
        return None
    config = FeatureConfig(size=PICTURE, precision="fp32")
    key = f"touch {part.fingerprint}"
    cache = part.root / "cache"
    features = extract_features(build_backbone(VISION), part.picture, config, cache=cache, key=key, progress=progress)[0]
    return features[part.picture_of]


def _sentences(parts: Sequence[Recordings], embed: Embed) -> Sentences | None:
    """Return the vectors of every different text and sentence; None if nothing is said of any recording."""
    texts = [text for part in parts for text in part.text.tolist()]
    said = {text: (text, *sentences_of(text)) for text in dict.fromkeys(texts) if text is not None}
    unique = list(dict.fromkeys(sentence for choices in said.values() for sentence in choices))
    if not unique:
        return None
    number = {sentence: i for i, sentence in enumerate(unique)}
    choices = tuple(() if text is None else tuple(number[s] for s in said[text]) for text in texts)
    return Sentences(vector=_embedded(unique, embed, parts[0].root / CACHE), choices=choices)


def _embedded(sentences: list[str], embed: Embed, folder: Path) -> np.ndarray:
    """Return vectors of sentences, kept in a folder under a name that stands for the sentences and for what the encoder makes of one."""
    probe = embed(sentences[:1])
    name = hashlib.sha256("\n".join(sentences).encode() + np.round(probe, 3).tobytes()).hexdigest()[:24]
    path = folder / f"text-{name}.npy"
    if not path.exists():
        vectors = np.asarray(embed(sentences), np.float32)
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.save(file, vectors)
        temporary.replace(path)
    return np.load(path, allow_pickle=False)
