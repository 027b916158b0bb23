"""From the shape of a gel to a picture: stages that each add a change in grey levels to the rest image.

Every stage is 0 for a flat gel, so a picture without contact equals the rest image bit for bit. The order of the stages does not
matter. Fitted stages come from `palpate.sensors.touch.calibrate`; lamps and their shadows serve sensors without calibration.
"""

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, get_args

import cv2
import numpy as np

from palpate.core.errors import DataError, RecordError
from palpate.sensors.touch import shading

CELLS = (60, 80)
"""Rows and columns of the coarse grid on which light spreads and shadows fall."""
FORMAT = 1
MOST_POWER, MOST_LEVELS = 8, 5
_FIT = 0.02


@dataclass(frozen=True)
class Relief:
    """A gel's surface as the stages need it."""

    sunk: np.ndarray
    """(H, W) float32 [m], on the picture's grid, softened by the camera's blur."""
    coarse: np.ndarray
    """(h, w) float32 [m], the same on the coarse grid."""
    pitch: tuple[float, float]
    """Size of a picture element, rows and columns [m]."""

    @property
    def coarse_pitch(self) -> tuple[float, float]:
        """Size of a coarse cell, rows and columns [m]."""
        return (
            self.pitch[0] * self.sunk.shape[0] / self.coarse.shape[0],
            self.pitch[1] * self.sunk.shape[1] / self.coarse.shape[1],
        )


class Stage(Protocol):
    """One cause of change in a picture; 0 for a flat gel."""

    def add(self, relief: Relief, out: np.ndarray) -> None:
        """Add the change [grey levels] to out (H, W, 3) float32."""


@dataclass(frozen=True, kw_only=True)
class Slopes:
    """Light that the tilted surface sends to the camera: a polynomial of the normal, its coefficients change with the place.

    After Taxim (Si and Yuan 2022, arXiv:2109.04027), whose polynomials of the place belong to bins of the normal; here one
    polynomial of normal and place, without a constant term.
    """

    exponents: np.ndarray
    """(T, 2) int64, of the slopes right and down."""
    weights: np.ndarray
    """(T, 3, 3, 3) float32 [grey levels]: term, power of the row's place, power of the column's place, colour."""

    def __post_init__(self) -> None:
        """Check what the compiled loops rely on."""
        count = len(self.exponents)
        if self.exponents.shape != (count, 2) or count == 0 or self.weights.shape != (count, 3, 3, 3):
            raise RecordError(
                f"exponents {self.exponents.shape}, weights {self.weights.shape}; (T, 2) and (T, 3, 3, 3) are needed"
            )
        if self.exponents.min() < 0 or self.exponents.max() > MOST_POWER or (self.exponents.sum(axis=1) < 1).any():
            raise RecordError(f"exponents must be 0..{MOST_POWER} and not both 0, or a flat gel would change the picture")

    def add(self, relief: Relief, out: np.ndarray) -> None:
        """Add the change to out."""
        shading.add_polynomial(relief.sunk, relief.pitch, self.exponents, self.weights, out)


