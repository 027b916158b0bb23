"""Encoders of short touch clips: a touch encoder, and what it is compared with (AnyTouch, Table 4).

All see 128 and the change of the pictures since the reference that was taken when the full cup had been grasped, but a touch encoder that
was trained on pictures as they are sees those.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import nn

from palpate.core.errors import RunError
from palpate.learning.checkpoint import Run, load_run
from palpate.models.backbones import build_backbone
from palpate.models.touch_encoder import TouchEncoder, TouchEncoderConfig
from palpate.perception.views import changed
from palpate.recipes.anytouch import encoder_config, load_encoder
from palpate.recipes.touch_embedding import UNTRAINED, untrained


class ClipEncoder(nn.Module, ABC):
    """Maps clips (B, F, size, size, 3) uint8 to features (B, dim)."""

    size: int
    """Side of the pictures that it takes [px]."""
    dim: int
    view: Literal["picture", "change"] = "change"
    """Whether it takes pictures as they are, or 128 and their change since the reference."""

    @abstractmethod
    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return features (B, dim)."""


class TouchClipEncoder(ClipEncoder):
    """A touch encoder, of which a policy is given `TouchFeatures.summary`."""

    def __init__(self, encoder: TouchEncoder, sensor: str) -> None:
        """Take the encoder and the name of the sensor; one that it has never seen gets the universal tokens."""
        super().__init__()
        self.encoder = encoder
        self.sensor = encoder.config.index(sensor)
        self.size, self.dim, self.view = encoder.config.size, 3 * encoder.config.width, encoder.config.view

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return features (B, dim)."""
        sensor = torch.full((len(clips),), self.sensor, dtype=torch.int64, device=clips.device)
        return self.encoder(clips, sensor).summary


class ImageClipEncoder(ClipEncoder):
    """An image network that knows nothing of touch: features of the newest frame, and how they changed since the oldest."""

    size = 96

    def __init__(self, backbone: str = "efficientnet_lite0") -> None:
        """Load the network with ImageNet weights."""
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.dim = 2 * self.backbone.feature_dim

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return features (B, dim)."""
        last, first = self.backbone(clips[:, -1]), self.backbone(clips[:, 0])
        return torch.cat([last, last - first], dim=1)


class PixelClips(ClipEncoder):
    """No network at all: the mean picture of the clip, and the change from the first frame to the last, at 16 x 16 pixels."""

    size = 48  # pictures are bytes: averaged to 16 pixels before, a change by less than a grey level would be lost
    dim = 2 * 16 * 16 * 3

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return features (B, dim)."""
        b, f, s, _, _ = clips.shape
        pixels = clips.float().reshape(b, f, 16, s // 16, 16, s // 16, 3).mean(dim=(3, 5))
        return torch.cat([pixels.mean(dim=1).flatten(1), (pixels[:, -1] - pixels[:, 0]).flatten(1)], dim=1)


def build_encoder(name: str, sensor: str, seed: int = 0) -> ClipEncoder:
    """Build an encoder of clips, in evaluation mode.

    Args:
        name: `pixels`; `imagenet`, a frozen image network; `untrained`, a touch encoder of random numbers; `untrained:FOLDER`, the same
            with the shape of that run's; or the folder of a run whose net holds a touch encoder.
        sensor: name of the touch sensor.
        seed: of random numbers.

    Raises:
        RunError: no such encoder, or the folder's run has no touch encoder.
    """
    if name == "pixels":
        return PixelClips().eval()
    if name == "imagenet":
        return ImageClipEncoder().eval()
    kind, _, like = name.partition(":")
    if name == UNTRAINED:
        encoder = untrained(TouchEncoderConfig(view="change"), seed)
    elif kind == UNTRAINED:
        encoder = untrained(encoder_config(_touch_run(like)), seed)
    else:
        encoder = load_encoder(_touch_run(name))
    return TouchClipEncoder(encoder, sensor).eval()


def _touch_run(folder: str) -> Run:
    """Return a run that holds a touch encoder."""
    if not Path(folder).is_dir():
        allowed = "pixels, imagenet, untrained, untrained:FOLDER, or the folder of a touch encoder's run"
        raise RunError(f"no encoder {folder!r}; allowed: {allowed}")
    run = load_run(Path(folder))
    if "encoder" not in run.net:
        raise RunError(f"{folder} is a run without a touch encoder; give one of `palpate train touch`")
    return run


def features_of(encoder: ClipEncoder, clips: torch.Tensor) -> torch.Tensor:
    """Return the features (B, 2 dim) of clips (B, 2, F, S, S, 3) uint8 of both fingers."""
    return encoder(clips.flatten(0, 1)).reshape(len(clips), -1)


def seen_by(encoder: ClipEncoder, frames: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return frames (N, H, W, 3) uint8 as an encoder takes them, (N, size, size, 3); `rest` (H, W, 3) uint8 is the reference."""
    return resized(frames if encoder.view == "picture" else changed(frames, rest), encoder.size)


def resized(frames: np.ndarray, size: int) -> np.ndarray:
    """Return frames (N, H, W, 3) uint8 as squares (N, size, size, 3)."""
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames])


def encoded(encoder: ClipEncoder, clips: np.ndarray) -> np.ndarray:
    """Return the features (N, 2 dim) float32 of clips (N, 2, F, S, S, 3)."""
    with torch.inference_mode():
        parts = [features_of(encoder, torch.from_numpy(clips[i : i + 64])).numpy() for i in range(0, len(clips), 64)]
    return np.concatenate(parts)
