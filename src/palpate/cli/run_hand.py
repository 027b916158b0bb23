"""Commands of the many-fingered hand and of grasp quality."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from palpate.cli import commands_hand as commands
from palpate.cli.tell import data_summary, say, write_json
from palpate.core.contacts import GraspContacts
from palpate.core.errors import DataError
from palpate.core.randomness import generator
from palpate.evaluation.intervals import cluster_mean


def collect_dexterous(config: commands.CollectDexterous) -> None:
    """Run `palpate collect dexterous`."""
    from palpate.recipes.collection import CollectConfig
    from palpate.recipes.dexterous_task import DexterousTask
    from palpate.recipes.dexterous_task import collect_dexterous as run
    from palpate.worlds.dexterous import DexterousConfig

    started = time.perf_counter()
    task = DexterousTask(world=DexterousConfig(n_objects=config.objects, object_seed=config.object_seed))
    same = {name: getattr(config, name) for name in ("out", "seed", "workers", "lifetime", "ray", "resume")}
    folder = run(CollectConfig(task=task, trials=config.grasps, **same))
    say(data_summary(folder))
    say(f"collected in {time.perf_counter() - started:.0f} s into {folder}")


def quality(config: commands.Quality) -> None:
    """Run `palpate quality`."""
    from palpate.quality.epsilon import epsilon
    from palpate.quality.files import read_contacts, result
    from palpate.quality.friction import grasp_qualities

    folder = config.grasps.is_dir()
    grasps = _recorded_contacts(config.grasps) if folder else read_contacts(config.grasps, say)
    started = time.perf_counter()
    if config.solver == "epsilon":
        found = [{"epsilon": epsilon(grasp)} for grasp in grasps]
    else:
        grasp_qualities(grasps[:1], config.solver)  # compiles the solver, which would count as its time
        started = time.perf_counter()
        found = [result(q) for q in grasp_qualities(grasps, config.solver, workers=config.workers, progress=len(grasps) > 1000)]
    seconds = time.perf_counter() - started
    for number, row in enumerate(found[:20]):
        shown = {
            key: value for key, value in row.items() if key in ("epsilon", "q", "friction_use", "residual", "success", "status")
        }
        say(f"grasp {number}: " + ", ".join(f"{key} {_shown(value)}" for key, value in shown.items()))
    if len(found) > 20:
        say(f"... and {len(found) - 20} more")
    if "success" in found[0]:
        good = np.mean([row["success"] for row in found])
        say(
            f"{len(found)} grasps, {100 * good:.1f} % with q > 0.5 and at least two fingers; {len(found) / seconds:.0f} a second"
        )
    write_json(config.json, {"solver": config.solver, "grasps": found})


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _recorded_contacts(folder: Path) -> list[GraspContacts]:
    """Return the contacts of a data set's grasps; those that touched nothing have none."""
    from palpate.recipes.dexterous_task import recorded_contacts

    grasps = recorded_contacts(folder)
    if not grasps:
        raise DataError(f"{folder} holds no grasp with contacts; `palpate collect dexterous` records them")
    return grasps


def train_dexterous(config: commands.TrainDexterous) -> None:
    """Run `palpate train dexterous`."""
    from dataclasses import replace

    from palpate.recipes.dexterous import DexterousConfig
    from palpate.recipes.dexterous import train_dexterous as run

    defaults = DexterousConfig()
    settings = replace(
        defaults,
        status=config.status,
        folds=config.folds,
        hypotheses=config.hypotheses,
        seed=config.seed,
        resume=config.resume,
        train=replace(defaults.train, epochs=config.epochs, threads=config.threads),
    )
    folder = run(config.data, config.out, settings, stage=config.stage, tell=say)
    say(f"run written to {folder}")


def grasp_dexterous(config: commands.GraspDexterous) -> None:
    """Run `palpate grasp dexterous`."""
    from palpate.recipes.dexterous_task import DexterousGraspConfig
    from palpate.recipes.dexterous_task import grasp_dexterous as run

    name = Path(config.policy).name + ("" if config.policy == "random" else f"-{config.estimates}")
    values = {key: value for key, value in vars(config).items() if key not in {"json", "estimates", "out"}}
    out = config.out or Path("runs") / f"dexterous-{name}"
    rows = run(DexterousGraspConfig(**values, out=out, feel=config.estimates == "second"))
    held = cluster_mean(np.array(rows["stable"], float), rows["object"], generator(0))
    say(
        f"{rows['policy']}: held after the lift {100 * held.value:.1f} % [{100 * held.low:.1f}, {100 * held.high:.1f}] of {held.n}; "
        f"{np.nanmean(rows['looks']):.1f} decisions a trial"
    )
    write_json(
        config.json,
        {"policy": rows["policy"], "accuracy": held.value, "interval": [held.low, held.high], "n": held.n, "trials": rows},
    )


def import_dexgraspnet(config: commands.ImportDexgraspnet) -> None:
    """Run `palpate import dexgraspnet`."""
    from palpate.recipes.dexgraspnet import DexgraspnetConfig
    from palpate.recipes.dexgraspnet import import_dexgraspnet as run

    text = run(DexgraspnetConfig(**vars(config)), say)
    say(data_summary(config.out))
    say(text)


def demo_dexterous(config: commands.DemoDexterous) -> None:
    """Run `palpate demo dexterous`: collect, judge, train both estimates, grasp, write the report."""
    from palpate.recipes.dexterous_demo import DemoConfig, run_demo

    started = time.perf_counter()
    page = run_demo(DemoConfig(**vars(config)), say)
    say(f"report: {page} ({time.perf_counter() - started:.0f} s)")
