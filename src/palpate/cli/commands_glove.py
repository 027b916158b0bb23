"""Commands of SoftGrasp: demonstrations through a glove, recordings of others, and the glove's mapping."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class CollectSoftgrasp:
    """Collect demonstrations of a person with a force-feedback glove, scripted, on a humanoid hand."""

    out: Path
    """Folder of the data set."""
    demos: int = 15
    """Demonstrations of each object."""
    objects: str = "1-6"
    """IDs of the twelve objects, as 1-6 or 1,3,11."""
    seed: int = 0
    """Seed of the demonstrations. The same seed gives the same data with any number of workers."""
    torque: bool = True
    """Whether the glove gives the hand's torque back; --no-torque shows what happens without."""
    touch: bool = False
    """Let the hand wear optical touch sensors, on thumb and middle finger."""
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with a data set that was interrupted."""


@dataclass(frozen=True, kw_only=True)
class TeleopSoftgrasp:
    """Demonstrate grasps of one object on a humanoid hand: watch the scripted person, or be the person, at the keyboard."""

    out: Path
    """Folder of the data set."""
    object: int
    """ID of one of the twelve objects, 1 to 12."""
    glove: Literal["scripted", "keyboard"] = "scripted"
    """`keyboard` needs a terminal and works over ssh; it shows its keys."""
    demos: int = 1
    """Demonstrations to add."""
    seed: int = 0
    """Seed of the starting states, and of the scripted person."""
    rate_hz: float = 30.0
    """Periods a second: 30 is real time, less is slow motion, 0 as fast as it goes."""
    picture: Path | None = None
    """File (.png, .jpg) that always holds the camera's newest picture; with the keyboard OUT-camera.png if not given."""
    resume: bool = False
    """Add to demonstrations of the same glove that are there already, of any object."""


@dataclass(frozen=True, kw_only=True)
class ReportDemonstration:
    """Write one self-contained HTML page on which demonstrations play, recorded or simulated."""

    data: Positional[Path]
    """Folder of the data set."""
    out: Path
    """The HTML file."""
    demos: str = ""
    """Numbers of the demonstrations, as 0-2 or 0,7; empty: the first three."""
    run: Path | None = None
    """Folder of a policy that was trained on them: its one-step prediction is shown too."""


@dataclass(frozen=True, kw_only=True)
class ImportSoftgrasp:
    """Import recordings of SoftGrasp (the authors' layout): pictures, joint angles, forces."""

    folder: Positional[Path]
    """Folder of the set, as it is published."""
    out: Path
    """Folder of the data set."""
    rate_hz: float | None = None
    """Rate of the recorder, which the files do not tell; the paper's 30 Hz if not given."""


@dataclass(frozen=True, kw_only=True)
class ImportLerobot:
    """Import a LeRobot data set, v2.1 or v3.0."""

    folder: Positional[Path]
    """Folder with meta, data and videos."""
    out: Path
    """Folder of the data set."""
    videos: bool = True
    """Read the videos as well."""


@dataclass(frozen=True, kw_only=True)
class CalibrateGlove:
    """Fit the mapping from a glove's joint angles to a hand's on a recording of both."""

    recording: Positional[Path]
    """CSV or NPZ of glove and hand angles, moved together."""
    out: Path
    """File of the mapping (JSON)."""


@dataclass(frozen=True, kw_only=True)
class TrainSoftgrasp:
    """Train a policy that imitates demonstrations: next joint angles and torques from pictures, angles and torques."""

    data: Path
    """Folder of the data set."""
    out: Path
    """Folder of the run."""
    modalities: str = ""
    """Comma-separated among image, angle, torque, touch; empty: those that the paper gives the strategy, and touch with an encoder."""
    touch_encoder: Path | None = None
    """Run of `palpate train touch` whose frozen encoder sees the touch pictures."""
    loss_factor: float = 0.1
    """Share of the torque loss (Eq. 7)."""
    baseline: Literal["", "direct", "act", "timesformer"] = ""
    """One of the paper's baselines instead of SoftGrasp."""
    epochs: int = 40
    """Passes over the training data (the paper: 200, at a tenth of our learning rate)."""
    seed: int = 0
    """Seed of the split, initial weights and order."""
    resume: bool = False
    """Go on with a run that was interrupted."""


@dataclass(frozen=True, kw_only=True)
class GraspSoftgrasp:
    """Try a SoftGrasp policy in closed loop at 30 Hz on the twelve objects."""

    policy: Path
    """Folder of a run."""
    objects: str = "1-12"
    """IDs of the objects, as 1-12 or 1,3,11."""
    trials: int = 10
    """Trials of each object."""
    modalities: str = ""
    """Comma-separated: let the policy use only these; empty: all that it was trained on."""
    out: Path | None = None
    """Folder of the recorded trials; default: runs/softgrasp-POLICY."""
    seed: int = 7000
    """Seed of the starting states; the same seed gives every policy the same starts."""
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with a run that was interrupted."""
    json: Path | None = None
    """Also write a row a trial to this file."""


@dataclass(frozen=True, kw_only=True)
class DemoSoftgrasp:
    """Run SoftGrasp's story in ten minutes: demonstrations, policies, closed loop, force feedback, report."""

    out: Path = Path("runs/demo-softgrasp")
    """Folder for everything; run again to go on where it stopped."""
    demos: int = 8
    """Demonstrations of each of the six known objects, with the glove's torque and again without."""
    trials: int = 2
    """Trials of each policy on each of the twelve objects."""
    epochs: int = 10
    """Passes over the training data."""
    seed: int = 0
    """Seed of demonstrations and training."""
    workers: int = 2
    """Worker processes."""
