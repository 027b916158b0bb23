"""Two-stage training of the dexterous networks (Sim2real Multimodal Learning for Dexterous Gripper, Section 2.2).

Stage `before`: the picture before the hand comes in, alone. Loss: pose + q + status + joints. The encoders of touch and joint angles
are disabled, neither run nor trained.

Stage `after`: the picture at contact, joint angles and touch. Loss: q + status + joints. The pose head is disabled, neither run nor
trained; all else goes on from the weights of stage `before`. Since that moves what the pose head would see, a run keeps both sets of
weights: the first estimate is made by the first, the second by the second. The pose of the second estimate is that of the first, as
in the slides' table, which prints one figure for both.

In both stages pose and joints are learnt from successful grasps only: a failed grasp is not an example to imitate. Status and q are
learnt from all.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from sklearn.cluster import KMeans

from palpate.core.errors import PalpateError, RunError, UnknownNameError
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.data.splits import grouped_folds
from palpate.learning.calibration import fit_calibrators
from palpate.learning.checkpoint import Run, load_run, load_state, save_run, save_state
from palpate.learning.loop import TrainConfig, fit, run_net
from palpate.models.dexterous import INPUTS, POSITION_SCALE, DexterousNet, DexterousNetConfig, Stage
from palpate.models.dexterous_loss import GraspObjective
from palpate.recipes.dexterous_data import (
    Grasps,
    Samples,
    StatusLabel,
    ViewSettings,
    load_samples,
    read_grasps,
    taxel_shape,
)
from palpate.recipes.dexterous_model import Estimates, decode, weights_of
from palpate.worlds.shadow import FINGERS, RANGES

FINAL_SEED = 10_000
"""Added to the seed of the nets that are trained on all data."""
STAGES: dict[str, tuple[Stage, ...]] = {"before": ("before",), "after": ("after",), "both": ("before", "after")}


@dataclass(frozen=True, kw_only=True)
class DexterousConfig:
    """How to train. The slides print no settings; these are ours."""

    status: StatusLabel = "stable"
    """What Status-Net learns: `stable`, the object stayed in the hand when lifted; `status`, the slides' q > 0.5 with two fingers."""
    inputs: tuple[str, ...] = INPUTS
    """Any of `palpate.models.dexterous.INPUTS`: fewer for an ablation."""
    folds: int = 5
    """Folds of whole objects in which predictions are held out, also for the calibration of status; 0 for none."""
    seed: int = 0
    views: ViewSettings = field(default_factory=ViewSettings)
    image_size: int = 96
    """Side of the pictures that the net sees, a little less than that of the views [px]."""
    width: int = 128
    layers: int = 2
    dropout: float = 0.1
    drop_rate: float = 0.1
    """Chance that a picture, joint angles or a finger's touch is called absent from a training sample."""
    hypotheses: int = 5
    """Grasps that Grip-Net offers; 1 is the slides."""
    objective: GraspObjective = field(default_factory=GraspObjective)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(epochs=20, batch_size=64, learning_rate=1e-3, lr_decay=0.9, weight_decay=0.02)
    )
    resume: bool = False


def net_config(config: DexterousConfig, stage: Stage, taxels: tuple[int, int]) -> DexterousNetConfig:
    """Return the net of a stage."""
    return DexterousNetConfig(
        joint_low=tuple(RANGES[:, 0].tolist()),
        joint_high=tuple(RANGES[:, 1].tolist()),
        inputs=config.inputs,
        stage=stage,
        fingers=FINGERS,
        taxels=taxels,
        image_size=config.image_size,
        width=config.width,
        layers=config.layers,
        dropout=config.dropout,
        hypotheses=config.hypotheses,
    )


