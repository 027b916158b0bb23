"""The one training loop. It sees batches, a net and an objective, and knows neither data folders nor what the inputs mean."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from palpate.core.errors import RunError, UnknownNameError
from palpate.core.randomness import generator
from palpate.learning.batches import Arrays, Batch, BatchSource, Indexed
from palpate.learning.checkpoint import load_state, save_state

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. The paper: 500 epochs at batch 8 and rate 1e-4; larger batches with a larger rate are far faster here."""

    epochs: int = 25
    """Passes over the data."""
    batch_size: int = 256
    """Samples a step."""
    learning_rate: float = 1e-3
    """Initial step size of Adam."""
    lr_decay: float = 0.98
    """Factor on the learning rate after each epoch (paper Section VI-A)."""
    weight_decay: float = 0.0
    """Decoupled decay of weight matrices (AdamW)."""
    seed: int = 0
    """Determines order of samples and dropout."""
    precision: Precision = "auto"
    """`bf16` multiplies matrices in bfloat16 and keeps weights in float32; `auto` where the hardware does so faster."""
    device: str = "auto"
    """A torch device; `auto` is CUDA if there is one, else the CPU."""
    threads: int | None = None
    """CPU threads; None leaves torch's setting."""
    checkpoint_period: float = 30.0
    """Least time between saved training states [s]."""


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one epoch gave."""

    epoch: int
    """Number, from 0."""
    learning_rate: float
    loss: float
    """Mean training loss over the known labels."""
    seconds: float
    """Wall time of training and validation [s]."""
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

    Args:
        net: maps `(inputs, presence)` to what the objective expects, by default logits (B, K).
        data: training samples; labels that are NaN are ignored.
        config: how to train.
        objective: what is minimised; by default the binary cross-entropy of each outcome (paper Section IV-A.2).
        validation: measured after each epoch.
        callbacks: called after each epoch with its record and the net.
        checkpoint: file for the training state, saved at least `checkpoint_period` apart and at the end of an epoch only. If it
            exists, training goes on from there and ends with the same weights as without the interruption (on one device with
            one number of threads). It is deleted when training is done.
        progress: show a bar.

    Returns:
        One record an epoch, those before an interruption included.

    Raises:
        RunError: the checkpoint belongs to other settings or data, or the loss is not finite.
    """
    with _placed(net, config):
        optimiser = _optimiser(net, config)
        state = _TrainingState(checkpoint, config, len(data))
        history = state.load(net, optimiser)
        epochs = range(len(history), config.epochs)
        for epoch in tqdm(epochs, "train", config.epochs, initial=len(history), disable=not progress, unit="epoch"):
            start = time.perf_counter()
            rate = config.learning_rate * config.lr_decay**epoch
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss = train_epoch(net, data, optimiser, config, epoch, objective)
            measured = {} if validation is None else evaluate(net, validation, precision=config.precision, objective=objective)
            seconds = time.perf_counter() - start
            history.append(EpochRecord(epoch=epoch, learning_rate=rate, loss=loss, seconds=seconds, validation=measured))
            for callback in callbacks:
                callback(history[-1], net)
            state.save_if_due(net, optimiser, history)
        state.discard()
    return history


def train_epoch(  # noqa: PLR0917 - one line of `fit`
    net: nn.Module,
    data: BatchSource,
    optimiser: torch.optim.Optimizer,
    config: TrainConfig,
    epoch: int,
    objective: Objective = OUTCOMES,
) -> float:
    """Train for one epoch and return the mean loss. All randomness comes from the seed and the number of the epoch."""
    device = next(net.parameters()).device
    rng = generator(config.seed, epoch)
    total, known = 0.0, 0
    net.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(rng.integers(2**63)))
        for batch in data.epoch(rng, config.batch_size):
            optimiser.zero_grad(set_to_none=True)
            with autocast(device, config.precision):
                outputs = net(*_tensors(batch, device))
            loss, n = objective.loss(_each(outputs, torch.Tensor.float), _targets(batch, device))
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * n
            known += n
    net.eval()
    if not math.isfinite(total):
        raise RunError(
            f"loss became {total} in epoch {epoch}: lower the learning rate ({config.learning_rate:g}) or check the inputs"
        )
    return total / max(known, 1)


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


def _tensors(batch: Batch, device: torch.device) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    inputs = {name: torch.from_numpy(array).to(device) for name, array in batch.inputs.items()}
    return inputs, {name: torch.from_numpy(array).to(device) for name, array in batch.presence.items()}


def _targets(batch: Batch, device: torch.device) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array).to(device) for name, array in {"labels": batch.labels, **batch.targets}.items()}


def _each(outputs: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Change a net's outputs, one tensor or several by name."""
    return {name: change(part) for name, part in outputs.items()} if isinstance(outputs, Mapping) else change(outputs)


def _optimiser(net: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    trained = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate, fused=True)


class _TrainingState:
    """The training state on disk; does nothing without a path."""

    def __init__(self, path: Path | None, config: TrainConfig, n_samples: int) -> None:
        free = ("threads", "checkpoint_period", "device", "epochs")  # may differ between a run and its resumption
        self.path = path
        self.settings = {key: value for key, value in asdict(config).items() if key not in free} | {"samples": n_samples}
        self.period = config.checkpoint_period
        self.saved = time.monotonic()

    def save_if_due(self, net: nn.Module, optimiser: torch.optim.Optimizer, history: list[EpochRecord]) -> None:
        if self.path is None or time.monotonic() - self.saved < self.period:
            return
        tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in state.items()}
        save_state(self.path, tensors, {"settings": self.settings, "history": [asdict(record) for record in history]})
        self.saved = time.monotonic()

    def load(self, net: nn.Module, optimiser: torch.optim.Optimizer) -> list[EpochRecord]:
        if self.path is None or not self.path.exists():
            return []
        tensors, notes = load_state(self.path)
        differ = sorted(key for key, value in self.settings.items() if notes["settings"].get(key) != value)
        if differ:
            raise RunError(
                f"training state {self.path} belongs to another training: {', '.join(differ)} differ; "
                "restore these settings to go on, or delete the file to start again"
            )
        net.load_state_dict({name.removeprefix("net."): tensor for name, tensor in tensors.items() if name.startswith("net.")})
        states: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".")
                states.setdefault(int(index), {})[key] = tensor
        optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
        return [EpochRecord(**record) for record in notes["history"]]

    def discard(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@contextmanager
def _placed(net: nn.Module, config: TrainConfig) -> Iterator[None]:
    """Move the net to the training device and set the number of threads; undo both, also on errors."""
    home, threads = next(net.parameters()).device, torch.get_num_threads()
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(config.threads or threads)
    net.to(auto if config.device == "auto" else config.device)
    try:
        yield
    finally:
        net.to(home).eval()
        torch.set_num_threads(threads)
