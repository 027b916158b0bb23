"""Pictures of what touch sensors give, whatever it is, and tables of such pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from palpate.core.errors import RecordError
from palpate.sensors.touch.model import SensorModel
from palpate.sensors.touch.sensor import Reading
from palpate.sensors.touch.taxels import Taxels

_GREY = 128.0
_INK = (31, 35, 40)
_SOFT = (110, 118, 129)
_LINE = (216, 222, 228)
_BRIGHT = (255, 255, 255)
_PULL = (213, 94, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FULL_PRESSURE = 60e3
"""Mean pressure that gets the brightest colour at least, so that a slight touch does not look like a hard one [Pa]."""


def draw_reading(model: SensorModel, reading: Reading, layout: Taxels | None = None, *, longest: int = 480) -> np.ndarray:
    """Return what a sensor gave as a picture (H, W, 3) uint8, RGB.

    A camera's picture is returned as it is. Forces are drawn in colour (bright: pushed harder), with arrows for what moves or pulls
    along the surface; the seen gel keeps its proportions.

    Args:
        model: of the sensor.
        reading: a single one.
        layout: places of the taxels, for a sensor of taxels.
        longest: longer side of a drawing [px].

    Raises:
        RecordError: the reading holds nothing that can be drawn.
    """
    if reading.image is not None:
        return reading.image
    size = _size(model.field_of_view, longest)
    if reading.displacement is not None and reading.force is not None:
        return _draw_field(model, reading.displacement, reading.force, size)
    if reading.taxels is not None and layout is not None:
        return _draw_taxels(reading.taxels, layout, longest)
    raise RecordError(f"{model.name} gave neither a picture, a field nor taxels with a layout; nothing to draw")


def draw_difference(model: SensorModel, reading: Reading, rest: Reading, *, gain: float = 2.0) -> np.ndarray | None:
    """Return the change against the rest image about mid-grey (H, W, 3) uint8, times `gain`; None for a sensor without pictures."""
    if reading.image is None or rest.image is None:
        return None
    change = reading.image.astype(np.float32) - rest.image
    return np.clip(np.rint(_GREY + gain * change), 0, 255).astype(np.uint8)


def _size(view: tuple[float, float], longest: int) -> tuple[int, int]:
    scale = longest / max(view)
    return round(view[0] * scale), round(view[1] * scale)


def _colours(share: np.ndarray) -> np.ndarray:
    """Return colours (..., 3) uint8, RGB, of shares within 0 and 1."""
    levels = np.clip(np.rint(255 * share), 0, 255).astype(np.uint8)
    return cv2.applyColorMap(levels.reshape(-1, 1), cv2.COLORMAP_VIRIDIS)[:, 0, ::-1].reshape(*share.shape, 3)


def _draw_field(model: SensorModel, displacement: np.ndarray, force: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw a field: colour is normal force on each part, arrows are displacement along the surface."""
    rows, cols = force.shape[:2]
    part = model.field_of_view[0] * model.field_of_view[1] / (rows * cols)
    full = max(float(force[..., 2].max()), _FULL_PRESSURE * part)
    picture = cv2.resize(_colours(np.maximum(force[..., 2], 0) / full), size[::-1], interpolation=cv2.INTER_NEAREST)
    along = displacement[..., :2]
    longest = max(float(np.hypot(along[..., 0], along[..., 1]).max()), 20e-6)
    step = np.array([size[1] / cols, size[0] / rows])
    for i in range(rows):
        for j in range(cols):
            start = (np.array([j, i]) + 0.5) * step
            _arrow(picture, start, along[i, j] / longest * 1.6 * step)
    return picture


def _draw_taxels(forces: np.ndarray, layout: Taxels, longest: int) -> np.ndarray:
    """Draw taxels from above: colour and size are the push along each one's normal, arrows the pull along x and y."""
    places = layout.positions[:, :2]
    low, high = places.min(axis=0), places.max(axis=0)
    margin = 0.12 * (high - low).max()
    scale = longest / float((high - low).max() + 2 * margin)
    width, height = (round(float(v)) for v in (high - low + 2 * margin) * scale)
    picture = np.full((height, width, 3), 245, np.uint8)
    push = (forces * layout.normals).sum(axis=1)
    pull = forces[:, :2] - push[:, None] * layout.normals[:, :2]
    full = max(float(np.abs(push).max()), 0.02)
    colours = _colours(np.clip(push / full, 0, 1))
    reach = 0.06 * longest
    for place, share, colour, side in zip(places, push / full, colours, pull, strict=True):
        at = (place - low + margin) * scale
        _disc(picture, at, reach * (0.55 + 0.45 * float(np.clip(share, 0, 1))), colour)
        _arrow(picture, at, side / full * 3 * reach, _PULL)
    return picture


