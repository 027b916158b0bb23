"""How much does each sense add? All models, several seeds, grouped by trial and by toy; and touch's gain against camera quality.

The evidence behind docs/gentle.md; `benchmarks/modalities.py` runs it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from palpate.core.records import Episode
from palpate.core.units import MM
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.data.splits import grouped_folds
from palpate.evaluation.inputs import GainCurve, PredictionTable
from palpate.evaluation.scores import Study
from palpate.learning.loop import TrainConfig
from palpate.perception.localise import RISE
from palpate.perception.views import OBJECT_SIDE, VIEW_SIZE
from palpate.recipes.outcome import OutcomeConfig, load_samples, model_name, train_missing
from palpate.recipes.outcome_data import CLEAR, Degradation, FeatureSettings, gentle_rows
from palpate.recipes.study_folder import claim
from palpate.recipes.touch_backbone import FOLDER, TouchBackbone
from palpate.recipes.workers import LocalWorkers, prepare_worker
from palpate.sensors.camera import CameraConfig

MODELS = (("vision", "touch", "action"), ("vision", "action"), ("vision", "touch"), ("touch", "action"), ("action",))
FULL, VISION = MODELS[0], MODELS[1]
FOCAL_PX = CameraConfig(world_from_camera=np.eye(4)).focal_px


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Size of the study."""

    data: Path
    out: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    groups: tuple[str, ...] = ("trial", "object")
    models: tuple[tuple[str, ...], ...] = MODELS
    base: OutcomeConfig
    """Training of every model; data, out, modalities, group and seed are filled in."""
    workers: int = 2

    @property
    def settings(self) -> dict[str, Any]:
        """What predictions depend on beside model, group and seed."""
        same = asdict(replace(self.base, data=self.data))
        for name in ("out", "modalities", "group", "seed", "final", "ablations", "resume"):
            del same[name]
        return same


def frozen_training(data: Path, out: Path, *, epochs: int, width: int, image_size: int) -> OutcomeConfig:
    """Return how a study trains its models: on features of frozen networks, one crop, on one thread."""
    return OutcomeConfig(
        data=data,
        out=out,
        width=width,
        features=FeatureSettings(size=image_size, crops=0),
        train=TrainConfig(epochs=epochs, learning_rate=1e-3, weight_decay=0.05, batch_size=256, threads=1),
    )


def cross_validations(config: StudyConfig, tell: Callable[[str], None]) -> list[PredictionTable]:
    """Run what is not done yet and return every prediction table, ablations included.

    Raises:
        PalpateError: unusable data, or a folder of a study with other settings.
    """
    claim(config.out, config.settings)
    jobs = [
        replace(
            config.base,
            data=config.data,
            out=config.out / f"{model_name(model)}-by-{group}-seed{seed}",
            modalities=model,
            group=group,
            seed=seed,
            final=False,
            ablations=model == FULL,
            resume=True,
        )
        for group in config.groups
        for seed in config.seeds
        for model in config.models
    ]
    todo = [job for job in jobs if not (job.out / "predictions.npz").exists()]
    if todo:  # once, on all cores, before several processes ask for the same features
        torch.set_num_threads(config.workers)
        load_samples(open_dataset(config.data), ("vision",), config.base.features)
    tables: list[PredictionTable] = []
    with LocalWorkers(config.workers, prepare_worker, ()) as workers:
        for job, _ in zip(jobs, workers.run(train_missing, [(job,) for job in jobs]), strict=True):
            tell(f"done: {job.out.name}")
            tables += [PredictionTable.load(path) for path in sorted(job.out.glob("*.npz")) if path.stem != "calibrated"]
    return tables


