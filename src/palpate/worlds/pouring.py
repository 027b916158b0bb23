"""The pouring world: a parallel gripper with a touch sensor on each finger holds a cup of beads and tilts it, five times a second.

AnyTouch (Feng et al., 2025), Section 5.6 and Appendix A.8: 60 g of 100 g are to be poured by touch alone; each period the cup is tilted on
by 0.25 degrees, held, or tilted back by as much. The cup turns about the axis through the pads' centres, along which the gripper closes.

When the full cup has been grasped and its beads lie still, before it is tilted, each sensor takes a few frames: the reference against which
its later pictures are read, as users of such sensors do (`Observation.touch_rest`, streams `touch.FINGER.rest`). What varies from grasp to
grasp and from gel to gel is in it, what is poured is not: it is taken once, before anything is poured.

All loads on the gels are those of the beads on the cup in each thirtieth of a second, knocks included; see `pouring_grasp`.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from palpate.core.errors import RecordError, UnknownNameError
from palpate.core.randomness import generator
from palpate.core.recording import Recorder
from palpate.core.records import Command, Episode, Observation, StreamSpec, TactileFrame
from palpate.core.units import DEG
from palpate.sensors.touch.catalog import get_sensor
from palpate.sensors.touch.sensor import TouchSensor
from palpate.worlds.gripper import FINGERS
from palpate.worlds.household_touch import pictured
from palpate.worlds.pouring_grasp import Cups, Grasp, draw_trial
from palpate.worlds.pouring_physics import FRAME, GRAVITY, Beads

RATE_HZ = 5.0
STEP = 0.25 * DEG
"""Most that the cup is tilted in a period [rad] (AnyTouch, A.8)."""
CLIP = 3
"""Frames at the end of each period that a policy sees, the sensor's newest (AnyTouch, Section 3)."""
FRAMES = 6
"""Thirtieths of a second in a period."""
REFERENCE = 3
"""Frames of each sensor that the reference is the mean of."""
STILL = 0.3
"""The upright cup is held so long before they are taken [s]."""

TARGET = 0.060
"""To be poured [kg] (A.8)."""

APPROACH = 60 * DEG
"""The cup is brought to where the episode begins at this speed [rad/s]."""
SHAKE = 2.0
"""An arm that moves in small steps trembles: standard deviation of the amplitude, per axis, of a swing at 30 Hz [m/s^2]; an estimate, 56
micrometres of motion. It sets the size of the avalanches: without it beads come in slides of 10 to 30 g, with it of 1 to 5 g."""
TILT_NOISE = 0.01 * DEG
"""Of the measured tilt [rad]; an estimate."""

FALL = 0.23
"""From the lip into the bowl, 0.27 m below [s]."""
SCALE_LAG = 0.20
"""Time constant of the scale [s]; an estimate for a kitchen scale."""
SCALE_NOISE = 0.1e-3
"""Of its reading [kg]."""
CALM = 2.5
"""At the end the cup is set upright at the speed of the approach, and the scale is read when so much time has passed [s]."""


@dataclass(frozen=True, kw_only=True)
class PouringConfig:
    """Everything that defines the world."""

    cups: Cups = "varied"
    """`varied`: another cup, other beads, another grasp and other gels in each trial; `same`: one cup that stays about where it is in the
    gripper and is filled anew, as a trial in a laboratory goes."""
    touch: str = "gelsight-mini"
    """Sensor on both fingers, of those that give pictures; see `palpate.sensors.touch.catalog`."""
    picture: int = 96
    """Longer side of the touch pictures [px]."""
    start: float = 62 * DEG
    """Tilt at which an episode begins, just short of where beads begin to flow [rad]."""
    start_spread: float = 3 * DEG
    """Half of the range of that tilt [rad]."""
    end: float = 1 * DEG
    """An episode ends when the cup was tilted back so far from its greatest tilt [rad]; it is then set upright."""
    time_limit: float = 60.0
    """[s]"""

    def __post_init__(self) -> None:
        """Refuse what makes no world."""
        if self.cups not in ("same", "varied"):
            raise UnknownNameError("kind of cups", self.cups, ("same", "varied"))
        if min(self.end, self.time_limit) <= 0 or not 0 <= self.start < np.pi:
            raise RecordError(
                f"end [rad] and time_limit [s] must be positive and start within 0 and pi, got {self.end:g}, {self.time_limit:g}, "
                f"{self.start:g}; are the angles in radians?"
            )


