"""The records everybody speaks of. All are frozen; a modality that is absent is `None` or missing, never zeros.

Axis letters: T time, F finger, J joint, H W image rows and columns, P taxel, S audio sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from palpate.core.errors import RecordError

StreamKind = Literal["rgb", "depth", "touch", "taxels", "audio", "series"]
"""What a stream holds: colour images, depth images, optical touch images, taxel arrays, sound clips, plain numbers."""


@dataclass(frozen=True, kw_only=True)
class TactileFrame:
    """What one touch sensor gave at one moment: an image, places of markers, taxels, or several of them."""

    image: np.ndarray | None = None
    """(H, W, 3) uint8, RGB; None if the sensor gives no image."""
    taxels: np.ndarray | None = None
    """(P, C) float; None if the sensor gives no taxels. The unit is the sensor's own."""
    markers: np.ndarray | None = None
    """(M, 2) tracked markers, column and row in the image [px], or x and y on the gel [m] without one; None if there are none."""
    time: float = 0.0
    """Capture time [s], clock of the episode."""

    def __post_init__(self) -> None:
        """Refuse a frame that holds nothing or an image of a wrong form."""
        if self.image is None and self.taxels is None and self.markers is None:
            raise RecordError(
                "a TactileFrame needs an image, taxels or markers; leave an absent sensor out of the mapping instead"
            )
        if self.image is not None and (self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8):
            raise RecordError(f"touch image must be (H, W, 3) uint8, got {self.image.shape} {self.image.dtype}")


@dataclass(frozen=True, kw_only=True)
class CameraFrame:
    """One frame of the fixed camera."""

    rgb: np.ndarray
    """(H, W, 3) uint8."""
    depth: np.ndarray | None = None
    """(H, W) float32 [m] along the optical axis, 0 where the camera gave no depth; None if not recorded."""
    time: float = 0.0
    """Capture time [s], clock of the episode."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the robot senses at one moment. Every modality may be absent."""

    time: float = 0.0
    """[s], clock of the episode."""
    camera: CameraFrame | None = None
    """Fixed RGB-D camera."""
    touch: Mapping[str, TactileFrame] = field(default_factory=dict)
    """Touch by finger name; an absent or dead sensor has no entry."""
    touch_rest: Mapping[str, TactileFrame] = field(default_factory=dict)
    """The same sensors before contact, for background subtraction."""
    object_position: np.ndarray | None = None
    """(3,) [m] world; where perception located the object, not the simulator's truth."""
    object_pixel: np.ndarray | None = None
    """(2,) column and row of that position in the camera image."""
    object_size: np.ndarray | None = None
    """(2,) radius and height of the upright cylinder that perception put around the object [m]."""
    joint_position: np.ndarray | None = None
    """(J,) measured hand joint angles [rad]."""
    joint_torque: np.ndarray | None = None
    """(J,) measured torques of the hand's motors [N m]; of a rig that reports something else, in its own unit."""
    hand_pose: np.ndarray | None = None
    """End effector, world frame: (4,) x, y, z [m] and yaw [rad], or on an arm (6,) x, y, z [m] and a rotation vector [rad]."""
    grip_force: float | None = None
    """Commanded force of the present grasp [N]; None if the gripper is open or not controlled by force."""


@dataclass(frozen=True, kw_only=True)
class GraspAction:
    """A regrasp: a motion relative to the present end-effector pose, and an absolute command to the fingers."""

    motion: np.ndarray
    """(4,) dx, dy, dz [m] in the hand's yaw frame, and dyaw [rad]; or, for a hand on an arm, (6,) dx, dy, dz [m] and a rotation vector
    [rad], both in the hand's present frame."""
    joints: np.ndarray
    """(J,) absolute targets of the fingers: joint angles [rad], or for a gripper under force control its one force [N]."""

    def vector(self) -> np.ndarray:
        """Return (M + J,) float64: motion, then joints. Inverse of `from_vector`."""
        return np.concatenate([self.motion, self.joints])

    @classmethod
    def from_vector(cls, vector: np.ndarray, n_motion: int = 4) -> "GraspAction":
        """Split a (M + J,) vector into motion and joints; M is `n_motion`."""
        vector = np.asarray(vector, float)
        return cls(motion=vector[:n_motion], joints=vector[n_motion:])


