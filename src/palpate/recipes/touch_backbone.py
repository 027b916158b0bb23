"""A frozen touch encoder as what turns touch pictures into features, for recipes that learn something else.

`palpate train outcome`, `palpate train hardness` and `palpate train softgrasp` take it by `--touch-encoder RUN`. A run that used one keeps
a copy of it, so that its folder works alone.

Axis letters: N sample, F frame of the encoder, T frame of a clip, S side of its picture, D feature.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from palpate.core.errors import PalpateError, RecordError, RunError
from palpate.data.reader import EpisodeReader
from palpate.learning.checkpoint import Run, load_run, save_run
from palpate.learning.features import weight_bytes
from palpate.models.touch_encoder import TouchEncoder
from palpate.perception.views import changed
from palpate.recipes.anytouch import RECIPE, load_encoder
from palpate.recipes.touch_embedding import untrained
from palpate.recipes.touch_frames import sensor_name, square

FOLDER = "touch_encoder"
"""Where a run keeps the encoder that it was trained with: a run of its own."""
READING = "class token, mean and largest patch"
"""What of the encoder other methods are given: `TouchFeatures.summary`."""
BATCH = 64
"""Samples encoded at once."""


@dataclass(frozen=True, eq=False)
class TouchBackbone:
    """A trained touch encoder that is not trained any further."""

    run: Run
    """The encoder alone, and where it came from."""
    encoder: TouchEncoder

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the encoder of a run of `palpate train touch`, or of the copy that another run keeps.

        Raises:
            RunError: no run, one of another kind, or an encoder of another architecture.
        """
        fix = "give the folder of a finished run of `palpate train touch`, of either stage"
        try:
            run = load_run(folder)
        except RunError as error:
            raise RunError(f"touch encoder {folder}: {error}; {fix}") from error
        kind = run.extra.get("recipe")
        if kind != RECIPE:
            raise RunError(
                f"touch encoder {folder} is a run of recipe {kind!r}, and only one of {RECIPE!r} has an encoder of touch; {fix}"
            )
        weights = {name: tensor for name, tensor in run.weights.items() if name.startswith("encoder.")}
        alone = replace(run, net={"encoder": run.net.get("encoder", {})}, weights=weights)
        try:
            encoder = load_encoder(alone)
        except PalpateError as error:
            short = str(error).splitlines()[0].rstrip(":")  # torch names every tensor
            raise RunError(f"touch encoder {folder}: {short}; {fix}, made by this version of palpate") from error
        return cls(alone, encoder.requires_grad_(False))

    @classmethod
    def kept(cls, folder: Path, about: Mapping[str, Any] | None) -> Self | None:
        """Return the encoder that a run was trained with, from its folder; None if it was trained without one.

        Args:
            folder: of the run.
            about: what the run says of its encoder, with the `fingerprint`; None or nothing if it had none.

        Raises:
            RunError: the encoder is gone, is another one, or is read in another way than it was then.
        """
        if not about:
            return None
        backbone = cls.open(Path(folder) / FOLDER)
        if about.get("fingerprint") != backbone.fingerprint():
            raise RunError(
                f"{folder} was trained on features of another touch encoder than the one it keeps, or on other features of it than this "
                f"version's ({READING}); train it again"
            )
        return backbone

    def untrained(self, seed: int = 0) -> Self:
        """Return an encoder of the same architecture with random weights, as a control; its run says `untrained` and has no figures."""
        plain = untrained(self.encoder.config, seed)
        weights = {f"encoder.{name}": tensor for name, tensor in plain.state_dict().items()}
        run = replace(self.run, weights=weights, metrics={}, extra={**self.run.extra, "untrained": True})
        return type(self)(run, plain.requires_grad_(False))

    def keep(self, folder: Path) -> None:
        """Put a copy into the folder of a run that uses it.

        Raises:
            RunError: there is a copy of another encoder, which the run was begun with.
        """
        there = Path(folder) / FOLDER
        if not there.is_dir():
            save_run(there, self.run)
        elif TouchBackbone.open(there).fingerprint() != self.fingerprint():
            raise RunError(f"{folder} was begun with another touch encoder; go on with that one, or choose another --out")

    @property
    def dim(self) -> int:
        """D."""
        return 3 * self.encoder.config.width

    def fingerprint(self) -> str:
        """Return a name that changes with the architecture, the weights and `READING`."""
        digest = hashlib.sha256(json.dumps([self.encoder.config.to_dict(), READING]).encode())
        for part in weight_bytes(self.encoder):
            digest.update(part)
        return digest.hexdigest()[:24]

    def words(self, sensors: Iterable[str]) -> str:
        """Return a line that says which tokens the encoder uses for these sensors."""
        own = self.encoder.config.sensors
        uses = [
            f"{name} {'has its own tokens' if name in own else 'gets the universal tokens'}" for name in sorted(set(sensors))
        ]
        return f"touch encoder {self.fingerprint()[:8]} of {', '.join(own) or 'no sensor in particular'}: {', '.join(uses)}"

    def features(self, pictures: np.ndarray, sensor: str, rest: np.ndarray | None = None) -> np.ndarray:
        """Return features (N, D) float32: `TouchFeatures.summary`.

        Args:
            pictures: stills (N, H, W, 3), or clips (N, T, H, W, 3), oldest frame first, uint8 RGB of any size. Of a clip longer than the
                encoder's the last frames count; a shorter one is taken as a still of its last frame.
            sensor: name of the sensor; one that the encoder has never seen gets the universal tokens.
            rest: the gel at rest, (H, W, 3) for all or (N, H, W, 3). An encoder of changes needs it and is given pictures less it; of an
                encoder of pictures the features of it are taken off.

        Raises:
            RecordError: pictures of another form.
            PalpateError: an encoder of changes without `rest`.
        """
        clips = self._clips(pictures)
        still = None if rest is None else self._clips(rest[None] if rest.ndim == 3 else rest)
        if self.encoder.config.view == "picture":
            found = self._encode(clips, sensor)
            return found if still is None else found - self._encode(still, sensor)
        if still is None:
            raise PalpateError("this touch encoder sees pictures less the gel at rest; give `rest`, a picture without contact")
        return self._encode(changed(clips, still), sensor)

    def _clips(self, pictures: np.ndarray) -> np.ndarray:
        """Return clips (N, F or 1, S, S, 3)."""
        if pictures.ndim not in (4, 5) or pictures.shape[-1] != 3 or pictures.dtype != np.uint8:
            raise RecordError(
                f"touch pictures must be (N, H, W, 3) stills or (N, T, H, W, 3) clips, uint8 RGB; got {pictures.shape} {pictures.dtype}"
            )
        clips = pictures[:, None] if pictures.ndim == 4 else pictures
        frames, size = self.encoder.config.frames, self.encoder.config.size
        clips = clips[:, -frames if clips.shape[1] >= frames else -1 :]
        small = [square(frame, size) for clip in clips for frame in clip]
        return np.array(small, np.uint8).reshape(*clips.shape[:2], size, size, 3)

    def _encode(self, clips: np.ndarray, sensor: str) -> np.ndarray:
        device = next(self.encoder.parameters()).device
        index = torch.tensor(self.encoder.config.index(sensor), device=device)
        out = np.empty((len(clips), self.dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(clips), BATCH):
                part = torch.from_numpy(clips[start : start + BATCH]).to(device)
                out[start : start + BATCH] = self.encoder(part, index.expand(len(part))).summary.float().cpu().numpy()
        return out


def sensor_of(reader: EpisodeReader, stream: str, told: str | None = None) -> str:
    """Return the encoders' name of the sensor behind a touch stream: as told, as the data set says, or as the stream is called."""
    config = reader.head.config
    told = told or config.get("sensor") or config.get("world", {}).get("touch")
    return sensor_name(reader, f"touch.{told}" if told else stream)
