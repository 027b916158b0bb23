"""The outcome model for hands whose touch is numbers, without an action: will this grasp hold?

The same net and training loop as `recipes/outcome.py`, with its taxel branch. What is new is `perception/taxels.py`: sensors drift
between sessions, so features are estimated deviations from the recording's own usual grasp, with or without unlabelled
calibration grasps. Tried on BioTac SP grasps (the public BTS3 set, `palpate import bts3`).
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palpate.core.errors import DataError, PalpateError, UnknownNameError
from palpate.core.randomness import generator
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.data.splits import grouped_folds
from palpate.evaluation.intervals import cluster_mean
from palpate.learning.baselines import Baseline
from palpate.learning.batches import Arrays, Batch
from palpate.learning.checkpoint import Run, load_run, save_run
from palpate.learning.loop import TrainConfig, fit, predict
from palpate.models.outcome import OutcomeNet, OutcomeNetConfig
from palpate.perception.taxels import TaxelNormaliser, draw_calibration

INPUT = "taxels.hand"
CALIBRATIONS = (0, 3, 10, -1)
"""Unlabelled grasps of the new object and pose used to re-centre; -1 stands for all of them."""
DRAWS = 3
"""Random choices of the calibration grasps that a figure averages over."""
GROUPS = ("trial", "object", "pose", "object+pose")


@dataclass(frozen=True, kw_only=True)
class TaxelConfig:
    """One training run on taxels."""

    data: Path
    out: Path
    folds: int = 5
    group: str = "object"
    seed: int = 0
    width: int = 64
    dropout: float = 0.4
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            epochs=40, batch_size=256, learning_rate=3e-3, lr_decay=0.93, weight_decay=1e-2, precision="fp32", threads=1
        )
    )


@dataclass(frozen=True, kw_only=True)
class Grasps:
    """Raw taxels of a data set."""

    taxels: np.ndarray
    """(N, P) raw readings, finger after finger."""
    stable: np.ndarray
    """(N,) 1 or 0."""
    object: np.ndarray
    pose: np.ndarray
    recording: np.ndarray
    """(N,) object in a pose: what is calibrated together."""
    fingers: int

    def take(self, rows: np.ndarray) -> "Grasps":
        """Return the chosen rows."""
        values = {name: getattr(self, name)[rows] for name in ("taxels", "stable", "object", "pose", "recording")}
        return Grasps(**values, fingers=self.fingers)


def read_grasps(reader: EpisodeReader) -> Grasps:
    """Read the taxels of every labelled grasp.

    Raises:
        DataError: the data set has no taxels, or a grasp lacks a finger.
    """
    names = sorted(name for name, spec in reader.streams.items() if spec.kind == "taxels")
    if not names:
        raise DataError(f"{reader.root} has no taxel streams; this recipe is for hands whose touch is numbers")
    rows = []
    for position in range(len(reader)):
        streams = reader.episode(position, streams=names).streams
        if len(streams) < len(names):
            raise DataError(
                f"grasp {reader.indices[position]} of {reader.root} lacks {sorted(set(names) - set(streams))}; leave it out"
            )
        rows.append(np.concatenate([streams[name].values[0].ravel() for name in names]))
    pose, thing = (reader.column(f"group.{kind}").astype(str) for kind in ("pose", "object"))
    known = np.isfinite(reader.column("label.stable"))
    grasps = Grasps(
        taxels=np.array(rows, float),
        stable=reader.column("label.stable"),
        object=thing,
        pose=pose,
        recording=np.char.add(np.char.add(pose, "|"), thing),
        fingers=len(names),
    )
    return grasps.take(np.flatnonzero(known))


class AugmentedTaxels:
    """Training samples that are augmented anew in each epoch: drawn calibration, masked fingers."""

    def __init__(self, grasps: Grasps, normaliser: TaxelNormaliser) -> None:
        """Serve these grasps."""
        self._grasps, self._normaliser = grasps, normaliser

    def __len__(self) -> int:
        """Return the number of grasps."""
        return len(self._grasps.stable)

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """Yield every grasp once."""
        features = self._normaliser.augment(self._grasps.taxels, self._grasps.recording, rng)
        labels = self._grasps.stable[:, None].astype(np.float32)
        order = rng.permutation(len(features))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield Batch(inputs={INPUT: features[rows]}, labels=labels[rows])


class TaxelModel:
    """A net with its normaliser: probability of a stable grasp from raw taxels."""

    def __init__(self, net: OutcomeNet, normaliser: TaxelNormaliser) -> None:
        """Join the two."""
        self.net, self.normaliser = net, normaliser

    def probability(self, taxels: np.ndarray, calibration: np.ndarray | None = None) -> np.ndarray:
        """Return (N,) for grasps (N, P) of one recording; `calibration` (K, P) are unlabelled grasps of it."""
        features = self.normaliser.transform(taxels, calibration)
        return predict(self.net, Arrays(inputs={INPUT: features}, labels=np.full((len(features), 1), np.nan)))[:, 0]


def train_model(grasps: Grasps, config: TaxelConfig, seed: int) -> TaxelModel:
    """Fit normaliser and net on these grasps."""
    normaliser = TaxelNormaliser.fit(grasps.taxels, grasps.recording, grasps.pose, grasps.stable, fingers=grasps.fingers)
    torch.manual_seed(seed)
    net = OutcomeNetConfig(
        inputs=(INPUT,), outcomes=("stable",), taxel_dim=normaliser.dimension, width=config.width, dropout=config.dropout
    ).build()
    schedule = TrainConfig(**{**asdict(config.train), "seed": seed})
    fit(net, AugmentedTaxels(grasps, normaliser), schedule, progress=False)
    return TaxelModel(net, normaliser)


Predictor = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


def baseline(name: str, grasps: Grasps, *, centred: bool) -> Predictor:
    """Return a plain baseline on raw taxels, or on taxels centred on their own recording."""
    mean = grasps.taxels.mean(axis=0)
    x = grasps.taxels
    if centred:
        x = x.copy()
        for recording in np.unique(grasps.recording):
            rows = grasps.recording == recording
            x[rows] -= x[rows].mean(axis=0)
    model = Baseline("forest" if name == "forest" else "logistic").fit(x, grasps.stable)

    def predictor(taxels: np.ndarray, calibration: np.ndarray | None) -> np.ndarray:
        if not centred:
            return model.probability(taxels)
        return model.probability(taxels - (mean if calibration is None else calibration.mean(axis=0)))

    return predictor


def judge(predictor: Predictor, grasps: Grasps, k: int, seed: int) -> np.ndarray:
    """Return (N,) whether each grasp is predicted right, averaged over draws; NaN where it always served for calibration.

    The `k` calibration grasps of a recording are unlabelled and not scored; with -1 all take part and all are scored.
    """
    right = np.zeros(len(grasps.stable))
    scored = np.zeros(len(grasps.stable))
    for draw in range(DRAWS if k > 0 else 1):
        chosen = draw_calibration(grasps.recording, k if k > 0 else 0, generator(seed, draw)) if k > 0 else {}
        for recording in np.unique(grasps.recording):
            rows = np.flatnonzero(grasps.recording == recording)
            calibration = None if k == 0 else grasps.taxels[rows if k < 0 else chosen[str(recording)]]
            test = np.setdiff1d(rows, chosen[str(recording)]) if k > 0 else rows
            if len(test):
                guess = predictor(grasps.taxels[test], calibration) > 0.5
                right[test] += guess == (grasps.stable[test] > 0.5)
                scored[test] += 1
    return np.where(scored > 0, right / np.maximum(scored, 1), np.nan)


def splits(grasps: Grasps, config: TaxelConfig) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield training and test rows. `object+pose` holds out objects and the pose together: everything is new."""
    if config.group not in GROUPS:
        raise UnknownNameError("group", config.group, GROUPS)
    everything = np.arange(len(grasps.stable))
    if config.group == "trial":
        fold = grouped_folds(everything, config.folds, config.seed)
        yield from ((np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(config.folds))
        return
    poses = np.unique(grasps.pose) if "pose" in config.group else [None]
    if len(poses) < 2 and "pose" in config.group:
        raise PalpateError("leaving a pose out needs at least 2 poses in the data; import more files")
    n = min(config.folds, len(np.unique(grasps.object)))
    fold = grouped_folds(grasps.object, n, config.seed) if "object" in config.group else np.zeros(len(everything), int)
    for pose in poses:
        for k in np.unique(fold):
            new_object = fold == k if "object" in config.group else np.ones(len(fold), bool)
            new_pose = grasps.pose == pose if pose is not None else np.ones(len(fold), bool)
            train = np.ones(len(fold), bool)
            if "object" in config.group:
                train &= ~new_object
            if pose is not None:
                train &= ~new_pose
            yield np.flatnonzero(train), np.flatnonzero(new_object & new_pose)


def summary(right: np.ndarray, grasps: Grasps) -> dict[str, Any]:
    """Return accuracy, its interval over objects, and the spread of objects."""
    known = np.isfinite(right)
    interval = cluster_mean(right[known], grasps.object[known], generator(0))
    each = np.array([right[known & (grasps.object == name)].mean() for name in np.unique(grasps.object[known])])
    return {
        "accuracy": interval.value,
        "interval": [interval.low, interval.high],
        "n": int(known.sum()),
        "objects": len(each),
        "spread": float(each.std()),
        "worst_object": float(each.min()),
        "by_pose": {str(p): float(right[known & (grasps.pose == p)].mean()) for p in np.unique(grasps.pose[known])},
    }


def train_taxels(config: TaxelConfig, tell: Callable[[str], None]) -> dict[str, Any]:
    """Cross-validate beside the baselines, train the final model, write the run; return the table."""
    if (config.out / "run.json").exists():
        raise PalpateError(f"{config.out} holds a finished run; choose another --out")
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    grasps = read_grasps(open_dataset(config.data))
    names = ("palpate", "logistic", "forest", "logistic, centred", "forest, centred")
    right = {(name, k): np.full(len(grasps.stable), np.nan) for name in names for k in CALIBRATIONS}
    parts = list(splits(grasps, config)) if config.folds else []
    for number, (train, test) in enumerate(parts):
        seen, new = grasps.take(train), grasps.take(test)
        model = train_model(seen, config, config.seed * 100 + number)
        predictors: dict[str, Predictor] = {"palpate": model.probability}
        for name in names[1:]:
            predictors[name] = baseline(name.split(",")[0], seen, centred="centred" in name)
        for name, predictor in predictors.items():
            for k in CALIBRATIONS:
                if name in ("logistic", "forest") and k != 0:
                    continue
                right[name, k][test] = judge(predictor, new, k, config.seed)
        both = [np.nanmean(right["palpate", k][test]) for k in (0, 10)]
        tell(f"  part {number + 1}/{len(parts)}: {both[0]:.3f} without calibration, {both[1]:.3f} with ten grasps")
    rows = {f"{name}|{k}": summary(values, grasps) for (name, k), values in right.items() if np.isfinite(values).any()}
    final = train_model(grasps, config, config.seed)
    table = {"group": config.group, "folds": len(parts), "seed": config.seed, "rows": rows}
    extra = {
        "recipe": "taxels",
        "normaliser": final.normaliser.to_dict(),
        "data": str(config.data.resolve()),
        "seed": config.seed,
    }
    run = Run(
        net=final.net.config.to_dict(), train=asdict(config.train), metrics=table, weights=final.net.state_dict(), extra=extra
    )
    save_run(config.out, run)
    return table


def report_text(table: dict[str, Any]) -> str:
    """Return the table of a run in plain text."""
    words = {"0": "K = 0", "3": "K = 3", "10": "K = 10", "-1": "K = all"}
    lines = [f"held out: {table['group']}; accuracy ± spread over objects [95 % interval over objects]"]
    for key, row in table["rows"].items():
        name, _, k = key.rpartition("|")
        low, high = row["interval"]
        poses = ", ".join(f"{p} {v:.3f}" for p, v in row["by_pose"].items())
        lines.append(f"  {name:18s} {words[k]:8s} {row['accuracy']:.3f} ± {row['spread']:.3f} [{low:.3f}, {high:.3f}]  {poses}")
    return "\n".join(lines)


def evaluate_taxels(folder: Path, data: Path, k: int, seed: int) -> dict[str, Any]:
    """Score a run on a data set, with `k` unlabelled calibration grasps of each object and pose (-1: all)."""
    if k < -1:
        raise PalpateError(f"--calibrate {k}: give 0 or more grasps, or -1 for all")
    run = load_run(folder)
    net = OutcomeNetConfig.from_dict(run.net).build()
    run.fill(net)
    model = TaxelModel(net.eval(), TaxelNormaliser.from_dict(run.extra["normaliser"]))
    grasps = read_grasps(open_dataset(data))
    return {"calibrate": "all" if k < 0 else k, **summary(judge(model.probability, grasps, k, seed), grasps)}
