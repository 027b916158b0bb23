"""How to train, and how the learning rate changes in the course of it."""

import math
from dataclasses import dataclass, replace
from typing import Literal, Self

from palpate.core.errors import RunError, UnknownNameError

Precision = Literal["auto", "fp32", "bf16"]
Schedule = Literal["exponential", "linear", "cosine"]
SCHEDULES = ("exponential", "linear", "cosine")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. The paper: 500 epochs at batch 8 and rate 1e-4; larger batches with a larger rate are far faster here."""

    epochs: int = 25
    """Passes over the data."""
    batch_size: int = 256
    """Samples a step, of all processes together."""
    accumulate: int = 1
    """Parts in which a step's batch passes the net, to need less memory. The loss is that of the whole batch, also one over pairs of
    samples; each part then passes the net twice. Dropout draws other numbers."""
    learning_rate: float = 1e-3
    """Initial step size of Adam."""
    schedule: Schedule = "exponential"
    """How the learning rate falls: by `lr_decay` after each epoch, or from step to step, linearly or as half a cosine, to 0."""
    lr_decay: float = 0.98
    """Factor on the learning rate after each epoch (paper Section VI-A)."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate first rises linearly from 0."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Memories of Adam's two means."""
    gradient_clip: float | None = None
    """Longest gradient, all weights together; a longer one is scaled down. None: any."""
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

    def over(self, epochs: int, *, seed: int | None = None) -> Self:
        """Return the same with another number of epochs, over which the rate of an exponential schedule falls as far."""
        decay = self.lr_decay ** (self.epochs / max(epochs, 1))
        return replace(self, epochs=epochs, lr_decay=decay, seed=self.seed if seed is None else seed)

    def __post_init__(self) -> None:
        """Refuse a schedule that does not exist or fit, and less than one part."""
        if self.schedule not in SCHEDULES:
            raise UnknownNameError("schedule", self.schedule, SCHEDULES)
        if self.warmup_epochs < 0.0 or (self.warmup_epochs > 0.0 and self.warmup_epochs >= self.epochs):
            raise RunError(
                f"the warm-up must be 0 or more epochs and shorter than the training of {self.epochs}, got {self.warmup_epochs:g}"
            )
        if self.accumulate < 1:
            raise RunError(f"a batch passes the net in 1 part or more, got accumulate={self.accumulate}")


def rate_factor(schedule: Schedule, position: float, epochs: int, *, decay: float, warmup: float) -> float:
    """Return the factor on the initial learning rate.

    Args:
        schedule: `exponential` falls by `decay` after each whole epoch; `linear` and `cosine` (half a cycle) fall after the warm-up
            with every step, to 0 at the end.
        position: how many epochs are done, a fraction within one.
        epochs: of the whole training.
        decay: of the exponential schedule.
        warmup: epochs over which the rate first rises linearly from 0.
    """
    rise = position / warmup if position < warmup else 1.0
    if schedule == "exponential":
        return decay ** int(position) * rise
    left = (epochs - max(position, warmup)) / (epochs - warmup)
    return rise * (left if schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * left))
