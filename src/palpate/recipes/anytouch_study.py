"""AnyTouch's tables in our setting: sensors added one by one (Table 1), parts left out (Table 6), a sensor never seen (Section 5.5).

Every variant is trained for several seeds and judged on the same touches: linear probes on things that no training saw, simulated and
real, and the share of neighbours that are the same touch. Probes see features less those of the gel at rest, since their baselines are
of changes too; the paper's see features as they are. Differences are paired over objects. Finished parts are kept in the folder of
the study, so that an interrupted one goes on.
"""

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from palpate.core.errors import PalpateError, UnknownNameError
from palpate.data.reader import open_dataset
from palpate.evaluation.neighbours import neighbours
from palpate.models.touch_encoder import TouchEncoder, TouchEncoderConfig
from palpate.recipes.anytouch import AnyTouchConfig, held_out_objects, load_encoder, load_touch_run, read_clips, train_touch
from palpate.recipes.study_folder import claim, kept, slug
from palpate.recipes.touch_embedding import IMAGENET, UNTRAINED, encode, untrained
from palpate.recipes.touch_felt import FeltTouches, felt_touches
from palpate.recipes.touch_probe import FOLDS, Probed, difference, probe, read_goal, summed_up
from palpate.recipes.workers import LocalWorkers, prepare_worker

WHOLE = "AnyTouch"
"""The variant with everything."""
HAND = "hand-made"
BASELINES = (UNTRAINED, IMAGENET, HAND)
_FIRST_STAGE = ("clips", "universal")
"""Parts whose absence changes stage 1 too."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a table."""

    without: tuple[str, ...] = ()
    stages: tuple[int, ...] = (1, 2)
    sensors: int | None = None
    """Only the first so many; None: all."""


