"""Immersive demonstration: the glove moves the hand, and the hand's torque comes back to the glove (SoftGrasp, Section 3.1.2).

Algorithm 1 as printed leaves questions open; what is done here, joint by joint:

* Its three branches leave out torque between the thresholds with a fast joint, torque above `clutch_torque` with a joint that still
  moves, and torque equal to a threshold. All of these are `contact`: the hand touches something and has not come to rest. Only
  `clutched` asks for rest, so that a finger that sinks on into a soft object, or slips, is never taken for a firm grasp; and it follows
  `contact` only, at the next step at the earliest.
* So the threshold of the change of angle in contact decides nothing; it bounds the answer instead (next but one).
* The outputs are named the wrong way round (feedback torque A_m, feedback angles T_m); the lines of the algorithm have them right.
* Contact asks for the angle A_m - eta |dA_s|, which pushes the glove open while the hand closes. |dA_s| is taken no larger than the
  contact threshold, which keeps the push small where the printed branch ends.
* Without contact the printed feedback angle is 0 at torque 0. At torque 0 the angle means nothing, but a glove that goes there would pull
  the fingers straight; here it is A_m, the angle the glove has.
* The change dA_s is per step of an unstated rate. Here thresholds are speeds and dA_s is the change over `PERIOD`, the paper's 30 Hz, so
  that the feeling does not depend on the rate of the loop.
* Noise about a threshold would switch the feedback on and off. A state is left only below `release` times the torque that began it; with
  `release` 1 this is the printed algorithm.

The torque felt jumps twice: Eq. 1 goes from 0 to T_con at the contact, which is meant (the contact is felt), and is continuous at T_max;
and `clutched` gives T_max whatever T_s is, which Eq. 1 would not: it is the lock that tells the person to stop squeezing.
The paper gives no thresholds.
"""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from palpate.core.errors import RecordError
from palpate.robots.glove import Glove, GloveError, GloveGuard, GloveSample, Guarded, GuardLimits, GuardState, Hand, HandState
from palpate.robots.glove_mapping import GloveMapping, map_angles

PERIOD = 1.0 / 30.0
"""Time over which the change of angle is taken [s]."""


class Contact(IntEnum):
    """Demonstration state of one joint, in the order of a grasp."""

    NONE = 0
    CONTACT = 1
    CLUTCHED = 2


@dataclass(frozen=True, kw_only=True)
class ImmersionConfig:
    """Thresholds of Algorithm 1. Torques in the unit of `HandState.torques`, speeds in that of its angles per second."""

    contact_torque: float
    """T_con: from here on a joint touches something."""
    clutch_torque: float
    """T_clu: from here on a joint at rest has clutched the object."""
    max_feedback: float
    """T_max of the glove: the most it can give."""
    contact_speed: float
    """dA_con per second: bounds the push in contact."""
    clutch_speed: float
    """dA_clu per second: a slower joint is at rest."""
    amplification: float = 1.0
    """eta: how strongly a closing hand pushes the glove open in contact."""
    release: float = 0.8
    """A state ends below this part of the torque that begins it."""
    guard: GuardLimits = field(default_factory=GuardLimits)

    def __post_init__(self) -> None:
        """Refuse thresholds that contradict each other."""
        wrong = []
        if not 0.0 < self.contact_torque < self.clutch_torque:
            wrong.append(f"0 < contact_torque ({self.contact_torque}) < clutch_torque ({self.clutch_torque})")
        if not self.contact_torque < self.max_feedback:
            wrong.append(f"contact_torque ({self.contact_torque}) < max_feedback ({self.max_feedback})")
        if not 0.0 < self.clutch_speed <= self.contact_speed:
            wrong.append(f"0 < clutch_speed ({self.clutch_speed}) <= contact_speed ({self.contact_speed})")
        if not 0.0 < self.release <= 1.0 or self.amplification < 0.0:
            wrong.append(f"0 < release ({self.release}) <= 1 and amplification ({self.amplification}) >= 0")
        if wrong:
            raise RecordError(f"thresholds contradict each other; needed: {'; '.join(wrong)}")


