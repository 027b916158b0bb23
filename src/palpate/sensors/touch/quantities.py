"""Numbers with units, as typed on a command line."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.units import DEG, MM

UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "length": {"m": 1.0, "cm": 0.01, "mm": MM, "um": 1e-6},
        "angle": {"rad": 1.0, "deg": DEG},
        "force": {"N": 1.0, "mN": 1e-3, "kN": 1e3},
        "speed": {"m/s": 1.0, "mm/s": MM},
    }
)
"""Units that `quantity` reads, by kind, with their size in SI units."""


def quantity(text: str, kind: str, what: str) -> float:
    """Read a number with its unit, for example `0.5mm`; 0 needs none.

    Args:
        text: as typed.
        kind: a key of `UNITS`.
        what: name of the quantity, for messages.

    Returns:
        The value in SI units.

    Raises:
        RecordError: no number, no unit or a unit of another kind.
    """
    units = UNITS[kind]
    bare = text.strip()
    for unit in sorted(units, key=len, reverse=True):
        number = bare.removesuffix(unit).strip()
        if number != bare and is_number(number):
            return float(number) * units[unit]
    if is_number(bare) and float(bare) == 0:
        return 0.0
    raise RecordError(
        f"{what} is {text!r}; give a finite number with one of the units {', '.join(units)}, for example {_example(kind)}"
    )


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _example(kind: str) -> str:
    return {"length": "0.5mm", "angle": "5deg", "force": "2N", "speed": "5mm/s"}[kind]
