"""Collecting demonstrations of a simulated person: a task that shows itself, in workers, as a data set."""

from pathlib import Path
from typing import Any, Protocol

from palpate.core.errors import PalpateError
from palpate.core.records import Episode
from palpate.recipes.recording import Made, Recording, record
from palpate.recipes.workers import prepare_worker


class Shown(Protocol):
    """A task with a person who can do it; small and picklable. An episode depends on seed and index only."""

    @property
    def name(self) -> str:
        """Return the task's name in a data set."""
        ...

    def build(self) -> Any:
        """Build the world."""
        ...

    def demonstrate(self, world: Any, seed: int, index: int) -> Episode:
        """Let the person do it once in that world."""
        ...


_worker: dict[str, Any] = {}


def start_worker(task: Shown) -> None:
    """Build the world, once per process."""
    prepare_worker()
    _worker.update(task=task, world=task.build())


def run_demonstration(seed: int, index: int) -> Made:
    """Let the person of this process do it once."""
    task: Shown = _worker["task"]
    try:
        return Made.of(task.demonstrate(_worker["world"], seed, index))
    except PalpateError as error:
        return Made.of(Episode(index=index, seed=seed, task=task.name), str(error))


def record_demonstrations(plan: Recording, task: Shown, seed: int) -> Path:
    """Collect the demonstrations that are still missing; return the folder of the data set.

    Raises:
        PalpateError: a world that cannot be built, which is found before the folder is made, or a folder with other data.
    """
    task.build()
    return record(plan, run_demonstration, lambda index: (seed, index), start_worker, (task,))
