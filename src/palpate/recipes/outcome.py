"""The outcome model of "Learning Gentle Grasping Using Vision, Sound, and Touch" (Nakahara and Calandra, 2025), Section IV.

Trains the action-conditional net on episodes, cross-validates with groups kept whole, and writes the run, which
`recipes/outcome_run.py` uses.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palpate.core.errors import DataError, PalpateError, RunError, UnknownNameError
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.data.splits import grouped_folds
from palpate.evaluation.inputs import PredictionTable
from palpate.evaluation.metrics import accuracy
from palpate.learning.batches import Arrays, concatenate
from palpate.learning.calibration import cross_calibrate, fit_calibrators
from palpate.learning.checkpoint import Run, save_run
from palpate.learning.loop import TrainConfig, fit, predict
from palpate.models.outcome import ACTIONS, PLACE, OutcomeNet, OutcomeNetConfig
from palpate.recipes.outcome_data import FeatureSettings, Rows, fingers, gentle_rows, image_features, raw_views
from palpate.recipes.regrasp_data import regrasp_rows
from palpate.recipes.touch_backbone import TouchBackbone, sensor_of

MODALITIES = ("vision", "touch", "action")

FINAL_SEED = 10_000
"""Added to the seed of the model that is trained on all data."""


@dataclass(frozen=True, kw_only=True)
class OutcomeConfig:
    """One training run. The net is the paper's; rate, batch and epochs are ours (see docs/gentle.md)."""

    data: Path
    out: Path
    also: tuple[Path, ...] = ()
    """Further data sets of the same task to train on, for example one collected on-policy."""
    trials: tuple[int, int] | None = None
    """Learn only from those trials of `data` from the first number to before the second, for learning curves; None: all."""
    modalities: tuple[str, ...] = MODALITIES
    numbers: bool = True
    """Vision tells, beside its picture, what perception measured in it (`VISION_NUMBERS`). The papers' models see the picture alone."""
    folds: int = 5
    group: str = "trial"
    seed: int = 0
    features: FeatureSettings = field(default_factory=FeatureSettings)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=15, weight_decay=0.05, learning_rate=7e-4))
    width: int = 1024
    final: bool = True
    """Also train on all data, for use in the planner."""
    ablations: bool = True
    """Also measure the cross-validated nets with one modality zeroed or shuffled."""
    fine_tune: bool = False
    """Train the backbone end to end on raw views, as the paper does, instead of using frozen, cached features."""
    resume: bool = False


ROWS: dict[str, Callable[[EpisodeReader], Rows]] = {"gentle": gentle_rows, "regrasp": regrasp_rows}
"""How each task's episodes become samples."""

ACTION_INPUTS = {"gentle": ("motion", "joints"), "regrasp": ("action",)}
VISION_NUMBERS: dict[str, tuple[str, ...]] = {"gentle": (), "regrasp": (PLACE,)}
"""What the camera tells beside its picture."""


def task_of(reader: EpisodeReader) -> str:
    """Return the task of a data set, if the outcome model can learn it.

    Raises:
        DataError: it is another task.
    """
    if reader.head.task not in ROWS:
        raise DataError(f"{reader.root} holds trials of {reader.head.task!r}; the outcome model learns {', '.join(ROWS)}")
    return reader.head.task


def inputs_of(
    modalities: tuple[str, ...], touch: tuple[str, ...], task: str = "gentle", *, numbers: bool = True
) -> tuple[str, ...]:
    """Return the net's inputs for these modalities and fingers; with `numbers`, vision is more than its picture."""
    for name in modalities:
        if name not in MODALITIES:
            raise UnknownNameError("modality", name, MODALITIES)
    measured = VISION_NUMBERS[task] if numbers else ()
    out: list[str] = ["vision", *measured] if "vision" in modalities else []
    if "touch" in modalities:
        if not touch:
            raise PalpateError("this data set has no touch; leave `touch` out of --modalities")
        out += [f"touch.{finger}" for finger in touch]
    return (*out, *(ACTION_INPUTS[task] if "action" in modalities else ()))


def model_name(modalities: tuple[str, ...]) -> str:
    """Return the modalities joined by `+`, in fixed order."""
    return "+".join(name for name in MODALITIES if name in modalities)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """All views of all rows, ready to be cut into folds."""

    rows: Rows
    views: tuple[Arrays, ...]
    """One set of arrays (N rows) per crop; the first is the crop in the middle, used for predictions."""


