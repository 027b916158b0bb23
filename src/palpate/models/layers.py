"""Small torch layers that the outcome net is made of."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LIMIT = 10.0


class Standardise(nn.Module):
    """`(x - mean) / scale` with fixed numbers that are stored, saved and loaded with the weights; identity until fitted."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, dim: int) -> None:
        """Start as the identity over `dim` components."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def fit(self, values: np.ndarray, present: np.ndarray | None = None) -> None:
        """Take mean and spread from training data.

        Args:
            values: (N, dim) numbers of the training fold only.
            present: (N,) which rows hold data; all if None. With no row present the layer stays the identity.

        A component that does not vary (spread below 1e-4 of the largest) keeps scale 1, so that round-off is not blown up.
        """
        rows = values if present is None else values[np.asarray(present, bool)]
        if len(rows) == 0:
            return
        rows = rows.reshape(len(rows), -1)
        mean = rows.mean(axis=0, dtype=np.float64)
        centre = mean.astype(np.float32)
        square = sum(np.square(part.astype(np.float32) - centre).sum(axis=0, dtype=np.float64) for part in _parts(rows))
        spread = np.sqrt(square / len(rows))
        floor = 1e-4 * float(spread.max(initial=0.0))
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(np.where(spread > floor, spread, 1.0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., dim) float32, limited to `LIMIT` standard deviations: what is farther out was never trained on."""
        return ((x.float() - self.mean) / self.scale).clamp(-LIMIT, LIMIT)


def _parts(rows: np.ndarray, size: int = 1024) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


class Dropout(nn.Module):
    """Dropout with a fast mask on the CPU: each random 64-bit integer decides over eight elements.

    torch draws one Mersenne-Twister number per element, which takes a tenth of a training step of the outcome net.
    The rate is rounded to a multiple of 1/256 (0.25 is exact). On other devices this is `torch.nn.functional.dropout`.
    """

    def __init__(self, rate: float) -> None:
        """Drop each element with probability `rate`."""
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with elements dropped and the rest scaled up in training, x itself otherwise."""
        if not self.training or self.rate == 0.0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.rate)
        dropped = round(256 * self.rate)
        words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
        keep = words.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
        return x * (keep.to(x.dtype) * (256.0 / (256 - dropped)))


class Mlp(nn.Module):
    """Two fully connected layers, each followed by ReLU and dropout (paper Section IV-A.1).

    The first layer always computes in float32: it is tiny, and standardised actions keep their full resolution.
    """

    def __init__(self, n_in: int, width: int, rate: float) -> None:
        """Map (..., n_in) to (..., width)."""
        super().__init__()
        self.first = nn.Linear(n_in, width)
        self.second = nn.Linear(width, width)
        self.dropout = Dropout(rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., width)."""
        with torch.autocast(x.device.type, enabled=False):
            hidden = functional.relu(self.first(x.float()))
        hidden = self.dropout(hidden.to(self.second.weight.dtype))
        return self.dropout(functional.relu(self.second(hidden)))
