"""The one training loop. It sees batches, a net and an objective, and knows neither data folders nor what the inputs mean."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from palpate.core.errors import RunError, UnknownNameError
from palpate.core.randomness import generator
from palpate.learning.batches import Arrays, Batch, BatchSource, Indexed
from palpate.learning.checkpoint import Partial, TrainingState, random_state, set_random_state
from palpate.learning.distributed import Team, join
from palpate.learning.schedule import Precision, TrainConfig, rate_factor


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one epoch gave."""

    epoch: int
    """Number, from 0."""
    learning_rate: float
    """Of the last step."""
    loss: float
    """Mean training loss over the known labels."""
    seconds: float
    """Wall time of training and validation [s], of an epoch that was interrupted since it was resumed."""
    validation: Mapping[str, float] = field(default_factory=dict)
    """What the objective measures; of outcomes `loss`, `accuracy.K` of each, `accuracy` of all at once. Empty without validation
    data."""


Callback = Callable[[EpochRecord, nn.Module], None]
Targets = Mapping[str, torch.Tensor]
"""`labels` and the targets of a batch, by name."""


class Objective(Protocol):
    """What a net's outputs, one tensor (B, ...) or several by name, in float32, are held against."""

    def loss(self, outputs: Any, targets: Targets) -> tuple[torch.Tensor, int]:
        """Return the mean loss over what is known, and the number that the mean counts with in that of an epoch."""
        ...

    def measure(self, outputs: Any, targets: Targets) -> dict[str, float]:
        """Return figures of a whole data set; one that no target supports is left out."""
        ...


@dataclass(frozen=True)
class Outcomes:
    """Logits (B, K) against labels (B, K) by binary cross-entropy (paper Section IV-A.2)."""

    def loss(self, outputs: torch.Tensor, targets: Targets) -> tuple[torch.Tensor, int]:
        """Return the mean over the known labels, and how many they are."""
        return masked_bce(outputs, targets["labels"])

    def measure(self, outputs: torch.Tensor, targets: Targets) -> dict[str, float]:
        """Return `loss`, `accuracy.K` of each outcome, and `accuracy` over samples whose labels are all known.

        `accuracy` is the share of samples with every outcome right at threshold 0.5 (the orange bars of Fig. 5).
        """
        logits, labels = outputs.numpy(), targets["labels"].numpy()
        known = ~np.isnan(labels)
        right = (logits > 0.0) == (labels > 0.5)
        loss, n = masked_bce(outputs, targets["labels"])
        out = {"loss": float(loss)} if n else {}
        out |= {f"accuracy.{k}": float(right[known[:, k], k].mean()) for k in range(labels.shape[1]) if known[:, k].any()}
        whole = known.all(axis=1)
        return out | ({"accuracy": float(right[whole].all(axis=1).mean())} if whole.any() else {})


OUTCOMES = Outcomes()


def fit(
    net: nn.Module,
    data: BatchSource,
    config: TrainConfig,
    *,
    objective: Objective = OUTCOMES,
    validation: Indexed | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
    progress: bool = True,
) -> list[EpochRecord]:
    """Train `net` in place by minimising an objective. Weights that need no gradient stay as they are.

    A net may have two things that the loop knows of: a method `progress(share)`, called before each step with how much of the training
    is done, 0 to 1; and an attribute `draws = True`, which asks for an input `draw`, a random int64 for each sample of a training batch.

    Started by `torchrun`, all processes train one net together (`learning.distributed`), with the results of one process: each computes
    its share of every batch. Only the first saves, shows a bar and has its callbacks called. Layers that mix the samples of a batch
    (batch norm) see their share or part only.

    Args:
        net: maps `(inputs, presence)` to what the objective expects, by default logits (B, K).
        data: training samples; labels that are NaN are ignored.
        config: how to train.
        objective: what is minimised; by default the binary cross-entropy of each outcome (paper Section IV-A.2).
        validation: measured after each epoch.
        callbacks: called after each epoch with its record and the net.
        checkpoint: file for the training state, saved after a step, at least `checkpoint_period` apart. If it exists, training goes on
            from there and ends with the same weights as without the interruption (on one device with one number of threads; in
            several processes only of nets without dropout). It is deleted when training is done.
        progress: show a bar.

    Returns:
        One record an epoch, those before an interruption included.

    Raises:
        RunError: the checkpoint belongs to other settings or data, or the loss is not finite.
    """
    with _placed(net, config) as team:
        training = _Training(net, data, config, objective=objective, team=team, checkpoint=checkpoint)
        history = training.history
        epochs, silent = range(len(history), config.epochs), team.rank > 0 or not progress
        for epoch in tqdm(epochs, "train", config.epochs, initial=len(history), disable=silent, unit="epoch"):
            start = time.perf_counter()
            loss = training.epoch(epoch)
            measured = {} if validation is None else evaluate(net, validation, precision=config.precision, objective=objective)
            seconds, rate = time.perf_counter() - start, training.rate
            history.append(EpochRecord(epoch=epoch, learning_rate=rate, loss=loss, seconds=seconds, validation=measured))
            for callback in callbacks if team.rank == 0 else ():
                callback(history[-1], net)
            training.save_if_due(Partial())
        training.state.discard()
    return history


