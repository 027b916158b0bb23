"""How the SoftGrasp policy takes in one modality: joint values, pictures, features. Y. Li et al., SoftGrasp, Section 3.2.

Axis letters: B batch, T frame, D feature, J joint, F number of a picture's or a touch's features.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from palpate.core.errors import PalpateError
from palpate.models.backbones import IMAGENET, build_backbone
from palpate.models.layers import Dropout, Standardise

BRIGHTNESS, CONTRAST = 0.2, 0.02
"""Changes of the colours of a picture that is trained on, of its size (authors' code)."""


class CoordinateResNet(nn.Module):
    """ResNet-18 with two channels that tell the place in the picture: (B, H, W, 3) uint8 to (B, 512)."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        """Start from random numbers; `body` has timm's key names, except for the new first layer of stride 1."""
        super().__init__()
        body = build_backbone("resnet18", pretrained=False).body
        body.conv1 = nn.Conv2d(5, 64, 7, padding=3, bias=False)
        self.body = body
        self.register_buffer("mean", torch.tensor(IMAGENET[0]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET[1]).view(3, 1, 1), persistent=False)

    def start(self, weights: Path) -> None:
        """Take the weights of a ResNet-18 from a file; the coordinates start without any, and the first layer has a finer stride."""
        known = build_backbone("resnet18", weights=weights).body.state_dict()
        known["conv1.weight"] = functional.pad(known["conv1.weight"], (0, 0, 0, 0, 0, 2))
        self.body.load_state_dict(known)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, 512); in training with the colours changed a little."""
        pixels = images.permute(0, 3, 1, 2).float() / 255.0
        if self.training:
            brightness, contrast = (
                torch.empty(len(pixels), 1, 1, 1, device=pixels.device).uniform_(1 - size, 1 + size)
                for size in (BRIGHTNESS, CONTRAST)
            )
            middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
            pixels = (brightness * (middle + contrast * (pixels - middle))).clamp(0.0, 1.0)
        n, _, rows, columns = pixels.shape
        y, x = (torch.linspace(-1.0, 1.0, size, device=pixels.device) for size in (rows, columns))
        place = torch.stack([y[:, None].expand(rows, columns), x[None, :].expand(rows, columns)])
        stacked = torch.cat([(pixels - self.mean) / self.std, place.expand(n, -1, -1, -1)], dim=1)
        return self.body(stacked.contiguous(memory_format=torch.channels_last)).float()


class ValueEncoder(nn.Module):
    """Joint values (B, T, J), each with the one-hot of its joint, through two layers and summed: (B, T, D)."""

    one_hot: torch.Tensor

    def __init__(self, joints: int, dim: int) -> None:
        """Standardise all joints alike: a joint that hardly moves is not blown up."""
        super().__init__()
        self.standardise = Standardise(1)
        self.mlp = nn.Sequential(nn.Linear(1 + joints, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.register_buffer("one_hot", torch.eye(joints), persistent=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return (B, T, D)."""
        each = self.standardise(values[..., None])
        return self.mlp(torch.cat([each, self.one_hot.expand(*each.shape[:-1], -1)], dim=-1)).sum(dim=-2)


class FeatureEncoder(nn.Module):
    """Features that a frozen network gave of each frame (B, T, F), or pictures (B, T, H, W, 3) uint8 for one of its own: (B, T, D)."""

    def __init__(self, features: int, dropout: float, dim: int, network: nn.Module | None = None) -> None:
        """Take F, the dropout of features, D, and the network that pictures train, if they do."""
        super().__init__()
        self.network = network
        self.standardise = Standardise(features)
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(features, dim)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """Return (B, T, D) of features or pictures."""
        features = seen if seen.ndim == 3 else self.see(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
        with torch.autocast(features.device.type, enabled=False):
            return self.linear(self.dropout(self.standardise(features)))

    def see(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the features (B, F) of pictures (B, H, W, 3): computed once per frame, they serve as long as the frame is seen."""
        if self.network is None:
            raise PalpateError(
                f"this net takes a picture's features, got pixels {tuple(pictures.shape)}; extract features first"
            )
        return self.network(pictures)
