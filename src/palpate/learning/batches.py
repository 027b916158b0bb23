"""Samples for the training loop: arrays in memory, without any word about where they came from.

Axis letters: N sample, B batch, K outcome.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from palpate.core.errors import RecordError


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One step's samples."""

    inputs: Mapping[str, np.ndarray]
    """(B, ...) by input name."""
    labels: np.ndarray
    """(B, K) float32, 1 or 0, NaN where not known."""
    presence: Mapping[str, np.ndarray] = field(default_factory=dict)
    """(B,) bool by input name; an input without an entry is present in every sample."""
    targets: Mapping[str, np.ndarray] = field(default_factory=dict)
    """(B, ...) float32 by name, NaN where not known: what an objective of its own learns beside the labels, or (K = 0) instead."""


class BatchSource(Protocol):
    """Whatever can be trained on: `Arrays`, or a user's own reader for data that do not fit in memory."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """Yield every sample once, in an order that `rng` alone determines."""
        ...


class Indexed(Protocol):
    """Samples that can be asked for by number, to predict them in order."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the samples at these indices as one batch."""
        ...


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """A data set in memory. Whatever an absent sample's rows hold is never used: say so in `presence`."""

    inputs: Mapping[str, np.ndarray]
    """(N, ...) by input name."""
    labels: np.ndarray
    """(N, K): 1, 0, or NaN where the label is not known."""
    presence: Mapping[str, np.ndarray] = field(default_factory=dict)
    """(N,) bool by input name; an input without an entry is present in every sample."""
    drop_rate: float = 0.0
    """Chance of calling a state input absent from a sample of a training batch, so that a net learns to do without it."""

    def __post_init__(self) -> None:
        """Refuse arrays of different lengths and labels other than 0, 1 and NaN."""
        n = len(self.labels)
        for kind, arrays in (("input", self.inputs), ("presence", self.presence)):
            for name, array in arrays.items():
                if len(array) != n:
                    raise RecordError(f"{kind} {name!r} has {len(array)} rows, the labels have {n}")
        if set(self.presence) - set(self.inputs):
            raise RecordError(f"presence of {sorted(self.presence)}, but the inputs are {sorted(self.inputs)}")
        labels = np.asarray(self.labels)
        if labels.ndim != 2 or not np.all(np.isnan(labels) | (labels == 0.0) | (labels == 1.0)):
            raise RecordError(f"labels must be (N, K) of 0, 1 or NaN, got shape {labels.shape}")

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Arrays":
        """Return the samples at these indices (a fold, for example)."""
        return Arrays(
            inputs={name: array[indices] for name, array in self.inputs.items()},
            labels=self.labels[indices],
            presence={name: array[indices] for name, array in self.presence.items()},
            drop_rate=self.drop_rate,
        )

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the samples at these indices as one batch."""
        part = self.take(indices)
        return Batch(inputs=part.inputs, labels=np.asarray(part.labels, np.float32), presence=part.presence)

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """Yield shuffled batches; the last may be smaller."""
        order = rng.permutation(len(self))
        for start in range(0, len(order), batch_size):
            batch = self.batch(order[start : start + batch_size])
            yield self._with_dropped_inputs(batch, rng) if self.drop_rate > 0.0 else batch

    def _with_dropped_inputs(self, batch: Batch, rng: np.random.Generator) -> Batch:
        presence = dict(batch.presence)
        for name in batch.inputs:
            if name not in ("motion", "joints", "action"):
                kept = rng.random(len(batch.labels)) >= self.drop_rate
                presence[name] = kept & np.asarray(presence.get(name, True), bool)
        return Batch(inputs=batch.inputs, labels=batch.labels, presence=presence)


def concatenate(parts: Sequence[Arrays]) -> Arrays:
    """Join data sets, for example the views of an augmentation. All must have the same inputs; presence is filled in."""
    names = set(parts[0].inputs)
    if any(set(part.inputs) != names for part in parts):
        raise RecordError(f"cannot join data sets of different inputs: {[sorted(part.inputs) for part in parts]}")
    masked = {name for part in parts for name in part.presence}

    def presence(part: Arrays, name: str) -> np.ndarray:
        return part.presence.get(name, np.ones(len(part), bool))

    return Arrays(
        inputs={name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs},
        labels=np.concatenate([part.labels for part in parts]),
        presence={name: np.concatenate([presence(part, name) for part in parts]) for name in sorted(masked)},
        drop_rate=parts[0].drop_rate,
    )
