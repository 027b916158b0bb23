"""Status-Net on real touch: the BioTac SP grasps of BTS3, three fingers, no picture and no joint angles.

The dexterous net with touch as its only input: the touch encoder tied over fingers, the fusion and the status head. What drift makes
of the readings, and how K unlabelled grasps of the new recording correct it, is the same as for the outcome model of
`recipes/taxel_outcome.py`, and so are folds and judgement, so that the two stand side by side.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palpate.core.errors import DataError
from palpate.core.randomness import generator
from palpate.data.reader import open_dataset
from palpate.evaluation.intervals import cluster_mean, paired_difference
from palpate.learning.batches import Batch
from palpate.learning.loop import TrainConfig, fit, run_net
from palpate.models.dexterous import DexterousNet, DexterousNetConfig
from palpate.models.dexterous_loss import GraspObjective
from palpate.perception.taxels import TaxelNormaliser
from palpate.recipes.taxel_outcome import Grasps, Predictor, TaxelConfig, judge, read_grasps, splits, train_model

FINGERS = ("ff", "mf", "th")
CALIBRATIONS = (0, 10)
"""Unlabelled grasps of the new object and pose that re-centre the sensors."""
TRAIN = TrainConfig(
    epochs=30, batch_size=256, learning_rate=2e-3, lr_decay=0.93, weight_decay=0.02, precision="fp32", threads=1
)
NET = DexterousNetConfig(
    joint_low=(0.0,), joint_high=(1.0,), inputs=("touch",), stage="after", fingers=FINGERS, taxels=(24, 1), width=64, layers=1,
    dropout=0.3, hypotheses=1,
)  # fmt: skip


class TaxelSource:
    """Features of `TaxelNormaliser` as touch by finger; a finger that it does not trust is absent."""

    def __init__(self, features: np.ndarray) -> None:
        """Serve features (N, fingers * taxels + fingers + 1), in order."""
        self._features = features

    def __len__(self) -> int:
        """Return N."""
        return len(self._features)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the samples at these indices, of unknown status."""
        return _batch(self._features[indices], np.full(len(indices), np.nan))


class AugmentedSource:
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
        order = rng.permutation(len(features))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield _batch(features[rows], self._grasps.stable[rows])


def _batch(features: np.ndarray, status: np.ndarray) -> Batch:
    n, per = NET.taxels
    unknown = np.full(len(status), np.nan, np.float32)
    return Batch(
        inputs={f"touch.{f}": features[:, i * n : (i + 1) * n].reshape(-1, n, per) for i, f in enumerate(FINGERS)},
        presence={f"touch.{f}": features[:, len(FINGERS) * n + i] > 0.5 for i, f in enumerate(FINGERS)},
        labels=status[:, None].astype(np.float32),
        targets={"quality": unknown, "joints": unknown[:, None]},
    )


def train_status(grasps: Grasps, seed: int) -> Predictor:
    """Fit normaliser and net; return the predictor of (N,) probabilities from raw taxels and calibration grasps."""
    normaliser = TaxelNormaliser.fit(grasps.taxels, grasps.recording, grasps.pose, grasps.stable, fingers=grasps.fingers)
    torch.manual_seed(seed)
    net = DexterousNet(NET)
    fit(net, AugmentedSource(grasps, normaliser), replace(TRAIN, seed=seed), objective=GraspObjective(), progress=False)

    def predictor(taxels: np.ndarray, calibration: np.ndarray | None) -> np.ndarray:
        outputs = run_net(net, TaxelSource(normaliser.transform(taxels, calibration)), precision="fp32")
        return torch.sigmoid(outputs["status"]).numpy()

    return predictor


def bts3_figures(
    data: Path, seeds: int, tell: Callable[[str], None], *, group: str = "object", folds: int = 5
) -> dict[str, Any]:
    """Return accuracy with intervals over objects of Status-Net and of the outcome model, and their paired difference.

    Args:
        data: what `palpate import bts3` made.
        seeds: seeds of nets; folds are those of seed 0, as in the outcome model's own table.
        tell: told after each part.
        group: what is held out, as in `recipes/taxel_outcome.py`.
        folds: number of folds of objects.

    Raises:
        DataError: the grasps have no three fingers of 24 taxels.
    """
    grasps = read_grasps(open_dataset(data))
    if grasps.fingers != len(FINGERS) or grasps.taxels.shape[1] != len(FINGERS) * NET.taxels[0]:
        raise DataError(f"{data}: {grasps.fingers} fingers, {grasps.taxels.shape[1]} taxels; BTS3 has 3 fingers of 24")
    config = TaxelConfig(data=data, out=data, group=group, folds=folds)
    parts = list(splits(grasps, config))
    names: tuple[str, ...] = ("Status-Net", "outcome model")
    right = {(name, k): np.full((seeds, len(grasps.stable)), np.nan) for name in names for k in CALIBRATIONS}
    for seed in range(seeds):
        for number, (train, test) in enumerate(parts):
            seen, new = grasps.take(train), grasps.take(test)
            own = seed * 100 + number
            predictors: tuple[Predictor, ...] = (train_status(seen, own), train_model(seen, config, own).probability)
            models: dict[str, Predictor] = dict(zip(names, predictors, strict=True))
            for (name, k), values in right.items():
                values[seed, test] = judge(models[name], new, k, 0)
            tell(f"  seed {seed}, part {number + 1}/{len(parts)}: " + _line({key: v[seed, test] for key, v in right.items()}))
    mean = {key: values.mean(axis=0) for key, values in right.items()}
    rows = {f"{name}|{k}": vars(cluster_mean(v, grasps.object, generator(0))) for (name, k), v in mean.items()}
    gaps = {
        str(k): vars(paired_difference(mean[names[0], k], mean[names[1], k], grasps.object, generator(0))) for k in CALIBRATIONS
    }
    return {"group": group, "folds": folds, "seeds": seeds, "grasps": len(grasps.stable), "rows": rows, "differences": gaps}


def _line(right: Mapping[tuple[str, int], np.ndarray]) -> str:
    return ", ".join(f"{name} K = {k} {np.nanmean(values):.3f}" for (name, k), values in right.items())


def bts3_text(figures: Mapping[str, Any]) -> str:
    """Return the figures in plain text."""
    lines = [f"BTS3, {figures['grasps']} grasps, held out: {figures['group']}; accuracy [95 % interval over objects]"]
    for key, row in figures["rows"].items():
        name, _, k = key.partition("|")
        lines.append(f"  {name:14s} K = {k:3s} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")
    for k, row in figures["differences"].items():
        lines.append(f"  difference     K = {k:3s} {row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]")
    return "\n".join(lines)
