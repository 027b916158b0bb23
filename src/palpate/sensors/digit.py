"""The DIGIT touch sensor (Lambeta et al., 2020): 240 x 320 colour pictures of a 16 x 19 mm gel.

Field of view and resolution are those of Gentle Grasping, Section III. No labelled DIGIT presses were to be had, so gains and
colours are estimates; the rest images differ from unit to unit as real ones do.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from palpate.core.errors import RecordError
from palpate.core.records import TactileFrame
from palpate.sensors.gel import Gel, press
from palpate.sensors.optics import Optics, rest_image, shade

_MARGIN = 48


@dataclass(frozen=True, kw_only=True)
class DigitConfig:
    """Constants of the sensor."""

    gel: Gel = field(default_factory=Gel)
    optics: Optics = field(default_factory=Optics)
    max_force: float = 60.0
    """A harder press is refused as a mistake [N]."""


class Digit:
    """One unit. `rest` and `press` are free of noise; `frame` is what the camera inside gives."""

    def __init__(self, config: DigitConfig, unit_seed: int) -> None:
        """Draw the unit's rest image and its noise bank."""
        self.config = config
        self.name = f"digit-{unit_seed}"
        rng = np.random.default_rng([unit_seed, 2020])
        self._rest = rest_image(config.optics, rng)
        rows, cols = config.optics.shape
        shape = (rows + _MARGIN, cols + _MARGIN)
        white = rng.normal(size=(*shape, 3)).astype(np.float32)
        rough = cv2.resize(rng.normal(size=(shape[0] // 3, shape[1] // 3, 3)).astype(np.float32), (shape[1], shape[0]))
        noise = 0.8 * white + 0.6 * rough / rough.std()
        self._bank = np.rint(config.optics.frame_noise * noise).astype(np.int16)
        self._gain = 1.0
        self._idle = self._rest
        self._idle_bytes = cv2.convertScaleAbs(self._idle)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return self.config.optics.shape

    def begin_episode(self, rng: np.random.Generator) -> None:
        """Draw what stays the same for an episode: contrast and brightness."""
        optics = self.config.optics
        self._gain = 1.0 + float(rng.normal(0.0, optics.gain_spread))
        self._idle = np.maximum(self._rest + rng.normal(0.0, optics.offset_spread, 3).astype(np.float32), 0.0)
        self._idle_bytes = cv2.convertScaleAbs(self._idle)

    def rest(self, time: float = 0.0) -> TactileFrame:
        """Return the picture without contact and without noise."""
        return TactileFrame(image=np.rint(self._rest).astype(np.uint8), time=time)

    def press(self, gap: np.ndarray, force: float, time: float = 0.0) -> TactileFrame:
        """Return the picture, without noise, of a surface at distance `gap` (H, W) [m] pressed on with `force` [N]."""
        return TactileFrame(image=np.clip(np.rint(self._rest + self._change(gap, force)), 0, 255).astype(np.uint8), time=time)

    def frame(self, gap: np.ndarray | None, force: float, rng: np.random.Generator, time: float) -> TactileFrame:
        """Return a noisy picture; `gap` None means that nothing touches.

        Raises:
            RecordError: the gap or the force is not physical.
        """
        image = self._idle_bytes
        if gap is not None:
            change = self._change(gap, force)
            cv2.scaleAdd(change, self._gain, self._idle, dst=change)
            image = cv2.convertScaleAbs(np.maximum(change, 0.0, out=change))
        row, col = rng.integers(0, _MARGIN, 2)
        rows, cols = self.image_shape
        grain = np.ascontiguousarray(self._bank[row : row + rows, col : col + cols])
        return TactileFrame(image=cv2.add(image, grain, dtype=cv2.CV_8U), time=time)

    def _change(self, gap: np.ndarray, force: float) -> np.ndarray:
        gel, optics = self.config.gel, self.config.optics
        if force > self.config.max_force:
            raise RecordError(
                f"a press of {force:.1f} N is beyond the sensor's {self.config.max_force:.0f} N; is the force in newtons?"
            )
        rows, cols = optics.shape
        return shade(optics, press(gel, gap, force).sunk, (gel.height / rows, gel.width / cols))
