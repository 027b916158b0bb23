"""The table of the slides (Sim2real Multimodal Learning for Dexterous Gripper, Section 3.2): first against second estimate.

Every grasp is judged by a net that never saw its object, figures are means over training seeds, and intervals resample objects. The
slides tell neither their split nor how the errors are defined; here a pose error is the angle between two rotations [rad] and the
distance between two palms [mm], a joint error the mean over 22 joints [rad], of the one grasp that Grip-Net would take, against the
grasp that succeeded in that trial. Other grasps would have succeeded too, so these errors have a floor that no net can pass.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from palpate.core.randomness import generator
from palpate.data.reader import open_dataset
from palpate.evaluation.intervals import Interval, cluster_mean, paired_difference
from palpate.evaluation.tables import NOTHING, Table, plain
from palpate.learning.calibration import cross_calibrate
from palpate.models.dexterous import INPUTS, VISION, Stage
from palpate.recipes.dexterous import DexterousConfig, FoldTrainer, estimate, object_folds
from palpate.recipes.dexterous_data import Grasps, Samples, load_samples, read_grasps
from palpate.recipes.dexterous_model import Estimates
from palpate.recipes.workers import LocalWorkers, prepare_worker

VARIANTS: dict[str, tuple[Stage, tuple[str, ...]]] = {
    "first: RGB-D": ("before", INPUTS),
    "second: RGB-D + joints + touch": ("after", INPUTS),
    "second without touch": ("after", (*VISION, "joints")),
    "second without vision": ("after", ("joints", "touch")),
    "second, touch alone": ("after", ("touch",)),
}
FIRST, SECOND, NO_TOUCH = tuple(VARIANTS)[:3]
CONSTANT = "no net: mean, median, majority"
MEASURES = {
    "rotation_rad": "rotation, rad",
    "nearest_rotation_rad": "nearest",
    "position_mm": "position, mm",
    "nearest_position_mm": "nearest",
    "joints_rad": "joints, rad",
    "quality": "q, mean abs.",
    "status": "status, accuracy",
    "brier": "status, Brier",
}
DIFFERENCES = {"second - first": (SECOND, FIRST), "with - without touch": (SECOND, NO_TOUCH)}
PAPER = {
    FIRST: {"rotation_rad": 0.18, "quality": 0.07, "status": 0.81, "joints_rad": 0.43},
    SECOND: {"rotation_rad": 0.18, "quality": 0.05, "status": 0.89, "joints_rad": 0.44},
}
"""The slides' figures, which print the pose error in rad without saying of what."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """How large a study."""

    data: Path
    out: Path
    """Keeps the weights of every fold, so that an interrupted study goes on."""
    seeds: int = 3
    workers: int = 2
    base: DexterousConfig = field(default_factory=lambda: DexterousConfig(folds=3))


Job = tuple[Path, Path, DexterousConfig, int]
"""Data, folder for weights, settings with the seed, and fold."""
Scores = dict[str, np.ndarray]
"""(N,) by measure; NaN where a grasp does not count."""


def pose_scores(found: Estimates, grasps: Grasps) -> Scores:
    """Return the errors (N,) of the chosen hypotheses, of successful grasps only, and those of the nearest of all hypotheses."""
    good = grasps.status == 1
    rows, chosen = np.arange(len(good)), found.choice.argmax(axis=1)
    errors = {"joints_rad": np.abs(found.joints - grasps.joints[:, None]).mean(axis=2)}
    if found.position is not None and found.rotation is not None:
        errors["position_mm"] = 1000 * np.linalg.norm(found.position - grasps.hand_position[:, None], axis=2)
        errors["rotation_rad"] = angle(found.rotation, grasps.hand_rotation[:, None])
    out = {name: np.where(good, error[rows, chosen], np.nan) for name, error in errors.items()}
    return out | {f"nearest_{name}": np.where(good, error.min(axis=1), np.nan) for name, error in errors.items()}


