"""Collecting gentle-grasping trials: the rollout loop, a pool of worlds, labels, and the writer.

Gentle Grasping, Section V. A trial depends on the seed and its number only. The stability labels improve in blocks: trials of a
block are labelled by the classifier fitted on all blocks before it, so that the number of workers changes nothing.
"""

import gc
import json
import multiprocessing as mp
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from palpate.core.errors import PalpateError, SimulationError
from palpate.core.protocols import Policy
from palpate.core.records import Episode
from palpate.core.rollout import rollout
from palpate.data.reader import open_dataset
from palpate.data.table import encode_episode
from palpate.data.writer import EpisodeWriter
from palpate.perception.localise import locate_object
from palpate.perception.stability import StabilityLabeller
from palpate.planning.regrasp import RandomPolicy
from palpate.recipes.gentle_labels import as_array, from_array, hold_features, listen
from palpate.worlds.gentle import GentleConfig, GentleWorld

SUPERVISED = 40
"""The first trials of a data set get their stability label from the person who watches (in simulation: the truth)."""

BLOCK = 250
"""The stability classifier is refitted after every block of this many trials."""


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Where trials go, how many, and in which world."""

    out: Path
    trials: int = 1500
    seed: int = 0
    workers: int = 2
    resume: bool = False
    world: GentleConfig = field(default_factory=GentleConfig)


def random_policy(world: GentleWorld) -> Policy:
    """Return the data-collection policy: one random regrasp, then lift."""
    return RandomPolicy(space=world.action_space)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a worker returns: the encoded episode and the little that the parent needs."""

    index: int
    payload: bytes
    features: tuple[float, ...] | None
    """None if the trial failed."""
    labels: dict[str, float | None]
    truth: dict[str, float]
    failure: str = ""


_worker: dict[str, Any] = {}


def start_worker(config: GentleConfig, make_policy: Callable[[GentleWorld], Policy], max_looks: int) -> None:
    """Build world and policy once per process, on one thread. Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)  # the workers share the cores already; threads of their own make each trial half as slow again
    threadpool_limits(1)
    # A trial logs thousands of small arrays, none in a cycle: looking through them again and again costs 4 % of the time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    world = GentleWorld(locate_object, config)
    _worker.update(world=world, policy=make_policy(world), max_looks=max_looks)


def run_trial(seed: int, index: int, stability: dict[str, Any] | None) -> Trial:
    """Run one trial and label it. `stability` is the state of the classifier; None: a person labels."""
    try:
        result = rollout(_worker["world"], _worker["policy"], seed, index, max_looks=_worker["max_looks"])
    except SimulationError as error:
        empty = Episode(index=index, seed=seed, task="gentle", labels={"stable": None, "gentle": None})
        return Trial(index=index, payload=encode_episode(empty), features=None, labels={}, truth={}, failure=str(error))
    episode = result.episode
    features = hold_features(episode)
    heard, harsh_look, first_harsh = listen(episode)
    if stability is None:
        stable, probability = bool(result.outcome.stable), float(bool(result.outcome.stable))
    else:
        judged = StabilityLabeller.from_dict(stability).label(features)
        stable, probability = judged.stable, judged.probability
    labels: dict[str, float | None] = {
        "stable": float(stable),
        "gentle": float(heard.gentle),
        "gentle_while_looking": float(not harsh_look),
        "gentle_first": float(not first_harsh),
    }
    arrays = {
        **episode.arrays,
        "stability_features": as_array(features),
        "stability_probability": np.array([probability]),
        "looks": np.array([1.0 + len(result.decisions)]),
        "sound_level_db": np.array([heard.squeak_db, heard.knock_db]),
    }
    predicted = result.decisions[-1].predicted
    if predicted:
        arrays["predicted"] = np.array([predicted["stable"], predicted["gentle"]])
    episode = Episode(**{**_fields(episode), "arrays": arrays}).with_labels(labels)
    return Trial(
        index=index,
        payload=encode_episode(episode),
        features=tuple(as_array(features).tolist()),
        labels=labels,
        truth=dict(episode.truth),
    )


def _fields(episode: Episode) -> dict[str, Any]:
    return {name: getattr(episode, name) for name in episode.__dataclass_fields__}


def run_pool(tasks: Sequence[tuple[int, int, dict[str, Any] | None]], pool: ProcessPoolExecutor | None) -> Iterator[Trial]:
    """Run tasks in a pool, or here if there is none, and yield the trials in order."""
    if pool is None:
        for task in tasks:
            yield run_trial(*task)
        return
    try:
        yield from pool.map(run_trial, *zip(*tasks, strict=True))
    except BrokenProcessPool as error:
        raise PalpateError(
            "a worker process died (killed, or out of memory); finished trials are on disk. "
            "Run the same command with --resume, with fewer --workers if memory is short"
        ) from error


def make_pool(
    workers: int, config: GentleConfig, make_policy: Callable[[GentleWorld], Policy], max_looks: int
) -> ProcessPoolExecutor | None:
    """Return a pool of `workers` processes; with one worker None, and this process becomes the worker."""
    if workers < 1:
        raise PalpateError(f"--workers {workers}: at least 1 is needed")
    if workers == 1:
        handler = signal.getsignal(signal.SIGINT)
        start_worker(config, make_policy, max_looks)
        signal.signal(signal.SIGINT, handler)
        return None
    context = mp.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker, initargs=(config, make_policy, max_looks))


def describe(config: GentleConfig) -> dict[str, Any]:
    """Return the world's configuration as JSON values."""
    return json.loads(json.dumps(asdict(config), default=lambda value: np.asarray(value).tolist()))


