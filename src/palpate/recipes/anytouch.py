"""AnyTouch: one representation of touch across sensors, in two stages.

R. Feng, J. Hu, W. Xia, T. Gao, A. Shen, Y. Sun, B. Fang, D. Hu, "AnyTouch: Learning unified static-dynamic representation across multiple
visuo-tactile sensors", ICLR 2025. Stage 1 hides patches of stills and clips and guesses them (Section 4.2); stage 2 aligns touch with
pictures and words and tells the same touch by another sensor from others (Sections 4.3, 4.4). What was assumed: the optimiser's settings
for a small encoder, and the share of objects held out. No label is learnt from; the words of simulated touches come from true properties.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from palpate.core.errors import DataError, PalpateError, RunError, UnknownNameError
from palpate.data.reader import EpisodeReader
from palpate.learning.batches import Batch
from palpate.learning.checkpoint import Run, load_run, save_run
from palpate.learning.loop import EpochRecord, evaluate, fit
from palpate.learning.schedule import TrainConfig
from palpate.models.text import TextEncoder
from palpate.models.touch_alignment import AlignedTouchNet, AlignmentConfig, AlignmentObjective
from palpate.models.touch_encoder import TouchEncoder, TouchEncoderConfig, load_openclip
from palpate.models.touch_pretraining import DecoderConfig, MaskedConfig, MaskedObjective, MaskedTouchNet, rows_at
from palpate.recipes.touch_clips import OneKind, TouchClips
from palpate.recipes.touch_frames import ClipSettings

RECIPE = "anytouch"
"""What a run folder says that it is."""
PARTS = ("text", "vision", "matching", "clips", "universal")
"""What a training can leave out: sentences, camera pictures, cross-sensor matching, motion (stills only), universal tokens (Table 6)."""
_INPUTS = {"text": ("text",), "vision": ("vision",), "matching": ("positive", "positive_sensor", "negative", "negative_sensor")}
_MEAN_OF = 1000
"""Samples that the mean frame is taken over."""


TouchNet = MaskedTouchNet | AlignedTouchNet
Split = tuple[TouchClips, TouchClips]
"""Samples to train on, and samples of objects held out."""


@dataclass(frozen=True, kw_only=True)
class AnyTouchConfig:
    """One training of one stage."""

    data: tuple[Path, ...]
    out: Path
    stage: Literal[1, 2] = 1
    encoder: str = "tiny"
    """`tiny`: `shape`; `openclip:PATH`: the vision tower in that file. Stage 2 takes that of `init`, if one is given."""
    shape: TouchEncoderConfig = field(default_factory=TouchEncoderConfig)
    """Of the tiny encoder; its sensors are those of the data."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    init: Path | None = None
    """Run that stage 2 starts from."""
    exclude: tuple[str, ...] = ()
    """Sensors that are left out."""
    without: tuple[str, ...] = ()
    """Any of `PARTS`."""
    held_out: float = 0.2
    """Share of objects that are never trained on."""
    resume: bool = False
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            epochs=10,
            batch_size=64,
            learning_rate=1e-3,
            schedule="linear",
            warmup_epochs=1.0,
            betas=(0.9, 0.99),
            weight_decay=0.1,
        )
    )
    """The paper: 2e-4 at batch 256, 20 and 12 epochs; a small encoder on little data learns with a larger rate."""

    def __post_init__(self) -> None:
        """Refuse parts that do not exist, and a start for stage 1."""
        for name in sorted(set(self.without) - set(PARTS)):
            raise UnknownNameError("part to leave out", name, PARTS)
        if self.stage not in (1, 2) or (self.stage == 1 and self.init is not None):
            raise PalpateError(
                f"--stage {self.stage} with --init {self.init}: stages are 1 and 2, and only stage 2 starts from a run"
            )


def is_held_out(name: str, share: float) -> bool:
    """Return whether an object is never trained on: by its name alone, so that more data or sensors change nothing."""
    return zlib.crc32(f"held out {name}".encode()) < share * 2**32


