"""The whole of More Than a Feeling, step by step and resumable: collect, train, calibrate, grasp, collect on-policy, analyse.

`palpate demo regrasp` is a small run of it, `benchmarks/regrasp.py` the full one.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from palpate.data.reader import open_dataset
from palpate.evaluation.inputs import PredictionTable
from palpate.evaluation.material_regrasp import RegraspResults
from palpate.learning.loop import TrainConfig
from palpate.planning.grip import GripObjective, GripPolicy
from palpate.recipes.collection import CollectConfig, collect
from palpate.recipes.outcome import (
    FINAL_SEED,
    OutcomeConfig,
    fingers,
    inputs_of,
    load_samples,
    model_name,
    predict,
    prediction_table,
    train_missing,
    train_net,
)
from palpate.recipes.outcome_data import FeatureSettings, image_features
from palpate.recipes.regrasp_analysis import analyse
from palpate.recipes.regrasp_data import regrasp_rows
from palpate.recipes.regrasp_task import RegraspTask
from palpate.recipes.regrasping import MAX_LOOKS, RegraspGraspConfig, RegraspPredictor, collect_with, grasp
from palpate.recipes.workers import LocalWorkers, prepare_worker
from palpate.worlds.gripper import action_space
from palpate.worlds.regrasp import RegraspConfig

MODELS = (("vision", "action"), ("touch", "action"), ("vision", "touch", "action"), ("vision", "touch"))
"""Table I, in its order; chance is the fifth row."""
PICTURES = (MODELS[0], MODELS[2])
"""Trained once more with vision as a picture alone, as the paper's models see it: without the place of the object from depth."""
FULL, VISION = "vision+touch+action", "vision+action"


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """How large a study."""

    out: Path
    trials: int = 10_000
    seeds: int = 3
    """Training seeds of Table I."""
    folds: int = 3
    grasps: int = 10
    """Closed-loop trials an object and policy."""
    sets: tuple[str, ...] = ("easy", "hard")
    on_policy: int = 1000
    """Trials collected with the full model, on which it and the vision model are then trained again; 0 for none."""
    epochs: int = 4
    image_size: int = 160
    max_looks: int = MAX_LOOKS
    analysed: int = 44
    """Grasps of unseen (easy) objects in which the model is asked about force and height."""
    seed: int = 0
    workers: int = 2
    resume: bool = True


def run_study(config: StudyConfig, tell: Callable[[str], None]) -> RegraspResults:
    """Run what is not done yet and return what was found."""
    clock = perf_counter()

    def lap(what: str) -> None:
        nonlocal clock
        tell(f"[{perf_counter() - clock:.0f} s] {what}")
        clock = perf_counter()

    data, common = config.out / "data", {"workers": config.workers, "resume": config.resume}
    collect(CollectConfig(out=data, task=RegraspTask(), trials=config.trials, seed=config.seed, **common))
    lap(f"{config.trials} trials")
    _features(data, config)
    lap("image features")
    seeds = range(config.seeds)
    trainings = [_training(config, model, seed) for seed in seeds for model in MODELS]
    trainings += [_training(config, model, seed, numbers=False) for seed in seeds for model in PICTURES]
    _train_all(trainings, config.workers, tell)
    lap("models, cross-validated by object")
    loops = {}
    full, vision = (str(_training(config, m, 0).out) for m in (MODELS[2], MODELS[0]))
    policies = {FULL: full, VISION: vision, "cylinder": "cylinder"}
    for objects in config.sets:
        for name, policy in policies.items():
            loops[f"{name} {objects} success"] = _loop(config, name, policy, objects, GripObjective())
        loops[f"{FULL} {objects} min-force"] = _loop(config, FULL, full, objects, GripObjective(kind="min-force"))
        lap(f"closed loop on the {objects} objects")
    if config.on_policy:
        more = config.out / "on-policy"
        settings = CollectConfig(out=more, task=RegraspTask(), trials=config.on_policy, seed=config.seed + 500, **common)
        collect_with(full, settings)
        _features(more, config)
        again = [_training(config, model, 0, also=(more,)) for model in (MODELS[2], MODELS[0])]
        _train_all(again, config.workers, tell)
        for objects in config.sets:
            for name, run in zip((FULL, VISION), again, strict=True):
                loops[f"{name}+ {objects} success"] = _loop(config, f"{name}+", str(run.out), objects, GripObjective())
            least = GripObjective(kind="min-force")
            loops[f"{FULL}+ {objects} min-force"] = _loop(config, f"{FULL}+", str(again[0].out), objects, least)
        lap("on-policy data, second training, closed loop")
    states = config.out / "states"
    unseen = RegraspTask(world=RegraspConfig(objects="easy"))
    collect(CollectConfig(out=states, task=unseen, trials=config.analysed, seed=config.seed + 700, **common))
    torch.set_num_threads(config.workers)
    model = RegraspPredictor(Path(full))
    best, least = (
        GripPolicy(model=model, space=action_space(), objective=GripObjective(kind=k)) for k in ("success", "min-force")
    )
    analysis = analyse(model, open_dataset(states), best, least, config.seed)
    gels = _gels(config)
    lap("analyses")
    reader = open_dataset(data)
    found = {
        kind: {
            model_name(m): [PredictionTable.load(_training(config, m, s).out / f"{kind}.npz") for s in seeds] for m in MODELS
        }
        for kind in ("predictions", "calibrated")
    }
    found["pictures"] = {
        model_name(m): [PredictionTable.load(_training(config, m, s, numbers=False).out / "predictions.npz") for s in seeds]
        for m in PICTURES
    }
    probability = reader.column("array.stability_probability")[:, 0]
    labels = {
        "agreement": float(np.mean(reader.column("label.stable") == reader.column("truth.stable"))),
        "stable": float(np.nanmean(reader.column("label.stable"))),
        "ambiguous": float(np.sum((probability > 0.2) & (probability < 0.8))),
    }
    about = json.loads(json.dumps(asdict(config), default=str))
    return RegraspResults(**found, unseen_gels=gels, loops=loops, analysis=analysis, labels=labels, config=about)


