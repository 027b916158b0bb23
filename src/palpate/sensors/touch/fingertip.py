"""The soft fingertips of the Shadow hand: a contact that the rigid stage found becomes pressure, shear and touch.

The tips are capsules with the size of the rigid hand's, so that both stages meet the object at the same place: half a cylinder and
the outer part of its cap carry a soft skin on a rigid bone. `Fingertip.press` brings the object, from where the rigid stage left it,
along the skin's normal there to the wanted normal force and moves it along the skin to the wanted force across.

Frames: the link's is MuJoCo's body frame of the distal link (z from the joint to the tip). The gel frame has its origin on the
middle line of the pulp where the cylinder meets the cap; x right, y to the palm, z into the tip.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.transforms import apply, inverse, pose
from palpate.sensors.touch.taxels import BIOTAC_SP_ROWS, Taxels, region_force, spread_taxels, taxel_forces
from palpate.sensors.touch.tip import SoftTip, TipContact, TooDeepError, press
from palpate.sensors.touch.tip_gap import Distance, MissedError, nearest
from palpate.sensors.touch.tip_mesh import TipShape, bend, outer_normals

DEEPEST = 0.8
"""Share of its thickness that the skin is pressed in at most: beyond, the bone would take the rest."""
TRIES = 10
"""Most presses to find the force at which the skin is that deep."""
MISSED = 1e-2
"""Lack of force across, as a share of the normal force, from which on the tip counts as slipping."""


@dataclass(frozen=True, kw_only=True)
class TipModel:
    """Constants of a robot's soft fingertip."""

    shape: TipShape
    """The skin; a straight one."""
    pulp: tuple[float, float, float]
    """Unit vector from the link's axis to the middle of the pulp, link frame."""
    cap: float
    """Where the cylinder meets the cap, along the link's z [m]."""
    taxel_spread: float
    """Standard deviation of the region that one of the 24 taxels reads [m]."""
    region_centre: float
    """Middle of the region that the 1-D sensor reads, on the pulp's middle line: its y in the gel frame [m]."""
    region_radius: float
    """[m]."""
    estimates: tuple[str, ...] = ()
    """Names of the fields that are guesses and not measured or published; those of the skin are `shape.estimates`."""

    @property
    def gel_from_link(self) -> np.ndarray:
        """(4, 4) transform from the distal link's frame to the gel frame."""
        z, y = -np.array(self.pulp), np.array([0.0, 0.0, -1.0])
        apex = self.shape.height * np.array(self.pulp) + np.array([0.0, 0.0, self.cap])
        return inverse(pose(np.stack([np.cross(y, z), y, z], axis=1), apex))


def _capsule(radius: float, length: float) -> TipShape:
    return TipShape(
        half_width=radius,
        distal=radius,
        height=radius,
        proximal=length,
        skin=2.5e-3,
        reach=1.6,
        young=0.25e6,
        poisson=0.47,
        friction=0.8,
        cells=(10, 10, 16, 3),
        straight=True,
        estimates=("proximal", "skin", "reach", "young", "poisson", "friction"),
    )


_GUESSED = ("taxel_spread", "region_centre", "region_radius")

SHADOW_TIP = TipModel(
    shape=_capsule(7.05e-3, 16e-3),
    pulp=(0.0, -1.0, 0.0),
    cap=24e-3,
    taxel_spread=2e-3,
    region_centre=0.0,
    region_radius=4e-3,
    estimates=_GUESSED,
)
"""First to little finger. Radius and length as in the hand's MuJoCo model, skin like our BioTac SP's, which is an estimate."""

SHADOW_THUMB_TIP = TipModel(
    shape=_capsule(9.18e-3, 18e-3),
    pulp=(-1.0, 0.0, 0.0),
    cap=26e-3,
    taxel_spread=2e-3,
    region_centre=0.0,
    region_radius=4e-3,
    estimates=_GUESSED,
)
"""The thumb, whose last joint bends about y."""


