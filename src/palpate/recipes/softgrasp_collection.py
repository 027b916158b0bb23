"""Collecting demonstrations of SoftGrasp from the scripted person. Y. Li et al., SoftGrasp, Section 4.1.2."""

from dataclasses import dataclass
from pathlib import Path

from palpate.core.errors import PalpateError
from palpate.recipes.demonstrating import record_demonstrations
from palpate.recipes.recording import Recording
from palpate.recipes.softgrasp_human import PersonConfig
from palpate.recipes.softgrasp_task import SoftgraspTask
from palpate.worlds.softgrasp import SoftgraspConfig
from palpate.worlds.softgrasp_touch import SENSOR


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
    touch: bool = False
    """Whether the hand wears touch sensors, on thumb and middle finger."""
    workers: int = 2
    resume: bool = False


def collect_demonstrations(config: DemonstrationConfig) -> Path:
    """Collect the demonstrations that are still missing; return the folder of the data set.

    Raises:
        PalpateError: no demonstrations, unknown objects, or a folder with other data.
    """
    if config.demos < 1:
        raise PalpateError(f"--demos {config.demos}: at least 1 is needed")
    world = SoftgraspConfig(objects=config.objects, touch=config.touch)
    task = SoftgraspTask(world=world, person=PersonConfig(feels_torque=config.feels))
    felt = {"world": {"touch": SENSOR}} if config.touch else {}
    plan = Recording(
        out=config.out,
        task=task.name,
        about={"recipe": "softgrasp", "seed": config.seed, "objects": list(config.objects), "feels": config.feels, **felt},
        count=config.demos * len(config.objects),
        unit="demo",
        workers=config.workers,
        resume=config.resume,
    )
    return record_demonstrations(plan, task, config.seed)
