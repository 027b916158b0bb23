"""Cross-sensor generation (AnyTouch, Section A.10, Table 7): what another touch sensor would give of the same touch.

A decoder learns from the features of one sensor's clips the change of another's picture, or its 20 x 20 field of forces, on the objects
that `recipes.anytouch.is_held_out` leaves for training, and is judged on the others by the paper's measure, the mean squared error. As
many objects count as many times, each the mean over its touches. What was assumed, for the paper does not say: the units of the error,
that the encoder stays as it is, and the optimiser's settings.

Axis letters: N pair, O object, D width of the encoder, P patch.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from palpate.core.errors import DataError, PalpateError, RunError
from palpate.core.randomness import generator
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.evaluation.figures_touch_generation import Shown, write_sheet
from palpate.evaluation.intervals import Interval, cluster_mean, paired_difference
from palpate.evaluation.tables import NOTHING, Table, plain
from palpate.learning.batches import Batch
from palpate.learning.checkpoint import Run, load_run, save_run
from palpate.learning.loop import EpochRecord, fit, run_net
from palpate.learning.schedule import TrainConfig
from palpate.models.touch_generation import GeneratedObjective, GeneratorConfig, TouchGenerator
from palpate.recipes.anytouch import AnyTouchConfig, is_held_out, trained_on
from palpate.recipes.touch_embedding import IMAGENET, UNTRAINED, Source, open_source, untrained
from palpate.recipes.touch_pairs import TouchPairs, touch_pairs

RECIPE = "touch generation"
"""What a run folder says that it is."""
MEAN, REST, NEAREST = "mean change", "no change", "nearest touch"
"""Guesses without a decoder: the mean change of the training touches, the target at rest, and the change of the training touch whose
features by the same encoder are most alike."""
SHEET = "sheet.png"
_SHOWN = 6
"""Touches on the sheet."""
_AT_ONCE = 64
TITLES: Mapping[str, str] = {
    "psnr_db": "PSNR, dB",
    "rmse_x_mn": "x, mN",
    "rmse_y_mn": "y, mN",
    "rmse_z_mn": "z, mN",
    "net_force_n": "net force, N",
}
"""Of the measures beside the mean square, in tables."""


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """What to generate from what."""

    run: str
    """Folder of a run of `palpate train touch`, or `untrained`."""
    data: Path
    source: str
    """Sensor whose clips are given."""
    target: str
    """Sensor whose picture or field is to be made."""
    out: Path
    tune: bool = False
    """Train the encoder too."""
    held_out: float | None = None
    """Share of objects to judge by; that of the run if None, of `untrained` the usual one."""
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            epochs=30, batch_size=32, learning_rate=2e-3, schedule="linear", warmup_epochs=1.0, weight_decay=0.05
        )
    )


@dataclass(frozen=True, kw_only=True)
class GenerationSplit:
    """Pairs to train on and pairs of objects held out."""

    train: TouchPairs
    held: TouchPairs
    spread: float
    """Root mean square of the training changes: colours 0 to 1, or N."""


Errors = Mapping[str, np.ndarray]
"""Of each held-out pair (N,), by measure."""


@dataclass(frozen=True)
class PairBatches:
    """Pairs as the generator takes them: `learning.batches.BatchSource` and `Indexed`."""

    pairs: TouchPairs
    sensor: int
    """Index of the source's tokens."""
    spread: float
    features: Mapping[str, np.ndarray] | None = None
    """`pooled` (N, D) and `tokens` (N, P, D) of an encoder that stays as it is; None gives it the clips."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.pairs)

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """Yield every pair once, in random order."""
        order = rng.permutation(len(self))
        return (self.batch(order[start : start + batch_size]) for start in range(0, len(order), batch_size))

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the pairs at these indices."""
        sensor = np.full(len(indices), self.sensor, np.int64)
        inputs = (
            {"clip": self.pairs.clip[indices], "sensor": sensor}
            if self.features is None
            else {name: rows[indices] for name, rows in self.features.items()}
        )
        change = self.pairs.change(indices) / np.float32(self.spread)
        return Batch(inputs=inputs, labels=np.empty((len(indices), 0), np.float32), targets={"change": change})


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A trained generator, and what it says of the pairs held out."""

    net: TouchGenerator
    change: np.ndarray
    """(N, ...) float32 as `TouchPairs.change`."""
    nearest: np.ndarray
    """(N,) the training pair whose pooled features, less their mean, are most alike by the cosine."""
    seconds: float


def open_split(reader: EpisodeReader, source: Source, config: GenerationConfig, *, progress: bool = True) -> GenerationSplit:
    """Return the pairs of a data set, those of some objects held out.

    Raises:
        PalpateError: sensors that the data set does not have, or a share of objects held out that the encoder was trained on.
        DataError: no object is left on one side.
    """
    own = AnyTouchConfig.held_out if source.run is None else float(source.run.extra["held_out_share"])
    share = own if config.held_out is None else config.held_out
    if share > own and source.run is not None and trained_on(source.run, reader):
        raise PalpateError(
            f"{source.name} was trained on this data but for a share of {own:g} of the objects; {share:g} cannot be held out"
        )
    pairs = touch_pairs(reader, config.source, config.target, source.shape, progress=progress)
    held = np.array([is_held_out(str(name), share) for name in pairs.object], bool)
    if held.all() or not held.any():
        names = len(np.unique(pairs.object))
        raise DataError(
            f"of {names} objects {names if held.all() else 0} are held out at a share of {share:g}; give more objects"
        )
    train = pairs.take(~held)
    spread = float(np.sqrt(np.square(train.change()).mean()))
    return GenerationSplit(train=train, held=pairs.take(held), spread=max(spread, 1e-9))


def learn(
    source: Source,
    split: GenerationSplit,
    config: GenerationConfig,
    tell: Callable[[str], None] | None = None,
    *,
    progress: bool = True,
) -> Learned:
    """Train a decoder, and with `config.tune` the encoder, on the pairs of a split.

    A run that was trained without clips is given stills. What the decoder starts from depends on `config.train.seed` only.
    """
    net = source.net
    assert net is not None
    shape = GeneratorConfig(
        kind=split.train.kind,
        encoder=net.config,
        frozen=not config.tune,
        stills=source.run is not None and "clips" in source.run.extra["without"],
        side=split.train.truth.shape[1],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        made = TouchGenerator(shape, copy.deepcopy(net), split.spread)
    index = net.config.index(config.source)
    parts = [PairBatches(pairs, index, split.spread) for pairs in (split.train, split.held)]
    if not config.tune:
        parts = [replace(part, features=describe(made, part)) for part in parts]

    def told(record: EpochRecord, _: torch.nn.Module) -> None:
        if tell is not None:
            loss, held = record.loss, record.validation["loss"]
            tell(f"epoch {record.epoch + 1}: loss {loss:.3f}; held out {held:.3f} ({record.seconds:.0f} s)")

    history = fit(
        made, parts[0], config.train, objective=GeneratedObjective(), validation=parts[1], callbacks=[told], progress=progress
    )
    features = [part.features or describe(made, part) for part in parts]
    change = run_net(made, replace(parts[1], features=features[1]), batch_size=_AT_ONCE).numpy() * float(made.spread)
    seconds = sum(record.seconds for record in history)
    return Learned(net=made, change=change, nearest=_nearest(*(rows["pooled"] for rows in features)), seconds=seconds)


def describe(net: TouchGenerator, part: PairBatches) -> dict[str, np.ndarray]:
    """Return an encoder's features of pairs: `pooled` (N, D) float32, and `tokens` (N, P, D) float16 to save memory."""
    found: dict[str, list[np.ndarray]] = {"pooled": [], "tokens": []}
    device = next(net.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(part), _AT_ONCE):
            batch = part.batch(np.arange(start, min(start + _AT_ONCE, len(part))))
            features = net.features({name: torch.from_numpy(rows).to(device) for name, rows in batch.inputs.items()})
            found["pooled"].append(features.pooled.float().cpu().numpy())
            found["tokens"].append(features.tokens.half().cpu().numpy())
    return {name: np.concatenate(rows) for name, rows in found.items()}


