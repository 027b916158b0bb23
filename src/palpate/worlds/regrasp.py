"""The regrasp world: a household object on a table, a parallel gripper with two GelSights, a front RGB-D camera.

Phases, ranges and perturbations follow More Than a Feeling, Sections V and VI-B. What policies and labels see is what the sensors
give: the object is enclosed in a cylinder from two noisy depth images, outcomes are read from touch after the hold.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from palpate.core.actions import ActionSpace
from palpate.core.errors import RecordError
from palpate.core.randomness import generator
from palpate.core.recording import Recorder, series
from palpate.core.records import (
    CameraFrame,
    Episode,
    GraspAction,
    GraspOutcome,
    Observation,
    Stream,
    StreamSpec,
    TactileFrame,
)
from palpate.core.transforms import look_at
from palpate.sensors.camera import Camera, CameraConfig
from palpate.sensors.touch.catalog import get_sensor
from palpate.sensors.touch.sensor import TouchSensor
from palpate.worlds.gripper import (
    FINGERS,
    FORCE_ERROR,
    FORCE_NOISE,
    FORCE_RANGE,
    REACH,
    WIDTH_NOISE,
    PadSize,
    action_space,
)
from palpate.worlds.household import GraspObject
from palpate.worlds.household_sets import object_set
from palpate.worlds.household_touch import felt, pictured
from palpate.worlds.household_view import SceneCamera
from palpate.worlds.regrasp_physics import CLOSING_YAW, CONTROL_PERIOD, Rig

PLACED = 1.0
"""The object is on the table at this time on the episode's clock; before it the table is empty [s]."""

HOLD_SECONDS = 4.0
"""Wait after the lift [s] (More Than a Feeling, Section V)."""

PALM_CLEARANCE = 0.005
"""Between palm and cylinder [m]."""

LIFT_HEIGHT = 0.150
"""[m]"""
LIFT_SECONDS = 0.5

RAISED = 0.050
"""Truth, for checking only: the object counts as held if a pad touches it and it is this much higher than it stood [m]."""

PRESSES = 3
"""Presses of a gel in a trial: two grasps, of which the last is carried through the lift."""

WEAR_STEP = 10
"""A gel's wear is brought up to date every so many trials."""

SCENES_KEPT = 128
"""Compiled scenes that a world keeps."""


def _camera() -> CameraConfig:
    """A camera in front of the workspace whose depth noise is about that of a Kinect 2: 2 mm at 0.9 m; an estimate."""
    return CameraConfig(
        world_from_camera=look_at(np.array([1.30, 0.0, 0.52]), np.array([0.55, 0.0, 0.04])),
        focal_px=900.0,
        disparity_noise=0.05,
    )


@dataclass(frozen=True, kw_only=True)
class RegraspConfig:
    """Everything that defines the world."""

    objects: str = "training"
    """`training`, `easy` or `hard`."""
    object_seed: int = 0
    """Seed of the training family; the same objects whatever the seed of the collection."""
    camera: CameraConfig = field(default_factory=_camera)
    touch: str = "gelsight-2017"
    """Sensor on both fingers, of those that give pictures; see `palpate.sensors.touch.catalog`."""
    picture: int = 320
    """Longer side of the touch pictures [px]."""
    gel_life: int = 100
    """Trials after which a gel is replaced."""
    close_first: bool = True
    """Take an initial grasp; without it the gripper waits open around the object (More Than a Feeling, Section VI-B)."""
    x_range: tuple[float, float] = (0.480, 0.620)
    """[m] world."""
    y_range: tuple[float, float] = (-0.120, 0.120)
    perturbation: float = 0.010
    """Uniform perturbation of the initial x and y about the cylinder's centre [m]."""


class Enclosed(Protocol):
    """The cylinder that perception put around the object."""

    position: np.ndarray
    """(3,) centre of its top [m], world."""
    radius: float
    height: float
    pixel: np.ndarray
    """(2,) column and row in the camera image."""


