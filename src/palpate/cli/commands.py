"""The commands as frozen dataclasses: the docstring of a field is its help text. Nothing heavy, so that --help is fast."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True, kw_only=True)
class CollectGentle:
    """Collect grasp trials with the squeaking toy: random regrasps, labelled by sound and proprioception."""

    out: Path
    """Folder of the data set."""
    trials: int = 1500
    """Number of trials in the data set when done."""
    seed: int = 0
    """Seed of trials and toys. The same seed gives the same data with any number of workers."""
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with a data set that was interrupted."""
    toys: int = 60
    """Number of toys."""
    pose: Literal["both", "upright", "lying"] = "both"
    """How the toy lies."""


@dataclass(frozen=True, kw_only=True)
class CollectRegrasp:
    """Collect grasp trials with a parallel gripper: grasp, regrasp, lift, labelled by touch."""

    out: Path
    """Folder of the data set."""
    trials: int = 2000
    """Number of trials in the data set when done."""
    policy: str = "random"
    """`random`, or the folder of a run that chooses the regrasps (a quarter of them stays random)."""
    objects: Literal["training", "easy", "hard"] = "training"
    """Which objects."""
    seed: int = 0
    """Seed of the trials. The same seed gives the same data with any number of workers."""
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with a data set that was interrupted."""


@dataclass(frozen=True, kw_only=True)
class CollectTouch:
    """Collect touches: the same things pressed by several touch sensors."""

    out: Path
    """Folder of the data set."""
    sensors: tuple[str, ...] = ("digit", "gelsight-mini", "9dtact", "tac3d")
    """Names of sensors, or .toml or .json files that describe them; spaces or commas between them."""
    mode: Literal["fine", "coarse"] = "fine"
    """fine: a stand, same place, speed and depth for every sensor; coarse: a hand, which slides and turns."""
    touches: int = 1000
    """Number of touches in the data set when done."""
    seed: int = 0
    """Seed of objects and touches. The same seed gives the same data with any number of workers."""
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with a data set that was interrupted."""
    objects: int = 120
    """Number of different objects."""
    picture: int = 128
    """Longer side of stored pictures [px]; 0: the sensor's own size."""
    rate_hz: float = 0.0
    """Most frames a second of any sensor; 0: its own rate. For pre-training 30, with --picture 96, is enough."""
    camera: bool = True
    """Take a picture of the touched place."""
    unit: int = 0
    """Which unit of each kind of sensor."""
    units: int = 1
    """Units of each kind, from --unit on; each touch is made by one of them."""
    optics: tuple[str, ...] = ()
    """SENSOR=FILE for sensors that were calibrated."""