def _nearest(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return (N,) the row of `known` (M, D) with the largest cosine to each of `asked` (N, D), all less the mean of `known`."""
    mean = known.mean(axis=0)  # what all touches share would hide how they differ
    a, b = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12) for rows in (known - mean, asked - mean))
    return (b @ a.T).argmax(axis=1)


def errors(held: TouchPairs, change: np.ndarray) -> Errors:
    """Return how far a change (N, ...) or (1, ...) is from the truth, of each pair.

    Returns:
        Of a picture `mse` of colours 0 to 1 and `psnr_db`; of a field `mse` [mN^2], `rmse_x_mn`, `rmse_y_mn`, `rmse_z_mn` over its
        parts, and `net_force_n`, the error of the whole normal force.
    """
    if held.kind == "picture":
        rest = held.rest.astype(np.float32) / 255.0
        apart = np.clip(rest + change, 0.0, 1.0) - held.truth.astype(np.float32) / 255.0
        mse = np.square(apart).mean(axis=(1, 2, 3))
        return {"mse": mse, "psnr_db": -10.0 * np.log10(np.maximum(mse, 1e-10))}
    apart = change - held.truth
    squared = 1e6 * np.square(apart).mean(axis=(1, 2))
    out = {f"rmse_{axis}_mn": np.sqrt(squared[:, k]) for k, axis in enumerate("xyz")}
    return {"mse": squared.mean(axis=1), **out, "net_force_n": np.abs(apart[..., 2].sum(axis=(1, 2)))}


def guesses(split: GenerationSplit) -> dict[str, np.ndarray]:
    """Return the changes (1, ...) that are said of every touch without looking at it, by name."""
    mean = split.train.change().mean(axis=0, keepdims=True)
    return {MEAN: mean, REST: np.zeros_like(mean)}


def by_object(held: TouchPairs, found: Errors) -> dict[str, np.ndarray]:
    """Return errors (O,) of objects, each the mean over its touches, in the order of their names."""
    _, place, counts = np.unique(held.object, return_inverse=True, return_counts=True)
    return {name: np.bincount(place, weights=values) / counts for name, values in found.items()}


def generate_touch(config: GenerationConfig, tell: Callable[[str], None] = print, *, progress: bool = True) -> dict[str, Any]:
    """Train a generator, write its run and a sheet of pictures, and return how it does beside its baselines.

    Raises:
        PalpateError: an unusable run, data without the sensors or with too few objects, or a finished run where `out` is.
    """
    if (config.out / "run.json").exists():
        raise RunError(f"{config.out} holds a finished run; choose another --out")
    source, reader = open_encoder(config.run), open_dataset(config.data)
    split = open_split(reader, source, config, progress=progress)
    tell(f"{config.source} to {config.target}: learns from {_counted(split.train)}; held out {_counted(split.held)}")
    found = learn(source, split, config, tell, progress=progress)
    name = Path(config.run).name
    changes = {name: found.change}
    if source.run is not None:
        fresh = replace(source, net=untrained(source.shape, config.train.seed), run=None)
        changes[UNTRAINED] = learn(fresh, split, config, progress=progress).change
    changes |= {NEAREST: split.train.change(found.nearest), **guesses(split)}
    rows = {key: by_object(split.held, errors(split.held, change)) for key, change in changes.items()}
    figures = {
        "run": config.run,
        "data": str(config.data),
        "from": config.source,
        "to": config.target,
        "kind": split.held.kind,
        "tune": config.tune,
        "pairs": {"train": len(split.train), "held_out": len(split.held)},
        "objects": len(np.unique(split.held.object)),
        "seconds": found.seconds,
        "rows": {key: as_row(row, rows[name] if key != name else None) for key, row in rows.items()},
    }
    _save(config, found, figures)
    write_sheet(config.out / SHEET, _shown(split, changes), config.source)
    return figures


def _counted(pairs: TouchPairs) -> str:
    return f"{len(pairs)} instants of {len(np.unique(pairs.touch))} touches of {len(np.unique(pairs.object))} objects"


def open_encoder(run: str) -> Source:
    """Return the encoder that `run` names; RunError for the ImageNet network, which has no patches of touch."""
    if run == IMAGENET:
        raise RunError(f"{IMAGENET} has no touch encoder; give a run of `palpate train touch`, or {UNTRAINED}")
    return open_source(run)


def as_row(row: Mapping[str, np.ndarray], first: Mapping[str, np.ndarray] | None) -> dict[str, Any]:
    """Return figures of one row, means over objects with intervals, as JSON values; `first` is the row that is held against it."""
    names = np.arange(len(row["mse"]))
    out: dict[str, Any] = {name: asdict(cluster_mean(values, names, generator(0, 9))) for name, values in row.items()}
    less = None if first is None else asdict(paired_difference(first["mse"], row["mse"], names, generator(0, 9)))
    return {**out, "first_minus_this": less}


def _save(config: GenerationConfig, found: Learned, figures: Mapping[str, Any]) -> None:
    net = found.net
    extra = {"recipe": RECIPE, "encoder": config.run, "from": config.source, "to": config.target}
    save_run(
        config.out,
        Run(net=net.config.to_dict(), train=asdict(config.train), metrics=figures, weights=net.state_dict(), extra=extra),
    )


def load_generator(folder: Path) -> TouchGenerator:
    """Return the generator of a run that `generate_touch` wrote, in evaluation mode: its outputs times its `spread` are changes.

    Raises:
        RunError: no run, or one of another recipe.
    """
    run = load_run(folder)
    if run.extra.get("recipe") != RECIPE:
        raise RunError(f"{folder} is a run of {run.extra.get('recipe', 'another recipe')}, not of `palpate generate`")
    net = TouchGenerator(GeneratorConfig.from_dict(run.net))
    run.fill(net)
    return net.eval()


def _shown(split: GenerationSplit, changes: Mapping[str, np.ndarray]) -> list[Shown]:
    """Return the strongest instant of objects held out, evenly spread over their names, with what a few rows say of it."""
    held, truth = split.held, split.held.change()
    strength = np.square(truth).mean(axis=(1, 2, 3))
    best = [np.flatnonzero(held.object == name) for name in np.unique(held.object)]
    best = np.array([rows[strength[rows].argmax()] for rows in best])
    best = best[np.linspace(0, len(best) - 1, min(len(best), _SHOWN)).round().astype(int)]
    told = {name: change for name, change in changes.items() if name not in (MEAN, REST)}
    mse = {name: errors(held, change)["mse"] for name, change in told.items()}
    unit, scale = ("mean square x 1000", 1e3) if held.kind == "picture" else ("mean square, mN2", 1.0)
    return [
        Shown(
            name=str(held.object[i]),
            source=held.clip[i, -1],
            changes={held.target: truth[i], **{name: change[i] for name, change in told.items()}},
            notes={name: f"{unit} {scale * values[i]:.2f}" for name, values in mse.items()},
            rest=held.rest[i] if held.kind == "picture" else None,
        )
        for i in best
    ]


def generation_table(figures: Mapping[str, Any]) -> Table:
    """Return the rows of `generate_touch` as a table."""
    rows = figures["rows"]
    first = next(iter(rows))
    scale, unit = (1e3, "colours 0 to 1, x 1000") if figures["kind"] == "picture" else (1.0, "mN2")
    others = [name for name in rows[first] if name not in ("mse", "first_minus_this")]

    def number(found: Mapping[str, Any] | None, factor: float = 1.0) -> str:
        return NOTHING if found is None else plain(scaled(Interval(**found), factor), 2)

    return Table(
        caption=f"{figures['from']} to {figures['to']}: mean squared error ({unit})",
        columns=("change by", "error [95 %]", f"{first} less this", *(TITLES[name] for name in others)),
        rows=tuple(
            (
                name,
                number(row["mse"], scale),
                number(row["first_minus_this"], scale),
                *(plain(row[other]["value"], 2) for other in others),
            )
            for name, row in rows.items()
        ),
        note=f"{figures['objects']} objects that no training saw, each counts the same; intervals over them.",
    )


def scaled(value: Interval, factor: float) -> Interval:
    """Return an interval in another unit."""
    return replace(value, value=factor * value.value, low=factor * value.low, high=factor * value.high)
