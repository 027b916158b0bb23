"""A scripted person in the glove, and the stages of a grasp as they show in its signals.

The person judges by eye where the fingers will touch, closes them, stops each finger that feels something, and then squeezes with all
of them until the thing feels held: a thing that gives way feels soft and gets little force over a longer way, a rigid one is held firmly
(SoftGrasp, Sections 4.1 and 4.2). What comes back through the glove is felt late and noisily; every trial is a little different. A person
whose glove gives no torque has the eye and the habit only. The person thinks in bends of the hand, 0 open to 1 closed, and has learnt
which glove angle gives which bend.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.records import Episode, Event
from palpate.robots.glove import GloveSample
from palpate.robots.glove_mapping import SOFTGRASP_TABLE_1, GloveMapping

PERIOD = 1.0 / 30.0
"""The person lives at the rate of the rig [s]."""

STAGES = ("preparation", "closing", "clutching", "re-clutching", "stable")
"""SoftGrasp, Section 4.1.2."""

TOUCH_TORQUE = 0.012
"""A joint torque above this tells of contact [N m]: four standard deviations of the sensor's noise, 0.16 N at a fingertip."""

MOST_SQUEEZE = 0.30
"""A finger that closes beside the thing stops after so much more bend."""

MOST_REGRIP = 0.08
"""Further a slipping thing is not squeezed [bend]."""

FAR = 0.20
"""A torque felt further before the expected contact is the hand's own inertia, not a touch [bend]."""

LONGEST_SQUEEZE = 6.0
"""After this time the person lifts anyway [s]."""

MOVED = 0.03
"""A joint that has bent so much has started to close."""
SLOWED = 0.35
"""Bending slower than this part of its greatest speed is clutching."""
STILL_BEND, STILL_TORQUE, STILL_PART = 0.006, 0.006, 0.06
"""Changes that count as none: of a bend, of a torque [N m], and of a torque relative to the greatest."""
STILL_SECONDS = 0.2
"""A stable stage shorter than this is none."""

_THUMB = 4
_Phase = Literal["prepare", "close", "squeeze", "lift"]


@dataclass(frozen=True, kw_only=True)
class PersonConfig:
    """What people have in common, and how much they differ from trial to trial. Estimates, where nothing else is said."""

    feels_torque: bool = True
    """False: the glove's torque does not reach the person, who goes by eye and habit."""
    reaction: float = 0.15
    """From feeling to acting [s]; usual for touch."""
    preparation: float = 1.0
    """The person looks before closing [s]."""
    closing_speed: float = 0.22
    """Bend per second."""
    careful: float = 0.10
    """So near to where the eye expects contact the person slows down [bend]."""
    squeeze_speed: float = 0.05
    """Bend per second."""
    soft_torque: float = 0.070
    """Torque that a person wants at the thumb when holding a thing that gives way [N m]."""
    medium_torque: float = 0.080
    """The same for thin plastic."""
    size_weight: float = 6.0
    """Large things look heavy and are gripped harder (Gordon et al. 1991): so much more of these torques for a unit of bend that the
    fingers are seen to have to bend less than `usual_bend`."""
    usual_bend: float = 0.40
    """Bend of the fingers at which a thing looks neither large nor small."""
    give_way: tuple[float, float] = (0.4, 1.2)
    """A thumb that feels less torque per bend than the first holds something soft, more than the second thin plastic [N m per bend]."""
    lock: float = 0.19
    """So much torque only comes from a glove that locks [N m]."""
    rigid_way: float = 0.025
    """A lock after less bend since the touch tells of a rigid thing."""
    firm_push: float = 0.035
    """How much further people push against the lock to hold a rigid thing firmly [bend]."""
    finger_part: tuple[float, float, float, float] = (0.15, 0.35, 0.35, 0.35)
    """A finger's part of the thumb's torque; the little finger is spared."""
    eye_error: float = 0.02
    """Standard deviation of the expected contact [bend]."""
    torque_error: float = 0.06
    """Standard deviation of what is felt, relative."""
    variation: float = 0.15
    """Relative standard deviation of speeds and wanted torques between trials."""
    tremor: float = 0.0015
    """[bend]."""
    habit: tuple[float, float] = (0.11, 0.04)
    """Mean and standard deviation of how far a person without torque squeezes beyond the expected contact [bend]."""
    give: float = 0.25
    """How far a finger yields to the glove's torque [bend per N m]."""
    soft_time: float = 0.12
    """Time constant with which it yields, and comes back [s]."""
    patience: float = 0.6
    """A squeeze that is done is held for so long before the lift [s]."""
    regrip: float = 0.010
    """Every lift begins with so much more bend: people grip a little more when the load comes."""
    slip: float = 0.006
    """The person sees a thing that lags so far behind the lift slipping [m]."""
    reflex_speed: float = 0.20
    """What slips is gripped faster than anything is squeezed on purpose, as by the reflex of a hand (Johansson & Westling 1987) [bend per
    second]."""