def _disc(picture: np.ndarray, at: np.ndarray, radius: float, colour: np.ndarray) -> None:
    centre = (round(float(at[0])), round(float(at[1])))
    cv2.circle(picture, centre, round(radius), tuple(int(c) for c in colour), -1, cv2.LINE_AA)
    cv2.circle(picture, centre, round(radius), _SOFT, 1, cv2.LINE_AA)


def _arrow(picture: np.ndarray, start: np.ndarray, along: np.ndarray, colour: tuple[int, int, int] = _BRIGHT) -> None:
    if np.hypot(*along) < 2:  # shorter than it can be seen
        return
    first = (round(float(start[0])), round(float(start[1])))
    last = (round(float(start[0] + along[0])), round(float(start[1] + along[1])))
    cv2.arrowedLine(picture, first, last, colour, 1, cv2.LINE_AA, 0, 0.3)


@dataclass(frozen=True, kw_only=True)
class PictureTable:
    """Pictures in rows and columns under a head; a row is a list of cells, a cell a list of pictures side by side."""

    rows: Sequence[str]
    columns: Sequence[str]
    cells: Sequence[Sequence[Sequence[np.ndarray]]]
    """By row and column; (H, W, 3) uint8, RGB."""
    notes: Sequence[Sequence[str]]
    """A short line below each cell."""

    def __post_init__(self) -> None:
        """Refuse ragged tables."""
        whole = len(self.cells) == len(self.rows) == len(self.notes)
        if not whole or any(len(row) != len(self.columns) for row in [*self.cells, *self.notes]):
            raise RecordError(f"a table of {len(self.rows)} rows and {len(self.columns)} columns needs as many cells and notes")

    def draw(self, *, height: int = 120) -> np.ndarray:
        """Return the table as one picture (H, W, 3) uint8, RGB; pictures get this height [px]."""
        gap, head, note, side = 6, 26, 18, 110
        least = 7 * max(len(words) for row in self.notes for words in row)  # about the width of the notes' letters
        widths = [max(least, *(_width(row[k], height, gap) for row in self.cells)) for k in range(len(self.columns))]
        shape = (head + len(self.rows) * (height + note + gap), side + sum(w + 2 * gap for w in widths), 3)
        canvas = np.full(shape, 255, np.uint8)
        left = side
        for name, width in zip(self.columns, widths, strict=True):
            _words(canvas, name, (left, head - 9), 0.5, _INK)
            left += width + 2 * gap
        for i, name in enumerate(self.rows):
            top = head + i * (height + note + gap)
            cv2.line(canvas, (0, top - gap // 2), (shape[1], top - gap // 2), _LINE, 1)
            _words(canvas, name, (6, top + height // 2), 0.5, _INK)
            left = side
            for cell, words, width in zip(self.cells[i], self.notes[i], widths, strict=True):
                _place(canvas, cell, (top, left), height, gap)
                _words(canvas, words, (left, top + height + 13), 0.38, _SOFT)
                left += width + 2 * gap
        return canvas


def _scaled_width(picture: np.ndarray, height: int) -> int:
    return round(picture.shape[1] * height / picture.shape[0])


def _width(cell: Sequence[np.ndarray], height: int, gap: int) -> int:
    return sum(_scaled_width(picture, height) for picture in cell) + gap * (len(cell) - 1)


def _place(canvas: np.ndarray, cell: Sequence[np.ndarray], corner: tuple[int, int], height: int, gap: int) -> None:
    top, left = corner
    for picture in cell:
        width = _scaled_width(picture, height)
        canvas[top : top + height, left : left + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        left += width + gap


def _words(canvas: np.ndarray, text: str, at: tuple[int, int], scale: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, at, _FONT, scale, colour, 1, cv2.LINE_AA)


def write_picture(path: str, picture: np.ndarray) -> None:
    """Write (H, W, 3) uint8, RGB, as a PNG or JPEG file; the name's ending says which.

    Raises:
        RecordError: the ending is of no picture, or the file cannot be written.
    """
    try:
        done = cv2.imwrite(path, np.ascontiguousarray(picture[..., ::-1]))
    except cv2.error as error:
        raise RecordError(f"{path} cannot be written as a picture; give a name that ends in .png or .jpg ({error})") from error
    if not done:
        raise RecordError(f"{path} cannot be written; does its folder exist, and may you write there?")
