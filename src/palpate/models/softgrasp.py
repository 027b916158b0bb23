"""The SoftGrasp policy: what the hand's joint angles and torques should be next, from pictures, angles, torques and, if it has it, touch.

Y. Li et al., "SoftGrasp: Adaptive grasping for dexterous hand based on multimodal imitation learning", Biomimetic Intelligence and
Robotics 5 (2025), Sections 3.2 and 3.3. Each value of a joint, with a one-hot of which joint it is, goes through two layers; three frames
get sinusoidal codes of their place in time; what they give is one token per modality, and self-attention mixes the tokens.

The authors' code gives what the paper leaves out: coordinate channels and a new first layer of ResNet-18, a token that is its frames one
after another, a residual around the attention, no layer norm. Their time code is indexed by place in the batch; here it is by frame.

Where a net sees angles, its next angles are the last ones and a change; torques likewise. The paper's heads give the values themselves.
With those, 34 demonstrations taught a net angles to 0.01 of the range, as much as a finger's whole squeeze, and it held 2 of 12 objects;
with changes 0.002, and 12 of 12 (angles and torques seen, one trial each).

Touch is ours: what a frozen touch encoder makes of the pictures of touch sensors on the fingers, one token more like those of the paper.

The lift is ours, since the paper does not say how its policy asks for it: a head that tells whether a person would lift now. It reads the
fused features without shaping them, so the paper's loss stays as it is.

Everything is in shares of the range that the training data span, 0 to 1. Axis letters: B batch, T frame, M modality, D feature, J joint.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from palpate.core.errors import PalpateError, RunError, UnknownNameError
from palpate.models.softgrasp_encoders import CoordinateResNet, FeatureEncoder, ValueEncoder

Strategy = Literal["softgrasp", "direct", "act", "timesformer"]
MODALITIES = ("image", "angle", "torque")
"""Those of the paper."""
TOUCH = "touch"
"""One more, of any strategy."""
STRATEGIES: dict[Strategy, tuple[str, ...]] = {
    "softgrasp": MODALITIES,
    "direct": MODALITIES,
    "act": ("image", "angle"),
    "timesformer": MODALITIES,
}
"""What the paper gives each strategy (Section 4.4); any may get fewer."""
MARGIN = 0.1
"""Outputs can leave the range of the training data by so much of it and no further."""
STEP = 0.1
"""Unit of the changes that a net puts out, share of the range: it starts near no change."""

Inputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class PolicyNetConfig:
    """Which strategy, from what, and how large."""

    strategy: Strategy = "softgrasp"
    modalities: tuple[str, ...] = MODALITIES
    """Any of `MODALITIES`, and `TOUCH`."""
    end_to_end: bool = False
    """Pictures come as pixels and train a ResNet-18 of their own; else they come as the features of a frozen backbone."""
    feature_dim: int = 1280
    """Numbers of a picture's features; ResNet-18 gives 512."""
    touch_dim: int = 0
    """Numbers of the features of touch, those of all fingers; 0 without touch."""
    joints: int = 6
    """J."""
    stack: int = 3
    """Frames T that are seen (Table 3)."""
    frame_dim: int = 64
    """Features D of one frame of one modality; a token has `stack` times as many. The authors' code has 256."""
    heads: int = 4
    """Heads H of the attention. The authors' code has 8."""
    hidden: int = 256
    """Units of the layers after the fusion. The authors' code has 1024."""
    image_dropout: float = 0.5
    """Of a picture's features, and of touch: a few demonstrations are too few pictures for so many numbers."""
    layers: int = 2
    """Transformer layers of ACT (encoder and decoder each) and TimeSformer."""
    chunk: int = 20
    """Steps that ACT plans ahead."""
    style_dim: int = 32
    """Numbers of ACT's style variable."""
    dropout: float = 0.1
    """Of ACT's and TimeSformer's layers; SoftGrasp has none."""

    def __post_init__(self) -> None:
        """Refuse what no strategy can be built from."""
        if self.strategy not in STRATEGIES:
            raise UnknownNameError("strategy", self.strategy, STRATEGIES)
        for name in self.modalities:
            if name not in (*STRATEGIES[self.strategy], TOUCH):
                raise UnknownNameError(f"modality of {self.strategy}", name, (*STRATEGIES[self.strategy], TOUCH))
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise PalpateError(
                f"a policy needs one modality or more, each once, of {(*MODALITIES, TOUCH)}; got {self.modalities}"
            )
        if (TOUCH in self.modalities) != (self.touch_dim > 0):
            raise PalpateError(
                f"touch among the modalities goes with touch_dim above 0; got {self.modalities} and {self.touch_dim}"
            )
        if self.width % self.heads or self.frame_dim % 2:
            raise PalpateError(
                f"frame_dim {self.frame_dim} must be even, a token's {self.width} a multiple of {self.heads} heads"
            )

    @property
    def width(self) -> int:
        """Numbers of a token."""
        return self.stack * self.frame_dim

    @property
    def scored(self) -> tuple[str, ...]:
        """What attention scores are given of, in their order: the paper's three, and touch where the net has it."""
        return (*MODALITIES, TOUCH) if TOUCH in self.modalities else MODALITIES

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PolicyNetConfig":
        """Invert `to_dict`; RunError names an unknown key."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise RunError(f"net configuration has unknown keys {sorted(unknown)}; another version of palpate wrote it")
        plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**plain)


def time_code(steps: int, dim: int) -> torch.Tensor:
    """Return (steps, dim) sines and cosines of the place in time (Vaswani et al., "Attention Is All You Need", Section 3.5)."""
    rates = torch.exp(-math.log(10_000.0) * torch.arange(0, dim, 2) / dim)
    angles = torch.arange(steps)[:, None] * rates
    return torch.stack([torch.sin(angles), torch.cos(angles)], dim=2).flatten(1)


class FrameFeatures(nn.Module):
    """What every strategy starts from: features of each frame of each modality, with the code of the frame's time."""

    code: torch.Tensor

    def __init__(self, config: PolicyNetConfig, dim: int) -> None:
        """Build one branch per modality, each giving `dim` features D."""
        super().__init__()
        self.modalities = config.modalities
        self.branches = nn.ModuleDict({name: _branch(name, config, dim) for name in self.modalities})
        self.register_buffer("code", time_code(config.stack, dim), persistent=False)

    def forward(self, inputs: Inputs, presence: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (B, T, M, D), zero where absent, and which modalities are there (B, M)."""
        asked = [name for name in inputs if name in (*MODALITIES, TOUCH) and name not in self.modalities]
        if asked:
            raise PalpateError(f"the policy was not trained on {', '.join(asked)}; it takes {', '.join(self.modalities)}")
        known = [name for name in self.modalities if name in inputs]
        if not known:
            raise PalpateError(f"the policy has nothing to go by: it takes {', '.join(self.modalities)}, got {sorted(inputs)}")
        n, device = len(inputs[known[0]]), self.code.device
        nobody, everybody = (torch.full((n,), value, device=device) for value in (False, True))
        there = torch.stack([presence.get(m, everybody) if m in inputs else nobody for m in self.modalities], dim=1)
        nothing = torch.zeros(n, *self.code.shape, device=device)
        parts = [self._branch(m, inputs[m], there[:, k]) if m in inputs else nothing for k, m in enumerate(self.modalities)]
        return torch.stack(parts, dim=2), there

    def fit_normalisation(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Fit the stored means and spreads to training frames by modality: features (N, F), values (N, J); pixels are left alone."""
        for name, branch in self.branches.items():
            if isinstance(branch, ValueEncoder):
                branch.standardise.fit(arrays[name].reshape(-1, 1))
            elif isinstance(branch, FeatureEncoder) and branch.network is None:
                branch.standardise.fit(arrays[name])

    def start_pictures(self, weights: Path) -> None:
        """Let the picture network start from weights of ResNet-18, a safetensors file in timm's key names."""
        branch = dict(self.branches.items()).get("image")
        network = branch.network if isinstance(branch, FeatureEncoder) else None
        if not isinstance(network, CoordinateResNet):
            raise PalpateError("this net trains no picture network, so it has no use for weights")
        network.start(weights)

    def _branch(self, name: str, values: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        mask = there.view(-1, *[1] * (values.ndim - 1))  # a NaN in an absent row would spoil the gradients of the others
        features = self.branches[name](torch.where(mask, values, 0)) + self.code
        return torch.where(there[:, None, None], features, 0.0)


def _branch(name: str, config: PolicyNetConfig, dim: int) -> nn.Module:
    """Return what takes in one modality."""
    if name == "image":
        network = CoordinateResNet() if config.end_to_end else None
        return FeatureEncoder(config.feature_dim, config.image_dropout, dim, network)
    if name == TOUCH:
        return FeatureEncoder(config.touch_dim, config.image_dropout, dim)
    return ValueEncoder(config.joints, dim)


class NextStep(nn.Module):
    """The layers after the fusion (B, F): next `angles` and `torques` (B, J), and the logit of `lift` (B,)."""

    def __init__(self, n_in: int, config: PolicyNetConfig) -> None:
        """Build three heads."""
        super().__init__()
        h, j = config.hidden, config.joints
        self.trunk = nn.Sequential(nn.Linear(n_in, h), nn.ReLU())
        self.angles, self.torques = (nn.Sequential(nn.Linear(h, h), nn.ReLU(), nn.Linear(h, j)) for _ in range(2))
        self.lift = lift_head(n_in, config)

    def forward(self, fused: torch.Tensor, inputs: Inputs, presence: Inputs) -> dict[str, torch.Tensor]:
        """Return the outputs by name."""
        hidden = self.trunk(fused)
        angles = from_last(self.angles(hidden), "angle", inputs, presence)
        torques = from_last(self.torques(hidden), "torque", inputs, presence)
        return {
            "angles": angles if self.training else bounded(angles),
            "torques": torques if self.training else bounded(torques),
            "lift": self.lift(fused.detach())[:, 0],
        }


def lift_head(n_in: int, config: PolicyNetConfig) -> nn.Module:
    """Return the layers that tell from fused features (B, F), whose gradient is to be cut, whether to lift: (B, 1) logits."""
    return nn.Sequential(nn.Linear(n_in, config.hidden // 4), nn.ReLU(), nn.Linear(config.hidden // 4, 1))


def from_last(raw: torch.Tensor, kind: str, inputs: Inputs, presence: Inputs) -> torch.Tensor:
    """Return `raw` (B, J), or a chunk (B, K, J), as changes of the last value of a kind that the net sees; unchanged where it does not."""
    if kind not in inputs:
        return raw
    last = inputs[kind][:, -1].view(len(raw), *[1] * (raw.ndim - 2), -1)
    there = presence.get(kind, torch.ones(len(raw), dtype=torch.bool, device=raw.device))
    return torch.where(there.view(-1, *[1] * (raw.ndim - 1)), last + STEP * raw, raw)


def bounded(values: torch.Tensor) -> torch.Tensor:
    """Return values within [-MARGIN, 1 + MARGIN]: no input, however strange, makes a policy in use ask for more."""
    return values.clamp(-MARGIN, 1.0 + MARGIN)


class SoftgraspNet(nn.Module):
    """SoftGrasp (Fig. 4): one token a modality, mixed by multi-head self-attention (Eq. 2-4).

    Inputs, any subset of the modalities of the configuration: `image` (B, T, F) or (B, T, H, W, 3), `angle` and `torque` (B, T, J),
    `touch` (B, T, F); `presence` by name (B,). Outputs: `angles`, `torques` (B, J), `lift` (B,) logit, `attention` (B, M) in the order of
    `PolicyNetConfig.scored`: the scores of Eq. 8-10, with touch their like over four tokens, which sum to 1; 0 for what is absent.
    """

    def __init__(self, config: PolicyNetConfig) -> None:
        """Build from a configuration."""
        super().__init__()
        self.config = config
        self.frames = FrameFeatures(config, config.frame_dim)
        self.attention = nn.MultiheadAttention(config.width, config.heads, bias=False, batch_first=True)
        self.next = NextStep(len(config.modalities) * config.width, config)

    def forward(self, inputs: Inputs, presence: Inputs | None = None) -> dict[str, torch.Tensor]:
        """Return the outputs by name."""
        presence = presence or {}
        features, there = self.frames(inputs, presence)
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 would round an angle to a hundredth of its range
            tokens = features.transpose(1, 2).flatten(2)
            mixed, weights = self.attention(tokens, tokens, tokens, key_padding_mask=~there)
            fused = torch.where(there[:, :, None], tokens + mixed, 0.0)
            return {**self.next(fused.flatten(1), inputs, presence), "attention": self._scores(weights.detach(), there)}

    def _scores(self, weights: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Return (B, M): columns of the attention matrix summed over the tokens that are there, then normalised (Eq. 8-10)."""
        sums = torch.where(there[:, :, None], weights, 0.0).sum(dim=1)
        scored = self.config.scored
        out = weights.new_zeros(len(weights), len(scored))
        out[:, [scored.index(name) for name in self.config.modalities]] = sums
        return out / out.sum(dim=1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class ImitationObjective:
    """Huber loss of angles and torques (Eq. 5-7), and what the lift head learns. Targets that are NaN are not known and do not count."""

    loss_factor: float = 0.1
    """Weight of torques; angles have the rest (Eq. 7, Table 3)."""
    angle_delta: float = 0.2
    """Above this error the loss is linear, in shares of the range (Eq. 5; value of the authors' code)."""
    torque_delta: float = 0.2
    """The same for torques (Eq. 6)."""

    def __post_init__(self) -> None:
        """Refuse what is no weight and no threshold."""
        if not 0.0 <= self.loss_factor <= 1.0 or min(self.angle_delta, self.torque_delta) <= 0.0:
            raise PalpateError(f"the loss factor must lie in 0 to 1 and the thresholds above 0, got {self}")

    def loss(self, outputs: Inputs, targets: Inputs) -> tuple[torch.Tensor, int]:
        """Return the mean loss and the number of samples. Targets: `angles`, `torques` (B, J), `lift` (B,)."""
        terms = self._terms(outputs, targets)
        return terms["loss"] + terms["lift"], len(targets["angles"])

    def measure(self, outputs: Inputs, targets: Inputs) -> dict[str, float]:
        """Return `loss` (Eq. 7), its parts `angles` and `torques`, and the cross-entropy of `lift`."""
        return {name: float(term) for name, term in self._terms(outputs, targets).items()}

    def _terms(self, outputs: Inputs, targets: Inputs) -> dict[str, torch.Tensor]:
        angles = known_mean(functional.huber_loss, outputs["angles"], targets["angles"], delta=self.angle_delta)
        torques = known_mean(functional.huber_loss, outputs["torques"], targets["torques"], delta=self.torque_delta)
        lift = known_mean(functional.binary_cross_entropy_with_logits, outputs["lift"], targets["lift"])
        return {
            "loss": (1.0 - self.loss_factor) * angles + self.loss_factor * torques,
            "angles": angles,
            "torques": torques,
            "lift": lift,
        }


def known_mean(loss: Any, outputs: torch.Tensor, targets: torch.Tensor, **settings: float) -> torch.Tensor:
    """Return the mean of an elementwise loss of torch over the targets that are known, 0 if none is."""
    known = ~torch.isnan(targets)
    each = loss(outputs, torch.nan_to_num(targets), reduction="none", **settings)
    return torch.where(known, each, 0.0).sum() / max(int(known.sum()), 1)
