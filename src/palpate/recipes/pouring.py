"""A policy that pours by touch alone, learnt from demonstrations, and its closed loop. AnyTouch (Feng et al., 2025), Section 5.6, A.8.

The policy has no memory: it sees the clips of three frames of both fingers, five times a second, and chooses to pour, to wait or to tilt
back. Neither tilt nor scale is an input. The encoder of clips is frozen, or trained along with the policy.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from palpate.core.errors import DataError, PalpateError, RunError
from palpate.core.randomness import generator
from palpate.core.records import Command, Episode, Observation
from palpate.core.rollout import steer
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.learning.batches import Batch
from palpate.learning.checkpoint import Run, load_run, save_run
from palpate.learning.loop import Targets, TrainConfig, fit, run_net
from palpate.models.layers import Mlp, Standardise
from palpate.recipes.pouring_encoders import ClipEncoder, build_encoder, encoded, features_of, resized
from palpate.recipes.pouring_task import ACTS, command, finished
from palpate.recipes.recording import Made, Recording, record
from palpate.recipes.workers import prepare_worker
from palpate.worlds.gripper import FINGERS
from palpate.worlds.pouring import CLIP, TARGET, PouringConfig, PouringWorld, clip

RECIPE = "pouring"


class PourNet(nn.Module):
    """Features of both fingers, one after the other, to logits in the order of `ACTS` and a guess of the scale's reading."""

    def __init__(self, encoder: ClipEncoder, hidden: int, dropout: float, *, frozen: bool) -> None:
        """Put a small net behind the encoder; with `frozen` it is fed features and the encoder is left alone."""
        super().__init__()
        self.frozen = frozen
        if not frozen:
            self.encoder = encoder
        n = len(FINGERS) * encoder.dim
        self.scale = Standardise(n)
        self.trunk = Mlp(n, hidden, dropout)
        self.head = nn.Linear(hidden, len(ACTS) + 1)

    def forward(self, inputs: dict[str, torch.Tensor], presence: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """Return (B, 4), logits and what the scale would read as a share of the target.

        It takes `features` (B, 2 dim), or, not frozen, `clip` (B, 2, F, S, S, 3) uint8.
        """
        features = inputs["features"] if self.frozen else features_of(self.encoder, inputs["clip"])
        return self.head(self.trunk(self.scale(features.float())))


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Periods of demonstrations: what was sensed before each key, and which key it was."""

    inputs: dict[str, np.ndarray]
    """`features` (N, 2 dim) or `clip` (N, 2, F, S, S, 3)."""
    act: np.ndarray
    """(N,) index into `ACTS`."""
    scale: np.ndarray
    """(N,) what the scale read then, share of the target."""
    trial: np.ndarray
    """(N,) number of the demonstration."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.act)

    def take(self, rows: np.ndarray) -> "Steps":
        """Return these periods."""
        return Steps(
            inputs={k: v[rows] for k, v in self.inputs.items()},
            act=self.act[rows],
            scale=self.scale[rows],
            trial=self.trial[rows],
        )

    def targets(self) -> dict[str, np.ndarray]:
        """Return what an objective holds the net against."""
        return {"act": self.act.astype(np.float32), "scale": self.scale.astype(np.float32)}

    def batch(self, indices: np.ndarray) -> Batch:
        """Return these periods as a batch."""
        part = self.take(indices)
        return Batch(inputs=part.inputs, labels=np.empty((len(part), 0), np.float32), targets=part.targets())

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """Yield shuffled batches."""
        order = rng.permutation(len(self))
        for start in range(0, len(order), batch_size):
            yield self.batch(order[start : start + batch_size])


@dataclass(frozen=True)
class KeyObjective:
    """Cross-entropy of the key pressed, each kind of key weighing the same in all, and the square error of the scale's reading."""

    weights: tuple[float, ...]
    """Of each key, in the order of `ACTS`."""
    scale_weight: float

    @classmethod
    def of(cls, acts: np.ndarray, scale_weight: float) -> "KeyObjective":
        """Weigh the keys by how seldom they were pressed."""
        counts = np.bincount(acts, minlength=len(ACTS))
        return cls(tuple(float(w) for w in len(acts) / (len(ACTS) * np.maximum(counts, 1))), scale_weight)

    def loss(self, outputs: torch.Tensor, targets: Targets) -> tuple[torch.Tensor, int]:
        """Return the mean over the batch."""
        acts, weights = targets["act"].long(), torch.tensor(self.weights, device=outputs.device)
        each = functional.cross_entropy(outputs[:, :-1], acts, reduction="none") * weights[acts]
        return (each + self.scale_weight * (outputs[:, -1] - targets["scale"]).square()).mean(), len(acts)

    def measure(self, outputs: torch.Tensor, targets: Targets) -> dict[str, float]:
        """Return `loss`, `recall.KEY` of each key pressed, and `scale_mae_g`, the mean error of the scale's reading [g] if it is learnt."""
        acts = targets["act"].long()
        right = outputs[:, :-1].argmax(dim=1) == acts
        recalls = {f"recall.{a}": float(right[acts == k].float().mean()) for k, a in enumerate(ACTS) if (acts == k).any()}
        out = {"loss": float(self.loss(outputs, targets)[0]), **recalls}
        off = 1e3 * TARGET * float((outputs[:, -1] - targets["scale"]).abs().mean())
        return out | ({"scale_mae_g": off} if self.scale_weight else {})


@dataclass(frozen=True, kw_only=True)
class PouringTraining:
    """How to train a pouring policy."""

    encoder: str = "imagenet"
    """See `build_encoder`."""
    encoder_mode: Literal["frozen", "tuned"] = "frozen"
    scale_weight: float = 0.0
    """Weight of guessing the scale's reading, which demonstrations hold; 0 learns from the keys alone, as the paper does. The guess is not
    used when pouring."""
    hidden: int = 128
    dropout: float = 0.5
    validation: float = 0.25
    """Share of the demonstrations that are held out."""
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(epochs=15, batch_size=64, learning_rate=3e-4, lr_decay=0.9, weight_decay=3.0)
    )
    """Features are many and demonstrations few, and those of one trial much alike: longer or freer, a net learns the trials by heart."""


