"""Camera noise of optical touch sensors: what stays for an episode and what changes with each frame.

`out = mean + (image - mean) * gain + offset + pattern + noise`: gain, offset and pattern are drawn per episode, noise per frame. Pattern
and noise have power spectra of 1/f^k, f in cycles per pixel. Figures: defaults of tactile-mnist's `sensor_noise`, which
says that they were found on real 64 x 64 GelSight Mini touches.
"""

from dataclasses import dataclass

import cv2
import numpy as np

_MARGIN = 64
"""A bank is larger than the picture by this, so that each frame takes another cut of it [px]."""

_COARSE = 8
"""The pattern of an episode is drawn on a grid this many times coarser than the picture."""


@dataclass(frozen=True, kw_only=True)
class NoiseFigures:
    """Standard deviations of the noise of a touch sensor."""

    gain: float = 0.047
    """Of the contrast about the mean, between episodes (about 1)."""
    offset: float = 2.4
    """Of the brightness, between episodes [grey levels]: 0.0094 of the range."""
    pattern: float = 2.4
    """Of the fixed pattern of an episode [grey levels]: 0.0093 of the range."""
    pattern_slope: float = 4.0
    """k of the pattern's power spectrum."""
    frame: float = 0.97
    """Of each frame [grey levels]: 0.0038 of the range."""
    frame_slope: float = 1.4
    """k of the frame noise's power spectrum."""
    channel_correlation: float = 0.3
    """Between colours, of pattern and frame noise."""
    marker: float = 0.0
    """Of a tracked marker's place, per axis and frame [m]."""
    displacement: float = 0.0
    """Of a displacement field, per component and frame [m]."""
    force: float = 0.0
    """Of a force field or region force, per component and frame [N]."""


def coloured(
    shape: tuple[int, int], slope: float, rng: np.random.Generator, *, correlation: float = 0.0, channels: int = 3
) -> np.ndarray:
    """Draw noise of mean 0 and standard deviation 1 per channel, periodic, with a power spectrum of 1/f^slope.

    Args:
        shape: rows and columns.
        slope: k; 0 is white.
        rng: source of randomness.
        correlation: between channels, 0 to 1.
        channels: number of channels.

    Returns:
        (H, W, channels) float32.
    """
    rows, cols = shape
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(cols)[None, :])
    frequency[0, 0] = 1.0
    amplitude = frequency ** (-slope / 2)
    amplitude[0, 0] = 0.0
    white = rng.normal(size=(channels + 1, rows, cols))
    field = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=shape)
    field /= field.std(axis=(1, 2), keepdims=True)
    mixed = np.sqrt(1.0 - correlation) * field[:-1] + np.sqrt(correlation) * field[-1]
    return np.ascontiguousarray(np.moveaxis(mixed, 0, -1), dtype=np.float32)


class NoiseBank:
    """Frame noise drawn once; each frame takes a cut at a random place and with a random sign."""

    def __init__(self, figures: NoiseFigures, shape: tuple[int, int], rng: np.random.Generator) -> None:
        """Draw the bank for pictures of (rows, cols)."""
        self._shape = shape
        larger = (shape[0] + _MARGIN, shape[1] + _MARGIN)
        self._bank = figures.frame * coloured(larger, figures.frame_slope, rng, correlation=figures.channel_correlation)

    def cut(self, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Return a view (H, W, 3) float32 into the bank [grey levels] and the sign, 1 or -1, to add it with."""
        draw = int(rng.integers(2 * _MARGIN * _MARGIN))
        place, sign = divmod(draw, 2)
        row, col = divmod(place, _MARGIN)
        return self._bank[row : row + self._shape[0], col : col + self._shape[1]], 1.0 if sign else -1.0


def episode_pattern(figures: NoiseFigures, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw the fixed pattern of an episode (H, W, 3) float32 [grey levels], not periodic."""
    coarse = (shape[0] // _COARSE + 2, shape[1] // _COARSE + 2)
    field = coloured((2 * coarse[0], 2 * coarse[1]), figures.pattern_slope, rng, correlation=figures.channel_correlation)
    # Of a slope of 4 next to nothing lies above a sixteenth of a cycle per pixel, so that a coarse grid holds it all.
    part = field[: coarse[0], : coarse[1]]
    part = (part - part.mean(axis=(0, 1))) * (np.float32(figures.pattern) / part.std(axis=(0, 1)))
    return cv2.resize(np.ascontiguousarray(part), (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
