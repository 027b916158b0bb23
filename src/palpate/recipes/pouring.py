"""A policy that pours by touch alone, learnt from demonstrations, and its closed loop. AnyTouch (Feng et al., 2025), Section 5.6, A.8.

The policy has no memory: it sees the clips of three frames of both fingers, five times a second, and chooses to pour, to wait or to tilt
back. Neither tilt nor scale is an input. The encoder of clips is frozen, or tuned: trained along once the policy behind it has been learnt.

From the features it guesses what the scale would read, which demonstrations hold, by ridge regression; from that guess, the key that the
person would press. One key in thirty tilts back, and too few keys are there to find, among hundreds of features that mostly tell other
things, the few that tell mass; every period tells them by its scale.

The clips are read against a reference that was taken before the cup was tilted (`palpate.worlds.pouring`). It is the same in all of an
episode and tells nothing of what was done or poured in it, so it is no memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
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
from palpate.models.layers import Standardise
from palpate.recipes.pouring_encoders import ClipEncoder, build_encoder, encoded, features_of, seen_by
from palpate.recipes.pouring_task import ACTS, command, finished
from palpate.recipes.recording import Made, Recording, record
from palpate.recipes.workers import prepare_worker
from palpate.worlds.gripper import FINGERS
from palpate.worlds.pouring import CLIP, TARGET, PouringConfig, PouringWorld, clip, reference, rest_picture

RECIPE = "pouring"
EncoderMode = Literal["frozen", "tuned"]


class PourNet(nn.Module):
    """Features of both fingers, one after the other, to a guess of the scale's reading, and that to logits in the order of `ACTS`."""

    def __init__(self, encoder: ClipEncoder, hidden: int, *, frozen: bool) -> None:
        """Put little behind the encoder; with `frozen` it is fed features and the encoder is left alone."""
        super().__init__()
        self.frozen = frozen
        if not frozen:
            self.encoder = encoder
        n = len(FINGERS) * encoder.dim
        self.standard, self.reading = Standardise(n), nn.Linear(n, 1)
        self.keys = KeyNet(hidden)

    def forward(self, inputs: dict[str, torch.Tensor], presence: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """Return (B, 4), logits and what the scale would read as a share of the target.

        It takes `features` (B, 2 dim), or, not frozen, `clip` (B, 2, F, S, S, 3) uint8.
        """
        features = inputs["features"] if self.frozen else features_of(self.encoder, inputs["clip"])
        reading = self.reading(self.standard(features.float()))
        return torch.cat([self.keys({"reading": reading})[:, :-1], reading], dim=1)


class KeyNet(nn.Module):
    """A reading of the scale, or a guess of it, to logits in the order of `ACTS`."""

    def __init__(self, hidden: int) -> None:
        """Start from random numbers."""
        super().__init__()
        self.standard = Standardise(1)
        self.layers = nn.Sequential(nn.Linear(1, hidden), nn.Tanh(), nn.Linear(hidden, len(ACTS)))

    def forward(self, inputs: dict[str, torch.Tensor], presence: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """Return (B, 4), logits and the reading (B, 1) itself, share of the target."""
        reading = inputs["reading"]
        return torch.cat([self.layers(self.standard(reading)), reading], dim=1)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Periods of demonstrations: what was sensed before each key, and which key it was."""

    inputs: dict[str, np.ndarray]
    """`features` (N, 2 dim), `clip` (N, 2, F, S, S, 3), or `reading` (N, 1)."""
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
    """Negative log-likelihood of the key pressed, and of the scale's reading, normal about its guess.

    Chances stay calibrated: no key weighs more for being rare.
    """

    scale_spread: float
    """Standard deviation of the reading about its guess, share of the target; infinite: keys alone count."""

    def loss(self, outputs: torch.Tensor, targets: Targets) -> tuple[torch.Tensor, int]:
        """Return the mean over the batch."""
        acts = targets["act"].long()
        off = (outputs[:, -1] - targets["scale"]) / self.scale_spread
        return (functional.cross_entropy(outputs[:, :-1], acts, reduction="none") + 0.5 * off.square()).mean(), len(acts)

    def measure(self, outputs: torch.Tensor, targets: Targets) -> dict[str, float]:
        """Return the cross-entropy `key_loss`, `recall.KEY` of each key pressed, and how far the scale's reading is off.

        `scale_g` is the root of its mean square error [g], `scale_late_g` the same where half of the target or more is poured.
        """
        acts = targets["act"].long()
        right = outputs[:, :-1].argmax(dim=1) == acts
        recalls = {f"recall.{a}": float(right[acts == k].float().mean()) for k, a in enumerate(ACTS) if (acts == k).any()}
        off = 1e3 * TARGET * (outputs[:, -1] - targets["scale"])
        late = targets["scale"] >= 0.5
        out = {"key_loss": float(functional.cross_entropy(outputs[:, :-1], acts)), "scale_g": _root_mean(off), **recalls}
        return out | ({"scale_late_g": _root_mean(off[late])} if late.any() else {})


def _root_mean(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


@dataclass(frozen=True, kw_only=True)
class PouringTraining:
    """How to train a pouring policy."""

    encoder: str = "imagenet"
    """See `build_encoder`."""
    encoder_mode: EncoderMode = "frozen"
    hidden: int = 16
    """Units between a guess of the scale's reading and the chances of the keys."""
    validation: float = 0.25
    """Share of the demonstrations that are held out: to choose the penalty of the regression, and to learn which key goes with which guess
    from guesses as good as they are in new trials."""
    penalties: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    """Of the ridge regression, shares of the features' mean variance."""
    scale_spread: float = 2e-3
    """How far the scale's reading is taken to lie from its guess [kg], when an encoder is tuned."""
    keys: TrainConfig = field(
        default_factory=lambda: TrainConfig(epochs=60, batch_size=128, learning_rate=1e-2, schedule="linear", precision="fp32")
    )
    """Of what turns a guess of the scale's reading into chances of keys."""
    tune: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            epochs=2,
            batch_size=64,
            learning_rate=1e-4,
            schedule="linear",
            warmup_epochs=0.2,
            gradient_clip=1.0,
            weight_decay=0.05,
            precision="fp32",
        )
    )
    """Of all together after that, if the encoder is tuned (Kumar et al., "Fine-tuning can distort pretrained features", 2022); the
    regression is then solved anew. The change of the pictures is small: half precision would lose it."""
    seed: int = 0
    """Of the split, initial weights and order."""

    def __post_init__(self) -> None:
        """Refuse a split without both parts, and a regression without a penalty."""
        if not 0.0 < self.validation < 1.0 or not self.penalties or min(self.penalties) <= 0:
            raise PalpateError(
                f"validation must lie between 0 and 1 and penalties be positive, got {self.validation:g} and {self.penalties}"
            )


