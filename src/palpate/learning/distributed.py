"""Training in several processes: each computes its share of every batch, and all end a step with the same weights.

Start them with `torchrun --nproc_per_node N -m palpate ...`; `learning.loop.fit` sees it by itself. The outputs of all shares are put
together before the loss is taken, so a loss over pairs of samples is that of the whole batch, and its gradient is the same as in one
process, up to rounding. Gradients are added up after the backward pass, in one message. Every process makes the whole batch and keeps
its share, and all must see the same files.
"""

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import distributed, nn

from palpate.core.errors import RunError


def leads() -> bool:
    """Return whether this process writes files and talks: the first that torchrun started, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


@dataclass(frozen=True)
class Team:
    """The processes that train one net together."""

    rank: int = 0
    """Number of this one."""
    size: int = 1

    def share(self, n: int) -> slice:
        """Return this process's part of n samples; empty where there are fewer samples than processes."""
        return self._share(self.rank, n)

    def gather(self, rows: torch.Tensor, n: int) -> torch.Tensor:
        """Return (n, ...) rows of the whole batch, without gradient, from everyone's share of them."""
        rows = rows.detach()
        if self.size == 1:
            return rows
        longest = -(-n // self.size)
        padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded)
        shares = (self._share(rank, n) for rank in range(self.size))
        return torch.cat([part[: share.stop - share.start] for part, share in zip(parts, shares, strict=True)])

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up everyone's gradients; a weight that took part in no process keeps none."""
        trained = [p for p in parameters if p.requires_grad]
        if self.size == 1 or not trained:
            return
        took_part = torch.tensor([p.grad is not None for p in trained], dtype=torch.float32, device=trained[0].device)
        distributed.all_reduce(took_part)
        used = [p for p, count in zip(trained, took_part.tolist(), strict=True) if count]
        if not used:
            return
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in used])
        distributed.all_reduce(flat)
        for p, part in zip(used, flat.split([p.numel() for p in used]), strict=True):
            p.grad = part.view_as(p)

    def start_alike(self, net: nn.Module) -> None:
        """Give everyone the weights and buffers of the first process, and wait for all."""
        if self.size > 1:
            for tensor in (*net.parameters(), *net.buffers()):
                distributed.broadcast(tensor.data, 0)

    def _share(self, rank: int, n: int) -> slice:
        """Contiguous parts, the first ones a sample longer where they cannot be equal: put together they are in order."""
        short, longer = divmod(n, self.size)
        start = rank * short + min(rank, longer)
        return slice(start, start + short + (rank < longer))


def join(device: str) -> tuple[Team, torch.device]:
    """Return the team that torchrun started, or of this process alone, and the device to train on.

    Args:
        device: a torch device; `auto` is CUDA if there is any, else the CPU. Of several processes with CUDA each takes the device of
            its number on its machine.

    Raises:
        RunError: there are more processes than devices.
    """
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team(), torch.device(place)
    if place == "cuda":
        number = int(os.environ["LOCAL_RANK"])
        if number >= torch.cuda.device_count():
            raise RunError(
                f"process {number} has no CUDA device of its own: start at most {torch.cuda.device_count()} processes"
            )
        place = f"cuda:{number}"
        torch.cuda.set_device(number)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if place.startswith("cuda") else "gloo")
        atexit.register(distributed.destroy_process_group)
    return Team(distributed.get_rank(), distributed.get_world_size()), torch.device(place)