def held_out_objects(objects: Iterable[str], share: float) -> tuple[str, ...]:
    """Return those of some objects, by name, that are never trained on."""
    return tuple(sorted(name for name in {str(given) for given in objects} if is_held_out(name, share)))


def train_touch(config: AnyTouchConfig, tell: Callable[[str], None] = print, *, progress: bool = True) -> Path:
    """Train one stage and write the run.

    Raises:
        PalpateError: unusable data or settings, a run of another architecture, or a finished run where `out` is.
    """
    if (config.out / "run.json").exists():
        raise RunError(f"{config.out} holds a finished run; choose another --out")
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    start = None if config.init is None else load_touch_run(config.init)
    shape = config.shape if start is None else encoder_config(start)
    train, held = read_clips(config, shape, known=None if start is None else shape.sensors, progress=progress)
    torch.manual_seed(config.train.seed)
    net = build_net(config, _encoder(config, shape, start, train.sensors), start)
    if config.stage == 2:
        embed = None if "text" in config.without else TextEncoder().embed
        train, held = (part.aligned(embed, progress=progress) for part in (train, held))
    objective = MaskedObjective() if config.stage == 1 else AlignmentObjective()
    kind: Literal["clip", "still"] = "still" if "clips" in config.without else "clip"
    check = Checked(held.of_kind(kind), config.without)
    unknown = sorted({name for part in train.parts for name in part.sensor.tolist()} - {*train.sensors, *config.exclude})
    if unknown:
        tell(f"{', '.join(unknown)}: never seen by {config.init}, so with universal tokens")
    tell(
        f"stage {config.stage}: {len(train)} samples of {', '.join(train.sensors)}; {len(np.unique(held.object[held.kept]))} objects "
        f"held out; {sum(p.numel() for p in net.parameters() if p.requires_grad) / 1e6:.2f} million weights"
    )

    def told(record: EpochRecord, _: nn.Module) -> None:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in record.validation.items())
        tell(f"epoch {record.epoch + 1}: loss {record.loss:.3f}; held out {figures} ({record.seconds:.0f} s)")

    config.out.mkdir(parents=True, exist_ok=True)
    state = config.out / "state.safetensors"
    if state.exists() and not config.resume:
        raise RunError(f"{config.out} holds an interrupted training; --resume goes on with it, or choose another --out")
    history = fit(
        net, Thinned(train, config.without), config.train, objective=objective, validation=check if len(check) else None,
        callbacks=[told], checkpoint=state, progress=progress,
    )  # fmt: skip
    figures = held_out_figures(net, train, held, check, objective)
    _save(config, net, (train, held), figures | {"seconds": sum(record.seconds for record in history)}, start)
    return config.out


def read_clips(
    config: AnyTouchConfig, shape: TouchEncoderConfig, *, known: tuple[str, ...] | None = None, progress: bool = True
) -> Split:
    """Return the samples to train on, and those of objects held out.

    Args:
        config: which data, and what of them.
        shape: size and frames of the clips.
        known: sensors with tokens of their own; None: all there are.
        progress: show bars.

    Raises:
        DataError: nothing is left to train on.
        UnknownNameError: a sensor to exclude that the data do not have.
    """
    clips = TouchClips.open(config.data, ClipSettings(size=shape.size, frames=shape.frames, view=shape.view), progress=progress)
    for name in sorted(set(config.exclude) - set(clips.sensors)):
        raise UnknownNameError("sensor to exclude", name, clips.sensors)
    names = np.concatenate([part.sensor for part in clips.parts])
    kept = clips.kept & ~np.isin(names, config.exclude)
    objects = np.concatenate([part.object for part in clips.parts])
    held = np.array([is_held_out(str(name), config.held_out) for name in objects], bool)
    sensors = known if known is not None else tuple(name for name in clips.sensors if name not in config.exclude)
    train = replace(clips, kept=kept & ~held, sensors=sensors)
    if not len(train):
        raise DataError(
            f"no touch is left to train on: of {len(kept)} recordings {int(held.sum())} are held out; give more objects"
        )
    return train, replace(clips, kept=kept & held, sensors=sensors, augmented=False)


