"""The tables of SoftGrasp (Tables 4, 5 and 6) and its force feedback, in simulation.

A row of a table is a configuration; several nets are trained of each, which differ in their seed, and each net is tried on every object.
All configurations start from the same states, those of different seeds from different ones. The paper tells of one net a row.

Loss factors and modalities are trained alike. ACT and TimeSformer cost 4 to 11 times as much a sample, so they get fewer epochs, and ACT a
narrower net, that end in about seven minutes on one core; see `EFFORT`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palpate.core.errors import RunError
from palpate.core.records import Episode
from palpate.data.files import write_atomic
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.evaluation.paper_softgrasp import TABLE_4, TABLE_5, TABLE_6
from palpate.evaluation.tables_softgrasp import Rows, Trials, joined
from palpate.models.softgrasp import MODALITIES, STRATEGIES, Strategy
from palpate.recipes.softgrasp import SoftgraspTraining, train_softgrasp
from palpate.recipes.softgrasp_collection import DemonstrationConfig, collect_demonstrations
from palpate.recipes.softgrasp_data import read_frames, with_pictures
from palpate.recipes.softgrasp_loop import SoftgraspTrials, grasp_softgrasp
from palpate.recipes.workers import LocalWorkers, prepare_worker

EFFORT: dict[Strategy, tuple[float, float, float]] = {
    "softgrasp": (1.0, 1.0, 1.0),
    "direct": (1.0, 1.0, 0.9),
    "timesformer": (0.5, 1.0, 4.5),
    "act": (0.4, 0.5, 5.2),
}
"""Parts of the epochs and of the features of a frame that a strategy gets, and seconds a sample relative to SoftGrasp with these."""
NAMES = {"softgrasp": "SoftGrasp", "direct": "direct connection", "act": "ACT", "timesformer": "TimeSformer"}
STARTS = 7000
"""Seed of the starting states of the first net's trials; the next net's is one more."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a net is and what it is trained for."""

    strategy: Strategy = "softgrasp"
    modalities: tuple[str, ...] = MODALITIES
    loss_factor: float = 0.1
    ours: bool = False
    """Trained as `palpate train softgrasp` does, longer, on more demonstrations and with noise on the history; the rest of the study, as
    the paper, is without noise."""

    @property
    def name(self) -> str:
        """Name of its folders."""
        return f"{self.strategy}-{'-'.join(self.modalities)}-{self.loss_factor:g}{'-ours' if self.ours else ''}"

    def training(self, base: SoftgraspTraining, seed: int) -> SoftgraspTraining:
        """Return how a net of it is trained; the learning rate falls by the same factor in all, however many epochs there are."""
        epochs, width, _ = EFFORT[self.strategy]
        if self.ours:
            usual = SoftgraspTraining()
            base = replace(base, history_noise=usual.history_noise, validation=usual.validation, train=usual.train)
        train = base.train.over(max(1, round(epochs * base.train.epochs)), seed=base.train.seed + seed)
        return replace(
            base,
            strategy=self.strategy,
            modalities=self.modalities,
            objective=replace(base.objective, loss_factor=self.loss_factor),
            frame_dim=max(8, 8 * round(width * base.frame_dim / 8)),
            train=replace(train, threads=1),
        )