def load_samples(reader: EpisodeReader, inputs: tuple[str, ...], settings: FeatureSettings, *, raw: bool = False) -> Samples:
    """Read rows and features (or `raw` views) of a data set; all images at once, so that every model shares the cache."""
    rows = ROWS[task_of(reader)](reader)
    images = ("vision", *(f"touch.{finger}" for finger in fingers(reader)))
    wanted = [name for name in inputs if name in images]
    positions = rows.position[:: len(np.unique(rows.moment))]
    features: dict[str, np.ndarray] = {}
    if raw and wanted:
        features = {name: view[None] for name, view in raw_views(reader, positions, images).items()}
    elif wanted:
        features = image_features(reader, positions, images, settings)
    present = {name: reader.present("camera.rgb" if name == "vision" else name)[rows.position] for name in wanted}
    presence = {name: mask for name, mask in present.items() if not mask.all()}
    n_views = 1 + settings.crops if wanted and not raw else 1
    views = tuple(
        Arrays(
            inputs={name: rows.actions[name] if name in rows.actions else features[name][view] for name in inputs},
            labels=rows.labels,
            presence=presence,
        )
        for view in range(n_views)
    )
    return Samples(rows=rows, views=views)


def some_trials(samples: Samples, start: int, stop: int) -> Samples:
    """Return the samples of the trials from number `start` to before `stop`, in the order of the data.

    Raises:
        DataError: there are fewer, or less than two are asked for.
    """
    rows = samples.rows
    trials = np.unique(rows.trial)
    if not 0 <= start <= stop - 2 <= len(trials) - 2:
        raise DataError(
            f"trials {start} to {stop} are asked for and the data has {len(trials)}; ask for 2 to {len(trials)}, or collect more"
        )
    kept = np.flatnonzero(np.isin(rows.trial, trials[start:stop]))
    arrays = {name: getattr(rows, name)[kept] for name in ("position", "trial", "object", "pose", "moment", "labels")}
    rows = replace(rows, actions={name: values[kept] for name, values in rows.actions.items()}, **arrays)
    return Samples(rows=rows, views=tuple(view.take(kept) for view in samples.views))


def join_samples(parts: Sequence[Samples]) -> Samples:
    """Return several data sets as one; the trials of the second are numbered on from those of the first."""
    if len(parts) == 1:
        return parts[0]
    if len({part.rows.outcomes for part in parts}) > 1 or len({tuple(part.views[0].inputs) for part in parts}) > 1:
        raise DataError("the data sets are of different tasks or sensors; train on those of one")
    starts = np.cumsum([0, *(int(part.rows.trial.max()) + 1 for part in parts[:-1])])
    names = ("position", "object", "pose", "moment", "labels")
    rows = replace(
        parts[0].rows,
        trial=np.concatenate([part.rows.trial + start for part, start in zip(parts, starts, strict=True)]),
        actions={k: np.concatenate([part.rows.actions[k] for part in parts]) for k in parts[0].rows.actions},
        **{name: np.concatenate([getattr(part.rows, name) for part in parts]) for name in names},
    )
    return Samples(rows=rows, views=tuple(concatenate(list(views)) for views in zip(*(p.views for p in parts), strict=True)))


def train_net(samples: Samples, chosen: np.ndarray, inputs: tuple[str, ...], config: OutcomeConfig, seed: int) -> OutcomeNet:
    """Train one net on the chosen rows (N,) bool, all crops."""
    data = concatenate([view.take(np.flatnonzero(chosen)) for view in samples.views])
    shape: dict[str, Any] = {"inputs": inputs, "outcomes": samples.rows.outcomes, "width": config.width}
    if "action" in inputs:
        shape |= {"action_dim": data.inputs["action"].shape[1], "sharing": "touch"}
    if PLACE in inputs:
        shape |= {"place_dim": data.inputs[PLACE].shape[1]}
    torch.manual_seed(seed)
    if config.fine_tune:
        shape |= {"encoder": config.features.backbone, "image_size": config.features.size}
    else:
        dims = {name.split(".")[0]: array.shape[1] for name, array in data.inputs.items() if name not in (PLACE, *ACTIONS)}
        shape |= {"feature_dim": dims.get("vision", 1280), "touch_dim": dims.get("touch", 0)}
    net = OutcomeNetConfig(**shape).build(pretrained=config.fine_tune)
    net.fit_normalisation(data.inputs, data.presence)
    fit(net, data, TrainConfig(**{**asdict(config.train), "seed": seed}), progress=False)
    return net