class _Training:
    """A net, what it learns from, and how far it is."""

    def __init__(
        self,
        net: nn.Module,
        data: BatchSource,
        config: TrainConfig,
        *,
        objective: Objective,
        team: Team,
        checkpoint: Path | None,
    ) -> None:
        self.net, self.data, self.config, self.objective, self.team = net, data, config, objective, team
        self.optimiser = _optimiser(net, config)
        self.state = TrainingState(checkpoint, self._settings(), config.checkpoint_period, writes=team.rank == 0)
        records, self.partial = self.state.load(net, self.optimiser)
        self.history = [EpochRecord(**record) for record in records]
        self.rate = self.history[-1].learning_rate if self.history else config.learning_rate
        team.start_alike(net)

    def epoch(self, epoch: int) -> float:
        """Train for one epoch, or what is left of it, and return the mean loss. All randomness comes from the seed and the number."""
        rng, draws = generator(self.config.seed, epoch), generator(self.config.seed, epoch, 0)
        done, self.partial = self.partial, Partial()
        device = next(self.net.parameters()).device
        self.net.train()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(rng.integers(2**63)))
            if done.steps:
                set_random_state(done.random, device)
            for step, batch in enumerate(self.data.epoch(rng, self.config.batch_size)):
                draw = draws.integers(2**63, size=len(batch.labels))
                if step < done.steps:  # a resumed epoch: made again, so that what follows is the same
                    continue
                self._progress(epoch, done.samples + 0.5 * len(draw))
                loss, n = self._step(batch if not getattr(self.net, "draws", False) else _with_draw(batch, draw))
                if not math.isfinite(loss * n):  # before anything of it is saved
                    raise RunError(
                        f"loss became {loss} in epoch {epoch}: lower the learning rate ({self.config.learning_rate:g}) "
                        "or check the inputs"
                    )
                done = done.plus(len(draw), loss * n, n)
                self.save_if_due(done)
        self.net.eval()
        return done.total / max(done.known, 1)

    def save_if_due(self, partial: Partial) -> None:
        """Save where the training is, if the last time is long enough ago."""
        if self.state.due():
            device = next(self.net.parameters()).device
            partial = replace(partial, random=random_state(device) if partial.steps else {})
            self.state.save(self.net, self.optimiser, [asdict(record) for record in self.history], partial)

    def _progress(self, epoch: int, samples: float) -> None:
        c = self.config
        position = epoch + min(samples / len(self.data), 1.0 - 1e-9)
        if (hook := getattr(self.net, "progress", None)) is not None:
            hook(position / c.epochs)
        factor = rate_factor(c.schedule, position, c.epochs, decay=c.lr_decay, warmup=c.warmup_epochs)
        self.rate = c.learning_rate * factor
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate

    def _step(self, batch: Batch) -> tuple[float, int]:
        """Learn from one batch; return its mean loss, and with which number it counts."""
        self.optimiser.zero_grad(set_to_none=True)
        loss, n = self._gradients(batch)
        self.team.add_gradients(self.net.parameters())
        if self.config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.config.gradient_clip)
        self.optimiser.step()
        return loss, n

    def _gradients(self, batch: Batch) -> tuple[float, int]:
        """Take the loss of the whole batch from the outputs of all parts, then its gradient back through each part."""
        size, device = len(batch.labels), next(self.net.parameters()).device
        share = self.team.share(size)
        parts = _parts(share, self.config.accumulate)
        before, outputs = [], []
        for part in parts:
            before.append(random_state(device) if len(parts) > 1 else {})
            with torch.set_grad_enabled(len(parts) == 1):
                outputs.append(self._outputs(batch, part, device))
        mine = _each(_joined(outputs), lambda rows: rows.detach()[: share.stop - share.start])
        whole = _each(mine, lambda rows: self.team.gather(rows, size).requires_grad_())
        loss, n = self.objective.loss(whole, _targets(batch, device))
        loss.backward()
        for part, random in zip(parts, before, strict=True):
            if len(parts) > 1:
                set_random_state(random, device)
                outputs = [self._outputs(batch, part, device)]
            if share.stop > share.start:
                _backward(outputs[0], _each(whole, lambda rows, part=part: None if rows.grad is None else rows.grad[part]))
        return float(loss.detach()), n

    def _outputs(self, batch: Batch, part: slice, device: torch.device) -> Any:
        with autocast(device, self.config.precision):
            outputs = self.net(*_tensors(batch, device, part))
        return _each(outputs, torch.Tensor.float)

    def _settings(self) -> dict[str, Any]:
        """Return what must be the same when a training is resumed."""
        free = {"threads", "checkpoint_period", "device", "accumulate"}
        if self.config.schedule == "exponential" and not hasattr(self.net, "progress"):
            free.add("epochs")  # else the course of the training depends on its length
        return {key: value for key, value in asdict(self.config).items() if key not in free} | {"samples": len(self.data)}


