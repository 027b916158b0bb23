"""From the shape of a gel to a picture: three coloured lights from three sides, seen as a difference to the rest image."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, kw_only=True)
class Optics:
    """Illumination and camera of an optical touch sensor."""

    shape: tuple[int, int] = (320, 240)
    """Rows and columns of the picture."""
    slope_gain: float = 430.0
    """Grey levels per unit of slope towards a light."""
    shade: float = 18.0
    """Grey levels lost per millimetre of depth, in all colours: less light reaches sunken gel."""
    azimuth_deg: tuple[float, float, float] = (-90.0, 30.0, 150.0)
    """Where the red, green and blue lights stand around the gel; 0 is to the right, 90 up."""
    base: tuple[float, float, float] = (120.0, 128.0, 140.0)
    """Mean grey level of each colour at rest."""
    frame_noise: float = 0.9
    """Standard deviation per pixel and channel in each frame [grey levels]."""
    gain_spread: float = 0.03
    """Of the contrast, between episodes."""
    offset_spread: float = 2.0
    """Of the brightness, between episodes [grey levels]."""

    def lights(self) -> np.ndarray:
        """Return (3, 2) unit directions towards the lights, columns right and rows down."""
        angle = np.deg2rad(self.azimuth_deg)
        return np.stack([np.cos(angle), -np.sin(angle)], axis=1).astype(np.float32)


def rest_image(optics: Optics, rng: np.random.Generator) -> np.ndarray:
    """Draw the rest image (H, W, 3) float32 of one unit: colours fall off from their lights, the corners are dark."""
    rows, cols = optics.shape
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, cols) * cols / rows, indexing="ij")
    image = np.empty((rows, cols, 3), np.float32)
    vignette = 1.0 - 0.22 * (x * x + y * y)
    for channel, (right, down) in enumerate(optics.lights()):
        fall = 1.0 + rng.uniform(0.22, 0.34) * (x * right + y * down)
        image[..., channel] = optics.base[channel] * rng.uniform(0.92, 1.08) * fall * vignette
    blotch = cv2.resize(rng.normal(size=(10, 8, 3)).astype(np.float32), (cols, rows), interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 1.5 * blotch, 0, 255)


def shade(optics: Optics, sunk: np.ndarray, pitch: tuple[float, float]) -> np.ndarray:
    """Return the change (H, W, 3) float32 [grey levels] that a sunken gel makes; 0 exactly for a flat one.

    Args:
        optics: the sensor's.
        sunk: depth below rest (h, w) [m] on any grid over the picture.
        pitch: size of a picture element, rows and columns [m].
    """
    rows, cols = optics.shape
    depth = cv2.resize(sunk.astype(np.float32), (cols, rows), interpolation=cv2.INTER_LINEAR)
    depth = cv2.GaussianBlur(depth, (0, 0), 2.5)  # the camera's own blur; also removes the coarse grid's edges
    down = cv2.Sobel(depth, cv2.CV_32F, 0, 1, ksize=3, scale=1.0 / (8.0 * pitch[0]))
    right = cv2.Sobel(depth, cv2.CV_32F, 1, 0, ksize=3, scale=1.0 / (8.0 * pitch[1]))
    steep = 1.0 / np.sqrt(1.0 + down * down + right * right)
    down *= steep
    right *= steep
    out = np.empty((rows, cols, 3), np.float32)
    dim = np.float32(-optics.shade * 1000.0) * depth
    for channel, (to_right, to_down) in enumerate(optics.lights()):
        # The surface sinks along (right, down); where it sinks away from a light it faces that light.
        out[..., channel] = np.float32(-optics.slope_gain) * (right * to_right + down * to_down) + dim
    return out
