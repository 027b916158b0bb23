"""The dexterous world: a Shadow hand on a UR10e, an object on a table, an RGB-D camera.

The slides' two-stage simulation: rigid fingers close on the object (MuJoCo), then fingertips and object become soft and give touch, forces
and, through an injected judge, quality; a poor grasp of two fingers or more is fine-tuned once.
"""

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from palpate.core.actions import ActionSpace
from palpate.core.errors import PalpateError, RecordError
from palpate.core.randomness import generator
from palpate.core.recording import Recorder, series
from palpate.core.records import CameraFrame, Episode, GraspAction, GraspOutcome, Observation, Stream, StreamSpec, TactileFrame
from palpate.core.transforms import pose, pose_from_vector, quaternion_to_matrix, rotation_z, vector_from_pose
from palpate.core.units import MM
from palpate.sensors.camera import CameraConfig
from palpate.sensors.touch.fingertip import FingertipTouch
from palpate.worlds.dexterous_objects import DexterousObject, dexterous_objects
from palpate.worlds.dexterous_physics import CONTROL_PERIOD, GRAVITY, RETREAT, SETTLE_SECONDS, HandRig
from palpate.worlds.dexterous_prior import MEANS
from palpate.worlds.dexterous_squeeze import squeeze_ends
from palpate.worlds.dexterous_touch import Closed, Closing, Judge, SoftHand, Stopwatch, succeeds
from palpate.worlds.household_view import SceneCamera
from palpate.worlds.regrasp import Enclosed, Finder, RegraspConfig
from palpate.worlds.shadow import ACTUATED, FINGERS, JOINTS, RANGES, check_joints, preshape
from palpate.worlds.ur10e import Arm

APPROACH_SECONDS = 1.5
"""The arm's way to a grasp, on the episode's clock alone [s]."""
OPEN_SECONDS = 0.3

SCENES_KEPT = 8
"""Compiled scenes that a world keeps: compiling takes 15 ms, and memory stays flat from the start; the oldest goes first."""

TAXELS = 24


def home() -> np.ndarray:
    """Return where the palm waits (6,): over the near side of the table, out of the camera's way."""
    forward, down = np.array([0.8, 0.0, -0.6]), np.array([0.6, 0.0, 0.8])
    return vector_from_pose(pose(np.stack([np.cross(down, forward), down, forward], axis=1), np.array([0.30, 0.0, 0.45])))


@dataclass(frozen=True, kw_only=True)
class DexterousConfig:
    """Everything that defines the world. Imperfections are estimates."""

    n_objects: int = 120
    object_seed: int = 0
    """The same objects whatever the seed of the collection."""
    camera: CameraConfig = field(default_factory=lambda: RegraspConfig().camera)
    """The one of the regrasp world, in front of the workspace."""
    x_range: tuple[float, float] = (0.480, 0.620)
    """[m] world."""
    y_range: tuple[float, float] = (-0.120, 0.120)
    joint_noise: float = 0.005
    """Of a measured angle, standard deviation [rad]."""
    torque_noise: float = 0.005
    """Of a measured torque [N m]."""
    taxel_noise: float = 0.002
    """Of a component of a taxel's force [N]."""
    region_noise: float = 0.010
    """Of the 1-D sensor [N]."""
    gain_error: float = 0.05
    """Of the gain of each taxel and 1-D sensor, drawn anew for each trial, relative."""
    dead_share: float = 0.02
    """A fingertip gives nothing for a whole trial with this probability."""