def stencil(levels: int) -> np.ndarray:
    """Return (T, 3) level, row and column: 5 x 5 points on the first level, on each further one its outer 16, twice as far apart."""
    points = [(0, i, j) for i in range(-2, 3) for j in range(-2, 3)]
    for level in range(1, levels):
        points += [(level, i, j) for i in range(-2, 3) for j in range(-2, 3) if max(abs(i), abs(j)) > 1]
    return np.array(points, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Light and shadow that reach beyond the slope they come from: a wide linear kernel that changes with the place.

    The kernel is the sum of blurred points on dilated 5 x 5 stencils, so it reaches far with few numbers.
    """

    taps: np.ndarray
    """(T, 3) int64: level, row and column of each tap."""
    weights: np.ndarray
    """(T, 3, 3) float32 [grey levels per coarse cell of depth]: tap; constant, along x, along y; colour."""

    def __post_init__(self) -> None:
        """Check what the compiled loops rely on."""
        count = len(self.taps)
        if self.taps.shape != (count, 3) or count == 0 or self.weights.shape != (count, 3, 3):
            raise RecordError(f"taps {self.taps.shape}, weights {self.weights.shape}; (T, 3) and (T, 3, 3) are needed")
        if not (0 <= self.taps[:, 0].min() <= self.taps[:, 0].max() < MOST_LEVELS and np.abs(self.taps[:, 1:]).max() <= 2):
            raise RecordError(f"taps need levels 0..{MOST_LEVELS - 1} and offsets -2..2")

    @cached_property
    def _packed(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return shading.pack(self.taps, self.weights.reshape(-1, 9))

    def add(self, relief: Relief, out: np.ndarray) -> None:
        """Add the change to out."""
        rows, cols = relief.coarse.shape
        mixed = shading.spread(relief.coarse, self.taps, self.weights.reshape(-1, 9), self._packed)
        y, x = shading.places(rows), shading.places(cols)
        change = mixed[:3] + mixed[3:6] * x + mixed[6:] * y[:, None]
        change *= np.float32(1 / relief.coarse_pitch[0])
        out += cv2.resize(np.ascontiguousarray(change.transpose(1, 2, 0)), (out.shape[1], out.shape[0]))


@dataclass(frozen=True, kw_only=True)
class Darkness:
    """White light through a translucent gel: the picture darkens with depth, whatever the slope (9DTact)."""

    depth: np.ndarray
    """(K,) rising knots [m]; one is 0."""
    change: np.ndarray
    """(K, 3) [grey levels], 0 at depth 0; between knots linear, outside them constant."""

    def __post_init__(self) -> None:
        """Check that a flat gel changes nothing."""
        if self.change.shape != (len(self.depth), 3) or (np.diff(self.depth) <= 0).any():
            raise RecordError(f"depth {self.depth.shape} must rise, change {self.change.shape} must be (K, 3)")
        if not (self.depth == 0).any() or self.change[self.depth == 0].any():
            raise RecordError("one knot must lie at depth 0 with a change of 0, or a flat gel would change the picture")

    def add(self, relief: Relief, out: np.ndarray) -> None:
        """Add the change to out."""
        for colour in range(3):
            out[..., colour] += np.interp(relief.sunk, self.depth, self.change[:, colour])


@dataclass(frozen=True, kw_only=True)
class Lamps:
    """Coloured lamps around a gel: Lambert's law, fall-off across the gel, soft shadows on the coarse grid."""

    azimuth_deg: np.ndarray
    """(L,) where each lamp stands; 0 to the right, 90 up in the picture."""
    elevation_deg: np.ndarray
    """(L,) above the gel's plane."""
    colour: np.ndarray
    """(L, 3) [grey levels] at normal incidence in the middle of the picture."""
    falloff: np.ndarray = field(default_factory=lambda: np.zeros(1))
    """(L,) or (1,) share of its light that a lamp gains from the middle to the edge on its side."""
    vignette: float = 0.0
    """Share of light lost in a corner of the picture."""
    shadow: float = 0.0
    """0: none; 1: a full shadow takes all light of its lamp."""
    softness: float = 0.3e-3
    """Height above the line of sight to a lamp over which its shadow becomes full [m]."""
    reach: float = 4e-3
    """Longest shadow [m]."""

    def towards(self) -> np.ndarray:
        """Return (L, 3) unit directions to the lamps: right, down, out of the gel (towards camera and lamps)."""
        azimuth, elevation = np.deg2rad(self.azimuth_deg), np.deg2rad(self.elevation_deg)
        flat = np.cos(elevation)
        return np.stack([flat * np.cos(azimuth), -flat * np.sin(azimuth), np.sin(elevation)], axis=1).astype(np.float32)

    def add(self, relief: Relief, out: np.ndarray) -> None:
        """Add the change to out."""
        rows, cols = relief.sunk.shape
        right, down = shading.slopes(relief.sunk, relief.pitch)
        out_of_gel = np.sqrt(np.maximum(1 - right * right - down * down, 0))
        y, x = shading.places(rows)[:, None], shading.places(cols)[None, :]
        corners = 1 - np.float32(self.vignette / 2) * (x * x + y * y)
        falloff = np.broadcast_to(self.falloff, self.azimuth_deg.shape)
        for lamp, (to_x, to_y, to_z) in enumerate(self.towards()):
            # The gel sinks towards camera and lamps, so its normal leans against the slope.
            lit = np.maximum(to_z * out_of_gel - to_x * right - to_y * down, 0)
            if self.shadow > 0:
                lit *= self._visible(relief, lamp)
            lit -= to_z
            lit *= corners * (1 + np.float32(falloff[lamp]) * (to_x * x + to_y * y))
            out += lit[..., None] * self.colour[lamp].astype(np.float32)

    def _visible(self, relief: Relief, lamp: int) -> np.ndarray:
        """Share (H, W) of a lamp's light that reaches the surface: march over the coarse relief towards the lamp."""
        coarse, (pitch_y, pitch_x) = relief.coarse, relief.coarse_pitch
        to_x, to_y, to_z = self.towards()[lamp]
        rise = to_z / max(float(np.hypot(to_x, to_y)), 1e-6)
        step = min(pitch_x, pitch_y)
        flat = np.array([to_x, to_y]) / max(float(np.hypot(to_x, to_y)), 1e-6)
        count = int(self.reach / step)
        pad = count + 1
        padded = cv2.copyMakeBorder(coarse, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        above = np.full_like(coarse, -np.inf)
        for k in range(1, count + 1):
            i, j = pad + round(k * step * flat[1] / pitch_y), pad + round(k * step * flat[0] / pitch_x)
            ahead = padded[i : i + coarse.shape[0], j : j + coarse.shape[1]] - np.float32(k * step * rise)
            np.maximum(above, ahead, out=above)
        dark = np.clip((above - coarse) * np.float32(1 / self.softness), 0, 1) * np.float32(self.shadow)
        dark = cv2.GaussianBlur(dark, (0, 0), 1.0)
        return 1 - cv2.resize(dark, (relief.sunk.shape[1], relief.sunk.shape[0]))


AnyStage = Slopes | Spread | Darkness | Lamps
_STAGES: dict[str, type[AnyStage]] = {kind.__name__.lower(): kind for kind in get_args(AnyStage)}


@dataclass(frozen=True, kw_only=True)
class Optics:
    """Camera and light of one optical touch sensor."""

    shape: tuple[int, int]
    """Rows and columns of the picture."""
    pitch: tuple[float, float]
    """Size of a picture element on the gel, rows and columns [m]."""
    stages: tuple[AnyStage, ...]
    blur: float = 0.1e-3
    """Standard deviation of the camera's blur, on the gel [m]."""
    estimate: bool = False
    """True: the constants are guesses; no picture of a real sensor was used."""

    def __post_init__(self) -> None:
        """Check the sizes."""
        if min(self.shape) < 2 or min(self.pitch) <= 0 or self.blur < 0:
            raise RecordError(
                f"optics of shape {self.shape}, pitch {self.pitch} m, blur {self.blur} m: "
                "at least 2 x 2 pixels, a positive pitch and a blur of 0 or more are needed"
            )

    @cached_property
    def extent(self) -> tuple[float, float]:
        """Height and width of the seen gel [m]."""
        return self.shape[0] * self.pitch[0], self.shape[1] * self.pitch[1]

    def resized(self, shape: tuple[int, int]) -> "Optics":
        """Return the same sensor seen with another number of pixels; the seen part of the gel stays."""
        return replace(self, shape=shape, pitch=(self.extent[0] / shape[0], self.extent[1] / shape[1]))

    def relief(self, sunk: np.ndarray) -> Relief:
        """Bring one map (h, w) [m] over the seen gel to the picture's grid, blurred, and to the coarse grid."""
        rows, cols = self.shape
        surface = np.ascontiguousarray(sunk, np.float32)
        coarse = cv2.resize(surface, CELLS[::-1], interpolation=cv2.INTER_AREA) if surface.shape != CELLS else surface
        if surface.shape != self.shape:
            finer = surface.shape[0] < rows
            surface = cv2.resize(surface, (cols, rows), interpolation=cv2.INTER_CUBIC if finer else cv2.INTER_AREA)
        if self.blur > 0:
            across, along = self.blur / self.pitch[1], self.blur / self.pitch[0]
            size = 2 * int(np.ceil(3 * across)) + 1, 2 * int(np.ceil(3 * along)) + 1
            surface = cv2.GaussianBlur(surface, size, across, sigmaY=along, borderType=cv2.BORDER_REPLICATE)
        return Relief(surface, coarse, self.pitch)

    def difference(self, sunk: np.ndarray, pitch: tuple[float, float]) -> np.ndarray:
        """Return the change (..., H, W, 3) float32 [grey levels] that a sunken gel makes; exactly 0 for a flat one.

        Args:
            sunk: (..., h, w) how far the gel sinks [m] on any grid that covers the picture, edge to edge.
            pitch: size of a cell of that grid, rows and columns [m].

        Raises:
            RecordError: when the grid does not cover the picture, or holds values that are not finite.
        """
        sunk = np.asarray(sunk)
        self._check(sunk, pitch)
        out = np.zeros((*sunk.shape[:-2], *self.shape, 3), np.float32)
        flat_in, flat_out = sunk.reshape(-1, *sunk.shape[-2:]), out.reshape(-1, *self.shape, 3)
        for one, change in zip(flat_in, flat_out, strict=True):
            self._add(one, change)
        return out

    def render(self, rest: np.ndarray, sunk: np.ndarray, pitch: tuple[float, float]) -> np.ndarray:
        """Return the picture (..., H, W, 3) uint8; the rest image itself, bit for bit, where nothing is sunk.

        Args:
            rest: (H, W, 3) uint8, the unit's picture without contact, RGB.
            sunk: as in `difference`.
            pitch: as in `difference`.

        Raises:
            RecordError: for a rest image of another size or type, or as `difference`.
        """
        if rest.shape != (*self.shape, 3) or rest.dtype != np.uint8:
            raise RecordError(
                f"rest image is {rest.shape} {rest.dtype}; these optics draw {(*self.shape, 3)} uint8; "
                "resize the image, or use Optics.resized(shape)"
            )
        sunk = np.asarray(sunk)
        self._check(sunk, pitch)
        out = np.empty((*sunk.shape[:-2], *self.shape, 3), np.uint8)
        rest = np.ascontiguousarray(rest)
        change = np.empty((*self.shape, 3), np.float32)  # one frame at a time stays in the cache
        for one, image in zip(sunk.reshape(-1, *sunk.shape[-2:]), out.reshape(-1, *self.shape, 3), strict=True):
            change[:] = 0
            self._add(one, change)
            shading.to_picture(rest, change, image)
        return out

    def _add(self, sunk: np.ndarray, out: np.ndarray) -> None:
        if not sunk.any():
            return
        relief = self.relief(sunk)
        for stage in self.stages:
            stage.add(relief, out)

    def _check(self, sunk: np.ndarray, pitch: tuple[float, float]) -> None:
        if sunk.ndim < 2 or min(sunk.shape[-2:], default=0) < 2:
            raise RecordError(f"sunk has shape {sunk.shape}; a map (..., h, w) of at least 2 x 2 cells is needed")
        covered = sunk.shape[-2] * pitch[0], sunk.shape[-1] * pitch[1]
        slack = (max(cell, _FIT * size) for cell, size in zip(pitch, self.extent, strict=True))  # grids are cut at whole cells
        if any(abs(got - want) > free for got, want, free in zip(covered, self.extent, slack, strict=True)):
            raise RecordError(
                f"the map covers {covered[0] * 1e3:.2f} x {covered[1] * 1e3:.2f} mm (height x width), the picture shows "
                f"{self.extent[0] * 1e3:.2f} x {self.extent[1] * 1e3:.2f} mm; crop or resample the map to the picture"
            )
        if not np.isfinite(sunk).all():
            raise RecordError("sunk holds NaN or infinite values; every cell needs a depth in metres")

    def save(self, path: Path) -> None:
        """Write to a .npz file of plain arrays."""
        arrays: dict[str, np.ndarray] = {
            "format": np.array(FORMAT),
            "shape": np.array(self.shape),
            "pitch": np.array(self.pitch),
            "blur": np.array(self.blur),
            "estimate": np.array(self.estimate),
        }
        for index, stage in enumerate(self.stages):
            name = type(stage).__name__.lower()
            arrays |= {f"{index}.{name}.{f.name}": np.asarray(getattr(stage, f.name)) for f in fields(stage)}
        with path.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)


_HEAD = {"format", "shape", "pitch", "blur", "estimate"}


def load_optics(path: Path, shape: tuple[int, int] | None = None) -> Optics:
    """Read optics written by `Optics.save`.

    Args:
        path: of the file.
        shape: rows and columns that the caller will draw; None: any.

    Raises:
        DataError: when the file is missing or no such file, has missing or unknown keys, or is made for another resolution.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {key: data[key] for key in data.files}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable optics file ({error}); write one with `palpate calibrate touch`") from error
    if missing := _HEAD - arrays.keys():
        raise DataError(f"{path}: keys {sorted(missing)} are missing; this is no optics file")
    if int(arrays["format"]) != FORMAT:
        raise DataError(f"{path}: optics format {int(arrays['format'])}; this version reads {FORMAT}: calibrate again")
    made_for = int(arrays["shape"][0]), int(arrays["shape"][1])
    if shape is not None and made_for != shape:
        raise DataError(f"{path}: made for {made_for} pixels (rows, columns), asked for {shape}; use Optics.resized({shape})")
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key in sorted(arrays.keys() - _HEAD):
        group, _, name = key.rpartition(".")
        groups.setdefault(group, {})[name] = arrays[key]
    return Optics(
        shape=made_for,
        pitch=(float(arrays["pitch"][0]), float(arrays["pitch"][1])),
        blur=float(arrays["blur"]),
        estimate=bool(arrays["estimate"]),
        stages=tuple(_stage(path, group, values) for group, values in groups.items()),
    )


def _stage(path: Path, group: str, values: dict[str, np.ndarray]) -> AnyStage:
    kind = _STAGES.get(group.partition(".")[2])
    if kind is None:
        raise DataError(f"{path}: unknown key {group!r}; stages are {', '.join(sorted(_STAGES))}")
    wanted = {f.name for f in fields(kind)}
    if wanted != values.keys():
        missing, unknown = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
        raise DataError(f"{path}: stage {group}: missing keys {missing}, unknown keys {unknown}")
    given: dict[str, Any] = {name: float(value) if value.ndim == 0 else value for name, value in values.items()}
    try:
        return kind(**given)
    except RecordError as error:
        raise DataError(f"{path}: stage {group}: {error}") from error
