"""Grip-Net, Status-Net and Quality-Net on one transformer: what grasp to take, will it hold, how good is it.

"Sim2real Multimodal Learning for Dexterous Gripper" (slides), Section 2.2: encoders of texture, depth, touch and joint angles, fusion
layers (a transformer), transfer layers to a shared representation, and heads for the 6-DOF hand pose, the 22 joint angles, grasp
status and robustness q. The slides print no sizes; those here are ours, small enough to train on a CPU.

Every modality gives tokens. What is absent gives none: its tokens are masked out of the attention, so nothing stands in for it.
Several grasps are good for one picture, and their mean is none. So Grip-Net gives M of them and says which it would take; M = 1 is
the slides.

Axis letters: B batch, T token, W width, M hypothesis, J joint, F finger, P taxel, C its components.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from palpate.core.errors import PalpateError, RunError, UnknownNameError
from palpate.models.layers import LIMIT, Standardise

Stage = Literal["before", "after"]
VISION = ("rgb", "depth", "place")
"""Texture, depth, and where and how large perception found the object: all from the camera."""
JOINTS, TOUCH = "joints", "touch"
INPUTS = (*VISION, JOINTS, TOUCH)
STAGE_INPUTS: dict[Stage, tuple[str, ...]] = {"before": VISION, "after": INPUTS}
"""What the slides give each stage; a net may have fewer."""
HEADS: dict[Stage, tuple[str, ...]] = {
    "before": ("pose", "joint_angles", "choice", "quality", "status"),
    "after": ("joint_angles", "choice", "quality", "status"),
}
"""The heads that run in each stage; the pose head is disabled once the object is touched."""
PLACE_DIM = 5
"""Position (3,) in the world, radius and height [m]."""
POSITION_SCALE = 0.05
"""So far off [m] weighs as much as one radian of rotation: half a palm's width."""
DEPTH_SCALE = 0.05
"""Depth counts in this [m]: about the size of an object."""


@dataclass(frozen=True, kw_only=True)
class DexterousNetConfig:
    """Which inputs the net has, and how large it is."""

    joint_low: tuple[float, ...]
    """(J,) lower ends of the joints [rad]."""
    joint_high: tuple[float, ...]
    """(J,) upper ends [rad]."""
    inputs: tuple[str, ...] = INPUTS
    """Any of `INPUTS`; those that the stage does not have are not run."""
    stage: Stage = "before"
    fingers: tuple[str, ...] = ("ff", "mf", "rf", "lf", "th")
    taxels: tuple[int, int] = (24, 3)
    """(P, C) of each finger; the input of a finger is named `touch.FINGER`."""
    image_size: int = 96
    """Side of the pictures that the encoders see; larger ones are cropped, at random in training, else in the middle [px]."""
    width: int = 128
    layers: int = 2
    attention_heads: int = 4
    dropout: float = 0.1
    hypotheses: int = 5
    """Grasps M that Grip-Net offers; 1 is the slides."""

    def __post_init__(self) -> None:
        """Refuse unknown inputs and stages, and ranges that do not fit."""
        for name in self.inputs:
            if name not in INPUTS:
                raise UnknownNameError("model input", name, INPUTS)
        if self.stage not in STAGE_INPUTS:
            raise UnknownNameError("stage", self.stage, STAGE_INPUTS)
        if not self.active:
            raise PalpateError(f"stage {self.stage!r} runs {STAGE_INPUTS[self.stage]}, but the inputs are {self.inputs}")
        if len(self.joint_low) != len(self.joint_high) or not np.all(np.less(self.joint_low, self.joint_high)):
            raise PalpateError("joint_low and joint_high must be equally long, each low end below its high end")
        if self.hypotheses < 1 or self.width % self.attention_heads:
            raise PalpateError(
                f"hypotheses {self.hypotheses} must be 1 or more, width {self.width} a multiple of {self.attention_heads} heads"
            )

    @property
    def active(self) -> tuple[str, ...]:
        """The inputs that run in this stage."""
        return tuple(name for name in INPUTS if name in self.inputs and name in STAGE_INPUTS[self.stage])

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays that the stage takes: touch is one a finger."""
        touch = tuple(f"{TOUCH}.{finger}" for finger in self.fingers)
        return tuple(array for name in self.active for array in (touch if name == TOUCH else (name,)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DexterousNetConfig":
        """Invert `to_dict`; RunError names an unknown key."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise RunError(f"net configuration has unknown keys {sorted(unknown)}; another version of palpate wrote it")
        plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**plain)


