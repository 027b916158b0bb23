"""Families of shapes: their parameters, and their height over the lowest point as a function of place and parameters.

Heights h(x, y) [m] are 0 or more, and 0 somewhere; x and y broadcast. The object lies in its own frame, its middle at the origin.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.randomness import generator
from palpate.core.units import DEG, MM
from palpate.sensors.touch import outlines as o
from palpate.sensors.touch.quantities import UNITS, is_number, quantity

_WAVES = 64
"""Plane waves that make a rough surface."""
_LONG, _SHORT = 6e-3, 0.25e-3
"""Longest and shortest wave of roughness [m]: about a pad, and about a cell of contact."""
_PATCH = np.linspace(-12 * MM, 12 * MM, 121)
"""Coordinates of the patch on which the lowest point of a rough surface is looked for."""


@dataclass(frozen=True)
class Parameter:
    """One number or text that a shape can be given."""

    default: float | str
    kind: str = "length"
    """`length`, `angle`, `number`, `count` or `text`."""
    low: float = 1e-6
    high: float = 0.1

    def read(self, text: str, what: str) -> float | str:
        """Read a value as typed.

        Raises:
            RecordError: not of this kind, or outside its range.
        """
        if self.kind == "text":
            if len(text) != 1 or text.upper() not in o.LETTERS:
                raise RecordError(f"{what} is {text!r}; give one letter or digit, A-Z or 0-9")
            return text.upper()
        if self.kind in UNITS:
            value = quantity(text, self.kind, what)
        elif is_number(text):
            value = float(text)
        else:
            raise RecordError(f"{what} is {text!r}; give a plain number")
        whole = self.kind == "count"
        if not self.low <= value <= self.high or (whole and value != int(value)):
            raise RecordError(
                f"{what} is {text!r}; allowed are {'whole numbers' if whole else 'values'} from {self.low:g} to {self.high:g} (SI units)"
            )
        return value


@dataclass(frozen=True)
class Kind:
    """A family of shapes: its parameters, the first of which needs no name, and its height as a function of them."""

    about: str
    parameters: Mapping[str, Parameter]
    height: Callable[..., np.ndarray]
    """height(x, y, **parameters) [m]."""


def _length(mm: float, low_mm: float = 1e-3, high_mm: float = 100.0) -> Parameter:
    return Parameter(mm * MM, low=low_mm * MM, high=high_mm * MM)


def _angle(deg: float) -> Parameter:
    return Parameter(deg * DEG, "angle", 20 * DEG, 170 * DEG)


def _count(number: int, low: int, high: int) -> Parameter:
    return Parameter(float(number), "count", low, high)


def _steepness(angle: float) -> float:
    return float(1 / np.tan(angle / 2))


def _ellipsoid(x: np.ndarray, y: np.ndarray, radius: float, across: float) -> np.ndarray:
    spread = np.hypot(x / radius, y / across)
    return across * (1 - np.sqrt(np.maximum(1 - spread**2, 0.0))) + o.WALL * across * np.maximum(spread - 1, 0.0)


def _blend(sides: list[np.ndarray], soft: float) -> np.ndarray:
    """Return the smooth largest of sides that add up to 0: 0 at the tip and nowhere less (Jensen)."""
    top = functools.reduce(np.maximum, sides)
    return top + soft * np.log(sum(np.exp((side - top) / soft) for side in sides) / len(sides))


def _corner(x: np.ndarray, y: np.ndarray, tip: float) -> np.ndarray:
    angles = np.arange(3) * 2 * np.pi / 3 - np.pi / 2
    return _blend([np.sqrt(2) * (x * np.cos(a) + y * np.sin(a)) for a in angles], 2 * tip)


def _pyramid(x: np.ndarray, y: np.ndarray, angle: float, tip: float) -> np.ndarray:
    slope = _steepness(angle)
    x, y = np.broadcast_arrays(x * slope, y * slope)
    return _blend([x, -x, y, -y], tip * slope * slope)


def _dots(x: np.ndarray, y: np.ndarray, pitch: float, radius: float) -> np.ndarray:
    away = np.hypot(o.near(x, pitch), o.near(y, pitch))
    return np.minimum(o.ball(away, radius), radius)


def _grid(x: np.ndarray, y: np.ndarray, pitch: float, width: float, height: float) -> np.ndarray:
    away = np.minimum(np.abs(o.near(x, pitch)), np.abs(o.near(y, pitch)))
    return o.relief(away - width / 2, height, 0.6 * width)


def _knurl(x: np.ndarray, y: np.ndarray, pitch: float, height: float) -> np.ndarray:
    u, v = (x + y) / np.sqrt(2) / pitch, (x - y) / np.sqrt(2) / pitch
    return height * (o.saw(u) + o.saw(v)) / 2


def _thread(x: np.ndarray, y: np.ndarray, radius: float, pitch: float) -> np.ndarray:
    turn = np.arcsin(np.clip(y / radius, -1.0, 1.0)) / (2 * np.pi)
    return o.ball(y, radius) + 0.6 * pitch * o.saw(x / pitch - turn)


def _coin(x: np.ndarray, y: np.ndarray, radius: float, relief: float) -> np.ndarray:
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    star = o.polygon(x, y, o.star_corners(0.45 * radius, 0.18 * radius, 5))
    rim = 0.9 * radius - r
    beads = np.hypot(r - 0.7 * radius, 0.7 * radius * o.near(angle, 2 * np.pi / 12)) - 0.06 * radius
    raised = np.minimum(np.minimum(star, rim), beads)
    return o.solid(r - radius, 0.05 * radius) + o.relief(raised, relief, 0.06 * radius)


def _key(x: np.ndarray, y: np.ndarray, length: float) -> np.ndarray:
    unit = length / 24
    cuts = (3.0, 1.4, 2.6, 0.8, 2.0, 3.0, 1.2)
    top = [(-10.0 + 2.4 * k + step, -cut) for k, cut in enumerate(cuts) for step in (0.5, 1.9)]
    corners = np.array([(-12.0, 3.0), (-12.0, -2.0), *top, (8.0, -3.0), (8.0, 3.0)]) * unit
    blade = o.polygon(x, y, corners)
    bow = np.maximum(o.circle(x - 11 * unit, y, 5 * unit), -o.circle(x - 12.5 * unit, y, 1.6 * unit))
    groove = o.box(x + 3 * unit, y - 1.3 * unit, (8 * unit, 0.5 * unit))
    return o.solid(np.minimum(blade, bow), 0.15 * unit) + 0.5 * unit - o.relief(groove, 0.5 * unit, 0.3 * unit)


def _nut(x: np.ndarray, y: np.ndarray, width: float, hole: float) -> np.ndarray:
    if hole > 0.8 * width:
        raise RecordError(f"a nut {width:g} m wide cannot have a hole of {hole:g} m; allowed is up to 0.8 of its width")
    hexagon = o.polygon(x, y, o.star_corners(width / np.sqrt(3), width / 2, 6))
    return o.solid(np.maximum(hexagon, -o.circle(x, y, hole / 2)), 0.06 * width)


def _screw(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    cross = np.minimum(o.box(x, y, (0.6 * radius, 0.12 * radius)), o.box(x, y, (0.12 * radius, 0.6 * radius)))
    dome = o.ball(np.maximum(np.hypot(x, y) - 0.3 * radius, 0.0), 2 * radius)  # flat in the middle: all four wedges touch
    slot = 0.4 * radius - o.relief(cross, 0.4 * radius, 0.1 * radius)
    return np.maximum(dome, o.solid(o.circle(x, y, radius), 0.1 * radius)) + slot


def _weave(x: np.ndarray, y: np.ndarray, pitch: float, height: float) -> np.ndarray:
    """Plain weave: threads along x and along y, each passing over and under the others in turn."""
    x, y = np.broadcast_arrays(x, y)
    wide = 0.45 * pitch

    def threads(along: np.ndarray, across: np.ndarray, first: float) -> np.ndarray:
        number = np.rint(across / pitch)
        over = first * np.where(number % 2 == 0, 1.0, -1.0) * np.cos(np.pi * along / pitch)
        return height / 2 * (1 - over) + height * (np.minimum(np.abs(o.near(across, pitch)) / wide, 1.0)) ** 2

    return np.minimum(threads(x, y, 1.0), threads(y, x, -1.0))


@functools.lru_cache(maxsize=64)
def _waves(hurst: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return size (N,) at a root mean square of 1, wave vector (N, 2) [rad/m] and phase (N,) [rad]."""
    rng = generator(seed, 7)
    length = _SHORT * (_LONG / _SHORT) ** ((np.arange(_WAVES) + rng.uniform(size=_WAVES)) / _WAVES)
    size = length**hurst
    angle, phase = rng.uniform(0, 2 * np.pi, (2, _WAVES))
    wave = (2 * np.pi / length)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return size * np.sqrt(2 / (size**2).sum()), wave, phase


