"""The gentle-grasping story end to end, small enough for ten minutes on two cores: collect, train, grasp, report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from palpate.data.reader import open_dataset
from palpate.evaluation.report_gentle import GentleResults
from palpate.learning.loop import TrainConfig
from palpate.recipes.collection import CollectConfig, collect
from palpate.recipes.gentle_report import gather
from palpate.recipes.gentle_task import GentleTask
from palpate.recipes.grasping import GraspConfig, grasp
from palpate.recipes.outcome import OutcomeConfig, model_name, train_missing
from palpate.recipes.outcome_data import FeatureSettings, fingers, gentle_rows, image_features
from palpate.recipes.workers import LocalWorkers, prepare_worker

MODELS = (("vision", "touch", "action"), ("vision", "action"), ("action",), ("vision", "touch"))
POLICIES = ("random", "vision+action", "vision+touch+action")


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Sizes of the demo. The command line documents each."""

    out: Path
    trials: int
    grasps: int
    epochs: int
    image_size: int
    seed: int
    workers: int
    resume: bool
    folds: int = 5


def training(config: DemoConfig, modalities: tuple[str, ...]) -> OutcomeConfig:
    """Return the training run of one model of the demo."""
    base = OutcomeConfig(data=config.out / "data", out=config.out / "runs" / model_name(modalities))
    return OutcomeConfig(
        data=base.data,
        out=base.out,
        modalities=modalities,
        folds=config.folds,
        seed=config.seed,
        features=FeatureSettings(size=config.image_size, crops=0),
        train=TrainConfig(**{**vars(base.train), "epochs": config.epochs, "threads": 1}),
        final=model_name(modalities) in POLICIES,
        resume=True,
    )


def run_demo(config: DemoConfig, tell: Callable[[str], None]) -> tuple[GentleResults, list[str]]:
    """Run what is not done yet and return the results with the equivalent commands."""
    data = config.out / "data"
    clock = perf_counter()

    def lap(what: str) -> None:
        nonlocal clock
        tell(f"[{perf_counter() - clock:.0f} s] {what}")
        clock = perf_counter()

    tell(f"1/4 collecting {config.trials} trials")
    settings = {"trials": config.trials, "seed": config.seed, "workers": config.workers, "resume": config.resume}
    collect(CollectConfig(out=data, task=GentleTask(), **settings))
    lap("collected")
    tell("2/4 image features, then four models with cross-validation")
    reader = open_dataset(data)
    rows = gentle_rows(reader)
    torch.set_num_threads(config.workers)
    image_features(
        reader,
        np.unique(rows.position),
        ("vision", *(f"touch.{finger}" for finger in fingers(reader))),
        FeatureSettings(size=config.image_size, crops=0),
    )
    lap("features")
    with LocalWorkers(config.workers, prepare_worker, ()) as workers:
        for lines in workers.run(train_missing, [(training(config, modalities),) for modalities in MODELS]):
            for line in lines:
                tell(line)
    lap("trained")
    tell(f"3/4 closed loop: {config.grasps} grasps with each of {len(POLICIES)} policies")
    for policy in POLICIES:
        run = policy if policy == "random" else str(config.out / "runs" / policy)
        grasp(
            GraspConfig(
                policy=run,
                out=config.out / "grasps" / policy,
                trials=config.grasps,
                seed=config.seed + 1000,
                workers=config.workers,
                search="sampling",
                resume=config.resume,
            )
        )
    lap("grasped")
    tell("4/4 report")
    folders = [config.out / "runs" / model_name(m) for m in MODELS] + [config.out / "grasps" / p for p in POLICIES]
    results = gather(folders, data, name="demo")
    lap("gathered")
    return results, _commands(config)


def _commands(config: DemoConfig) -> list[str]:
    """Return the commands that do the same step by step."""
    data = config.out / "data"
    lines = [f"palpate collect gentle --trials {config.trials} --seed {config.seed} --out {data}"]
    for modalities in MODELS:
        lines.append(
            f"palpate train outcome --data {data} --out {config.out / 'runs' / model_name(modalities)} "
            f"--modalities {','.join(modalities)} --epochs {config.epochs} --image-size {config.image_size} --crops 0"
        )
    for policy in POLICIES:
        run = policy if policy == "random" else config.out / "runs" / policy
        lines.append(
            f"palpate grasp gentle --policy {run} --trials {config.grasps} --seed {config.seed + 1000} --search sampling "
            f"--out {config.out / 'grasps' / policy}"
        )
    return [*lines, f"palpate report {config.out}/runs/* {config.out}/grasps/* --out {config.out / 'report.html'}"]
