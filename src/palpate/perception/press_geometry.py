"""From a touch video of a round press to the gel's imprint: contact radius, peak, slope and volume of each frame.

The optics of the sensor are calibrated, so a picture can be explained by an imprint: a smooth profile about one axis is fitted such that
the whole optics draw the change that was seen. That also works where colour alone does not tell the slope (light from afar, corners that
nobody calibrated, markers), and it averages the camera's noise over rings. What is not round is not explained: see `misfit`.

Gel frame: x right, y down, z into the gel, origin at the middle of the picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

from palpate.core.errors import RecordError
from palpate.sensors.touch.optics import Optics

REST = 3
"""So many frames at the start must be free of contact."""
_COLUMNS = 80
"""Pictures are averaged down to about this many columns: noise falls, and no imprint of a ball is finer."""
_KNOTS = np.r_[np.arange(0.0, 5.4e-3, 0.36e-3), np.geomspace(5.5e-3, 12e-3, 7)]
"""Distances from the axis at which the profile is unknown [m]; beyond the last it is flat."""
_SMOOTH = 3e6
"""Weight of the profile's curvature against grey levels: pixels [grey level per unit of second difference, metres]."""
_STEPS = 3
"""Quasi-Newton steps of a frame; each frame starts from the one before."""
_CENTRE_STEPS = 4
_TILT = 2e-5
"""Height of the trial bumps that linearise the optics [m]."""
_DOT = 20.0
"""How much darker than around it a marker is at least [grey levels]."""
_WIDEST_DOT = 0.9e-3
"""[m]"""
_BESIDE = 0.2e-3
"""Around a marker the picture is not trusted: its soft rim, and where it moves to [m]."""
_SEEN = 1.5
"""A frame shows contact if it differs from rest so many times as much as frames at rest do."""
_SOFT = 0.35e-3
"""Softening before frames are compared [m]: noise is finer than an imprint."""


@dataclass(frozen=True, kw_only=True)
class PressGeometry:
    """The imprint over time; nan in frames without contact."""

    contact_radius: np.ndarray
    """(T,) of the Hertz imprint that fits best [m]."""
    peak: np.ndarray
    """(T,) how much deeper the middle lies than the gel at the picture's edge [m]."""
    slope: np.ndarray
    """(T,) steepest slope of the profile."""
    volume: np.ndarray
    """(T,) of the imprint within two contact radii, below the level there [m^3]."""
    centre: tuple[float, float]
    """x and y of the axis [m]."""
    misfit: float
    """Share of the strongest frame's change (root mean square) that no round imprint explains."""


def measure_press(images: np.ndarray, optics: Optics) -> PressGeometry:
    """Measure a press of a ball.

    Args:
        images: (T, H, W, 3) uint8, RGB, without contact in the first `REST` frames.
        optics: calibrated, of this picture size (see `Optics.resized`).

    Raises:
        RecordError: pictures of another size, too few of them, or none with contact.
    """
    if images.ndim != 4 or images.shape[1:] != (*optics.shape, 3) or images.dtype != np.uint8:
        raise RecordError(
            f"a touch video of these optics is (T, {optics.shape[0]}, {optics.shape[1]}, 3) uint8, got {images.shape} {images.dtype}; "
            "resize the optics to the pictures"
        )
    if len(images) <= REST:
        raise RecordError(f"{len(images)} frames are too few; give {REST} without contact and then a press")
    change, seen, optics = _thinned(images, optics)
    touching, energy = _touching(change, seen, optics)
    if not touching.any():
        raise RecordError("no frame differs from the first ones by more than the noise: no contact, or contact from the start")
    strongest = int(np.argmax(energy))
    fit = _find_axis(change[strongest], seen, optics)
    profile = np.zeros(len(_KNOTS))
    rows = np.full((4, len(images)), np.nan)
    for t in np.flatnonzero(touching):
        profile = fit.profile(change[t], profile)
        rows[:, t] = _figures(profile)
        profile = profile if np.isfinite(rows[0, t]) else np.zeros(len(_KNOTS))
    left = fit.left(change[strongest], fit.profile(change[strongest], profile))
    whole = float(np.sqrt(np.mean(np.square(change[strongest][seen]))))
    return PressGeometry(
        contact_radius=rows[0], peak=rows[1], slope=rows[2], volume=rows[3], centre=fit.centre, misfit=left / whole
    )