def texture(
    x: np.ndarray, y: np.ndarray, rms: float, hurst: float, seed: int, *, place: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """Return self-affine roughness [m] of mean 0 at given places, the same for a seed on any grid.

    A sum of plane waves whose amplitude grows as length to the power of `hurst`; waves from 0.25 mm to 6 mm.

    Args:
        x: [m].
        y: [m]; a row of x with a column of y is a grid, which is much faster than as many single places.
        rms: root mean square [m].
        hurst: 0 to 1.
        seed: which surface.
        place: x, y [m] and yaw [rad] of the surface's own frame.
    """
    size, wave, phase = _waves(hurst, seed)
    x, y = np.asarray(x, float), np.asarray(y, float)
    c, s = np.cos(place[2]), np.sin(place[2])
    turned = wave @ np.array([[c, s], [-s, c]])
    phase = phase - turned @ np.array(place[:2])
    if x.ndim == 2 == y.ndim and x.shape[0] == 1 == y.shape[1]:
        along, across = np.outer(y[:, 0], turned[:, 1]), np.outer(turned[:, 0], x[0]) + phase[:, None]
        return rms * ((size * np.cos(along)) @ np.cos(across) - (size * np.sin(along)) @ np.sin(across))
    x, y = np.broadcast_arrays(x, y)
    return rms * (np.cos(np.stack([x, y], axis=-1) @ turned.T + phase) @ size)


@functools.lru_cache(maxsize=256)
def _lowest(rms: float, hurst: float, seed: int) -> float:
    return float(texture(_PATCH[None, :], _PATCH[:, None], rms, hurst, seed).min())


def _rough(x: np.ndarray, y: np.ndarray, rms: float, hurst: float, seed: float) -> np.ndarray:
    return np.maximum(texture(x, y, rms, hurst, int(seed)) - _lowest(rms, hurst, int(seed)), 0.0)


_TIP = _length(0.2, high_mm=5.0)
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "sphere": Kind("ball", {"radius": _length(4.0)}, lambda x, y, radius: o.ball(np.hypot(x, y), radius)),
        "ellipsoid": Kind("egg, long along x", {"radius": _length(6.0), "across": _length(3.0)}, _ellipsoid),
        "cylinder": Kind("lying rod, axis along x", {"radius": _length(3.0)}, lambda x, y, radius: o.ball(y + 0.0 * x, radius)),
        "flat": Kind(
            "round punch",
            {"radius": _length(3.0), "rim": _length(0.2)},
            lambda x, y, radius, rim: o.solid(o.circle(x, y, radius), min(rim, radius)),
        ),
        "block": Kind(
            "square punch",
            {"side": _length(5.0), "rim": _length(0.2)},
            lambda x, y, side, rim: o.solid(o.box(x, y, (side / 2, side / 2), 0.1 * side), min(rim, side / 2)),
        ),
        "edge": Kind(
            "straight edge along x",
            {"angle": _angle(90), "tip": _TIP},
            lambda x, y, angle, tip: o.blunt(y + 0.0 * x, _steepness(angle), tip),
        ),
        "corner": Kind("corner of a cube", {"tip": _TIP}, _corner),
        "cone": Kind(
            "cone of a full angle",
            {"angle": _angle(90), "tip": _TIP},
            lambda x, y, angle, tip: o.blunt(np.hypot(x, y), _steepness(angle), tip),
        ),
        "pyramid": Kind("four-sided pyramid of a full angle", {"angle": _angle(100), "tip": _TIP}, _pyramid),
        "ring": Kind(
            "ring of round wire",
            {"radius": _length(3.5), "wire": _length(0.7)},
            lambda x, y, radius, wire: o.ball(np.hypot(x, y) - radius, wire),
        ),
        "dots": Kind("round bumps on a lattice", {"pitch": _length(2.5), "radius": _length(0.6)}, _dots),
        "grid": Kind("crossed ribs", {"pitch": _length(2.5), "width": _length(0.6), "height": _length(0.6)}, _grid),
        "knurl": Kind("diamond knurl", {"pitch": _length(1.5), "height": _length(0.5)}, _knurl),
        "waves": Kind(
            "waves along x",
            {"pitch": _length(2.0), "height": _length(0.4)},
            lambda x, y, pitch, height: height / 2 * (1 - np.cos(2 * np.pi * x / pitch)) + 0.0 * y,
        ),
        "thread": Kind("screw thread, axis along x", {"radius": _length(3.0), "pitch": _length(1.0)}, _thread),
        "coin": Kind("coin with rim, beads and a star", {"radius": _length(6.0), "relief": _length(0.25)}, _coin),
        "key": Kind("door key", {"length": _length(22.0)}, _key),
        "letter": Kind(
            "one raised letter or digit",
            {"text": Parameter("R", "text"), "size": _length(7.0), "relief": _length(0.5)},
            lambda x, y, text, size, relief: o.relief(o.letter(x, y, text, size), relief, 0.04 * size),
        ),
        "nut": Kind("hexagonal nut", {"width": _length(8.0), "hole": _length(4.0)}, _nut),
        "gear": Kind(
            "gear wheel",
            {"radius": _length(5.0), "teeth": _count(12, 3, 60)},
            lambda x, y, radius, teeth: o.solid(
                o.polygon(x, y, o.gear_corners(radius, int(teeth), 0.2 * radius)), 0.03 * radius
            ),
        ),
        "star": Kind(
            "star",
            {"radius": _length(5.0), "points": _count(5, 3, 12)},
            lambda x, y, radius, points: o.solid(
                o.polygon(x, y, o.star_corners(radius, 0.45 * radius, int(points))), 0.05 * radius
            ),
        ),
        "screw": Kind("screw head with a cross", {"radius": _length(4.0)}, _screw),
        "weave": Kind("woven cloth", {"pitch": _length(1.0), "height": _length(0.15)}, _weave),
        "rough": Kind(
            "self-affine rough plane",
            {
                "rms": _length(0.05, high_mm=2.0),
                "hurst": Parameter(0.8, "number", 0.05, 1.0),
                "seed": _count(0, 0, 2**31),
            },
            _rough,
        ),
    }
)
"""Every family of shapes by name."""
