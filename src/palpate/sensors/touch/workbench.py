"""Linear features of ball presses: what a picture's change is a weighted sum of, and the normal equations of the weights."""

from dataclasses import dataclass, replace

import numpy as np

from palpate.sensors.touch import shading
from palpate.sensors.touch.imprint import ball_sunk
from palpate.sensors.touch.optics import Optics, Slopes, Spread, stencil
from palpate.sensors.touch.presses import Presses

BOX = 2.4
"""Half side of the fitted region [contact radii]."""
SAMPLES = 3000
_PLACE = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0))
"""Powers of the row's and of the column's place."""
_LINEAR = ((0, 0), (0, 1), (1, 0))
OFF = 1e9
"""Penalty factor that switches the place off."""


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """What the inner folds choose from."""

    thickness: tuple[float, ...] = (1e-3, 2e-3, 4e-3, 6e-3, np.inf)
    """Effective thickness of the gel [m]: also takes up large strain, which the linear layer knows nothing of."""
    ridge: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    place: tuple[float, ...] = (1.0, 10.0, 100.0, OFF)
    """Factor of the penalty for each power of the place; the largest: the light is the same all over the picture."""
    degree: int = 3
    """Of the polynomial of the slopes."""
    levels: int = 3
    """Of the spread's stencil; 0: no spread."""
    poisson: float = 0.48
    blur: float = 0.1e-3
    """Camera blur on the gel [m]."""
    folds: int = 4
    """Sectors of the picture, each held out once to choose."""
    refine: int = 5
    """Most rounds of moving the circles of the fitted presses to where the picture agrees; 0: trust them."""


