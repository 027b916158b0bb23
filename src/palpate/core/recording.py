"""Collects samples of every rate into streams, losing nothing."""

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.records import Event, Stream, StreamSpec

_LARGE = 4096
"""Arrays with fewer numbers than this are copied."""


def series(  # noqa: PLR0917 - read as a row of a table
    name: str, values: np.ndarray, unit: str, names: tuple[str, ...], times: np.ndarray, rate_hz: float
) -> Stream:
    """Return numbers (T, D) that were logged at `times` (T,) [s] as a stream of float32."""
    spec = StreamSpec(
        name=name, kind="series", shape=values.shape[1:], dtype="float32", rate_hz=rate_hz, unit=unit, names=names
    )
    return Stream(spec=spec, times=times, values=values.astype(np.float32))


class Recorder:
    """Append samples and events as they come; `streams()` and `events()` freeze them."""

    def __init__(self) -> None:
        """Start empty."""
        self._specs: dict[str, StreamSpec] = {}
        self._times: dict[str, list[float]] = {}
        self._values: dict[str, list[np.ndarray]] = {}
        self._events: list[Event] = []

    def declare(self, spec: StreamSpec) -> None:
        """Make a stream known. A declared stream without a sample is absent from the episode."""
        if self._specs.get(spec.name, spec) != spec:
            raise RecordError(f"stream {spec.name!r} was declared before with another spec")
        self._specs[spec.name] = spec

    def add(self, name: str, time: float, value: np.ndarray) -> None:
        """Append one sample, cast to the declared type. Large arrays are kept without a copy and become read-only."""
        if name not in self._specs:
            raise RecordError(f"stream {name!r} was not declared; declared: {sorted(self._specs)}")
        self._times.setdefault(name, []).append(time)
        sample = np.asarray(value, dtype=self._specs[name].dtype)
        if sample.size < _LARGE or not sample.flags.owndata:
            sample = sample.copy()
        sample.setflags(write=False)
        self._values.setdefault(name, []).append(sample)

    def mark(self, name: str, time: float) -> None:
        """Note an event."""
        self._events.append(Event(name=name, time=time))

    def streams(self) -> dict[str, Stream]:
        """Return the streams that have at least one sample."""
        return {
            name: Stream(spec=self._specs[name], times=np.array(self._times[name], float), values=np.stack(self._values[name]))
            for name in self._times
        }

    def events(self) -> tuple[Event, ...]:
        """Return the events in order of time."""
        return tuple(sorted(self._events, key=lambda event: event.time))
