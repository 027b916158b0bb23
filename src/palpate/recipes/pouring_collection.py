"""Collecting demonstrations of pouring from the scripted person. AnyTouch (Feng et al., 2025), Appendix A.8."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from palpate.core.errors import PalpateError
from palpate.core.records import Episode
from palpate.recipes.pouring_task import PouringTask
from palpate.recipes.recording import Made, Recording, record
from palpate.recipes.workers import prepare_worker
from palpate.worlds.pouring import PouringConfig


@dataclass(frozen=True, kw_only=True)
class PouringCollection:
    """Where demonstrations go, how many, in which world."""

    out: Path
    demos: int = 100
    world: PouringConfig = field(default_factory=PouringConfig)
    seed: int = 0
    workers: int = 2
    resume: bool = False


_worker: dict[str, Any] = {}


def start_worker(task: PouringTask) -> None:
    """Build the world, once per process."""
    prepare_worker()
    _worker.update(task=task, world=task.build())


def run_demonstration(seed: int, index: int) -> Made:
    """Let the person pour once."""
    try:
        return Made.of(_worker["task"].demonstrate(_worker["world"], seed, index))
    except PalpateError as error:
        return Made.of(Episode(index=index, seed=seed, task="pouring"), str(error))


def collect_pouring(config: PouringCollection) -> Path:
    """Collect the demonstrations that are still missing; return the folder of the data set.

    Raises:
        PalpateError: no demonstrations, an unknown sensor, or a folder with other data.
    """
    if config.demos < 1:
        raise PalpateError(f"--demos {config.demos}: at least 1 is needed")
    task = PouringTask(world=config.world)
    task.build()  # a wrong sensor is found before the folder is made
    plan = Recording(
        out=config.out,
        task="pouring",
        about={"recipe": "pouring", "seed": config.seed, "world": asdict(config.world)},
        count=config.demos,
        unit="demo",
        workers=config.workers,
        resume=config.resume,
    )
    return record(plan, run_demonstration, lambda index: (config.seed, index), start_worker, (task,))
