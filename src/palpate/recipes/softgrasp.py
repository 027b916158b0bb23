"""Training a SoftGrasp policy, or one of its baselines, on demonstrations (Section 3.3).

Demonstrations are held out whole. What the policy predicts one step ahead of them is reported beside repeating the last value, which is
hard to beat at 30 Hz: a small error there says little, and only a closed loop tells whether a policy grasps.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from palpate.core.errors import DataError, PalpateError, RunError, UnknownNameError
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.learning.checkpoint import Run, save_run
from palpate.learning.loop import EpochRecord, TrainConfig, fit, run_net
from palpate.models.softgrasp import STRATEGIES, TOUCH, ImitationObjective, PolicyNetConfig, Strategy
from palpate.models.softgrasp_baselines import PolicyNet, build_policy, objective_of
from palpate.recipes.softgrasp_data import (
    ANGLE,
    CAMERA,
    MAX_AGE,
    RATE_HZ,
    RECIPE,
    TORQUE,
    Frames,
    PictureSettings,
    read_frames,
    with_pictures,
)
from palpate.recipes.softgrasp_samples import Scaling, Windows, held_out
from palpate.recipes.softgrasp_touch import FingerTouch, with_touch
from palpate.robots.glove_mapping import JOINTS


@dataclass(frozen=True, kw_only=True)
class SoftgraspTraining:
    """How to train: Table 3 where it says something, but fewer epochs at a larger rate."""

    strategy: Strategy = "softgrasp"
    """SoftGrasp, or a baseline: `direct`, `act`, `timesformer`."""
    modalities: tuple[str, ...] = ()
    """Any of `image`, `angle`, `torque`, `touch`; empty: those that the paper gives the strategy, and touch with a touch encoder."""
    touch_encoder: Path | None = None
    """Run of `palpate train touch` whose frozen encoder turns touch pictures into features."""
    pictures: PictureSettings = field(default_factory=PictureSettings)
    weights: Path | None = None
    """Where an end-to-end ResNet-18 starts from: a safetensors file in timm's key names; None: random numbers."""
    objective: ImitationObjective = field(default_factory=ImitationObjective)
    """Loss factor and thresholds; ACT has its own loss."""
    target: Literal["auto", "command", "position"] = "auto"
    """What the next angles are; see `read_frames`."""
    stack: int = 3
    """Frames that are seen (Table 3)."""
    frameskip: int = 5
    """Frames from one that is seen to the next (Table 3)."""
    frame_dim: int = 64
    hidden: int = 256
    """Sizes of the net; see `PolicyNetConfig`."""
    drop_rate: float = 0.0
    """Chance that a modality is called absent from a training sample; only with some may a policy be used without one."""
    history_noise: float = 0.02
    """Spread of the noise on the angles and torques of earlier frames in training, share of their range; the present frame stays exact. It
    hides how the hand moved to the last digit, which a policy otherwise only continues (Wen et al., "Fighting copycat agents in behavioral
    cloning from observation histories", 2020). The paper has none."""
    validation: float = 0.1
    """Share of each object's demonstrations that are held out."""
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(epochs=40, batch_size=32, learning_rate=1e-3, lr_decay=0.92, precision="fp32")
    )
    """A fifth of Table 3's 200 epochs at ten times its rate of 1e-4; with 20 epochs at 1e-4 a policy stalls before it lifts. The precision
    is that of a picture network that is trained; all else is float32 anyway."""
    resume: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that no training has."""
        if self.strategy not in STRATEGIES:
            raise UnknownNameError("strategy", self.strategy, STRATEGIES)
        if self.stack < 1 or self.frameskip < 1 or not 0.0 <= self.drop_rate < 1.0 or not self.history_noise >= 0.0:
            raise PalpateError(
                f"stack and frameskip must be 1 or more, the drop rate in 0 to 1 and the noise 0 or more, got {self}"
            )
        if TOUCH in self.modalities and self.touch_encoder is None:
            raise PalpateError(
                "touch needs a touch encoder: give --touch-encoder RUN, the folder of a run of `palpate train touch`"
            )
        if self.modalities and TOUCH not in self.modalities and self.touch_encoder is not None:
            raise PalpateError(
                f"a touch encoder and --modalities {','.join(self.modalities)}: add touch to them, or leave the encoder out"
            )

    def net(self, feature_dim: int, touch_dim: int = 0) -> PolicyNetConfig:
        """Return the net, for pictures of so many features, and touch of so many."""
        default = STRATEGIES[self.strategy] if self.touch_encoder is None else (*STRATEGIES[self.strategy], TOUCH)
        return PolicyNetConfig(
            strategy=self.strategy,
            modalities=self.modalities or default,
            end_to_end=self.pictures.end_to_end,
            feature_dim=512 if self.pictures.end_to_end else feature_dim,
            touch_dim=touch_dim,
            stack=self.stack,
            frame_dim=self.frame_dim,
            hidden=self.hidden,
        )


def read_senses(
    reader: EpisodeReader, config: SoftgraspTraining, *, progress: bool = True
) -> tuple[Frames, PolicyNetConfig, FingerTouch | None]:
    """Return the frames of a data set with all that a training sees, its net, and what touch goes through, None without touch.

    Raises:
        PalpateError: something that the training sees is not there.
    """
    touch = None if config.touch_encoder is None else FingerTouch.of(reader, config.touch_encoder)
    shape = config.net(1280, 0 if touch is None else touch.dim)
    frames = read_frames(reader, target=config.target)
    if "image" in shape.modalities:
        frames = with_pictures(frames, reader, config.pictures, progress=progress)
    if touch is not None:
        frames = with_touch(frames, reader, touch, progress=progress)
    return frames, shape, touch


def train_softgrasp(
    data: Path,
    out: Path,
    config: SoftgraspTraining | None = None,
    *,
    tell: Callable[[str], None] = print,
    progress: bool = True,
) -> Path:
    """Train a policy, measure it one step ahead on held-out demonstrations, and write the run.

    With a single demonstration nothing can be held out; the measures are then of what was trained on, and say so.

    Raises:
        PalpateError: unusable data or settings; the message names them.
    """
    config = config or SoftgraspTraining()
    if (Path(out) / "run.json").exists() and not config.resume:
        raise RunError(f"{out} holds a finished run; choose another --out")
    reader = open_dataset(data)
    frames, shape, touch = read_senses(reader, config, progress=progress)
    if touch is not None:
        touch.backbone.keep(out)
        tell(touch.backbone.words([touch.sensor]))
    test = held_out(frames, config.validation, config.train.seed)
    training, validation = _windows(frames, ~test, test, config, shape)
    measured_on = validation or training
    for line in (_about(frames, test, shape, config), *sensing_notes(frames, reader)):
        tell(line)
    torch.manual_seed(config.train.seed)
    net = build_policy(shape)
    _prepare(net, training, config)
    history = fit(
        net,
        training,
        config.train,
        objective=objective_of(shape, config.objective),
        validation=validation,
        checkpoint=Path(out) / "training.safetensors",
        progress=progress,
    )
    metrics = one_step(net, measured_on) | {
        "held_out": validation is not None,
        "trained_on": len(training),
        "history": [_epoch(record) for record in history],
    }
    for line in one_step_lines(metrics):
        tell(line)
    extra = {"data": str(Path(data).resolve()), "held_out": frames.trial[test].tolist(), **_for_use(training, config)}
    if touch is not None:
        extra["touch"] = touch.about()
    weights = net.state_dict()
    save_run(Path(out), Run(net=shape.to_dict(), train=asdict(config.train), metrics=metrics, weights=weights, extra=extra))
    return Path(out)


def _for_use(training: Windows, config: SoftgraspTraining) -> dict[str, Any]:
    """Return what a controller needs to know beside the net, and what the training was told."""
    always = np.all(training.present(), axis=0).tolist()
    return {
        "recipe": RECIPE,
        "pictures": asdict(config.pictures),
        "frameskip": config.frameskip,
        "scaling": asdict(training.scaling),
        "lifts": bool(np.isfinite(training.frames.lift[training.rows]).any()),
        "may_lack": [m for m, there in zip(training.modalities, always, strict=True) if config.drop_rate or not there],
        "target": training.frames.target,
        "units": dict(training.frames.units),
        "objective": asdict(config.objective),
    }


def _windows(
    frames: Frames, train: np.ndarray, test: np.ndarray, config: SoftgraspTraining, shape: PolicyNetConfig
) -> tuple[Windows, Windows | None]:
    """Return the samples of both sides, those left out in which no modality was sensed."""
    rows = frames.rows(np.flatnonzero(train))
    if not len(rows):
        raise DataError(
            "no demonstration has two frames with joint angles one after the other; nothing can be learnt from them"
        )
    common: dict[str, Any] = {
        "frames": frames,
        "scaling": Scaling.of(frames, rows),
        "modalities": shape.modalities,
        "stack": config.stack,
        "frameskip": config.frameskip,
        "chunk": shape.chunk if shape.strategy == "act" else 0,
    }

    def sensed(rows: np.ndarray, drop_rate: float, history_noise: float) -> Windows:
        windows = Windows(rows=rows, drop_rate=drop_rate, history_noise=history_noise, **common)
        windows = replace(windows, rows=rows[windows.present().any(axis=1)])
        if not len(windows):
            raise DataError(f"no frame has any of {', '.join(shape.modalities)}; choose other modalities")
        return windows

    held = sensed(frames.rows(np.flatnonzero(test)), 0.0, 0.0) if test.any() else None
    return sensed(rows, config.drop_rate, config.history_noise), held


def _prepare(net: PolicyNet, training: Windows, config: SoftgraspTraining) -> None:
    """Fit what the net keeps of its inputs' spread, and start its picture network where it is to start."""
    net.frames.fit_normalisation(training.inputs())
    if config.weights is not None:
        net.frames.start_pictures(config.weights)


