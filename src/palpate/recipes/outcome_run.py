"""A trained outcome run in use: as the model that a planner asks, and scored on data that it has not seen."""

from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.errors import DataError, RunError
from palpate.core.records import Observation
from palpate.data.reader import open_dataset
from palpate.evaluation.inputs import PredictionTable
from palpate.learning.calibration import calibrate
from palpate.learning.checkpoint import load_run
from palpate.learning.features import FeatureConfig, extract_features
from palpate.learning.loop import predict
from palpate.models.backbones import build_backbone
from palpate.models.outcome import NetScorer, OutcomeNetConfig
from palpate.perception.views import object_view, touch_view
from palpate.recipes.outcome import OutcomeConfig, inputs_of, load_samples, model_name, prediction_table, task_of
from palpate.recipes.outcome_data import FeatureSettings, fingers
from palpate.recipes.touch_backbone import FOLDER, TouchBackbone


class OutcomePredictor:
    """A trained run as an `OutcomeModel`: from an observation to probabilities of many actions."""

    task = "gentle"
    """What the run must have been trained on."""

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
        if run.extra.get("task", "gentle") != self.task:
            raise RunError(f"{folder} was trained on {run.extra['task']!r} trials; a run on {self.task!r} trials is needed")
        config = OutcomeNetConfig.from_dict(run.net)
        net = config.build()
        run.fill(net)
        self.name = model_name(tuple(run.extra["modalities"]))
        self.extra = run.extra
        self._scorer = NetScorer(net, precision="bf16" if precision == "bf16" else "fp32")
        self.outcomes = self._scorer.outcomes
        self._touch = TouchBackbone.kept(folder, run.extra.get("touch_encoder"))
        self._images = tuple(name for name in config.image_inputs if self._touch is None or name == "vision")
        self._felt = tuple(name for name in config.image_inputs if name not in self._images)
        weights = run.extra.get("backbone_weights")
        frozen = bool(self._images) and not config.encoder
        self._backbone = build_backbone(run.extra["backbone"], weights=Path(weights) if weights else None) if frozen else None
        # The crop in the middle, as in training: with random crops in the settings, view 0 is that crop.
        self._features = FeatureConfig(size=run.extra["image_size"], random_crops=int(run.extra["crops"] > 0))

    def views(self, observation: Observation) -> dict[str, np.ndarray]:
        """Return the backbone's view (256, 256, 3) of each image input that it sees and the observation has."""
        out: dict[str, np.ndarray] = {}
        for name in self._images:
            if name == "vision":
                if observation.camera is not None and observation.object_pixel is not None:
                    out[name] = object_view(observation.camera.rgb, observation.object_pixel)
                continue
            pressed = _pressed(observation, name)
            if pressed is not None:
                out[name] = touch_view(*pressed)
        return out

    def felt(self, observation: Observation) -> dict[str, np.ndarray]:
        """Return the features (1, D) of each touch input that a touch encoder sees and the observation has."""
        out: dict[str, np.ndarray] = {}
        for name in self._felt:
            pressed = _pressed(observation, name)
            if pressed is not None and self._touch is not None:
                out[name] = self._touch.features(pressed[0][None], self.extra["touch_encoder"]["sensor"], pressed[1])
        return out

    def encode(self, observation: Observation) -> Any:
        """Return the state's share of the fusion layer; an absent sensor is absent."""
        views, numbers = self.views(observation), {**self.felt(observation), **self.numbers(observation)}
        if self._backbone is None or not views:
            return self._scorer.encode_features({**{name: view[None] for name, view in views.items()}, **numbers})
        images = np.stack(list(views.values()))
        features = extract_features(self._backbone, images, self._features, progress=False)[0]
        return self._scorer.encode_features({**{name: features[i : i + 1] for i, name in enumerate(views)}, **numbers})

    def numbers(self, observation: Observation) -> dict[str, np.ndarray]:
        """Return what the model senses beside images, (1, D) by input; nothing in gentle grasping."""
        del observation
        return {}

    def score(self, state: Any, actions: np.ndarray) -> np.ndarray:
        """Return (N, 2) float32 probabilities of stable and gentle for actions (N, 20)."""
        return self._scorer.score(state, actions)


def _pressed(observation: Observation, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the touch picture of an input and the gel at rest, (H, W, 3) uint8 each, if both are sensed."""
    finger = name.split(".", 1)[1]
    now, rest = observation.touch.get(finger), observation.touch_rest.get(finger)
    if now is None or rest is None or now.image is None or rest.image is None:
        return None
    return now.image, rest.image


def evaluate_outcome(folder: Path, data: Path) -> PredictionTable:
    """Predict every trial of a data set that the run has not seen."""
    run = load_run(folder)
    reader = open_dataset(data)
    modalities = tuple(run.extra["modalities"])
    task = task_of(reader)
    if task != run.extra.get("task", "gentle"):
        raise DataError(f"{data} holds trials of {task!r}, {folder} was trained on {run.extra.get('task', 'gentle')!r}")
    shape = OutcomeNetConfig.from_dict(run.net)
    inputs = tuple(name for name in inputs_of(modalities, fingers(reader), task) if name in shape.inputs)
    weights = run.extra.get("backbone_weights")
    settings = FeatureSettings(
        backbone=run.extra["backbone"],
        weights=Path(weights) if weights else None,
        size=run.extra["image_size"],
        crops=run.extra["crops"],
        touch_encoder=None if TouchBackbone.kept(folder, run.extra.get("touch_encoder")) is None else folder / FOLDER,
    )
    samples = load_samples(reader, inputs, settings, raw=bool(run.extra.get("fine_tuned")))
    net = shape.build()
    run.fill(net)
    config = OutcomeConfig(
        data=data, out=folder, modalities=modalities, group="object", seed=run.extra["seed"], features=settings
    )
    fold = np.zeros(len(samples.rows.trial), int)
    probs = predict(net, samples.views[0])
    if (
        task == "regrasp" and "platt" in run.extra
    ):  # as its planner does; gentle grasping plans with the net's own probabilities
        probs = calibrate(probs, run.extra["platt"])
    return prediction_table(samples.rows, probs, fold, config)