class DexterousWorld:
    """Implements `Embodiment` and `Releasing` of `palpate.core.protocols`.

    Attributes:
        action_space: small changes of the palm's pose with any joint targets, for searching around a grasp; first grasps come from
            `dexterous_prior` or a model.
        objects: what is grasped, one after another.
        seconds: what the time went to: `rigid`, `soft`, `quality`, `camera`.
    """

    action_space: ActionSpace

    def __init__(self, find: Finder, judge: Judge | None = None, config: DexterousConfig | None = None) -> None:
        """Build sensors and objects.

        Args:
            find: encloses the object from depth images [m] before and after it was set down.
            judge: grasp quality of contacts; without one there are no labels of quality and no fine-tuning.
            config: None takes the defaults.
        """
        self.config = config or DexterousConfig()
        if self.config.n_objects < 1:
            raise RecordError(f"n_objects must be 1 or more, got {self.config.n_objects}")
        self._find_object = find
        self.arm = Arm()
        self.objects = dexterous_objects(self.config.n_objects, self.config.object_seed)
        self.action_space = action_space()
        self._camera = SceneCamera(self.config.camera)
        self._watch = Stopwatch()
        self.seconds = self._watch.seconds
        self._judge, self._hand = judge, SoftHand()
        self._closing = Closing(self._hand, judge, self._watch)
        self._scenes: OrderedDict[DexterousObject, HandRig] = OrderedDict()
        self._resting: dict[DexterousObject, list[np.ndarray]] = {}

    # -- Embodiment ------------------------------------------------------------------------------------------------------------

    def begin(self, seed: int, index: int) -> Observation:
        """Place object `index` (cycling) and find it, the hand out of the way."""
        config = self.config
        self._seed, self._index = seed, index
        self._rng = rng = generator(seed, index, 0)
        self.thing = self.objects[index % len(self.objects)]
        self._recorder = Recorder()
        self._truth: dict[str, float] = {}
        self._closed: Closed | None = None
        self._touches: Mapping[str, FingertipTouch] = {}
        self._action: np.ndarray | None = None
        self._palm = home()
        self._draw_sensors(rng)
        self._camera.begin_episode(rng)
        with self._watch.count("rigid"):
            self._rig = self._scene(self.thing)
            if self.thing not in self._resting:
                self._resting[self.thing] = self._rig.resting_poses()
            poses = self._resting[self.thing]
            number = int(rng.integers(len(poses)))
            turn = rotation_z(rng.uniform(-np.pi, np.pi)) @ quaternion_to_matrix(poses[number][1:])
            place = np.array([rng.uniform(*config.x_range), rng.uniform(*config.y_range), poses[number][0]])
            self._rig.reset(pose(turn, place))
        self._truth |= {f"object_{axis}": float(at) for axis, at in zip("xyz", place, strict=True)}
        self._declare()
        camera = self._locate(rng)
        return self._observation(0.0, camera)

    def regrasp(self, action: GraspAction) -> Observation:
        """Open, go to the pose, close, feel.

        A pose out of the arm's reach is not taken: the hand stays where it is, and holds nothing. Where the open hand would meet object or
        table, it backs off until it is free; the episode's `hand_pose` says where it really grasped. Coupled joints that contradict
        each other are repaired (see `check_joints`); `repairs` says which.

        Raises:
            RecordError: Joint targets out of range.
        """
        joints, self.repairs = check_joints(action.joints)
        rig, wanted = self._rig, pose_from_vector(self._palm) @ pose_from_vector(np.asarray(action.motion, float))
        with self._watch.count("rigid"):
            self._let_go()
            rig.wait(APPROACH_SECONDS)
            reached = self.arm.reach(wanted) is not None
            self._truth["reachable"] = float(reached)
            if reached:
                back = rig.free_retreat(wanted, preshape(joints))
                wanted[:3, 3] += back * wanted[:3, :3] @ RETREAT
                self._truth["backed_off"] = back
                self._palm = vector_from_pose(wanted)
        self._recorder.mark("regrasp", rig.time)
        if reached:
            self._closed = self._closing.close(rig, self.thing, joints)
            self._touches = self._closed.felt.touches
            joints = rig.targets()
        self._action = np.concatenate([self._palm, joints])
        return self._sense()

    def release(self) -> Observation:
        """Open, step back, and find the object anew; what perception does not find any more is taken to be where it was."""
        with self._watch.count("rigid"):
            self._let_go()
            self._rig.move(SETTLE_SECONDS)
            self._rig.wait(APPROACH_SECONDS)
        self._palm = home()
        now = self._rig.time
        self._recorder.mark("release", now)
        with self._watch.count("camera"):
            frame = self._picture(now, self._rng)
            with suppress(PalpateError):
                self._found = self._find(frame)
        return self._observation(now, frame, self._touch(now, self._rng))

    def lift(self) -> GraspOutcome:
        """Lift by 100 mm, hold for a second and feel once more."""
        rig = self._rig
        self._recorder.mark("before_lift", rig.time)
        with self._watch.count("rigid"):
            held = rig.lift()
        self._truth["stable"] = float(held)
        with self._watch.count("soft"):
            self._touches = self._hand.feel(rig, self.thing).touches
        self._recorder.mark("hold_end", rig.time)
        self._touch(rig.time, self._rng)
        return GraspOutcome(stable=held)

    def finish(self) -> Episode:
        """Return everything recorded in this trial, with the slides' labels `quality` and `status` if there is a judge.

        Arrays: `action` is what was done in the end, the palm's pose (6) after backing off and the targets (22) after fine-tuning;
        `contacts` and `contact_scale` (radius [m], weight [N]) make `contacts_from_array`.
        """
        thing, closed, rng = self.thing, self._closed, self._rng
        labels: dict[str, float | None] = {}
        arrays = {
            "object_position": self._found.position.astype(float),
            "object_pixel": self._found.pixel.astype(float),
            "object_size": np.array([self._found.radius, self._found.height]),
            "hand_pose": np.asarray(self._palm, float),
        }
        if self._action is not None:
            arrays["action"] = self._action
        if closed is not None:
            arrays["contacts"] = closed.felt.array()
            arrays["contact_scale"] = np.array([closed.felt.contacts.object_radius, thing.mass * GRAVITY])
            self._truth |= {"tuning_tried": float(closed.tuned is not None), "tuning_kept": float(bool(closed.tuned))}
        if self._judge is not None and self._action is not None:
            judged = closed.judged if closed else None
            labels["quality"] = float(judged.q) if judged else 0.0
            labels["status"] = float(closed is not None and judged is not None and succeeds(closed.felt, judged))
        truth = {"mass": thing.mass, "friction": thing.friction, **self._truth}
        if thing.young is not None:
            truth |= {"young": thing.young, "poisson": thing.poisson}
        return Episode(
            index=self._index,
            seed=self._seed,
            task="dexterous",
            groups={"object": thing.name},
            streams={**self._recorder.streams(), **self._series(rng)},
            events=self._recorder.events(),
            arrays=arrays,
            labels=labels,
            truth=truth,
        )

    # -- grasps from elsewhere -------------------------------------------------------------------------------------------------

    def close_at(
        self,
        thing: DexterousObject,
        world_from_object: np.ndarray,
        palm: np.ndarray,
        joints: np.ndarray,
        *,
        squeeze: float = 0.3,
        slack: float = 0.1,
    ) -> tuple[Closed, HandRig]:
        """Close the hand on a floating object, without table and gravity, from a pose that somebody else found.

        Args:
            thing: what to grasp.
            world_from_object: (4, 4).
            palm: (6,) pose of the palm, world.
            joints: (22,) angles at which the fingers touch or nearly touch [rad].
            squeeze: how far, at the joint of each finger that moves most, targets lie beyond those angles [rad].
            slack: angles that leave the real hand's range by no more than this are set to its end [rad].

        Returns:
            The closed hand, and the scene as it is then; it stays valid until the scene is used again.

        Raises:
            RecordError: Joints out of range.
        """
        targets, self.repairs = check_joints(joints, slack=slack)
        rig = self._scene(thing)
        with self._watch.count("rigid"):
            rig.reset(world_from_object, table=False)
            rig.place(pose_from_vector(palm), targets)
            opened, squeezed = squeeze_ends(rig, thing, targets, squeeze)
            rig.place(pose_from_vector(palm), opened)
        return self._closing.close(rig, thing, squeezed), rig

    # -- parts of a trial ------------------------------------------------------------------------------------------------------

    def _scene(self, thing: DexterousObject) -> HandRig:
        """Return the compiled scene of an object; `HandRig.reset` makes a used one as good as new."""
        if thing not in self._scenes:
            if len(self._scenes) >= SCENES_KEPT:
                self._scenes.popitem(last=False)
            self._scenes[thing] = HandRig(thing)
        return self._scenes[thing]

    def _draw_sensors(self, rng: np.random.Generator) -> None:
        """Draw what the touch sensors are like in this trial; dead ones have no gain."""
        error = self.config.gain_error
        self._gains: dict[str, tuple[np.ndarray, float]] = {}
        for finger in FINGERS:
            gains, alone = 1 + error * rng.normal(size=(TAXELS, 1)), 1 + error * rng.normal()
            if rng.random() >= self.config.dead_share:
                self._gains[finger] = gains, alone

    def _declare(self) -> None:
        height, width = self.config.camera.height, self.config.camera.width
        declare = self._recorder.declare
        declare(StreamSpec(name="camera.rgb", kind="rgb", shape=(height, width, 3), dtype="uint8", frame="camera"))
        declare(StreamSpec(name="camera.depth", kind="depth", shape=(height, width), dtype="float32", unit="m", frame="camera"))
        for finger in self._gains:
            spec = StreamSpec(name=f"touch.{finger}", kind="taxels", shape=(TAXELS, 3), dtype="float32", unit="N", frame="gel")
            declare(spec)
            names = ("force",)
            declare(StreamSpec(name=f"region.{finger}", kind="series", shape=(1,), dtype="float32", unit="N", names=names))

    def _locate(self, rng: np.random.Generator) -> CameraFrame:
        """Take pictures before and after the object is set down, find it, and touch at rest."""
        with self._watch.count("camera"):
            self._empty = self._camera.observe_depth([], rng)
            frame = self._picture(0.0, rng)
            self._found: Enclosed = self._find(frame)
        self._recorder.mark("before", 0.0)
        self._rest = self._touch(0.0, rng)
        return frame

    def _find(self, frame: CameraFrame) -> Enclosed:
        assert frame.depth is not None
        return self._find_object(self._empty, frame.depth, self._camera)

    def _let_go(self) -> None:
        """Open the hand and take it out of the way, if it is closed."""
        if self._closed is not None:
            self._rig.move(OPEN_SECONDS, preshape(self._rig.targets()))
            self._rig.away()
        self._closed, self._touches = None, {}

    def _picture(self, now: float, rng: np.random.Generator) -> CameraFrame:
        rgb, depth = self._camera.observe(self._rig.primitives(), rng)
        assert depth is not None
        self._recorder.add("camera.rgb", now, rgb)
        self._recorder.add("camera.depth", now, depth)
        return CameraFrame(rgb=rgb, depth=depth, time=now)

    def _touch(self, now: float, rng: np.random.Generator) -> dict[str, TactileFrame]:
        """Read the fingertips that work."""
        out = {}
        for finger, (gains, alone) in self._gains.items():
            touch = self._touches.get(finger)
            taxels, region = (np.zeros((TAXELS, 3)), 0.0) if touch is None else (touch.taxels, touch.region_n)
            read = (gains * taxels + self.config.taxel_noise * rng.normal(size=(TAXELS, 3))).astype(np.float32)
            self._recorder.add(f"touch.{finger}", now, read)
            self._recorder.add(f"region.{finger}", now, np.array([alone * region + self.config.region_noise * rng.normal()]))
            out[finger] = TactileFrame(taxels=read, time=now)
        return out

    def _sense(self) -> Observation:
        """Return what is sensed while the hand is closed."""
        now = self._rig.time
        self._recorder.mark("contact", now)
        with self._watch.count("camera"):
            camera = self._picture(now, self._rng)
        return self._observation(now, camera, self._touch(now, self._rng))

    def _observation(self, now: float, camera: CameraFrame, touch: dict[str, TactileFrame] | None = None) -> Observation:
        measured = self._rig.joints() + self.config.joint_noise * self._rng.normal(size=len(JOINTS))
        return Observation(
            time=now,
            camera=camera,
            touch=dict(self._rest) if touch is None else touch,
            touch_rest=dict(self._rest),
            object_position=self._found.position,
            object_pixel=self._found.pixel,
            object_size=np.array([self._found.radius, self._found.height]),
            joint_position=measured,
            hand_pose=self._palm.copy(),
        )

    def _series(self, rng: np.random.Generator) -> dict[str, Stream]:
        """Return the 100 Hz streams of the hand."""
        times, joints, torques = self._rig.logged()
        if not len(times):
            return {}
        joints = joints + self.config.joint_noise * rng.normal(size=joints.shape)
        torques = torques + self.config.torque_noise * rng.normal(size=torques.shape)
        motors, rate = tuple(JOINTS[i] for i in ACTUATED), 1.0 / CONTROL_PERIOD
        streams = (
            series("hand.joint_position", joints, "rad", JOINTS, times, rate),
            series("hand.joint_torque", torques, "N m", motors, times, rate),
        )
        return {stream.spec.name: stream for stream in streams}


def action_space() -> ActionSpace:
    """Return moves of the palm by up to 3 cm and 0.4 rad about each axis of its own, with any targets of the 18 motors."""
    motors = list(ACTUATED)
    return ActionSpace(
        motion_low=(-30 * MM,) * 3 + (-0.4,) * 3,
        motion_high=(30 * MM,) * 3 + (0.4,) * 3,
        joints=tuple(MEANS.tolist()),
        active=ACTUATED,
        joint_low=tuple(RANGES[motors, 0].tolist()),
        joint_high=tuple(RANGES[motors, 1].tolist()),
    )
