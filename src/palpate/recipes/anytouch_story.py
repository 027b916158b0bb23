"""What a trained touch encoder has to show: touches beside each other, what it guesses of hidden patches, and whose words it finds.

Nothing is chosen by how good it looks: the first touches of the data, spread over it.

Axis letters: N felt touch, E embedding, F frame, S side of a picture [px].
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from palpate.core.randomness import generator
from palpate.data.reader import open_dataset
from palpate.evaluation.intervals import cluster_mean
from palpate.evaluation.report_anytouch_demo import Retrieval, ShownTouch
from palpate.learning.checkpoint import Run
from palpate.models.text import TextEncoder
from palpate.models.touch_alignment import AlignedTouchNet, AlignmentConfig
from palpate.models.touch_pretraining import MaskedConfig, MaskedTouchNet
from palpate.perception.contact_frames import find_contact
from palpate.recipes.anytouch import encoder_config, load_touch_run
from palpate.recipes.touch_clips import TouchClips
from palpate.recipes.touch_frames import TEXT, ClipSettings, sensor_name

SHOWN = 4
"""Touches on the page."""
GUESSED = 6
"""Clips whose hidden patches are shown."""


def shown_touches(data: Path) -> list[ShownTouch]:
    """Return touches spread over a data set: the strongest frame of each sensor, the camera's picture, and what is said."""
    reader = open_dataset(data)
    streams = sorted(name for name in reader.streams if name.startswith("touch."))
    out = []
    for row in _spread(len(reader), SHOWN):
        episode = reader.episode(int(row))
        felt = {}
        for name in streams:
            if name in episode.streams:
                frames = episode.streams[name].values
                felt[sensor_name(reader, name)] = frames[int(find_contact(frames).strength.argmax())]
        camera = episode.streams.get("camera.rgb")
        out.append(
            ShownTouch(
                title=f"{episode.groups.get('object', 'unknown')}, touch {episode.index}",
                felt=felt,
                seen=None if camera is None else camera.values[0],
                said=episode.texts.get(TEXT, ""),
            )
        )
    return out


def guesses(folder: Path, data: Path) -> np.ndarray:
    """Return a sheet (H, W, 3) uint8 of what a run of stage 1 makes of clips that it never saw.

    A row is a clip: its last frame, what of it the encoder sees, what is guessed, and the frame after it, guessed and true.
    """
    run = load_touch_run(folder)
    net = MaskedTouchNet(MaskedConfig.from_dict(run.net))
    run.fill(net)
    clips = _clips(run, data).of_kind("clip")
    batch = clips.batch(_spread(len(clips), GUESSED))
    inputs = {name: torch.from_numpy(batch.inputs[name]) for name in ("clip", "sensor", "next")}
    made = net.eval().guess(inputs)
    shown = [inputs["clip"][:, -1], made["seen"][:, -1], made["guessed"][:, -1], made["next"][:, -1], inputs["next"]]
    columns = [part.numpy() if part.dtype == torch.uint8 else (255 * part).round().byte().numpy() for part in shown]
    return np.vstack([np.hstack([column[i] for column in columns]) for i in range(len(columns[0]))])


def retrieval(folder: Path, data: Path, *, progress: bool = True) -> list[Retrieval]:
    """Return how often a touch finds its own picture and its own words among those of all touches of a data set, by stage 2's towers.

    One clip of each recording; equal texts and pictures are one.
    """
    run = load_touch_run(folder)
    net = AlignedTouchNet(AlignmentConfig.from_dict(run.net))
    run.fill(net)
    embed = None if "text" in run.extra["without"] else TextEncoder().embed
    clips = _clips(run, data).aligned(embed, progress=progress)
    _, first = np.unique(clips.recording("clip"), return_index=True)
    found: dict[str, list[np.ndarray]] = {}
    source = clips.of_kind("clip")
    with torch.inference_mode():
        for rows in np.array_split(first, max(1, len(first) // 64)):
            batch = source.batch(rows)
            inputs = {k: torch.from_numpy(v) for k, v in batch.inputs.items() if not k.startswith(("positive", "negative"))}
            presence = {k: torch.from_numpy(v) for k, v in batch.presence.items() if k in inputs}
            for name, value in net.eval()(inputs, presence).items():
                found.setdefault(name, []).append(value.numpy())
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    return list(found_among(joined, clips.spot[clips.recording("clip")[first]]))


def found_among(found: Mapping[str, np.ndarray], spot: np.ndarray) -> Iterator[Retrieval]:
    """Yield what touches (N, E) find among the different vectors of each other modality; intervals resample places."""
    for name, words in (("vision", "picture"), ("text", "words")):
        has = found[f"has_{name}"] > 0.5
        if has.sum() < 2:
            continue
        answers, own = np.unique(np.round(found[name][has], 5), axis=0, return_inverse=True)
        alike = found["touch"][has] @ answers.T
        rank = (alike > alike[np.arange(len(alike)), own.ravel()][:, None]).sum(axis=1)
        yield Retrieval(
            name=words,
            first=cluster_mean((rank == 0).astype(float), spot[has], generator(0)),
            among_ten=cluster_mean((rank < 10).astype(float), spot[has], generator(0)),
            choices=len(answers),
        )


def _clips(run: Run, data: Path) -> TouchClips:
    """Return the clips of a data set as a run sees them, without augmentation."""
    shape = encoder_config(run)
    settings = ClipSettings(size=shape.size, frames=shape.frames, view=shape.view)
    return replace(TouchClips.open((data,), settings, sensors=shape.sensors), augmented=False)


def _spread(count: int, most: int) -> np.ndarray:
    """Return at most so many of `count` numbers, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
