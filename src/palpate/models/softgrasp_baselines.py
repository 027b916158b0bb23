"""What SoftGrasp is compared with (paper Section 4.4), behind the same interface as `SoftgraspNet` and with the same branches.

All see the same three frames, through the same encoders as SoftGrasp ("inputs aligned with SoftGrasp"): a picture is one token, not the
grid of regions or patches of the sources. Sizes are ours, small enough for a CPU. The lift head is the same in all, and so are outputs as
changes of what is seen.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from palpate.models.softgrasp import (
    FrameFeatures,
    ImitationObjective,
    Inputs,
    NextStep,
    PolicyNetConfig,
    SoftgraspNet,
    Strategy,
    bounded,
    from_last,
    known_mean,
    lift_head,
    time_code,
)


class DirectNet(nn.Module):
    """Direct connection: the features of all frames and modalities, one after another, into the same layers."""

    def __init__(self, config: PolicyNetConfig) -> None:
        """Build from a configuration."""
        super().__init__()
        self.config = config
        self.frames = FrameFeatures(config, config.frame_dim)
        self.next = NextStep(len(config.modalities) * config.width, config)

    def forward(self, inputs: Inputs, presence: Inputs | None = None) -> dict[str, torch.Tensor]:
        """Return `angles`, `torques` (B, J) and `lift` (B,)."""
        presence = presence or {}
        features, _ = self.frames(inputs, presence)
        with torch.autocast(features.device.type, enabled=False):
            return self.next(features.flatten(1), inputs, presence)


class DividedAttention(nn.Module):
    """One block of divided space-time attention: over time, over space, then an MLP, each on normed tokens with a residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        """Map (B, T, M, W) and a class token (B, 1, W) to the same."""
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.time, self.space = (nn.MultiheadAttention(width, heads, dropout, batch_first=True) for _ in range(2))
        self.after_time = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor, cls: torch.Tensor, absent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both; `absent` (B, M) is left out of the attention over space."""
        b, t, m, _ = x.shape
        tokens = self.norms[0](x).transpose(1, 2).flatten(0, 1)
        seen = self.time(tokens, tokens, tokens, need_weights=False)[0]
        x = x + self.after_time(seen).unflatten(0, (b, m)).transpose(1, 2)
        whole = torch.cat([cls[:, None].expand(b, t, 1, -1), x], dim=2).flatten(0, 1)
        mask = functional.pad(absent, (1, 0)).repeat_interleave(t, dim=0)
        tokens = self.norms[1](whole)
        seen = self.space(tokens, tokens, tokens, key_padding_mask=mask, need_weights=False)[0].unflatten(0, (b, t))
        cls, x = cls + seen[:, :, 0].mean(dim=1, keepdim=True), x + seen[:, :, 1:]  # the class token is the mean of its copies
        return x + self.mlp(self.norms[2](x)), cls + self.mlp(self.norms[2](cls))


class TimeSformerNet(nn.Module):
    """Divided space-time attention (G. Bertasius et al., "Is Space-Time Attention All You Need for Video Understanding?", ICML 2021).

    Section 3: in each block a token first attends to its own place in all frames, then to all places of its frame. Space here is the
    modalities.
    """

    def __init__(self, config: PolicyNetConfig) -> None:
        """Build from a configuration."""
        super().__init__()
        self.config = config
        w = config.width
        self.frames = FrameFeatures(config, w)
        self.place = nn.Parameter(0.02 * torch.randn(len(config.modalities), w))
        self.cls = nn.Parameter(0.02 * torch.randn(1, w))
        self.blocks = nn.ModuleList(DividedAttention(w, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(w)
        self.next = NextStep(w, config)

    def forward(self, inputs: Inputs, presence: Inputs | None = None) -> dict[str, torch.Tensor]:
        """Return `angles`, `torques` (B, J) and `lift` (B,)."""
        presence = presence or {}
        features, there = self.frames(inputs, presence)
        with torch.autocast(features.device.type, enabled=False):
            x, cls = features + self.place, self.cls.expand(len(features), -1, -1)
            for block in self.blocks:
                x, cls = block(x, cls, ~there)
            return self.next(self.norm(cls[:, 0]), inputs, presence)


class ActNet(nn.Module):
    """Action chunking with transformers (T. Zhao et al., "Learning Fine-Grained Bimanual Manipulation with Low-Cost Hardware", RSS 2023).

    A conditional variational autoencoder (Section IV-B): in training an encoder reads the angles and the chunk of actions that followed
    (input `future`, (B, K, J), NaN after the end) into a style z; a transformer makes the chunk from z and what is sensed. In use z is 0.
    Outputs: `chunk` (B, K, J), `angles` (B, J) its first step, `lift` (B,); in training `mean` and `log_variance` (B, Z) of z.
    """

    code: torch.Tensor

    def __init__(self, config: PolicyNetConfig) -> None:
        """Build from a configuration."""
        super().__init__()
        self.config = config
        w = config.width
        layer = (w, config.heads, 2 * w, config.dropout)
        self.frames = FrameFeatures(config, w)
        self.cls = nn.Parameter(0.02 * torch.randn(1, w))
        self.action = nn.Linear(config.joints, w)
        self.style_encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*layer, batch_first=True), config.layers, enable_nested_tensor=False
        )
        self.style = nn.Linear(w, 2 * config.style_dim)
        self.from_style = nn.Linear(config.style_dim, w)
        self.kind = nn.Parameter(0.02 * torch.randn(len(config.modalities), w))
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*layer, batch_first=True), config.layers, enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(*layer, batch_first=True), config.layers)
        self.query = nn.Parameter(torch.randn(config.chunk, w))
        self.head = nn.Linear(w, config.joints)
        self.lift = lift_head(w, config)
        self.register_buffer("code", time_code(config.chunk, w), persistent=False)

    def forward(self, inputs: Inputs, presence: Inputs | None = None) -> dict[str, torch.Tensor]:
        """Return the outputs by name."""
        presence = presence or {}
        features, there = self.frames(inputs, presence)
        with torch.autocast(features.device.type, enabled=False):
            n, steps = features.shape[:2]
            absent = ~there.repeat(1, steps)
            sensed = (features + self.kind).flatten(1, 2)
            out = {}
            style = features.new_zeros(n, self.config.style_dim)
            if self.training:
                mean, log_variance = self._style(sensed, absent, inputs["future"])
                style = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
                out = {"mean": mean, "log_variance": log_variance}
            memory = self.encoder(
                torch.cat([self.from_style(style)[:, None], sensed], dim=1), src_key_padding_mask=functional.pad(absent, (1, 0))
            )
            decoded = self.decoder(self.query.expand(n, -1, -1), memory, memory_key_padding_mask=functional.pad(absent, (1, 0)))
            chunk = from_last(self.head(decoded), "angle", inputs, presence)
            chunk = chunk if self.training else bounded(chunk)
            return {**out, "chunk": chunk, "angles": chunk[:, 0], "lift": self.lift(decoded[:, 0].detach())[:, 0]}

    def _style(self, sensed: torch.Tensor, absent: torch.Tensor, future: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and logarithm of the variance (B, Z) of the style of what followed."""
        n = len(sensed)
        if "angle" in self.config.modalities:  # the source's encoder sees joints and actions, no pictures
            joints = [k % len(self.config.modalities) == self.config.modalities.index("angle") for k in range(sensed.shape[1])]
            sensed, absent = sensed[:, joints], absent[:, joints]
        else:
            sensed, absent = sensed[:, :0], absent[:, :0]
        unknown = torch.isnan(future).any(dim=2)
        actions = self.action(torch.nan_to_num(future)) + self.code
        tokens = torch.cat([self.cls.expand(n, -1, -1), sensed, actions], dim=1)
        mask = torch.cat([torch.zeros_like(unknown[:, :1]), absent, unknown], dim=1)
        return self.style(self.style_encoder(tokens, src_key_padding_mask=mask)[:, 0]).chunk(2, dim=1)