def _settings(config: StudyConfig) -> FeatureSettings:
    return FeatureSettings(size=config.image_size, crops=0)


def _training(
    config: StudyConfig, modalities: tuple[str, ...], seed: int, *, also: tuple[Path, ...] = (), numbers: bool = True
) -> OutcomeConfig:
    """Return the training run of one model and seed; only what the closed loop needs is also trained on all data."""
    name = model_name(modalities)
    suffix = f"{'+' if also else ''}{'' if numbers else ',picture'}-{seed}"
    base = OutcomeConfig(data=config.out / "data", out=config.out / "runs" / f"{name}{suffix}")
    return OutcomeConfig(
        data=base.data,
        out=base.out,
        also=also,
        modalities=modalities,
        numbers=numbers,
        folds=config.folds,
        group="object",
        seed=seed,
        features=_settings(config),
        train=TrainConfig(**{**vars(base.train), "epochs": config.epochs, "threads": 1}),
        final=seed == 0 and numbers and name in (FULL, VISION),
        ablations=False,
        resume=True,
    )


def _features(data: Path, config: StudyConfig) -> None:
    reader = open_dataset(data)
    torch.set_num_threads(config.workers)
    images = ("vision", *(f"touch.{finger}" for finger in fingers(reader)))
    image_features(reader, np.unique(regrasp_rows(reader).position), images, _settings(config))


def _train_all(configs: list[OutcomeConfig], workers: int, tell: Callable[[str], None]) -> None:
    with LocalWorkers(workers, prepare_worker, ()) as pool:
        for lines in pool.run(train_missing, [(config,) for config in configs]):
            for line in lines:
                tell(line)


def _loop(config: StudyConfig, name: str, policy: str, objects: str, objective: GripObjective) -> dict[str, Any]:
    return grasp(
        RegraspGraspConfig(
            policy=policy,
            out=config.out / "grasps" / f"{name}-{objects}-{objective.kind}",
            objects=objects,
            trials=config.grasps,
            objective=objective,
            max_looks=config.max_looks,
            seed=config.seed + 2000,
            workers=config.workers,
            resume=config.resume,
        )
    )


def _gels(config: StudyConfig) -> dict[str, PredictionTable]:
    """Return held-out predictions of the full model for trials on gels that it never saw, and on gels that it knows.

    Gels are replaced as trials go on, so that a stretch of trials has its own. Trials outside the stretch that share a gel with it
    are left out of training. The comparison tests random trials and trains on as many as the other does.
    """
    paths = {kind: config.out / "gels" / f"{kind}.npz" for kind in ("unseen", "seen")}
    if all(path.exists() for path in paths.values()):
        return {kind: PredictionTable.load(path) for kind, path in paths.items()}
    reader = open_dataset(config.out / "data")
    run = _training(config, MODELS[2], 0)
    inputs = inputs_of(MODELS[2], fingers(reader), "regrasp")
    samples = load_samples(reader, inputs, run.features)
    positions, row = np.unique(samples.rows.position, return_inverse=True)
    gels = np.stack([reader.column(f"group.gel_{finger}")[positions].astype(str) for finger in fingers(reader)], axis=1)
    stretch = np.arange(len(positions)) * config.folds // len(positions)
    rng = np.random.default_rng(config.seed)
    mixed = rng.permutation(stretch)
    tables = {}
    for kind, fold in (("unseen", stretch), ("seen", mixed)):
        probs = np.zeros((len(row), 1))
        for k in range(config.folds):
            clean = np.array([not np.isin(pair, gels[stretch == k]).any() for pair in gels])
            others = np.flatnonzero(fold != k)
            chosen = (
                clean
                if kind == "unseen"
                else np.isin(np.arange(len(positions)), rng.choice(others, clean.sum(), replace=False))
            )
            net = train_net(samples, chosen[row], inputs, run, seed=FINAL_SEED + k)
            test = np.flatnonzero(fold[row] == k)
            probs[test] = predict(net, samples.views[0].take(test))
        tables[kind] = prediction_table(samples.rows, probs, fold[row], replace(run, group="trial"))
        tables[kind].save(paths[kind])
    return tables
