"""Collecting demonstrations of SoftGrasp from the scripted person. Y. Li et al., SoftGrasp, Section 4.1.2."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palpate.core.errors import PalpateError
from palpate.core.records import Episode
from palpate.recipes.recording import Made, Recording, record
from palpate.recipes.softgrasp_human import PersonConfig
from palpate.recipes.softgrasp_task import SoftgraspTask
from palpate.recipes.workers import prepare_worker
from palpate.worlds.softgrasp import SoftgraspConfig


@dataclass(frozen=True, kw_only=True)
class DemonstrationConfig:
    """Where demonstrations go, how many, of which objects."""

    out: Path
    demos: int = 15
    """Of each object."""
    objects: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """IDs of Table 2."""
    seed: int = 0
    feels: bool = True
    """Whether the glove gives torque back; without it the person squeezes by sight and habit."""
    workers: int = 2
    resume: bool = False


_worker: dict[str, Any] = {}


def start_worker(task: SoftgraspTask) -> None:
    """Build the world, once per process."""
    prepare_worker()
    _worker.update(task=task, world=task.build())


def run_demonstration(seed: int, index: int) -> Made:
    """Let the person grasp and lift one object."""
    try:
        return Made.of(_worker["task"].demonstrate(_worker["world"], seed, index))
    except PalpateError as error:
        return Made.of(Episode(index=index, seed=seed, task="softgrasp"), str(error))


def collect_demonstrations(config: DemonstrationConfig) -> Path:
    """Collect the demonstrations that are still missing; return the folder of the data set.

    Raises:
        PalpateError: no demonstrations, unknown objects, or a folder with other data.
    """
    if config.demos < 1:
        raise PalpateError(f"--demos {config.demos}: at least 1 is needed")
    task = SoftgraspTask(world=SoftgraspConfig(objects=config.objects), person=PersonConfig(feels_torque=config.feels))
    task.build()  # a wrong object is found before the folder is made
    plan = Recording(
        out=config.out,
        task="softgrasp",
        about={"recipe": "softgrasp", "seed": config.seed, "objects": list(config.objects), "feels": config.feels},
        count=config.demos * len(config.objects),
        unit="demo",
        workers=config.workers,
        resume=config.resume,
    )
    return record(plan, run_demonstration, lambda index: (config.seed, index), start_worker, (task,))
