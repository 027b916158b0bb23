"""Which LeRobot features an episode becomes, and its rows on a regular grid.

Every stream is sampled and held: a row carries the last sample captured at or before its time. Before the first sample,
and where a trial lacks the stream, the row holds zeros, `observation.valid.STREAM` is False and the stamp is -1, because
LeRobot has no missing values. `observation.stamp.STREAM` is the capture time in nanoseconds on the clock of the episode.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from palpate.core.errors import DataError
from palpate.core.records import Episode, Stream, StreamSpec
from palpate.data import codecs
from palpate.data.layout import spec_to_json
from palpate.data.reader import EpisodeReader

STATE = ("hand.joint_position", "hand.pose")
"""Streams that together are `observation.state`, in this order."""
EFFORT = ("hand.joint_torque",)
THEIRS = ("state", "action", "next")
"""First words of streams that came from LeRobot: they get their old feature back, with the old names of components."""
AUTOMATIC = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64", "task_index": "int64"}
"""Columns that every LeRobot data set has."""

_STATS_STRIDE = 4  # pixels; every 16th pixel of an image tells enough of its distribution


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A feature of numbers."""

    values: np.ndarray
    """(N, *shape)."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """A feature of images; each file is kept once, however many rows show it."""

    files: list[bytes]
    pick: np.ndarray
    """(N,) which file each row shows."""
    pixels: np.ndarray
    """(M, 3) some pixels in 0..1, for the statistics."""
    suffix: str


Columns = dict[str, Numbers | Images]


def features(reader: EpisodeReader) -> dict[str, dict[str, Any]]:
    """Return the LeRobot features of a data set: dtype, shape, names, and what the streams were.

    Raises:
        DataError: Two streams that come to the same feature name.
    """
    out: dict[str, dict[str, Any]] = {}
    for key, specs in _sources(reader.streams).items():
        out[key] = _feature(specs)
    for name in sorted(_exported(reader.streams)):
        out[f"observation.valid.{plain(name)}"] = {"dtype": "bool", "shape": [1], "names": None}
        out[f"observation.stamp.{plain(name)}"] = {"dtype": "int64", "shape": [1], "names": None, "palpate": {"unit": "ns"}}
    if "array.action" in reader.names:
        if "action" in out:
            raise DataError("an array `action` and a stream `action` would both be the LeRobot feature action; rename one")
        out["action"] = {"dtype": "float32", "shape": [reader.column("array.action").shape[1]], "names": None}
        out["observation.valid.action"] = {"dtype": "bool", "shape": [1], "names": None}
    for label in _labels(reader).values():
        out[f"next.{label}"] = {"dtype": "bool", "shape": [1], "names": None}
        out[f"next.valid.{label}"] = {"dtype": "bool", "shape": [1], "names": None}
    out["next.done"] = {"dtype": "bool", "shape": [1], "names": None}
    out |= {key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in AUTOMATIC.items()}
    return out


def with_fps(
    all_features: Mapping[str, dict[str, Any]], streams: Mapping[str, StreamSpec], fps: int
) -> dict[str, dict[str, Any]]:
    """Return the features with the length of the sound windows, which depends on the rate of rows."""
    out = dict(all_features)
    for key, specs in _sources(streams).items():
        if specs[0].kind == "audio":
            out[key] = {**out[key], "shape": [window(specs[0], fps), 1]}
    return out


def left_out(streams: Mapping[str, StreamSpec]) -> dict[str, str]:
    """Return the streams that LeRobot cannot hold, with the reason."""
    return {name: "LeRobot v3.0 has no depth images" for name, spec in streams.items() if spec.kind == "depth"}


def window(spec: StreamSpec, fps: int) -> int:
    """Return the number of sound samples of one row."""
    return round((spec.rate_hz or 0) / fps)


def columns(reader: EpisodeReader, position: int, fps: int) -> tuple[np.ndarray, Columns]:
    """Return the row times (N,) [s] of one episode and all its columns but the automatic ones."""
    numeric = [name for name, spec in _exported(reader.streams).items() if spec.kind not in ("rgb", "touch")]
    episode = reader.episode(position, streams=numeric)
    images = {
        name: reader.encoded(position, name) for name, spec in reader.streams.items() if spec.kind in ("rgb", "touch")
    }  # fmt: skip
    times = {name: stream.times for name, stream in episode.streams.items()}
    times |= {name: pair[0] for name, pair in images.items() if pair is not None}
    grid = _grid(episode, times, fps)
    out: Columns = {}
    for key, specs in _sources(reader.streams).items():
        spec = specs[0]
        if spec.kind in ("rgb", "touch"):
            out[key] = _images(images[spec.name], spec, grid)
        elif spec.kind == "audio":
            out |= _sound(key, episode.streams.get(spec.name), spec, grid, fps)
        else:
            out[key] = _series([(s, episode.streams.get(s.name)) for s in specs], grid)
    for name, spec in _exported(reader.streams).items():
        if spec.kind != "audio":
            pick = _hold(times.get(name), grid)
            out[f"observation.valid.{plain(name)}"] = Numbers(values=(pick >= 0)[:, None])
            stamps = np.append(times.get(name, np.zeros(0)), -1e-9)[pick]  # -1 picks the appended: minus one nanosecond
            out[f"observation.stamp.{plain(name)}"] = Numbers(values=np.rint(stamps * 1e9).astype(np.int64)[:, None])
    out |= _outcome(reader, episode, len(grid))
    return grid, out


def plain(name: str) -> str:
    """Return a stream name that LeRobot takes: no slash, and not the word that makes it expect a picture."""
    return name.replace("/", "_").replace("image", "img")


def _exported(streams: Mapping[str, StreamSpec]) -> dict[str, StreamSpec]:
    return {name: spec for name, spec in streams.items() if name not in left_out(streams)}


def _labels(reader: EpisodeReader) -> dict[str, str]:
    """Return the name in LeRobot of every label; `stable` is what others call success."""
    names = [name.removeprefix("label.") for name in reader.names if name.startswith("label.")]
    return {name: "success" if name == "stable" and "success" not in names else plain(name) for name in names}


def _key(name: str, spec: StreamSpec) -> str:
    finger = plain(name.removeprefix("touch."))
    if spec.kind == "rgb":
        return f"observation.images.{plain(name.removesuffix('.rgb')).replace('.', '_')}"
    if spec.kind == "touch":
        return f"observation.images.tactile_{finger.replace('.', '_')}"
    if spec.kind == "taxels":
        return f"observation.tactile.{finger}"
    if spec.kind == "audio":
        return f"observation.audio.{'mic' if name == 'sound' else plain(name)}"
    if name in (*STATE, *EFFORT):
        return "observation.state" if name in STATE else "observation.effort"
    return plain(name) if name.partition(".")[0] in THEIRS[1:] else f"observation.{plain(name)}"


def _sources(streams: Mapping[str, StreamSpec]) -> dict[str, list[StreamSpec]]:
    """Return the streams of each feature."""
    out: dict[str, list[StreamSpec]] = {}
    order = sorted(_exported(streams), key=lambda name: (STATE.index(name) if name in STATE else -1, name))
    for name in order:
        out.setdefault(_key(name, streams[name]), []).append(streams[name])
    for key, specs in out.items():
        if len(specs) > 1 and not all(spec.name in STATE and len(spec.shape) == 1 for spec in specs):
            raise DataError(f"streams {[s.name for s in specs]} would all be the LeRobot feature {key}; rename one")
    return out


def _feature(specs: list[StreamSpec]) -> dict[str, Any]:
    spec = specs[0]
    about = {"palpate": [spec_to_json(s) for s in specs]}
    if spec.kind in ("rgb", "touch"):
        return {"dtype": "image", "shape": list(spec.shape), "names": ["height", "width", "channels"], **about}
    if spec.kind == "audio":
        return {"dtype": "int16", "shape": [0, 1], "names": None, **about}
    if len(spec.shape) > 1:
        return {"dtype": _dtype(spec), "shape": list(spec.shape), "names": None, **about}
    if spec.name.partition(".")[0] in THEIRS:
        return {"dtype": _dtype(spec), "shape": list(spec.shape), "names": list(spec.names) or None, **about}
    names = [f"{s.name}.{n}" for s in specs for n in (s.names or range(s.shape[0]))]
    return {"dtype": _dtype(spec), "shape": [sum(s.shape[0] for s in specs)], "names": names, **about}


def _dtype(spec: StreamSpec) -> str:
    return "float32" if np.dtype(spec.dtype).kind == "f" else spec.dtype


def _grid(episode: Episode, times: Mapping[str, np.ndarray], fps: int) -> np.ndarray:
    """Return row times from the first sample of any stream to the first row that has seen the last one."""
    moments = [float(t[i]) for t in times.values() for i in (0, -1)]
    for stream in episode.streams.values():
        if stream.spec.kind == "audio" and stream.spec.rate_hz:
            moments.append(float(stream.times[-1]) + stream.spec.shape[0] / stream.spec.rate_hz)
    start, end = (min(moments), max(moments)) if moments else (0.0, 0.0)
    return start + np.arange(int(np.ceil((end - start) * fps - 1e-6)) + 1) / fps


def _hold(times: np.ndarray | None, grid: np.ndarray) -> np.ndarray:
    """Return (N,) index of the sample each row holds, -1 where there is none yet."""
    return np.full(len(grid), -1) if times is None else np.searchsorted(times, grid + 1e-9, side="right") - 1


def _series(sources: list[tuple[StreamSpec, Stream | None]], grid: np.ndarray) -> Numbers:
    parts = []
    for spec, stream in sources:
        values = np.zeros((1, *spec.shape), _dtype(spec))
        if stream is not None:
            values = np.concatenate([stream.values.astype(values.dtype), values])
        parts.append(values[_hold(None if stream is None else stream.times, grid)])  # -1 picks the zeros at the end
    return Numbers(values=np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0])


def _images(encoded: tuple[np.ndarray, list[bytes]] | None, spec: StreamSpec, grid: np.ndarray) -> Images:
    times, files = encoded if encoded is not None else (None, [])
    shown = [codecs.read_rgb(file) for file in files]
    blank = np.zeros(spec.shape, np.uint8)
    if spec.kind == "touch":  # without loss, and deflated: in a data folder the compression is the column's
        files = [codecs.png(image, deflate=True) for image in shown]
    pick = _hold(times, grid)
    if (pick < 0).any():
        files, shown = (
            [*files, codecs.png(blank, deflate=True) if spec.kind == "touch" else codecs.jpeg(blank)],
            [*shown, blank],
        )
    seen = np.stack([shown[i] for i in np.unique(pick)])  # -1 is the blank at the end
    pixels = seen[:, ::_STATS_STRIDE, ::_STATS_STRIDE].reshape(-1, 3) / 255.0
    return Images(files=files, pick=pick % len(files), pixels=pixels, suffix="png" if spec.kind == "touch" else "jpg")


def _sound(key: str, stream: Stream | None, spec: StreamSpec, grid: np.ndarray, fps: int) -> Columns:
    """Each row holds the sound of the time 1/fps up to it, int16; zeros where no clip was being recorded."""
    rate, length = float(spec.rate_hz or 0), window(spec, fps)
    heard = np.zeros(round((grid[-1] - grid[0]) * rate) + length + 1, np.int16)  # begins one window before the first row
    known = np.zeros(len(heard), bool)
    start = grid[0] - length / rate
    for time, clip in zip(stream.times, stream.values, strict=True) if stream is not None else ():
        samples = clip if clip.dtype == np.int16 else np.clip(np.rint(clip * 32768.0), -32768, 32767).astype(np.int16)
        first = round((time - start) * rate)
        heard[first : first + len(samples)] = samples[: len(heard) - first]
        known[first : first + len(samples)] = True
    ends = np.rint((grid - start) * rate).astype(int)
    rows = (ends[:, None] - length + np.arange(length)).clip(0)
    valid = np.any(known[rows], axis=1)
    first_known = ends - length + known[rows].argmax(axis=1)
    stamps = np.where(valid, np.rint((start + first_known / rate) * 1e9), -1).astype(np.int64)
    return {
        key: Numbers(values=heard[rows][:, :, None]),
        f"observation.valid.{plain(spec.name)}": Numbers(values=valid.reshape(-1, 1)),
        f"observation.stamp.{plain(spec.name)}": Numbers(values=stamps[:, None]),
    }


def _outcome(reader: EpisodeReader, episode: Episode, n: int) -> Columns:
    """The action holds for the whole trial; what came of it belongs to the last row."""
    out: Columns = {}
    last = np.zeros((n, 1), bool)
    last[-1] = True
    if "array.action" in reader.names:
        action = episode.arrays.get("action", np.zeros(reader.column("array.action").shape[1]))
        out["action"] = Numbers(values=np.tile(action.astype(np.float32), (n, 1)))
        out["observation.valid.action"] = Numbers(values=np.full((n, 1), "action" in episode.arrays))
    for name, label in _labels(reader).items():
        value = episode.labels.get(name)
        out[f"next.{label}"] = Numbers(values=last & bool(value is not None and value > 0.5))
        out[f"next.valid.{label}"] = Numbers(values=last & (value is not None))
    out["next.done"] = Numbers(values=last)
    return out