def train_pouring(data: Path, out: Path, config: PouringTraining | None = None, *, progress: bool = True) -> Path:
    """Train a policy on demonstrations and write the run.

    Raises:
        PalpateError: unusable data or settings; the message names them.
    """
    config = config or PouringTraining()
    if (Path(out) / "run.json").exists():
        raise RunError(f"{out} holds a finished run; choose another --out")
    reader = open_dataset(data)
    sensor = str(reader.summary().get("config", {}).get("world", {}).get("touch", "gelsight-mini"))
    encoder, frozen = build_encoder(config.encoder, sensor, config.train.seed), config.encoder_mode == "frozen"
    steps = read_steps(reader, encoder, frozen=frozen)
    trials = np.unique(steps.trial)
    held = generator(config.train.seed, 5).permutation(trials)[: round(config.validation * len(trials))]
    test = np.isin(steps.trial, held)
    training, validation = steps.take(np.flatnonzero(~test)), steps.take(np.flatnonzero(test))
    torch.manual_seed(config.train.seed)
    net = PourNet(encoder, config.hidden, config.dropout, frozen=frozen)
    fitted = training.inputs["features"] if frozen else encoded(encoder, training.inputs["clip"][:512])
    net.scale.fit(fitted)
    objective = KeyObjective.of(training.act, config.scale_weight)
    fit(net, training, config.train, objective=objective, progress=progress)
    measured_on = validation if len(validation) else training
    outputs = run_net(net, measured_on, batch_size=256)
    measured = objective.measure(outputs, {name: torch.from_numpy(v) for name, v in measured_on.targets().items()})
    metrics: dict[str, Any] = {"steps": len(training), "held_out": len(held), **measured}
    net_config = {"hidden": config.hidden, "dropout": config.dropout, "frozen": frozen}
    extra = {
        "recipe": RECIPE,
        "encoder": config.encoder,
        "sensor": sensor,
        "seed": config.train.seed,
        "data": str(data),
    }
    run = Run(net=net_config, train=asdict(config.train), metrics=metrics, weights=net.state_dict(), extra=extra)
    save_run(Path(out), run)
    return Path(out)


