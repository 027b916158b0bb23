"""What the outcome model sees of raw images: the object's surroundings, and touch as a difference to rest."""

import cv2
import numpy as np

from palpate.core.errors import RecordError

VIEW_SIZE = 256
"""Side of every view [px] (Gentle Grasping, Section IV-A.1: images are resized to 256 x 256)."""

OBJECT_SIDE = 208
"""Side of the camera window around the located object [px of the 640 x 480 image]."""


def object_view(rgb: np.ndarray, pixel: np.ndarray, side: int = OBJECT_SIDE, size: int = VIEW_SIZE) -> np.ndarray:
    """Return (size, size, 3) uint8: a window of `side` pixels around `pixel` (column, row) of an (H, W, 3) image.

    The window has a fixed size in pixels, so that the object keeps its apparent size. Beyond the border the edge repeats.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise RecordError(f"camera image must be (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    half = side // 2
    col, row = (round(float(v)) for v in pixel)
    padded = cv2.copyMakeBorder(rgb, half, half, half, half, cv2.BORDER_REPLICATE)
    row, col = int(np.clip(row, 0, rgb.shape[0] - 1)), int(np.clip(col, 0, rgb.shape[1] - 1))
    window = padded[row : row + side, col : col + side]
    return cv2.resize(window, (size, size), interpolation=cv2.INTER_LINEAR)


def touch_view(image: np.ndarray, rest: np.ndarray, size: int = VIEW_SIZE) -> np.ndarray:
    """Return (size, size, 3) uint8: 128 + difference to the image before contact (background subtraction, Section IV-A.1)."""
    if image.shape != rest.shape:
        raise RecordError(
            f"touch image {image.shape} and its rest image {rest.shape} differ in size; they must come from one sensor"
        )
    return cv2.resize(changed(image, rest), (size, size), interpolation=cv2.INTER_AREA)


def changed(images: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return 128 + the change of images (..., H, W, 3) uint8 since the image before contact, which broadcasts with them; uint8."""
    return np.clip(images.astype(np.int16) - rest + 128, 0, 255).astype(np.uint8)


def touch_differential(image: np.ndarray, rest: np.ndarray) -> float:
    """Return the summed absolute pixel difference of a touch image to rest, the third force proxy of Fig. 7."""
    return float(cv2.absdiff(image, rest).sum())
