"""The gentle-grasping world: a toy that squeaks on a table, a hand with two DIGIT pads, a fixed RGB-D camera, a microphone.

Phases, ranges and perturbations follow Gentle Grasping, Section V. What the policies and labels see is what the sensors give:
the object is located from two noisy depth images, actions are absolute joint targets, sound comes from what happens.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from palpate.core.actions import ActionSpace
from palpate.core.errors import RecordError, UnknownNameError
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
from palpate.core.units import DEG
from palpate.sensors.camera import Camera, CameraConfig
from palpate.sensors.microphone import Microphone, MicrophoneConfig, Motion, impacts
from palpate.sensors.squeaker import squeaks
from palpate.sensors.touch.catalog import get_sensor
from palpate.sensors.touch.contact import Contact
from palpate.sensors.touch.flat import press
from palpate.sensors.touch.sensor import TouchSensor
from palpate.worlds.gentle_physics import CLOSING_YAW, CONTROL_PERIOD, HARD_COLLISION, Rig
from palpate.worlds.hand import (
    FINGERS,
    INITIAL_POSE,
    JOINT_NAMES,
    OPEN_POSE,
    TABLE_CLEARANCE,
    TIP_DEPTH,
    action_space,
)
from palpate.worlds.toys import Toy, ToyFamily

POSES = ("upright", "lying")

SOUND_SECONDS = {"sound": 3.0, "sound.initial": 1.4}
"""Length of the recordings of a regrasp (Gentle Grasping, Section V) and of the initial grasp [s]."""

SCENES_KEPT = 256
"""Compiled scenes that a world keeps; compiling one takes a few milliseconds."""

PLACED = 1.0
"""The toy is on the table at this time on the episode's clock; before it the table is empty [s]."""

HOLD_SECONDS = 4.0
"""The object must stay in the hand for this long [s]."""

LIFT_HEIGHT = 0.100
"""[m]"""

DEEPEST = 0.8
"""Share of its thickness by which a gel sinks at most before its rigid base carries the load."""

RAISED = 0.050
"""Truth, for checking only: the toy counts as held if it hangs this much higher than it stood [m]."""


def _camera() -> CameraConfig:
    """A camera in front of the workspace that sees the hand close across its line of sight."""
    return CameraConfig(world_from_camera=look_at(np.array([1.15, 0.0, 0.55]), np.array([0.55, 0.0, 0.02])), focal_px=1000.0)


@dataclass(frozen=True, kw_only=True)
class GentleConfig:
    """Everything that defines the world. How and when the values were fixed: docs/gentle.md."""

    family: ToyFamily = field(default_factory=ToyFamily)
    n_toys: int = 60
    toy_seed: int | None = None
    """Seed of the toy family; None: the seed of the collection, so that another seed brings other toys."""
    pose: str = "both"
    """`upright`, `lying`, or `both` (every second trial)."""
    camera: CameraConfig = field(default_factory=_camera)
    touch: str = "digit"
    """Sensor on thumb and middle finger, of those that give pictures; see `palpate.sensors.touch.catalog`."""
    microphone: MicrophoneConfig = field(default_factory=MicrophoneConfig)
    x_range: tuple[float, float] = (0.450, 0.650)
    """[m] world."""
    y_range: tuple[float, float] = (-0.200, 0.200)
    z_range: tuple[float, float] = (0.005, 0.030)
    """Height of the end effector at the first grasp [m]."""
    yaw_range: float = 30 * DEG
    toy_yaw_sd: float = 8 * DEG
    """The toy is laid across the hand to within this much [rad]; it deforms along its own x axis only."""
    perturbation: float = 0.004
    """Uniform perturbation added to the located position [m]."""
    encoder_sd: float = 0.001
    """Noise of the measured joint angles [rad]."""


class Located(Protocol):
    """Where perception found the object."""

    position: np.ndarray
    """(3,) [m] world."""
    pixel: np.ndarray
    """(2,) column and row in the camera image."""


Finder = Callable[[np.ndarray, np.ndarray, Camera], Any]
"""Depth before, depth after (H, W) [m], camera -> `Located`. Perception is injected, so that worlds stay free of it."""