def run_trials(
    config: CollectConfig, make_policy: Callable[[GentleWorld], Policy], about: dict[str, Any], *, max_looks: int, name: str
) -> Path:
    """Run, label and write the trials that are still missing; return the folder of the data set.

    Args:
        config: where, how many, and in which world.
        make_policy: builds the policy inside each worker process; must be picklable.
        about: how the data are made, as JSON values; kept with the data and compared at a resume.
        max_looks: grasps at most before the lift.
        name: shown beside the progress bar.

    Raises:
        PalpateError: the folder holds another data set, a worker died, the disk is full.
    """
    if config.trials < 1:
        raise PalpateError(f"--trials {config.trials}: at least 1 is needed")
    about = {**about, "recipe": "gentle", "seed": config.seed, "world": describe(config.world)}
    with EpisodeWriter.create(config.out, task="gentle", config=about, resume=config.resume) as writer:
        start = writer.next_index
        labeller = StabilityLabeller()
        _replay(labeller, config.out, start)
        pool = make_pool(config.workers, config.world, make_policy, max_looks)
        try:
            with tqdm(
                total=max(config.trials, start), initial=start, unit="trial", desc=name, file=sys.stderr, mininterval=0.5
            ) as bar:
                for block in _blocks(start, config.trials):
                    state = judge(labeller) if labeller.ready else None
                    tasks = [(config.seed, i, None if i < SUPERVISED else state) for i in block]
                    for trial in run_pool(tasks, pool):
                        writer.write(trial.payload, trial.index)
                        if trial.features is not None:
                            _learn(labeller, trial.index, np.array(trial.features), trial.labels["stable"])
                        if trial.failure:
                            bar.write(f"trial {trial.index}: {trial.failure}", file=sys.stderr)
                        bar.update()
        finally:
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)
    return config.out


def collect(config: CollectConfig) -> Path:
    """Collect random regrasps (Gentle Grasping, Section V); see `run_trials`."""
    return run_trials(config, random_policy, {"policy": "random"}, max_looks=1, name="collect")


def judge(labeller: StabilityLabeller) -> dict[str, Any]:
    """Return the state that labels, without the trials it was learnt from: small enough to go with every task."""
    return {**labeller.to_dict(), "inputs": [], "answers": [], "own": []}


def _blocks(start: int, stop: int) -> Iterator[range]:
    """Yield ranges that end at `SUPERVISED` and at multiples of `BLOCK`, wherever a collection starts."""
    while start < stop:
        end = SUPERVISED if start < SUPERVISED else (start // BLOCK + 1) * BLOCK
        yield range(start, min(stop, end))
        start = min(stop, end)


def _learn(labeller: StabilityLabeller, index: int, features: np.ndarray, stable: float | None) -> None:
    if index < SUPERVISED or not labeller.ready:
        labeller.supervise(from_array(features), bool(stable))
    else:
        labeller.update(from_array(features))


def _replay(labeller: StabilityLabeller, root: Path, stop: int) -> None:
    """Bring the classifier to where it was when trial `stop` was due, from the features on disk."""
    if stop == 0:
        return
    reader = open_dataset(root)
    indices, stable = reader.indices, reader.column("label.stable")
    for row, features in enumerate(reader.column("array.stability_features")):
        if indices[row] < stop and np.isfinite(features).all():
            _learn(labeller, int(indices[row]), features, float(stable[row]))
