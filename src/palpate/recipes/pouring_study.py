"""AnyTouch's Table 4 in our setting: how far from 60 g several policies pour, all from the same starting states.

Beside the policies that learn from demonstrations stand the person who gave them, and two that feel nothing (`pouring_blind`). Finished
parts are kept in the folder of the study, so that an interrupted one goes on.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palpate.core.errors import DataError, PalpateError, UnknownNameError
from palpate.core.protocols import Controller
from palpate.core.randomness import generator
from palpate.core.rollout import steer
from palpate.data.reader import open_dataset
from palpate.evaluation.intervals import cluster_mean, paired_difference
from palpate.evaluation.report_pouring import PERSON, STEPS, TILT, WITHIN
from palpate.recipes.pouring import EncoderMode, PouringController, PouringTraining, train_pouring
from palpate.recipes.pouring_blind import BLIND, best_number, blind_start
from palpate.recipes.pouring_task import Pourer, finished
from palpate.recipes.study_folder import claim, kept, slug
from palpate.recipes.touch_embedding import UNTRAINED
from palpate.recipes.workers import LocalWorkers, prepare_worker
from palpate.worlds.pouring import PouringConfig, PouringWorld

MODES: tuple[EncoderMode, ...] = ("frozen", "tuned")
PLAIN: Mapping[str, tuple[str, EncoderMode]] = {"pixels": ("pixels", "frozen"), "ImageNet, frozen": ("imagenet", "frozen")}
"""Rows of encoders that know nothing of touch."""
_FITTING = 6000
"""Seed of the starting states on which a blind policy's number is found; none of them is tested on."""


@dataclass(frozen=True, kw_only=True)
class PouringStudy:
    """How large a study, and of what."""

    demos: Path
    """Demonstrations, of the same world."""
    runs: Mapping[str, str]
    """Name of each touch encoder, and its folder of a run of `palpate train touch`."""
    out: Path
    seeds: int = 2
    """Trainings of each policy."""
    tuned_seeds: int | None = None
    """The same of each policy whose encoder is tuned, which takes longest; None: as many."""
    trials: int = 24
    """Closed-loop trials of each policy; the same starting states for all."""
    fitting: int = 12
    """Trials of each number that a blind policy tries."""
    modes: tuple[EncoderMode, ...] = MODES
    """What is done with each touch encoder."""
    plain: tuple[str, ...] = tuple(PLAIN)
    """Encoders that know nothing of touch, of `PLAIN`; the image network takes most of the time of all."""
    training: PouringTraining = field(default_factory=PouringTraining)
    world: PouringConfig = field(default_factory=lambda: PouringConfig(cups="same"))
    starts: int = 7000
    """Seed of the starting states."""
    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse a study without trials, and a row that is there anyway."""
        for name in sorted(set(self.plain) - set(PLAIN)):
            raise UnknownNameError("encoder that knows nothing of touch", name, tuple(PLAIN))
        names = sorted({UNTRAINED, PERSON, STEPS, TILT, "pixels", "ImageNet"} & set(self.runs))
        counts = (self.seeds, self.seeds_of("tuned"), self.trials, self.fitting)
        if min(counts) < 1 or names or not self.modes:
            raise PalpateError(
                f"a study takes one seed, tuned seed, trial and fitting trial or more (got {', '.join(map(str, counts))}), a mode, "
                f"and encoders of other names than its own rows (got {', '.join(names) or 'such'})"
            )

    def seeds_of(self, mode: EncoderMode) -> int:
        """Return how many trainings each policy of a mode gets."""
        return self.seeds if mode == "frozen" or self.tuned_seeds is None else self.tuned_seeds

    @property
    def settings(self) -> dict[str, Any]:
        """What finished parts depend on."""
        return {
            "demos": str(self.demos.resolve()),
            "starts": self.starts,
            "trials": self.trials,
            "fitting": self.fitting,
            "training": asdict(self.training),
            "world": asdict(self.world),
        }

    @property
    def rows(self) -> dict[str, tuple[str, EncoderMode]]:
        """Encoder and mode of each row that learns; the untrained encoder has the shape of the first run's."""
        out = {name: PLAIN[name] for name in self.plain}
        like = next(iter(self.runs.values()), None)
        touch = {**self.runs, UNTRAINED: UNTRAINED if like is None else f"{UNTRAINED}:{like}"}
        for mode in self.modes:
            out |= {f"{name}, {mode}": (encoder, mode) for name, encoder in touch.items()}
        return out


