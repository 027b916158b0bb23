"""How much does each sense add? All models, several seeds, grouped by trial and by toy; and touch's gain against camera quality.

The evidence behind docs/gentle.md; `benchmarks/modalities.py` runs it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from palpate.core.units import MM
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.data.splits import grouped_folds
from palpate.evaluation.inputs import GainCurve, PredictionTable
from palpate.evaluation.scores import Study
from palpate.recipes.outcome import OutcomeConfig, model_name, train_outcome
from palpate.recipes.outcome_data import FeatureSettings, fingers, image_features, read_rows

MODELS = (("vision", "touch", "action"), ("vision", "action"), ("vision", "touch"), ("touch", "action"), ("action",))
FULL, VISION = MODELS[0], MODELS[1]


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Size of the study."""

    data: Path
    out: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    groups: tuple[str, ...] = ("trial", "object")
    models: tuple[tuple[str, ...], ...] = MODELS
    base: OutcomeConfig
    """Training of every model; data, out, modalities, group and seed are filled in."""
    workers: int = 2


def _train(config: OutcomeConfig) -> Path:
    torch.set_num_threads(1)
    if not (config.out / "predictions.npz").exists():
        train_outcome(config, lambda line: None)
    return config.out


def cross_validations(config: StudyConfig, tell: Callable[[str], None]) -> list[PredictionTable]:
    """Run what is not done yet and return every prediction table, ablations included."""
    jobs = [
        replace(
            config.base,
            data=config.data,
            out=config.out / f"{model_name(model)}-by-{group}-seed{seed}",
            modalities=model,
            group=group,
            seed=seed,
            final=False,
            ablations=model == FULL,
            resume=True,
        )
        for group in config.groups
        for seed in config.seeds
        for model in config.models
    ]
    tables: list[PredictionTable] = []
    with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn")) as pool:
        for folder in pool.map(_train, jobs):
            tell(f"done: {folder.name}")
            tables += [PredictionTable.load(path) for path in sorted(folder.glob("*.npz"))]
    return tables


def size_error(reader: EpisodeReader, settings: FeatureSettings, folds: int = 5) -> float:
    """Return how exactly the toy's half width can be read from the camera: RMS error [m] of ridge regression, toys held out."""
    rows = read_rows(reader)
    images = ("vision", *(f"touch.{finger}" for finger in fingers(reader)))
    features = image_features(reader, np.unique(rows.position), images, settings, progress=False)["vision"][0]
    keep = rows.moment == "initial"
    x = features[keep].astype(np.float64)
    y = reader.column("truth.half_width")[rows.position[keep]]
    fold = grouped_folds(rows.object[keep], folds, 0)
    error = np.zeros(len(y))
    for k in range(folds):
        train, test = fold != k, fold == k
        scale = StandardScaler().fit(x[train])
        model = RidgeCV(alphas=(100.0, 1e3, 1e4, 1e5)).fit(scale.transform(x[train]), y[train])
        error[test] = model.predict(scale.transform(x[test])) - y[test]
    return float(np.sqrt(np.mean(error**2)))


def gain_curve(config: StudyConfig, resolutions: Sequence[int], tell: Callable[[str], None]) -> GainCurve:
    """Return what touch adds to `both` with toys held out, for cameras of several resolutions (0: the real one)."""
    reader = open_dataset(config.data)
    errors, gains = [], []
    for resolution in resolutions:
        features = replace(config.base.features, resolution=resolution)
        errors.append(size_error(reader, features))
        base = replace(config.base, features=features)
        name = f"resolution{resolution}"
        part = replace(
            config, base=base, out=config.out / name, groups=("object",), seeds=config.seeds[:1], models=(FULL, VISION)
        )
        study = Study([t for t in cross_validations(part, lambda line: None) if t.ablation == "none"])
        full, vision = (study.select(model_name(m), "object") for m in (FULL, VISION))
        gains.append(study.difference(full, vision)["both"])
        gain = gains[-1]
        tell(f"resolution {resolution or 'full'}: size error {errors[-1] / MM:.2f} mm, gain {100 * gain.value:+.1f} points")
    curve = GainCurve(
        size_error_mm=np.array(errors) / MM,
        gain=np.array([g.value for g in gains]),
        low=np.array([g.low for g in gains]),
        high=np.array([g.high for g in gains]),
        camera_error_mm=errors[0] / MM,
    )
    curve.save(config.out / "gain.npz")
    return curve
