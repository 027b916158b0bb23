"""What a frozen touch encoder tells of a press, for estimators of hardness (`palpate train hardness --touch-encoder RUN`).

Its features join those that are made by hand. Ranks come from a linear model under a penalty, which takes all of them, and inside the
training objects it is chosen whether they join the others, replace them, or stay out. Shore 00 comes from a Gaussian process with a
length for each feature, which a few hundred presses cannot fit to all: it gets the `COMPONENTS` along which they spread most.

Axis letters: N press, D feature of the encoder, K component.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from palpate.core.records import Stream
from palpate.perception.press_features import strongest_frames
from palpate.perception.press_video import PressReading
from palpate.recipes.touch_backbone import TouchBackbone
from palpate.recipes.touch_felt import CLIPS, cut_clips, read_touch

COMPONENTS = 2
"""With 120 simulated presses 4 and 8 gave no smaller errors, and wider intervals."""


@dataclass(frozen=True, kw_only=True)
class PressTouch:
    """A touch encoder that looks at presses on one sensor."""

    backbone: TouchBackbone
    sensor: str
    """The encoders' name of it."""

    def words(self) -> str:
        """Return a line that says which tokens the encoder uses."""
        return self.backbone.words([self.sensor])

    def about(self) -> dict[str, str]:
        """Return what a run must say of it."""
        return {"fingerprint": self.backbone.fingerprint(), "sensor": self.sensor}

    def __call__(self, video: Stream, reading: PressReading | None = None) -> np.ndarray:
        """Return features (D,) of a press: mean over clips that end where the picture is changed most, less those of the gel at rest.

        Args:
            video: of the press, pictures (T, H, W, 3) uint8.
            reading: of that video, if it was read before.
        """
        reading = reading or read_touch(video.values, video.times)
        shape = self.backbone.encoder.config
        clips = cut_clips(video.values, video.times, strongest_frames(reading.change, CLIPS), shape.frames, shape.size)
        rest = np.clip(np.rint(reading.rest), 0, 255).astype(np.uint8)
        return self.backbone.features(clips, self.sensor, rest).mean(axis=0)


@dataclass(frozen=True, kw_only=True)
class Components:
    """Principal components of features, fitted without labels."""

    mean: np.ndarray
    """(D,)"""
    axes: np.ndarray
    """(K, D) unit vectors."""

    @classmethod
    def fit(cls, features: np.ndarray, most: int = COMPONENTS) -> Self:
        """Return the axes along which features (N, D) spread most: `most`, or N - 1 if that is fewer."""
        mean = features.mean(axis=0)
        axes = np.linalg.svd(features - mean, full_matrices=False)[2]
        return cls(mean=mean, axes=axes[: min(most, max(len(features) - 1, 0))])

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return (N, K) of features (N, D)."""
        return (features - self.mean) @ self.axes.T