def train_pouring(data: Path, out: Path, config: PouringTraining | None = None, *, progress: bool = True) -> Path:
    """Train a policy on demonstrations and write the run.

    Raises:
        PalpateError: unusable data or settings; the message names them.
    """
    config = config or PouringTraining()
    if (Path(out) / "run.json").exists():
        raise RunError(f"{out} holds a finished run; choose another --out")
    reader = open_dataset(data)
    sensor = str(reader.head.config.get("world", {}).get("touch", "gelsight-mini"))
    encoder, frozen = build_encoder(config.encoder, sensor, config.seed), config.encoder_mode == "frozen"
    steps = read_steps(reader, encoder, frozen=frozen)
    training, held = _split(steps, config)
    torch.manual_seed(config.seed)
    net = PourNet(encoder, config.hidden, frozen=frozen)
    objective = KeyObjective(config.scale_spread / TARGET)
    penalty = _fit_reading(net, encoder, training, held, config.penalties)
    _fit_keys(net, held, config)
    before = _measured(net, held, objective)
    if not frozen:
        fit(net, training, replace(config.tune, seed=config.seed), objective=objective, progress=progress)
        penalty = _fit_reading(net, encoder, training, held, config.penalties)
        _fit_keys(net, held, config)
    metrics: dict[str, Any] = {"steps": len(training), "held_out": len(np.unique(held.trial)), "penalty": penalty}
    metrics |= _measured(net, held, objective) | ({} if frozen else {"before_tuning": before})
    extra = {"recipe": RECIPE, "encoder": config.encoder, "sensor": sensor, "seed": config.seed, "data": str(data)}
    shape = {"hidden": config.hidden, "frozen": frozen}
    save_run(Path(out), Run(net=shape, train=asdict(config), metrics=metrics, weights=net.state_dict(), extra=extra))
    return Path(out)


def _split(steps: Steps, config: PouringTraining) -> tuple[Steps, Steps]:
    """Return the periods to train on, and those of demonstrations held out.

    Raises:
        DataError: too few demonstrations for both.
    """
    trials = np.unique(steps.trial)
    held = generator(config.seed, 5).permutation(trials)[: round(config.validation * len(trials))]
    if not 0 < len(held) < len(trials):
        raise DataError(f"{len(trials)} demonstrations cannot be split, {config.validation:g} of them held out; collect more")
    test = np.isin(steps.trial, held)
    return steps.take(np.flatnonzero(~test)), steps.take(np.flatnonzero(test))