def _epoch(record: EpochRecord) -> dict[str, float]:
    return {"epoch": record.epoch, "loss": record.loss, "seconds": record.seconds, **record.validation}


def _about(frames: Frames, test: np.ndarray, shape: PolicyNetConfig, config: SoftgraspTraining) -> str:
    pictures = ""
    if "image" in shape.modalities:
        network = "ResNet-18 trained end to end" if shape.end_to_end else f"frozen {config.pictures.backbone}, features cached"
        pictures = f", pictures by {network}"
    return (
        f"{shape.strategy} from {', '.join(shape.modalities)}{pictures}; {len(frames.trial)} demonstrations, {len(frames)} frames, "
        f"{int(test.sum())} demonstrations held out; learns the next {frames.target}"
    )


def sensing_notes(frames: Frames, reader: EpisodeReader) -> list[str]:
    """Return a line on each sensor that is slower than the policy, or was not there for a while."""
    notes = []
    for name, values in ((ANGLE, frames.angle), (TORQUE, frames.torque)):
        stream = reader.episode(int(frames.position[0]), streams=[name]).streams.get(name)
        rate = 1.0 / float(np.median(np.diff(stream.times))) if stream is not None and len(stream.times) > 1 else RATE_HZ
        if rate < 0.9 * RATE_HZ:
            notes.append(
                f"{name} comes {rate:.3g} times a second, the policy works at {RATE_HZ:g}: a sample is held for at most {MAX_AGE:g} s"
            )
        if lost := float(np.mean(~np.isfinite(values).all(axis=1))):
            notes.append(f"{name} is not known in {lost:.1%} of the frames; they count as without it")
    if frames.touch is not None and (lost := float(np.mean(np.isnan(frames.touch[:, 0])))):
        notes.append(f"touch is not known in {lost:.1%} of the frames; they count as without it")
    if frames.image is not None and not frames.pictured.all():
        notes.append(f"{CAMERA} is not known in {np.mean(~frames.pictured):.1%} of the frames; they count as without it")
    return notes