def _parts(share: slice, parts: int) -> list[slice]:
    """Cut a share into parts of about the same size, none of them empty. A process without a share follows with the first sample."""
    n = share.stop - share.start
    if n == 0:
        return [slice(0, 1)]
    bounds = np.linspace(share.start, share.stop, min(parts, n) + 1).astype(int).tolist()
    return [slice(a, b) for a, b in pairwise(bounds)]


def _backward(outputs: Any, gradients: Any) -> None:
    """Pass the gradients of a part's outputs on to the weights."""
    pairs = [(outputs[k], gradients[k]) for k in outputs] if isinstance(outputs, Mapping) else [(outputs, gradients)]
    pairs = [(rows, gradient) for rows, gradient in pairs if rows.requires_grad and gradient is not None]
    torch.autograd.backward([rows for rows, _ in pairs], [gradient for _, gradient in pairs])


def _with_draw(batch: Batch, draw: np.ndarray) -> Batch:
    return replace(batch, inputs={**batch.inputs, "draw": draw})


def masked_bce(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return the mean binary cross-entropy over the labels (B, K) that are known (not NaN), and how many they are."""
    known = ~torch.isnan(labels)
    n = int(known.sum())
    each = functional.binary_cross_entropy_with_logits(logits, torch.where(known, labels, 0.0), reduction="none")
    return torch.where(known, each, 0.0).sum() / max(n, 1), n


def predict(net: nn.Module, data: Arrays, *, batch_size: int = 1024, precision: Precision = "auto") -> np.ndarray:
    """Return probabilities (N, K) float32 in the order of the samples."""
    if not len(data):
        return np.empty((0, data.labels.shape[1]), np.float32)
    logits = run_net(net, data, batch_size=batch_size, precision=precision).numpy()
    return 0.5 * (1.0 + np.tanh(0.5 * logits))  # the logistic function, without overflow


def run_net(net: nn.Module, data: Indexed, *, batch_size: int = 1024, precision: Precision = "auto") -> Any:
    """Return the net's outputs for all samples in order, (N, ...) float32 on the CPU: a tensor, or several by name."""
    return _run(net, data, batch_size, precision)[0]


def evaluate(
    net: nn.Module, data: Indexed, *, precision: Precision = "auto", objective: Objective = OUTCOMES
) -> dict[str, float]:
    """Return what the objective measures, of outcomes their loss and accuracies (see `Outcomes`); nothing of no samples."""
    return objective.measure(*_run(net, data, 1024, precision)) if len(data) else {}


def _run(net: nn.Module, data: Indexed, batch_size: int, precision: Precision) -> tuple[Any, Targets]:
    """Return outputs and targets of all samples in order, on the CPU; there must be some."""
    device = next(net.parameters()).device
    was_training = net.training
    net.eval()
    outputs, targets = [], []
    for start in range(0, len(data), batch_size):
        batch = data.batch(np.arange(start, min(start + batch_size, len(data))))
        with torch.inference_mode(), autocast(device, precision):
            outputs.append(_each(net(*_tensors(batch, device)), lambda part: part.float().cpu()))
        targets.append(_targets(batch, torch.device("cpu")))
    net.train(was_training)
    return _joined(outputs), _joined(targets)


def _joined(parts: list[Any]) -> Any:
    first = parts[0]
    return (
        {name: torch.cat([part[name] for part in parts]) for name in first} if isinstance(first, Mapping) else torch.cat(parts)
    )


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which matrices are multiplied in `precision`."""
    if precision not in ("auto", "fp32", "bf16"):
        raise UnknownNameError("precision", precision, ("auto", "fp32", "bf16"))
    use = precision == "bf16" or (precision == "auto" and has_fast_bfloat16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=use)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether bf16 matrix products run in hardware: CUDA, or a CPU with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # absent from older torch: then fp32
    return device.type == "cpu" and any(getattr(torch.cpu, check, bool)() for check in checks)


def _tensors(
    batch: Batch, device: torch.device, part: slice = slice(None)
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    inputs = {name: torch.from_numpy(array[part]).to(device) for name, array in batch.inputs.items()}
    return inputs, {name: torch.from_numpy(array[part]).to(device) for name, array in batch.presence.items()}


def _targets(batch: Batch, device: torch.device) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array).to(device) for name, array in {"labels": batch.labels, **batch.targets}.items()}


def _each(outputs: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """Change a net's outputs, one tensor or several by name."""
    return {name: change(part) for name, part in outputs.items()} if isinstance(outputs, Mapping) else change(outputs)


def _optimiser(net: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    trained = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=config.learning_rate, betas=config.betas, fused=True
    )


@contextmanager
def _placed(net: nn.Module, config: TrainConfig) -> Iterator[Team]:
    """Move the net to the training device and set the number of threads; undo both, also on errors."""
    home, threads = next(net.parameters()).device, torch.get_num_threads()
    team, device = join(config.device)
    torch.set_num_threads(config.threads or threads)
    net.to(device)
    try:
        yield team
    finally:
        net.to(home).eval()
        torch.set_num_threads(threads)
