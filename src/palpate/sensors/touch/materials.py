"""Materials of things that are pressed on a gel. All figures are estimates of usual size, none of one specimen."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from palpate.core.errors import RecordError, UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a thing is made of."""

    name: str
    young: float | None
    """Young's modulus [Pa]; None: rigid beside any gel (more than about a thousand times stiffer)."""
    poisson: float
    """Poisson ratio."""
    friction: float
    """Coulomb coefficient against a silicone gel."""
    roughness: float
    """Root mean square of the surface's heights over lengths of 0.25 to 6 mm [m]."""
    hurst: float = 0.8
    """Growth of roughness with length, 0 to 1."""
    origin: str
    """Where the figures come from."""

    def __post_init__(self) -> None:
        """Refuse what no material has."""
        good = (self.young is None or self.young > 0) and -1 < self.poisson <= 0.5
        if not (good and self.friction >= 0 and self.roughness >= 0 and 0 < self.hurst <= 1):
            raise RecordError(
                f"material {self.name!r}: young {self.young} Pa (positive, or None for rigid), poisson {self.poisson} (above -1, up to "
                f"0.5), friction {self.friction} and roughness {self.roughness} m (0 or more), hurst {self.hurst} (0 to 1)"
            )


_RIGID = "estimate: handbooks give GPa, rigid beside a gel of 0.2 MPa; friction and finish of a usual piece"
_SHORE = "estimate: modulus from Shore hardness by Gent (1958)"
_SOFT = "estimate: order of magnitude of published compression tests; friction and finish guessed"

MATERIALS: Mapping[str, Material] = MappingProxyType(
    {
        material.name: material
        for material in (
            Material(name="steel", young=None, poisson=0.3, friction=0.7, roughness=0.0, origin=_RIGID),
            Material(name="glass", young=None, poisson=0.2, friction=0.9, roughness=0.0, origin=_RIGID),
            Material(name="plastic", young=None, poisson=0.35, friction=0.6, roughness=2e-6, origin=_RIGID),
            Material(name="wood", young=None, poisson=0.35, friction=0.5, roughness=12e-6, hurst=0.6, origin=_RIGID),
            Material(name="stone", young=None, poisson=0.25, friction=0.6, roughness=40e-6, hurst=0.7, origin=_RIGID),
            Material(name="sandpaper", young=None, poisson=0.3, friction=1.0, roughness=60e-6, hurst=0.2, origin=_RIGID),
            Material(name="cork", young=12e6, poisson=0.05, friction=0.6, roughness=40e-6, hurst=0.5, origin=_SOFT),
            Material(name="leather", young=10e6, poisson=0.4, friction=0.5, roughness=25e-6, hurst=0.5, origin=_SOFT),
            Material(name="rubber", young=2.5e6, poisson=0.49, friction=1.0, roughness=3e-6, origin=f"{_SHORE}, Shore A 50"),
            Material(name="silicone", young=0.6e6, poisson=0.49, friction=1.2, roughness=1e-6, origin=f"{_SHORE}, Shore A 20"),
            Material(name="gel", young=0.1e6, poisson=0.49, friction=1.2, roughness=0.0, origin=f"{_SHORE}, Shore 00 30"),
            Material(name="apple", young=3e6, poisson=0.35, friction=0.6, roughness=4e-6, origin=_SOFT),
            Material(name="tomato", young=0.5e6, poisson=0.45, friction=0.6, roughness=2e-6, origin=_SOFT),
            Material(name="bread", young=20e3, poisson=0.1, friction=0.5, roughness=80e-6, hurst=0.5, origin=_SOFT),
            Material(name="foam", young=60e3, poisson=0.1, friction=0.7, roughness=50e-6, hurst=0.4, origin=_SOFT),
            Material(name="cloth", young=150e3, poisson=0.1, friction=0.4, roughness=30e-6, hurst=0.3, origin=_SOFT),
            Material(name="paper", young=5e6, poisson=0.2, friction=0.4, roughness=5e-6, hurst=0.5, origin=_SOFT),
        )
    }
)
"""Every known material by name."""


def get_material(name: str) -> Material:
    """Return a known material.

    Raises:
        UnknownNameError: no such material; the message lists the known ones.
    """
    if name not in MATERIALS:
        raise UnknownNameError("material", name, MATERIALS)
    return MATERIALS[name]
