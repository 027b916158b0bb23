"""Shore 00, Shore A and Young's modulus. Every conversion is a model; `SPREAD_A`, `SPREAD_00` say what they are worth.

A durometer presses a tip on and reads how little it sinks; the modulus follows only with a model of that press. Material of the same
modulus may read a few points differently (loss, thickness, dwell time), so these numbers order materials well and measure them roughly.
"""

import numpy as np

from palpate.core.errors import RecordError

SPREAD_A = 1.3
"""Factor by which moduli of common conversions from Shore A differ (Gent against Ruess, Shore A 20 to 60): 2.04 and 2.61 MPa at A45."""
SPREAD_00 = 1.5
"""Factor that we give the Shore 00 model: its constants are those of ASTM D2240 as remembered, not checked against the standard, and
below about 00-30 its tip sinks deeper than its radius, where small strain does not hold. A guess, not a measurement."""

_TIP_00 = 1.19e-3
"""Radius of the ball tip of a Shore 00 durometer [m]."""
_STROKE = 2.54e-3
"""Sinking at a reading of 0 [m]."""
_FORCE_00 = (0.203, 0.00908)
"""Spring of the Shore 00 durometer: force at 0 [N] and rise per point [N]."""
_READINGS = np.linspace(0.0, 99.5, 1991)
SOFTEST, HARDEST = 8.0, 84.6
"""Range of the samples of Yuan, Srinivasan and Adelson (2016), 8 Shore 00 to 45 Shore A, on the Shore 00 scale of this module."""


def young_of_shore_a(shore_a: np.ndarray | float) -> np.ndarray:
    """Return Young's modulus [Pa] of Shore A readings after Gent (1958), good to about a factor `SPREAD_A`.

    Raises:
        RecordError: readings outside 0 to below 100.
    """
    reading = _checked(shore_a, "A")
    return 0.0981e6 * (56 + 7.62336 * reading) / (0.137505 * (254 - 2.54 * reading))


def shore_a_of_young(young: np.ndarray | float) -> np.ndarray:
    """Return the Shore A reading (0 to 100) of moduli [Pa]; inverse of `young_of_shore_a`, 0 for what is softer than its scale."""
    ratio = np.asarray(young, float) * 0.137505 / 0.0981e6
    return np.clip((254 * ratio - 56) / (7.62336 + 2.54 * ratio), 0.0, 100.0)


def young_of_shore_00(shore_00: np.ndarray | float, poisson: float = 0.5) -> np.ndarray:
    """Return Young's modulus [Pa] of Shore 00 readings: Hertz contact of the durometer's ball, good to about a factor `SPREAD_00`.

    Args:
        shore_00: readings, 0 to below 100.
        poisson: ratio of the material.

    Raises:
        RecordError: readings outside 0 to below 100.
    """
    reading = _checked(shore_00, "00")
    force = _FORCE_00[0] + _FORCE_00[1] * reading
    sunk = _STROKE * (1 - reading / 100)
    return 0.75 * force * (1 - poisson**2) / (np.sqrt(_TIP_00) * sunk**1.5)


def shore_00_of_young(young: np.ndarray | float, poisson: float = 0.5) -> np.ndarray:
    """Return the Shore 00 reading (0 to 99.5) of moduli [Pa]; inverse of `young_of_shore_00`."""
    return np.interp(np.log(np.asarray(young, float)), np.log(young_of_shore_00(_READINGS, poisson)), _READINGS)


def _checked(reading: np.ndarray | float, scale: str) -> np.ndarray:
    values = np.asarray(reading, float)
    if not ((values >= 0) & (values < 100)).all():
        raise RecordError(f"Shore {scale} readings lie from 0 to below 100, got {values.min():g} to {values.max():g}")
    return values
