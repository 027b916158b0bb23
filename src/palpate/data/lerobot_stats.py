"""The statistics that LeRobot's normalisers need: per episode and over all of them."""

import numpy as np

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
SAMPLES = 1024
"""Rows of one episode that the quantiles over all episodes are estimated from; all rows unless an episode has more."""

Stats = dict[str, list]


class FeatureStats:
    """Minimum, maximum, mean and deviation of one feature, exact, and its quantiles."""

    def __init__(self, *, image: bool) -> None:
        """Start empty; images have their numbers in the shape (3, 1, 1)."""
        self._image = image
        self._low: list[np.ndarray] = []
        self._high: list[np.ndarray] = []
        self._sums: list[np.ndarray] = []
        self._squares: list[np.ndarray] = []
        self._elements: list[int] = []
        self._frames = 0
        self._samples: list[np.ndarray] = []

    def add(self, values: np.ndarray, frames: int) -> Stats:
        """Add one episode and return its own statistics.

        Args:
            values: (N, ..., C); one number per component of the last axis results.
            frames: Rows of the episode.
        """
        flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
        self._low.append(flat.min(0))
        self._high.append(flat.max(0))
        self._sums.append(flat.sum(0))
        self._squares.append((flat**2).sum(0))
        self._elements.append(len(flat))
        self._frames += frames
        some = flat[np.linspace(0, len(flat) - 1, min(len(flat), SAMPLES)).round().astype(int)]
        self._samples.append(some.astype(np.float32))
        return self._numbers(slice(-1, None), some, frames)

    def total(self) -> Stats:
        """Return the statistics of all episodes."""
        return self._numbers(slice(None), np.concatenate(self._samples), self._frames)

    def _numbers(self, which: slice, some: np.ndarray, frames: int) -> Stats:
        n = sum(self._elements[which])
        mean = np.sum(self._sums[which], axis=0) / n
        std = np.sqrt(np.maximum(np.sum(self._squares[which], axis=0) / n - mean**2, 0.0))
        low, high = np.min(self._low[which], axis=0), np.max(self._high[which], axis=0)
        numbers = {"min": low, "max": high, "mean": mean, "std": std}
        # Estimates from some rows, in single precision, must not leave the true range.
        numbers |= {
            f"q{round(q * 100):02d}": np.clip(v, low, high)
            for q, v in zip(QUANTILES, np.quantile(some, QUANTILES, axis=0), strict=True)
        }
        shaped = {name: (v.reshape(3, 1, 1) if self._image else v).tolist() for name, v in numbers.items()}
        return {**shaped, "count": [frames]}
