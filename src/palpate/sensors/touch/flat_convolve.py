"""Displacement of the whole surface from traction on a part of it, by fast Fourier transforms that never wrap round."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from palpate.sensors.touch.layer import Table, table

Size = tuple[int, int]
"""Rows and columns."""
Answer = Callable[[np.ndarray], np.ndarray]
"""Displacement [m] of a traction [Pa]."""

_TAIL = 1e-3
"""Share of the whole answer that may be left out beyond the reach of a layer."""
_KEPT = 96
"""Most transforms kept of one table; the oldest goes first."""
_ODD_X, _ODD_Y = frozenset({"xz", "xy"}), frozenset({"yz", "xy"})


class Influence:
    """The table of one layer on one grid, and its transforms."""

    def __init__(self, thickness: float, poisson: float, pitch: tuple[float, float], shape: Size) -> None:
        """Compute the table; transforms are made when first used."""
        self.table: Table = table(thickness, poisson, pitch, shape)
        self.reach: Size = _reach(self.table) if np.isfinite(thickness) else shape
        self._spectra: dict[tuple[str, Size, str], np.ndarray] = {}

    def spectrum(self, name: str, size: Size, dtype: np.dtype) -> np.ndarray:
        """Return the transform (size[0], size[1] // 2 + 1) of a part of the table: real; to be multiplied by -1j where odd once."""
        key = (name, size, dtype.name)
        if key not in self._spectra:
            part = getattr(self.table, name)
            rows, row_sign = _mirror(size[0], part.shape[0], odd=name in _ODD_Y)
            cols, col_sign = _mirror(size[1], part.shape[1], odd=name in _ODD_X)
            whole = np.fft.rfft2(part[np.ix_(rows, cols)] * row_sign[:, None] * col_sign[None, :])
            if len(self._spectra) >= _KEPT:
                self._spectra.pop(next(iter(self._spectra)))
            single = (name in _ODD_X) != (name in _ODD_Y)
            self._spectra[key] = np.ascontiguousarray(-whole.imag if single else whole.real, dtype)
        return self._spectra[key]


@lru_cache(maxsize=32)
def influence(thickness: float, poisson: float, pitch: tuple[float, float], shape: Size) -> Influence:
    """Return the influence of a layer on a grid, made once."""
    return Influence(thickness, poisson, pitch, shape)


@dataclass(frozen=True)
class Compliance:
    """One or two bodies whose displacements add: the gel, and the object if it is soft."""

    parts: tuple[tuple[Influence, float], ...]
    """Each with the inverse of its Young's modulus [1/Pa]; the gel first."""

    def spectrum(self, name: str, size: Size, dtype: np.dtype) -> np.ndarray:
        """Return the transform of the sum."""
        total = self.parts[0][0].spectrum(name, size, dtype) * dtype.type(self.parts[0][1])
        # Bodies that face each other are pulled to opposite sides by the same pressure.
        sign = -1.0 if name in ("xz", "yz") else 1.0
        for body, softness in self.parts[1:]:
            total += body.spectrum(name, size, dtype) * dtype.type(sign * softness)
        return total

    def size(self, shape: Size) -> Size:
        """Return the transform that keeps a grid of `shape` clear of its own images."""
        reach = np.max([body.reach for body, _ in self.parts], axis=0)
        rows, cols = (int(n + min(n - 1, r)) for n, r in zip(shape, reach, strict=True))
        return int(fft.next_fast_len(rows, real=False) or rows), int(fft.next_fast_len(cols, real=True) or cols)

    def normal(self, shape: Size, dtype: np.dtype) -> Answer:
        """Return the answer of a grid of `shape` to pressure: (h, w) [Pa] to (h, w) [m] into the gel."""
        size = self.size(shape)
        zz = self.spectrum("zz", size, dtype)

        def answer(pressure: np.ndarray) -> np.ndarray:
            waves = forward(pressure, size)
            waves *= zz
            return backward(waves, size, shape)

        return answer

    def tangential(self, shape: Size, dtype: np.dtype) -> Answer:
        """Return the answer of a grid of `shape` to shear: (2, h, w) [Pa] to (2, h, w) [m], along x and y."""
        size = self.size(shape)
        xx, yy, xy = (self.spectrum(name, size, dtype) for name in ("xx", "yy", "xy"))

        def answer(shear: np.ndarray) -> np.ndarray:
            x, y = forward(shear, size)
            return backward(np.stack([xx * x + xy * y, xy * x + yy * y]), size, shape)

        return answer

    def pulled(self, pressure: np.ndarray) -> np.ndarray:
        """Return how pressure (h, w) [Pa] moves the surface along itself: (2, h, w) [m]."""
        return self.pressed(pressure)[:2]

    def pressed(self, pressure: np.ndarray) -> np.ndarray:
        """Return how pressure (h, w) [Pa] moves the surface: (3, h, w) [m]."""
        size = self.size(_size(pressure))
        waves = forward(pressure, size)
        three = np.empty((3, *waves.shape), waves.dtype)
        np.multiply(waves, self.spectrum("zz", size, pressure.dtype), out=three[2])
        waves *= waves.dtype.type(-1j)
        np.multiply(waves, self.spectrum("xz", size, pressure.dtype), out=three[0])
        np.multiply(waves, self.spectrum("yz", size, pressure.dtype), out=three[1])
        return backward(three, size, _size(pressure))

    def lifted(self, shear: np.ndarray) -> np.ndarray:
        """Return how shear (2, h, w) [Pa] moves the surface into the gel: (h, w) [m]."""
        size = self.size(_size(shear))
        x, y = forward(shear, size)
        waves = x * self.spectrum("xz", size, shear.dtype) + y * self.spectrum("yz", size, shear.dtype)
        return backward(waves * waves.dtype.type(1j), size, _size(shear))


def forward(field: np.ndarray, size: Size) -> np.ndarray:
    """Return the transform of a (..., h, w) field padded with zeros; only rows that hold something are transformed twice."""
    return np.asarray(fft.fft(fft.rfft(field, n=size[1], axis=-1), n=size[0], axis=-2, overwrite_x=True))


def backward(spectrum: np.ndarray, size: Size, shape: Size) -> np.ndarray:
    """Return the upper left `shape` of the field; the spectrum is overwritten."""
    rows = np.asarray(fft.ifft(spectrum, axis=-2, overwrite_x=True))[..., : shape[0], :]
    return np.asarray(fft.irfft(rows, n=size[1], axis=-1, overwrite_x=True))[..., : shape[1]]


def _size(field: np.ndarray) -> Size:
    """Return the rows and columns of a field."""
    return field.shape[-2], field.shape[-1]


def _mirror(n: int, have: int, *, odd: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return which table entry serves each place of a transform of length `n`, and its sign (0 where there is none)."""
    offset = np.arange(n)
    offset = np.where(offset <= n // 2, offset, offset - n)
    sign = np.where(np.abs(offset) < have, 1.0, 0.0)
    if odd:
        sign *= np.sign(offset)
        if n % 2 == 0:
            sign[n // 2] = 0.0
    return np.minimum(np.abs(offset), have - 1), sign


def _reach(influences: Table) -> Size:
    """Return how many rows and columns off a cell still answers."""
    out = []
    for axis in (0, 1):
        sums = np.max(
            [np.abs(p).sum(axis=1 - axis) / np.abs(p).sum() for p in (influences.zz, influences.xx, influences.yy)], 0
        )
        tail = np.cumsum(sums[::-1])[::-1]
        out.append(int(np.argmax(np.append(tail, 0.0) < _TAIL)))
    return out[0], out[1]
