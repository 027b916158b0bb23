"""A trained SoftGrasp policy in closed loop: lifts, drops and crushes, by object. Y. Li et al., SoftGrasp, Sections 4.2-4.4."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from palpate.core.errors import PalpateError
from palpate.core.records import Episode
from palpate.core.rollout import steer
from palpate.data.reader import open_dataset
from palpate.models.softgrasp import TOUCH
from palpate.recipes.recording import Made, Recording, record
from palpate.recipes.softgrasp_policy import SoftgraspController
from palpate.recipes.softgrasp_task import finished
from palpate.recipes.workers import prepare_worker
from palpate.worlds.softgrasp import SoftgraspConfig, SoftgraspWorld
from palpate.worlds.softgrasp_touch import SENSOR


@dataclass(frozen=True, kw_only=True)
class SoftgraspTrials:
    """A closed-loop test of one policy."""

    policy: Path
    """Folder of a run of `train_softgrasp`."""
    out: Path
    objects: tuple[int, ...] = tuple(range(1, 13))
    """IDs of Table 2."""
    trials: int = 10
    """Of each object."""
    modalities: tuple[str, ...] = ()
    """Let the policy use only these; empty: all that it was trained on."""
    seed: int = 7000
    workers: int = 2
    resume: bool = False


_worker: dict[str, Any] = {}


def start_worker(config: SoftgraspTrials) -> None:
    """Build world and policy, once per process."""
    prepare_worker()
    torch.set_num_threads(1)
    policy = SoftgraspController(config.policy, modalities=config.modalities)
    world = SoftgraspWorld(SoftgraspConfig(objects=config.objects, touch=TOUCH in policy.modalities))
    _worker.update(world=world, policy=policy)


def run_trial(seed: int, index: int) -> Made:
    """Let the policy grasp and lift one object."""
    try:
        return Made.of(finished(steer(_worker["world"], _worker["policy"], seed, index)))
    except PalpateError as error:
        return Made.of(Episode(index=index, seed=seed, task="softgrasp"), str(error))


def grasp_softgrasp(config: SoftgraspTrials) -> dict[str, list[Any]]:
    """Run the trials that are still missing; return the figures of all, a row a trial, as lists by column.

    Success is that of the paper, lifted and held; what was crushed on the way stands beside it.

    Raises:
        PalpateError: fewer than one trial, unknown objects, or a folder that is no run.
    """
    if config.trials < 1:
        raise PalpateError(f"--trials {config.trials}: at least 1 is needed")
    policy = SoftgraspController(config.policy, modalities=config.modalities)  # what is wrong is found before OUT is made
    SoftgraspWorld(SoftgraspConfig(objects=config.objects))
    only: dict[str, Any] = {"modalities": list(config.modalities)} if config.modalities else {}
    felt = {"world": {"touch": SENSOR}} if TOUCH in policy.modalities else {}
    plan = Recording(
        out=config.out,
        task="softgrasp",
        about={"policy": config.policy.name, "seed": config.seed, "objects": list(config.objects), **only, **felt},
        count=config.trials * len(config.objects),
        unit="trial",
        workers=config.workers,
        resume=config.resume,
    )
    record(plan, run_trial, lambda index: (config.seed, index), start_worker, (config,))
    reader = open_dataset(config.out)
    columns = {
        "object": "group.object",
        "held": "label.held",
        "success": "truth.success",
        "crushed": "truth.crushed",
        "deformation_m": "truth.deformation",
        "peak_force_n": "truth.peak_force",
    }
    return {"trial": reader.indices.tolist(), **{name: reader.column(column).tolist() for name, column in columns.items()}}
