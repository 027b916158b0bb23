"""GelSight Wedge compliance recordings: a gripper closes on an object; touch video, grip force and width, one sample per frame.

A public data set without a stated licence. Per trial `NAME.avi` (MJPEG, 640 x 480), `NAME_forces.pkl` [N] and
`NAME_widths.pkl` [m], in one folder per day. The raw picture shows the gel as a trapezium: `wedge_config/config_*.csv` holds the
corners. The width moves in steps, the force has an offset and drifts, and the widths exclude sensor and gel.
"""

import csv
from pathlib import Path

import cv2
import numpy as np

from palpate.core.errors import DataError
from palpate.core.records import Episode, Stream
from palpate.data.external.restricted_pickle import load_series
from palpate.data.external.video import (
    Clip,
    Imported,
    check_size,
    most_common_size,
    pad_stream,
    read_clip,
    series_stream,
    take_number,
    write_presses,
)

FORCE, WIDTH = "gripper.force", "gripper.width"
CORNERS = ("topleft", "topright", "bottomleft", "bottomright")
GEL = (400, 300)
"""Columns and rows of the upright picture of the gel, as the authors have it."""
UNIT_100 = Path("wedge_config", "config_100.csv")
"""Corners of the sensor unit that made the public trials."""


def import_wedge(folder: Path, out: Path, *, corners: Path | None = None) -> Imported:
    """Import all trials below a folder as episodes of task `press`.

    Streams `touch.pad` (300, 400, 3), `gripper.force` [N] and `gripper.width` [m] on the video's clock. Groups: `object`, `date`
    (name of the folder), `take`. There are no labels: stiffness is measured from force and width.

    Args:
        folder: Holds `*.avi` with their pickles, at any depth.
        out: New data folder.
        corners: CSV `Name,x,y` of the gel's corners [px]; by default `wedge_config/config_100.csv` in `folder`.

    Raises:
        DataError: No trial could be imported, or there are no corners.
    """
    folder = Path(folder)
    paths = sorted(folder.rglob("*.avi"))
    if not paths:
        raise DataError(f"{folder}: no .avi file; give the folder with the trials, NAME.avi beside NAME_forces.pkl")
    at = read_corners(folder / UNIT_100 if corners is None else Path(corners))
    size = most_common_size(paths)

    def read(path: Path, index: int) -> tuple[Episode, list[str]]:
        clip = read_clip(path)
        check_size(path, clip, size)
        name, take = take_number(path.stem)
        force, width = (load_series(path.with_name(f"{path.stem}_{kind}.pkl")) for kind in ("forces", "widths"))
        _same_length(path, clip, force, width)
        episode = Episode(
            index=index,
            seed=0,
            task="press",
            groups={"object": name, "date": path.parent.name, "take": f"{path.parent.name}/{name}/{take}"},
            streams=_streams(clip, at, force, width),
        )
        return episode, []

    config = {"source": "gelsight_wedge_compliance", "corners": at.tolist()}
    done, left_out, notes = write_presses(Path(out), config, paths, read)
    return Imported(out=Path(out), episodes=done, left_out=tuple(left_out), unlabelled=(), notes=tuple(notes))


def read_corners(path: Path) -> np.ndarray:
    """Return (4, 2) float64 corners of the gel [px]: top left, top right, bottom left, bottom right.

    Raises:
        DataError: The file is absent or lacks a corner.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            at = {row["Name"]: (float(row["x"]), float(row["y"])) for row in csv.DictReader(file)}
        return np.array([at[name] for name in CORNERS])
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; give the CSV with the corners of the gel (Name,x,y)") from error
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: {error!r}; it must have columns Name,x,y and the rows {', '.join(CORNERS)}") from error


def upright(frame: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the gel (300, 400, 3) uint8 of a raw picture, given (4, 2) corners [px]."""
    target = np.array([(0, 0), (GEL[0], 0), (0, GEL[1]), GEL], np.float32)
    return cv2.warpPerspective(frame, cv2.getPerspectiveTransform(corners.astype(np.float32), target), GEL)


def _same_length(path: Path, clip: Clip, force: np.ndarray, width: np.ndarray) -> None:
    if not len(clip.frames) == len(force) == len(width):
        raise DataError(
            f"{path}: {len(clip.frames)} frames ({clip.missing} more promised), {len(force)} forces and {len(width)} widths; "
            "they belong together one by one. Which ones are missing cannot be told: repair the trial or leave it out"
        )


def _streams(clip: Clip, corners: np.ndarray, force: np.ndarray, width: np.ndarray) -> dict[str, Stream]:
    gel = np.stack([upright(frame, corners) for frame in clip.frames])
    streams = (
        pad_stream(gel, clip.times, "gel"),
        series_stream(FORCE, "N", force, clip.times),
        series_stream(WIDTH, "m", width, clip.times),
    )
    return {stream.spec.name: stream for stream in streams}