FULL = Configuration()
LOSS_FACTORS = {f"loss factor {factor:g}": Configuration(loss_factor=factor) for factor in TABLE_4}
SUBSETS = {name.replace("+", " + "): Configuration(modalities=tuple(name.split("+"))) for name in TABLE_5}
KINDS = {NAMES[name]: Configuration(strategy=name, modalities=STRATEGIES[name]) for name in STRATEGIES}
OURS = {"SoftGrasp, our training": Configuration(ours=True)}
"""Rows beside Table 6."""
TABLES: dict[int, dict[str, Configuration]] = {4: LOSS_FACTORS, 5: SUBSETS, 6: KINDS | OURS}
"""The rows of each table, by the table's number in the paper."""
PAPER: dict[int, Mapping[str, int | tuple[int, ...]]] = {
    4: dict(zip(LOSS_FACTORS, TABLE_4.values(), strict=True)),
    5: dict(zip(SUBSETS, TABLE_5.values(), strict=True)),
    6: {NAMES[name]: values for name, values in TABLE_6.items()},
}
TITLES = {4: "Table 4: loss factor", 5: "Table 5: modalities", 6: "Table 6: strategies"}


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """How large a study."""

    data: Path
    """Demonstrations of `palpate collect softgrasp`."""
    out: Path
    """Keeps nets and trials, so that an interrupted study goes on."""
    tables: Mapping[int, Mapping[str, Configuration]] = field(default_factory=lambda: TABLES)
    """Rows to make, by table; rows of several tables that are one configuration are trained once."""
    objects: tuple[int, ...] = tuple(range(1, 13))
    trials: int = 5
    """Of each net on each object."""
    seeds: int = 2
    """Nets of each configuration."""
    workers: int = 2
    base: SoftgraspTraining = field(default_factory=SoftgraspTraining)
    """How SoftGrasp itself is trained; see `Configuration.training` for the others."""

    def jobs(self) -> list["Job"]:
        """Return the nets of the study, short ones first."""
        found = {c.name: c for table in self.tables.values() for c in table.values()}
        jobs = [Job(configuration=c, seed=s, study=self) for s in range(self.seeds) for c in found.values()]
        return sorted(jobs, key=lambda job: EFFORT[job.configuration.strategy][0] * EFFORT[job.configuration.strategy][2])

    def finished(self) -> list["Job"]:
        """Return the nets whose trials are all done."""
        return [job for job in self.jobs() if job.trials() is not None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One net: training and trials."""

    configuration: Configuration
    seed: int
    study: StudyConfig

    @property
    def name(self) -> str:
        """Name of its folders."""
        return f"{self.configuration.name}-seed{self.seed}"

    @property
    def loop(self) -> Path:
        """Folder of its trials."""
        return self.study.out / "trials" / self.name

    def trials(self) -> Trials | None:
        """Return its trials, None if they are not all done."""
        if not (self.loop / "palpate.json").exists():
            return None
        reader = open_dataset(self.loop)
        wanted = self.study.trials * len(self.study.objects)
        rows = np.flatnonzero(reader.indices < wanted)
        return read_trials(reader, rows, net=self.seed) if len(rows) == wanted else None


def run_study(config: StudyConfig, tell: Callable[[str], None]) -> list[Rows]:
    """Train and try what is not done yet; return the tables.

    Raises:
        RunError: OUT holds a study of other data or settings.
    """
    _same_study(config)
    jobs = [job for job in config.jobs() if job.trials() is None]
    if any("image" in job.configuration.modalities for job in jobs):
        reader = open_dataset(config.data)
        with_pictures(read_frames(reader), reader, config.base.pictures)  # made once, before the workers need them
    with LocalWorkers(config.workers, prepare_net, ()) as workers:
        for done, (name, rate) in enumerate(workers.run(run_job, [(job,) for job in jobs]), start=1):
            tell(f"[{done}/{len(jobs)}] {name}: lifted and held {100 * rate:.0f} %")
    return read_study(config)


def prepare_net() -> None:
    """Make this process train on one thread."""
    prepare_worker()
    torch.set_num_threads(1)


def run_job(job: Job) -> tuple[str, float]:
    """Train a net if it is not, try it on what is left; return its name and its success. What it says goes to OUT/logs."""
    study, run = job.study, job.study.out / "nets" / job.name
    with _logged(study.out / "logs" / f"{job.name}.txt") as tell:
        if not (run / "run.json").exists():
            settings = job.configuration.training(study.base, job.seed)
            train_softgrasp(study.data, run, settings, tell=tell, progress=False)
        rows = grasp_softgrasp(
            SoftgraspTrials(
                policy=run,
                out=job.loop,
                objects=study.objects,
                trials=study.trials,
                seed=STARTS + job.seed,
                workers=1,
                resume=True,
            )
        )
    return job.name, float(np.nanmean(np.array(rows["success"], float)))


@contextmanager
def _logged(path: Path) -> Iterator[Callable[[str], None]]:
    """Let a job write to a file: bars of several at once would overwrite each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file, redirect_stderr(file):
        yield lambda line: print(line, file=file, flush=True)


def _same_study(config: StudyConfig) -> None:
    """Refuse to mix nets of different settings in one folder."""
    asked = {"data": open_dataset(config.data).fingerprint(), "objects": list(config.objects), "training": asdict(config.base)}
    asked = json.loads(json.dumps(asked, default=str))
    path = config.out / "study.json"
    if path.exists():
        there = json.loads(path.read_text())
        differ = [name for name in asked if not _alike(there[name], asked[name])]
        if differ:
            raise RunError(
                f"{config.out} holds a study with other {', '.join(differ)}; choose another --out, or repeat its settings"
            )
    config.out.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(asked, indent=1) + "\n").encode())


