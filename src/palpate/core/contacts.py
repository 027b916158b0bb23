"""Where a hand touches an object: what worlds find and grasp quality judges."""

from dataclasses import dataclass

import numpy as np

from palpate.core.errors import RecordError


@dataclass(frozen=True, kw_only=True)
class GraspContacts:
    """The contacts of one grasp, N of them; frame: any, with its origin at the object's centre of mass."""

    positions: np.ndarray
    """(N, 3) [m]."""
    normals: np.ndarray
    """(N, 3) unit vectors into the object."""
    friction: np.ndarray
    """(N,) Coulomb coefficients, above 0."""
    torsion_radius: np.ndarray
    """(N,) largest moment about the normal over friction times normal force [m]; 0 is a point contact."""
    object_radius: float
    """Length that makes moments comparable with forces [m]."""
    external_wrench: np.ndarray | None = None
    """(6,) force and moment on the object from elsewhere, in parts of the sum of normal forces and of that sum times `object_radius`;
    None: nothing else pushes."""
    fingers: tuple[str, ...] | None = None
    """Which finger makes each contact, `palm` for the palm; None: each contact is a finger of its own."""

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together."""
        n = len(self.positions)
        shapes = {
            "positions": (self.positions.shape, (n, 3)),
            "normals": (self.normals.shape, (n, 3)),
            "friction": (self.friction.shape, (n,)),
            "torsion_radius": (self.torsion_radius.shape, (n,)),
        }
        wrong = [f"{name} {got}, expected {wanted}" for name, (got, wanted) in shapes.items() if got != wanted]
        if self.external_wrench is not None and self.external_wrench.shape != (6,):
            wrong.append(f"external_wrench {self.external_wrench.shape}, expected (6,)")
        if self.fingers is not None and len(self.fingers) != n:
            wrong.append(f"{len(self.fingers)} fingers, expected {n}")
        if wrong:
            raise RecordError(f"contacts of a grasp do not fit together: {'; '.join(wrong)}")

    @property
    def finger_count(self) -> int:
        """How many fingers touch; the palm is none."""
        return len(self.positions) if self.fingers is None else len(set(self.fingers) - {"palm"})
