"""The outcome model of "Learning Gentle Grasping Using Vision, Sound, and Touch" (Nakahara and Calandra, 2025), Section IV.

Trains the action-conditional net on a data set of episodes, cross-validates it with groups kept whole, and wraps it as an
`OutcomeModel` for the planner.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palpate.core.errors import PalpateError, RunError, UnknownNameError
from palpate.core.records import Observation
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.data.splits import grouped_folds
from palpate.evaluation.inputs import PredictionTable
from palpate.evaluation.metrics import accuracy
from palpate.learning.batches import Arrays, concatenate
from palpate.learning.checkpoint import Run, load_run, save_run
from palpate.learning.features import FeatureConfig, extract_features
from palpate.learning.loop import TrainConfig, fit, predict
from palpate.models.backbones import build_backbone
from palpate.models.outcome import NetScorer, OutcomeNet, OutcomeNetConfig
from palpate.perception.views import object_view, touch_view
from palpate.recipes.outcome_data import FeatureSettings, Rows, fingers, image_features, raw_views, read_rows

MODALITIES = ("vision", "touch", "action")

FINAL_SEED = 10_000
"""Added to the seed of the model that is trained on all data."""


@dataclass(frozen=True, kw_only=True)
class OutcomeConfig:
    """One training run. The net is the paper's; rate, batch and epochs are ours (see docs/gentle.md)."""

    data: Path
    out: Path
    modalities: tuple[str, ...] = MODALITIES
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


def inputs_of(modalities: tuple[str, ...], touch: tuple[str, ...]) -> tuple[str, ...]:
    """Return the net's inputs for these modalities and fingers."""
    for name in modalities:
        if name not in MODALITIES:
            raise UnknownNameError("modality", name, MODALITIES)
    out: list[str] = ["vision"] if "vision" in modalities else []
    if "touch" in modalities:
        if not touch:
            raise PalpateError("this data set has no touch; leave `touch` out of --modalities")
        out += [f"touch.{finger}" for finger in touch]
    return tuple(out + (["motion", "joints"] if "action" in modalities else []))


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
    rows = read_rows(reader)
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
    action: dict[str, np.ndarray] = {"motion": rows.motion, "joints": rows.joints}
    n_views = 1 + settings.crops if wanted and not raw else 1
    views = tuple(
        Arrays(
            inputs={name: action[name] if name in action else features[name][view] for name in inputs},
            labels=rows.labels,
            presence=presence,
        )
        for view in range(n_views)
    )
    return Samples(rows=rows, views=views)


def train_net(samples: Samples, chosen: np.ndarray, inputs: tuple[str, ...], config: OutcomeConfig, seed: int) -> OutcomeNet:
    """Train one net on the chosen rows (N,) bool, all crops."""
    data = concatenate([view.take(np.flatnonzero(chosen)) for view in samples.views])
    first = next((array for name, array in data.inputs.items() if name not in ("motion", "joints")), None)
    torch.manual_seed(seed)
    if config.fine_tune:
        size, name = config.features.size, config.features.backbone
        net = OutcomeNetConfig(inputs=inputs, width=config.width, encoder=name, image_size=size).build(pretrained=True)
    else:
        dim = 1280 if first is None else first.shape[1]
        net = OutcomeNetConfig(inputs=inputs, feature_dim=dim, width=config.width).build()
    net.fit_normalisation(data.inputs, data.presence)
    fit(net, data, TrainConfig(**{**asdict(config.train), "seed": seed}), progress=False)
    return net


def group_values(rows: Rows, group: str) -> np.ndarray:
    """Return what must not cross folds for each row."""
    groups = {"trial": rows.trial, "object": rows.object, "pose": rows.pose}
    if group not in groups:
        raise UnknownNameError("group", group, groups)
    return groups[group]


def _table(rows: Rows, probs: np.ndarray, fold: np.ndarray, config: OutcomeConfig, ablation: str = "none") -> PredictionTable:
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
        backbone=config.features.backbone,
    )