@dataclass(frozen=True, kw_only=True)
class FingertipTouch:
    """What one fingertip does and feels. Gel frame; forces are the object's on the tip."""

    contact: TipContact
    taxels: np.ndarray
    """(24, 3) float32 [N]; they add up to `force`."""
    region_n: float
    """Net force on the small region along its normal [N]: a 1-D sensor."""
    force: np.ndarray
    """(3,) [N]."""
    torque: np.ndarray
    """(3,) about the origin [N m]."""
    centre: np.ndarray
    """(3,) centre of pressure on the skin at rest [m]; without a force the place that is nearest to the object."""
    normal: np.ndarray
    """(3,) unit vector into the object: mean direction of pressure."""
    radius: float
    """Of a disc with the area of contact [m]."""
    torsion_radius: float
    """Moment of friction about the normal over friction times normal force, if all of it slips round [m]; 3 pi/16 radius for Hertz."""
    depth: float
    """How far the object came in beyond first touch [m]; with a soft object that counts its own dent."""
    saturated: bool
    """The skin does not take the wanted force: this is the state where it is pressed in as deep as is allowed."""
    slipping: bool
    """Friction does not give the wanted force across."""


class Fingertip:
    """A soft fingertip, ready to be pressed.

    Args:
        model: its constants.
        cache: folder where its compliance is kept, see `SoftTip`; the first call takes seconds.

    Attributes:
        model: its constants.
        tip: its skin.
        taxels: its 24 taxels.
        region: (n,) share of each facet in the 1-D sensor.
        gel_from_link: (4, 4).
    """

    def __init__(self, model: TipModel, cache: Path | None = None) -> None:
        if not model.shape.straight:
            raise RecordError("the shape of a TipModel must be straight, a capsule as the rigid hand has")
        self.model = model
        self.tip = SoftTip(model.shape, cache)
        self.taxels = _taxels(self.tip, model.taxel_spread)
        middle = np.array([0.0, model.region_centre, 0.0])
        self.region = (np.linalg.norm(self.tip.surface.points - middle, axis=1) < model.region_radius).astype(float)
        self.gel_from_link = model.gel_from_link

    def covers(self, point_link: np.ndarray) -> bool:
        """Return whether a contact at (3,) [m], link frame, lies on the soft skin."""
        shape, surface = self.model.shape, self.tip.surface
        point = apply(self.gel_from_link, np.asarray(point_link, float))
        axis = np.array([0.0, max(point[1], 0.0), shape.height])
        out = point - axis
        length = float(np.linalg.norm(out))
        if length == 0.0:
            return False
        # The rigid stage lets bodies overlap a little: what counts is where the point is on the surface.
        apart = np.linalg.norm(surface.points - (axis + out * shape.height / length), axis=1)
        nearest = int(np.argmin(apart))
        return bool(apart[nearest] < 0.75 * np.sqrt(surface.areas[nearest]))

    def press(
        self,
        distance: Distance,
        force: np.ndarray,
        young: float | None = None,
        poisson: float = 0.45,
        friction: float | None = None,
    ) -> FingertipTouch | None:
        """Press an object on the tip with a wanted force.

        Args:
            distance: the object where the rigid stage left it: points (m, 3) [m], gel frame -> signed distances (m,) [m].
            force: wanted force on the tip (3,) [N], gel frame. Its part along the skin's normal there is reached by approach; 0 or less
                gives a touch whose readings are exactly 0. Its part across is reached by a shift, if friction allows.
            young: Young's modulus of the object [Pa]; None is rigid.
            poisson: Poisson ratio of a soft object.
            friction: Coulomb coefficient between object and skin; None takes the skin's own.

        Returns:
            The touch; None if the object is further from the skin than the skin is thick.

        Raises:
            RecordError: a force that is not finite, or constants or distances that cannot be.
            SimulationError: friction does not settle (not seen in 2500 random presses, a third of them by corners).
        """
        wanted = np.asarray(force, float)
        if wanted.shape != (3,) or not np.isfinite(wanted).all():
            raise RecordError(f"force is {force}; give three finite numbers [N], gel frame")
        spot, apart = nearest(self.tip.surface, distance)
        if apart > self.model.shape.skin:
            return None
        normal = outer_normals(self.model.shape, spot)  # a smooth body meets any other along its own normal
        push = max(float(wanted @ normal), 0.0)
        across = wanted - (wanted @ normal) * normal

        def at(share: float) -> TipContact:
            return press(
                self.tip,
                distance,
                force=share * push,
                along=normal.tolist(),
                pull=(share * across).tolist(),
                friction=friction,
                object_young=young,
                object_poisson=poisson,
            )

        try:
            contact, share = _most(at, self.model.shape, soft=young is not None)
        except MissedError:  # an edge beside the tip, which no facet meets along the nearest normal
            return None
        short = share * across - contact.force @ (np.eye(3) - np.outer(normal, normal))
        slipping = push > 0 and bool(np.linalg.norm(short) > MISSED * share * push)
        return self._felt(contact, (spot, normal), saturated=share < 1, slipping=slipping)

    def _felt(
        self, contact: TipContact, untouched: tuple[np.ndarray, np.ndarray], *, saturated: bool, slipping: bool
    ) -> FingertipTouch:
        """Read a contact out; `untouched` holds centre and outward normal where there is no force."""
        surface = self.tip.surface
        loads = contact.pressure * contact.areas
        total = float(loads.sum())
        centre, outward, arm = *untouched, 0.0
        if total > 0:
            centre, outward = loads @ contact.points / total, loads @ contact.normals
            outward = outward / np.linalg.norm(outward)
            apart = surface.samples - centre
            across = np.linalg.norm(apart - (apart @ outward)[..., None] * outward, axis=2).mean(axis=1)
            arm = float(loads @ across) / total
        return FingertipTouch(
            contact=contact,
            taxels=taxel_forces(contact, self.taxels).astype(np.float32),
            region_n=float(region_force(contact, self.region)),
            force=contact.force,
            torque=contact.torque,
            centre=centre,
            normal=-outward,
            radius=float(np.sqrt(contact.contact_area / np.pi)),
            torsion_radius=arm,
            depth=float(contact.approach),
            saturated=saturated,
            slipping=slipping,
        )


