"""Hardness by touch: train an estimator on presses, and score one (after Yuan, Srinivasan and Adelson, 2016).

What is told from a press depends on its label: `METHODS` holds one way for each, and a run remembers which it was.

Shore 00 comes with an interval of 90 %, from pictures alone or with whatever else is known of the press: radius of the ball, approach,
force. One model is fitted for each combination, and every press is judged by the richest one that it has the data for. Without
radius and approach, stiffness and radius are confounded (see `sensors.touch.soft`), and the interval says so.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from palpate.core.errors import DataError, PalpateError, RecordError, RunError, UnknownNameError
from palpate.core.randomness import generator
from palpate.core.records import Episode
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.learning.checkpoint import Run, load_run, save_run
from palpate.learning.hardness import CONFIDENCE, Estimate, IntervalRegressor
from palpate.perception.hardness_scale import young_of_shore_00
from palpate.perception.press_geometry import EXTRAS, describe_press, measure_press
from palpate.recipes.hardness_rank import evaluate_ranks, train_ranks
from palpate.recipes.hardness_touch import Components, PressTouch
from palpate.recipes.touch_backbone import TouchBackbone, sensor_of
from palpate.recipes.touch_press import find_sensor, optics_for, resized
from palpate.sensors.touch.optics import Optics

TOUCH, FORCE, APPROACH, RADIUS = "touch.pad", "press.force", "press.approach", "radius"
_COMPONENTS = "touch"
"""Weights of a run that belong to no estimator."""
CLOSE = 5.0
"""An estimate within so many points of Shore 00 counts as right for `accuracy`: about what two durometers differ by."""


@dataclass(frozen=True, kw_only=True)
class HardnessConfig:
    """One training run."""

    data: Path
    out: Path
    seed: int = 0
    sensor: str | None = None
    """Name or file of the sensor that made the pictures; None: as the data set says."""
    optics: Path | None = None
    """Calibrated optics of that sensor, if not its own."""
    touch_encoder: Path | None = None
    """Run of `palpate train touch` whose features join those of the pictures; see `recipes/hardness_touch.py`."""


@dataclass(frozen=True, kw_only=True)
class Presses:
    """Features of the presses of a data set that could be measured."""

    index: np.ndarray
    """(N,) number of the trial."""
    object: np.ndarray
    """(N,) name of the sample."""
    shore00: np.ndarray
    """(N,) label, nan where not known."""
    features: list[Mapping[str, np.ndarray]]
    """By source, as `describe_press`."""
    unusable: Mapping[int, str]
    """Trials that could not be measured, with the reason."""
    touch: np.ndarray | None = None
    """(N, D) of a touch encoder, if there is one."""

    def having(self, sources: Collection[str]) -> np.ndarray:
        """Return (N,) bool: presses that have all these sources."""
        return np.array([set(sources) <= set(row) for row in self.features], bool)

    def matrix(self, sources: Collection[str], rows: np.ndarray) -> np.ndarray:
        """Return features (n, D) of the chosen rows."""
        chosen = [np.concatenate([self.features[row][source] for source in sources]) for row in rows]
        return np.array(chosen) if chosen else np.empty((0, 0))

    def joined(self, components: Components) -> "Presses":
        """Return the same with components of the touch encoder's features among those of the pictures."""
        assert self.touch is not None
        rows = [
            {**row, "image": np.concatenate([row["image"], told])}
            for row, told in zip(self.features, components(self.touch), strict=True)
        ]
        return replace(self, features=rows)


def find_optics(reader: EpisodeReader, sensor: str | None = None, file: Path | None = None) -> tuple[str, Optics]:
    """Return name and optics of the sensor behind a data set's touch pictures, at their size.

    Raises:
        DataError: no touch pictures, or of a sensor that nobody named or calibrated.
    """
    if TOUCH not in reader.streams:
        raise DataError(
            f"{reader.root} has no stream {TOUCH!r}; it has {sorted(reader.streams)}: hardness is told from presses"
        )
    name = sensor or reader.head.config.get("sensor")
    if not name:
        raise DataError(
            f"{reader.root} does not say which sensor made its pictures; give its name or description with --sensor"
        )
    shape = reader.streams[TOUCH].shape
    model = find_sensor(str(name))
    optics, _ = optics_for(resized(model, max(shape[:2])), file)
    if not isinstance(optics, Optics):
        raise DataError(f"sensor {name} has no calibrated optics; fit them with `palpate calibrate touch` and give --optics")
    return model.name, optics.resized((shape[0], shape[1]))