def build_net(config: AnyTouchConfig, encoder: TouchEncoder, start: Run | None = None) -> TouchNet:
    """Return the net of a stage around an encoder, which stage 2 takes from the run that it starts from."""
    universal = 0.0 if "universal" in config.without else 0.75
    if config.stage == 1:
        masked = MaskedTouchNet(MaskedConfig(encoder=encoder.config, decoder=config.decoder, universal=universal))
        masked.encoder = encoder
        return masked
    aligned = AlignedTouchNet(AlignmentConfig(encoder=encoder.config, universal=universal))
    if start is None:
        aligned.encoder = encoder
    else:
        aligned.start(start.weights)
    return aligned


def _encoder(config: AnyTouchConfig, shape: TouchEncoderConfig, start: Run | None, sensors: tuple[str, ...]) -> TouchEncoder:
    """Return the encoder before training."""
    if start is not None:
        return TouchEncoder(shape)
    kind, _, path = config.encoder.partition(":")
    if kind == "openclip" and path:
        return load_openclip(
            Path(path), frames=shape.frames, sensors=sensors, sensor_tokens=shape.sensor_tokens, size=shape.size
        )
    if config.encoder != "tiny":
        raise UnknownNameError("encoder", config.encoder, ("tiny", "openclip:PATH"))
    return TouchEncoder(replace(shape, sensors=sensors))


def without(batch: Batch, parts: tuple[str, ...]) -> Batch:
    """Return a batch less some `PARTS`; without `clips` a clip becomes a still of its last frame."""
    gone = {name for part in parts for name in _INPUTS.get(part, ())}
    inputs = {name: array for name, array in batch.inputs.items() if name not in gone}
    if "clips" in parts:
        inputs.pop("next", None)
        inputs |= {name: inputs[name][:, -1:] for name in ("clip", "positive", "negative") if name in inputs}
    presence = {name: array for name, array in batch.presence.items() if name in inputs}
    return replace(batch, inputs=inputs, presence=presence)


@dataclass(frozen=True)
class Thinned:
    """Samples to train on, less some parts: `learning.batches.BatchSource`."""

    source: TouchClips
    parts: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.source)

    def epoch(self, rng: np.random.Generator, batch_size: int) -> Iterator[Batch]:
        """Yield every sample once."""
        return (without(batch, self.parts) for batch in self.source.epoch(rng, batch_size))