class GentleWorld:
    """Implements `palpate.Embodiment` in MuJoCo. One object serves many trials, one after another."""

    action_space: ActionSpace

    def __init__(self, find: Finder, config: GentleConfig | None = None) -> None:
        """Build the sensors. `find` locates the object from the depth images [m] before and after it was set down."""
        self.config = config or GentleConfig()
        self._find_object = find
        if self.config.pose not in (*POSES, "both"):
            raise UnknownNameError("pose", self.config.pose, (*POSES, "both"))
        self.action_space = action_space()
        self._camera = Camera(self.config.camera)
        self._pads = [TouchSensor(get_sensor(self.config.touch), k) for k in range(len(FINGERS))]
        self._scenes: dict[tuple[Toy, bool], Rig] = {}
        self._microphones = {
            name: Microphone(replace(self.config.microphone, clip_s=seconds)) for name, seconds in SOUND_SECONDS.items()
        }

    @property
    def touch_shape(self) -> tuple[int, int]:
        """Rows and columns of the touch images."""
        return self._pads[0].image_shape

    # -- Embodiment ------------------------------------------------------------------------------------------------------------

    def begin(self, seed: int, index: int) -> Observation:
        """Place toy `index`, locate it by the depth difference, take the initial grasp (phases 1 and 2)."""
        config = self.config
        self._seed, self._index = seed, index
        self._rng = generator(seed, index, 0)
        rng = self._rng
        number, lying = (index // 2) % config.n_toys, index % 2 == 1
        if config.pose != "both":
            number, lying = index % config.n_toys, config.pose == "lying"
        self.toy: Toy = config.family.toy(seed if config.toy_seed is None else config.toy_seed, number)
        self.pose = POSES[int(lying)]
        self._rig = self._scene(lying)
        self._recorder = Recorder()
        self._truth: dict[str, float] = {}
        self._declare()
        for pad in self._pads:
            pad.begin_episode(rng)
        self._camera.begin_episode(rng)
        yaw = rng.uniform(-config.yaw_range, config.yaw_range)
        self._toy_xy = np.array([rng.uniform(*config.x_range), rng.uniform(*config.y_range)])
        toy_yaw = CLOSING_YAW + yaw + rng.normal(0.0, config.toy_yaw_sd)
        away = np.array([0.20, 0.0, 0.45, yaw])
        self._rig.reset(self._toy_xy, toy_yaw, away, OPEN_POSE)
        self._locate(rng)
        aim = self._located.position[:2] + rng.uniform(-config.perturbation, config.perturbation, 2)
        height = rng.uniform(*config.z_range) + TIP_DEPTH
        self._grasp_pose = np.array([*aim, height, yaw])
        # The way down with the hand wide open touches nothing and is not simulated.
        self._rig.reset(self._toy_xy, toy_yaw, self._grasp_pose, OPEN_POSE)
        self._rig.move(0.1)
        self._recorder.mark("initial_grasp", self._now())
        start = self._rig.log.rows
        self._rig.listening = True
        self._rig.move(1.0, joints=INITIAL_POSE)
        self._rig.move(SOUND_SECONDS["sound.initial"] - 1.0)
        self._truth["first_gentle"] = float(self._listen("sound.initial", start))
        return self._sense("initial")

    def regrasp(self, action: GraspAction) -> Observation:
        """Open, move relative to the present pose, close to the absolute joint targets; 3 s of sound are recorded."""
        rig = self._rig
        rig.move(0.3, joints=OPEN_POSE)
        self._sense("release")
        rotation = self._grasp_pose[3] + CLOSING_YAW
        cos, sin = np.cos(rotation), np.sin(rotation)
        dx, dy, dz, dyaw = action.motion
        target = self._grasp_pose + [cos * dx - sin * dy, sin * dx + cos * dy, dz, dyaw]
        target[2] = max(target[2], TIP_DEPTH + TABLE_CLEARANCE)
        sent = np.array([dx, dy, target[2] - self._grasp_pose[2], dyaw, *action.joints])
        start = rig.log.rows
        rig.listening = True
        self._recorder.mark("regrasp", self._now())
        rig.move(0.5, target)
        rig.move(0.2)
        rig.move(0.6, joints=np.asarray(action.joints, float))
        rig.move(SOUND_SECONDS["sound"] - 1.3)
        self._grasp_pose, self._action = target, sent
        gentle = self._listen("sound", start)
        self._truth["gentle"] = float(gentle)
        return self._sense("regrasp")

    def lift(self) -> GraspOutcome:
        """Lift by 100 mm and hold for 4 s. The returned outcome is the simulator's, for checking only."""
        rig = self._rig
        before = rig.toy_pose()[2, 3]
        self._recorder.mark("before_lift", self._now())
        raised = self._grasp_pose + [0, 0, LIFT_HEIGHT, 0]
        rig.move(0.6, raised)
        self._recorder.mark("hold", self._now())
        rig.hold(HOLD_SECONDS, floor=before + RAISED)
        self._recorder.mark("hold_end", self._now())
        stable = bool(rig.toy_pose()[2, 3] - before > RAISED)
        self._truth["stable"] = float(stable)
        return GraspOutcome(stable=stable, gentle=bool(self._truth["gentle"]))

    def finish(self) -> Episode:
        """Return everything recorded in this trial, without labels."""
        toy = self.toy
        truth = {
            "half_width": toy.half_axes[0],
            "half_depth": toy.half_axes[1],
            "half_height": toy.half_axes[2],
            "young": toy.young,
            "mass": toy.mass,
            "friction": toy.friction,
            "onset": toy.squeaker.onset_pa,
            "toy_x": float(self._toy_xy[0]),
            "toy_y": float(self._toy_xy[1]),
            **self._truth,
        }
        arrays = {
            "action": np.asarray(self._action, float),
            "object_position": self._located.position.astype(float),
            "object_pixel": self._located.pixel.astype(float),
            "hand_pose": np.asarray(self._grasp_pose, float),
        }
        return Episode(
            index=self._index,
            seed=self._seed,
            task="gentle",
            groups={"object": toy.name, "pose": self.pose},
            streams={**self._recorder.streams(), **self._proprioception()},
            events=self._recorder.events(),
            arrays=arrays,
            truth=truth,
        )

    def _scene(self, lying: bool) -> Rig:
        """Return the compiled scene of the present toy; `Rig.reset` makes a used one as good as new."""
        key = (self.toy, lying)
        if key not in self._scenes:
            if len(self._scenes) >= SCENES_KEPT:
                self._scenes.clear()
            self._scenes[key] = Rig(self.toy, lying)
        return self._scenes[key]

    # -- sensing ---------------------------------------------------------------------------------------------------------------

    def _declare(self) -> None:
        config = self.config
        height, width = config.camera.height, config.camera.width
        declare = self._recorder.declare
        declare(StreamSpec(name="camera.rgb", kind="rgb", shape=(height, width, 3), dtype="uint8", frame="camera"))
        declare(StreamSpec(name="camera.depth", kind="depth", shape=(height, width), dtype="float32", unit="m", frame="camera"))
        rows, cols = self.touch_shape
        for finger in FINGERS:
            declare(StreamSpec(name=f"touch.{finger}", kind="touch", shape=(rows, cols, 3), dtype="uint8", frame="gel"))
        rate = self.config.microphone.rate_hz
        for name, seconds in SOUND_SECONDS.items():
            declare(StreamSpec(name=name, kind="audio", shape=(round(seconds * rate),), dtype="float32", rate_hz=float(rate)))

    def _locate(self, rng: np.random.Generator) -> None:
        """Phase 1: depth before and after the toy is set down, the hand out of the way; touch and camera at rest."""
        hand_only = self._rig.primitives()[1:]
        empty = self._camera.observe_depth(hand_only, rng)
        self._recorder.add("camera.depth", 0.0, empty)
        self._recorder.mark("empty", 0.0)
        rgb, placed = self._camera.observe(self._rig.primitives(), rng)
        assert placed is not None
        self._recorder.add("camera.rgb", PLACED, rgb)
        self._recorder.add("camera.depth", PLACED, placed)
        self._recorder.mark("before", PLACED)
        self._located = self._find_object(empty, placed, self._camera)
        self._rest = {}
        for finger, pad in zip(FINGERS, self._pads, strict=True):
            frame = pad.frame(None, rng, PLACED)
            self._record_touch(finger, frame)
            self._rest[finger] = frame
        self._clock = PLACED

    def _now(self) -> float:
        """Time [s] on the episode's clock; the simulation starts when the toy is on the table."""
        return self._clock + self._rig.time

    def _record_touch(self, finger: str, frame: TactileFrame) -> None:
        if frame.image is not None:
            self._recorder.add(f"touch.{finger}", frame.time, frame.image)

    def _sense(self, moment: str) -> Observation:
        """Take a colour frame and a touch frame of each finger and return them with what else is sensed."""
        now, rng = self._now(), self._rng
        self._recorder.mark(f"look_{moment}", now)
        rgb, _ = self._camera.observe(self._rig.primitives(), rng, with_depth=False)
        self._recorder.add("camera.rgb", now, rgb)
        forces = self._rig.pad_forces()
        touch: dict[str, TactileFrame] = {}
        for k, (finger, pad) in enumerate(zip(FINGERS, self._pads, strict=True)):
            frame = pad.frame(_pressed(pad, self._rig.gap(k), float(forces[k])), rng, now)
            self._record_touch(finger, frame)
            touch[finger] = frame
        joints = self._rig.joints() + rng.normal(0.0, self.config.encoder_sd, 16)
        self._truth[f"force_{moment}"] = float(forces.sum())
        return Observation(
            time=now,
            camera=CameraFrame(rgb=rgb, time=now),
            touch=touch,
            touch_rest=dict(self._rest),
            object_position=self._located.position,
            object_pixel=self._located.pixel,
            joint_position=joints,
            hand_pose=self._rig.stage(),
        )

    def _listen(self, name: str, start: int) -> bool:
        """Record the sound since log row `start`; return the simulator's truth of gentleness, for checking only."""
        self._rig.listening = False
        log, rate = self._rig.logged(start), 1.0 / CONTROL_PERIOD
        stress, collision = log["stress"], log["collision"]
        motion = Motion(
            rate_hz=rate,
            squeeze_pa=stress,
            joint_speed=log["joint_speed"],
            joint_torque=log["torque"],
            stage_speed=log["stage_speed"],
            collisions=impacts(collision, rate),
        )
        wave = self._microphones[name].record(motion, self.toy.squeaker, self._rng)
        self._recorder.add(name, self._clock + float(log["time"][0]) - CONTROL_PERIOD, wave)
        squeak = squeaks(stress, self.toy.squeaker, 1.0 / rate)
        hardest = float(collision.max(initial=0.0))
        suffix = "" if name == "sound" else "_first"
        self._truth[f"squeak_over_pa{suffix}"] = squeak.peak_over_pa
        self._truth[f"collision{suffix}"] = hardest
        self._truth[f"stress{suffix}"] = float(stress.max(initial=0.0))
        return not squeak.sounded and hardest <= HARD_COLLISION

    def _proprioception(self) -> dict[str, Stream]:
        """Return the 100 Hz streams of joints and stage."""
        log, rng = self._rig.logged(), self._rng
        times, joints = log["time"] + self._clock, log["joint"]
        torques = np.zeros_like(joints, np.float32)
        torques[:, self._rig.active] = log["torque"]
        rate = 1.0 / CONTROL_PERIOD
        measured = joints + rng.normal(0.0, self.config.encoder_sd, joints.shape)

        streams = (
            series("hand.joint_position", measured, "rad", JOINT_NAMES, times, rate),
            series("hand.joint_target", log["target"], "rad", JOINT_NAMES, times, rate),
            series("hand.joint_torque", torques, "N m", JOINT_NAMES, times, rate),
            series("hand.pose", log["stage"], "m, rad", ("x", "y", "z", "yaw"), times, rate),
        )
        return {stream.spec.name: stream for stream in streams}


def _pressed(pad: TouchSensor, gap: np.ndarray, force: float) -> Contact | None:
    """Return what a force [N] does to the gel of a pad; None if nothing touches.

    A toy that meets only the pad's edge would sink through the gel there. Then the rigid base under it carries the rest.
    """
    if force <= 0:
        return None
    try:
        return pad.contact(gap, force)
    except RecordError:
        layer = pad.model.pad
        pitch = (layer.height / gap.shape[0], layer.width / gap.shape[1])
        return press(layer, gap, pitch, depth=DEEPEST * layer.thickness)
