"""AnyTouch's Table 7 in our setting: cross-sensor generation from the features of several encoders, over seeds of the decoder.

All encoders are judged on the same touches of the same objects. An untrained one is always among them, and guesses without a decoder
stand beside them. Finished parts are kept in the folder of the study, so that an interrupted one goes on.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.errors import PalpateError
from palpate.core.randomness import generator
from palpate.data.reader import open_dataset
from palpate.evaluation.intervals import Interval, cluster_mean, paired_difference
from palpate.evaluation.tables import NOTHING, Table, plain
from palpate.learning.schedule import TrainConfig
from palpate.recipes.anytouch import AnyTouchConfig
from palpate.recipes.study_folder import claim, kept, slug
from palpate.recipes.touch_embedding import UNTRAINED, Source, untrained
from palpate.recipes.touch_generation import (
    NEAREST,
    GenerationConfig,
    GenerationSplit,
    by_object,
    errors,
    guesses,
    learn,
    open_encoder,
    open_split,
    scaled,
)

DIRECTIONS = (("gelsight-mini", "duragel"), ("gelsight-mini", "tac3d"), ("digit", "tac3d"))
"""From which sensor to which (Table 7)."""
PAPER: Mapping[str, tuple[float, ...]] = {"T3": (0.2261, 0.0167, 0.0155), "AnyTouch": (0.2159, 0.0151, 0.0144)}
"""Table 7: mean squared errors in the order of `DIRECTIONS`, in units that the paper does not tell."""

Judged = dict[str, list[float]]
"""Mean squared error of each object held out, by what made the change: `own` (the decoder), or a guess."""


@dataclass(frozen=True, kw_only=True)
class GenerationStudy:
    """How large a study, and of what."""

    runs: Mapping[str, str]
    """Name of each row, and its folder of a run of `palpate train touch`."""
    data: Path
    out: Path
    seeds: int = 1
    tune: bool = False
    held_out: float = AnyTouchConfig.held_out
    """Share of objects to judge by."""
    directions: tuple[tuple[str, str], ...] = DIRECTIONS
    train: TrainConfig = field(
        default_factory=lambda: GenerationConfig(run="", data=Path(), source="", target="", out=Path()).train
    )

    def __post_init__(self) -> None:
        """Refuse a study of nothing, and a row that is there anyway."""
        if not self.runs or self.seeds < 1 or UNTRAINED in self.runs:
            raise PalpateError(
                f"a study takes one run or more (got {', '.join(self.runs) or 'none'}; {UNTRAINED} is always added) and one seed or more"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What finished parts depend on."""
        return {"data": str(self.data.resolve()), "tune": self.tune, "held_out": self.held_out, "train": asdict(self.train)}


def run_generation_study(config: GenerationStudy, tell: Callable[[str], None]) -> dict[str, Any]:
    """Train and judge what is not there yet; return the figures of all rows.

    Raises:
        PalpateError: unusable runs, data or settings, or a folder of a study with other settings.
    """
    encoders = _encoders(config)
    claim(config.out, config.settings)
    found: dict[str, dict[str, list[list[float]]]] = {}
    for source, target in config.directions:
        direction = f"{source} to {target}"
        splits: dict[str, GenerationSplit] = {}
        for name, encoder in encoders.items():
            task = GenerationConfig(
                run=encoder.name, data=config.data, source=source, target=target, out=config.out, tune=config.tune,
                held_out=config.held_out, train=config.train,
            )  # fmt: skip
            for seed in range(config.seeds):
                judged = _judge(name, encoder, replace(task, train=replace(config.train, seed=seed)), splits)
                for key, values in judged.items():
                    row = {"own": name, NEAREST: f"{NEAREST}, {name}"}.get(key, key)
                    if row != key or (name == UNTRAINED and seed == 0):  # a guess is the same for all
                        found.setdefault(row, {}).setdefault(direction, []).append(values)
            tell(f"{direction}: judged {name}")
    return {
        "directions": [f"{source} to {target}" for source, target in config.directions],
        "seeds": config.seeds,
        **config.settings,
        "rows": {name: _figures(each, found[UNTRAINED]) for name, each in found.items()},
    }


