"""Commands of pouring by touch alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class CollectPouring:
    """Collect demonstrations of pouring 60 g of beads out of a cup, by a scripted person who watches a scale."""

    out: Path
    """Folder of the data set."""
    demos: int = 100
    """Demonstrations."""
    cups: Literal["varied", "same"] = "varied"
    """varied: cup, beads, grasp and gels differ from trial to trial; same: one cup stays in the gripper and is filled anew."""
    seed: int = 0
    """Seed of the demonstrations. The same seed gives the same data with any number of workers."""
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with a data set that was interrupted."""


@dataclass(frozen=True, kw_only=True)
class TrainPouring:
    """Train a policy that pours by touch: three frames of two gels in, pour, wait or tilt back out."""

    data: Path
    """Folder of the demonstrations."""
    out: Path
    """Folder of the run."""
    encoder: str = "imagenet"
    """Folder of a run of `palpate train touch`, or imagenet, pixels, untrained, or untrained:FOLDER for one of that run's shape."""
    tuned: bool = False
    """Train the encoder as well, not only what follows it."""
    epochs: int = 2
    """Passes over the data if the encoder is tuned."""
    seed: int = 0
    """Seed of the split, initial weights and order."""


@dataclass(frozen=True, kw_only=True)
class Pour:
    """Try a pouring policy in closed loop at 5 Hz; the scale is read at the end."""

    policy: Path
    """Folder of a run of `palpate train pouring`."""
    trials: int = 10
    """Trials."""
    cups: Literal["varied", "same"] = "varied"
    """As in `palpate collect pouring`."""
    out: Path | None = None
    """Folder of the recorded trials; default: runs/pour-POLICY."""
    seed: int = 7000
    """Seed of the starting states; the same seed gives every policy the same starts."""
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with a run that was interrupted."""
    json: Path | None = None
    """Also write a row a trial to this file."""