def outcome_scores(status: np.ndarray, quality: np.ndarray, grasps: Grasps) -> Scores:
    """Return by grasp (N,) the absolute error of q, whether status is right, and its squared error."""
    known = np.isfinite(grasps.status)
    return {
        "quality": np.abs(quality - grasps.quality),
        "status": np.where(known, (status >= 0.5) == (grasps.status == 1), np.nan),
        "brier": (status - grasps.status) ** 2,
    }


def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angle (...) [rad] between rotations (..., 3, 3), which may broadcast."""
    half = np.sqrt(np.square(a - b).sum(axis=(-2, -1)) / 8)  # |A - B| = 2 sqrt 2 sin(angle / 2)
    return 2 * np.arcsin(np.clip(half, 0.0, 1.0))


def constant_estimates(grasps: Grasps, fold: np.ndarray) -> Estimates:
    """Return what can be said without looking: of the other folds the mean grasp that succeeded, the median q, the rate of success."""
    n = len(fold)
    status, quality = np.empty((2, n))
    joints, position, rotation = np.empty((n, 1, grasps.joints.shape[1])), np.empty((n, 1, 3)), np.empty((n, 1, 3, 3))
    for k in np.unique(fold):
        train, test = fold != k, fold == k
        good = train & (grasps.status == 1)
        status[test], quality[test] = np.nanmean(grasps.status[train]), np.nanmedian(grasps.quality[train])
        joints[test, 0], position[test, 0] = grasps.joints[good].mean(axis=0), grasps.hand_position[good].mean(axis=0)
        u, _, v = np.linalg.svd(grasps.hand_rotation[good].mean(axis=0))  # the rotation nearest to the mean of matrices
        rotation[test, 0] = u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
    return Estimates(
        status=status, quality=quality, joints=joints, choice=np.ones((n, 1)), position=position, rotation=rotation
    )


def run_study(config: StudyConfig, tell: Callable[[str], None]) -> dict[str, Any]:
    """Train what is not trained yet and return the figures; see `study_table`."""
    reader = open_dataset(config.data)
    grasps = read_grasps(reader, config.base.status)
    for stage in ("before", "after"):
        load_samples(reader, grasps, stage, config.base.views)  # made once, before the workers need them
    seeds = [replace(config.base, seed=config.base.seed + s) for s in range(config.seeds)]
    folds = [object_folds(grasps, base) for base in seeds]
    jobs = [
        (config.data, config.out / f"seed-{b.seed}", b, int(k))
        for b, fold in zip(seeds, folds, strict=True)
        for k in np.unique(fold)
    ]
    found = []
    for job, result in zip(jobs, _run_jobs(jobs, config.workers), strict=True):
        found.append((job[2].seed, job[3], result))
        tell(f"seed {job[2].seed}, fold {job[3] + 1}: done")
    scores: dict[str, list[Scores]] = {name: [] for name in (*VARIANTS, CONSTANT)}
    for base, fold in zip(seeds, folds, strict=True):
        for name in VARIANTS:
            parts = {k: result[name] for seed, k, result in found if seed == base.seed}
            scores[name].append(_scores(join_folds(parts, fold), grasps, fold))
        constant = constant_estimates(grasps, fold)
        scores[CONSTANT].append(pose_scores(constant, grasps) | outcome_scores(constant.status, constant.quality, grasps))
    mean = {
        name: {measure: np.mean([s[measure] for s in runs], axis=0) for measure in runs[0]} for name, runs in scores.items()
    }
    return _figures(mean, grasps, config)


def _run_jobs(jobs: list[Job], workers: int) -> Iterator[dict[str, Estimates]]:
    with LocalWorkers(workers, prepare_worker, ()) as pool:
        yield from pool.run(_fold_estimates, [(job,) for job in jobs])


def _fold_estimates(job: Job) -> dict[str, Estimates]:
    """Train every variant on one fold; return what it says of the held-out grasps."""
    data, out, config, k = job
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reader = open_dataset(data)
    grasps = read_grasps(reader, config.status)
    fold = object_folds(grasps, config)
    samples: dict[Stage, Samples] = {
        "before": load_samples(reader, grasps, "before", config.views),
        "after": load_samples(reader, grasps, "after", config.views),
    }
    trainer = FoldTrainer(reader, grasps, out, config)
    test, found, start = np.flatnonzero(fold == k), {}, None
    for name, (stage, inputs) in VARIANTS.items():
        own = replace(config, inputs=inputs)
        file = stage if inputs == INPUTS else f"{stage}-{'-'.join(inputs)}"
        net = trainer.net(samples[stage], stage, fold, k, name=file, config=own, start=start)
        start = net.state_dict() if stage == "before" else start
        found[name] = estimate(net, samples[stage], test)
    return found


def join_folds(parts: Mapping[int, Estimates], fold: np.ndarray) -> Estimates:
    """Return the estimates of all grasps (N,) from those of each fold's held-out grasps."""

    def joined(name: str) -> np.ndarray | None:
        arrays = {k: getattr(part, name) for k, part in parts.items()}
        first = next(iter(arrays.values()))
        if first is None:
            return None
        out = np.empty((len(fold), *first.shape[1:]))
        for k, array in arrays.items():
            out[fold == k] = array
        return out

    return Estimates(**{name: joined(name) for name in Estimates.__dataclass_fields__})  # type: ignore[arg-type]