@dataclass(frozen=True, kw_only=True)
class ActObjective:
    """Mean absolute error of the chunk plus the divergence of the style from a normal distribution (Zhao et al., Algorithm 1)."""

    divergence: float = 10.0
    """Weight of the divergence (source, Table III)."""

    def loss(self, outputs: Inputs, targets: Inputs) -> tuple[torch.Tensor, int]:
        """Return the mean loss and the number of samples. Targets: `chunk` (B, K, J), `lift` (B,)."""
        error = known_mean(functional.l1_loss, outputs["chunk"], targets["chunk"])
        lift = known_mean(functional.binary_cross_entropy_with_logits, outputs["lift"], targets["lift"])
        mean, log_variance = outputs["mean"], outputs["log_variance"]
        divergence = -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp()).sum(dim=1).mean()
        return error + self.divergence * divergence + lift, len(targets["angles"])

    def measure(self, outputs: Inputs, targets: Inputs) -> dict[str, float]:
        """Return `loss`, the mean absolute error of the chunk, and the cross-entropy of `lift`."""
        lift = known_mean(functional.binary_cross_entropy_with_logits, outputs["lift"], targets["lift"])
        return {"loss": float(known_mean(functional.l1_loss, outputs["chunk"], targets["chunk"])), "lift": float(lift)}


PolicyNet = SoftgraspNet | DirectNet | ActNet | TimeSformerNet
_NETS: dict[Strategy, type[PolicyNet]] = {
    "softgrasp": SoftgraspNet,
    "direct": DirectNet,
    "act": ActNet,
    "timesformer": TimeSformerNet,
}


def build_policy(config: PolicyNetConfig) -> PolicyNet:
    """Build the net of a strategy."""
    return _NETS[config.strategy](config)


def objective_of(config: PolicyNetConfig, imitation: ImitationObjective) -> ImitationObjective | ActObjective:
    """Return what a strategy is trained to: its own source's loss for ACT, else `imitation`."""
    return ActObjective() if config.strategy == "act" else imitation
