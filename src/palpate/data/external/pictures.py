"""Reading numbered pictures of strangers: sizes, damage, and whether they look like a gel or like a camera's."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

T = TypeVar("T")

EDGE_SIZE = 64
"""Side of the thumbnails in which edges are measured [px]."""
MOTION_SIZE = 8
"""Side of the thumbnails in which motion is measured [px]."""
SWAP_FACTOR = 1.3
"""Edges times motion of the touch pictures must exceed the camera's so many times to look swapped.

Measured on 51 real touch recordings (PhysiCLeAR, raw GelSight Wedge, DIGIT, 9DTact) against 7 of cameras, two of them fixed: the
ratio is at most 0.7 where nothing is swapped, so at least 1.4 where all is.
"""


@dataclass(kw_only=True)
class Taken:
    """Pictures of one stream that could be read, and what could not."""

    numbers: list[int] = field(default_factory=list)
    images: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8))
    """(T, H, W, 3) uint8 RGB, one for each number."""
    lossless: bool = False
    """Whether all of them come from PNG files."""
    damaged: list[Path] = field(default_factory=list)
    odd: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Counts by rows and columns of pictures of another size than asked for."""


def read_picture(path: Path) -> np.ndarray | None:
    """Return a picture (H, W, 3) uint8 RGB, without an alpha channel; None if it cannot be decoded."""
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if len(data) else None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def picture_shape(path: Path) -> tuple[int, int] | None:
    """Return rows and columns of a picture, None if it cannot be decoded."""
    image = read_picture(path)
    return None if image is None else (image.shape[0], image.shape[1])


def read_pictures(files: dict[int, Path], shape: tuple[int, int] | None, longest: int | None = None) -> Taken:
    """Read those pictures that can be decoded and have the shape.

    Args:
        files: By number, in order.
        shape: Rows and columns in the files; None takes those of the first picture.
        longest: Shrink to this longest side [px]; None keeps the size.
    """
    taken = Taken(lossless=all(path.suffix == ".png" for path in files.values()))
    images = []
    for number, path in files.items():
        image = read_picture(path)
        if image is None:
            taken.damaged.append(path)
            continue
        rows, cols = image.shape[:2]
        shape = shape or (rows, cols)
        if (rows, cols) != shape:
            taken.odd[rows, cols] += 1
            continue
        taken.numbers.append(number)
        images.append(shrunk(image, longest))
    if images:
        taken.images = np.stack(images)
    return taken


def shrunk(image: np.ndarray, longest: int | None) -> np.ndarray:
    """Return the picture with a longest side of at most `longest` pixels."""
    rows, cols = image.shape[:2]
    scale = 1.0 if longest is None else longest / max(rows, cols)
    if scale >= 1.0:
        return image
    return cv2.resize(image, (max(round(cols * scale), 1), max(round(rows * scale), 1)), interpolation=cv2.INTER_AREA)


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` items, evenly spread from the first to the last."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def looks_swapped(touch: Sequence[Path], camera: Sequence[Path]) -> bool:
    """Whether the touch pictures look more like a camera's than the camera's do.

    A gel is smooth and lit the same all the time; a camera's picture has edges, and a hand-held one moves. The product of both
    decides, since a fixed camera moves less than a gel that is pressed, and a plain wall has no more edges than a gel.
    """
    first, second = (
        liveliness([image for image in map(read_picture, paths) if image is not None]) for paths in (touch, camera)
    )
    return first is not None and second is not None and first > SWAP_FACTOR * second


def liveliness(images: Sequence[np.ndarray]) -> float | None:
    """Return edges times motion [levels squared] of pictures of one stream; None without pictures.

    Edges: mean step between neighbours in the middle of thumbnails of 64 x 64; the mount of a gel is further out. Motion:
    deviation over the pictures, median over the border of thumbnails of 8 x 8, plus 1, about the noise of a camera.
    """
    if not images:
        return None
    grey = np.stack([cv2.cvtColor(_thumbnail(image, EDGE_SIZE), cv2.COLOR_RGB2GRAY) for image in images]).astype(float)
    middle = slice(EDGE_SIZE // 4, -EDGE_SIZE // 4)
    grey = grey[:, middle, middle]
    edges = np.abs(np.diff(grey, axis=1)).mean() + np.abs(np.diff(grey, axis=2)).mean()
    small = np.stack([_thumbnail(image, MOTION_SIZE) for image in images]).astype(float)
    border = np.ones((MOTION_SIZE, MOTION_SIZE), bool)
    border[2:-2, 2:-2] = False
    return float(edges * (np.median(small.std(axis=0).mean(axis=-1)[border]) + 1.0))


def _thumbnail(image: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