def _alike(one: Any, other: Any) -> bool:
    """Return whether settings agree where both know them: a later version may have settings that an earlier one had not."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return all(_alike(one[key], other[key]) for key in one.keys() & other.keys())
    return one == other


def read_study(config: StudyConfig) -> list[Rows]:
    """Return the tables from the nets whose trials are all done; a row without any is absent, and so is a table without a row."""
    parts: dict[str, list[Trials]] = {}
    for job in config.jobs():
        trials = job.trials()
        if trials is not None:
            parts.setdefault(job.configuration.name, []).append(trials)
    tables = []
    for number, table in config.tables.items():
        done = {name: parts[c.name] for name, c in table.items() if c.name in parts}
        if done:
            full = next((name for name, c in TABLES[number].items() if c == FULL), "")
            fewer = [f"{name}: {len(nets)} only." for name, nets in done.items() if len(nets) < config.seeds]
            note = " ".join([_note(config, table.values()), *fewer])
            rows = {name: joined(nets) for name, nets in done.items()}
            tables.append(Rows(title=TITLES[number], full=full, trials=rows, paper=PAPER[number], note=note))
    return tables


def _note(config: StudyConfig, table: Any) -> str:
    """Say how the nets of a table were trained."""
    parts = []
    for strategy in dict.fromkeys(c.strategy for c in table):
        made = Configuration(strategy=strategy).training(config.base, 0)
        parts.append(f"{NAMES[strategy]} {made.train.epochs} epochs, {made.frame_dim} features a frame and modality")
    pictures = "ResNet-18 end to end" if config.base.pictures.end_to_end else f"frozen {config.base.pictures.backbone}"
    size = f"Nets a row: {config.seeds}; trials of each on each object: {config.trials}"
    return f"{size}. Trained: {'; '.join(parts)}; pictures by {pictures}."


def read_trials(reader: EpisodeReader, rows: np.ndarray, *, net: int = 0) -> Trials:
    """Return what trials or demonstrations gave.

    Args:
        reader: episodes of the SoftGrasp world.
        rows: (N,) which of them.
        net: number of the net that made them; 0 for a person.
    """
    torque = [stable_torque(reader.episode(int(row), streams=("hand.joint_torque",))) for row in rows]
    return Trials(
        net=np.full(len(rows), net),
        number=reader.indices[rows],
        object=np.array([int(str(name).rsplit("-", 1)[1]) for name in reader.column("group.object")[rows]]),
        hardness=reader.column("group.hardness")[rows].astype(str),
        **{
            name: reader.column(f"truth.{name}")[rows].astype(float)
            for name in ("success", "crushed", "deformation", "peak_force")
        },
        stable_torque=np.stack(torque),
    )


def stable_torque(episode: Episode) -> np.ndarray:
    """Return the mean joint torque (6,) [N m] of the stable stage, NaN if there was none."""
    begin = [event.time for event in episode.events if event.name == "stable"]
    stream = episode.streams.get("hand.joint_torque")
    if not begin or stream is None:
        return np.full(6, np.nan)
    return stream.values[stream.times >= begin[-1]].mean(axis=0).astype(float)


def run_feedback(
    out: Path, *, objects: tuple[int, ...], demos: int, seed: int = 0, workers: int = 2, felt: Path | None = None
) -> tuple[Trials, Trials]:
    """Collect demonstrations with and without the glove's torque; return both.

    Args:
        out: folder of both data sets.
        objects: IDs.
        demos: of each object.
        seed: of both.
        workers: processes.
        felt: demonstrations with torque of the same objects and seed, if there are some already.
    """
    both = []
    for name, feels in (("felt", True), ("unfelt", False)):
        folder = felt if feels and felt is not None else out / name
        if folder != felt:
            collect_demonstrations(
                DemonstrationConfig(
                    out=folder, demos=demos, objects=objects, seed=seed, feels=feels, workers=workers, resume=True
                )
            )
        reader = open_dataset(folder)
        both.append(read_trials(reader, np.flatnonzero(reader.indices < demos * len(objects))))
    return both[0], both[1]