def group_values(rows: Rows, group: str) -> np.ndarray:
    """Return what must not cross folds for each row."""
    groups = {"trial": rows.trial, "object": rows.object, "pose": rows.pose}
    if group not in groups:
        raise UnknownNameError("group", group, groups)
    return groups[group]


def named_accuracy(outcomes: tuple[str, ...], labels: np.ndarray, probs: np.ndarray) -> dict[str, float]:
    """Return the accuracy by outcome, and of `both` where there are two."""
    names = (*outcomes, "both") if len(outcomes) > 1 else outcomes
    return dict(zip(names, accuracy(labels, probs), strict=False))


def prediction_table(
    rows: Rows, probs: np.ndarray, fold: np.ndarray, config: OutcomeConfig, ablation: str = "none"
) -> PredictionTable:
    """Return predictions (N, K) of rows, with the folds (N,) in which each was held out, as a table."""
    return PredictionTable(
        model=model_name(config.modalities),
        split=config.group,
        seed=config.seed,
        fold=fold,
        trial=rows.trial,
        object=rows.object,
        pose=rows.pose,
        moment=rows.moment,
        labels=rows.labels,
        probs=np.clip(probs, 0.0, 1.0),
        ablation=ablation,
        backbone=config.features.name,
    )


def _ablated(view: Arrays, modality: str, how: str, rng: np.random.Generator, net: OutcomeNet) -> Arrays:
    """Return the samples with one modality's inputs set to their training mean (`zero`) or exchanged between samples."""
    names = [n for n in view.inputs if n.split(".")[0] == modality or (modality == "action" and n in ACTIONS)]
    order = rng.permutation(len(view))
    inputs = dict(view.inputs)
    for name in names:
        mean = net.training_mean(name)
        flat = np.broadcast_to(mean, inputs[name].shape).astype(inputs[name].dtype)
        inputs[name] = flat if how == "zero" else inputs[name][order]
    return Arrays(inputs=inputs, labels=view.labels, presence=view.presence)


def cross_validate(
    samples: Samples, inputs: tuple[str, ...], config: OutcomeConfig, tell: Callable[[str], None]
) -> list[PredictionTable]:
    """Train once per fold with groups kept whole and return the held-out predictions, then those with ablated inputs."""
    rows = samples.rows
    groups = group_values(rows, config.group)
    n_folds = min(config.folds, len(np.unique(groups)))
    if n_folds < 2:
        raise PalpateError(f"--folds {config.folds} by {config.group}: at least 2 groups are needed, the data has {n_folds}")
    fold = grouped_folds(groups, n_folds, config.seed)
    ablate = config.ablations and not config.fine_tune
    modalities = [m for m in MODALITIES if m in config.modalities] if ablate else []
    names = ["none", *(f"{m}:{how}" for m in modalities for how in ("zero", "shuffle"))]
    probs = {name: np.zeros((len(fold), len(rows.outcomes))) for name in names}
    for k in range(n_folds):
        path = config.out / "folds" / f"fold-{k}.npz"
        test = np.flatnonzero(fold == k)
        if config.resume and path.exists():
            stored = np.load(path, allow_pickle=False)
            for name in names:
                probs[name][test] = stored[name]
            continue
        net = train_net(samples, fold != k, inputs, config, seed=config.seed * 100 + k)
        view = samples.views[0].take(test)
        rng = np.random.default_rng([config.seed, k])
        for name in names:
            modality, _, how = name.partition(":")
            data = view if name == "none" else _ablated(view, modality, how, rng, net)
            probs[name][test] = predict(net, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".tmp").open("wb") as file:
            np.savez(file, allow_pickle=False, **{name: probs[name][test] for name in names})
        path.with_suffix(".tmp").replace(path)
        first = test[rows.moment[test] == "initial"]
        found = named_accuracy(rows.outcomes, rows.labels[first], probs["none"][first])
        words = "  ".join(f"{name} {value:.3f}" for name, value in found.items())
        tell(f"  fold {k + 1}/{n_folds}: {words}  (before the regrasp)")
    return [prediction_table(rows, probs[name], fold, config, name) for name in names]