def _fit_reading(net: PourNet, encoder: ClipEncoder, training: Steps, held: Steps, penalties: tuple[float, ...]) -> float:
    """Set the guess of the scale's reading to the ridge regression that is best on what is held out; return its penalty."""
    known, new = (part.inputs["features"] if net.frozen else encoded(encoder, part.inputs["clip"]) for part in (training, held))
    net.standard.fit(known)
    with torch.no_grad():
        x, y = net.standard(torch.from_numpy(known)).double(), torch.from_numpy(training.scale).double()
        target = torch.from_numpy(held.scale)
        square, product = x.T @ x / len(x), x.T @ (y - y.mean()) / len(x)  # the features' mean is zero by now
        middle, tries = y.mean().float(), []
        for penalty in penalties:
            ridge = square + penalty * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
            weights = torch.cholesky_solve(product[:, None], torch.linalg.cholesky(ridge)).float()
            guess = (net.standard(torch.from_numpy(new)) @ weights)[:, 0] + middle
            tries.append((float((guess - target).square().mean()), penalty, weights))
        _, penalty, weights = min(tries, key=lambda each: each[0])
        net.reading.weight.copy_(weights.T)
        net.reading.bias.fill_(middle)
    return penalty


def _fit_keys(net: PourNet, held: Steps, config: PouringTraining) -> None:
    """Learn which key goes with which guess of the scale's reading, from guesses in demonstrations that were not trained on."""
    guesses = run_net(net, held, batch_size=256, precision="fp32")[:, -1:].numpy()
    net.keys.standard.fit(guesses)
    keys = replace(config.keys, seed=config.seed)
    fit(net.keys, replace(held, inputs={"reading": guesses}), keys, objective=KeyObjective(np.inf), progress=False)


def _measured(net: PourNet, steps: Steps, objective: KeyObjective) -> dict[str, float]:
    outputs = run_net(net, steps, batch_size=256, precision="fp32")
    return objective.measure(outputs, {name: torch.from_numpy(v) for name, v in steps.targets().items()})


def read_steps(reader: EpisodeReader, encoder: ClipEncoder, *, frozen: bool) -> Steps:
    """Read demonstrations: the clips before each key, as features if the encoder is frozen.

    Raises:
        DataError: no demonstration has touch pictures and keys.
    """
    inputs, acts, read, trials = [], [], [], []
    names = [f"touch.{finger}" for finger in FINGERS]
    for episode in reader:
        if any(name not in episode.streams for name in [*names, *(f"{n}.rest" for n in names), "arm.command", "scale"]):
            continue
        keys = np.rint(episode.streams["arm.command"].values[:, 0]).astype(int) + 1
        clips = np.stack([_clips(episode, name, encoder, len(keys)) for name in names], axis=1)
        inputs.append(encoded(encoder, clips) if frozen else clips)
        acts.append(keys)
        read.append(episode.streams["scale"].values[: len(keys), 0] / TARGET)
        trials.append(np.full(len(keys), episode.index))
    if not acts:
        raise DataError(
            f"{reader.root} holds no demonstration of pouring with touch pictures, their references (touch.left.rest, touch.right.rest), "
            "keys and scale; collect some with `palpate collect pouring`"
        )
    return Steps(
        inputs={"features" if frozen else "clip": np.concatenate(inputs)},
        act=np.concatenate(acts),
        scale=np.concatenate(read),
        trial=np.concatenate(trials),
    )


def _clips(episode: Episode, name: str, encoder: ClipEncoder, periods: int) -> np.ndarray:
    """Return the clips (periods, F, size, size, 3) that were seen before each key; the last, after the end, is left out."""
    rest = reference(episode.streams[f"{name}.rest"].values)
    seen = seen_by(encoder, episode.streams[name].values[: CLIP * periods], rest)
    return seen.reshape(periods, CLIP, encoder.size, encoder.size, 3)


class PouringController:
    """Implements `palpate.core.protocols.Controller` from the two clips alone: each key is drawn by its chance."""

    def __init__(self, folder: Path) -> None:
        """Load a run of `train_pouring`."""
        run = load_run(folder)
        if run.extra.get("recipe") != RECIPE:
            raise RunError(f"{folder} is no run of a pouring policy; give one of `palpate train pouring`")
        self.encoder = build_encoder(str(run.extra["encoder"]), str(run.extra["sensor"]), int(run.extra["seed"]))
        self.net = PourNet(self.encoder, run.net["hidden"], frozen=run.net["frozen"])
        run.fill(self.net)
        self.net.eval()

    def reset(self, rng: np.random.Generator) -> None:
        """Begin a trial."""
        self._rng = rng

    def act(self, observation: Observation) -> Command:
        """Look at the clips and choose a key."""
        clips = np.stack([seen_by(self.encoder, clip(observation, f), rest_picture(observation, f)) for f in FINGERS])[None]
        with torch.inference_mode():
            seen = torch.from_numpy(clips)
            inputs = {"features": features_of(self.encoder, seen)} if self.net.frozen else {"clip": seen}
            chance = torch.softmax(self.net(inputs)[0, :-1].double(), dim=0).numpy()
        return command(ACTS[int(self._rng.choice(len(ACTS), p=chance / chance.sum()))])


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
