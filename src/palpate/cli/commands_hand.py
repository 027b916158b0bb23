"""Commands of the many-fingered hand and of grasp quality, as `palpate.cli.commands` has the others."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class CollectDexterous:
    """Collect grasps of a Shadow hand: rigid and soft contact, touch, grasp quality, lift."""

    out: Path
    """Folder of the data set."""
    grasps: int = 2000
    """Number of grasps in the data set when done."""
    seed: int = 0
    """Seed of the grasps. The same seed gives the same data with any number of workers, here or on a cluster."""
    objects: int = 120
    """Number of different objects."""
    object_seed: int = 0
    """Seed of the objects; another one gives objects that share none with the first."""
    workers: int = 2
    """Worker processes."""
    lifetime: int = 500
    """Grasps after which a worker is replaced, so that what a simulator does not give back goes with its process."""
    ray: str | None = None
    """Address of a Ray cluster (auto, or HOST:PORT) whose cores do the work instead."""
    resume: bool = False
    """Go on with a data set that was interrupted."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Judge grasps by the friction they need: contacts from a JSON or NPZ file, or a data set of dexterous grasps."""

    grasps: Positional[Path]
    """File of contacts, or folder of a data set."""
    solver: Literal["exact", "clarabel", "ipopt", "epsilon"] = "exact"
    """exact and clarabel: the optimum; ipopt: with smoothed norms; epsilon: the Ferrari-Canny measure instead."""
    workers: int = 2
    """Threads, of use to exact."""
    json: Path | None = None
    """Also write q, friction use, residual and forces of every grasp to this file."""


@dataclass(frozen=True, kw_only=True)
class TrainDexterous:
    """Train the networks of the many-fingered hand, before touch and during it."""

    data: Path
    """Folder of the data set."""
    out: Path
    """Folder of the run."""
    stage: Literal["before", "after", "both"] = "both"
    """before: from RGB-D alone. after: from RGB-D, joints and touch, from the weights of before."""
    status: Literal["stable", "status"] = "stable"
    """What Status-Net learns: whether the lift held, or the slides' q > 0.5 with two fingers."""
    folds: int = 5
    """Folds of whole objects for held-out figures and calibration; 0 trains the final nets only."""
    epochs: int = 20
    """Passes over the training data of each stage."""
    hypotheses: int = 5
    """Grasps that the first estimate offers; 1 is the slides."""
    seed: int = 0
    """Seed of folds, initial weights and order."""
    threads: int = 2
    """Threads; 0 leaves the choice to torch."""
    resume: bool = False
    """Go on with a run that was interrupted."""


@dataclass(frozen=True, kw_only=True)
class GraspDexterous:
    """Try the many-fingered hand in closed loop on objects that no training saw."""

    policy: str
    """Folder of a run, or `random` (reachable grasps drawn at random)."""
    trials: int = 100
    """Number of trials."""
    estimates: Literal["first", "second"] = "second"
    """first: lift the first grasp. second: feel, then lift, adjust or grasp again."""
    lift_above: float = 0.7
    """Lift when the second estimate of success is above this."""
    max_looks: int = 8
    """Decisions at most; the last one lifts."""
    seed: int = 5000
    """Seed of the starting states; the same seed gives every policy the same starts."""
    objects: int = 60
    """Number of different objects."""
    object_seed: int = 1
    """Seed of the objects, which training data of another seed do not have."""
    out: Path | None = None
    """Folder of the recorded trials; default: runs/dexterous-POLICY-ESTIMATES."""
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with a run that was interrupted."""
    json: Path | None = None
    """Also write the rates to this file."""


@dataclass(frozen=True, kw_only=True)
class ImportDexgraspnet:
    """Import grasps of DexGraspNet: close each in the world, score it by q, keep its contacts and pictures."""

    folder: Positional[Path]
    """Folder with OBJECT.npy files and meshdata/, as the set is published."""
    out: Path
    """Folder of the data set."""
    grasps: int = 0
    """Grasps of each object at most; 0: all."""
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with an import that was interrupted."""


@dataclass(frozen=True, kw_only=True)
class DemoDexterous:
    """Run the many-fingered hand end to end: collect, judge, train both estimates, grasp, report."""

    out: Path = field(default_factory=lambda: Path("runs") / "demo-dexterous")
    """Folder of everything the demo makes."""
    grasps: int = 800
    """Grasps to collect."""
    trials: int = 60
    """Closed-loop trials of each policy."""
    epochs: int = 15
    """Passes over the training data of each stage."""
    seed: int = 0
    """Seed of everything."""
    workers: int = 2
    """Worker processes."""
    resume: bool = True
    """Use what an earlier demo finished."""
