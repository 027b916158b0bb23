"""Features of every touch of a data set by a touch encoder, and whether they tell what was touched or what touched it (Fig. 4).

Axis letters: N felt touch, D feature, E embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from palpate.core.errors import DataError, RunError, UnknownNameError
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.evaluation.figures_anytouch import TouchMap, write_maps
from palpate.evaluation.intervals import Interval
from palpate.evaluation.neighbours import neighbour_shares
from palpate.evaluation.tables import Table, percent
from palpate.learning.checkpoint import Run
from palpate.models.touch_encoder import UNIVERSAL, TouchEncoder, TouchEncoderConfig
from palpate.perception.views import changed
from palpate.recipes.anytouch import encoder_config, held_out_objects, load_encoder, load_touch_run, trained_on
from palpate.recipes.touch_felt import FeltTouches, felt_touches

UNTRAINED, IMAGENET = "untrained", "imagenet"
"""What stands in the place of a run."""
BATCH = 64
"""Felt touches encoded at once."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What an encoder says of every felt touch; rows of NaN where it has nothing to say it of."""

    pooled: np.ndarray
    """(N, D) for tasks: the class token."""
    patches: np.ndarray
    """(N, 2 D) for tasks: mean and largest over the patches (`TouchFeatures.patches`)."""
    embedding: np.ndarray
    """(N, E) for comparing touches."""


def encode(net: TouchEncoder, felt: FeltTouches, tokens: str = "own", *, part: str = "clip") -> Encoded:
    """Return the features of a frozen encoder, means over the clips of each felt touch.

    Args:
        net: the encoder.
        felt: with clips of its size and frames.
        tokens: `own`, each sensor's, and the universal ones of a sensor that has none; `universal`; or the name of a sensor with tokens,
            which then stand for all.
        part: `clip`; `still` for the control; `rest`: the gel at rest.

    Raises:
        UnknownNameError: `tokens` is none of these.
    """
    sensor = token_indices(net.config, felt.sensor, tokens)
    rows = np.flatnonzero(felt.present(part))
    width = net.config.width
    pooled, patches, embedding = (np.full((len(felt), n), np.nan, np.float32) for n in (width, 2 * width, net.config.embed))
    device = next(net.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            clips = torch.from_numpy(_seen(net.config, felt, part, batch)).to(device)
            index = torch.from_numpy(sensor[batch]).to(device).repeat_interleave(clips.shape[1])
            found = net(clips.flatten(0, 1), index)
            each = (found.pooled, found.patches, functional.normalize(found.embedding, dim=1))
            for out, rows_of in zip((pooled, patches, embedding), each, strict=True):
                out[batch] = rows_of.unflatten(0, clips.shape[:2]).mean(dim=1).float().cpu().numpy()
    return Encoded(pooled=pooled, patches=patches, embedding=embedding)


def _seen(config: TouchEncoderConfig, felt: FeltTouches, part: str, rows: np.ndarray) -> np.ndarray:
    """Return what an encoder is given (B, C, F, S, S, 3) of felt touches."""
    clips = felt.clips(part, rows)
    return clips if config.view == "picture" else changed(clips, felt.clips("rest", rows))


def token_indices(config: TouchEncoderConfig, sensors: np.ndarray, tokens: str) -> np.ndarray:
    """Return (N,) int64 indices of the sensor tokens that an encoder uses for sensors (N,); see `encode`."""
    if tokens == "own":
        return np.array([config.index(str(name)) for name in sensors], np.int64)
    if tokens != "universal" and tokens not in config.sensors:
        raise UnknownNameError("choice of sensor tokens", tokens, ("own", "universal", *config.sensors))
    return np.full(len(sensors), UNIVERSAL if tokens == "universal" else config.index(tokens), np.int64)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What gives features: a trained encoder, an untrained one, or the frozen ImageNet network."""

    name: str
    """`untrained`, `imagenet`, or the folder of a run."""
    net: TouchEncoder | None
    """None for `imagenet`."""
    run: Run | None
    """None for what was not trained here."""
    shape: TouchEncoderConfig
    """Of the encoder, or for `imagenet` the usual one, which clips are cut for."""

    def objects(self, reader: EpisodeReader, *, seen: bool = False) -> tuple[str, ...]:
        """Return the objects of a data set that training never saw; none means: all.

        Args:
            reader: of the data set.
            seen: also those whose pictures stage 1 saw; it read neither labels nor sentences of them.

        Raises:
            DataError: every object was trained on.
            RunError: `seen` is asked of stage 2, which may have read sentences about them.
        """
        if self.run is None or not trained_on(self.run, reader):
            return ()
        if seen and self.run.extra["stage"] != 1:
            raise RunError(
                f"{self.name} is of stage 2 and may have read sentences about these objects; only stage 1 can be probed on them"
            )
        if seen:
            return ()
        names = held_out_objects(reader.column("group.object"), float(self.run.extra["held_out_share"]))
        if not names:
            raise DataError(f"{self.name} was trained on every object of {reader.root}; give data of other objects")
        return names

    def encode(self, felt: FeltTouches, tokens: str) -> Encoded:
        """Return its features of felt touches; the ImageNet network has one vector for all uses."""
        if self.net is not None:
            return encode(self.net, felt, tokens)
        frozen = felt.kept("imagenet")
        return Encoded(pooled=frozen, patches=frozen, embedding=frozen)

    def tell_tokens(self, felt: FeltTouches, tokens: str) -> str:
        """Return a word about sensors that the encoder has no tokens for; empty if there are none."""
        unseen = sorted(set(felt.sensor.tolist()) - set(self.shape.sensors))
        if self.run is None or not unseen or tokens != "own":
            return ""
        return f"{', '.join(unseen)}: never seen in training, so with universal tokens"


def open_source(run: str) -> Source:
    """Return what `run` names: `untrained`, `imagenet`, or a folder that `palpate train touch` wrote."""
    if run == IMAGENET:
        return Source(name=run, net=None, run=None, shape=TouchEncoderConfig())
    if run == UNTRAINED:
        return Source(name=run, net=untrained(TouchEncoderConfig(), 0), run=None, shape=TouchEncoderConfig())
    loaded = load_touch_run(Path(run))
    return Source(name=run, net=load_encoder(loaded), run=loaded, shape=encoder_config(loaded))


def untrained(shape: TouchEncoderConfig, seed: int) -> TouchEncoder:
    """Return an encoder of random weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TouchEncoder(shape).eval()


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """What to embed, and where to put it."""

    run: str
    data: Path
    out: Path
    """Of the .npz file."""
    beside: tuple[str, ...] = ()
    """Other runs to compare with, for example of an earlier stage."""
    plot: Path | None = None
    tokens: str = "own"
    seed: int = 0


def embed_touches(config: EmbedConfig, tell: Callable[[str], None], *, progress: bool = True) -> dict[str, Any]:
    """Write the embedding of every felt touch of objects that training never saw; return figures and what they are compared with.

    The file holds `embedding` (N, E), `features` (N, D), and `touch`, `object`, `sensor` (N,) names. Recordings without contact are left
    out.

    Raises:
        PalpateError: unusable run or data, or a plot of an unknown kind.
    """
    reader = open_dataset(config.data)
    sources = [open_source(run) for run in (config.run, *config.beside)]
    shape = sources[0].shape
    if any((other.shape.size, other.shape.frames) != (shape.size, shape.frames) for other in sources):
        raise RunError(f"{', '.join(s.name for s in sources)} see pictures of different sizes; embed them one at a time")
    held = [set(objects) for objects in (source.objects(reader) for source in sources) if objects]
    objects = sorted(set.intersection(*held)) if held else ()
    if held and not objects:
        raise DataError(f"no object of {reader.root} was held out by all of {', '.join(s.name for s in sources)}")
    felt = felt_touches(reader, size=shape.size, frames=shape.frames, objects=objects, progress=progress)
    felt = felt.take(np.flatnonzero(felt.contact))
    for word in filter(None, (source.tell_tokens(felt, config.tokens) for source in sources)):
        tell(word)
    maps = _embeddings(sources, felt, config.tokens)
    own = next(iter(maps.values()))
    config.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        config.out, embedding=own.embedding, features=own.pooled, touch=felt.touch, object=felt.object, sensor=felt.sensor
    )
    shares = (
        {name: neighbour_shares(e.embedding, felt.touch, felt.sensor) for name, e in maps.items()} if _aligned(felt) else {}
    )
    if not shares:
        tell("no touch was felt by two sensors: no neighbours to count")
    if config.plot is not None and shares:
        panels = {
            name: TouchMap(features=e.embedding, touch=felt.touch, sensor=felt.sensor, shares=shares[name])
            for name, e in maps.items()
        }
        write_maps(config.plot, panels, seed=config.seed)
    return {
        "run": config.run,
        "touches": len(np.unique(felt.touch)),
        "felt": len(felt),
        "held_out_only": bool(objects),
        "sensors": sorted(set(felt.sensor.tolist())),
        "tokens": config.tokens,
        "neighbours": {name: asdict(share) for name, share in shares.items()},
    }