@dataclass(frozen=True, kw_only=True)
class CollectPresses:
    """Collect simulated touch videos of soft balls pressed by hand, labelled with their hardness."""

    out: Path
    """Folder of the data set."""
    presses: int = 400
    """Number of presses in the data set when done."""
    solver: Literal["layer", "half-space", "finite"] = "layer"
    """Contact mechanics: a layer on a ball as a half-space, both as half-spaces, or finite elements of both bodies."""
    sensor: str = "gelsight-2017"
    """Name of a sensor with pictures, or a .toml or .json file that describes one."""
    per_object: int = 2
    """Presses of one ball."""
    picture: int = 160
    """Longer side of stored pictures [px]."""
    seed: int = 0
    """Seed of balls, gels and motions. The same seed gives the same data with any number of workers."""
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with a data set that was interrupted."""


@dataclass(frozen=True, kw_only=True)
class Touch:
    """Press one thing on a touch sensor and draw what it gives; or draw a table of things and sensors."""

    out: Path
    """The picture (.png); with --gallery a folder; with --describe a .json file."""
    sensor: str = "digit"
    """Name of the sensor, or a .toml or .json file that describes it."""
    press: str = "sphere:4mm"
    """The thing: NAME:VALUE,KEY=VALUE, for example cylinder:3mm, cone:60deg,tip=0.5mm, letter:R. Sizes of round things are radii."""
    depth: str | None = None
    """How far it moves in beyond first contact, with unit, for example 0.5mm; default 0.5mm if no force is given."""
    force: str | None = None
    """How hard it is pressed instead, for example 2N."""
    shift: str = "0,0"
    """Motion along the gel after the press: to the right and down, for example 0.3mm,0."""
    twist: str = "0"
    """Turn about the middle of the pad after the press, for example 5deg."""
    at: str = "0,0"
    """Where the thing lies: to the right and down from the middle of the pad, for example 2mm,-1mm."""
    yaw: str = "0"
    """How the thing is turned, for example 30deg."""
    material: str = "steel"
    """What it is made of: its stiffness, friction and roughness."""
    unit: int = 0
    """Which unit of this kind of sensor."""
    noise: bool = False
    """Add the noise of a real camera; without, the picture is ideal."""
    optics: Path | None = None
    """Optics that `palpate calibrate touch` wrote."""
    json: Path | None = None
    """Also write force, torque, contact and what is a guess to this file."""
    gallery: bool = False
    """Press a set of things on several sensors, and write gallery.png and index.html to the folder --out."""
    describe: bool = False
    """Press nothing, but write the constants of the sensor to the .json file --out: a start for a sensor of your own."""


@dataclass(frozen=True, kw_only=True)
class CalibrateTouch:
    """Fit the optics of a real sensor on pictures of ball presses."""

    images: Positional[Path]
    """Folder with rest.png, pictures of presses, and presses.csv (file, x_px, y_px, radius_px)."""
    sensor: str
    """Name of the sensor, or a .toml or .json file that describes it."""
    ball: str
    """Radius of the ball, for example 2.38mm."""
    out: Path
    """The optics file (.npz)."""
    seed: int = 0
    """Seed of folds and of the pixels that are fitted."""
    json: Path | None = None
    """Also write the scores to this file."""


@dataclass(frozen=True, kw_only=True)
class ImportBts3:
    """Import real BioTac grasps (BioTacSP Stability Set layout) from CSV files."""

    files: Positional[tuple[Path, ...]]
    """CSV files; the file name ends in the palm pose."""
    out: Path
    """Folder of the data set."""


@dataclass(frozen=True, kw_only=True)
class ImportWedge:
    """Import squeezes of the GelSight Wedge compliance set: video, force and width of each take."""

    folder: Positional[Path]
    """Folder with one folder a date, as the set is published."""
    out: Path
    """Folder of the data set."""


@dataclass(frozen=True, kw_only=True)
class ImportOctopi:
    """Import touch videos of PhysiCLeAR (Octopi), with ranks of hardness and roughness."""

    folder: Positional[Path]
    """Folder of the set, as it is published."""
    out: Path
    """Folder of the data set."""


@dataclass(frozen=True, kw_only=True)
class Info:
    """Say what a data set holds."""

    data: Positional[Path]
    """Folder of the data set."""
    json: bool = False
    """Print JSON instead of text."""


@dataclass(frozen=True, kw_only=True)
class TrainOutcome:
    """Train the outcome model, with cross-validation."""

    data: Path
    """Folder of the data set."""
    out: Path
    """Folder of the run."""
    also: tuple[Path, ...] = ()
    """Further data sets of the same task, for example one that a trained model collected."""
    modalities: str = ""
    """Comma-separated among vision, touch, action; empty: all that the data set has."""
    backbone: str = "efficientnet_lite0"
    """efficientnet_lite0, densenet121, efficientnetv2_b0, resnet50 or resnet18."""
    folds: int = 5
    """Folds of the cross-validation; 0 trains the final model only."""
    group: Literal["trial", "object", "pose", "object+pose"] = "trial"
    """What must not cross folds; object+pose (touch as numbers only) holds out both at once."""
    seed: int = 0
    """Seed of folds, initial weights and order."""
    epochs: int = 15
    """Passes over the training data."""
    image_size: int = 224
    """Side of the image that the backbone sees [px]."""
    crops: int = 1
    """Random crops of every image beside the one in the middle."""
    fine_tune: bool = False
    """Train the backbone end to end instead of using frozen, cached features (for a GPU)."""
    weights: Path | None = None
    """Weights of the backbone (safetensors), where no pip package ships them."""
    touch_encoder: Path | None = None
    """Run of `palpate train touch` whose frozen encoder sees the touch pictures; the camera's stay with the backbone."""
    threads: int = 2
    """CPU threads."""
    resume: bool = False
    """Go on with a run that was interrupted."""


