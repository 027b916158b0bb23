"""The SoftGrasp world: a humanoid hand told joint angles 30 times a second, over an object that it grasps and lifts.

Everything is recorded on the period's clock: camera, joint angles and torques, commands, fingertip forces, and touch if the hand wears
sensors (`palpate.worlds.softgrasp_touch`). Joint angles are shares of the range, 1 = open, as the rig of SoftGrasp records them
(`palpate.worlds.humanoid_hand.radians` converts). What a controller asks for is smoothed, limited in speed, and stopped where a fingertip
presses too hard; no controller can change that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.randomness import generator
from palpate.core.recording import Recorder
from palpate.core.records import CameraFrame, Command, Episode, Observation, StreamSpec, TactileFrame
from palpate.core.transforms import look_at, pose
from palpate.sensors.camera import Camera, CameraConfig
from palpate.sensors.geometry import Box
from palpate.worlds.humanoid_hand import FINGERS, JOINTS, radians, shares
from palpate.worlds.softgrasp_objects import softgrasp_object
from palpate.worlds.softgrasp_physics import RATE_HZ, Rig
from palpate.worlds.softgrasp_touch import Fingertips

LIFT_HEIGHT = 0.100
"""[m] (SoftGrasp, Section 4.1.2)."""
LIFT_SPEED = 0.100
"""[m/s]."""

JOINT_NOISE = 0.0001
"""Standard deviation of a measured joint angle, share of the range; an estimate."""
TORQUE_NOISE = 0.003
"""Of a measured torque [N m]: about 0.04 N at a fingertip; an estimate."""
FORCE_NOISE = 0.02
"""Of a measured fingertip force [N]; an estimate."""

FALLEN = 0.040
"""An object so far below where the lift should have brought it has been dropped [m]."""
AFTER_DROP = 0.5
"""The episode goes on for so long after a drop [s]."""

_WALL = Box(world_from_body=pose(np.eye(3), np.array([0.0, -0.75, 0.0])), half_sizes=(3.0, 0.01, 3.0), colour=(1.0, 1.0, 1.0))


def camera_config(height: int = 120, width: int = 160) -> CameraConfig:
    """Return the camera on the left of the arm, with the view of a D435i's 480 x 640 pixels at this size."""
    eye, target = np.array([-0.02, 0.46, 0.19]), np.array([-0.025, 0.0, 0.125])
    return CameraConfig(world_from_camera=look_at(eye, target), focal_px=615.0 * width / 640.0, width=width, height=height)


@dataclass(frozen=True, kw_only=True)
class SoftgraspConfig:
    """Everything that defines the world."""

    objects: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """IDs of Table 2; trial i grasps object i modulo their number."""
    camera: CameraConfig = field(default_factory=camera_config)
    touch: bool = False
    """Whether thumb and middle finger wear touch sensors; what else is sensed does not depend on it."""
    placement: float = 0.003
    """Standard deviation of where the object stands [m]; the paper puts it in one place by hand."""
    turn: float = 0.05
    """Standard deviation of its turn [rad]."""
    height_error: float = 0.002
    """Standard deviation of the hand's height [m]."""
    speed_limit: float = 1.2
    """Greatest speed of a joint, shares of the range per second."""
    smoothing: float = 0.05
    """Time constant of the commands [s]."""
    force_limit: float = 8.0
    """No joint closes further while any fingertip presses harder [N]."""
    hold: float = 1.0
    """After the lift [s]."""
    time_limit: float = 16.0
    """An episode without a lift ends after this time [s]."""

    def __post_init__(self) -> None:
        """Refuse what makes no world."""
        if not self.objects:
            raise RecordError("a SoftGrasp world needs at least one object ID, 1 to 12")
        if min(self.speed_limit, self.smoothing, self.force_limit, self.hold, self.time_limit) <= 0:
            raise RecordError(f"speed and force limits, smoothing and times must be positive, got {self}")