@dataclass(frozen=True, kw_only=True)
class BallSensor:
    """What draws a ball press: fixed through one fit."""

    shape: tuple[int, int]
    pitch: tuple[float, float]
    ball_radius: float
    thickness: float
    poisson: float

    def sunk(self, centre_xy: tuple[float, float], radius_px: float) -> np.ndarray:
        """Return the imprint (H, W) float32 [m] of a contact circle [px]."""
        return ball_sunk(
            self.shape,
            self.pitch,
            centre_xy,
            radius_px * float(np.sqrt(self.pitch[0] * self.pitch[1])),
            ball_radius=self.ball_radius,
            thickness=self.thickness,
            poisson=self.poisson,
        )

    def resized(self, shape: tuple[int, int]) -> "BallSensor":
        """Return the same for another number of pixels."""
        scale = self.shape[0] / shape[0], self.shape[1] / shape[1]
        return replace(self, shape=shape, pitch=(self.pitch[0] * scale[0], self.pitch[1] * scale[1]))


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Normal equations of one press: everything the folds need."""

    gram: np.ndarray
    """(F, F)"""
    cross: np.ndarray
    """(F, 3)"""
    power: float
    """Mean square of the real change."""


class Workbench:
    """Features of the presses at chosen pixels, for one sensor geometry."""

    def __init__(self, presses: Presses, sensor: BallSensor, plan: FitPlan, rng: np.random.Generator) -> None:
        self.sensor, self.plan = sensor, plan
        self.exponents = shading.powers(plan.degree)
        self.taps = stencil(plan.levels) if plan.levels else np.zeros((0, 3), np.int64)
        self.blank = Optics(shape=sensor.shape, pitch=sensor.pitch, stages=(), blur=plan.blur)
        self.real = presses.differences()
        self.pixels = [self._pixels(presses, k, rng) for k in range(len(presses))]
        order = [i + j for i, j in _PLACE] * len(self.exponents) + [i + j for i, j in _LINEAR] * len(self.taps)
        self.order = np.array(order)

    def _pixels(self, presses: Presses, k: int, rng: np.random.Generator) -> np.ndarray:
        y, x = np.ogrid[: self.sensor.shape[0], : self.sensor.shape[1]]
        reach = BOX * presses.radius_px[k]
        box = (np.abs(x - presses.centre_xy[k, 0]) <= reach) & (np.abs(y - presses.centre_xy[k, 1]) <= reach)
        inside = np.flatnonzero(box)
        return np.sort(rng.choice(inside, min(SAMPLES, len(inside)), replace=False))

    def features(self, k: int, circle: np.ndarray) -> np.ndarray:
        """Return (P, F) features of press k at its pixels for a circle x, y, radius [px]."""
        relief = self.blank.relief(self.sensor.sunk((circle[0], circle[1]), circle[2]))
        rows, cols = np.unravel_index(self.pixels[k], self.sensor.shape)
        y, x = shading.places(self.sensor.shape[0])[rows], shading.places(self.sensor.shape[1])[cols]
        right, down = (s[rows, cols] for s in shading.slopes(relief.sunk, relief.pitch))
        local = np.stack([right**i * down**j for i, j in self.exponents], axis=1)
        place = np.stack([y**p * x**q for p, q in _PLACE], axis=1)
        parts = [(local[:, :, None] * place[:, None]).reshape(len(rows), -1)]
        if len(self.taps):
            far = shading.spread_terms(relief.coarse, self.taps) / np.float32(relief.coarse_pitch[0])
            at = _bilinear(far, rows, cols, self.sensor.shape)
            linear = np.stack([y**p * x**q for p, q in _LINEAR], axis=1)
            parts.append((at[:, :, None] * linear[:, None]).reshape(len(rows), -1))
        return np.concatenate(parts, axis=1).astype(float)

    def target(self, k: int) -> np.ndarray:
        """Return the real change (P, 3) at the pixels of press k."""
        return self.real[k].reshape(-1, 3)[self.pixels[k]].astype(float)

    def sums(self, k: int, circle: np.ndarray) -> Sums:
        """Return the normal equations of press k."""
        a, b = self.features(k, circle), self.target(k)
        return Sums(gram=a.T @ a / len(a), cross=a.T @ b / len(a), power=float((b**2).sum() / len(b)))

    def solve(self, sums: list[Sums], ridge: float, place: float) -> np.ndarray:
        """Return the coefficients (F, 3)."""
        gram, cross = sum(s.gram for s in sums) / len(sums), sum(s.cross for s in sums) / len(sums)
        size = np.sqrt(np.diag(gram)) + 1e-12
        penalty = np.diag(ridge * place ** self.order.astype(float))
        return np.linalg.solve(gram / np.outer(size, size) + penalty, cross / size[:, None]) / size[:, None]

    def moved(self, k: int, circle: np.ndarray, optics: Optics) -> np.ndarray:
        """Return the circle after one Gauss-Newton step towards the real picture."""

        def drawn(at: np.ndarray) -> np.ndarray:
            change = optics.difference(self.sensor.sunk((at[0], at[1]), at[2]), optics.pitch)
            return change.reshape(-1, 3)[self.pixels[k]].astype(float)

        half_steps = np.eye(3) / 2
        jacobian = np.stack([(drawn(circle + s) - drawn(circle - s)).ravel() for s in half_steps], axis=1)
        normal = jacobian.T @ jacobian
        normal += np.eye(3) * 1e-3 * np.trace(normal)
        step = np.linalg.solve(normal, jacobian.T @ (self.target(k) - drawn(circle)).ravel())
        return circle + np.clip(step, -0.06 * circle[2], 0.06 * circle[2])

    def optics(self, weights: np.ndarray) -> Optics:
        """Return the optics of coefficients (F, 3), for the working picture."""
        terms, taps = len(self.exponents), len(self.taps)
        local = np.zeros((terms, 3, 3, 3), np.float32)
        split = terms * len(_PLACE)
        for n, (p, q) in enumerate(_PLACE):
            local[:, p, q] = weights[:split].reshape(terms, len(_PLACE), 3)[:, n]
        stages: tuple[Slopes | Spread, ...] = (Slopes(exponents=self.exponents, weights=local),)
        if taps:
            wide = weights[split:].reshape(taps, len(_LINEAR), 3).astype(np.float32)
            stages += (Spread(taps=self.taps, weights=wide),)
        return replace(self.blank, stages=stages)


def _bilinear(maps: np.ndarray, rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Values (P, T) of coarse maps (T, h, w) at pixels, as cv2.resize reads them."""
    high, wide = maps.shape[1:]
    v = np.clip((rows + 0.5) * high / shape[0] - 0.5, 0, high - 1)
    u = np.clip((cols + 0.5) * wide / shape[1] - 0.5, 0, wide - 1)
    i, j = np.minimum(v.astype(int), high - 2), np.minimum(u.astype(int), wide - 2)
    a, b = v - i, u - j
    upper = maps[:, i, j] * (1 - b) + maps[:, i, j + 1] * b
    lower = maps[:, i + 1, j] * (1 - b) + maps[:, i + 1, j + 1] * b
    return (upper * (1 - a) + lower * a).T