@dataclass(frozen=True, kw_only=True)
class ImmersionStep:
    """What one step of the loop asks for."""

    command: np.ndarray
    """(6,) angles for the hand."""
    feedback_torque: np.ndarray
    """(6,) for the glove."""
    feedback_angle: np.ndarray
    """(6,) for the glove, in its own angles."""
    contact: tuple[Contact, ...]
    """State of each joint."""
    guard: GuardState
    message: str
    """What the guard of the glove has to say at this step, or nothing."""

    @property
    def state(self) -> Contact:
        """The state of the demonstration: that of the joint that has come farthest."""
        return max(self.contact)


def feedback_torque(torque: np.ndarray, contact_torque: float, max_feedback: float) -> np.ndarray:
    """Return what the glove gives for torques of the hand, any shape (Eq. 1): nothing, the torque itself, its most."""
    torque = np.asarray(torque, float)
    return np.where(torque < contact_torque, 0.0, np.minimum(torque, max_feedback))


class ImmersionController:
    """Algorithm 1 at the rate of whoever calls `step`, with a guard over the glove.

    While the glove is not to be believed the hand holds its last command (before the first sample: its present angles) and the glove is
    let go, torque 0, because it may be on a hand that is not where it seems. It is felt again when the hand follows again.
    """

    def __init__(self, config: ImmersionConfig, mapping: GloveMapping) -> None:
        """Take the thresholds, and the mapping from the glove's joints to the hand's."""
        self.config = config
        self.mapping = mapping
        self._guard = GloveGuard(config.guard)
        self._contact = np.zeros(6, int)
        self._before: np.ndarray | None = None
        self._command: np.ndarray | None = None

    def step(self, hand: HandState, sample: GloveSample | None, dt: float) -> ImmersionStep:
        """Go on by one step.

        Args:
            hand: What the hand measured now.
            sample: The newest of the glove; None if there is none.
            dt: Time since the last step [s].

        Raises:
            RecordError: `dt` is not positive.
        """
        if not dt > 0.0:
            raise RecordError(f"dt is {dt}; the time since the last step must be positive")
        guarded = self._guard.step(sample, dt)
        angles = np.asarray(hand.angles, float)
        speed = np.abs(angles - self._before) / dt if self._before is not None else np.zeros(6)
        self._before = angles.copy()
        self._contact = self._classify(np.asarray(hand.torques, float), speed)
        return self._answer(hand, guarded, speed)

    def _classify(self, torque: np.ndarray, speed: np.ndarray) -> np.ndarray:
        """Return the state (6,) of each joint."""
        c = self.config
        known = self._contact >= Contact.CONTACT
        touches = torque >= c.contact_torque * np.where(known, c.release, 1.0)
        firm = torque >= c.clutch_torque * np.where(self._contact == Contact.CLUTCHED, c.release, 1.0)
        rests = speed < c.clutch_speed
        return np.where(known & touches & firm & rests, Contact.CLUTCHED, np.where(touches, Contact.CONTACT, Contact.NONE))

    def _answer(self, hand: HandState, guarded: Guarded, speed: np.ndarray) -> ImmersionStep:
        c = self.config
        believed = guarded.angles is not None and guarded.state in ("following", "recovering")
        if guarded.angles is not None and believed:
            self._command = map_angles(self.mapping, guarded.angles)
        elif self._command is None:
            self._command = np.array(hand.angles, float)
        glove = guarded.angles if guarded.angles is not None else np.zeros(6)
        touching, clutched = self._contact == Contact.CONTACT, self._contact == Contact.CLUTCHED
        held = feedback_torque(hand.torques, c.contact_torque * c.release, c.max_feedback)
        torque = np.where(clutched, c.max_feedback, np.where(touching, held, 0.0))
        push = c.amplification * np.minimum(speed, c.contact_speed) * PERIOD
        return ImmersionStep(
            command=self._command.copy(),
            feedback_torque=torque if guarded.state == "following" else np.zeros(6),
            feedback_angle=np.where(touching, glove - push, glove),
            contact=tuple(Contact(int(state)) for state in self._contact),
            guard=guarded.state,
            message=guarded.message,
        )


def exchange(controller: ImmersionController, hand: Hand, glove: Glove, dt: float) -> ImmersionStep:
    """Read hand and glove, go on by one step of `dt` [s], and send both what it asks for. A glove that raises `GloveError` is silent."""
    try:
        sample = glove.read()
    except GloveError:
        sample = None
    done = controller.step(hand.read(), sample, dt)
    hand.command(done.command)
    glove.feel(done.feedback_torque, done.feedback_angle)
    return done