Finder = Callable[[np.ndarray, np.ndarray, Camera], Any]
"""Depth before, depth after (H, W) [m], camera -> `Enclosed`. Perception is injected, so that worlds stay free of it."""


class RegraspWorld:
    """Implements `palpate.Embodiment` in MuJoCo. One object serves many trials, one after another."""

    action_space: ActionSpace

    def __init__(self, find: Finder, config: RegraspConfig | None = None) -> None:
        """Build the sensors. `find` encloses the object from the depth images [m] before and after it was set down."""
        self.config = config or RegraspConfig()
        self._find_object = find
        if self.config.gel_life < 1:
            raise RecordError(f"gel_life must be 1 or more trials, got {self.config.gel_life}")
        self.objects = object_set(self.config.objects, self.config.object_seed)
        self.action_space = action_space()
        self._camera = SceneCamera(self.config.camera)
        self._model = pictured(get_sensor(self.config.touch), self.config.picture)
        self.pad = PadSize(height=self._model.pad.height, width=self._model.pad.width)
        self._sensors: dict[tuple[int, int, int], TouchSensor] = {}
        self._scenes: dict[GraspObject, Rig] = {}

    @property
    def touch_shape(self) -> tuple[int, int]:
        """Rows and columns of the touch images."""
        assert self._model.picture_shape is not None
        return self._model.picture_shape

    # -- Embodiment ------------------------------------------------------------------------------------------------------------

    def begin(self, seed: int, index: int) -> Observation:
        """Place object `index` (cycling), enclose it, go near it, and take the initial grasp."""
        config = self.config
        self._seed, self._index = seed, index
        self._rng = rng = generator(seed, index, 0)
        self.thing = self.objects[index % len(self.objects)]
        self._rig = self._scene()
        self._recorder = Recorder()
        self._truth: dict[str, float] = {}
        self._force: float | None = None
        self._declare()
        self._pads = [self._gel(seed, index, finger) for finger in range(2)]
        for pad in self._pads:
            pad.begin_episode(rng)
        self._camera.begin_episode(rng)
        poses = self._rig.resting_poses()
        # Every second trial as it is meant to stand.
        number = 0 if rng.random() < 0.5 else int(rng.integers(len(poses)))
        self._object_xy = np.array([rng.uniform(*config.x_range), rng.uniform(*config.y_range)])
        where = (poses[number], self._object_xy, rng.uniform(-np.pi, np.pi))
        self._truth |= {"pose": float(number), "object_x": self._object_xy[0], "object_y": self._object_xy[1]}
        self._rig.reset(*where, np.array([0.20, 0.0, 0.45, 0.0]))
        self._locate(rng)
        aim = self._cylinder.position[:2] + rng.uniform(-config.perturbation, config.perturbation, 2)
        # Neither fingertips and table meet, nor palm and object.
        self._lowest = max(self.pad.lowest, self._cylinder.height - REACH + PALM_CLEARANCE)
        height = max(rng.uniform(0.0, self._cylinder.height), self._lowest)
        self._pose = np.array([*aim, height, rng.uniform(-np.pi / 2, np.pi / 2)])
        self._first_force = float(rng.uniform(*FORCE_RANGE))
        self._rig.reset(*where, self._pose + [0, 0, self._cylinder.height + 0.03, 0])
        self._rig.move(0.4, self._pose)
        self._rig.move(0.1)
        self._recorder.mark("initial_grasp", self._now())
        if config.close_first:
            self._grip(self._first_force)
        return self._sense("initial")

    def regrasp(self, action: GraspAction) -> Observation:
        """Open, move relative to the present pose, close with the commanded force [N] (`action.joints[0]`)."""
        rig = self._rig
        force = float(action.joints[0])
        if not 0 < force <= 2 * FORCE_RANGE[1]:
            raise RecordError(f"grip force must be within 0 and {2 * FORCE_RANGE[1]:.0f} N, got {force:g}; is it in newtons?")
        if self._force is not None:
            rig.open()
            self._force = None
            self._sense("release")
        rotation = self._pose[3] + CLOSING_YAW
        cos, sin = np.cos(rotation), np.sin(rotation)
        dx, dy, dz, dyaw = action.motion
        target = self._pose + [cos * dx - sin * dy, sin * dx + cos * dy, dz, dyaw]
        target[2] = max(target[2], self._lowest)
        self._action = np.array([dx, dy, target[2] - self._pose[2], dyaw, force])
        self._recorder.mark("regrasp", self._now())
        rig.move(0.4, target)
        rig.move(0.1)
        self._start_pose, self._pose = self._pose, target
        self._grip(force)
        return self._sense("regrasp")

    def lift(self) -> GraspOutcome:
        """Lift by 150 mm, hold for 4 s, touch again. The returned outcome is the simulator's, for checking only."""
        rig = self._rig
        before = rig.object_pose()[2, 3]
        self._recorder.mark("before_lift", self._now())
        rig.move(LIFT_SECONDS, self._pose + [0, 0, LIFT_HEIGHT, 0])
        self._recorder.mark("hold", self._now())
        rig.hold(HOLD_SECONDS, floor=before + RAISED)
        self._recorder.mark("hold_end", self._now())
        self._sense("held")
        touched = any(load.force[2] > 0 for load in rig.loads())
        stable = bool(touched and rig.object_pose()[2, 3] - before > RAISED)
        self._truth["stable"] = float(stable)
        return GraspOutcome(stable=stable)

    def finish(self) -> Episode:
        """Return everything recorded in this trial, without labels."""
        thing = self.thing
        truth = {"mass": thing.mass, "friction": thing.friction, **self._truth}
        if thing.young is not None:
            truth["young"] = thing.young
        arrays = {
            "action": np.asarray(self._action, float),
            "object_position": self._cylinder.position.astype(float),
            "object_pixel": self._cylinder.pixel.astype(float),
            "cylinder": np.array([self._cylinder.radius, self._cylinder.height]),
            "hand_pose": np.asarray(self._pose, float),
            "start_pose": np.asarray(self._start_pose, float),
        }
        if self.config.close_first:
            arrays["force"] = np.array([self._first_force])
        gels = {f"gel_{name}": _gel_name(pad) for name, pad in zip(FINGERS, self._pads, strict=True)}
        return Episode(
            index=self._index,
            seed=self._seed,
            task="regrasp",
            groups={"object": thing.name, **gels},
            streams={**self._recorder.streams(), **self._series()},
            events=self._recorder.events(),
            arrays=arrays,
            truth=truth,
        )

    # -- parts of a trial ------------------------------------------------------------------------------------------------------

    def _scene(self) -> Rig:
        """Return the compiled scene of the present object; `Rig.reset` makes a used one as good as new."""
        if self.thing not in self._scenes:
            if len(self._scenes) >= SCENES_KEPT:
                self._scenes.clear()
            self._scenes[self.thing] = Rig(self.thing, self.pad)
        return self._scenes[self.thing]

    def _gel(self, seed: int, index: int, finger: int) -> TouchSensor:
        """Return the finger's sensor with the gel and wear of this trial; the two gels are not replaced at the same time."""
        life = self.config.gel_life
        number, age = divmod(index + finger * (life // 2), life)
        presses = PRESSES * (age // WEAR_STEP) * WEAR_STEP
        key = (finger, 1000 * seed + number, presses)
        if key not in self._sensors:
            if len(self._sensors) >= 8:
                self._sensors.clear()
            self._sensors[key] = TouchSensor(self._model, finger, gel=key[1], presses=presses)
        return self._sensors[key]

    def _grip(self, force: float) -> None:
        """Close with about this force [N] and settle."""
        self._force = force
        self._rig.close(force * (1 + FORCE_ERROR * self._rng.normal()))
        self._rig.move(0.1)

    def _declare(self) -> None:
        height, width = self.config.camera.height, self.config.camera.width
        declare = self._recorder.declare
        declare(StreamSpec(name="camera.rgb", kind="rgb", shape=(height, width, 3), dtype="uint8", frame="camera"))
        declare(StreamSpec(name="camera.depth", kind="depth", shape=(height, width), dtype="float32", unit="m", frame="camera"))
        for finger in FINGERS:
            declare(StreamSpec(name=f"touch.{finger}", kind="touch", shape=(*self.touch_shape, 3), dtype="uint8", frame="gel"))

    def _locate(self, rng: np.random.Generator) -> None:
        """Take depth before and after the object is set down, the gripper out of the way; touch and camera at rest."""
        scene = self._rig.primitives()
        empty = self._camera.observe_depth(scene[len(self.thing.parts) :], rng)
        self._recorder.add("camera.depth", 0.0, empty)
        self._recorder.mark("empty", 0.0)
        rgb, placed = self._camera.observe(scene, rng)
        assert placed is not None
        self._recorder.add("camera.rgb", PLACED, rgb)
        self._recorder.add("camera.depth", PLACED, placed)
        self._recorder.mark("before", PLACED)
        self._cylinder: Enclosed = self._find_object(empty, placed, self._camera)
        self._rest = {}
        for finger, pad in zip(FINGERS, self._pads, strict=True):
            self._rest[finger] = self._touch(finger, pad.frame(None, rng, PLACED))

    def _now(self) -> float:
        """Time [s] on the episode's clock; the simulation starts when the object is on the table."""
        return PLACED + self._rig.time

    def _touch(self, finger: str, frame: TactileFrame) -> TactileFrame:
        assert frame.image is not None
        self._recorder.add(f"touch.{finger}", frame.time, frame.image)
        return frame

    def _sense(self, moment: str) -> Observation:
        """Take a colour frame and a touch frame of each finger and return them with what else is sensed."""
        now, rng, rig = self._now(), self._rng, self._rig
        self._recorder.mark(f"look_{moment}", now)
        rgb, _ = self._camera.observe(rig.primitives(), rng, with_depth=False)
        self._recorder.add("camera.rgb", now, rgb)
        loads = rig.loads()
        touch = {}
        for k, (finger, pad) in enumerate(zip(FINGERS, self._pads, strict=True)):
            touched = felt(pad.model, rig.gap(k), loads[k], self.thing.young) if loads[k].force[2] > 0 else None
            touch[finger] = self._touch(finger, pad.frame(touched, rng, now))
        self._truth[f"force_{moment}"] = float(np.mean([load.force[2] for load in loads]))
        return Observation(
            time=now,
            camera=CameraFrame(rgb=rgb, time=now),
            touch=touch,
            touch_rest=dict(self._rest),
            object_position=self._cylinder.position,
            object_pixel=self._cylinder.pixel,
            object_size=np.array([self._cylinder.radius, self._cylinder.height]),
            hand_pose=rig.stage(),
            grip_force=self._force,
        )

    def _series(self) -> dict[str, Stream]:
        """Return the 100 Hz streams of gripper and stage."""
        log, rng = self._rig.logged(), self._rng
        times, force = log["time"] + PLACED, log["force"]
        relative, absolute = FORCE_NOISE
        noise = rng.normal(size=(2, len(times)))
        measured = np.maximum(force * (1 + relative * noise[0]) + absolute * noise[1], 0.0)
        width = log["width"] + WIDTH_NOISE * rng.normal(size=len(times))

        rate = 1.0 / CONTROL_PERIOD
        streams = (
            series("gripper.width", width[:, None], "m", ("width",), times, rate),
            series("gripper.force", measured[:, None], "N", ("force",), times, rate),
            series("hand.pose", log["stage"], "m, rad", ("x", "y", "z", "yaw"), times, rate),
        )
        return {stream.spec.name: stream for stream in streams}


def _gel_name(pad: TouchSensor) -> str:
    return f"{pad.name}-gel-{pad.gel}"
