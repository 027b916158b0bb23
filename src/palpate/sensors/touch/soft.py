"""Press a soft ball on a pad: both give way, and the pad's imprint is only its share of the approach.

For half-spaces of contact moduli E* = E / (1 - nu^2) the gel takes the share phi = E_ball* / (E_ball* + E_gel*). Its imprint inside a
contact of radius a is (phi / R) (a^2 - r^2 / 2) and the force 4/3 E_gel* (phi / R) a^3 (Johnson 1985, Section 4.2). So pictures and force
know stiffness and radius R of the ball only together, as phi / R. What tells them apart is the approach a^2 / R, the radius itself,
or a gel that is not thick beside the contact.

Gel frame: x right, y down, z into the gel, origin at the pad's centre.
"""

from dataclasses import dataclass, replace

import numpy as np

from palpate.core.errors import RecordError
from palpate.sensors.touch.contact import Contact, Pad, cell_centres
from palpate.sensors.touch.flat import press

BONDED = 0.425
"""Support of a layer as high as the ball's radius, glued to its plate, of Poisson ratio 0.5: 3/8 of the first-order term 1.133 of
Dimitriadis et al. (2002). Free sides make a hemisphere give way more easily, so this is an upper end; finite elements give 0.27."""
_LONGER, _TRIALS = 1.7, 8
"""How much longer the approach of a half-space may be, and presses that find out."""
_FAR = 1.0
"""Gap where the ball has no surface above the pad [m]."""


@dataclass(frozen=True, kw_only=True)
class SoftBall:
    """A hemispherical sample, its flat side held by a rigid plate."""

    young: float
    """Young's modulus [Pa]."""
    radius: float
    """[m]"""
    poisson: float = 0.48

    def __post_init__(self) -> None:
        """Refuse constants that no sample has."""
        if not (self.young > 0 and self.radius > 0 and -1 < self.poisson <= 0.5):
            raise RecordError(
                f"a soft ball needs a modulus [Pa] and a radius [m] above 0 and a Poisson ratio in (-1, 0.5], got {self.young:g}, "
                f"{self.radius:g}, {self.poisson:g}"
            )

    def gap(self, distance: np.ndarray) -> np.ndarray:
        """Return the height [m] of its surface over its lowest point at distances (...) [m] from its axis."""
        below = self.radius**2 - np.square(distance)
        return np.where(below > 0, self.radius - np.sqrt(np.maximum(below, 0.0)), _FAR)


def press_soft(
    pad: Pad,
    ball: SoftBall,
    depths: np.ndarray,
    *,
    shape: tuple[int, int],
    pitch: tuple[float, float],
    centre: tuple[float, float] = (0.0, 0.0),
    support: float = 0.0,
) -> list[Contact]:
    """Press a soft ball on an elastic pad without friction; the ball answers as a half-space, its gap is a sphere's.

    A real sample is no half-space: its plate holds it back. To first order in contact radius over R that moves the whole contact alike
    and leaves its shape: the same force and imprint come at an approach that is support * force / (E R) shorter. `support` lies
    between 0 (half-space) and `BONDED`.

    Args:
        pad: the gel.
        ball: the sample.
        depths: (T,) approach beyond first contact [m].
        shape: rows and columns of the grid over the pad.
        pitch: size of a cell along y and x [m].
        centre: x and y of the ball's axis [m].
        support: see above.

    Returns:
        A contact for each depth.

    Raises:
        RecordError: as `palpate.sensors.touch.flat.press`.
    """
    y, x = cell_centres(shape, pitch)
    gap = ball.gap(np.hypot(x - centre[0], y - centre[1])).astype(np.float32)

    def pressed(approaches: np.ndarray) -> list[Contact]:
        out: list[Contact] = []
        for depth in approaches:
            before = out[-1] if out else None
            contact = press(
                pad, gap, pitch, depth=float(depth), before=before, object_young=ball.young, object_poisson=ball.poisson
            )
            out.append(contact)
        return out

    wanted = np.asarray(depths, float)
    if support == 0.0 or not (wanted > 0).any():
        return pressed(wanted)
    trials = np.geomspace(0.05, _LONGER, _TRIALS) * wanted.max()
    force = np.array([float(contact.force[2]) for contact in pressed(trials)])
    shorter = trials - support * force / (ball.young * ball.radius)
    # Approaches grow smoothly with one another, and are equal where the contact begins.
    of_half_space = wanted * np.interp(wanted, shorter, trials / shorter)
    found = pressed(of_half_space)
    return [replace(contact, approach=np.array(depth)) for contact, depth in zip(found, wanted, strict=True)]