@threadpool_limits.wrap(limits=1)  # one small picture at a time: threads only wait for one another
def read_presses(reader: EpisodeReader, optics: Optics, touch: PressTouch | None = None) -> Presses:
    """Measure every press of a data set, and look at it with a touch encoder if there is one; what cannot be measured is listed."""
    found: list[tuple[int, Mapping[str, np.ndarray]]] = []
    felt: list[np.ndarray] = []
    unusable: dict[int, str] = {}
    wanted = [name for name in (TOUCH, FORCE, APPROACH) if name in reader.streams]
    for position in range(len(reader)):
        index = int(reader.indices[position])
        try:
            episode = reader.episode(position, streams=wanted)
            found.append((position, describe_episode(episode, optics)))
            felt += [] if touch is None else [touch(episode.streams[TOUCH])]
        except RecordError as error:
            unusable[index] = str(error)
    rows = np.array([position for position, _ in found], int)
    known = "label.shore00" in reader.names
    return Presses(
        index=reader.indices[rows],
        object=reader.column("group.object")[rows].astype(str),
        shore00=reader.column("label.shore00")[rows] if known else np.full(len(rows), np.nan),
        features=[features for _, features in found],
        unusable=unusable,
        touch=np.array(felt) if felt else None,
    )


def describe_episode(episode: Episode, optics: Optics) -> dict[str, np.ndarray]:
    """Return the features of one recorded press; RecordError if it shows no press.

    A series that does not reach over the whole video counts as not known.

    Args:
        episode: with the stream `touch.pad`, and if known `press.force`, `press.approach` and the array `radius`.
        optics: of its pictures.
    """
    if TOUCH not in episode.streams:
        raise RecordError(f"trial {episode.index} has no pictures ({TOUCH!r})")
    pictures = episode.streams[TOUCH]
    series: dict[str, np.ndarray | None] = {}
    for name in (FORCE, APPROACH):
        stream = episode.streams.get(name)
        if stream is not None and stream.times[0] <= pictures.times[0] + 1e-9 and stream.times[-1] >= pictures.times[-1] - 0.1:
            series[name] = np.interp(pictures.times, stream.times, stream.values[:, 0].astype(float))
    radius = episode.arrays.get(RADIUS)
    return describe_press(
        measure_press(pictures.values, optics),
        radius=None if radius is None else float(radius[0]),
        approach=series.get(APPROACH),
        force=series.get(FORCE),
    )


def combos(extras: Collection[str] = EXTRAS) -> list[tuple[str, ...]]:
    """Return every set of sources with pictures in it, richer ones first."""
    ordered = [name for name in EXTRAS if name in extras]
    return [("image", *some) for size in range(len(ordered), -1, -1) for some in combinations(ordered, size)]


def fit_estimators(
    presses: Presses, seed: int, sets: Collection[tuple[str, ...]] | None = None
) -> dict[str, IntervalRegressor]:
    """Fit one estimator for each set of sources that labelled presses have; names are joined by `+`.

    Raises:
        DataError: too few labelled objects.
    """
    out = {}
    for number, sources in enumerate(combos() if sets is None else sets):
        rows = np.flatnonzero(presses.having(sources) & np.isfinite(presses.shore00))
        if len(rows) or sources == ("image",):
            rng = generator(seed, number)
            features, target = presses.matrix(sources, rows), presses.shore00[rows]
            out["+".join(sources)] = IntervalRegressor.fit(features, target, presses.object[rows], rng)
    return out


def judge(models: Mapping[str, IntervalRegressor], presses: Presses, extras: Collection[str]) -> tuple[Estimate, list[str]]:
    """Return estimates of all presses, each by the richest model that it has the data for, and that model's name.

    Args:
        models: of `fit_estimators`.
        presses: to judge.
        extras: which of `EXTRAS` may be used.
    """
    value, low, high = (np.full(len(presses.index), np.nan) for _ in range(3))
    used = [""] * len(presses.index)
    for sources in (sources for sources in combos(extras) if "+".join(sources) in models):
        name = "+".join(sources)
        rows = np.flatnonzero(presses.having(sources) & np.isnan(value))
        if len(rows):
            said = models[name].predict(presses.matrix(sources, rows))
            value[rows], low[rows], high[rows] = said.value, said.low, said.high
        for row in rows:
            used[row] = name
    return Estimate(value=value, low=low, high=high), used


