"""Hot loops of the optics, compiled where numba is installed, and their NumPy twins of equal output."""

from typing import Any

import cv2
import numpy as np

try:
    import numba
except ImportError:  # the NumPy twins do the same, two to four times slower
    numba: Any = None

PLACES = 3
"""Powers 0..2 of the place along each axis."""


def powers(degree: int) -> np.ndarray:
    """Return the exponents (T, 2) of all terms right^i down^j with 1 <= i + j <= degree."""
    return np.array([(i, j) for i in range(degree + 1) for j in range(degree + 1 - i) if i + j], dtype=np.int64)


def slopes(sunk: np.ndarray, pitch: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the components right and down (H, W) of the tilted unit normal's fall, from central differences."""
    padded = np.pad(sunk, 1, mode="edge")
    right = (padded[1:-1, 2:] - padded[1:-1, :-2]) * np.float32(0.5 / pitch[1])
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) * np.float32(0.5 / pitch[0])
    steep = 1 / np.sqrt(1 + right * right + down * down)
    return right * steep, down * steep


def places(count: int) -> np.ndarray:
    """Return the cells' places along one axis, from -1 at one edge of the picture to 1 at the other."""
    return ((2 * np.arange(count) + 1) / count - 1).astype(np.float32)


def add_polynomial_numpy(
    sunk: np.ndarray, pitch: tuple[float, float], exponents: np.ndarray, weights: np.ndarray, out: np.ndarray
) -> None:
    """Add a polynomial of the slopes, whose coefficients depend on the place, to a picture.

    Args:
        sunk: (H, W) float32 [m].
        pitch: of rows and columns [m].
        exponents: (T, 2) of the slopes right and down.
        weights: (T, 3, 3, 3) float32: term, power of the row's place, power of the column's place, colour.
        out: (H, W, 3) float32, changed in place [grey levels].
    """
    rows, cols = sunk.shape
    right, down = slopes(sunk, pitch)
    degree = int(exponents.max())
    across, along = _powers_of(right, degree), _powers_of(down, degree)
    terms = np.stack([across[i] * along[j] for i, j in exponents]).reshape(len(exponents), rows, cols)
    y, x = places(rows), places(cols)
    by_row = np.einsum("pr,tpqc->rtqc", np.stack([y**p for p in range(PLACES)]), weights)
    by_x = np.stack([x**q for q in range(PLACES)])
    for row in range(rows):
        coefficients = np.einsum("tqc,qx->tcx", by_row[row], by_x)
        out[row] += np.einsum("tcx,tx->xc", coefficients, terms[:, row])


