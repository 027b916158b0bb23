"""Runs and training states on disk: tensors in safetensors files, everything else in JSON. Nothing is pickled."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from palpate.core.errors import RunError

WEIGHTS, RUN = "weights.safetensors", "run.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trained net as saved: enough to rebuild it and to know where it came from."""

    net: Mapping[str, Any]
    """Configuration of the net, as plain values."""
    train: Mapping[str, Any]
    """Configuration of the training, as plain values."""
    metrics: Mapping[str, Any]
    """Whatever was measured."""
    weights: Mapping[str, torch.Tensor]
    """State of the net, by name."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the recipe needs to use the run: backbone, picture size, names of classes."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of what the run was made with; filled in by `save_run`."""
    revision: str | None = None
    """Git revision of the code, None if it was not run from a repository; filled in by `save_run`."""

    def fill(self, net: nn.Module, prefix: str = "") -> None:
        """Put the weights whose names begin with `prefix`, less the prefix, into a net.

        Raises:
            RunError: they are of another architecture than the net.
        """
        try:
            net.load_state_dict(_under(prefix, self.weights))
        except RuntimeError as error:
            raise RunError(f"the weights of the run are of another architecture than the net they are for: {error}") from error


def save_run(folder: Path, run: Run) -> None:
    """Write a run. `run.json` comes last and in one move, so a folder that has it is complete."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN).unlink(missing_ok=True)
    _replace(folder / WEIGHTS, {name: tensor.detach().cpu().contiguous() for name, tensor in run.weights.items()}, {})
    values = {
        "format": FORMAT,
        "net": dict(run.net),
        "train": dict(run.train),
        "metrics": dict(run.metrics),
        "extra": dict(run.extra),
        "versions": versions(),
        "revision": revision(Path(__file__).parent),
    }
    temporary = folder / f".{RUN}.{os.getpid()}"
    temporary.write_text(json.dumps(values, indent=2, default=_plain) + "\n")
    temporary.replace(folder / RUN)


def load_run(folder: Path) -> Run:
    """Read a run.

    Raises:
        RunError: a file is missing or damaged, or the run has another format; the message names the file.
    """
    folder = Path(folder)
    for name in (RUN, WEIGHTS):
        if not (folder / name).is_file():
            raise RunError(
                f"{folder / name} is missing, so this is no complete run; train again, or give a finished run folder"
            )
    try:
        values = json.loads((folder / RUN).read_text())
        weights = load_file(folder / WEIGHTS)
    except (json.JSONDecodeError, SafetensorError) as error:
        raise RunError(f"{folder} holds a damaged file, train again: {error}") from error
    if values.get("format") != FORMAT:
        raise RunError(f"{folder / RUN} has format {values.get('format')!r}, this version of palpate reads {FORMAT}")
    keys = ("net", "train", "metrics", "extra", "versions", "revision")
    return Run(weights=weights, **{key: values[key] for key in keys})


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    found = {"python": platform.python_version()}
    for name in ("palpate", "numpy", "torch", "timm", "safetensors"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def revision(folder: Path) -> str | None:
    """Return the git revision of the code in `folder`, with `+changes` if files differ from it; None outside a repository."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=5, check=True)
    return done.stdout.strip()


def save_state(path: Path, tensors: Mapping[str, torch.Tensor], notes: Mapping[str, Any]) -> None:
    """Write a training state in one move: a reader finds the old state or the new one, never half of one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, notes)


def load_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_state` wrote; RunError if the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads((file.metadata() or {})["notes"])
        return load_file(path), notes
    except (SafetensorError, KeyError) as error:
        raise RunError(f"training state {path} is damaged: delete it to train from the start ({error})") from error


@dataclass(frozen=True, kw_only=True)
class Partial:
    """How much of an epoch is done."""

    steps: int = 0
    samples: int = 0
    total: float = 0.0
    """Sum of the losses, each times the number that it counts with."""
    known: int = 0
    """Sum of these numbers."""
    random: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """State of torch's generators, by kind of device."""

    def plus(self, samples: int, loss: float, known: int) -> "Partial":
        """Return this and one step more."""
        return Partial(steps=self.steps + 1, samples=self.samples + samples, total=self.total + loss, known=self.known + known)


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of the generators that a net on this device draws from."""
    return {"cpu": torch.get_rng_state()} | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_state(state: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Go back to a state that `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


class TrainingState:
    """Where an unfinished training is, on disk; does nothing without a path."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any], period: float, *, writes: bool = True) -> None:
        """Start the clock.

        Args:
            path: the file.
            settings: what a training that is resumed must have in common with the one that was interrupted.
            period: least time between two savings [s].
            writes: whether this process saves and deletes, and not another one.
        """
        self.path, self.period, self.writes = path, period, writes
        self.settings = json.loads(json.dumps(settings, default=_plain))
        self.saved = time.monotonic()

    def due(self) -> bool:
        """Return whether it is time to save."""
        return self.writes and self.path is not None and time.monotonic() - self.saved >= self.period

    def save(
        self, net: nn.Module, optimiser: torch.optim.Optimizer, history: Sequence[Mapping[str, Any]], partial: Partial
    ) -> None:
        """Write weights, optimiser, the records of the epochs that are done, and how far the next one is."""
        if self.path is None:
            return
        tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in state.items()}
        tensors |= {f"random.{kind}": tensor for kind, tensor in partial.random.items()}
        counts = {"steps": partial.steps, "samples": partial.samples, "total": partial.total, "known": partial.known}
        save_state(self.path, tensors, {"settings": self.settings, "history": list(history), "partial": counts})
        self.saved = time.monotonic()

    def load(self, net: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[list[dict[str, Any]], Partial]:
        """Put weights and optimiser where they were; return the records and how far the next epoch is. Without a file: nothing.

        Raises:
            RunError: the file is damaged, or belongs to a training with other settings or another net.
        """
        if self.path is None or not self.path.exists():
            return [], Partial()
        tensors, notes = load_state(self.path)
        differ = sorted(key for key, value in self.settings.items() if notes["settings"].get(key) != value)
        if differ:
            raise RunError(
                f"training state {self.path} belongs to another training: {', '.join(differ)} differ; "
                "restore these settings to go on, or delete the file to start again"
            )
        try:
            net.load_state_dict(_under("net.", tensors))
        except RuntimeError as error:
            raise RunError(
                f"training state {self.path} belongs to another net: restore its configuration to go on, or delete the file ({error})"
            ) from error
        states: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _under("optimiser.", tensors).items():
            index, key = name.split(".")
            states.setdefault(int(index), {})[key] = tensor
        optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
        return notes["history"], Partial(**notes["partial"], random=_under("random.", tensors))

    def discard(self) -> None:
        """Delete the file: the training is done."""
        if self.path is not None and self.writes:
            self.path.unlink(missing_ok=True)


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _replace(path: Path, tensors: dict[str, torch.Tensor], notes: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, temporary, metadata={"notes": json.dumps(notes, default=_plain)})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _plain(value: object) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written to JSON; give plain values")