@dataclass(frozen=True, kw_only=True)
class GraspOutcome:
    """What came of a grasp. None means not known."""

    stable: bool | None = None
    """The object stayed in the hand for the hold time."""
    gentle: bool | None = None
    """The grasp made no sound that tells of too much force."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a policy wants done next."""

    action: GraspAction | None
    """The regrasp to perform; None keeps the grasp there is."""
    lift: bool
    """Whether to lift after it (True) or to look again (False)."""
    release: bool = False
    """Instead of a regrasp: open, step back and look at the object once more."""
    predicted: Mapping[str, float] = field(default_factory=dict)
    """What the policy expects, by outcome name; empty if it does not predict."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a hand that is steered all the time is told for one period."""

    joints: np.ndarray
    """(J,) targets, in the unit in which the hand's joints are given."""
    lift: bool = False
    """Start lifting now; it goes on whatever later commands say."""
    predicted: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the controller expects or attends to, by name; kept with the episode."""


@dataclass(frozen=True, kw_only=True)
class StreamSpec:
    """What a stream is, apart from its data. Two episodes of one data set share the spec of a name."""

    name: str
    """Dotted name, for example `camera.rgb`, `touch.thumb`, `hand.joint_position`, `sound`."""
    kind: StreamKind
    """What its samples are."""
    shape: tuple[int, ...]
    """Shape of one sample: (H, W, 3), (H, W), (P, C), (S,) or (D,)."""
    dtype: str
    """NumPy name of the sample type."""
    rate_hz: float | None = None
    """Nominal rate of samples; of audio the sampling rate inside a clip; None for samples at single moments."""
    unit: str = ""
    """Physical unit; empty for counts."""
    frame: str = ""
    """Coordinate frame, where that makes sense."""
    names: tuple[str, ...] = ()
    """Names of the components of a series."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Samples of one sensor on its own clock."""

    spec: StreamSpec
    times: np.ndarray
    """(T,) float64 [s], capture time of each sample (of an audio clip: of its first sample), not decreasing."""
    values: np.ndarray
    """(T, *spec.shape) in spec.dtype."""

    def __post_init__(self) -> None:
        """Check the form against the spec."""
        expected = (len(self.times), *self.spec.shape)
        if self.values.shape != expected or str(self.values.dtype) != self.spec.dtype:
            raise RecordError(
                f"stream {self.spec.name!r}: values {self.values.shape} {self.values.dtype}, "
                f"expected {expected} {self.spec.dtype} from {len(self.times)} times and its spec"
            )
        if len(self.times) > 1 and np.any(np.diff(self.times) < 0):
            raise RecordError(f"stream {self.spec.name!r}: times go backwards; stamp at capture with one clock")

    def at(self, time: float) -> np.ndarray:
        """Return the last sample captured at or before `time` [s]."""
        i = int(np.searchsorted(self.times, time + 1e-9, side="right")) - 1
        if i < 0:
            raise RecordError(f"stream {self.spec.name!r} has no sample at or before {time:.3f} s (first: {self.times[0]:.3f})")
        return self.values[i]


@dataclass(frozen=True, kw_only=True)
class Event:
    """A named moment, for example the start of a phase."""

    name: str
    time: float
    """[s], clock of the episode."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One trial: streams on their own clocks, events, actions and labels."""

    index: int
    """Number of the trial in its data set."""
    seed: int
    """Seed of the collection; with `index` it determines a simulated trial."""
    task: str
    """For example `gentle`."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """What must not cross folds, by kind: `object`, `pose`, ..."""
    streams: Mapping[str, Stream] = field(default_factory=dict)
    """By name; an absent sensor has no entry."""
    events: tuple[Event, ...] = ()
    """In order of time."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Small float64 1-D arrays that belong to the whole trial: `action`, `object_pixel`, ..."""
    labels: Mapping[str, float | None] = field(default_factory=dict)
    """Outcome by name, 1.0 or 0.0 for yes and no; None where not known."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Sentences about the trial by kind, for example `touch`: what was touched and how it feels. An absent kind has no entry."""
    truth: Mapping[str, float] = field(default_factory=dict)
    """Simulator state, for checking only: no label and no model input may be made from it."""

    def event(self, name: str) -> float:
        """Return the time [s] of the last event of that name."""
        for event in reversed(self.events):
            if event.name == name:
                return event.time
        raise RecordError(f"episode {self.index} has no event {name!r}; it has {sorted({e.name for e in self.events})}")

    def with_labels(self, labels: Mapping[str, float | None]) -> "Episode":
        """Return a copy with these labels added or replaced."""
        return replace(self, labels={**self.labels, **labels})