def _thinned(images: np.ndarray, optics: Optics) -> tuple[np.ndarray, np.ndarray, Optics]:
    """Return changes (T, h, w, 3) [grey levels], the seen pixels (h, w), and the optics, all at about `_COLUMNS` columns."""
    rest = images[:REST].astype(np.float32).mean(axis=0)
    deepest = max(images, key=lambda frame: float(np.abs(frame - rest).sum()))  # there the markers have moved farthest
    seen = (visible(rest, optics.pitch) & visible(deepest, optics.pitch)).astype(np.float32)
    factor = max(round(optics.shape[1] / _COLUMNS), 1)
    small = optics.resized((optics.shape[0] // factor, optics.shape[1] // factor))
    size = small.shape[::-1]
    share = cv2.resize(seen, size, interpolation=cv2.INTER_AREA)
    change = np.empty((len(images), *small.shape, 3), np.float32)
    for frame, out in zip(images, change, strict=True):
        out[:] = cv2.resize((frame - rest) * seen[..., None], size, interpolation=cv2.INTER_AREA)
    change /= np.maximum(share, 0.5)[..., None]
    return change, share > 0.5, small


def visible(image: np.ndarray, pitch: tuple[float, float]) -> np.ndarray:
    """Return (H, W) bool: False on dark markers and beside them.

    Args:
        image: (H, W, 3) [grey levels].
        pitch: height and width of a pixel on the gel [m].
    """
    grey = image.astype(np.float32).mean(axis=2)
    size = 2 * int(np.ceil(_WIDEST_DOT / 2 / min(pitch))) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    dots = (cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel) > _DOT).astype(np.uint8)
    beside = 2 * max(round(_BESIDE / min(pitch)), 1) + 1
    return cv2.dilate(dots, np.ones((beside, beside), np.uint8)) == 0


def _touching(change: np.ndarray, seen: np.ndarray, optics: Optics) -> tuple[np.ndarray, np.ndarray]:
    """Return which frames (T,) differ from rest, and by how much [grey levels]."""
    softness = _SOFT / optics.pitch[1]
    weight = cv2.GaussianBlur(seen.astype(np.float32), (0, 0), softness)
    energy = np.empty(len(change))
    for t, frame in enumerate(change):
        soft = cv2.GaussianBlur(frame * seen[..., None], (0, 0), softness)[seen] / weight[seen][:, None]
        energy[t] = np.sqrt(np.mean(np.square(soft)))
    # Frames at rest helped to make the mean that they are compared with; later ones did not.
    noise = float(np.median(energy[:REST])) * np.sqrt((REST + 1) / (REST - 1))
    touching = energy > _SEEN * max(noise, 1e-6)
    touching[:REST] = False
    return touching, energy


class _Fit:
    """The imprints about one axis, and how the optics draw them to first order."""

    def __init__(self, centre: tuple[float, float], seen: np.ndarray, optics: Optics) -> None:
        self.centre, self._seen, self._optics = centre, seen, optics
        rows, cols = optics.shape
        y = (np.arange(rows) - (rows - 1) / 2) * optics.pitch[0] - centre[1]
        x = (np.arange(cols) - (cols - 1) / 2) * optics.pitch[1] - centre[0]
        self._basis = _spline(np.hypot(y[:, None], x[None, :])).astype(np.float32)
        bumps = np.moveaxis(self._basis, -1, 0) * np.float32(_TILT)
        self._drawn = np.stack([optics.difference(bump, optics.pitch)[seen].ravel() / _TILT for bump in bumps], axis=1)
        second = np.diff(np.eye(len(_KNOTS)), 2, axis=0) / np.diff(_KNOTS)[1:, None] * _KNOTS[1]
        flat = np.zeros((1, len(_KNOTS)))
        flat[0, :2] = 1.0, -1.0  # no tip on the axis
        bend = np.concatenate([second, flat])
        self._normal = np.linalg.inv(self._drawn.T @ self._drawn + _SMOOTH * bend.T @ bend)
        self._bend = _SMOOTH * bend.T @ bend

    def sunk(self, profile: np.ndarray) -> np.ndarray:
        """Return the imprint (H, W) float32 [m]."""
        return self._basis @ profile.astype(np.float32)

    def residual(self, change: np.ndarray, profile: np.ndarray) -> np.ndarray:
        """Return what the profile leaves unexplained of the seen pixels (N,) [grey levels]."""
        return (change - self._optics.difference(self.sunk(profile), self._optics.pitch))[self._seen].ravel()

    def left(self, change: np.ndarray, profile: np.ndarray) -> float:
        """Return the root mean square of what is left unexplained [grey levels]."""
        return float(np.sqrt(np.mean(np.square(self.residual(change, profile)))))

    def profile(self, change: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Return the sinking at the knots [m] that explains a change (H, W, 3) best."""
        out = start
        for _ in range(_STEPS):
            out = out + self._normal @ (self._drawn.T @ self.residual(change, out) - self._bend @ out)
        return out


def _spline(distance: np.ndarray) -> np.ndarray:
    """Return (..., K): what each knot gives to the profile at a distance [m] from the axis."""
    return CubicSpline(_KNOTS, np.eye(len(_KNOTS)), bc_type="clamped")(np.minimum(distance, _KNOTS[-1]))


def _find_axis(change: np.ndarray, seen: np.ndarray, optics: Optics) -> _Fit:
    """Return the fit about the axis from which a round imprint explains this change best."""
    power = np.square(change).sum(axis=2) * seen
    power = cv2.GaussianBlur(power, (0, 0), 2 * _SOFT / optics.pitch[1])
    power = np.maximum(power - 0.2 * power.max(), 0)
    rows, cols = power.shape
    x = float(power.sum(axis=0) @ np.arange(cols) / power.sum() - (cols - 1) / 2) * optics.pitch[1]
    y = float(power.sum(axis=1) @ np.arange(rows) / power.sum() - (rows - 1) / 2) * optics.pitch[0]
    fit = _Fit((x, y), seen, optics)
    for _ in range(_CENTRE_STEPS):
        profile = fit.profile(change, np.zeros(len(_KNOTS)))
        sunk = fit.sunk(profile)
        # Drawn with the imprint half a pixel to either side, what is left tells how far the axis is off.
        sides = []
        for axis in (1, 0):
            moved = [
                optics.difference((sunk + sign * np.gradient(-sunk, axis=axis) / 2).astype(np.float32), optics.pitch)
                for sign in (1, -1)
            ]
            sides.append((moved[0] - moved[1])[seen].ravel())
        step = np.linalg.lstsq(np.stack(sides, axis=1), fit.residual(change, profile), rcond=None)[0]
        step = np.clip(step, -6.0, 6.0)
        fit = _Fit((fit.centre[0] + step[0] * optics.pitch[1], fit.centre[1] + step[1] * optics.pitch[0]), seen, optics)
        if np.abs(step).max() < 0.1:
            break
    return fit


_FINE = np.linspace(0.0, _KNOTS[-1], 401)
_TO_FINE = _spline(_FINE)
_SIZES = np.geomspace(0.5, 9.0, 120) * 1e-3
"""Contact radii that are tried [m]."""


def hertz_slope(share: np.ndarray) -> np.ndarray:
    """Return the slope of a Hertz imprint over its slope at the rim of the contact, at shares (...) of the contact radius.

    From the half-space's normal displacement under Hertz pressure (Johnson 1985, Eq. 3.42).
    """
    inside = np.asarray(share, float)
    out = np.maximum(inside, 1.0)
    return np.where(inside < 1, inside, 2 / np.pi * (out * np.arcsin(1 / out) - np.sqrt(1 - 1 / out**2)))


def _templates() -> np.ndarray:
    slopes = np.stack([hertz_slope(_FINE / size) for size in _SIZES])
    return slopes / np.linalg.norm(slopes, axis=1, keepdims=True)


_TEMPLATES = _templates()


_NO_IMPRINT = (np.nan, np.nan, np.nan, np.nan)


def _figures(profile: np.ndarray) -> tuple[float, float, float, float]:
    """Return contact radius, peak, slope and volume of a profile; nan if it is no imprint."""
    depth = _TO_FINE @ profile
    slope = -np.gradient(depth, _FINE)
    agree = _TEMPLATES @ slope
    best = int(np.argmax(agree))
    peak, steepest = float(depth[0] - depth[-1]), float(slope.max())
    if not (agree[best] > 0 and peak > 0 and 0 < best < len(_SIZES) - 1):
        return _NO_IMPRINT
    # The peak of a parabola through the three best sizes.
    a, b, c = agree[best - 1 : best + 2]
    radius = float(_SIZES[best] * (_SIZES[1] / _SIZES[0]) ** (0.5 * (a - c) / min(a - 2 * b + c, -1e-12)))
    ring = np.minimum(_FINE, 2 * radius)
    level = float(np.interp(2 * radius, _FINE, depth))
    volume = float(np.trapezoid(2 * np.pi * ring * (depth - level) * (ring < 2 * radius), _FINE))
    return (radius, peak, steepest, volume) if volume > 0 else _NO_IMPRINT


EXTRAS = ("radius", "approach", "force")
"""What may be known of a press besides its pictures."""
FEATURES = {
    "image": ("contact radius", "slope", "slope early", "peak", "peak early", "volume", "volume early"),
    "radius": ("radius",),
    "approach": ("approach",),
    "force": ("force", "force early"),
}
"""Names of the features that each source gives; all are logarithms of SI values."""
_EARLY = 0.65
"""Features are read at the largest contact radius and at this share of it."""
_FEWEST = 4
_FAINT = 0.2
"""Frames with less than this share of the deepest imprint tell more of noise than of the press."""
_GROWTH = {"slope": 1, "peak": 2, "volume": 4, "force": 3}
"""Power of the contact radius with which a quantity grows on a half-space."""


def describe_press(
    geometry: PressGeometry,
    *,
    radius: float | None = None,
    approach: np.ndarray | None = None,
    force: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return features of a whole press, by source of `FEATURES`; a source that is not known has no entry.

    Elastic presses know no time, so quantities are taken over the contact radius, whatever the motion was: a curve through all frames,
    read at two places. Only differences of the approach count, so its zero may lie anywhere.

    Args:
        geometry: of `measure_press`.
        radius: of the ball, as known [m].
        approach: (T,) travel of the sensor towards the ball [m], from any start.
        force: (T,) normal force [N].

    Raises:
        RecordError: too few frames in contact to draw a curve, or a radius that is not positive.
    """
    if radius is not None and not radius > 0:
        raise RecordError(f"the radius of a ball must be above 0 m, got {radius:g}; leave it out if it is not known")
    found = np.isfinite(geometry.contact_radius)
    deepest = np.max(geometry.peak, where=found, initial=0.0)
    frames = np.flatnonzero(found & (geometry.peak > _FAINT * deepest))
    if len(frames) < _FEWEST:
        raise RecordError(f"{len(frames)} frames show an imprint; {_FEWEST} or more are needed: press deeper or longer")
    size = geometry.contact_radius[frames]
    largest = float(np.sort(size)[-3:].mean())
    share = size / largest
    out = [np.log(largest)]
    for name in ("slope", "peak", "volume"):
        out += _read_curve(share, getattr(geometry, name)[frames], _GROWTH[name])
    known = {"image": np.array(out)}
    if radius is not None:
        known["radius"] = np.log([radius])
    if approach is not None:
        # On a half-space the approach is the contact radius squared over the ball's radius.
        design = np.stack([np.ones_like(share), share**2], axis=1)
        known["approach"] = np.log([max(float(np.linalg.lstsq(design, approach[frames], rcond=None)[0][1]), 1e-6)])
    if force is not None:
        known["force"] = np.array(_read_curve(share, force[frames], _GROWTH["force"]))
    return known


def _read_curve(share: np.ndarray, values: np.ndarray, power: int) -> list[float]:
    """Return the logarithm at the largest radius and early on, of a curve share^power (a + b share) through the values."""
    design = np.stack([share**power, share ** (power + 1)], axis=1)
    a, b = np.linalg.lstsq(design, values, rcond=None)[0]
    least = 1e-3 * max(float(np.abs(values).max()), 1e-12)
    return [float(np.log(max(s**power * (a + b * s), least))) for s in (1.0, _EARLY)]