def learning_curve(
    config: StudyConfig, encoder: Path, sizes: Sequence[int], tell: Callable[[str], None], *, draws: int = 5
) -> dict[int, dict[str, Study]]:
    """Return, by number of trials and then by `encoder` and `untrained`, predictions with touch seen by the ImageNet network and by it.

    The two are backbones of a study; `untrained` is the same encoder with random weights.

    A small size is learned from several times, each time from other trials and with seeds of its own: which trials they were changes more
    than the seed does.

    Args:
        config: data of at least the largest size; each model is trained with every network. The seeds of every further draw follow on.
        encoder: run of `palpate train touch`.
        sizes: numbers of trials.
        tell: gets a line for each part that is done.
        draws: how often a size is learned from at most; the data may hold fewer that share no trial.
    """
    TouchBackbone.open(encoder).untrained().keep(config.out / "untrained")
    networks = {"imagenet": None, "encoder": encoder, "untrained": config.out / "untrained" / FOLDER}
    trials = len(np.unique(gentle_rows(open_dataset(config.data)).trial))
    found = {}
    for size in sizes:
        tables: dict[str, list[PredictionTable]] = {name: [] for name in networks}
        for draw in range(min(draws, max(trials // size, 1))):
            part = (draw * size, (draw + 1) * size)
            for name, network in networks.items():
                settings = replace(config.base.features, touch_encoder=network)
                some = replace(
                    config,
                    base=replace(config.base, features=settings, trials=part),
                    out=config.out / f"{part[0]}-{part[1]}-{name}",
                    seeds=tuple(len(config.seeds) * draw + seed for seed in config.seeds),
                )
                tables[name] += [t for t in cross_validations(some, lambda line: None) if t.ablation == "none"]
            tell(f"{size} trials, from number {part[0]}: done")
        found[size] = {name: Study([*tables["imagenet"], *tables[name]]) for name in ("encoder", "untrained")}
    return found


def size_error(reader: EpisodeReader, camera: Degradation, *, folds: int = 5, n: int = 600) -> float:
    """Return how exactly the camera measures the toy's half width: RMS error [m], toys held out.

    The toy's silhouette is what came nearer when it was set down, in the window that the model gets of this camera. Half width is
    regressed on its width, height and area in metres, by pose, and on the hand's yaw.
    """
    chosen = np.linspace(0, len(reader) - 1, min(n, len(reader))).astype(int)
    lying = (reader.column("group.pose")[chosen] == "lying").astype(float)
    yaw = reader.column("array.hand_pose")[chosen, 3]
    shapes = np.array([_silhouette(reader.episode(int(k), streams=["camera.depth"]), camera) for k in chosen])
    turn = np.stack([np.cos(2 * yaw), np.sin(2 * yaw)], axis=1)
    base = np.column_stack([shapes, turn, shapes * turn[:, :1], shapes * np.abs(turn[:, 1:])])
    x = np.column_stack([base, base * lying[:, None], lying])
    y = reader.column("truth.half_width")[chosen]
    fold = grouped_folds(reader.column("group.object")[chosen].astype(str), folds, 0)
    error = np.zeros(len(y))
    for k in range(folds):
        train, test = fold != k, fold == k
        scale = StandardScaler().fit(x[train])
        model = RidgeCV(alphas=(0.1, 1.0, 10.0, 100.0)).fit(scale.transform(x[train]), y[train])
        error[test] = model.predict(scale.transform(x[test])) - y[test]
    return float(np.sqrt(np.mean(error**2)))


def _silhouette(episode: Episode, camera: Degradation) -> np.ndarray:
    """Return width, height and square root of the area [m] of the toy in the camera's window, at its distance."""
    empty, placed = episode.streams["camera.depth"].values[:2]
    near = ((empty > 0) & (placed > 0) & (empty - placed > RISE)).astype(np.uint8) * 255
    near = cv2.medianBlur(near, 5)
    window = camera.view(np.repeat(near[..., None], 3, axis=2), episode.arrays["object_pixel"], episode.index)
    mask = window[..., 0] > 127
    distance = float(np.median(placed[near > 0])) if (near > 0).any() else 0.0
    metres = distance / FOCAL_PX * OBJECT_SIDE / VIEW_SIZE  # per pixel of the view, if the zoom is what it should be
    return metres * np.array([mask.any(axis=0).sum(), mask.any(axis=1).sum(), np.sqrt(mask.sum())])


def gain_curve(config: StudyConfig, cameras: Sequence[Degradation], tell: Callable[[str], None]) -> GainCurve:
    """Return what touch adds to `both` with toys held out, for ever worse cameras; the first is the real one."""
    reader = open_dataset(config.data)
    errors, gains = [], []
    for camera in cameras:
        base = replace(config.base, features=replace(config.base.features, camera=camera))
        out = config.out if camera == CLEAR else config.out / f"pixels{camera.pixels}-zoom{camera.zoom_sd:g}"
        part = replace(config, base=base, out=out, groups=("object",), models=(FULL, VISION))
        study = Study([t for t in cross_validations(part, lambda line: None) if t.ablation == "none"])
        full, vision = (study.select(model_name(m), "object") for m in (FULL, VISION))
        errors.append(size_error(reader, camera))
        gains.append(study.difference(full, vision)["both"])
        gain = gains[-1]
        tell(
            f"camera of {camera.pixels or 'all'} pixels, zoom sd {camera.zoom_sd:g}: size error {errors[-1] / MM:.2f} mm, "
            f"gain of touch {100 * gain.value:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
        )
    curve = GainCurve(
        size_error_mm=np.array(errors) / MM,
        gain=np.array([g.value for g in gains]),
        low=np.array([g.low for g in gains]),
        high=np.array([g.high for g in gains]),
        camera_error_mm=errors[0] / MM,
    )
    curve.save(config.out / "gain.npz")
    return curve
