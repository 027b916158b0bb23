"""Things to press on a gel: a shape, where it lies, and what it is made of.

A shape is written `NAME:VALUE,KEY=VALUE`, for example `sphere:4mm`, `cylinder:3mm`, `cone:60deg,tip=0.5mm` or `letter:R`; sizes of
round things are radii. `palpate.sensors.touch.forms.KINDS` lists the families and their parameters.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from palpate.core.errors import RecordError, UnknownNameError
from palpate.core.units import DEG, MM
from palpate.sensors.touch.contact import Pad, cell_centres
from palpate.sensors.touch.forms import KINDS, texture
from palpate.sensors.touch.materials import MATERIALS, Material
from palpate.sensors.touch.outlines import FAR

_SLOPE_STEP = 20e-6
"""Step for the slope of a surface [m]."""


@dataclass(frozen=True)
class Shape:
    """A member of a family: plain data, equal if its name and parameters are."""

    name: str
    """Of the family."""
    parameters: Mapping[str, float | str]
    """By name, SI units, complete."""

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the height over the lowest point [m] at places of the object's own frame; `FAR` where nothing is."""
        heights = KINDS[self.name].height(np.asarray(x, float), np.asarray(y, float), **self.parameters)
        return np.clip(heights, 0.0, FAR)

    @property
    def text(self) -> str:
        """The shape as `parse_shape` reads it, lengths in millimetres."""
        known = KINDS[self.name].parameters
        return f"{self.name}:" + ",".join(f"{key}={_written(known[key].kind, value)}" for key, value in self.parameters.items())

    @property
    def numbers(self) -> dict[str, float]:
        """The parameters that are numbers."""
        return {name: float(value) for name, value in self.parameters.items() if not isinstance(value, str)}


def _written(kind: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    unit, size = {"length": ("mm", MM), "angle": ("deg", DEG)}.get(kind, ("", 1.0))
    return f"{value / size:.12g}{unit}"


def make_shape(name: str, **parameters: float | str) -> Shape:
    """Return a shape; parameters that are not given take their defaults.

    Raises:
        UnknownNameError: no such family or parameter.
    """
    if name not in KINDS:
        raise UnknownNameError("shape", name, KINDS)
    known = KINDS[name].parameters
    for given in parameters:
        if given not in known:
            raise UnknownNameError(f"parameter of {name}", given, known)
    return Shape(name, {key: parameters.get(key, each.default) for key, each in known.items()})


def parse_shape(text: str) -> Shape:
    """Read a shape as it is written; see the module.

    Raises:
        UnknownNameError: no such family or parameter; the message lists the known ones.
        RecordError: a value that is not of its kind, has no unit, or is out of range.
    """
    name, _, rest = text.strip().partition(":")
    if name not in KINDS:
        raise UnknownNameError("shape", name, KINDS)
    known = KINDS[name].parameters
    given: dict[str, float | str] = {}
    for number, part in enumerate(each for each in rest.split(",") if each.strip()):
        key, equals, value = part.partition("=")
        key = key.strip()
        if not equals:
            if number:
                raise RecordError(
                    f"{text!r}: only the first value may go without a name; write {', '.join(known)} as KEY=VALUE"
                )
            key, value = next(iter(known)), part
        if key not in known:
            raise UnknownNameError(f"parameter of {name}", key, known)
        given[key] = known[key].read(value.strip(), f"{key} of {text!r}")
    return make_shape(name, **given)


@dataclass(frozen=True)
class Pose:
    """Where an object lies over a pad, gel frame."""

    x: float = 0.0
    """[m]"""
    y: float = 0.0
    """[m]"""
    yaw: float = 0.0
    """[rad], from x to y."""

    def to_object(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return places of the pad in the object's own frame."""
        right, down = x - self.x, y - self.y
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return c * right + s * down, c * down - s * right

    def moved(self, shift: tuple[float, float], twist: float) -> "Pose":
        """Return the pose after a turn about the pad's centre [rad] and then a shift [m]."""
        c, s = np.cos(twist), np.sin(twist)
        return Pose(c * self.x - s * self.y + shift[0], s * self.x + c * self.y + shift[1], self.yaw + twist)


@dataclass(frozen=True)
class Thing:
    """An object over a pad."""

    shape: Shape
    material: Material = field(default_factory=lambda: MATERIALS["steel"])
    pose: Pose = field(default_factory=Pose)
    seed: int = 0
    """Of the material's roughness."""

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the distance (...) [m] of its surface over places of the pad; rough things may lie below 0."""
        u, v = self.pose.to_object(x, y)
        heights = self.shape.height(u, v)
        if self.material.roughness > 0:
            place = (self.pose.x, self.pose.y, self.pose.yaw)
            rough = texture(x, y, self.material.roughness, self.material.hurst, self.seed, place=place)
            heights = np.where(heights < FAR, heights + rough, heights)
        return heights

    def gap(self, pad: Pad, shape: tuple[int, int], pitch: tuple[float, float]) -> np.ndarray:
        """Return the distance (H, W) float32 [m] at the cells of a pad, for `flat.press`.

        Raises:
            RecordError: what touches first does not lie over the pad.
        """
        y, x = cell_centres(shape, pitch)
        gap = self.height(x, y)
        on_pad = (np.abs(y) <= pad.height / 2) & (np.abs(x) <= pad.width / 2)
        lowest = float(gap[on_pad].min())
        # Between cells a sharp tip hides as much as it falls over half a cell's diagonal.
        hidden = 3 * float(np.hypot(*pitch)) + 6 * self.material.roughness
        if lowest > hidden:
            raise RecordError(
                f"{self.shape.text} at x = {self.pose.x * 1e3:.2f} mm, y = {self.pose.y * 1e3:.2f} mm lies outside the pad: its lowest "
                f"point is not over it; the pad reaches {pad.width * 500:.2f} mm to both sides in x and {pad.height * 500:.2f} mm in y"
            )
        return gap.astype(np.float32)

    def distance(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the signed distance of points (m, 3) from the thing [m], to first order in its slope, for `tip.press`."""

        def measure(points: np.ndarray) -> np.ndarray:
            x, y, z = points.T
            here = self.height(x, y)
            right = (self.height(x + _SLOPE_STEP, y) - here) / _SLOPE_STEP
            down = (self.height(x, y + _SLOPE_STEP) - here) / _SLOPE_STEP
            steep = np.minimum(right * right + down * down, 9.0)  # a wall's slope would shrink distances to nothing
            return (here + z) / np.sqrt(1 + steep)

        return measure


def describe(shape: Shape) -> dict[str, Any]:
    """Return a shape as JSON values, SI units."""
    return {"name": shape.name, **shape.parameters}