def _taxels(tip: SoftTip, spread: float) -> Taxels:
    """Return 24 taxels in rows from the tip's end to the palm, alike on both sides; wherever the mesh has its facets."""
    rows = np.linspace(-0.85, 0.85, len(BIOTAC_SP_ROWS))
    v = np.repeat(rows, BIOTAC_SP_ROWS)
    u = np.concatenate([0.8 * ((2 * np.arange(count) + 1) / count - 1) for count in BIOTAC_SP_ROWS])
    places = bend(tip.shape, u, v, np.ones(1))
    normals = outer_normals(tip.shape, places)
    return spread_taxels(places, normals, tip.surface.points, spread, "layout, spread and physics of all 24 taxels")


def _most(at: Callable[[float], TipContact], shape: TipShape, *, soft: bool) -> tuple[TipContact, float]:
    """Return the contact at the largest share of a wanted force that the skin takes, to 5 % of its depth, and that share."""
    low, share, high = 0.0, 1.0, 1.0
    for _ in range(TRIES):
        try:
            contact = at(share)
            use = _use(contact, shape, soft=soft)
            if use <= 1 and (share == 1 or use > 0.95):
                return contact, share
        except TooDeepError:
            use = np.inf
        low, high = (share, high) if use <= 1 else (low, share)
        guess = share * (0.975 / use) ** 1.5 if 0 < use < np.inf else 0.0  # depth goes with force to the 2/3 (Hertz)
        share = float(np.clip(guess, 0.7 * low + 0.3 * high, 0.1 * low + 0.9 * high))
    return at(low), low


def _use(contact: TipContact, shape: TipShape, *, soft: bool) -> float:
    """Return how much a contact takes of the depth that is allowed; a soft object itself may be dented by half the tip's radius."""
    sunk = float((contact.displacement * contact.normals).sum(axis=1).max())
    deepest = DEEPEST * shape.skin
    return max(sunk / deepest, float(contact.approach) / (deepest + (shape.half_width / 2 if soft else 0.0)))
