"""Stage two of a dexterous grasp: rigid contacts become soft ones, are judged, and once may be improved.

What a soft fingertip touches is pressed on it with the rigid stage's force; contacts elsewhere on the hand stay rigid.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from palpate.core.contacts import GraspContacts
from palpate.core.transforms import apply, inverse
from palpate.sensors.touch.fingertip import SHADOW_THUMB_TIP, SHADOW_TIP, Fingertip, FingertipTouch
from palpate.worlds.dexterous_distance import signed_distance
from palpate.worlds.dexterous_objects import DexterousObject
from palpate.worlds.dexterous_physics import GRAVITY, HandRig, LinkContact
from palpate.worlds.household_view import part_corners
from palpate.worlds.shadow import ACTUATED, COUPLED, FINGERS, RANGES, TENDON

RIGID_TORSION = 0.0005
"""Torsion radius of contacts beside the soft skin [m]: hard plastic touches in a spot."""

GOOD = 0.5
"""A grasp succeeds with more quality than this and at least two fingers (slides)."""

MOST_TUNED = 0.3
"""Fine-tuning moves a target no farther [rad]."""
TUNE_SECONDS = 0.2


class Judged(Protocol):
    """What a judge says of a grasp."""

    @property
    def q(self) -> float:
        """Quality in 0..1."""
        ...

    @property
    def forces(self) -> np.ndarray:
        """(N, 3) best forces on the object, in parts of the sum of normal forces."""
        ...


Judge = Callable[[GraspContacts], Judged]
"""Grasp quality is injected, so that worlds stay free of it."""


class Stopwatch:
    """Adds up seconds by what they went to."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.seconds: dict[str, float] = {"rigid": 0.0, "soft": 0.0, "quality": 0.0, "camera": 0.0}

    @contextmanager
    def count(self, part: str) -> Iterator[None]:
        """Add the time spent inside to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start


@dataclass(frozen=True, kw_only=True)
class FeltGrasp:
    """A grasp as the soft hand feels it."""

    contacts: GraspContacts
    """N contacts, axes of the world, origin at the object's centre of mass."""
    links: tuple[str, ...]
    """(N,) which link makes each."""
    forces: np.ndarray
    """(N, 3) on the object [N], axes of the world."""
    touches: Mapping[str, FingertipTouch]
    """By finger; those whose soft skin touches."""

    @property
    def normal_forces(self) -> np.ndarray:
        """(N,) [N]."""
        return (self.forces * self.contacts.normals).sum(axis=1)

    def array(self) -> np.ndarray:
        """Return the contacts as one row (N * 10,); see `contacts_from_array`."""
        c = self.contacts
        fingers = np.array([(*FINGERS, "palm").index(name) for name in c.fingers or ()], float)
        columns = (fingers, *c.positions.T, *c.normals.T, self.normal_forces, c.friction, c.torsion_radius)
        return np.stack(columns, axis=1).ravel()


def contacts_from_array(row: np.ndarray, object_radius: float, weight: float) -> GraspContacts:
    """Return the contacts of an episode.

    Args:
        row: (N * 10,) per contact: number of the finger (5: palm), position (3) [m] from the centre of mass, normal (3) into the
            object, normal force [N], friction, torsion radius [m].
        object_radius: [m].
        weight: of the object [N], which acts along -z.
    """
    table = np.asarray(row, float).reshape(-1, 10)
    return GraspContacts(
        positions=table[:, 1:4],
        normals=table[:, 4:7],
        friction=table[:, 8],
        torsion_radius=table[:, 9],
        object_radius=object_radius,
        external_wrench=_weight(weight, float(table[:, 7].sum())),
        fingers=tuple((*FINGERS, "palm")[int(k)] for k in table[:, 0]),
    )


def _weight(weight: float, total: float) -> np.ndarray | None:
    """Return the weight as a wrench in parts of the sum of normal forces; None without any."""
    return np.array([0.0, 0.0, -weight / total, 0.0, 0.0, 0.0]) if total > 0 else None


def object_radius(thing: DexterousObject, centre: np.ndarray) -> float:
    """Return how far the object reaches from a point (3,) [m], object frame."""
    corners = np.concatenate([part_corners(part) for part in thing.parts])
    return float(np.linalg.norm(corners - centre, axis=1).max())


