"""The twelve objects of SoftGrasp, Table 2, as data, and how stiff each body is.

The modulus in the table is the material's, taken by its authors from a data base; the things are hollow, so their bodies are far softer.
The stiffness of a body under one fingertip is derived here:

* The wall's thickness t follows from the printed mass and size: t = m / (density x surface).
* Thin plastic cups and bottles: a ring under two opposite loads, change of diameter 0.149 F R^3 / (E I) with I = h t^3 / 12 (Roark's
  Formulas for Stress and Strain, circular rings). Bottom, rim and lid, which stiffen them, are left out.
* The carton: a clamped square plate under a central load, 0.0056 F b^2 / D with D = E t^3 / 12 (1 - nu^2) (Timoshenko, Theory of Plates).
* Deformable rubber: a sphere under a point load, 4 E t^2 / (R sqrt(3 (1 - nu^2))) (Reissner 1946). The printed 0.204 GPa would give
  a body as hard as wood, against the printed hardness below 10 HC, so E comes from the hardness instead (Gent 1958, at Shore A 5).
* The stuffed toy (polyester): a bed of fibre, E A / R with the area of a panel and the modulus of loose fibre filling, an estimate.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from palpate.core.errors import UnknownNameError
from palpate.core.units import MM

Hardness = Literal["soft-plastic", "deformable", "rigid"]
Mode = Literal["top-down", "side"]

POISSON = 0.4
"""Of plastics and rubber; rounded."""

DENSITY = {
    "MDPE": 940.0,
    "TPE": 1150.0,
    "Stainless Steel": 7900.0,
    "Paperboard": 700.0,
    "Polyester": 1380.0,
    "PC": 1200.0,
    "Glass": 2500.0,
}
"""Of the materials [kg/m^3]; handbook values."""

FRICTION = {"MDPE": 0.7, "TPE": 0.9, "Stainless Steel": 0.7, "Paperboard": 0.7, "Polyester": 0.8, "PC": 0.7, "Glass": 0.7}
"""Coulomb coefficient against rubber fingertips; estimates."""

FILLING_YOUNG = 3.0e3
"""Young's modulus of loose polyester fibre filling [Pa]; an estimate."""

SHORE_A = 5.0
"""Hardness that stands for "below 10 HC"; an estimate."""

RIGID = 2.0e4
"""Bodies stiffer than this [N/m] are taken as rigid: 10 N would push them in by half a millimetre."""

CRUSHED = {"soft-plastic": 0.10, "deformable": 0.25}
"""Travel of the wall, as a share of the width, beyond which a thing counts as crushed: a dent that stays, a toy that folds. Estimates."""

TILES = 8
"""Panels round a body."""

