"""Soft toys that squeak: two half shells on springs, a squeaker inside, a flat foot to stand on.

The toy deforms along its own x axis with the stiffness k = E A / a per half (E Young's modulus, A pad area, a half width), so
the mean stress in the stuffing under the pads is E (h_left + h_right) / (2 a). Quote k, not E, when comparing with real toys.
"""

from dataclasses import dataclass

import numpy as np

from palpate.core.randomness import generator
from palpate.sensors.squeaker import Squeaker

PAD_AREA = 0.016 * 0.019
"""Area over which a pad presses [m^2]."""

DAMPING_RATIO = 0.5


@dataclass(frozen=True, kw_only=True)
class Toy:
    """One member of the family."""

    name: str
    half_axes: tuple[float, float, float]
    """Half width across the pads, half depth, half height when upright [m]."""
    young: float
    """Young's modulus [Pa]."""
    mass: float
    """[kg]."""
    friction: float
    """Coulomb coefficient against the pads."""
    squeaker: Squeaker
    colour: tuple[float, float, float]
    """RGB in 0..1; says nothing about stiffness or size."""

    @property
    def stiffness(self) -> float:
        """Spring constant of one half [N/m]."""
        return self.young * PAD_AREA / self.half_axes[0]


@dataclass(frozen=True, kw_only=True)
class ToyFamily:
    """Ranges from which toys are drawn; all independent of each other. Fixed before any modality was compared."""

    half_axes: tuple[float, float, float] = (0.030, 0.027, 0.036)
    spread: float = 0.25
    """Each half axis varies by this share."""
    young_pa: tuple[float, float] = (2.0e4, 2.0e5)
    """Log-uniform [Pa]."""
    mass_kg: tuple[float, float] = (0.090, 0.150)
    friction: tuple[float, float] = (0.7, 0.9)
    onset_pa: float = 5200.0
    """Mean bulb pressure at which the squeaker sounds [Pa]."""
    onset_spread: float = 0.15
    """It differs by toy by this share (uniform); no sensor shows it before the squeak."""
    pitch_hz: tuple[float, float] = (2100.0, 3200.0)
    leak_s: float = 0.4
    """Time constant with which air leaves the bulb [s]."""

    def toy(self, seed: int, number: int) -> Toy:
        """Return toy `number` of the family with this seed; the same for ever."""
        rng = generator(seed, 1_000_003, number)
        axes = np.array(self.half_axes) * (1 + rng.uniform(-self.spread, self.spread, 3))
        low, high = np.log(self.young_pa)
        palette = ((0.85, 0.75, 0.20), (0.80, 0.30, 0.25), (0.30, 0.55, 0.75))
        return Toy(
            name=f"toy-{seed}-{number:03d}",
            half_axes=tuple(axes.tolist()),
            young=float(np.exp(rng.uniform(low, high))),
            mass=float(rng.uniform(*self.mass_kg)),
            friction=float(rng.uniform(*self.friction)),
            squeaker=Squeaker(
                onset_pa=float(self.onset_pa * (1 + rng.uniform(-self.onset_spread, self.onset_spread))),
                f0_hz=float(rng.uniform(*self.pitch_hz)),
                leak_s=self.leak_s,
            ),
            colour=palette[int(rng.integers(len(palette)))],
        )


def _half_mesh(axes: tuple[float, float, float], sign: int, n_theta: int = 10, n_phi: int = 9) -> np.ndarray:
    """Return the vertices (N, 3) [m] of the half ellipsoid whose x has this sign."""
    a, b, c = axes
    phi, theta = np.meshgrid(np.linspace(0, np.pi, n_phi), np.linspace(-np.pi / 2, np.pi / 2, n_theta), indexing="ij")
    points = [sign * a * np.sin(phi) * np.cos(theta), b * np.sin(phi) * np.sin(theta), c * np.cos(phi)]
    return np.unique(np.round(np.stack(points, -1).reshape(-1, 3), 6), axis=0)


def toy_xml(toy: Toy, lying: bool) -> tuple[str, str, float]:
    """Return body and assets of a toy in MJCF and the height of its centre above the table [m].

    Lying is a turn about the toy's x axis, so that the compressible axis stays between the pads.
    """
    a, b, c = toy.half_axes
    damping = 2 * DAMPING_RATIO * np.sqrt(toy.stiffness * toy.mass / 4)
    height = b if lying else c
    foot = (
        f'pos="0 {-height + 0.003} 0" size=".014 .0035 .018"'
        if lying
        else f'pos="0 0 {-height + 0.003}" size=".014 .014 .0035"'
    )
    assets, halves = "", ""
    for name, sign in (("left", -1), ("right", 1)):
        vertices = " ".join(f"{v:.5f}" for v in _half_mesh(toy.half_axes, sign).ravel())
        assets += f'<mesh name="{name}" vertex="{vertices}"/>'
        halves += (
            f'<body name="{name}"><joint name="{name}" type="slide" axis="{-sign} 0 0" stiffness="{toy.stiffness}" '
            f'damping="{damping}" range="-.001 {0.7 * a}"/><geom name="shell_{name}" type="mesh" mesh="{name}" '
            f'mass="{toy.mass / 4}" contype="8" conaffinity="1" condim="4" priority="1" friction="{toy.friction} .005 .0001" '
            'solref=".005 1" solimp=".95 .99 .001"/></body>'
        )
    body = (
        '<body name="toy"><freejoint name="toy"/>'
        f'<geom type="sphere" size=".012" mass="{toy.mass / 2}" contype="0" conaffinity="0"/>'
        f'<geom name="foot" type="box" {foot} mass=".001" contype="16" conaffinity="16"/>{halves}</body>'
    )
    return body, f"<asset>{assets}</asset>", height + 0.0006
