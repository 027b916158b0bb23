"""Collecting demonstrations of pouring from the scripted person. AnyTouch (Feng et al., 2025), Appendix A.8."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from palpate.core.errors import PalpateError
from palpate.recipes.demonstrating import record_demonstrations
from palpate.recipes.pouring_task import PouringTask
from palpate.recipes.recording import Recording
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


def collect_pouring(config: PouringCollection) -> Path:
    """Collect the demonstrations that are still missing; return the folder of the data set.

    Raises:
        PalpateError: no demonstrations, an unknown sensor, or a folder with other data.
    """
    if config.demos < 1:
        raise PalpateError(f"--demos {config.demos}: at least 1 is needed")
    task = PouringTask(world=config.world)
    plan = Recording(
        out=config.out,
        task=task.name,
        about={"recipe": "pouring", "seed": config.seed, "world": asdict(config.world)},
        count=config.demos,
        unit="demo",
        workers=config.workers,
        resume=config.resume,
    )
    return record_demonstrations(plan, task, config.seed)
