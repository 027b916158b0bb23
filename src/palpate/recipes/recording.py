"""Making a data set of episodes that do not depend on one another: workers make them, one writer keeps them, in order."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from palpate.core.records import Episode
from palpate.data.table import encode_episode
from palpate.data.writer import EpisodeWriter
from palpate.recipes.workers import LocalWorkers


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a worker returns."""

    index: int
    payload: bytes
    failure: str = ""
    """What went wrong, if the episode is empty for it."""

    @classmethod
    def of(cls, episode: Episode, failure: str = "") -> "Made":
        """Encode an episode."""
        return cls(index=episode.index, payload=encode_episode(episode), failure=failure)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What data set is made, where, and of how many episodes."""

    out: Path
    task: str
    about: Mapping[str, Any]
    """How it is made, as JSON values; compared at a resume."""
    count: int
    unit: str
    """What one episode is called: shown beside the bar."""
    workers: int = 2
    resume: bool = False


def record(
    plan: Recording,
    make: Callable[..., Made],
    job: Callable[[int], tuple[Any, ...]],
    start: Callable[..., None],
    arguments: tuple[Any, ...] = (),
) -> Path:
    """Make the episodes that are still missing; return the folder of the data set.

    Args:
        plan: what and where.
        make: makes one episode in a worker.
        job: arguments of `make` for episode number i.
        start: called once in each worker.
        arguments: of `start`.

    Raises:
        PalpateError: a folder with other data, workers that die again and again, a full disk.
    """
    with EpisodeWriter.create(plan.out, task=plan.task, config=plan.about, resume=plan.resume) as writer:
        first = writer.next_index
        with (
            LocalWorkers(plan.workers, start, arguments) as workers,
            tqdm(
                total=max(plan.count, first), initial=first, unit=plan.unit, desc=plan.unit, file=sys.stderr, mininterval=0.5
            ) as bar,
        ):
            for done in workers.run(make, [job(index) for index in range(first, plan.count)]):
                writer.write(done.payload, done.index)
                if done.failure:
                    bar.write(f"{plan.unit} {done.index}: {done.failure}", file=sys.stderr)
                bar.update()
    return plan.out