@dataclass(frozen=True)
class Checked:
    """Samples to evaluate on, less some parts: `learning.batches.Indexed`."""

    source: OneKind
    parts: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.source)

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the samples at these indices."""
        return without(self.source.batch(indices), self.parts)


def held_out_figures(net: TouchNet, train: TouchClips, held: TouchClips, check: Checked, objective: Any) -> dict[str, Any]:
    """Return what the objective measures on held-out objects, and of stage 1 the same of guesses without a net."""
    if not len(check):
        return {"held_out": {}}
    out: dict[str, Any] = {"held_out": evaluate(net, check, objective=objective), "held_out_samples": len(check)}
    if isinstance(net, MaskedTouchNet):
        out["guesses"] = plain_guesses(net, train, held)
    return out


@torch.no_grad()
def plain_guesses(net: MaskedTouchNet, train: TouchClips, held: TouchClips) -> dict[str, float]:
    """Return the masked and the next-frame errors on held-out clips of guesses without a net, on the net's own masks.

    `mean_frame` guesses every hidden patch, and the next frame, to be the mean over training clips of the same sensor at that place;
    `visible_mean` that a hidden patch is the mean of those seen; `last_frame` that nothing moves.
    """
    encoder, source = net.encoder.cpu(), held.of_kind("clip")
    patches, following, sensor = _patches(encoder, train.of_kind("clip"))
    means = {int(k): (patches[sensor == k].mean(dim=0), following[sensor == k].mean(dim=0)) for k in sensor.unique()}
    every = patches.mean(dim=0), following.mean(dim=0)
    rows = np.arange(len(source))
    sums: dict[str, list[float]] = {name: [] for name in ("mean_frame", "visible_mean", "mean_next_frame", "last_frame")}
    for chunk in np.array_split(rows, max(1, len(rows) // 256)) if len(rows) else ():
        batch = source.batch(chunk)
        clip = torch.from_numpy(batch.inputs["clip"])
        there = encoder.patchify(encoder.normalise(clip))
        after = encoder.patchify_frame(torch.from_numpy(batch.inputs["next"]))
        seen, hidden = net.decoder.mask(torch.arange(len(chunk)))
        usual = [means.get(int(k), every) for k in batch.inputs["sensor"]]
        mean, mean_after = (torch.stack([pair[i] for pair in usual]) for i in (0, 1))
        truth = rows_at(there, hidden)
        guesses = {
            "mean_frame": rows_at(mean, hidden) - truth,
            "visible_mean": rows_at(there, seen).mean(dim=1, keepdim=True) - truth,
            "mean_next_frame": mean_after - after,
            "last_frame": encoder.patchify_frame(clip[:, -1]) - after,
        }
        for name, error in guesses.items():
            sums[name] += error.square().mean(dim=(1, 2)).tolist()
    return {name: float(np.mean(values)) for name, values in sums.items() if values}


def _patches(encoder: TouchEncoder, source: OneKind) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return patches (n, N, P), those of the next frame, and sensors (n,) of samples spread over a source."""
    rows = np.linspace(0, len(source) - 1, min(len(source), _MEAN_OF)).round().astype(int)
    inputs = source.batch(rows).inputs
    patches = encoder.patchify(encoder.normalise(torch.from_numpy(inputs["clip"])))
    return patches, encoder.patchify_frame(torch.from_numpy(inputs["next"])), torch.from_numpy(inputs["sensor"])


def _save(config: AnyTouchConfig, net: TouchNet, split: Split, figures: Mapping[str, Any], start: Run | None) -> None:
    train, held = split
    unseen = {str(name).partition(":")[2] for name in held.object[held.kept]}
    extra = {
        "recipe": RECIPE,
        "stage": config.stage,
        "data": [str(Path(path).resolve()) for path in config.data],
        "init": None if config.init is None else str(config.init.resolve()),
        "sensors": list(train.sensors),
        "without": sorted({*config.without, *(start.extra["without"] if start else ())}),
        "held_out_share": config.held_out,
        "held_out_objects": sorted(unseen),
    }
    extra["data"] += [path for path in (start.extra["data"] if start else ()) if path not in extra["data"]]
    save_run(
        config.out,
        Run(net=net.config.to_dict(), train=asdict(config.train), metrics=figures, weights=net.state_dict(), extra=extra),
    )


def load_touch_run(folder: Path) -> Run:
    """Read a run of this recipe; RunError if it is of another."""
    run = load_run(folder)
    if run.extra.get("recipe") != RECIPE:
        raise RunError(f"{folder} is a run of {run.extra.get('recipe', 'another recipe')}, not of `palpate train touch`")
    return run


def encoder_config(run: Run) -> TouchEncoderConfig:
    """Return the architecture of a run's encoder."""
    return TouchEncoderConfig.from_dict(run.net["encoder"])


def load_encoder(run: Run) -> TouchEncoder:
    """Return the trained encoder of a run, in evaluation mode.

    Raises:
        RunError: the weights are of another architecture than the run says.
    """
    encoder = TouchEncoder(encoder_config(run))
    run.fill(encoder, "encoder.")
    return encoder.eval()


def trained_on(run: Run, reader: EpisodeReader) -> bool:
    """Return whether a run has seen a data set, by its folder."""
    return str(reader.root.resolve()) in run.extra["data"]