def clip(observation: Observation, finger: str) -> np.ndarray:
    """Return the last frames (CLIP, H, W, 3) uint8 of a finger's sensor, the newest last.

    Raises:
        RecordError: the observation lacks them.
    """
    names = [_frame_name(finger, age) for age in range(CLIP - 1, -1, -1)]
    frames = [observation.touch[name].image for name in names if name in observation.touch]
    images = [image for image in frames if image is not None]
    if len(images) < CLIP:
        raise RecordError(
            f"a clip needs the touch pictures {', '.join(names)}; this observation has {sorted(observation.touch)}"
        )
    return np.stack(images)


def rest_picture(observation: Observation, finger: str) -> np.ndarray:
    """Return the reference (H, W, 3) uint8 of a finger's sensor.

    Raises:
        RecordError: the observation lacks it.
    """
    frame = observation.touch_rest.get(finger)
    if frame is None or frame.image is None:
        raise RecordError(
            f"the change of the picture needs the reference of finger {finger!r}, taken when the full cup has been grasped; this "
            f"observation has {sorted(observation.touch_rest) or 'none'}"
        )
    return frame.image


def reference(frames: np.ndarray) -> np.ndarray:
    """Return the mean (H, W, 3) uint8 of frames (N, H, W, 3) uint8 that were taken before the cup is tilted."""
    return np.rint(frames.mean(axis=0)).astype(np.uint8)


def _frame_name(finger: str, age: int) -> str:
    """Return the name in `Observation.touch` of the frame that is `age` frames older than the newest."""
    return f"{finger}-{age}" if age else finger