_COLOUR = {
    1: (0.85, 0.35, 0.25), 2: (0.30, 0.55, 0.80), 3: (0.90, 0.75, 0.30), 4: (0.85, 0.45, 0.55),
    5: (0.45, 0.70, 0.40), 6: (0.65, 0.66, 0.68), 7: (0.55, 0.40, 0.70), 8: (0.80, 0.68, 0.48),
    9: (0.70, 0.52, 0.40), 10: (0.70, 0.85, 0.85), 11: (0.35, 0.50, 0.38), 12: (0.85, 0.85, 0.60),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SoftgraspObject:
    """One row of Table 2."""

    id: int
    mass: float
    """[kg]."""
    hardness_hc: float
    """Shore C; 10 stands for "below 10" and 90 for "above 90"."""
    size: tuple[float, float, float]
    """Width across the fingers, width between thumb and fingers, height [m]."""
    material: str
    young: float
    """Modulus of the material as printed [Pa]; see the module's text for the body's."""
    mode: Mode
    """From above, or from the side."""

    @property
    def name(self) -> str:
        """`softgrasp-01` to `softgrasp-12`."""
        return f"softgrasp-{self.id:02d}"

    @property
    def known(self) -> bool:
        """Whether the paper trains on it."""
        return self.id <= 6

    @property
    def hardness(self) -> Hardness:
        """Class of Section 4.1.1."""
        if self.hardness_hc <= 10:
            return "deformable"
        return "rigid" if self.hardness_hc >= 90 else "soft-plastic"

    @property
    def boxy(self) -> bool:
        """Whether it is a box; all others are round."""
        return self.material == "Paperboard"

    @property
    def friction(self) -> float:
        """Coulomb coefficient against the fingertips."""
        return FRICTION[self.material]

    @property
    def colour(self) -> tuple[float, float, float]:
        """RGB in 0..1; says nothing about stiffness."""
        return _COLOUR[self.id]

    @property
    def radius(self) -> float:
        """Mean radius of the cross section [m]."""
        return (self.size[0] + self.size[1]) / 4

    @property
    def profile(self) -> tuple[float, ...]:
        """Half widths at the borders of the panels' rows, from below, as shares of the greatest: toys are round, the others straight."""
        return (0.88, 1.0, 1.0, 0.88) if self.hardness == "deformable" else (1.0, 1.0, 1.0)

    @property
    def wall(self) -> float:
        """Thickness of the wall that gives the printed mass [m]; of filled things it means nothing."""
        a, b, h = self.size
        if self.boxy:
            surface = 2 * (a * b + b * h + h * a)
        elif self.hardness == "deformable":
            surface = float(np.pi * (a * b * h) ** (2 / 3))
        else:
            surface = float(2 * np.pi * self.radius * h + np.pi * self.radius**2)
        return self.mass / (DENSITY[self.material] * surface)

    @property
    def stiffness(self) -> float | None:
        """Spring constant of the body under one fingertip [N/m]; None if it is rigid for a hand. See the module's text."""
        if self.hardness == "rigid":
            return None
        value = self._shell_stiffness()
        return None if value > RIGID else value

    def _shell_stiffness(self) -> float:
        t, (a, b, h) = self.wall, self.size
        if self.material == "Polyester":
            return FILLING_YOUNG * (np.pi * a / TILES) * (h / 3) / (b / 2)
        if self.hardness == "deformable":
            return 4 * young_of_shore_a(SHORE_A) * t**2 / ((a * b * h) ** (1 / 3) / 2 * np.sqrt(3 * (1 - POISSON**2)))
        if self.boxy:
            return self.young * t**3 / (12 * (1 - POISSON**2)) / (0.0056 * a**2)
        return 2 * self.young * (h * t**3 / 12) / (0.149 * self.radius**3)

    @property
    def crush(self) -> float | None:
        """Travel of the wall beyond which it counts as crushed [m]; None if no hand can."""
        return None if self.stiffness is None else CRUSHED[self.hardness] * self.size[1]


def young_of_shore_a(shore: float) -> float:
    """Return Young's modulus [Pa] of rubber with this Shore A hardness (Gent 1958)."""
    return 0.0981e6 * (56 + 7.62336 * shore) / (0.137505 * (254 - 2.54 * shore))


def _row(  # noqa: PLR0917 - read as a row of a table
    id: int, mass_g: float, hc: float, size_mm: tuple[int, int, int], material: str, gpa: float, mode: Mode
) -> SoftgraspObject:
    size = (size_mm[0] * MM, size_mm[1] * MM, size_mm[2] * MM)
    return SoftgraspObject(id=id, mass=mass_g / 1000, hardness_hc=hc, size=size, material=material, young=gpa * 1e9, mode=mode)


OBJECTS = (
    _row(1, 15.0, 55, (81, 81, 67), "MDPE", 0.648, "top-down"),
    _row(2, 16.4, 56, (70, 60, 130), "MDPE", 0.648, "top-down"),
    _row(3, 162.5, 10, (100, 80, 80), "TPE", 0.204, "top-down"),
    _row(4, 76.3, 10, (110, 110, 90), "TPE", 0.204, "top-down"),
    _row(5, 52.0, 10, (80, 75, 120), "TPE", 0.204, "top-down"),
    _row(6, 365.2, 90, (59, 59, 152), "Stainless Steel", 196.0, "side"),
    _row(7, 16.9, 57, (70, 70, 90), "MDPE", 0.648, "top-down"),
    _row(8, 17.3, 35, (81, 40, 140), "Paperboard", 1.935, "top-down"),
    _row(9, 43.5, 10, (115, 80, 129), "Polyester", 5.0, "top-down"),
    _row(10, 17.6, 42, (58, 58, 140), "PC", 2.6, "side"),
    _row(11, 389.7, 90, (45, 45, 172), "Glass", 55.0, "side"),
    _row(12, 37.1, 75, (38, 38, 146), "PC", 2.6, "side"),
)
"""Table 2, in its order. Of unequal widths the smaller is taken to lie between thumb and fingers."""


def softgrasp_object(number: int) -> SoftgraspObject:
    """Return the object with this ID, 1 to 12.

    Raises:
        UnknownNameError: there is none.
    """
    for thing in OBJECTS:
        if thing.id == number:
            return thing
    raise UnknownNameError("object of SoftGrasp", str(number), [str(thing.id) for thing in OBJECTS])
