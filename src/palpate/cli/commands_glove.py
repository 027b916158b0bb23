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
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with a data set that was interrupted."""


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
    """Comma-separated among image, angle, torque; empty: those that the paper gives the strategy."""
    loss_factor: float = 0.1
    """Share of the torque loss (Eq. 7)."""
    baseline: Literal["", "direct", "act", "timesformer"] = ""
    """One of the paper's baselines instead of SoftGrasp."""
    epochs: int = 20
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
