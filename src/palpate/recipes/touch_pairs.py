"""The same touch by two sensors at the same instant: clips of one, and the picture or the field of forces that the other gave then.

Sensors that press in turn in the same way, as those of `palpate collect touch`, share the course of a touch, so that the same time of
both clocks is the same instant. Sensors of an imported set (TacQuad) do not: there the same share of the time in contact is. Cameras
take their pictures at different moments; between two of the target's the change is taken as linear in time.

Axis letters: N pair, F frame, S side of the picture [px], R C rows and columns of a field.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from palpate.core.errors import DataError, PalpateError, UnknownNameError
from palpate.core.records import Episode
from palpate.data.reader import EpisodeReader
from palpate.models.touch_encoder import TouchEncoderConfig
from palpate.models.touch_generation import Kind
from palpate.perception.contact_frames import ENDS, find_contact
from palpate.perception.views import changed
from palpate.recipes.touch_felt import cut_clips
from palpate.recipes.touch_frames import sensor_name, square

INSTANTS = 6
"""Of one touch at most, evenly spread over its contact."""
FIELD = 6
"""Numbers of each part of a field: displacement x, y, z [m], then force x, y, z [N]."""
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class TouchPairs:
    """N instants of touches that two sensors felt."""

    source: str
    target: str
    clip: np.ndarray
    """(N, F, S, S, 3) uint8 of the source as its encoder sees it; the last frame is of the instant."""
    truth: np.ndarray
    """(N, S, S, 3) uint8 picture of the target, or (N, R, C, 3) float32 force on each part of it, x, y, z of the gel frame [N]."""
    rest: np.ndarray
    """The same of the target at rest, which for a field is 0."""
    object: np.ndarray
    """(N,) str; of an episode without one, the episode itself."""
    touch: np.ndarray
    """(N,) str: the same for all instants of one touch."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.clip)

    @property
    def kind(self) -> Kind:
        """What the target gives."""
        return "picture" if self.truth.dtype == np.uint8 else "field"

    def take(self, rows: np.ndarray) -> "TouchPairs":
        """Return some pairs, by number or mask."""
        return replace(self, **{name: getattr(self, name)[rows] for name in ("clip", "truth", "rest", "object", "touch")})

    def change(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return how the target differs from its rest, float32: colours 0 to 1, or forces [N]."""
        apart = self.truth[rows].astype(np.float32) - self.rest[rows]
        return apart / 255.0 if self.kind == "picture" else apart


def touch_pairs(
    reader: EpisodeReader, source: str, target: str, shape: TouchEncoderConfig, *, progress: bool = True
) -> TouchPairs:
    """Return the instants of all touches that both sensors felt, where the source's picture shows contact.

    Args:
        reader: a data set with streams `touch.SENSOR` of pictures, and for a target without a camera `taxels.SENSOR` of a square field.
        source: sensor whose pictures are given.
        target: sensor whose picture or field is to be made.
        shape: of the encoder that the clips are for.
        progress: show a bar.

    Raises:
        UnknownNameError: the data set has no such sensor.
        PalpateError: both are one sensor.
        DataError: no touch was felt by both.
    """
    pictures = {
        sensor_name(reader, n): n for n, spec in reader.streams.items() if n.startswith("touch.") and len(spec.shape) == 3
    }
    fields = {n.split(".")[1]: n for n, spec in reader.streams.items() if n.startswith("taxels.") and _side(spec.shape)}
    if source not in pictures:
        raise UnknownNameError("sensor with pictures to start from", source, pictures)
    if target not in (goals := {**fields, **pictures}):
        raise UnknownNameError("sensor with pictures or a field to make", target, goals)
    if source == target:
        raise PalpateError(f"from {source} to {target}: give two different sensors")
    streams = (pictures[source], goals[target])
    both = np.flatnonzero(reader.present(streams[0]) & reader.present(streams[1]))
    shared = reader.head.config.get("recipe") == "touch"
    parts: list[Arrays] = []
    names: list[tuple[str, str]] = []
    for position in tqdm(both, desc="pairs", unit="touch", disable=not progress):
        episode = reader.episode(int(position), streams=streams)
        if (found := _pairs(episode, streams, shape, shared)) is not None:
            parts.append(found)
            one = f"episode {episode.index}"
            names += [(episode.groups.get("object") or one, episode.groups.get("spot") or one)] * len(found[0])
    if not parts:
        raise DataError(
            f"{reader.root}: no touch with contact was felt by both {source} and {target}, of {len(both)} recordings"
        )
    clip, truth, rest = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    of, touch = np.array(names).T
    return TouchPairs(source=source, target=target, clip=clip, truth=truth, rest=rest, object=of, touch=touch)


def _pairs(episode: Episode, streams: Sequence[str], shape: TouchEncoderConfig, shared: bool) -> Arrays | None:
    """Return clips, truth and rest of the instants of one touch; None if it has none."""
    own, other = (episode.streams[name] for name in streams)
    if min(len(own.times), len(other.times)) < 2 * ENDS:
        return None
    seen = find_contact(own.values)
    last = np.flatnonzero(seen.contact)
    if not len(last):
        return None
    instants = own.times[last]
    last = last[np.unique(np.linspace(0, len(last) - 1, min(len(last), INSTANTS)).round().astype(int))]
    clip = cut_clips(own.values, own.times, last, shape.frames, shape.size)
    if shape.view == "change":
        clip = changed(clip, square(seen.background, shape.size))
    if other.spec.kind == "taxels":
        side = _side(other.spec.shape)
        forces = other.values[..., FIELD // 2 :].reshape(-1, side, side, 3)
        truth = between(forces, other.times, own.times[last]).astype(np.float32)
        return clip, truth, np.zeros_like(truth)
    felt = find_contact(other.values)
    if not shared and not felt.contact.any():
        return None
    when = own.times[last] if shared else np.interp(own.times[last], instants[[0, -1]], other.times[felt.contact][[0, -1]])
    pictures = np.stack([square(picture, shape.size) for picture in other.values])
    truth = np.rint(between(pictures, other.times, when)).astype(np.uint8)
    return clip, truth, np.broadcast_to(square(felt.background, shape.size), truth.shape)


def between(values: np.ndarray, times: np.ndarray, when: np.ndarray) -> np.ndarray:
    """Return what lies between samples (T, ...) at times (T,) at the moments `when` (n,), linearly; beyond the ends, those."""
    after = np.clip(np.searchsorted(times, when), 1, len(times) - 1)
    start, end = times[after - 1], times[after]
    share = np.clip((when - start) / np.maximum(end - start, 1e-9), 0.0, 1.0).reshape(-1, *[1] * (values.ndim - 1))
    return values[after - 1] * (1.0 - share) + values[after] * share


def _side(shape: tuple[int, ...]) -> int:
    """Return R = C of a square field whose parts stand in rows; 0 if it is none."""
    side = math.isqrt(shape[0])
    return side if len(shape) == 2 and shape[1] == FIELD and side**2 == shape[0] else 0