def spread_terms(coarse: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Return (T, h, w) float32: the coarse relief, blurred to the tap's level, seen from every cell at the tap's offset.

    Args:
        coarse: (h, w) float32.
        taps: (T, 3) level, row and column; an offset of 1 is 2^level cells.
    """
    rows, cols = coarse.shape
    out = np.empty((len(taps), rows, cols), np.float32)
    for level in range(int(taps[:, 0].max()) + 1):
        step = 2**level
        padded = _blurred(coarse, level, 2 * step)
        for k in np.flatnonzero(taps[:, 0] == level):
            i, j = (2 + taps[k, 1]) * step, (2 + taps[k, 2]) * step
            out[k] = padded[i : i + rows, j : j + cols]
    return out


def spread_numpy(coarse: np.ndarray, taps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted sums (9, h, w) float32 of the taps.

    Args:
        coarse: (h, w) float32.
        taps: (T, 3) as in `spread_terms`.
        weights: (T, 9) float32.
    """
    terms = spread_terms(coarse, taps).reshape(len(taps), -1)
    return (weights.T @ terms).reshape(9, *coarse.shape)


def _blurred(coarse: np.ndarray, level: int, margin: int) -> np.ndarray:
    blurred = cv2.GaussianBlur(coarse, (0, 0), 0.6 * 2**level, borderType=cv2.BORDER_REPLICATE)
    return cv2.copyMakeBorder(blurred, margin, margin, margin, margin, cv2.BORDER_REPLICATE)


def to_picture_numpy(rest: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Return rest (H, W, 3) uint8 plus a change in grey levels, rounded half to even and clipped, uint8."""
    return np.clip(np.rint(rest + change), 0, 255).astype(np.uint8)


def _powers_of(values: np.ndarray, degree: int) -> list[np.ndarray]:
    out = [np.ones_like(values)]
    for _ in range(degree):
        out.append(out[-1] * values)
    return out


def _polynomial_rows(
    sunk: np.ndarray, per: tuple[np.float32, np.float32], exponents: np.ndarray, weights: np.ndarray, out: np.ndarray
) -> None:
    """Row by row, so that every buffer stays in the first cache; plain loops, written for the compiler."""
    rows, cols = sunk.shape
    per_x, per_y = per
    count, degree = exponents.shape[0], exponents.max()
    across = np.ones((degree + 1, cols), np.float32)
    along = np.ones((degree + 1, cols), np.float32)
    total = np.empty((3, cols), np.float32)
    rise = np.empty(cols, np.float32)
    place = ((2 * np.arange(cols) + 1) / cols - 1).astype(np.float32)
    for r in range(rows):
        above, below = max(r - 1, 0), min(r + 1, rows - 1)
        y = np.float32((2 * r + 1) / rows - 1)
        here, low, high = sunk[r], sunk[above], sunk[below]
        rise[0], rise[-1] = here[1] - here[0], here[-1] - here[-2]
        before, after, middle = here[:-2], here[2:], rise[1:-1]
        for c in range(cols - 2):
            middle[c] = after[c] - before[c]
        for c in range(cols):
            gx, gy = rise[c] * per_x, (high[c] - low[c]) * per_y
            steep = np.float32(1) / np.sqrt(np.float32(1) + gx * gx + gy * gy)
            across[1, c] = gx * steep
            along[1, c] = gy * steep
        for k in range(2, degree + 1):
            for c in range(cols):
                across[k, c] = across[k - 1, c] * across[1, c]
                along[k, c] = along[k - 1, c] * along[1, c]
        total[:] = np.float32(0)
        red, green, blue = total[0], total[1], total[2]
        for t in range(count):
            right, down = across[exponents[t, 0]], along[exponents[t, 1]]
            k = weights[t, 0] + y * (weights[t, 1] + y * weights[t, 2])
            r0, r1, r2 = k[0, 0], k[1, 0], k[2, 0]
            g0, g1, g2 = k[0, 1], k[1, 1], k[2, 1]
            b0, b1, b2 = k[0, 2], k[1, 2], k[2, 2]
            for c in range(cols):
                term, x = right[c] * down[c], place[c]
                red[c] += term * (r0 + x * (r1 + x * r2))
                green[c] += term * (g0 + x * (g1 + x * g2))
                blue[c] += term * (b0 + x * (b1 + x * b2))
        line = out[r]
        for c in range(cols):
            line[c, 0] += red[c]
            line[c, 1] += green[c]
            line[c, 2] += blue[c]


def _spread_rows(padded: np.ndarray, offsets: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Add the taps of one level, four at a time, to nine sums (9, n) over a flat picture with margins.

    Flat, because long runs vectorise best; what wraps into the margins is thrown away. A run of all sums stays in the first cache.
    """
    count, run = out.shape[1], 384
    for start in range(0, count, run):
        stop = min(start + run, count)
        for t in range(0, offsets.shape[0], 4):
            a, b = padded[start + offsets[t] : stop + offsets[t]], padded[start + offsets[t + 1] : stop + offsets[t + 1]]
            c, d = (
                padded[start + offsets[t + 2] : stop + offsets[t + 2]],
                padded[start + offsets[t + 3] : stop + offsets[t + 3]],
            )
            for q in range(9):
                wa, wb, wc, wd = weights[t, q], weights[t + 1, q], weights[t + 2, q], weights[t + 3, q]
                total = out[q, start:stop]
                for x in range(stop - start):
                    total[x] += wa * a[x] + wb * b[x] + wc * c[x] + wd * d[x]


def _picture_rows(rest: np.ndarray, change: np.ndarray, out: np.ndarray) -> None:
    for k in range(rest.size):
        value = np.rint(np.float32(rest[k]) + change[k])
        out[k] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))


if numba is not None:
    _fast_polynomial: Any = numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")(_polynomial_rows)
    _fast_spread: Any = numba.njit(cache=True, fastmath=True, nogil=True)(_spread_rows)
    _fast_picture: Any = numba.njit(cache=True, nogil=True)(_picture_rows)


def add_polynomial(
    sunk: np.ndarray, pitch: tuple[float, float], exponents: np.ndarray, weights: np.ndarray, out: np.ndarray
) -> None:
    """As `add_polynomial_numpy`, compiled where possible."""
    if numba is None:
        add_polynomial_numpy(sunk, pitch, exponents, weights, out)
    else:
        _fast_polynomial(sunk, (np.float32(0.5 / pitch[1]), np.float32(0.5 / pitch[0])), exponents, weights, out)


def pack(taps: np.ndarray, weights: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return offsets (T, 2) in cells and weights (T, 9) of each level, with idle taps that fill the last group of four."""
    out = []
    for level in range(int(taps[:, 0].max()) + 1):
        mine = taps[:, 0] == level
        spare = (0, -int(mine.sum()) % 4), (0, 0)
        out.append((np.pad(taps[mine, 1:] * 2**level, spare), np.pad(weights[mine], spare)))
    return out


def spread(
    coarse: np.ndarray, taps: np.ndarray, weights: np.ndarray, packed: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """As `spread_numpy`, compiled where possible; `packed` is what `pack` made of taps and weights."""
    if numba is None:
        return spread_numpy(coarse, taps, weights)
    rows, cols = coarse.shape
    margin = 2 ** len(packed) + 1  # one more than the farthest tap, so that no flat offset leaves the array
    wide = cols + 2 * margin
    sums = np.zeros((9, rows * wide), np.float32)
    for level, (offsets, mixed) in enumerate(packed):
        flat = (offsets[:, 0] + margin) * wide + offsets[:, 1]
        _fast_spread(_blurred(coarse, level, margin).reshape(-1), flat, mixed, sums)
    return sums.reshape(9, rows, wide)[:, :, margin : margin + cols]


def to_picture(rest: np.ndarray, change: np.ndarray, out: np.ndarray) -> None:
    """Write what `to_picture_numpy` returns to out (H, W, 3) uint8, compiled where possible; all three are contiguous."""
    if numba is None:
        out[:] = to_picture_numpy(rest, change)
    else:
        _fast_picture(rest.reshape(-1), change.reshape(-1), out.reshape(-1))