def _scores(found: Estimates, grasps: Grasps, fold: np.ndarray) -> Scores:
    status = cross_calibrate(found.status[:, None], grasps.status[:, None], fold)[:, 0]
    return pose_scores(found, grasps) | outcome_scores(status, found.quality, grasps)


def _figures(scores: Mapping[str, Scores], grasps: Grasps, config: StudyConfig) -> dict[str, Any]:
    def row(values: Scores) -> dict[str, dict[str, float]]:
        return {m: asdict(cluster_mean(v, grasps.object, generator(0))) for m, v in values.items()}

    def difference(a: Scores, b: Scores) -> dict[str, dict[str, float]]:
        shared = [m for m in ("quality", "status", "brier", "joints_rad") if m in a and m in b]
        return {m: asdict(paired_difference(a[m], b[m], grasps.object, generator(0))) for m in shared}

    return {
        "grasps": len(grasps.trial),
        "objects": len(np.unique(grasps.object)),
        "succeeded": float(np.nanmean(grasps.status)),
        "status_label": config.base.status,
        "folds": config.base.folds,
        "seeds": config.seeds,
        "epochs": config.base.train.epochs,
        "hypotheses": config.base.hypotheses,
        "rows": {name: row(values) for name, values in scores.items()},
        "differences": {name: difference(scores[a], scores[b]) for name, (a, b) in DIFFERENCES.items()},
        "paper": PAPER,
    }


def study_table(figures: Mapping[str, Any]) -> Table:
    """Return the table of `run_study`'s figures, the slides' own beside it."""

    def cells(values: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
        return tuple(plain(Interval(**values[m])) if m in values else NOTHING for m in MEASURES)  # type: ignore[arg-type]

    rows = [(name, *cells(values)) for name, values in figures["rows"].items()]
    rows += [(name, *cells(values)) for name, values in figures["differences"].items()]
    for name, values in figures["paper"].items():
        rows.append((f"slides, {name.split(':')[0]}", *(f"{values[m]:.2f}" if m in values else NOTHING for m in MEASURES)))
    return Table(
        caption=(
            f"{figures['grasps']} grasps of {figures['objects']} objects, {figures['succeeded']:.0%} succeeded "
            f"({figures['status_label']}); objects held out, {figures['seeds']} seeds, 95 % intervals over objects"
        ),
        columns=("estimate", *MEASURES.values()),
        rows=tuple(rows),
        note=(
            "Pose and joints of successful grasps only: of the grasp that Grip-Net would take, and of the nearest of all that it offers. "
            "The second estimate has no pose of its own: that of the first stands."
        ),
    )