def _embeddings(sources: Sequence[Source], felt: FeltTouches, tokens: str) -> dict[str, Encoded]:
    """Return the embeddings of some sources and then of what they are compared with, by name."""
    plain = Source(name=UNTRAINED, net=untrained(sources[0].shape, 0), run=None, shape=sources[0].shape)
    every = {source.name: source for source in (*sources, plain, open_source(IMAGENET))}
    short = {Path(name).name for name in every}
    return {
        Path(name).name if len(short) == len(every) else name: source.encode(
            felt, tokens if source.run is not None else "universal"
        )
        for name, source in every.items()
    }


def _aligned(felt: FeltTouches) -> bool:
    """Return whether any touch was felt by two sensors."""
    return len(np.unique(felt.touch)) < len(felt)


def neighbour_table(figures: Mapping[str, Any]) -> Table:
    """Return the neighbours of `embed_touches` as a table."""
    rows = []
    for name, shares in figures["neighbours"].items():
        values = [percent(Interval(**shares[key])) for key in ("same_touch", "same_sensor")]
        rows.append((name, values[0], percent(shares["chance_touch"]), values[1], percent(shares["chance_sensor"])))
    return Table(
        caption=f"What the nearest neighbours of {figures['touches']} touches by {', '.join(figures['sensors'])} are",
        columns=("features", "same touch, %", "chance", "same sensor, %", "chance "),
        rows=tuple(rows),
        note="As many neighbours as other sensors felt the touch; 95 % intervals over touches."
        + (" Objects that training never saw." if figures["held_out_only"] else ""),
    )