class SoftHand:
    """The five soft fingertips."""

    def __init__(self) -> None:
        """Load the tips; four fingers share one."""
        finger, thumb = Fingertip(SHADOW_TIP), Fingertip(SHADOW_THUMB_TIP)
        self.tips = {name: thumb if name == "th" else finger for name in FINGERS}

    def feel(self, rig: HandRig, thing: DexterousObject) -> FeltGrasp:
        """Return the grasp that a rigid hand holds at this moment, with its fingertips soft."""
        rows, touches = [], {}
        for contact in rig.contacts():
            position, normal, force, torsion = contact.position, contact.normal, contact.force, RIGID_TORSION
            touch = self._touch(rig, thing, contact)
            if touch is not None:
                world_from_gel = rig.link_pose(contact.link) @ inverse(self.tips[contact.finger].gel_from_link)
                turn = world_from_gel[:3, :3]
                position, normal = apply(world_from_gel, touch.centre), turn @ touch.normal
                force, torsion = -turn @ touch.force, touch.torsion_radius
                touches[contact.finger] = touch
            rows.append((contact.link, contact.finger, position, normal, force, torsion))
        return _collected(rig, thing, rows, touches)

    def _touch(self, rig: HandRig, thing: DexterousObject, contact: LinkContact) -> FingertipTouch | None:
        """Press the object on a soft tip; None where no soft skin is, or none of it is met."""
        if not contact.link.endswith("distal"):
            return None
        tip, world_from_link = self.tips[contact.finger], rig.link_pose(contact.link)
        if not tip.covers(apply(inverse(world_from_link), contact.position)):
            return None
        world_from_gel = world_from_link @ inverse(tip.gel_from_link)
        object_from_gel = inverse(rig.object_pose()) @ world_from_gel
        touch = tip.press(
            lambda points: signed_distance(thing, apply(object_from_gel, points)),
            -contact.force @ world_from_gel[:3, :3],
            young=thing.young,
            poisson=thing.poisson,
            friction=thing.friction,
        )
        return touch if touch is not None and float(touch.force @ touch.normal) < 0 else None


Row = tuple[str, str, np.ndarray, np.ndarray, np.ndarray, float]


def _collected(rig: HandRig, thing: DexterousObject, rows: list[Row], touches: Mapping[str, FingertipTouch]) -> FeltGrasp:
    n, centre = len(rows), rig.centre_of_mass()
    positions, normals, forces = (np.array([row[k] for row in rows]).reshape(n, 3) for k in (2, 3, 4))
    total = float((forces * normals).sum())
    return FeltGrasp(
        contacts=GraspContacts(
            positions=positions - centre,
            normals=normals,
            friction=np.full(n, thing.friction),
            torsion_radius=np.array([row[5] for row in rows]),
            object_radius=object_radius(thing, apply(inverse(rig.object_pose()), centre)),
            external_wrench=_weight(thing.mass * GRAVITY, total),
            fingers=tuple(row[1] for row in rows),
        ),
        links=tuple(row[0] for row in rows),
        forces=forces,
        touches=touches,
    )


def succeeds(felt: FeltGrasp, judged: Judged) -> bool:
    """Tell whether a grasp counts as a success (slides): quality above 0.5, at least two fingers."""
    return judged.q > GOOD and felt.contacts.finger_count >= 2


def tuned_targets(rig: HandRig, felt: FeltGrasp, judged: Judged) -> np.ndarray:
    """Return joint targets (22,) that bring the contact forces towards those that the judge finds best, their sum kept.

    The lacking torques are those of the lacking forces, J^T df; a position motor gives them by its target, dq = J^T df / kp.
    """
    lacking = judged.forces * float(felt.normal_forces.sum()) - felt.forces
    centre, torque = rig.centre_of_mass(), np.zeros(len(RANGES))
    for link, position, force in zip(felt.links, felt.contacts.positions, lacking, strict=True):
        torque += rig.jacobian(link, position + centre).T @ force
    for follower, leader in COUPLED:  # the tendon hands the last joint's torque to its leader's motor
        torque[leader] += torque[follower] * TENDON[1] / TENDON[0]
    out, motors = rig.targets(), list(ACTUATED)
    out[motors] += np.clip(torque[motors] / rig.gains, -MOST_TUNED, MOST_TUNED)
    return np.clip(out, *RANGES.T)


class Closing:
    """Closes a rig's hand, feels and judges the grasp, and improves it once where that is worth it."""

    def __init__(self, hand: SoftHand, judge: Judge | None, watch: Stopwatch) -> None:
        """Keep soft hand, judge (None: grasps are not judged and not improved) and stopwatch."""
        self._hand, self._judge, self._watch = hand, judge, watch

    def _felt(self, rig: HandRig, thing: DexterousObject) -> tuple[FeltGrasp, Judged | None]:
        with self._watch.count("soft"):
            felt = self._hand.feel(rig, thing)
        with self._watch.count("quality"):
            judged = self._judge(felt.contacts) if self._judge else None
        return felt, judged

    def close(self, rig: HandRig, thing: DexterousObject, joints: np.ndarray) -> "Closed":
        """Close to targets (22,) [rad]; if the grasp is poor, fine-tune the targets once and keep what is better."""
        with self._watch.count("rigid"):
            rig.close(joints)
        felt, judged = self._felt(rig, thing)
        if judged is None or judged.q >= GOOD or felt.contacts.finger_count < 2:
            return Closed(felt=felt, judged=judged, tuned=None)
        with self._watch.count("rigid"):
            before, targets = rig.snapshot(), tuned_targets(rig, felt, judged)
            rig.move(TUNE_SECONDS, targets)
        again, rejudged = self._felt(rig, thing)
        if rejudged is not None and rejudged.q > judged.q and again.contacts.finger_count >= 2:
            return Closed(felt=again, judged=rejudged, tuned=True)
        rig.restore(before)
        return Closed(felt=felt, judged=judged, tuned=False)


@dataclass(frozen=True, kw_only=True)
class Closed:
    """A closed hand."""

    felt: FeltGrasp
    judged: Judged | None
    tuned: bool | None
    """Whether fine-tuning was kept; None where it was not tried."""