def _touch_encoder(
    config: OutcomeConfig, readers: Sequence[EpisodeReader], tell: Callable[[str], None]
) -> tuple[TouchBackbone | None, dict[str, str] | None]:
    """Return the touch encoder of a training, if it uses one, and what the run says of it."""
    folder = config.features.touch_encoder
    if folder is None or "touch" not in config.modalities:
        return None, None
    if config.fine_tune:
        raise PalpateError("--touch-encoder is frozen and --fine-tune trains the networks of all pictures: choose one of them")
    for reader in readers:
        if not fingers(reader):
            there = ", ".join(sorted(reader.streams)) or "nothing"
            raise DataError(
                f"--touch-encoder sees touch pictures and {reader.root} has none, but {there}; leave it out, or give other data"
            )
    backbone = TouchBackbone.open(folder)
    sensors = [sensor_of(reader, f"touch.{finger}") for reader in readers for finger in fingers(reader)]
    tell(backbone.words(sensors))
    return backbone, {"run": str(folder.resolve()), "fingerprint": backbone.fingerprint(), "sensor": sensors[0]}


def train_outcome(config: OutcomeConfig, tell: Callable[[str], None]) -> Path:
    """Cross-validate and train the final model; write the run and return its folder.

    Raises:
        PalpateError: unusable data or settings; the message names them.
    """
    if (config.out / "run.json").exists() and not config.resume:
        raise RunError(f"{config.out} holds a finished run; choose another --out, or --resume to keep it")
    reader = open_dataset(config.data)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    readers = [reader, *(open_dataset(path) for path in config.also)]
    backbone, touch_encoder = _touch_encoder(config, readers, tell)
    inputs = inputs_of(config.modalities, fingers(reader), task_of(reader), numbers=config.numbers)
    parts = [load_samples(r, inputs, config.features, raw=config.fine_tune) for r in readers]
    if config.trials is not None:
        parts[0] = some_trials(parts[0], *config.trials)
    samples = join_samples(parts)
    tell(f"{model_name(config.modalities)}: {len(np.unique(samples.rows.trial))} trials, {len(samples.rows.trial)} rows")
    metrics: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    config.out.mkdir(parents=True, exist_ok=True)
    if backbone is not None and config.final:
        backbone.keep(config.out)
    if config.folds:
        tables = cross_validate(samples, inputs, config, tell)
        platt = replace(tables[0], probs=cross_calibrate(tables[0].probs, tables[0].labels, tables[0].fold), ablation="platt")
        platt.save(config.out / "calibrated.npz")
        for table in tables:
            name = "predictions" if table.ablation == "none" else f"ablation-{table.ablation.replace(':', '-')}"
            table.save(config.out / f"{name}.npz")
        first = tables[0].moment == "initial"
        found = named_accuracy(samples.rows.outcomes, tables[0].labels[first], tables[0].probs[first])
        metrics = {**found, "n": int(first.sum()), "group": config.group}
        extra["platt"] = fit_calibrators(tables[0].probs, tables[0].labels)
    if config.final:
        everything = np.ones(len(samples.rows.trial), bool)
        net = train_net(samples, everything, inputs, config, seed=config.seed + FINAL_SEED)
        extra |= {
            "recipe": "outcome",
            "task": task_of(reader),
            "modalities": list(config.modalities),
            "backbone": config.features.backbone,
            "backbone_weights": None if config.features.weights is None else str(config.features.weights),
            "image_size": config.features.size,
            "crops": config.features.crops,
            "fine_tuned": config.fine_tune,
            "touch_encoder": touch_encoder,
            "data": str(config.data.resolve()),
            "also": [str(path.resolve()) for path in config.also],
            "seed": config.seed,
            "group": config.group,
        }
        run = Run(net=net.config.to_dict(), train=asdict(config.train), metrics=metrics, weights=net.state_dict(), extra=extra)
        save_run(config.out, run)
    return config.out


def train_missing(config: OutcomeConfig) -> list[str]:
    """Train what `train_outcome` has not finished yet, as a worker of a study does; return what it told."""
    lines: list[str] = []
    if not (config.out / "predictions.npz").exists() or (config.final and not (config.out / "run.json").exists()):
        train_outcome(config, lines.append)
    return lines