def _ablated(view: Arrays, modality: str, how: str, rng: np.random.Generator, net: OutcomeNet) -> Arrays:
    """Return the samples with one modality's inputs set to their training mean (`zero`) or exchanged between samples."""
    names = [n for n in view.inputs if n.split(".")[0] == modality or (modality == "action" and n in ("motion", "joints"))]
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
    probs = {name: np.zeros((len(fold), 2)) for name in names}
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
        stable, gentle, both = accuracy(rows.labels[first], probs["none"][first])
        tell(f"  fold {k + 1}/{n_folds}: stable {stable:.3f}  gentle {gentle:.3f}  both {both:.3f}  (before the regrasp)")
    return [_table(rows, probs[name], fold, config, name) for name in names]


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
    inputs = inputs_of(config.modalities, fingers(reader))
    samples = load_samples(reader, inputs, config.features, raw=config.fine_tune)
    tell(f"{model_name(config.modalities)}: {len(np.unique(samples.rows.trial))} trials, {len(samples.rows.trial)} rows")
    metrics: dict[str, Any] = {}
    config.out.mkdir(parents=True, exist_ok=True)
    if config.folds:
        tables = cross_validate(samples, inputs, config, tell)
        for table in tables:
            name = "predictions" if table.ablation == "none" else f"ablation-{table.ablation.replace(':', '-')}"
            table.save(config.out / f"{name}.npz")
        first = tables[0].moment == "initial"
        stable, gentle, both = accuracy(tables[0].labels[first], tables[0].probs[first])
        metrics = {"stable": stable, "gentle": gentle, "both": both, "n": int(first.sum()), "group": config.group}
    if config.final:
        everything = np.ones(len(samples.rows.trial), bool)
        net = train_net(samples, everything, inputs, config, seed=config.seed + FINAL_SEED)
        extra = {
            "recipe": "outcome",
            "modalities": list(config.modalities),
            "backbone": config.features.backbone,
            "backbone_weights": None if config.features.weights is None else str(config.features.weights),
            "image_size": config.features.size,
            "crops": config.features.crops,
            "fine_tuned": config.fine_tune,
            "data": str(config.data.resolve()),
            "seed": config.seed,
            "group": config.group,
        }
        run = Run(net=net.config.to_dict(), train=asdict(config.train), metrics=metrics, weights=net.state_dict(), extra=extra)
        save_run(config.out, run)
    return config.out


class OutcomePredictor:
    """A trained run as an `OutcomeModel`: from an observation to probabilities of many actions."""

    def __init__(self, folder: Path, *, precision: str = "fp32") -> None:
        """Load a run.

        Raises:
            RunError: the run is incomplete, or it is no outcome run on images.
        """
        run = load_run(folder)
        if run.extra.get("recipe") != "outcome":
            raise RunError(
                f"{folder} is a run of {run.extra.get('recipe')!r}, the planner needs one of `palpate train outcome` on images"
            )
        config = OutcomeNetConfig.from_dict(run.net)
        net = config.build()
        net.load_state_dict(dict(run.weights))
        self.name = model_name(tuple(run.extra["modalities"]))
        self.extra = run.extra
        self._scorer = NetScorer(net, precision="bf16" if precision == "bf16" else "fp32")
        self.outcomes = self._scorer.outcomes
        self._images = config.image_inputs
        weights = run.extra.get("backbone_weights")
        frozen = bool(self._images) and not config.encoder
        self._backbone = build_backbone(run.extra["backbone"], weights=Path(weights) if weights else None) if frozen else None
        # The crop in the middle, as in training: with random crops in the settings, view 0 is that crop.
        self._features = FeatureConfig(size=run.extra["image_size"], random_crops=int(run.extra["crops"] > 0))

    def views(self, observation: Observation) -> dict[str, np.ndarray]:
        """Return the model's view (256, 256, 3) of each image input that the observation has."""
        out: dict[str, np.ndarray] = {}
        for name in self._images:
            if name == "vision":
                if observation.camera is not None and observation.object_pixel is not None:
                    out[name] = object_view(observation.camera.rgb, observation.object_pixel)
                continue
            finger = name.split(".", 1)[1]
            now, rest = observation.touch.get(finger), observation.touch_rest.get(finger)
            if now is not None and rest is not None and now.image is not None and rest.image is not None:
                out[name] = touch_view(now.image, rest.image)
        return out

    def encode(self, observation: Observation) -> Any:
        """Return the state's share of the fusion layer; an absent sensor is absent."""
        views = self.views(observation)
        if self._backbone is None or not views:
            return self._scorer.encode_features({name: view[None] for name, view in views.items()})
        images = np.stack(list(views.values()))
        features = extract_features(self._backbone, images, self._features, progress=False)[0]
        return self._scorer.encode_features({name: features[i : i + 1] for i, name in enumerate(views)})

    def score(self, state: Any, actions: np.ndarray) -> np.ndarray:
        """Return (N, 2) float32 probabilities of stable and gentle for actions (N, 20)."""
        return self._scorer.score(state, actions)


def evaluate_outcome(folder: Path, data: Path) -> PredictionTable:
    """Predict every trial of a data set that the run has not seen."""
    run = load_run(folder)
    reader = open_dataset(data)
    modalities = tuple(run.extra["modalities"])
    inputs = inputs_of(modalities, fingers(reader))
    weights = run.extra.get("backbone_weights")
    settings = FeatureSettings(
        backbone=run.extra["backbone"],
        weights=Path(weights) if weights else None,
        size=run.extra["image_size"],
        crops=run.extra["crops"],
    )
    samples = load_samples(reader, inputs, settings, raw=bool(run.extra.get("fine_tuned")))
    net = OutcomeNetConfig.from_dict(run.net).build()
    net.load_state_dict(dict(run.weights))
    config = OutcomeConfig(
        data=data, out=folder, modalities=modalities, group="object", seed=run.extra["seed"], features=settings
    )
    fold = np.zeros(len(samples.rows.trial), int)
    return _table(samples.rows, predict(net, samples.views[0]), fold, config)
