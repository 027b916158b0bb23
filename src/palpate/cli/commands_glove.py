"""Commands of SoftGrasp: demonstrations through a glove, recordings of others, and the glove's mapping."""

from dataclasses import dataclass
from pathlib import Path

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
