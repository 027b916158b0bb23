"""Real touch recordings for touch_realism.py: pictures of presses with their own background, and pictures between which nothing happened.

Reads ../shared/data, which is no part of the project; nothing of it is copied.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from palpate.core.errors import DataError
from palpate.recipes.touch_realism import quiet, strongest

SIZE = (320, 240)
"""Columns and rows that everything is compared at."""
KEY_FRAMES = 12
"""PhysiCLeAR's clips have a key frame every 12 pictures; between them compression copies still blocks."""
LEAST = 15.0
"""A clip whose most changed part changes by less shows no press [grey levels]."""
WEDGE_CORNERS = "config_100.csv"
WEDGE_GEL = slice(140, 340), slice(90, 390)
"""Rows and columns that show gel in a Wedge's picture before it is warped, which would smooth its noise."""
CUT = 25


@dataclass(frozen=True)
class Recorded:
    """One press of one clip."""

    rest: np.ndarray
    """(240, 320, 3) float32, median of quiet pictures."""
    image: np.ndarray
    """(240, 320, 3) uint8."""
    group: str
    """Object."""


@dataclass(frozen=True)
class Recordings:
    """Presses and quiet pictures of one sensor."""

    presses: list[Recorded]
    still: list[np.ndarray]
    """Of each clip, (T, H, W, 3) uint8 as recorded, in order and without gaps."""
    skipped: int
    """Clips without a background or without a press."""


def read_video(path: Path) -> np.ndarray:
    """(T, H, W, 3) uint8 RGB."""
    stream, frames = cv2.VideoCapture(str(path)), []
    while True:
        good, frame = stream.read()
        if not good:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    stream.release()
    if not frames:
        raise DataError(f"{path}: no picture can be read; OpenCV lacks the decoder, or the file is no video")
    return np.stack(frames)


def background(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median (H, W, 3) of quiet pictures and which (T,) are quiet. The first picture alone may be a left-over of a press."""
    first = np.median(frames[: min(8, len(frames))], axis=0)
    still = quiet(frames, first)
    if still.sum() < 3:
        raise DataError("fewer than 3 quiet pictures: no background")
    middle = np.median(frames[still][:24], axis=0)
    return middle.astype(np.float32), quiet(frames, middle)


def first_run(still: np.ndarray) -> slice:
    """The first quiet pictures without a gap, the very first picture left out."""
    start = int(np.argmax(still[1:])) + 1
    loud = np.flatnonzero(~still[start:])
    return slice(start, start + (int(loud[0]) if len(loud) else len(still) - start))


def recordings(clips: list[tuple[Path, str]], lag: int, corners: Path | None = None) -> Recordings:
    presses, still, skipped = [], [], 0
    for path, group in clips:
        recorded = read_video(path)
        frames = recorded if corners is None else np.stack([warped(f, corners) for f in recorded])
        try:
            rest, calm = background(frames)
        except DataError:
            skipped += 1
            continue
        run = first_run(calm)
        if run.stop - run.start > lag + 1:
            still.append(recorded[run] if corners is None else recorded[run][:, WEDGE_GEL[0], WEDGE_GEL[1]])
        best, change = strongest(frames, rest)
        if change < LEAST:
            skipped += 1
            continue
        presses.append(Recorded(cv2.resize(rest, SIZE, interpolation=cv2.INTER_AREA), sized(frames[best]), group))
    return Recordings(presses, still, skipped)


def sized(image: np.ndarray) -> np.ndarray:
    return image if image.shape[1::-1] == SIZE else cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)


def warped(frame: np.ndarray, corners: Path) -> np.ndarray:
    """The gel of a Wedge's picture, upright, edges cut off."""
    with corners.open(newline="") as stream:
        at = {row["Name"]: (float(row["x"]), float(row["y"])) for row in csv.DictReader(stream)}
    source = np.array([at[n] for n in ("topleft", "topright", "bottomleft", "bottomright")], np.float32)
    target = np.array([(0, 0), (400, 0), (0, 300), (400, 300)], np.float32)
    flat = cv2.warpPerspective(frame, cv2.getPerspectiveTransform(source, target), (400, 300))
    return flat[CUT:-CUT, CUT:-CUT]


def mini_clips(shared: Path, takes: int) -> list[tuple[Path, str]]:
    """PhysiCLeAR: the first takes of every object."""
    by_object: dict[str, list[Path]] = {}
    for path in sorted((shared / "octopi_physiclear").glob("*.mov")):
        by_object.setdefault(path.stem.rpartition("_")[0], []).append(path)
    return [(path, name) for name, paths in by_object.items() for path in paths[:takes]]


def wedge_clips(shared: Path, day: str) -> list[tuple[Path, str]]:
    clips = []
    for path in sorted((shared / "gelsight_wedge_compliance" / day).glob("*.avi")):
        name = path.stem.partition("__t=")[0] if "__t=" in path.stem else path.stem.rpartition("_")[0]
        clips.append((path, name))
    return clips


def picture(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        raise DataError(f"{path} is missing or no picture")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def nine_d_tact(shared: Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Rest and ball press of both units, (345, 460, 3)."""
    folder = shared / "tactile_multisensor" / "9dtact"
    name = "sensor_{}__depth_calibration__rectify_crop_{}.png"
    return {
        unit: (picture(folder / name.format(unit, "ref")), picture(folder / name.format(unit, "sample"))) for unit in (1, 2)
    }


def digit_rests(shared: Path) -> dict[str, np.ndarray]:
    folder = shared / "tactile_multisensor" / "digit_background"
    return {path.stem: picture(path) for path in sorted(folder.glob("*.png"))}
