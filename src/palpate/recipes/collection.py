"""Collecting grasp trials of any task: the rollout loop, a pool of worlds, labels, and the writer.

A trial depends on the seed and its number only. The stability labels improve in blocks: trials of a block are labelled by the
classifier fitted on all blocks before it, so that the number of workers changes nothing. A task (`gentle`, `regrasp`) says which
world there is, what its sensors tell about stability, and what else is labelled.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from palpate.core.errors import PalpateError
from palpate.core.protocols import Embodiment, Policy
from palpate.core.records import Episode
from palpate.core.rollout import rollout
from palpate.data.reader import open_dataset
from palpate.data.review import Doubt, write_review
from palpate.data.table import encode_episode
from palpate.data.writer import EpisodeWriter
from palpate.perception.stability import Evidence, StabilityLabeller
from palpate.planning.regrasp import RandomPolicy
from palpate.recipes.workers import hire, prepare_worker

SUPERVISED = 40
"""The first trials of a data set get their stability label from the person who watches (in simulation: the truth)."""

BLOCK = 250
"""The stability classifier is refitted after every block of this many trials."""


class Task(Protocol):
    """What differs between tasks; pickled and sent to every worker."""

    @property
    def name(self) -> str:
        """Name of the task, as episodes carry it."""
        ...

    @property
    def world(self) -> Any:
        """Configuration of the world, a frozen dataclass."""
        ...

    def build(self) -> Embodiment:
        """Build the world."""
        ...

    def evidence(self, episode: Episode) -> Evidence:
        """Return what was sensed at the end of a trial that tells whether the grasp was stable."""
        ...

    def restore(self, values: np.ndarray) -> Evidence:
        """Inverse of `Evidence.array`."""
        ...

    def labels(self, episode: Episode) -> tuple[dict[str, float | None], dict[str, np.ndarray]]:
        """Return further labels, and arrays to be kept with the trial."""
        ...


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Where trials go, how many, and of which task."""

    out: Path
    task: Task
    trials: int = 1500
    seed: int = 0
    workers: int = 2
    resume: bool = False
    lifetime: int | None = None
    """Trials after which a worker process is replaced; None: never."""
    ray: str | None = None
    """Address of a Ray cluster whose cores do the work instead of `workers` processes here."""