class ImageEncoder(nn.Module):
    """A small convolutional net from an image (B, C, S, S) to nine tokens (B, 9, W), one a region of it."""

    def __init__(self, channels: int, width: int) -> None:
        """Halve the picture four times. Group norm instead of batch norm: its state does not drift while frozen."""
        super().__init__()
        sizes = (channels, 16, 32, 64, width)
        blocks = [
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(b // 16, b), nn.ReLU())
            for a, b in pairwise(sizes)
        ]
        self.body = nn.Sequential(*blocks).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.where = nn.Parameter(0.02 * torch.randn(9, width))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, 9, W)."""
        regions = functional.adaptive_avg_pool2d(self.body(images), 3)
        return regions.flatten(2).transpose(1, 2) + self.where


class TouchEncoder(nn.Module):
    """One encoder for all fingers (weights tied), which knows by an embedding whose taxels it sees: (B, F, P, C) to (B, F, W)."""

    def __init__(self, fingers: int, taxels: tuple[int, int], width: int) -> None:
        """Scale each component by its spread over all taxels and fingers, so that a taxel seldom touched is not blown up."""
        super().__init__()
        self.standardise = Standardise(taxels[1])
        self.first = nn.Linear(taxels[0] * taxels[1], width)
        self.second = nn.Linear(width, width)
        self.finger = nn.Parameter(0.5 * torch.randn(fingers, width))
        self.name = nn.Parameter(0.02 * torch.randn(fingers, width))

    def forward(self, taxels: torch.Tensor) -> torch.Tensor:
        """Return (B, F, W)."""
        hidden = self.first(self.standardise(taxels).flatten(2))
        return self.second(functional.relu(hidden + self.finger)) + self.name


class NumberEncoder(nn.Module):
    """A few numbers (B, D) as one token (B, 1, W)."""

    def __init__(self, dim: int, width: int) -> None:
        """Standardise, then two layers."""
        super().__init__()
        self.standardise = Standardise(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return (B, 1, W)."""
        return self.mlp(self.standardise(numbers))[:, None]


