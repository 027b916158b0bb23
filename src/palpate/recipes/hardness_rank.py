"""Ranks of hardness and roughness from a touch video: an ordinal regression on features of the press, as a run folder.

The second way that `palpate train hardness` knows, for data whose labels are ranks (PhysiCLeAR). `recipes/hardness_real.py` has the
cross-validation, the controls, and what the features are.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palpate.core.errors import DataError
from palpate.data.external.video import PAD
from palpate.data.reader import EpisodeReader
from palpate.learning.checkpoint import Run, save_run
from palpate.learning.ordinal import OrdinalModel, fit_ordinal
from palpate.recipes.hardness_real import LABELS, PressTable, RankRow, choose, rank_row, read_presses, spearman
from palpate.recipes.hardness_touch import PressTouch
from palpate.recipes.touch_backbone import TouchBackbone, sensor_of

CONFIDENCE = 0.9
"""Of the interval of ranks."""
_PARTS = ("classes", "mean", "scale", "weights", "cuts", "columns")


def train_ranks(reader: EpisodeReader, out: Path, seed: int, backbone: TouchBackbone | None = None) -> dict[str, Any]:
    """Cross-validate by object, fit on everything, write the run, and return its table."""
    touch = None if backbone is None else PressTouch(backbone=backbone, sensor=sensor_of(reader, PAD))
    table = read_presses(reader, touch)
    weights: dict[str, torch.Tensor] = {}
    rows: dict[str, Any] = {}
    for label in LABELS:
        truth = table.labels[label]
        known = ~np.isnan(truth)
        if len(np.unique(truth[known])) < 2:
            continue
        row = rank_row(label, "press", table.press, truth, table.objects, seeds=(seed,), encoder=table.encoder)
        rows[label] = _figures(row)
        choice = choose(table.press[known], truth[known], table.objects[known], seed, table.encoder)
        model = fit_ordinal(table.press[known][:, choice.columns], truth[known], penalty=choice.penalty)
        parts = {**vars(model), "columns": choice.columns}
        weights |= {f"{label}/{part}": torch.from_numpy(np.array(parts[part], float)) for part in _PARTS}
    if not rows:
        raise DataError(f"{reader.root} has fewer than two different ranks of each of {', '.join(LABELS)}")
    found = {"label": "rank", "held_out": rows, "presses": len(table.objects), "left_out": list(table.left_out)}
    if touch is not None:
        found["touch_encoder"] = touch.words()
    extra = {
        "recipe": "hardness",
        "label": "hardness_rank",
        "touch_encoder": None if touch is None else touch.about(),
        "data": str(reader.root.resolve()),
    }
    save_run(out, Run(net={"labels": list(rows)}, train={"seed": seed}, metrics=found, weights=weights, extra=extra))
    return found


def _figures(row: RankRow) -> dict[str, Any]:
    """Return the cross-validated figures of one label."""
    return {
        "spearman": row.spearman.value,
        "spearman_interval": [row.spearman.low, row.spearman.high],
        "accuracy": row.accuracy.value,
        "majority": row.majority,
        "n": row.objects,
        "clips": row.clips,
    }


def load_ranks(run: Run) -> dict[str, tuple[OrdinalModel, np.ndarray]]:
    """Return model and used columns (D,) bool of each label of a saved run."""
    out = {}
    for label in run.net["labels"]:
        parts = {part: run.weights[f"{label}/{part}"].numpy() for part in _PARTS}
        columns = parts.pop("columns") > 0.5
        out[label] = (OrdinalModel(**parts), columns)
    return out


def evaluate_ranks(
    run: Run, reader: EpisodeReader, extras: Collection[str], optics: Path | None, backbone: TouchBackbone | None = None
) -> dict[str, Any]:
    """Judge every press of a data set. Ranks need neither extras nor optics."""
    del extras, optics
    touch = None if backbone is None else PressTouch(backbone=backbone, sensor=sensor_of(reader, PAD))
    table = read_presses(reader, touch)
    models = load_ranks(run)
    out: dict[str, Any] = {"label": "rank", "confidence": CONFIDENCE, "left_out": list(table.left_out)}
    rows: list[dict[str, Any]] = [{"object": str(name)} for name in table.objects]
    for label, (model, columns) in models.items():
        probability = model.probability(table.press[:, columns])
        expected = probability @ model.classes
        below = np.cumsum(probability, axis=1)
        low = model.classes[(below > (1 - CONFIDENCE) / 2).argmax(axis=1)]
        high = model.classes[(below >= 1 - (1 - CONFIDENCE) / 2 - 1e-12).argmax(axis=1)]
        for i, row in enumerate(rows):
            truth = table.labels[label][i]
            row[label.removesuffix("_rank")] = {
                "rank": float(model.classes[probability[i].argmax()]),
                "expected": float(expected[i]),
                "interval": [float(low[i]), float(high[i])],
                "label": None if np.isnan(truth) else float(truth),
            }
        out[label.removesuffix("_rank")] = score_ranks(table, label, model, columns)
    first = out["hardness"] if "hardness" in out else out["roughness"]
    return {**out, **{key: first[key] for key in ("spearman", "mae", "accuracy", "n")}, "presses": rows}


def score_ranks(table: PressTable, label: str, model: OrdinalModel, columns: np.ndarray) -> dict[str, Any]:
    """Return the figures over labelled objects: spearman, mae, accuracy, n; None where nothing is known."""
    truth = table.labels[label]
    names = np.unique(table.objects[~np.isnan(truth)])
    if not len(names):
        return {"spearman": None, "mae": None, "accuracy": None, "n": 0}
    clips = [table.objects == name for name in names]
    actual = np.array([np.nanmean(truth[chosen]) for chosen in clips])
    probability = np.stack([model.probability(table.press[chosen][:, columns]).mean(axis=0) for chosen in clips])
    scores = np.array([model.score(table.press[chosen][:, columns]).mean() for chosen in clips])
    order = spearman(scores, actual)
    return {
        "spearman": None if np.isnan(order) else order,
        "mae": float(np.abs(probability @ model.classes - actual).mean()),
        "accuracy": float((model.classes[probability.argmax(axis=1)] == actual).mean()),
        "n": len(names),
    }
