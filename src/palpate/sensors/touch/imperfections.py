"""What goes wrong with real touch sensors, as small steps that act on a stream of samples.

A step takes a `core.records.Stream` and a generator and returns a stream; a single frame is a stream of one. `spoil` applies several
steps in the order in which the real thing happens, whatever the order they are listed in:

| order | what | steps |
|---|---|---|
| 10-19 | the gel | `Hysteresis`, `Replacement`, `Wear`, `Dust` |
| 20 | the light | `LedDrift` |
| 30-39 | the sensing elements | `CrossTalk`, `TaxelGain`, `DeadTaxels` |
| 40 | noise | `CameraNoise`, `TaxelNoise` |
| 50-59 | the device | `faults.Scrolling`, `faults.Frozen` |
| 60-69 | the transport | `faults.Rate`, `faults.DropOut`, `faults.Latency` |

A sample that is lost is absent: it is taken out of the stream with its time, never replaced by zeros.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.randomness import generator
from palpate.core.records import Stream
from palpate.sensors.touch.noise import NoiseBank, NoiseFigures, episode_pattern
from palpate.sensors.touch.rest import GelFigures, wear_layer


class Imperfection(Protocol):
    """One step."""

    order: ClassVar[int]
    """Steps of a smaller number act first."""

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Return the stream as it would be recorded; equal generators give equal streams."""
        ...


def spoil(stream: Stream, steps: Sequence[Imperfection], rng: np.random.Generator) -> Stream | None:
    """Apply steps in their physical order; None if no sample is left.

    Each step draws from a generator of its own, so adding one does not change what the others do.
    """
    root = int(rng.integers(2**63))
    seen: dict[str, int] = {}
    out = stream
    for step in sorted(steps, key=lambda each: each.order):
        name = type(step).__name__
        seen[name] = seen.get(name, -1) + 1
        out = step.apply(out, generator(root, zlib.crc32(name.encode()), seen[name]))
    return out if len(out.times) else None


def _pictures(stream: Stream, step: object) -> np.ndarray:
    if len(stream.spec.shape) != 3 or stream.spec.shape[2] != 3 or stream.spec.dtype != "uint8":
        raise RecordError(
            f"{type(step).__name__} acts on pictures (H, W, 3) uint8; stream {stream.spec.name!r} holds "
            f"{stream.spec.shape} {stream.spec.dtype}"
        )
    return stream.values


def _taxels(stream: Stream, step: object) -> np.ndarray:
    if not np.issubdtype(stream.values.dtype, np.floating):
        raise RecordError(
            f"{type(step).__name__} acts on floating-point taxels; stream {stream.spec.name!r} holds {stream.spec.dtype}; "
            "convert raw counts to float32 first"
        )
    return stream.values