@dataclass(frozen=True, kw_only=True)
class TrainHardness:
    """Train an estimator of hardness from touch videos: Shore 00 with an interval, or ranks, as the data are labelled."""

    data: Path
    """Folder of the data set."""
    out: Path
    """Folder of the run."""
    seed: int = 0
    """Seed of folds and of the fit."""
    sensor: str | None = None
    """Sensor of the pictures, where the data set does not say."""
    optics: Path | None = None
    """Its calibrated optics, if not its own."""
    touch_encoder: Path | None = None
    """Run of `palpate train touch` whose frozen encoder's features join those of the pictures."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a trained run on a data set that it has not seen."""

    run: Positional[Path]
    """Folder of the run."""
    data: Path
    """Folder of the data set."""
    without: tuple[Literal["radius", "approach", "force"], ...] = ()
    """Hardness: what is known of presses beside the pictures, and must not be used."""
    calibrate: int | None = None
    """Touch as numbers: re-centre on this many unlabelled grasps of each object and pose; -1 for all of them."""
    seed: int = 0
    """Seed of the choice of calibration grasps."""
    json: Path | None = None
    """Also write the figures to this file."""


@dataclass(frozen=True, kw_only=True)
class GraspGentle:
    """Try a policy in closed loop in the world."""

    policy: str
    """Folder of a run, or `random`."""
    out: Path
    """Folder of the recorded trials."""
    trials: int = 100
    """Number of trials, half upright, half lying."""
    seed: int = 1000
    """Seed of toys and starting states; the same seed gives every policy the same starts."""
    workers: int = 2
    """Worker processes."""
    candidates: int = 100_000
    """Action candidates of the exhaustive search (95 % random, 5 % fingers only)."""
    search: Literal["exhaustive", "sampling"] = "exhaustive"
    """How Equation 1 is solved."""
    max_looks: int = 3
    """Grasps at most before the lift."""
    resume: bool = False
    """Go on with a run that was interrupted."""
    json: Path | None = None
    """Also write the rates to this file."""


@dataclass(frozen=True, kw_only=True)
class GraspRegrasp:
    """Try a policy with the parallel gripper in closed loop on objects that no training saw."""

    policy: str
    """Folder of a run, `cylinder` (10 N around the middle) or `random`."""
    objects: Literal["easy", "hard", "training"] = "easy"
    """Which objects."""
    trials: int = 10
    """Trials an object."""
    objective: Literal["success", "min-force", "mixture"] = "success"
    """The most likely success; the least force that is likely enough to succeed; or success less a price of force."""
    threshold: float = 0.9
    """Success must be more likely than this for a lift, and for least force to count."""
    weight: float = 0.2
    """With mixture: price of the largest force, in probability."""
    out: Path | None = None
    """Folder of the recorded trials; default: runs/regrasp-POLICY-OBJECTS-OBJECTIVE."""
    seed: int = 2000
    """Seed of the starting states; the same seed gives every policy the same starts."""
    max_looks: int = 5
    """Regrasps at most; the last one lifts."""
    workers: int = 2
    """Worker processes."""
    resume: bool = False
    """Go on with a run that was interrupted."""
    json: Path | None = None
    """Also write the rates to this file."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write one self-contained HTML page from runs; `palpate report demonstration` writes one on which demonstrations play."""

    runs: Positional[tuple[Path, ...]]
    """Folders of training runs and closed-loop tests."""
    out: Path
    """The HTML file."""
    data: Path | None = None
    """The data set, for pictures of its trials; default: the one the runs were trained on."""


@dataclass(frozen=True, kw_only=True)
class ExportLerobot:
    """Export a data set to LeRobot v3.0."""

    data: Positional[Path]
    """Folder of the data set."""
    out: Path
    """Folder of the LeRobot data set."""
    fps: int = 10
    """Rows per second."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Run the main job end to end: collect, train, grasp, report."""

    out: Path = field(default_factory=lambda: Path("runs") / "demo")
    """Folder of everything the demo makes."""
    trials: int = 1500
    """Trials to collect."""
    grasps: int = 100
    """Closed-loop trials of each policy."""
    epochs: int = 8
    """Passes over the training data."""
    image_size: int = 160
    """Side of the image that the backbone sees [px]."""
    seed: int = 0
    """Seed of everything."""
    workers: int = 2
    """Worker processes."""
    resume: bool = True
    """Use what an earlier demo finished."""


@dataclass(frozen=True, kw_only=True)
class DemoRegrasp:
    """Run the parallel gripper end to end: collect, train five models, calibrate, grasp, report."""

    out: Path = field(default_factory=lambda: Path("runs") / "demo-regrasp")
    """Folder of everything the demo makes."""
    trials: int = 900
    """Trials to collect."""
    grasps: int = 3
    """Closed-loop trials an object and policy."""
    epochs: int = 4
    """Passes over the training data."""
    image_size: int = 160
    """Side of the image that the backbone sees [px]."""
    seed: int = 0
    """Seed of everything."""
    workers: int = 2
    """Worker processes."""
    resume: bool = True
    """Use what an earlier demo finished."""