def score(said: Estimate, presses: Presses) -> dict[str, Any]:
    """Return the figures of a set: n, spearman (over objects), mae, accuracy, coverage, width; None where nothing is known."""
    known = np.isfinite(presses.shore00)
    if not known.any():
        return {"n": 0, "objects": 0, **dict.fromkeys(("spearman", "mae", "accuracy", "coverage", "width"))}
    truth, value = presses.shore00[known], said.value[known]
    names, group = np.unique(presses.object[known], return_inverse=True)
    means = [np.bincount(group, weights=v) / np.bincount(group) for v in (truth, value)]
    varied = len(names) > 2 and all(np.ptp(v) > 0 for v in means)
    inside = (said.low[known] <= truth) & (truth <= said.high[known])
    return {
        "n": int(known.sum()),
        "objects": len(names),
        "spearman": float(np.corrcoef([rankdata(v) for v in means])[0, 1]) if varied else None,
        "mae": float(np.abs(value - truth).mean()),
        "accuracy": float((np.abs(value - truth) <= CLOSE).mean()),
        "coverage": float(inside.mean()),
        "width": float((said.high - said.low)[known].mean()),
    }


def _train_shore(reader: EpisodeReader, config: HardnessConfig, backbone: TouchBackbone | None) -> dict[str, Any]:
    """Fit on Shore 00 labels and write the run."""
    sensor, optics = find_optics(reader, config.sensor, config.optics)
    touch = None if backbone is None else PressTouch(backbone=backbone, sensor=sensor_of(reader, TOUCH, sensor))
    presses = read_presses(reader, optics, touch)
    weights: dict[str, torch.Tensor] = {}
    if presses.touch is not None:
        components = Components.fit(presses.touch[np.isfinite(presses.shore00)])
        presses = presses.joined(components)
        weights = {f"{_COMPONENTS}/{part}": torch.from_numpy(array) for part, array in vars(components).items()}
    models = fit_estimators(presses, config.seed)
    weights |= {
        f"{name}/{part}": torch.from_numpy(np.array(array, float))
        for name, model in models.items()
        for part, array in model.arrays().items()
    }
    table = {
        **({} if touch is None else {"touch_encoder": touch.words()}),
        "label": "shore00",
        "presses": len(presses.index),
        "objects": len(np.unique(presses.object)),
        "unusable": {str(index): reason for index, reason in presses.unusable.items()},
        "models": list(models),
        "confidence": CONFIDENCE,
    }
    extra = {
        "recipe": "hardness",
        "label": "shore00",
        "sensor": sensor,
        "optics": None if config.optics is None else str(config.optics.resolve()),
        "touch_encoder": None if touch is None else touch.about(),
        "data": str(config.data.resolve()),
    }
    save_run(
        config.out, Run(net={"models": list(models)}, train={"seed": config.seed}, metrics=table, weights=weights, extra=extra)
    )
    return table


def load_estimators(run: Run) -> dict[str, IntervalRegressor]:
    """Return the estimators of a saved run."""
    return {
        name: IntervalRegressor.of(
            {key.removeprefix(f"{name}/"): tensor.numpy() for key, tensor in run.weights.items() if key.startswith(f"{name}/")}
        )
        for name in run.net["models"]
    }


