"""Samples of a SoftGrasp policy, cut from frames: three of them, five apart (Table 3), and what comes one frame later.

At the start the first frame stands for those before it, and each frame has its own target. The simulated demonstrations' units and those
of the authors' recording differ, so a run keeps its scaling.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from palpate.core.errors import DataError, PalpateError
from palpate.data.splits import grouped_folds
from palpate.learning.batches import Batch
from palpate.recipes.softgrasp_data import Frames


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """The range of angles and of torques in the training data, which becomes 0 to 1. All joints share it: a still joint is not blown up."""

    angle: tuple[float, float]
    """Lowest and highest angle, in the stream's unit."""
    torque: tuple[float, float]

    @classmethod
    def of(cls, frames: Frames, rows: np.ndarray) -> "Scaling":
        """Take the ranges from these frames; DataError if one is empty."""

        def spanned(name: str, *parts: np.ndarray) -> tuple[float, float]:
            known = np.concatenate([part[rows][np.isfinite(part[rows])] for part in parts])
            low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
            if high <= low:
                raise DataError(f"the demonstrations have no {name} that changes; a policy has nothing to learn from them")
            return low, high

        return cls(
            angle=spanned("joint angle", frames.angle, frames.next_angle),
            torque=spanned("torque", frames.torque, frames.next_torque),
        )

    def to_share(self, kind: str, values: np.ndarray) -> np.ndarray:
        """Return values as shares of the range, float32."""
        low, high = getattr(self, kind)
        return ((np.asarray(values, float) - low) / (high - low)).astype(np.float32)

    def to_unit(self, kind: str, shares: np.ndarray) -> np.ndarray:
        """Return shares of the range in the stream's unit. Inverse of `to_share`."""
        low, high = getattr(self, kind)
        return low + np.asarray(shares, float) * (high - low)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Samples for the training loop, cut from frames when asked. K samples."""

    frames: Frames
    rows: np.ndarray
    """(K,) the present frame of each sample."""
    scaling: Scaling
    modalities: tuple[str, ...]
    stack: int = 3
    frameskip: int = 5
    chunk: int = 0
    """Steps ahead that are targets too (`chunk`) and, for ACT's style, an input (`future`); 0 for none."""
    drop_rate: float = 0.0
    """Chance that a modality is called absent from a training sample."""
    history_noise: float = 0.0
    """Spread of the noise on earlier angles and torques in training."""

    def __len__(self) -> int:
        """Return K."""
        return len(self.rows)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the samples at these indices."""
        frames, rows = self.frames, self.rows[indices]
        seen = self._seen(rows)
        inputs = {name: self._values(name, seen) for name in self.modalities}
        targets = {
            "angles": self.scaling.to_share("angle", frames.next_angle[rows]),
            "torques": self.scaling.to_share("torque", frames.next_torque[rows]),
            "lift": frames.lift[rows].astype(np.float32),
        }
        if self.chunk:
            targets["chunk"] = inputs["future"] = self._future(rows)
        labels = np.empty((len(rows), 0), np.float32)
        presence = {name: self._present(name, seen) for name in self.modalities}
        return Batch(inputs=inputs, labels=labels, presence=presence, targets=targets)

    def inputs(self) -> dict[str, np.ndarray]:
        """Return what each modality gives at the present frames (K, ...) where it is known, to fit scales to."""
        out = {}
        for name in self.modalities:
            values, there = self._values(name, self.rows), self._present(name, self.rows[:, None])
            out[name] = values[there]
        return out

    def present(self) -> np.ndarray:
        """Return (K, M) bool: which modalities each sample has."""
        seen = self._seen(self.rows)
        return np.stack([self._present(name, seen) for name in self.modalities], axis=1)

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """Yield shuffled batches; the last may be smaller."""
        order = rng.permutation(len(self))
        for start in range(0, len(order), batch_size):
            batch = self.batch(order[start : start + batch_size])
            batch = self._noised(batch, rng) if self.history_noise > 0.0 else batch
            yield self._dropped(batch, rng) if self.drop_rate > 0.0 else batch

    def _seen(self, rows: np.ndarray) -> np.ndarray:
        """Return the frames (B, T) that are seen at frames (B,), oldest first."""
        steps = self.frameskip * np.arange(self.stack - 1, -1, -1)
        return np.maximum(rows[:, None] - steps, self.frames.first[rows][:, None])

    def _values(self, name: str, seen: np.ndarray) -> np.ndarray:
        """Return the values (B, T, ...) of a modality at frames (B, T)."""
        if name not in ("image", "touch"):
            return self.scaling.to_share(name, getattr(self.frames, name)[seen])
        values = self.frames.image if name == "image" else self.frames.touch
        if values is None:
            raise PalpateError(f"the frames have no {name}; add it with `with_pictures` or `with_touch`")
        return values[seen]

    def _present(self, name: str, seen: np.ndarray) -> np.ndarray:
        """Return which samples (B,) have a modality at all of their frames (B, T)."""
        known = self.frames.pictured if name == "image" else np.all(np.isfinite(getattr(self.frames, name)), axis=1)
        return np.all(known[seen], axis=1)

    def _future(self, rows: np.ndarray) -> np.ndarray:
        """Return the next angles (B, K, J) of each step of the chunk, NaN after the end of the demonstration."""
        ahead = rows[:, None] + np.arange(self.chunk)
        inside = np.minimum(ahead, len(self.frames) - 1)
        same = (self.frames.first[inside] == self.frames.first[rows][:, None]) & (inside == ahead)
        return np.where(same[:, :, None], self.scaling.to_share("angle", self.frames.next_angle[inside]), np.nan).astype(
            np.float32
        )

    def _noised(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Add noise to what was sensed before the present frame."""
        inputs = dict(batch.inputs)
        for name in {"angle", "torque"} & inputs.keys():
            noise = rng.normal(0.0, self.history_noise, inputs[name].shape).astype(np.float32)
            noise[:, -1] = 0.0
            inputs[name] = inputs[name] + noise
        return replace(batch, inputs=inputs)

    def _dropped(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Call modalities absent at random, but not all of a sample."""
        kept = {name: there & (rng.random(len(there)) >= self.drop_rate) for name, there in batch.presence.items()}
        nothing = ~np.any(list(kept.values()), axis=0)
        return replace(batch, presence={name: kept[name] | (nothing & there) for name, there in batch.presence.items()})


def held_out(frames: Frames, share: float, seed: int) -> np.ndarray:
    """Return (D,) bool: which demonstrations are kept from training, about `share` of each object's; none if there is but one.

    A demonstration is whole on one side: its neighbouring frames are nearly the same.
    """
    out = np.zeros(len(frames.trial), bool)
    if not 0.0 < share < 1.0:
        raise PalpateError(f"the share of demonstrations that are held out must lie between 0 and 1, got {share}")
    for name in np.unique(frames.object):
        own = np.flatnonzero(frames.object == name)
        if len(own) > 1:
            folds = min(len(own), max(2, round(1.0 / share)))
            out[own[grouped_folds(own, folds, seed) == 0]] = True
    if not out.any() and len(out) > 1:
        folds = min(len(out), max(2, round(1.0 / share)))
        out = grouped_folds(np.arange(len(out)), folds, seed) == 0
    return out