def train_stage(  # noqa: PLR0917 - what, on what, how, and where from
    shape: DexterousNetConfig,
    samples: Samples,
    rows: np.ndarray,
    config: DexterousConfig,
    seed: int,
    start: Mapping[str, torch.Tensor] | None = None,
) -> DexterousNet:
    """Train a net on the samples with these numbers (K,), from the weights of an earlier stage if they are given."""
    data = replace(samples.take(rows, shape.arrays), drop_rate=config.drop_rate)
    torch.manual_seed(seed)
    net = DexterousNet(shape)
    if start is None:
        _start_hypotheses(net, {name: array[rows] for name, array in samples.targets.items()}, seed)
    else:
        net.load_state_dict({name: tensor for name, tensor in start.items() if name in net.state_dict()}, strict=False)
    numbers = {name: array[rows] for name, array in samples.numbers.items()}
    presence = {name: array[rows] for name, array in samples.presence.items()}
    net.fit_normalisation(numbers, presence)
    fit(net, data, replace(config.train, seed=seed), objective=config.objective, progress=False)
    return net


def _start_hypotheses(net: DexterousNet, examples: Mapping[str, np.ndarray], seed: int) -> None:
    """Let each hypothesis start at the middle of one cluster of the grasps to imitate."""
    good = np.isfinite(examples["joints"]).all(axis=1)
    m = net.config.hypotheses
    if good.sum() < m:
        return
    position, rotation, joints = (examples[name][good].astype(float) for name in ("position", "rotation", "joints"))
    points = np.concatenate([position / POSITION_SCALE, rotation.reshape(len(rotation), 9), joints], axis=1)
    centres = KMeans(m, random_state=seed).fit(points).cluster_centers_
    net.start_at(centres[:, :3] * POSITION_SCALE, centres[:, 3:12].reshape(m, 3, 3), centres[:, 12:])


def estimate(net: DexterousNet, samples: Samples, rows: np.ndarray) -> Estimates:
    """Return what a net says of the samples with these numbers (K,)."""
    return decode(run_net(net, samples.take(rows, net.config.arrays), batch_size=256))


def object_folds(grasps: Grasps, config: DexterousConfig) -> np.ndarray:
    """Return (N,) the fold in which each grasp is held out, all grasps of an object together."""
    n = min(config.folds, len(np.unique(grasps.object)))
    if n < 2:
        raise PalpateError(
            f"--folds {config.folds}: at least 2 objects are needed, the data has {len(np.unique(grasps.object))}"
        )
    return grouped_folds(grasps.object, n, config.seed)


class FoldTrainer:
    """Trains the nets of the folds, or reads those that an interrupted run has already."""

    def __init__(self, reader: EpisodeReader, grasps: Grasps, out: Path, config: DexterousConfig) -> None:
        """Prepare to keep the weights in OUT/folds."""
        self.grasps, self.config, self.folder = grasps, config, Path(out) / "folds"
        self.taxels = taxel_shape(reader)
        free = ("resume", "inputs")  # what a run and its resumption may differ in; the inputs of a net are told with it
        settings = {name: value for name, value in asdict(config).items() if name not in free}
        self._about = json.loads(json.dumps({**settings, "data": reader.fingerprint()}))

    def net(
        self, samples: Samples, stage: Stage, fold: np.ndarray, k: int, *, name: str, config: DexterousConfig | None = None,
        start: Mapping[str, torch.Tensor] | None = None,
    ) -> DexterousNet:  # fmt: skip
        """Return the net that never saw the objects of fold `k` of (N,) `fold`, named `name` on disk."""
        config = config or self.config
        shape, path = net_config(config, stage, self.taxels), self.folder / f"{name}-{k}.safetensors"
        about = {**self._about, "net": json.loads(json.dumps(shape.to_dict()))}
        if path.exists():
            weights, notes = load_state(path)
            differ = sorted(key for key, value in about.items() if notes.get(key) != value)
            if differ:
                raise RunError(f"{path} was trained with other {', '.join(differ)}; choose another --out, or restore them")
            net = DexterousNet(shape)
            net.load_state_dict(weights)
            return net.eval()
        net = train_stage(shape, samples, np.flatnonzero(fold != k), config, config.seed * 100 + k, start)
        save_state(path, net.state_dict(), about)
        return net


