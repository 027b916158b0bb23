"""Made-up touch videos: a lit gel with camera noise, a bump that comes and goes."""

import cv2
import numpy as np


def gel(rng, rows=120, cols=160):
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : cols * 1j]
    light = np.stack([90 + 40 * y, 100 + 30 * x, 120 - 30 * y], axis=-1)
    return light + rng.normal(0, 3, (rows, cols, 1))


def bump(rows=120, cols=160, radius=0.2, centre=(0.5, 0.5)):
    """(H, W, 3) shading of a dome: light from above is red, from the left green, from below blue."""
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : cols / rows : cols * 1j]
    y, x = y - centre[0], x - centre[1] * cols / rows
    height = np.exp(-(x**2 + y**2) / (2 * (radius / 2) ** 2))
    return np.stack([-y * height, -x * height, y * height], axis=-1) / radius * 4


def press(seed=0, n=60, on=20, off=48, ramp=10, gain=60.0, rows=120, cols=160, noise=1.0, **shape):
    """(T, H, W, 3) uint8: pressed from frame `on` to `off`, each end over `ramp` frames."""
    rng = np.random.default_rng(seed)
    rest, mark = gel(rng, rows, cols), bump(rows, cols, **shape)
    k = np.arange(n)
    depth = np.clip(np.minimum((k - on + 1) / ramp, (off - k) / ramp), 0, 1)
    frames = rest + gain * depth[:, None, None, None] * mark + rng.normal(0, noise, (n, rows, cols, 3))
    return np.clip(frames, 0, 255).round().astype(np.uint8)


def clock(n=60, rate_hz=25.0):
    return np.arange(n) / rate_hz


def write_video(path, frames, rate_hz=25.0):
    """Write (T, H, W, 3) RGB as Motion JPEG (.avi) or MPEG-4 (.mov)."""
    codec = "MJPG" if path.suffix == ".avi" else "mp4v"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate_hz, (frames.shape[2], frames.shape[1]))
    assert video.isOpened()
    for frame in frames:
        video.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    video.release()