ABLATIONS: Mapping[str, Variant] = {
    WHOLE: Variant(),
    "w/o text": Variant(without=("text",)),
    "w/o vision": Variant(without=("vision",)),
    "w/o stage 1": Variant(stages=(2,)),
    "w/o stage 2": Variant(stages=(1,)),
    "w/o matching": Variant(without=("matching",)),
    "w/o clips": Variant(without=("clips",)),
    "w/o universal tokens": Variant(without=("universal",)),
}
"""Table 6, less the row that leaves the text out of TacQuad only."""
UNSEEN, UNSEEN_PLAIN = "all sensors but the last", "all sensors but the last, w/o universal tokens"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a variant is judged by."""

    name: str
    target: Literal["material", "hardness", "roughness", "neighbours"]
    real: bool = False
    """On the real data set, else on the simulated one."""
    sensors: Literal["all", "first", "last"] = "all"
    tokens: Literal["own", "nearest"] = "own"
    """`nearest`: a sensor without tokens gets those of the trained sensor whose mean picture is most like its own."""
    pool: Literal["class", "patches"] = "class"
    """What a probe sees of an encoder: the class token, as in the paper, or mean and largest over its patches."""


TASKS = (
    Task(name="real hardness", target="hardness", real=True),
    Task(name="real roughness", target="roughness", real=True),
    Task(name="material", target="material"),
    Task(name="hardness", target="hardness"),
    Task(name="roughness", target="roughness"),
    Task(name="same touch", target="neighbours"),
)
SENSOR_TASKS = tuple(
    Task(name=f"{target}, {which} sensor", target=target, sensors=which)
    for which in ("first", "last")
    for target in ("material", "hardness", "roughness")
)
NEAREST_TASKS = tuple(
    replace(task, name=f"{task.name}, nearest tokens", tokens="nearest") for task in SENSOR_TASKS if task.sensors == "last"
)
Judged = dict[str, dict[str, Any]]
"""What one variant of one seed got, by task: `kind`, `group` (G,), `truth` (G,), `scores` (R, G) as JSON values."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """How large a study, and on what."""

    data: tuple[Path, ...]
    """To train on."""
    probe: Path
    """Simulated touches to judge by; of a set that is trained on only the objects held out count."""
    out: Path
    real: Path | None = None
    """PhysiCLeAR as imported; None leaves its columns out."""
    sensors: tuple[str, ...] = ("gelsight", "digit", "duragel", "gelsight-mini")
    """In the order in which they are added; the last one is the one never seen."""
    shape: TouchEncoderConfig = field(default_factory=TouchEncoderConfig)
    epochs: tuple[int, int] = (10, 10)
    """Of stage 1 and of stage 2."""
    batch_size: int = 64
    """Of both."""
    seeds: int = 3
    folds: int = FOLDS
    """Of the probes."""
    workers: int = 2
    tables: tuple[str, ...] = ("ablations", "sensors", "unseen")
    targets: tuple[str, ...] = ("material", "hardness", "roughness")
    """Of the probes."""
    pool: Literal["class", "patches"] = "class"
    """See `Task.pool`."""

    def __post_init__(self) -> None:
        """Refuse tables that do not exist and too few sensors."""
        for name in sorted(set(self.tables) - {"ablations", "sensors", "unseen"}):
            raise UnknownNameError("table", name, ("ablations", "sensors", "unseen"))
        if len(set(self.sensors)) < 2:
            raise PalpateError(f"a study across sensors needs two or more, got {', '.join(self.sensors) or 'none'}")

    @property
    def settings(self) -> dict[str, Any]:
        """What finished parts depend on; seeds, tables and targets may be added later."""
        names = ("data", "probe", "real", "sensors", "epochs", "batch_size", "folds")
        return {name: getattr(self, name) for name in names} | {"shape": self.shape.to_dict()}

    @property
    def variants(self) -> dict[str, Variant]:
        """Everything that is trained, by the name of its row."""
        out = dict(ABLATIONS) if "ablations" in self.tables else {WHOLE: Variant()}
        if "sensors" in self.tables:
            out |= {sensor_row(self.sensors, n): Variant(sensors=n) for n in range(1, len(self.sensors) - 1)}
        if {"sensors", "unseen"} & set(self.tables):
            out[UNSEEN] = Variant(sensors=len(self.sensors) - 1)
        if "unseen" in self.tables:
            out[UNSEEN_PLAIN] = Variant(sensors=len(self.sensors) - 1, without=("universal",))
        return out

    def tasks(self, name: str) -> tuple[Task, ...]:
        """Return what a variant or baseline is judged by."""
        chosen = TASKS
        if name not in ABLATIONS or name == WHOLE:
            chosen += SENSOR_TASKS
        if name in (UNSEEN, UNSEEN_PLAIN):
            chosen += NEAREST_TASKS
        wanted = (*self.targets, "neighbours")
        asked = (task for task in chosen if task.target in wanted and (self.real is not None or not task.real))
        return tuple(replace(task, pool=self.pool) for task in asked)


def sensor_row(sensors: tuple[str, ...], n: int) -> str:
    """Return the name of the row with the first `n` sensors."""
    return ", ".join(sensors[:n])


def training(config: StudyConfig, variant: Variant, stage: int, seed: int) -> AnyTouchConfig:
    """Return one training; variants that share a first stage share its folder."""
    of_stage = tuple(p for p in variant.without if stage == 2 or p in _FIRST_STAGE)
    own = [f"stage-{stage}", *(f"no-{part}" for part in of_stage)]
    own += [] if variant.sensors is None else [f"{variant.sensors}-sensors"]
    own += ["alone"] if stage == 2 and 1 not in variant.stages else []
    folder = config.out / f"seed-{seed}"
    plain = AnyTouchConfig(data=config.data, out=folder / "-".join(own))
    epochs = config.epochs[stage - 1]
    return replace(
        plain,
        stage=stage,
        shape=config.shape,
        init=training(config, variant, 1, seed).out if stage == 2 and 1 in variant.stages else None,
        exclude=() if variant.sensors is None else config.sensors[variant.sensors :],
        without=of_stage,
        resume=True,
        train=replace(
            plain.train,
            epochs=epochs,
            batch_size=config.batch_size,
            warmup_epochs=min(1.0, epochs / 4),
            seed=seed,
            threads=1,
        ),
    )


def run_study(config: StudyConfig, tell: Callable[[str], None]) -> dict[str, Any]:
    """Train and judge what is not there yet; return the figures of all tables.

    Raises:
        PalpateError: unusable data or settings, or a folder of a study with other settings.
    """
    _prepare(config)
    claim(config.out, config.settings)
    variants = config.variants
    seeds = range(config.seeds)
    with LocalWorkers(config.workers, _start, (), None) as workers:
        for stage in (1, 2):
            jobs = {
                str(job.out): job
                for seed in seeds
                for variant in variants.values()
                if stage in variant.stages
                for job in (training(config, variant, stage, seed),)
            }
            for path in workers.run(_train, [(job,) for job in jobs.values() if not (job.out / "run.json").exists()]):
                tell(f"trained {path}")
        wanted = [(config, name, seed) for seed in seeds for name in (*variants, *BASELINES)]
        found: dict[str, list[Judged]] = {}
        for (_, name, seed), judged in zip(wanted, workers.run(_judge, wanted), strict=True):
            found.setdefault(name, []).append(judged)
            tell(f"judged {name}, seed {seed}")
    return study_figures(config, found)


def _start() -> None:
    prepare_worker()
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _train(job: AnyTouchConfig) -> str:
    return str(train_touch(job, lambda _: None, progress=False))


def _prepare(config: StudyConfig) -> None:
    """Cut all clips before the workers need them, and find wrong names before anything is trained."""
    plain = training(config, Variant(), 1, 0)
    train, held = read_clips(plain, config.shape)
    for name in sorted(set(config.sensors) ^ set(train.sensors)):
        raise UnknownNameError("sensor of the study", name, train.sensors)
    for part in (train, held):
        part.aligned(None)
    for real in (False, True) if config.real is not None else (False,):
        _felt(config, real)


def _felt(config: StudyConfig, real: bool) -> FeltTouches:
    """Return the touches to judge by."""
    root = config.real if real else config.probe
    assert root is not None
    reader = open_dataset(root)
    objects: tuple[str, ...] = ()
    if root.resolve() in [path.resolve() for path in config.data]:
        objects = held_out_objects(reader.column("group.object"), AnyTouchConfig(data=(), out=root).held_out)
    return felt_touches(reader, size=config.shape.size, frames=config.shape.frames, objects=objects)


def _judge(config: StudyConfig, name: str, seed: int) -> Judged:
    """Judge one variant or baseline of one seed by all its tasks, or read what was found before."""
    folder = config.out / f"seed-{seed}" / f"judged-{config.pool}-{slug(name)}"

    @cache
    def touches(real: bool) -> FeltTouches:
        return _felt(config, real)

    def judged(task: Task) -> dict[str, Any]:
        every, felt = touches(False), touches(task.real)
        if task.sensors != "all":
            felt = felt.take(np.flatnonzero(felt.sensor == config.sensors[0 if task.sensors == "first" else -1]))
        if task.target == "neighbours":
            felt = felt.take(np.flatnonzero(felt.contact))
        net = None if name in (IMAGENET, HAND) else _net(config, name, seed)
        return _score(config, task, felt, _features(name, net, task, felt, every))

    tasks = config.tasks(name)
    return {task.name: kept(folder / f"{slug(task.name)}.json", lambda task=task: judged(task)) for task in tasks}


def _net(config: StudyConfig, name: str, seed: int) -> TouchEncoder:
    if name == UNTRAINED:
        return untrained(config.shape, seed)
    variant = config.variants[name]
    return load_encoder(load_touch_run(training(config, variant, max(variant.stages), seed).out))


def _features(name: str, net: TouchEncoder | None, task: Task, felt: FeltTouches, every: FeltTouches) -> np.ndarray:
    """Return features (N, D) of felt touches for a task, for probes less those of the gel at rest; `every` are those of all sensors."""
    if net is None:
        return felt.kept("imagenet" if name == IMAGENET else "press")
    tokens = nearest_sensor(felt, every, net.config.sensors) if task.tokens == "nearest" else "own"
    encoded = encode(net, felt, tokens)
    if task.target == "neighbours":
        return encoded.embedding
    rest = encode(net, felt, tokens, part="rest")
    return encoded.pooled - rest.pooled if task.pool == "class" else encoded.patches - rest.patches


def _score(config: StudyConfig, task: Task, felt: FeltTouches, features: np.ndarray) -> dict[str, Any]:
    if task.target == "neighbours":
        asked, shares = neighbours(features, felt.touch, felt.sensor)
        names, place = np.unique(felt.touch[asked], return_inverse=True)
        share = np.bincount(place, weights=shares[:, 0]) / np.bincount(place)
        found = summed_up("class", names, np.full(len(names), np.nan), share[None])
    else:
        goal = read_goal(open_dataset(felt.root), felt.position, task.target)
        seeds = (0, 1, 2) if goal.kind == "rank" else (0,)  # a logistic head costs a hundred times as much
        found = probe(features, goal, seeds=seeds, folds=config.folds)
    return {
        "kind": found.kind,
        "group": found.group.tolist(),
        "truth": found.truth.tolist(),
        "scores": found.scores.tolist(),
    }


def nearest_sensor(felt: FeltTouches, every: FeltTouches, known: Sequence[str]) -> str:
    """Return the trained sensor whose mean picture is most like that of some felt touches; labels play no part."""

    def mean(some: FeltTouches, rows: np.ndarray) -> np.ndarray:
        few = rows[np.linspace(0, len(rows) - 1, min(len(rows), 100)).round().astype(int)]
        return some.clips("clip", few).mean(axis=(0, 1, 2))

    own = mean(felt, np.arange(len(felt)))
    apart = {name: np.square(mean(every, np.flatnonzero(every.sensor == name)) - own).mean() for name in known}
    return min(apart, key=lambda name: apart[name])


def study_figures(config: StudyConfig, found: Mapping[str, Sequence[Judged]]) -> dict[str, Any]:
    """Return every variant's and baseline's figure by task, in all and by seed, and its paired difference to the whole, as JSON values."""
    joined = {name: {task: _joined([judged[task] for judged in runs]) for task in runs[0]} for name, runs in found.items()}
    whole = joined[WHOLE]
    rows: dict[str, dict[str, Any]] = {}
    for name, tasks in joined.items():
        rows[name] = {
            task: {
                "value": asdict(probed.value),
                "by_seed": [_joined([judged[task]]).value.value for judged in found[name]],
                "less_whole": asdict(difference(probed, whole[task])) if name != WHOLE and task in whole else None,
            }
            for task, probed in tasks.items()
        }
    return {
        "sensors": list(config.sensors),
        "seeds": config.seeds,
        "epochs": list(config.epochs),
        "encoder": config.shape.to_dict(),
        "pool": config.pool,
        "rows": rows,
        "sensor_rows": [sensor_row(config.sensors, n) for n in range(1, len(config.sensors) - 1)],
    }


def _joined(parts: Sequence[Mapping[str, Any]]) -> Probed:
    """Return one variant's scores by one task, of all its training seeds."""
    first = parts[0]
    scores = np.concatenate([np.array(part["scores"], float) for part in parts])
    return summed_up(first["kind"], np.array(first["group"]), np.array(first["truth"], float), scores)