class Person:
    """Implements `palpate.robots.glove.Glove`. The lift is asked for by `wants_lift`, as with a pedal."""

    def __init__(self, config: PersonConfig | None = None, mapping: GloveMapping = SOFTGRASP_TABLE_1) -> None:
        """Take habits, and the mapping of the glove that the person has learnt to use."""
        self.config = config or PersonConfig()
        grids = [np.linspace(joint.low, joint.high, 201) for joint in mapping]
        self._grids = [(np.maximum.accumulate(joint(grid)), grid) for joint, grid in zip(mapping, grids, strict=True)]

    def reset(self, rng: np.random.Generator, expected: np.ndarray) -> None:
        """Begin a trial.

        Args:
            rng: The person's own.
            expected: (6,) bends at which each joint would touch the object as it stands there; for the thumb's swing where it should go.
        """
        c = self.config
        if np.shape(expected) != (6,) or not np.isfinite(expected).all():
            raise RecordError(f"the person expects contact at six finite bends (0 open, 1 closed), got {expected}")
        self._rng = rng
        vary = np.exp(rng.normal(0.0, c.variation, 6))
        self._closing, self._squeezing = c.closing_speed * vary[0], c.squeeze_speed * vary[1]
        self._mood, self._wait = float(vary[2]), c.preparation * float(vary[3])
        self._expected = np.asarray(expected, float) + rng.normal(0.0, c.eye_error, 6)
        self._expected[5] = float(expected[5])
        self._finger_mood = np.exp(rng.normal(0.0, c.variation / 2, 6))
        self._habit = np.maximum(rng.normal(*c.habit) + rng.normal(0.0, 0.01, 6), 0.02)
        self._lag = max(1, round(c.reaction * float(np.exp(rng.normal(0.0, 0.1))) / PERIOD))
        self._bend, self._shake, self._yield = np.zeros(6), np.zeros(6), np.zeros(6)
        self._touched, self._touch_bend = np.zeros(6, bool), np.zeros(6)
        self._phase: _Phase = "prepare"
        self._time, self._calm, self._seen_slip = 0.0, 0.0, 0.0
        self._felt: deque[np.ndarray] = deque(maxlen=self._lag)
        self._bends: deque[np.ndarray] = deque(maxlen=self._lag)
        self._rigid: bool | None = None
        self._mood_soft = self._mood * (1.0 + c.size_weight * max(c.usual_bend - float(self._expected[:_THUMB].mean()), 0.0))
        self._wanted = c.soft_torque * self._mood_soft
        self._start, self._push_from = np.zeros(6), np.zeros(6)
        self._squeezed = 0.0
        self._regrip, self._regripped = c.regrip * self._mood, 0.0

    @property
    def wants_lift(self) -> bool:
        """Whether the arm should lift now."""
        return self._phase == "lift"

    def see(self, lagging: float) -> None:
        """Let the person see how far the object lags behind the lift [m]."""
        self._seen_slip = lagging + 0.001 * self._rng.normal()

    def feel(self, torque: np.ndarray, angle: np.ndarray) -> None:
        """Feel the glove: it resists with `torque` (6,) [N m] towards `angle` (6,) in its own angles."""
        c = self.config
        if not c.feels_torque:
            return
        self._felt.append(np.asarray(torque, float) * (1 + c.torque_error * self._rng.normal(size=6)))
        pushed = np.maximum(self._bend - self._bends_of(angle), 0.0)
        self._yield += PERIOD / c.soft_time * (np.minimum(pushed, c.give * np.asarray(torque, float)) - self._yield)

    def read(self) -> GloveSample:
        """Move on by one period and return the glove's angles."""
        self._time += PERIOD
        self._bends.append(self._bend.copy())
        felt = self._felt[0] if len(self._felt) == self._lag else np.zeros(6)
        {"prepare": self._prepare, "close": self._close, "squeeze": self._squeeze, "lift": self._lift}[self._phase](felt)
        self._shake = 0.9 * self._shake + self.config.tremor * np.sqrt(1 - 0.81) * self._rng.normal(size=6)
        bend = np.clip(self._bend - self._yield + self._shake, 0.0, 1.0)
        angles = np.array([np.interp(b, *grid) for b, grid in zip(bend, self._grids, strict=True)])
        return GloveSample(angles=angles, time=self._time)

    # -- what the person does in a period ----------------------------------------------------------------------------------------

    def _bends_of(self, angles: np.ndarray) -> np.ndarray:
        return np.array([np.interp(a, grid, bends) for a, (bends, grid) in zip(angles, self._grids, strict=True)])

    def _prepare(self, felt: np.ndarray) -> None:
        """Look, and swing the thumb under the palm."""
        if self._time > self._wait * 0.4:
            self._bend[5] = min(self._bend[5] + 1.5 * PERIOD, self._expected[5])
        if self._time > self._wait and self._bend[5] >= self._expected[5]:
            self._phase = "close"

    def _close(self, felt: np.ndarray) -> None:
        """Close until thumb and two fingers touch, each finger waiting where it touches; by eye alone, until the expected contact."""
        c = self.config
        self._notice(felt)
        near = self._expected - self._bend < c.careful
        speed = np.where(near, 0.25, 1.0) * self._closing
        # Where nothing is felt the finger closes beside the object, and there is no point in going on.
        end = self._expected + (0.12 if c.feels_torque else 0.0)
        moving = ~self._touched & (self._bend < end)
        moving[5] = False
        self._bend = np.where(moving, np.minimum(self._bend + speed * PERIOD, end), self._bend)
        both = self._touched[_THUMB] and self._touched[:_THUMB].sum() >= 2
        if both or not moving.any():
            self._phase = "squeeze"
            self._start = self._bend.copy()

    def _notice(self, felt: np.ndarray) -> None:
        """Take note of joints that feel something for the first time, not far from where the eye expects it."""
        new = (felt > TOUCH_TORQUE) & ~self._touched & (self._expected - self._bend < FAR)
        new[5] = False
        self._touch_bend[new] = self._bend[new]
        self._touched |= new

    def _squeeze(self, felt: np.ndarray) -> None:
        """Squeeze until it feels held, and wait a little."""
        going, enough = self._by_feel(felt) if self.config.feels_torque else self._by_habit()
        going[5] = False
        self._bend = np.where(going, np.minimum(self._bend + self._squeezing * PERIOD, 1.0), self._bend)
        self._calm = self._calm + PERIOD if enough else 0.0
        self._squeezed += PERIOD
        if self._calm > self.config.patience or self._squeezed > LONGEST_SQUEEZE:
            self._phase = "lift"

    def _by_habit(self) -> tuple[np.ndarray, bool]:
        """Return which joints go on (6,), and whether that is enough, for a person who feels no torque."""
        going = self._bend < self._expected + self._habit
        return going, not going[:5].any()

    def _by_feel(self, felt: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return which joints go on (6,), and whether that is enough, from the torque felt."""
        c = self.config
        self._notice(felt)
        thumb = felt[_THUMB]
        way = max(float(self._bends[0][_THUMB] - self._touch_bend[_THUMB]), 0.002)
        if thumb >= c.lock and self._rigid is None:
            # The glove locks a joint that rests under torque: at once on a thing that does not give way.
            self._rigid = way < c.rigid_way
            self._push_from = self._bend.copy()
        if self._rigid:
            going = self._touched & (self._bend < self._push_from + c.firm_push * self._mood)
            return going, not going.any()
        if thumb < c.lock and self._touched[_THUMB]:
            self._wanted = self._mood_soft * float(np.interp(thumb / way, c.give_way, (c.soft_torque, c.medium_torque)))
        going = felt < self._wanted * np.array([*c.finger_part, 1.0, 0.0]) * self._finger_mood
        # All fingers press against the thumb; when it has enough, they have.
        enough = bool(thumb >= self._wanted)
        going[:_THUMB] &= (self._bend < self._start + MOST_SQUEEZE)[:_THUMB] & (not enough)
        return going, enough

    def _lift(self, felt: np.ndarray) -> None:
        """Grip a little more as the load comes, and again while the thing slips."""
        c = self.config
        step = self._squeezing * PERIOD
        if self._seen_slip > c.slip:
            step = c.reflex_speed * PERIOD
            self._regrip = min(self._regrip + step, MOST_REGRIP)
        more = min(step, self._regrip - self._regripped)
        if more > 0:
            moving = self._touched | (not c.feels_torque)
            moving[5] = False
            self._bend = np.where(moving, np.minimum(self._bend + more, 1.0), self._bend)
            self._regripped += more


def find_stages(episode: Episode) -> tuple[Event, ...]:
    """Find the five stages in angles, torques and lift of an episode (SoftGrasp, Section 4.1.2).

    Preparation begins with the episode; closing when a finger or the thumb starts to bend; clutching when, after contact, the bending has
    slowed down; re-clutching with the lift; stable when the arm has arrived and neither angles nor torques change any more until the
    end. A stage that does not occur has no event, and neither have the stages after it.

    Raises:
        RecordError: The episode has no joint angles or torques.
    """
    missing = [name for name in ("hand.joint_position", "hand.joint_torque") if name not in episode.streams]
    if missing:
        raise RecordError(f"stages are found in angles and torques; episode {episode.index} lacks {', '.join(missing)}")
    position, torques = episode.streams["hand.joint_position"], episode.streams["hand.joint_torque"]
    times = position.times
    bend = 1.0 - _smooth(position.values[:, :5].astype(float))
    torque = _smooth(torques.values[:, :5].astype(float))
    lifts = [event.time for event in episode.events if event.name == "lift"]
    begins: list[float | None] = [
        float(times[0]),
        _closing(times, bend),
        _clutching(times, bend, torque),
        lifts[0] if lifts else None,
        _stable(times, bend, torque, _raised(episode, lifts[0])) if lifts else None,
    ]
    out: list[Event] = []
    for name, begin in zip(STAGES, begins, strict=True):
        if begin is None or (out and begin < out[-1].time):
            break
        out.append(Event(name=name, time=begin))
    return tuple(out)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return running means (T, D) over a sixth of a second, at the ends over what is there."""
    kernel = np.ones(5)
    count = np.convolve(np.ones(len(values)), kernel, "same")
    return np.stack([np.convolve(column, kernel, "same") / count for column in values.T], axis=1)


def _first(times: np.ndarray, holds: np.ndarray) -> float | None:
    return float(times[np.argmax(holds)]) if holds.any() else None


def _closing(times: np.ndarray, bend: np.ndarray) -> float | None:
    """Return when the first joint has left its place of rest."""
    return _first(times, np.abs(bend - bend[:5].mean(0)).max(1) > MOVED)


def _clutching(times: np.ndarray, bend: np.ndarray, torque: np.ndarray) -> float | None:
    """Return when thumb and a finger touch and the bending is slower than a part of its greatest speed."""
    speed = np.abs(np.gradient(bend, times, axis=0)).mean(1)
    touches = (torque[:, _THUMB] > TOUCH_TORQUE) & (torque[:, :_THUMB].max(1) > TOUCH_TORQUE)
    return _first(times, touches & (speed < SLOWED * speed.max()))


def _raised(episode: Episode, lift: float) -> float:
    """Return when the arm has come to rest after the lift [s]; without the arm's height, when the lift began."""
    if "arm.height" not in episode.streams:
        return lift
    height = episode.streams["arm.height"]
    return float(height.times[np.argmax(height.values[:, 0] > height.values[:, 0].max() - 0.001)])


def _stable(times: np.ndarray, bend: np.ndarray, torque: np.ndarray, raised: float) -> float | None:
    """Return from when on, once raised, each joint stays where it is at the end."""
    still = (np.abs(bend - bend[-8:].mean(0)).max(1) < STILL_BEND) & (
        np.abs(torque - torque[-8:].mean(0)).max(1) < STILL_TORQUE + STILL_PART * torque[-8:].mean(0).max()
    )
    last_change = np.flatnonzero(~still)
    begin = float(times[last_change[-1] + 1]) if len(last_change) and last_change[-1] + 1 < len(times) else float(times[0])
    begin = max(begin, raised)
    return begin if begin < times[-1] - STILL_SECONDS else None