def train_dexterous(
    data: Path,
    out: Path,
    config: DexterousConfig | None = None,
    *,
    stage: Literal["before", "after", "both"] = "both",
    tell: Callable[[str], None] = print,
) -> Path:
    """Cross-validate by object, calibrate status on the held-out predictions, train on all data; write the run.

    `after` alone goes on from the `before` weights of a run that OUT holds already.

    Raises:
        PalpateError: unusable data or settings; the message names them.
    """
    config = config or DexterousConfig()
    if stage not in STAGES:
        raise UnknownNameError("stage", stage, STAGES)
    earlier = _earlier(Path(out), stage, config)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    reader = open_dataset(data)
    grasps = read_grasps(reader, config.status)
    trainer = FoldTrainer(reader, grasps, out, config)
    tell(
        f"{len(grasps.trial)} grasps of {len(np.unique(grasps.object))} objects, {np.mean(grasps.status == 1):.0%} {config.status}"
    )
    fold = object_folds(grasps, config) if config.folds else None
    nets, weights = dict(earlier.net) if earlier else {}, dict(earlier.weights) if earlier else {}
    metrics, platt = (dict(earlier.metrics), dict(earlier.extra["platt"])) if earlier else ({}, {})
    everything = np.arange(len(grasps.trial))
    samples: dict[Stage, Samples] = {s: load_samples(reader, grasps, s, config.views) for s in STAGES["both"]}
    for current in STAGES[stage]:
        if fold is not None:
            status, quality = _held_out(trainer, samples, current, fold)
            platt[current] = fit_calibrators(status[:, None], grasps.status[:, None])[0]
            metrics[current] = _figures(grasps, status, quality)
            tell(f"{current}: " + ", ".join(f"{name} {value:.3f}" for name, value in metrics[current].items()))
        start = weights_of(weights, "before") if current == "after" else None
        shape = net_config(config, current, trainer.taxels)
        net = train_stage(shape, samples[current], everything, config, config.seed + FINAL_SEED, start)
        nets[current] = net.config.to_dict()
        weights |= {f"{current}.{name}": tensor for name, tensor in net.state_dict().items()}
    extra = {
        "recipe": "dexterous",
        "data": str(Path(data).resolve()),
        "views": asdict(config.views),
        "status": config.status,
        "platt": platt,
        "seed": config.seed,
        "folds": {} if fold is None else {str(o): int(fold[grasps.object == o][0]) for o in np.unique(grasps.object)},
    }
    save_run(Path(out), Run(net=nets, train=asdict(config.train), metrics=metrics, weights=weights, extra=extra))
    return Path(out)


def _earlier(out: Path, stage: str, config: DexterousConfig) -> Run | None:
    """Return the run to go on from: that of the stage before."""
    if stage == "after":
        run = load_run(out)
        if "before" not in run.net:
            raise RunError(f"{out} has no weights of stage 'before'; train --stage before first, or --stage both")
        return run
    if (out / "run.json").exists() and not config.resume:
        raise RunError(f"{out} holds a finished run; choose another --out, or --resume to train what is missing")
    return None


def _held_out(
    trainer: FoldTrainer, samples: Mapping[Stage, Samples], stage: Stage, fold: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return probability of status and q (N,) of each grasp, from the net that never saw its object."""
    status, quality = np.full((2, len(fold)), np.nan)
    for k in np.unique(fold):
        net = trainer.net(samples["before"], "before", fold, int(k), name="before")
        if stage == "after":
            net = trainer.net(samples["after"], "after", fold, int(k), name="after", start=net.state_dict())
        test = np.flatnonzero(fold == k)
        found = estimate(net, samples[stage], test)
        status[test], quality[test] = found.status, found.quality
    return status, quality


def _figures(grasps: Grasps, status: np.ndarray, quality: np.ndarray) -> dict[str, float]:
    known = np.isfinite(grasps.status)
    return {
        "status_accuracy": float(np.mean((status >= 0.5)[known] == (grasps.status[known] == 1))),
        "quality_error": float(np.nanmean(np.abs(quality - grasps.quality))),
    }
