"""Faults of the device and the transport, for streams of any kind; combine them with `palpate.sensors.touch.imperfections.spoil`."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.records import Stream


def _bouts(times: np.ndarray, rate: float, length: float, rng: np.random.Generator) -> np.ndarray:
    """Return (T,) 0 outside bouts, else 1, 2, ... counting samples; bouts begin `rate` times a second and last `length` s on average."""
    count = np.zeros(len(times), int)
    if rate == 0.0 or not len(times):
        return count
    start = times[0] + rng.exponential(1 / rate)
    while start <= times[-1]:
        end = start + rng.exponential(length)
        inside = np.flatnonzero((times >= start) & (times < end))
        count[inside] = np.arange(1, len(inside) + 1)
        start = end + rng.exponential(1 / rate)
    return count


def _check_bouts(rate_hz: float, length: float) -> None:
    if not (np.isfinite(rate_hz) and rate_hz >= 0 and np.isfinite(length) and length > 0):
        raise RecordError(f"bouts need a rate of 0 or more and a positive length, got {rate_hz} a second of {length} s")


@dataclass(frozen=True, kw_only=True)
class Scrolling:
    """The picture rolls over the screen: the camera lost its line count (a known fault of DIGITs: digit-design issue 39)."""

    rate_hz: float = 0.01
    """How often it begins [1/s]."""
    length: float = 1.0
    """How long it lasts, on average [s]."""
    rows: int = 7
    """Rows that the picture rolls on with each frame."""
    order: ClassVar[int] = 50

    def __post_init__(self) -> None:
        """Refuse rates and lengths that cannot be."""
        _check_bouts(self.rate_hz, self.length)

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Roll the pictures of some stretches of time."""
        if len(stream.spec.shape) < 2:
            raise RecordError(
                f"Scrolling acts on pictures; stream {stream.spec.name!r} holds samples of shape {stream.spec.shape}"
            )
        count = _bouts(stream.times, self.rate_hz, self.length, rng)
        values = stream.values.copy()
        for i in np.flatnonzero(count):
            values[i] = np.roll(values[i], self.rows * int(count[i]), axis=0)
        return replace(stream, values=values)


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """The same sample comes again and again with new times: a dead driver that looks alive."""

    rate_hz: float = 0.01
    """How often it begins [1/s]."""
    length: float = 0.5
    """How long it lasts, on average [s]."""
    order: ClassVar[int] = 51

    def __post_init__(self) -> None:
        """Refuse rates and lengths that cannot be."""
        _check_bouts(self.rate_hz, self.length)

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Repeat the last sample before each stretch."""
        count = _bouts(stream.times, self.rate_hz, self.length, rng)
        source = np.arange(len(count))
        for i in np.flatnonzero(count[1:]) + 1:
            source[i] = source[i - 1]
        return replace(stream, values=stream.values[source])


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The stream is read more slowly than it is made."""

    rate_hz: float
    """Reads a second. A slower stream is left as it is: no sample is made up."""
    order: ClassVar[int] = 60

    def __post_init__(self) -> None:
        """Refuse a rate that is not positive."""
        if not self.rate_hz > 0:
            raise RecordError(f"rate_hz must be positive, got {self.rate_hz}")

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Keep the last sample at or before each tick, each sample once."""
        del rng
        if not len(stream.times):
            return stream
        ticks = np.arange(stream.times[0], stream.times[-1] + 1e-9, 1 / self.rate_hz)
        kept = np.unique(np.searchsorted(stream.times, ticks + 1e-9, side="right") - 1)
        nominal = self.rate_hz if stream.spec.rate_hz is None else min(self.rate_hz, stream.spec.rate_hz)
        return Stream(spec=replace(stream.spec, rate_hz=nominal), times=stream.times[kept], values=stream.values[kept])


@dataclass(frozen=True, kw_only=True)
class DropOut:
    """Samples get lost, alone or in bursts."""

    share: float = 0.01
    """Of all samples, 1 for a dead sensor."""
    burst: float | None = None
    """Mean number of samples lost together; None: each is lost independently of the others."""
    order: ClassVar[int] = 61

    def __post_init__(self) -> None:
        """Refuse shares and bursts that cannot be."""
        if not 0 <= self.share <= 1:
            raise RecordError(f"share must lie within 0 and 1, got {self.share}")
        if self.burst is not None and (self.share == 1 or self.burst < max(1.0, self.share / (1 - self.share))):
            raise RecordError(
                f"bursts of {self.burst} samples cannot make up a share of {self.share}; "
                "the mean burst must be 1 or more and at least share / (1 - share), and the share below 1"
            )

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Take lost samples out, by a two-state Markov chain (Gilbert, 1960) that starts in its long-run state."""
        luck = rng.random(len(stream.times))
        recover = 1 - self.share if self.burst is None else 1 / self.burst
        fail = self.share if self.burst is None else recover * self.share / (1 - self.share)
        kept = np.ones(len(luck), bool)
        lost = False
        for i, value in enumerate(luck):
            lost = value < (self.share if i == 0 else 1 - recover if lost else fail)
            kept[i] = not lost
        return Stream(spec=stream.spec, times=stream.times[kept], values=stream.values[kept])


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Samples are stamped when they arrive, not when they were captured."""

    delay: float = 0.03
    """[s]"""
    jitter: float = 0.0
    """Mean of an exponential delay on top [s]. A sample never overtakes the one before, so that crowded samples wait longer."""
    order: ClassVar[int] = 62

    def __post_init__(self) -> None:
        """Refuse delays into the past."""
        if not (self.delay >= 0 and self.jitter >= 0):
            raise RecordError(f"delay and jitter must be 0 or more seconds, got {self.delay} and {self.jitter}")

    def apply(self, stream: Stream, rng: np.random.Generator) -> Stream:
        """Make the times later."""
        late = stream.times + self.delay + self.jitter * rng.standard_exponential(len(stream.times))
        return replace(stream, times=np.maximum.accumulate(late))