def random_policy(world: Embodiment) -> Policy:
    """Return the data-collection policy: one random regrasp, then lift."""
    return RandomPolicy(space=world.action_space)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a worker returns: the encoded episode and the little that the parent needs."""

    index: int
    payload: bytes
    evidence: tuple[float, ...] | None
    """None if the trial failed."""
    labels: Mapping[str, float | None]
    truth: Mapping[str, float]
    doubt: float | None = None
    """Probability of stable where the classifier is unsure."""
    failure: str = ""


_worker: dict[str, Any] = {}


def start_worker(task: Task, make_policy: Callable[[Any], Policy], max_looks: int) -> None:
    """Build world and policy, once per process."""
    prepare_worker()
    world = task.build()
    _worker.update(task=task, world=world, policy=make_policy(world), max_looks=max_looks)


def run_trial(seed: int, index: int, stability: dict[str, Any] | None) -> Trial:
    """Run one trial and label it. `stability` is the state of the classifier; None: a person labels."""
    task: Task = _worker["task"]
    try:
        result = rollout(_worker["world"], _worker["policy"], seed, index, max_looks=_worker["max_looks"])
    except (PalpateError, ArithmeticError, np.linalg.LinAlgError) as error:
        # An invalid simulation, or an object that perception does not find: the next trial goes on.
        empty = Episode(index=index, seed=seed, task=task.name, labels={"stable": None})
        return Trial(index=index, payload=encode_episode(empty), evidence=None, labels={}, truth={}, failure=str(error))
    episode = result.episode
    evidence = task.evidence(episode)
    doubt = None
    if stability is None:
        stable = bool(result.outcome.stable)
        probability = float(stable)
    else:
        judged = StabilityLabeller.from_dict(stability).label(evidence)
        stable, probability = judged.stable, judged.probability
        doubt = probability if judged.ambiguous else None
    more, arrays = task.labels(episode)
    labels: dict[str, float | None] = {"stable": float(stable), **more}
    arrays = {
        **episode.arrays,
        "stability_features": evidence.array(),
        "stability_probability": np.array([probability]),
        "looks": np.array([1.0 + len(result.decisions)]),
        **arrays,
    }
    predicted = result.decisions[-1].predicted
    if predicted:
        arrays["predicted"] = np.array(list(predicted.values()))
    episode = replace(episode, arrays=arrays).with_labels(labels)
    return Trial(
        index=index,
        payload=encode_episode(episode),
        evidence=tuple(evidence.array().tolist()),
        labels=labels,
        truth=dict(episode.truth),
        doubt=doubt,
    )


def describe(config: Any) -> dict[str, Any]:
    """Return the configuration of a world as JSON values."""
    return json.loads(json.dumps(asdict(config), default=lambda value: np.asarray(value).tolist()))


def run_trials(
    config: CollectConfig, make_policy: Callable[[Any], Policy], about: dict[str, Any], *, max_looks: int, name: str
) -> Path:
    """Run, label and write the trials that are still missing; return the folder of the data set.

    Args:
        config: where, how many, and of which task.
        make_policy: builds the policy inside each worker process; must be picklable.
        about: how the data are made, as JSON values; kept with the data and compared at a resume.
        max_looks: grasps at most before the lift.
        name: shown beside the progress bar.

    Raises:
        PalpateError: the folder holds another data set, a worker died, the disk is full.
    """
    if config.trials < 1:
        raise PalpateError(f"--trials {config.trials}: at least 1 is needed")
    task = config.task
    about = {**about, "recipe": task.name, "seed": config.seed, "world": describe(task.world)}
    with EpisodeWriter.create(config.out, task=task.name, config=about, resume=config.resume) as writer:
        start = writer.next_index
        labeller = StabilityLabeller()
        begin = _block_start(start)
        _replay(labeller, task, config.out, range(begin))
        doubts: list[Doubt] = []
        hired = hire(config.workers, start_worker, (task, make_policy, max_looks), lifetime=config.lifetime, ray=config.ray)
        try:
            with (
                hired as workers,
                tqdm(
                    total=max(config.trials, start), initial=start, unit="trial", desc=name, file=sys.stderr, mininterval=0.5
                ) as bar,
            ):
                for block in _blocks(start, config.trials):
                    state = judge(labeller) if labeller.ready else None
                    if block.start == start:  # a resume inside a block labels the rest of it as the whole would have been
                        _replay(labeller, task, config.out, range(begin, start))
                    tasks = [(config.seed, i, None if i < SUPERVISED else state) for i in block]
                    for trial in workers.run(run_trial, tasks):
                        writer.write(trial.payload, trial.index)
                        if trial.evidence is not None:
                            _learn(labeller, trial.index, task.restore(np.array(trial.evidence)), trial.labels["stable"])
                        if trial.doubt is not None:
                            doubts.append(Doubt(trial=trial.index, label="stable", probability=trial.doubt))
                        if trial.failure:
                            bar.write(f"trial {trial.index}: {trial.failure}", file=sys.stderr)
                        bar.update()
        finally:
            write_review(config.out, doubts)
    return config.out


def collect(config: CollectConfig) -> Path:
    """Collect random regrasps (Gentle Grasping, Section V; More Than a Feeling, Section V); see `run_trials`."""
    return run_trials(config, random_policy, {"policy": "random"}, max_looks=1, name=f"collect {config.task.name}")


def judge(labeller: StabilityLabeller) -> dict[str, Any]:
    """Return the state that labels, without the trials it was learnt from: small enough to go with every task."""
    return {**labeller.to_dict(), "inputs": [], "answers": [], "own": []}


def _blocks(start: int, stop: int) -> Iterator[range]:
    """Yield ranges that end at `SUPERVISED` and at multiples of `BLOCK`, wherever a collection starts."""
    while start < stop:
        end = SUPERVISED if start < SUPERVISED else (start // BLOCK + 1) * BLOCK
        yield range(start, min(stop, end))
        start = min(stop, end)


def _block_start(index: int) -> int:
    """Return the first trial of the block that trial `index` is in."""
    return 0 if index < SUPERVISED else max(SUPERVISED, index // BLOCK * BLOCK)


def _learn(labeller: StabilityLabeller, index: int, evidence: Evidence, stable: float | None) -> None:
    if index < SUPERVISED or not labeller.ready:
        labeller.supervise(evidence, bool(stable))
    else:
        labeller.update(evidence)


def _replay(labeller: StabilityLabeller, task: Task, root: Path, trials: range) -> None:
    """Let the classifier learn from trials on disk as it would have when they were made."""
    if not trials:
        return
    reader = open_dataset(root)
    indices, stable = reader.indices, reader.column("label.stable")
    for row, values in enumerate(reader.column("array.stability_features")):
        if indices[row] in trials and np.isfinite(values).all():
            _learn(labeller, int(indices[row]), task.restore(values), float(stable[row]))