def read_steps(reader: EpisodeReader, encoder: ClipEncoder, *, frozen: bool) -> Steps:
    """Read demonstrations: the clips before each key, as features if the encoder is frozen.

    Raises:
        DataError: no demonstration has touch pictures and keys.
    """
    inputs, acts, read, trials = [], [], [], []
    for episode in reader:
        names = [f"touch.{finger}" for finger in FINGERS]
        if any(name not in episode.streams for name in [*names, "arm.command", "scale"]):
            continue
        keys = np.rint(episode.streams["arm.command"].values[:, 0]).astype(int) + 1
        clips = np.stack([_clips(episode.streams[name].values, encoder.size, len(keys)) for name in names], axis=1)
        inputs.append(encoded(encoder, clips) if frozen else clips)
        acts.append(keys)
        read.append(episode.streams["scale"].values[: len(keys), 0] / TARGET)
        trials.append(np.full(len(keys), episode.index))
    if not acts:
        raise DataError(f"{reader.root} holds no demonstration of pouring; collect some with `palpate collect pouring`")
    return Steps(
        inputs={"features" if frozen else "clip": np.concatenate(inputs)},
        act=np.concatenate(acts),
        scale=np.concatenate(read),
        trial=np.concatenate(trials),
    )


def _clips(frames: np.ndarray, size: int, periods: int) -> np.ndarray:
    """Return the clips (periods, F, size, size, 3) that were seen before each key; the last, after the end, is left out."""
    return resized(frames[: CLIP * periods], size).reshape(periods, CLIP, size, size, 3)


class PouringController:
    """Implements `palpate.core.protocols.Controller` from the two clips alone.

    Tilting back is chosen where it is the likeliest of the three; pouring and waiting are drawn by their chances, since whoever always
    takes the likelier one of two alike may wait for ever.
    """

    def __init__(self, folder: Path) -> None:
        """Load a run of `train_pouring`."""
        run = load_run(folder)
        if run.extra.get("recipe") != RECIPE:
            raise RunError(f"{folder} is no run of a pouring policy; give one of `palpate train pouring`")
        self.encoder = build_encoder(str(run.extra["encoder"]), str(run.extra["sensor"]), int(run.extra["seed"]))
        self.net = PourNet(self.encoder, run.net["hidden"], run.net["dropout"], frozen=run.net["frozen"])
        self.net.load_state_dict(dict(run.weights))
        self.net.eval()

    def reset(self, rng: np.random.Generator) -> None:
        """Begin a trial."""
        self._rng = rng

    def act(self, observation: Observation) -> Command:
        """Look at the clips and choose a key."""
        clips = np.stack([resized(clip(observation, finger), self.encoder.size) for finger in FINGERS])[None]
        with torch.inference_mode():
            seen = torch.from_numpy(clips)
            inputs = {"features": features_of(self.encoder, seen)} if self.net.frozen else {"clip": seen}
            chance = torch.softmax(self.net(inputs)[0, :-1].double(), dim=0).numpy()
        if chance[0] >= chance.max():
            return command("retract")
        pour = self._rng.random() < chance[2] / (chance[1] + chance[2])
        return command("pour" if pour else "wait")


@dataclass(frozen=True, kw_only=True)
class PouringTrials:
    """A closed-loop test of one policy (Table 4)."""

    policy: Path
    """Folder of a run of `train_pouring`."""
    out: Path
    trials: int = 10
    world: PouringConfig = field(default_factory=PouringConfig)
    seed: int = 7000
    workers: int = 2
    resume: bool = False


_worker: dict[str, Any] = {}


def start_worker(config: PouringTrials, controller: Callable[[Path], Any]) -> None:
    """Build world and policy, once per process."""
    prepare_worker()
    torch.set_num_threads(1)
    _worker.update(world=PouringWorld(config.world), controller=controller(config.policy))


def run_trial(seed: int, index: int) -> Made:
    """Let the policy pour once."""
    try:
        return Made.of(finished(steer(_worker["world"], _worker["controller"], seed, index)))
    except PalpateError as error:
        return Made.of(Episode(index=index, seed=seed, task="pouring"), str(error))


def pour(config: PouringTrials) -> dict[str, list[Any]]:
    """Run the trials that are still missing; return the figures of all, a row a trial, as lists by column.

    Raises:
        PalpateError: fewer than one trial, or a folder that is no run.
    """
    if config.trials < 1:
        raise PalpateError(f"--trials {config.trials}: at least 1 is needed")
    PouringController(config.policy)  # a wrong folder is found before OUT is made
    plan = Recording(
        out=config.out,
        task="pouring",
        about={"policy": config.policy.name, "seed": config.seed, "world": asdict(config.world)},
        count=config.trials,
        unit="trial",
        workers=config.workers,
        resume=config.resume,
    )
    record(plan, run_trial, lambda index: (config.seed, index), start_worker, (config, PouringController))
    reader = open_dataset(config.out)
    columns = {"poured_g": "label.poured_g", "error_g": "label.error_g"}
    return {"trial": reader.indices.tolist(), **{name: reader.column(column).tolist() for name, column in columns.items()}}
