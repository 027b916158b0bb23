"""Is something between the fingers? From touch images after the lift (More Than a Feeling, Section V).

The paper trains a network a finger that detects contact in GelSight images, first on manual labels, then on its own. Here a few
numbers a finger, taken from the difference to the same sensor's image before the trial, go to the regression of
`palpate.perception.stability`, which learns in the same two steps.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from palpate.core.errors import RecordError

_SIDE = 64
"""Differences are looked at in pictures of about this many columns: smaller detail is camera noise."""

_FAINT = 2.0
"""A change below this many grey levels is noise."""

_CLEAR = 6.0
"""A change above this many grey levels is contact."""


def contact_numbers(image: np.ndarray, rest: np.ndarray) -> tuple[float, float]:
    """Return how strong [grey levels] and how wide (share of the picture) a touch image (H, W, 3) uint8 differs from rest.

    The middle change of each colour is taken off first: lamps drift, and no contact covers half a gel's picture evenly.
    """
    if image.shape != rest.shape:
        raise RecordError(
            f"touch image {image.shape} and its rest image {rest.shape} differ in size; they must be one sensor's"
        )
    scale = _SIDE / image.shape[1]
    size = (_SIDE, max(1, round(image.shape[0] * scale)))
    now, before = (cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32) for picture in (image, rest))
    change = now - before
    change -= np.median(change, axis=(0, 1))
    strength = np.abs(change).max(axis=2)
    return float(np.percentile(strength, 99.5)), float((strength > _CLEAR).mean())


@dataclass(frozen=True, kw_only=True)
class ContactEvidence:
    """What the touch images at the end of the hold tell about one trial."""

    strength: tuple[float, ...]
    """Of each finger: change of its image [grey levels]."""
    area: tuple[float, ...]
    """Of each finger: share of its image that changed clearly."""

    def vector(self) -> np.ndarray:
        """Return the regression's inputs (4,): weaker and mean finger, of strength and of area, each saturating."""
        strength = np.log(np.maximum(np.array(self.strength), _FAINT) / _FAINT)
        area = np.sqrt(np.array(self.area))
        return np.array([strength.min(), strength.mean(), area.min(), area.mean()])

    def array(self) -> np.ndarray:
        """Return (2 F,): strengths, then areas."""
        return np.array([*self.strength, *self.area])

    @classmethod
    def restore(cls, values: np.ndarray) -> "ContactEvidence":
        """Invert `array`."""
        n = len(values) // 2
        return cls(strength=tuple(values[:n].tolist()), area=tuple(values[n:].tolist()))


def contact_evidence(held: dict[str, np.ndarray], rest: dict[str, np.ndarray]) -> ContactEvidence:
    """Return the evidence of one trial from touch images (H, W, 3) uint8 by finger.

    Raises:
        RecordError: no finger has an image; stability cannot be told by touch.
    """
    if not held or set(held) - set(rest):
        raise RecordError(f"touch images after the lift of {sorted(held)}, at rest of {sorted(rest)}; each finger needs both")
    numbers = [contact_numbers(held[finger], rest[finger]) for finger in sorted(held)]
    return ContactEvidence(strength=tuple(n[0] for n in numbers), area=tuple(n[1] for n in numbers))