def run_pouring_study(config: PouringStudy, tell: Callable[[str], None]) -> dict[str, Any]:
    """Train and try what is not there yet; return the figures of all rows.

    Raises:
        PalpateError: unusable runs, data or settings, or a folder of a study with other settings.
    """
    world = open_dataset(config.demos).head.config.get("world")
    if world != json.loads(json.dumps(asdict(config.world))):
        raise DataError(f"{config.demos} holds demonstrations of another world than the study's: {world}")
    claim(config.out, config.settings)
    found: dict[str, list[list[float]]] = {}
    numbers: dict[str, float] = {}
    found[PERSON] = [_tried(config, slug(PERSON), "person", None)]
    for name, kind in ((STEPS, "steps"), (TILT, "tilt")):
        numbers[name] = kept(config.out / slug(name) / "number.json", lambda kind=kind: _number(config, kind))
        found[name] = [_tried(config, slug(name), kind, numbers[name])]
        tell(_line(name, found[name]))
    trained: dict[str, list[dict[str, Any]]] = {}
    for name, (encoder, mode) in config.rows.items():
        for seed in range(config.seeds_of(mode)):
            run = config.out / slug(name) / f"seed-{seed}" / "run"
            if not (run / "run.json").exists():
                training = replace(config.training, encoder=encoder, encoder_mode=mode)
                train_pouring(config.demos, run, replace(training, seed=seed), progress=False)
            trained.setdefault(name, []).append(json.loads((run / "run.json").read_text())["metrics"])
            found.setdefault(name, []).append(_tried(config, f"{slug(name)}/seed-{seed}", "policy", str(run)))
        tell(_line(name, found[name]))
    figures = {name: _figures(name, found) for name in found}
    settings = {key: value for key, value in config.settings.items() if key != "demos"}
    return {
        **settings,
        "seeds": config.seeds,
        "demonstrations": len(open_dataset(config.demos)),
        "numbers": numbers,
        "rows": figures,
        "held_out": trained,
    }


def _tried(config: PouringStudy, name: str, kind: str, value: Any) -> list[float]:
    """Return the errors [g] of one policy in all trials; `name` is its folder."""
    jobs = [(config.starts, index) for index in range(config.trials)]
    return kept(config.out / name / "errors.json", lambda: _errors(config, kind, value, jobs))


def _errors(config: PouringStudy, kind: str, value: Any, jobs: list[tuple[int, int]]) -> list[float]:
    with LocalWorkers(config.workers, _start, (config.world, kind, value)) as workers:
        return list(workers.run(_error, jobs))


def _number(config: PouringStudy, kind: str) -> float:
    """Return the best number of a blind policy."""
    jobs = [(_FITTING, index) for index in range(config.fitting)]
    start = blind_start(open_dataset(config.demos), kind)
    return best_number(start, lambda number: np.array(_errors(config, kind, number, jobs)))


_worker: dict[str, Any] = {}


def _start(world: PouringConfig, kind: str, value: Any) -> None:
    """Build world and policy, once per process."""
    prepare_worker()
    torch.set_num_threads(1)
    _worker["world"] = built = PouringWorld(world)
    _worker["controller"] = _controller(built, kind, value)


def _controller(world: PouringWorld, kind: str, value: Any) -> Controller:
    if kind == "person":
        return Pourer(lambda: world.scale)
    return PouringController(Path(value)) if kind == "policy" else BLIND[kind](value)


def _error(seed: int, index: int) -> float:
    """Run one trial and return its error [g]."""
    error = finished(steer(_worker["world"], _worker["controller"], seed, index)).labels["error_g"]
    assert error is not None
    return float(error)


def _line(name: str, errors: list[list[float]]) -> str:
    values = np.array(errors)
    return f"{name}: mean error {np.abs(values).mean():.2f} g, bias {values.mean():+.2f} g"


def _figures(name: str, found: Mapping[str, list[list[float]]]) -> dict[str, Any]:
    """Return the figures of one row, means over seeds of training with intervals over starting states; errors (seeds, trials) [g]."""
    errors = np.array(found[name])
    off, starts = np.abs(errors).mean(axis=0), np.arange(errors.shape[1])

    def less(blind: str) -> dict[str, Any] | None:
        other = np.abs(np.array(found[blind])).mean(axis=0)
        return None if name == blind else asdict(paired_difference(off, other, starts, generator(0, 9)))

    return {
        "mean_error_g": asdict(cluster_mean(off, starts, generator(0, 9))),
        "bias_g": asdict(cluster_mean(errors.mean(axis=0), starts, generator(0, 9))),
        "within": asdict(cluster_mean((np.abs(errors) <= WITHIN).mean(axis=0), starts, generator(0, 9))),
        "less_steps_g": less(STEPS),
        "less_tilt_g": less(TILT),
        "by_seed": np.abs(errors).mean(axis=1).tolist(),
        "errors_g": np.round(errors, 2).tolist(),
    }
