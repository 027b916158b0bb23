"""Encoders of short touch clips: a touch encoder, and what it is compared with (AnyTouch, Table 4)."""

from abc import ABC, abstractmethod
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from palpate.core.errors import RunError
from palpate.learning.checkpoint import load_run
from palpate.models.backbones import build_backbone
from palpate.models.touch_encoder import UNIVERSAL, TouchEncoder, TouchEncoderConfig


class ClipEncoder(nn.Module, ABC):
    """Maps clips (B, F, size, size, 3) uint8 to features (B, dim)."""

    size: int
    """Side of the pictures that it takes [px]."""
    dim: int

    @abstractmethod
    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return features (B, dim)."""


class TouchClipEncoder(ClipEncoder):
    """A touch encoder, by the class token after its last norm."""

    def __init__(self, encoder: TouchEncoder, sensor: str) -> None:
        """Take the encoder and the name of the sensor; one that it has never seen gets the universal tokens."""
        super().__init__()
        self.encoder = encoder
        known = encoder.config.sensors
        self.sensor = known.index(sensor) if sensor in known else UNIVERSAL
        self.size, self.dim = encoder.config.size, encoder.config.width

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return features (B, dim)."""
        sensor = torch.full((len(clips),), self.sensor, dtype=torch.int64, device=clips.device)
        return self.encoder(clips, sensor).pooled


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

    size = 16
    dim = 2 * 16 * 16 * 3

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return features (B, dim)."""
        pixels = clips.float()
        return torch.cat([pixels.mean(dim=1).flatten(1), (pixels[:, -1] - pixels[:, 0]).flatten(1)], dim=1)


def build_encoder(name: str, sensor: str, seed: int = 0) -> ClipEncoder:
    """Build an encoder of clips, in evaluation mode.

    Args:
        name: `pixels`; `imagenet`, a frozen image network; `untrained`, a touch encoder of random numbers; or the folder of a run whose
            net holds a touch encoder.
        sensor: name of the touch sensor.
        seed: of random numbers.

    Raises:
        RunError: no such encoder, or the folder's run has no touch encoder.
    """
    if name == "pixels":
        return PixelClips().eval()
    if name == "imagenet":
        return ImageClipEncoder().eval()
    torch.manual_seed(seed)
    if name == "untrained":
        return TouchClipEncoder(TouchEncoder(TouchEncoderConfig()), sensor).eval()
    if not Path(name).is_dir():
        raise RunError(f"no encoder {name!r}; allowed: pixels, imagenet, untrained, or the folder of a touch encoder's run")
    run = load_run(Path(name))
    if "encoder" not in run.net:
        raise RunError(f"{name} is a run without a touch encoder; give one of `palpate train touch`")
    encoder = TouchEncoder(TouchEncoderConfig.from_dict(run.net["encoder"]))
    prefix = "encoder."
    encoder.load_state_dict({k.removeprefix(prefix): v for k, v in run.weights.items() if k.startswith(prefix)})
    return TouchClipEncoder(encoder, sensor).eval()


def features_of(encoder: ClipEncoder, clips: torch.Tensor) -> torch.Tensor:
    """Return the features (B, 2 dim) of clips (B, 2, F, S, S, 3) uint8 of both fingers."""
    return encoder(clips.flatten(0, 1)).reshape(len(clips), -1)


def resized(frames: np.ndarray, size: int) -> np.ndarray:
    """Return frames (N, H, W, 3) uint8 as squares (N, size, size, 3)."""
    return np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames])


def encoded(encoder: ClipEncoder, clips: np.ndarray) -> np.ndarray:
    """Return the features (N, 2 dim) float32 of clips (N, 2, F, S, S, 3)."""
    with torch.inference_mode():
        parts = [features_of(encoder, torch.from_numpy(clips[i : i + 64])).numpy() for i in range(0, len(clips), 64)]
    return np.concatenate(parts)