class DexterousNet(nn.Module):
    """Maps arrays by name to the outputs of the heads that the stage runs.

    Inputs: `rgb` (B, S, S, 3) uint8; `depth` (B, S, S) [m] relative to the object's distance, NaN where the camera gave none;
    `place` (B, 5); `joints` (B, J) [rad]; `touch.FINGER` (B, P, C). `presence` says by name (B,) which samples have them; an array
    that is not in the mapping is absent from all.

    Outputs: `pose` (B, M, 9), position relative to the object [m] and the first two columns of the rotation, not yet
    orthonormal; `joint_angles` (B, M, J) [rad] within the ranges; `choice` (B, M), `quality` (B,), `status` (B,) logits.
    """

    def __init__(self, config: DexterousNetConfig) -> None:
        """Build all branches and heads, also those that the stage does not run, so that stages can hand on their weights."""
        super().__init__()
        self.config = config
        w, m, joints = config.width, config.hypotheses, len(config.joint_low)
        made: dict[str, nn.Module] = {
            "rgb": ImageEncoder(3, w),
            "depth": ImageEncoder(2, w),
            "place": NumberEncoder(PLACE_DIM, w),
            JOINTS: NumberEncoder(joints, w),
            TOUCH: TouchEncoder(len(config.fingers), config.taxels, w),
        }
        self.branches = nn.ModuleDict({name: made[name] for name in config.inputs})
        self.readout = nn.Parameter(0.02 * torch.randn(w))
        layer = nn.TransformerEncoderLayer(w, config.attention_heads, 2 * w, config.dropout, batch_first=True, norm_first=True)
        self.fusion = nn.TransformerEncoder(layer, config.layers, norm=nn.LayerNorm(w), enable_nested_tensor=False)
        self.transfer = nn.Sequential(nn.Linear(w, w), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(w, w), nn.ReLU())
        sizes = {"pose": 9 * m, "joint_angles": joints * m, "choice": m, "quality": 1, "status": 1}
        self.heads = nn.ModuleDict({name: nn.Linear(w, size) for name, size in sizes.items()})
        self.register_buffer("joint_low", torch.tensor(config.joint_low))
        self.register_buffer("joint_high", torch.tensor(config.joint_high))
        self._disable()

    joint_low: torch.Tensor
    joint_high: torch.Tensor

    def _disable(self) -> None:
        """Let only what the stage runs be trained."""
        for name, branch in self.branches.items():
            branch.requires_grad_(name in self.config.active)
        for name, head in self.heads.items():
            head.requires_grad_(name in HEADS[self.config.stage])

    def fit_normalisation(self, arrays: Mapping[str, np.ndarray], presence: Mapping[str, np.ndarray]) -> None:
        """Fit the stored means and spreads on the training fold.

        Args:
            arrays: (N, ...) inputs by name.
            presence: (N,) bool by name; an array without an entry is present everywhere.
        """
        for name in (name for name in self.config.active if name in ("place", JOINTS) and name in arrays):
            self._standardise(name).fit(arrays[name], presence.get(name))
        if TOUCH in self.config.active:
            names = [f"{TOUCH}.{finger}" for finger in self.config.fingers if f"{TOUCH}.{finger}" in arrays]
            rows = [arrays[n][presence.get(n, np.ones(len(arrays[n]), bool))] for n in names]
            self._standardise(TOUCH).fit(np.concatenate(rows).reshape(-1, self.config.taxels[1]) if rows else np.empty((0, 1)))

    @torch.no_grad()
    def start_at(self, position: np.ndarray, rotation: np.ndarray, joints: np.ndarray) -> None:
        """Let the hypotheses start near these grasps, whatever the input, before training: better than M times nowhere.

        Args:
            position: (M, 3) of the palm relative to the object [m].
            rotation: (M, 3, 3) world from palm; a mean of rotations will do.
            joints: (M, J) [rad].
        """
        low, high = np.array(self.config.joint_low), np.array(self.config.joint_high)
        share = ((joints - low) / (high - low)).clip(0.02, 0.98)
        pose = np.concatenate([position / POSITION_SCALE, rotation[:, :, 0], rotation[:, :, 1]], axis=1)
        for name, bias in (("pose", pose), ("joint_angles", np.log(share / (1 - share)))):
            head = self.heads[name]
            assert isinstance(head, nn.Linear)
            head.weight.mul_(0.1)
            head.bias.copy_(torch.from_numpy(bias.ravel()))

    def _standardise(self, name: str) -> Standardise:
        layer = self.branches[name].standardise
        assert isinstance(layer, Standardise)
        return layer

    def forward(
        self, inputs: Mapping[str, torch.Tensor], presence: Mapping[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the outputs of the heads that the stage runs."""
        shared = self.shared(inputs, presence or {})
        with torch.autocast(shared.device.type, enabled=False):  # bfloat16 would round positions to half a millimetre
            out = {name: self.heads[name](shared.float()) for name in HEADS[self.config.stage]}
        m = self.config.hypotheses
        if "pose" in out:
            pose = out["pose"].unflatten(1, (m, 9))
            out["pose"] = torch.cat([POSITION_SCALE * pose[..., :3], pose[..., 3:]], dim=2)
        share = torch.sigmoid(out["joint_angles"].unflatten(1, (m, -1)))
        out["joint_angles"] = self.joint_low + share * (self.joint_high - self.joint_low)
        return out | {name: out[name][:, 0] for name in ("quality", "status")}

    def shared(self, inputs: Mapping[str, torch.Tensor], presence: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the shared representation (B, W)."""
        known = [name for name in self.config.arrays if name in inputs]
        if not known:
            raise PalpateError(f"the net has nothing to look at: it takes {self.config.arrays}, the batch has {sorted(inputs)}")
        n, device = len(inputs[known[0]]), self.readout.device
        corner = torch.rand(2) if self.training else torch.full((2,), 0.5)  # the same for texture and depth
        tokens = [self.readout.expand(n, 1, -1)]
        absent = [torch.zeros(n, 1, dtype=torch.bool, device=device)]
        for name in self.config.active:
            found = self._touch(inputs, presence, n) if name == TOUCH else self._tokens(name, inputs, presence, corner)
            if found is not None:
                tokens.append(found[0])
                absent.append(~found[1])
        fused = self.fusion(torch.cat(tokens, dim=1), src_key_padding_mask=torch.cat(absent, dim=1))
        return self.transfer(fused[:, 0])

    def _tokens(
        self, name: str, inputs: Mapping[str, torch.Tensor], presence: Mapping[str, torch.Tensor], corner: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return a branch's tokens (B, T, W) and which of them are there (B, T); None if no sample has the modality."""
        if name not in inputs:
            return None
        values = inputs[name]
        if name in ("rgb", "depth"):
            values = _pixels(name, values, self.config.image_size, corner)
            values = _recoloured(values) if name == "rgb" and self.training else values
        present = presence.get(name, torch.ones(len(values), dtype=torch.bool, device=values.device))
        # A NaN in an absent row would spoil the gradients of the others, mask or no mask.
        tokens = self.branches[name](torch.where(present.view(-1, *[1] * (values.ndim - 1)), values, 0))
        return tokens, present[:, None].expand(-1, tokens.shape[1])

    def _touch(
        self, inputs: Mapping[str, torch.Tensor], presence: Mapping[str, torch.Tensor], n: int
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return the fingers' tokens (B, F, W) and which of them are there (B, F); None if no sample has touch."""
        names = [f"{TOUCH}.{finger}" for finger in self.config.fingers]
        example = next((inputs[name] for name in names if name in inputs), None)
        if example is None:
            return None
        nobody, everybody = (torch.full((n,), value, device=example.device) for value in (False, True))
        present = torch.stack([presence.get(name, everybody) if name in inputs else nobody for name in names], dim=1)
        taxels = torch.stack([inputs.get(name, torch.zeros_like(example)) for name in names], dim=1)
        return self.branches[TOUCH](torch.where(present[:, :, None, None], taxels, 0)), present


def _pixels(name: str, images: torch.Tensor, size: int, corner: torch.Tensor) -> torch.Tensor:
    """Return what an image encoder sees (B, C, size, size) float: colours around 0, or depth and where there is any.

    `corner` (2,) in [0, 1] tells where in the spare rows and columns of larger images the window lies.
    """
    spare = images.shape[1] - size
    if spare < 0:
        raise PalpateError(
            f"input {name!r} is {tuple(images.shape[1:3])}, the net sees {size} x {size} pixels; give larger views"
        )
    top, left = torch.round(corner * spare).int().tolist()
    window = images[:, top : top + size, left : left + size]
    if name == "rgb":
        return window.permute(0, 3, 1, 2).float() / 64.0 - 2.0
    known = ~torch.isnan(window)
    relative = torch.where(known, window.float() / DEPTH_SCALE, 0.0).clamp(-LIMIT, LIMIT)
    return torch.stack([relative, known.float()], dim=1).contiguous(memory_format=torch.channels_last)


def _recoloured(images: torch.Tensor) -> torch.Tensor:
    """Exchange the colours of each image (B, 3, H, W) and change their gains: else a net knows its few objects by colour."""
    n, device = len(images), images.device
    order = torch.rand(n, 3, device=device).argsort(dim=1)
    gain = torch.empty(n, 3, 1, 1, device=device).uniform_(0.7, 1.3)
    return images[torch.arange(n, device=device)[:, None], order] * gain


def rotations(columns: torch.Tensor) -> torch.Tensor:
    """Return rotations (..., 3, 3) from two columns (..., 6), by Gram and Schmidt (Zhou et al., 2019, Section 4.2)."""
    a, b = columns[..., :3], columns[..., 3:]
    x = functional.normalize(a, dim=-1)
    y = functional.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)