def _evaluate_shore(
    run: Run, reader: EpisodeReader, extras: Collection[str], optics: Path | None, backbone: TouchBackbone | None
) -> dict[str, Any]:
    """Judge every press of a data set."""
    own = run.extra["optics"]
    named = None if reader.head.config.get("sensor") else run.extra["sensor"]
    sensor, lit = find_optics(reader, named, optics or (None if own is None else Path(own)))
    if sensor != run.extra["sensor"]:
        raise RunError(
            f"this run was trained on presses of {run.extra['sensor']}, {reader.root} is of {sensor}: train one for it"
        )
    touch = None if backbone is None else PressTouch(backbone=backbone, sensor=run.extra["touch_encoder"]["sensor"])
    presses = read_presses(reader, lit, touch)
    if presses.touch is not None:
        presses = presses.joined(
            Components(**{part: run.weights[f"{_COMPONENTS}/{part}"].numpy() for part in ("mean", "axes")})
        )
    said, used = judge(load_estimators(run), presses, extras)
    young = {key: young_of_shore_00(np.clip(value, 0, 99)) for key, value in vars(said).items()}
    rows = [
        {
            "index": int(presses.index[i]),
            "object": str(presses.object[i]),
            "shore00": float(said.value[i]),
            "interval": [float(said.low[i]), float(said.high[i])],
            "young_pa": float(young["value"][i]),
            "young_interval_pa": [float(young["low"][i]), float(young["high"][i])],
            "label": float(presses.shore00[i]) if np.isfinite(presses.shore00[i]) else None,
            "inputs": used[i].split("+"),
        }
        for i in range(len(presses.index))
    ]
    unusable = {str(index): reason for index, reason in presses.unusable.items()}
    return {"label": "shore00", "confidence": CONFIDENCE, **score(said, presses), "unusable": unusable, "presses": rows}


@dataclass(frozen=True, kw_only=True)
class Method:
    """How one kind of label is learned and scored."""

    train: Callable[[EpisodeReader, HardnessConfig, TouchBackbone | None], dict[str, Any]]
    """Writes the run, whose `extra` holds `recipe` hardness, `label` and `touch_encoder`; returns its table."""
    evaluate: Callable[[Run, EpisodeReader, Collection[str], Path | None, TouchBackbone | None], dict[str, Any]]
    """Takes run, data, extras that may be used, optics of the data's sensor, the run's touch encoder; returns figures and a row for
    each press."""


def _train_ranks(reader: EpisodeReader, config: HardnessConfig, backbone: TouchBackbone | None) -> dict[str, Any]:
    return train_ranks(reader, config.out, config.seed, backbone)


METHODS: dict[str, Method] = {
    "shore00": Method(train=_train_shore, evaluate=_evaluate_shore),
    "hardness_rank": Method(train=_train_ranks, evaluate=evaluate_ranks),
}
"""By label, in order of preference where data have several."""


def train_hardness(config: HardnessConfig) -> dict[str, Any]:
    """Train on the hardness labels that a data set has; write the run and return its table.

    Raises:
        PalpateError: a finished run is there, no label that some method knows, too few objects.
    """
    if (config.out / "run.json").exists():
        raise PalpateError(f"{config.out} holds a finished run; choose another --out")
    reader = open_dataset(config.data)
    label = next((name for name in METHODS if f"label.{name}" in reader.names), None)
    if label is None:
        there = [name for name in reader.names if name.startswith("label.")]
        raise DataError(f"{config.data} has none of the labels {', '.join(METHODS)}; it has {', '.join(there) or 'no labels'}")
    backbone = None if config.touch_encoder is None else TouchBackbone.open(config.touch_encoder)
    if backbone is not None:
        backbone.keep(config.out)
    return METHODS[label].train(reader, config, backbone)


def evaluate_hardness(
    folder: Path, data: Path, *, extras: Collection[str] = EXTRAS, optics: Path | None = None
) -> dict[str, Any]:
    """Judge the presses of a data set by a run, as JSON values.

    Args:
        folder: of the run.
        data: folder of the data set; labels are only compared with.
        extras: which of `EXTRAS` may be used where a press has them; () is pictures only.
        optics: calibrated optics of the sensor, if not those of the run.

    Raises:
        PalpateError: no such run, no run on hardness, presses of another sensor, an unknown extra.
    """
    for name in extras:
        if name not in EXTRAS:
            raise UnknownNameError("extra", name, EXTRAS)
    run = load_run(folder)
    if run.extra.get("recipe") != "hardness" or run.extra.get("label") not in METHODS:
        raise RunError(f"{folder} is no run on hardness that this version knows; train one with `palpate train hardness`")
    backbone = TouchBackbone.kept(folder, run.extra.get("touch_encoder"))
    return METHODS[run.extra["label"]].evaluate(run, open_dataset(data), extras, optics, backbone)