def _encoders(config: GenerationStudy) -> dict[str, Source]:
    """Return the encoders by the name of their row, last an untrained one like the first; refuse pictures of several sizes."""
    out = {name: open_encoder(run) for name, run in config.runs.items()}
    sizes = {name: source.shape.size for name, source in out.items()}
    if len(set(sizes.values())) > 1:
        raise PalpateError(
            f"errors of pictures of several sizes cannot be compared: {sizes}; judge such encoders in a study each"
        )
    shape = next(iter(out.values())).shape
    return {**out, UNTRAINED: Source(name=UNTRAINED, net=untrained(shape, 0), run=None, shape=shape)}


def _judge(name: str, source: Source, task: GenerationConfig, splits: dict[str, GenerationSplit]) -> Judged:
    """Judge one encoder in one direction with one seed, or read what was found before; `splits` are kept between calls."""
    path = task.out / f"{task.source}-{task.target}" / f"seed-{task.train.seed}" / f"{slug(name)}.json"
    return kept(path, lambda: _judged(source, task, splits))


def _judged(source: Source, task: GenerationConfig, splits: dict[str, GenerationSplit]) -> Judged:
    if source.run is None:
        source = replace(source, net=untrained(source.shape, task.train.seed))
    seen = f"{source.shape.size} {source.shape.frames} {source.shape.view}"
    if seen not in splits:
        splits[seen] = open_split(open_dataset(task.data), source, task, progress=False)
    split = splits[seen]
    learned = learn(source, split, task, progress=False)
    changes = {"own": learned.change, NEAREST: split.train.change(learned.nearest), **guesses(split)}
    return {key: by_object(split.held, errors(split.held, change))["mse"].tolist() for key, change in changes.items()}


def _figures(row: Mapping[str, list[list[float]]], plainest: Mapping[str, list[list[float]]]) -> dict[str, Any]:
    """Return the error of one row by direction, mean over seeds with its interval over objects, and less that of the untrained encoder."""
    out = {}
    for direction, seeds in row.items():
        values, other = (np.mean(each, axis=0) for each in (seeds, plainest[direction]))
        names = np.arange(len(values))
        out[direction] = {
            "value": asdict(cluster_mean(values, names, generator(0, 9))),
            "less_untrained": None if row is plainest else asdict(paired_difference(values, other, names, generator(0, 9))),
            "by_seed": np.mean(seeds, axis=1).tolist(),
        }
    return out


def generation_study_tables(figures: Mapping[str, Any]) -> list[Table]:
    """Return Table 7 in our setting, and the paper's."""
    rows = []
    for name, row in figures["rows"].items():
        cells = []
        for direction in figures["directions"]:
            factor = 1.0 if direction.endswith("tac3d") else 1e3
            for key in ("value", "less_untrained"):
                cells.append(
                    NOTHING if row[direction][key] is None else plain(scaled(Interval(**row[direction][key]), factor), 2)
                )
        rows.append((name, *cells))
    heads = [("", 1), *((direction, 2) for direction in figures["directions"])]
    ours = Table(
        caption=f"Cross-sensor generation (Table 7): mean squared error, {figures['seeds']} seeds, 95 % intervals over objects",
        columns=("change by a decoder on, or by", *("error", f"less {UNTRAINED}") * len(figures["directions"])),
        rows=tuple(rows),
        note="Pictures: colours 0 to 1, x 1000. Fields of forces: mN2. Objects that no training saw, each counts the same.",
        heads=tuple(heads),
    )
    gain = tuple(f"{100 * (a / b - 1):+.1f} %" for a, b in zip(PAPER["AnyTouch"], PAPER["T3"], strict=True))
    paper = Table(
        caption="The paper's Table 7: mean squared error",
        columns=("encoder", *(f"{source} to {target}" for source, target in DIRECTIONS)),
        rows=(*((name, *(f"{value:.4f}" for value in values)) for name, values in PAPER.items()), ("AnyTouch to T3", *gain)),
        note="Real sensors, 25 objects; units, split and intervals are not told. T3 is another pre-trained encoder.",
    )
    return [ours, paper]