def one_step(net: PolicyNet, windows: Windows) -> dict[str, Any]:
    """Return how a policy predicts one step ahead, by joint, beside repeating the last value.

    Per kind (`angles`; `torques` where the strategy predicts them) and predictor (`policy`, `repeat`): `mae` and `rmse` (J,) in the
    streams' units. `lift`: share of frames told right, and of those with and without a lift. `attention`: mean score by modality.
    """
    frames, rows = windows.frames, windows.rows
    outputs = run_net(net, windows, batch_size=256)
    kinds: list[tuple[str, np.ndarray, np.ndarray]] = [("angle", frames.next_angle, frames.told)]
    if "torques" in outputs:
        kinds.append(("torque", frames.next_torque, frames.torque))
    found: dict[str, Any] = {"frames": len(rows)}
    for kind, target, last in kinds:
        predicted = windows.scaling.to_unit(kind, outputs[f"{kind}s"].numpy())
        found[f"{kind}s"] = {
            name: _errors(value, target[rows]) for name, value in (("policy", predicted), ("repeat", last[rows]))
        }
    lift, said = frames.lift[rows], outputs["lift"].numpy() > 0.0
    if np.isfinite(lift).any():
        found["lift"] = {"told": float(said[lift == 1].mean()), "silent": float(1.0 - said[lift == 0].mean())}
    if "attention" in outputs:
        found["attention"] = dict(zip(net.config.scored, outputs["attention"].numpy().mean(axis=0).tolist(), strict=True))
    return found


def _errors(predicted: np.ndarray, target: np.ndarray) -> dict[str, list[float]]:
    off = predicted - target
    return {"mae": np.nanmean(np.abs(off), axis=0).tolist(), "rmse": np.sqrt(np.nanmean(off**2, axis=0)).tolist()}


def one_step_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return the figures of `one_step` as lines of text."""
    on = "held-out demonstrations" if metrics["held_out"] else "the demonstrations it was TRAINED on (there are no others)"
    lines = [f"one step ahead, {metrics['frames']} frames of {on}: mean absolute error (root mean square)"]
    lines.append(f"{'':16}" + "".join(f"{joint:>19}" for joint in JOINTS))
    for kind in ("angles", "torques"):
        for name, errors in metrics.get(kind, {}).items():
            cells = "".join(f"{a:>10.5f} ({r:.4f})" for a, r in zip(errors["mae"], errors["rmse"], strict=True))
            lines.append(f"{kind + ' ' + name:16}{cells}")
    if "lift" in metrics:
        lines.append(
            "lift: {told:.0%} of the frames before it told, {silent:.0%} of earlier ones silent".format(**metrics["lift"])
        )
    if "attention" in metrics:
        lines.append("attention: " + ", ".join(f"{name} {score:.2f}" for name, score in metrics["attention"].items()))
    return lines