def _with(stream: Stream, values: np.ndarray) -> Stream:
    """Return the stream with other values, rounded and clipped where its type asks for it."""
    if np.issubdtype(stream.values.dtype, np.integer):
        limits = np.iinfo(stream.values.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return replace(stream, values=values.astype(stream.values.dtype))


def _share(value: float, name: str) -> None:
    if not 0.0 <= value <= 1.0:
        raise RecordError(f"{name} is a share and must lie within 0 and 1, got {value}")


def _positive(value: float, name: str) -> None:
    if not value > 0.0:
        raise RecordError(f"{name} must be positive, got {value}")


@dataclass(frozen=True, kw_only=True)
class Hysteresis:
    """The gel remembers: part of what was felt lingers and decays. Real pictures keep such a residue after release."""

    residue: float = 0.03
    """Share of a lasting change that is not yet shown, or still shown, right after it."""
    time_constant: float = 2.0
    """[s]"""
    order: ClassVar[int] = 10

    def __post_init__(self) -> None:
        """Refuse shares outside 0 to 1 and times that are not positive."""
        _share(self.residue, "residue")
        _positive(self.time_constant, "time_constant")

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Mix each sample with a running mean of those before it. A stream that never changes stays as it is."""
        del rng
        out = np.empty_like(stream.values)
        memory = stream.values[0].astype(np.float32) if len(out) else np.zeros(0, np.float32)
        for i, value in enumerate(stream.values):
            if i:
                keep = np.exp(-(stream.times[i] - stream.times[i - 1]) / self.time_constant)
                memory += np.float32(1 - keep) * (stream.values[i - 1] - memory)
            mixed = value + np.float32(self.residue) * (memory - value)
            out[i] = np.rint(mixed) if np.issubdtype(out.dtype, np.integer) else mixed
        return replace(stream, values=out)


@dataclass(frozen=True, kw_only=True, eq=False)
class Replacement:
    """The gel is replaced in mid-stream: from then on pictures stand on another rest image."""

    time: float
    """[s]"""
    before: np.ndarray
    """(H, W, 3) rest image of the old gel."""
    after: np.ndarray
    """(H, W, 3) rest image of the new gel."""
    order: ClassVar[int] = 11

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Move the pictures from `time` on to the new rest image."""
        del rng
        values = _pictures(stream, self)
        if self.before.shape != stream.spec.shape or self.after.shape != stream.spec.shape:
            raise RecordError(f"rest images {self.before.shape}, {self.after.shape} do not fit pictures {stream.spec.shape}")
        shift = self.after.astype(np.float32) - self.before
        late = stream.times >= self.time
        return _with(stream, np.where(late[:, None, None, None], values + shift, values))


@dataclass(frozen=True, kw_only=True)
class Wear:
    """The coat wears off under presses and gets scratches."""

    presses: float
    """Presses before the stream begins."""
    presses_hz: float = 0.0
    """Presses a second during the stream."""
    figures: GelFigures = field(default_factory=GelFigures)
    order: ClassVar[int] = 12

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Darken the pictures, between the wear of the stream's first and of its last moment."""
        values = _pictures(stream, self)
        if not len(values):
            return stream
        seed, shape = int(rng.integers(2**63)), (stream.spec.shape[0], stream.spec.shape[1])
        last = self.presses + self.presses_hz * (stream.times[-1] - stream.times[0])
        layers = [wear_layer(self.figures, shape, presses, generator(seed))[..., None] for presses in (self.presses, last)]
        span = max(float(stream.times[-1] - stream.times[0]), 1e-9)
        out = np.empty_like(values)
        for i, time in enumerate(stream.times):
            worn = layers[0] + np.float32((time - stream.times[0]) / span) * (layers[1] - layers[0])
            out[i] = np.rint(values[i] * worn)
        return replace(stream, values=out)


@dataclass(frozen=True, kw_only=True)
class Dust:
    """Dark specks that lie on the gel or the lens for the whole stream."""

    count: float = 5.0
    """Mean number."""
    radius_px: float = 1.8
    """Mean size [px]."""
    darkness: float = 0.5
    """Largest share of light that a speck takes."""
    order: ClassVar[int] = 13

    def __post_init__(self) -> None:
        """Refuse a darkness that is no share."""
        _share(self.darkness, "darkness")

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Darken the specks."""
        values = _pictures(stream, self)
        rows, cols, _ = stream.spec.shape
        y, x = np.arange(rows)[:, None], np.arange(cols)[None, :]
        layer = np.ones((rows, cols), np.float32)
        for _ in range(int(rng.poisson(self.count))):
            cx, cy = rng.uniform(0, cols), rng.uniform(0, rows)
            radius, dark = self.radius_px * rng.uniform(0.5, 1.5), self.darkness * rng.uniform(0.3, 1.0)
            layer *= 1 - np.float32(dark) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * radius**2)).astype(np.float32)
        return _with(stream, values * layer[..., None])


@dataclass(frozen=True, kw_only=True)
class LedDrift:
    """The lights get warm and age: each colour's brightness wanders slowly."""

    spread: float = 0.02
    """Relative standard deviation in the long run."""
    time_constant: float = 60.0
    """[s]"""
    order: ClassVar[int] = 20

    def __post_init__(self) -> None:
        """Refuse times that are not positive."""
        _positive(self.time_constant, "time_constant")

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Scale each colour by an Ornstein-Uhlenbeck process that starts at 1."""
        values = _pictures(stream, self)
        drift = np.zeros((len(values), 3))
        for i in range(1, len(values)):
            keep = np.exp(-(stream.times[i] - stream.times[i - 1]) / self.time_constant)
            drift[i] = keep * drift[i - 1] + self.spread * np.sqrt(1 - keep * keep) * rng.normal(size=3)
        return _with(stream, values * (1 + drift[:, None, None, :]).astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class CrossTalk:
    """A taxel also shows part of what its neighbours feel."""

    share: float = 0.05
    """Of its neighbours' mean in a reading."""
    grid: tuple[int, int] | None = None
    """Rows and columns of the taxels, neighbours being the four around; None: every other taxel is a neighbour."""
    order: ClassVar[int] = 30

    def __post_init__(self) -> None:
        """Refuse a share outside 0 to 1."""
        _share(self.share, "share")

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Mix the taxels (T, P, C)."""
        del rng
        values = _taxels(stream, self)
        return _with(
            stream, (1 - self.share) * values + self.share * np.einsum("pq,tqc->tpc", self._mean(values.shape[1]), values)
        )

    def _mean(self, count: int) -> np.ndarray:
        """Return (P, P) that takes the mean of each taxel's neighbours."""
        near = ~np.eye(count, dtype=bool)
        if self.grid is not None:
            if self.grid[0] * self.grid[1] != count:
                raise RecordError(f"a grid of {self.grid[0]} x {self.grid[1]} does not hold {count} taxels")
            row, col = np.divmod(np.arange(count), self.grid[1])
            near = (np.abs(row[:, None] - row) + np.abs(col[:, None] - col)) == 1
        return near / np.maximum(near.sum(axis=1, keepdims=True), 1)


@dataclass(frozen=True, kw_only=True)
class TaxelGain:
    """Each taxel has a gain and an offset of its own."""

    gain: float = 0.05
    """Standard deviation about 1."""
    offset: float = 0.0
    """Standard deviation, in the stream's unit."""
    order: ClassVar[int] = 31

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Scale and shift."""
        values = _taxels(stream, self)
        gain = 1 + self.gain * rng.normal(size=stream.spec.shape)
        return _with(stream, values * gain + self.offset * rng.normal(size=stream.spec.shape))


@dataclass(frozen=True, kw_only=True)
class DeadTaxels:
    """Some taxels do not answer."""

    share: float = 0.05
    """Of the taxels."""
    reads: Literal["nan", "stuck"] = "nan"
    """What a dead one reads: not a number (it is known to be dead) or its first value for ever (nobody knows)."""
    order: ClassVar[int] = 32

    def __post_init__(self) -> None:
        """Refuse a share outside 0 to 1."""
        _share(self.share, "share")

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Silence taxels, all channels of each."""
        values = _taxels(stream, self).copy()
        dead = rng.random(stream.spec.shape[0]) < self.share
        if len(values):
            values[:, dead] = np.nan if self.reads == "nan" else values[0, dead]
        return replace(stream, values=values)


@dataclass(frozen=True, kw_only=True)
class CameraNoise:
    """Gain, offset and pattern of an episode and the noise of each frame, for pictures recorded or made without."""

    figures: NoiseFigures = field(default_factory=NoiseFigures)
    order: ClassVar[int] = 40

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Add the noise; see `palpate.sensors.touch.noise`."""
        values = _pictures(stream, self)
        shape = (stream.spec.shape[0], stream.spec.shape[1])
        bank = NoiseBank(self.figures, shape, rng)
        gain = 1 + self.figures.gain * rng.normal()
        fixed = self.figures.offset * rng.normal() + episode_pattern(self.figures, shape, rng)
        out = np.empty_like(values)
        for i, image in enumerate(values):
            noise, sign = bank.cut(rng)
            mean = image.mean()
            out[i] = np.clip(np.rint(mean + (image - mean) * gain + fixed + sign * noise), 0, 255)
        return replace(stream, values=out)


@dataclass(frozen=True, kw_only=True)
class TaxelNoise:
    """White noise on every taxel and sample."""

    std: float
    """In the stream's unit."""
    order: ClassVar[int] = 40

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Add the noise."""
        return _with(stream, _taxels(stream, self) + self.std * rng.normal(size=stream.values.shape))