class PouringWorld:
    """Implements `palpate.core.protocols.Steered`. A command's one joint is how far to tilt on in the period [rad]."""

    rate_hz = RATE_HZ

    def __init__(self, config: PouringConfig | None = None) -> None:
        """Take the sensor."""
        self.config = config or PouringConfig()
        self._model = pictured(get_sensor(self.config.touch), self.config.picture)

    @property
    def touch_shape(self) -> tuple[int, int]:
        """Rows and columns of the touch pictures."""
        assert self._model.picture_shape is not None
        return self._model.picture_shape

    # -- Steered -----------------------------------------------------------------------------------------------------------------

    def begin(self, seed: int, index: int) -> Observation:
        """Fill a cup, grasp it, tilt it to where the episode begins, and return what is sensed."""
        config = self.config
        self._seed, self._index = seed, index
        self._rng = rng = generator(seed, index, 0)
        self.trial = trial = draw_trial(config.cups, rng)
        gel = 0 if config.cups == "same" else int(rng.integers(1000))
        self._sensors = [TouchSensor(self._model, finger, gel=gel) for finger in range(2)]
        for sensor in self._sensors:
            sensor.begin_episode(rng)
        self._grasp = Grasp(self._sensors, trial)
        self._beads = Beads(trial.cup, trial.grasp * trial.cup.height, rng)
        self._recorder = Recorder()
        self._declare()
        self._falling = deque([0.0] * round(FALL / FRAME))
        self._weighed = 0.0
        self._tilt, start = 0.0, config.start + config.start_spread * rng.uniform(-1.0, 1.0)
        approach = [*np.arange(APPROACH * FRAME, start, APPROACH * FRAME), start]
        self._frames = (
            -len(approach) - REFERENCE - round(STILL / FRAME)
        )  # the clock of the episode begins where the approach ends
        self._rest = self._reference()
        for tilt in approach:
            self._advance(float(tilt))
        self._greatest = self._tilt
        return self._period(0.0)

    def step(self, command: Command) -> Observation:
        """Tilt on by `command.joints[0]` [rad] in one period, at most by `STEP` either way.

        Raises:
            RecordError: not one finite number within that range, or the episode is over.
        """
        asked = np.asarray(command.joints, float)
        if asked.shape != (1,) or not np.abs(asked).max() <= STEP * (1 + 1e-9):
            raise RecordError(f"a command needs one joint, the tilt within +-{STEP:.5f} rad (0.25 degrees), got {asked}")
        if self.done:
            raise RecordError("the episode is over; call begin() for the next one")
        self._recorder.add("arm.command", self._now(), asked / STEP)
        observation = self._period(float(asked[0]))
        if self.done:
            self._recorder.mark("done", self._now())
            for _ in range(round(CALM / FRAME)):
                self._advance(max(self._tilt - APPROACH * FRAME, 0.0))
            self._weigh()
        return observation

    @property
    def done(self) -> bool:
        """Whether the cup was tilted back, or is empty, or time is up."""
        back = self._greatest - self._tilt >= self.config.end * (1 - 1e-9)
        return back or self._now() >= self.config.time_limit or not len(self._beads.places)

    @property
    def scale(self) -> float:
        """What the scale under the bowl reads [kg]: for the eyes of a person and for labels, never for a policy."""
        return self._reading

    def finish(self) -> Episode:
        """Return everything recorded in this trial, without labels."""
        trial, cup = self.trial, self.trial.cup
        truth = {
            "poured": self._beads.poured,
            "beads": float(cup.beads),
            "radius": cup.radius,
            "cup_mass": cup.mass,
            "friction": cup.friction,
            "grip": trial.grip,
            "place": trial.place[0],
        }
        return Episode(
            index=self._index,
            seed=self._seed,
            task="pouring",
            groups={"trial": f"{self._seed}-{self._index}"},
            streams=self._recorder.streams(),
            events=self._recorder.events(),
            truth=truth,
        )

    # -- parts of a period -------------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._frames * FRAME

    def _declare(self) -> None:
        declare = self._recorder.declare
        for finger in FINGERS:
            shape = (*self.touch_shape, 3)
            for name in (f"touch.{finger}", f"touch.{finger}.rest"):
                declare(StreamSpec(name=name, kind="touch", shape=shape, dtype="uint8", rate_hz=1 / FRAME, frame="gel"))
        for name, unit, names in (
            ("arm.tilt", "rad", ("tilt",)),
            ("arm.command", "steps of 0.25 deg", ("pour",)),
            ("scale", "kg", ("poured",)),
            ("truth.load", "N, N m", ("x", "y", "z", "about_y")),
        ):
            spec = StreamSpec(
                name=name, kind="series", shape=(len(names),), dtype="float32", rate_hz=RATE_HZ, unit=unit, names=names
            )
            declare(spec)

    def _advance(self, tilt: float) -> tuple[np.ndarray, np.ndarray]:
        """Go on by a frame; return the mean force (3,) [N] on the cup in it and its moment (3,) about the grasp [N m], cup frame."""
        beads, trial = self._beads, self.trial
        shake = (SHAKE if tilt != self._tilt else 0.0) * self._rng.normal(size=3)
        felt = beads.step(tilt, shake)
        self._tilt = tilt
        self._frames += 1
        self._falling.append(beads.poured)
        self._weighed += (1.0 - np.exp(-FRAME / SCALE_LAG)) * (self._falling.popleft() - self._weighed)
        weight = trial.cup.mass * GRAVITY * np.array([np.sin(tilt), 0.0, -np.cos(tilt)])
        arm = np.array([0.0, 0.0, (trial.balance - trial.grasp) * trial.cup.height])
        return felt[:3] + weight, felt[3:] + np.cross(arm, weight)

    def _period(self, by: float) -> Observation:
        """Tilt on evenly by an angle [rad], and sense."""
        start = self._tilt
        touch: dict[str, TactileFrame] = {}
        force, moment = np.zeros(3), np.zeros(3)
        for i in range(1, FRAMES + 1):
            force, moment = self._advance(start + by * i / FRAMES)
            if i > FRAMES - CLIP:
                touch |= self._touch(force, moment, FRAMES - i)
        self._greatest = max(self._greatest, self._tilt)
        now = self._now()
        tilt = np.array([self._tilt + TILT_NOISE * self._rng.normal()])
        self._recorder.add("arm.tilt", now, tilt)
        self._recorder.add("truth.load", now, np.append(force, moment[1]))
        self._weigh()
        return Observation(time=now, touch=touch, touch_rest=self._rest, joint_position=tilt)

    def _reference(self) -> dict[str, TactileFrame]:
        """Hold the full cup upright and still, record `REFERENCE` frames, and return their mean by finger."""
        for _ in range(round(STILL / FRAME)):
            self._advance(0.0)
        taken = [self._sense(*self._advance(0.0), "touch.{}.rest") for _ in range(REFERENCE)]
        out = {}
        for finger in FINGERS:
            images = [frames[finger].image for frames in taken]
            frames = np.stack([image for image in images if image is not None])
            out[finger] = TactileFrame(image=reference(frames), time=self._now())
        return out

    def _touch(self, force: np.ndarray, moment: np.ndarray, age: int) -> dict[str, TactileFrame]:
        return {_frame_name(finger, age): frame for finger, frame in self._sense(force, moment, "touch.{}").items()}

    def _sense(self, force: np.ndarray, moment: np.ndarray, stream: str) -> dict[str, TactileFrame]:
        """Return a frame of each finger under a load on the cup, and record it."""
        out = {}
        for finger, sensor, contact in zip(FINGERS, self._sensors, self._grasp.contacts(force, moment), strict=True):
            frame = sensor.frame(contact, self._rng, self._now())
            assert frame.image is not None
            self._recorder.add(stream.format(finger), frame.time, frame.image)
            out[finger] = frame
        return out

    def _weigh(self) -> None:
        self._reading = self._weighed + SCALE_NOISE * float(self._rng.normal())
        self._recorder.add("scale", self._now(), np.array([self._reading]))