class SoftgraspWorld:
    """Implements `palpate.core.protocols.Steered` in MuJoCo."""

    rate_hz = RATE_HZ

    def __init__(self, config: SoftgraspConfig | None = None) -> None:
        """Build the camera; scenes are compiled when their object comes."""
        self.config = config or SoftgraspConfig()
        self.objects = tuple(softgrasp_object(number) for number in self.config.objects)
        self._camera = Camera(self.config.camera)
        self._fingertips = Fingertips() if self.config.touch else None
        self._scenes: dict[int, Rig] = {}

    # -- Steered -----------------------------------------------------------------------------------------------------------------

    def begin(self, seed: int, index: int) -> Observation:
        """Stand object `index` (cycling) on the table, the open hand at it, and return what is sensed."""
        config = self.config
        self._seed, self._index = seed, index
        self._rng = rng = generator(seed, index, 0)
        self.thing = thing = self.objects[index % len(self.objects)]
        if thing.id not in self._scenes:
            self._scenes[thing.id] = Rig(thing)
        self._rig = self._scenes[thing.id]
        self._camera.begin_episode(rng)
        offset = np.clip(rng.normal(0.0, config.placement, 2), -2 * config.placement, 2 * config.placement)
        self._rig.reset(offset, rng.normal(0.0, config.turn), rng.normal(0.0, config.height_error))
        self._recorder = Recorder()
        self._declare()
        self._rest: dict[str, TactileFrame] = {}
        if self._fingertips is not None:
            # Its own random numbers, so that the noise of the other sensors stays the same.
            self._fingertips.begin_episode(generator(seed, index, 2))
        self._target = shares(self._rig.joints())
        self._forces = np.zeros(5)
        self._periods, self._raised, self._lifted_at, self._fallen = 0, 0.0, None, 0
        self._peak_force, self._deformation = 0.0, 0.0
        return self._sense(None)

    def step(self, command: Command) -> Observation:
        """Move towards `command.joints` (6,), shares of the range with 1 = open, for one period; start lifting if told.

        Raises:
            RecordError: Joints that are not six finite numbers, or the episode is over.
        """
        asked = np.asarray(command.joints, float)
        if asked.shape != (6,) or not np.isfinite(asked).all():
            raise RecordError(f"a command needs six finite shares of the range (1 = open, 0 = closed), got {asked}")
        if self.done:
            raise RecordError("the episode is over; call begin() for the next one")
        if command.lift and self._lifted_at is None:
            self._lifted_at = self._periods
            self._recorder.mark("lift", self._now())
        if self._lifted_at is not None:
            self._raised = min(self._raised + LIFT_SPEED / RATE_HZ, LIFT_HEIGHT)
        self._target = self._limited(asked)
        self._rig.step(radians(self._target), self._raised)
        self._periods += 1
        observation = self._sense(asked)
        self._predicted(command.predicted)
        self._watch()
        if self.done:
            self._recorder.mark("done", self._now())
        return observation

    @property
    def done(self) -> bool:
        """Whether the object was lifted and held, or dropped, or time is up."""
        if self._fallen >= AFTER_DROP * RATE_HZ:
            return True
        if self._lifted_at is None:
            return self._now() >= self.config.time_limit
        return self._periods - self._lifted_at >= (LIFT_HEIGHT / LIFT_SPEED + self.config.hold) * RATE_HZ

    @property
    def lagging(self) -> float:
        """How far the object lags behind the lift [m]: for the eyes of a simulated person, never for a policy."""
        return self._raised - self._rig.object_height()

    def finish(self) -> Episode:
        """Return everything recorded in this trial, without labels."""
        thing = self.thing
        lifted = self._rig.object_height() > LIFT_HEIGHT - FALLEN and self._fallen == 0
        truth = {
            "success": float(lifted),
            "crushed": float(thing.crush is not None and self._deformation > thing.crush),
            "deformation": self._deformation,
            "peak_force": self._peak_force,
            "mass": thing.mass,
        }
        if thing.stiffness is not None:
            truth["stiffness"] = thing.stiffness
        return Episode(
            index=self._index,
            seed=self._seed,
            task="softgrasp",
            groups={"object": thing.name, "hardness": thing.hardness},
            streams=self._recorder.streams(),
            events=self._recorder.events(),
            truth=truth,
        )

    # -- parts of a period -------------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._periods / RATE_HZ

    def _limited(self, asked: np.ndarray) -> np.ndarray:
        """Return the targets (6,) for this period: smoothed, not faster than allowed, and not closing on a fingertip that presses hard."""
        config = self.config
        gain = 1.0 - np.exp(-1.0 / (RATE_HZ * config.smoothing))
        reach = config.speed_limit / RATE_HZ
        change = np.clip(gain * (np.clip(asked, 0.0, 1.0) - self._target), -reach, reach)
        # All joints stop: fingers that close on drive the object into a thumb that stands still.
        return self._target + (np.maximum(change, 0.0) if self._forces.max() > config.force_limit else change)

    def _declare(self) -> None:
        c = self.config.camera
        declare = self._recorder.declare
        declare(
            StreamSpec(
                name="camera.rgb", kind="rgb", shape=(c.height, c.width, 3), dtype="uint8", rate_hz=RATE_HZ, frame="camera"
            )
        )
        share = "share of range, 1 = open"
        for name, unit, names in (
            ("hand.joint_position", share, JOINTS),
            ("hand.joint_torque", "N m", JOINTS),
            ("hand.command", share, JOINTS),
            ("hand.fingertip_force", "N", FINGERS),
            ("arm.height", "m", ("height",)),
            ("truth.deformation", "m", ("deformation",)),
        ):
            shape = (len(names),)
            declare(StreamSpec(name=name, kind="series", shape=shape, dtype="float32", rate_hz=RATE_HZ, unit=unit, names=names))
        for spec in () if self._fingertips is None else self._fingertips.specs():
            declare(spec)

    def _sense(self, asked: np.ndarray | None) -> Observation:
        """Read all sensors, record them, and return what a controller may see."""
        rig, rng, now, record = self._rig, self._rng, self._now(), self._recorder.add
        rgb, _ = self._camera.observe([_WALL, *rig.primitives()], rng, with_depth=False)
        position = shares(rig.joints()) + JOINT_NOISE * rng.normal(size=6)
        torque = rig.torques() + TORQUE_NOISE * rng.normal(size=6)
        self._forces = rig.finger_forces()
        deformation = rig.deformation()
        self._peak_force = max(self._peak_force, float(self._forces.max()))
        self._deformation = max(self._deformation, deformation)
        record("camera.rgb", now, rgb)
        record("hand.joint_position", now, position)
        record("hand.joint_torque", now, torque)
        record("hand.fingertip_force", now, np.maximum(self._forces + FORCE_NOISE * rng.normal(size=5), 0.0))
        record("arm.height", now, np.array([rig.raised()]))
        record("truth.deformation", now, np.array([deformation]))
        if asked is not None:
            record("hand.command", now, asked)
        frame = CameraFrame(rgb=rgb, time=now)
        touch = self._touch(now)
        return Observation(
            time=now, camera=frame, joint_position=position, joint_torque=torque, touch=touch, touch_rest=self._rest
        )

    def _touch(self, now: float) -> dict[str, TactileFrame]:
        """Read and record the touch sensors; what they give first, with the hand open, is what they give at rest."""
        touch = {} if self._fingertips is None else self._fingertips.sense(self._rig, now)
        for finger, felt in touch.items():
            if felt.image is not None:
                self._recorder.add(f"touch.{finger}", now, felt.image)
        self._rest = self._rest or touch
        return touch

    def _predicted(self, predicted: Mapping[str, np.ndarray]) -> None:
        """Keep what the controller says it expects or attends to."""
        for name, value in predicted.items():
            values = np.ravel(value)
            self._recorder.declare(
                StreamSpec(name=f"predicted.{name}", kind="series", shape=values.shape, dtype="float32", rate_hz=RATE_HZ)
            )
            self._recorder.add(f"predicted.{name}", self._now(), values)

    def _watch(self) -> None:
        """Count the periods since the object was dropped."""
        if self._fallen or (self._raised > FALLEN and self._rig.object_height() < self._raised - FALLEN):
            self._fallen += 1
