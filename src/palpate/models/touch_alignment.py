"""Stage 2 of AnyTouch: touch, vision and words in one space, and the same touch by any sensor at one place in it (Sections 4.3, 4.4).

The text encoder is frozen, so texts come as its vectors. So do pictures at the tiny scale, as features of a frozen backbone to which a
low-rank change is learnt; at the paper's scale an OpenCLIP tower sees them, with low-rank changes in its attention. Batches are
described in `models.touch_pretraining`.

Axis letters: B batch, E embedding, V vision features, T text vector.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from palpate.core.errors import PalpateError, RunError
from palpate.models.touch_encoder import (
    UNIVERSAL,
    UNIVERSAL_SHARE,
    Block,
    LowRank,
    TouchEncoder,
    TouchEncoderConfig,
    UniversalSchedule,
    known_keys,
)
from palpate.models.touch_pretraining import DecoderConfig, MaskedDecoder, draw_of, masked_terms

CLIP_COLOURS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and spread of the colours that CLIP's vision towers are trained with (Radford et al. 2021)."""
SHARPEST = 0.01
"""Lower limit of the learnt temperature (CLIP)."""

Inputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class AlignmentConfig:
    """The net of stage 2."""

    encoder: TouchEncoderConfig = field(default_factory=TouchEncoderConfig)
    decoder: DecoderConfig | None = None
    """Goes on guessing hidden patches beside (authors' code); None: not (paper Eq. 9)."""
    vision: int | TouchEncoderConfig = 1280
    """V numbers of a frozen backbone's features, or the tower that pictures go through (`TowerVision`)."""
    text: int = 384
    """T numbers of a text's vector."""
    rank: int = 16
    """Rank of the changes to the vision side."""
    temperature: float = 0.07
    """Where the learnt temperature starts (authors' code)."""
    universal: float = UNIVERSAL_SHARE
    """Chance at the end of training that a sample's sensor tokens are replaced by the universal ones."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "AlignmentConfig":
        """Invert `to_dict`; RunError names an unknown key."""
        known: dict[str, Any] = {**known_keys(cls, values), "encoder": TouchEncoderConfig.from_dict(values["encoder"])}
        if values.get("decoder") is not None:
            known["decoder"] = DecoderConfig(**known_keys(DecoderConfig, values["decoder"]))
        if isinstance(values.get("vision"), Mapping):
            known["vision"] = TouchEncoderConfig.from_dict(values["vision"])
        return cls(**known)


class FeatureVision(nn.Module):
    """Features of a frozen backbone (B, V), changed by a low-rank residual and projected: (B, E)."""

    def __init__(self, n_in: int, embed: int, rank: int) -> None:
        """Start with no change."""
        super().__init__()
        self.norm = nn.LayerNorm(n_in, elementwise_affine=False)
        self.down, self.up = nn.Linear(n_in, rank, bias=False), nn.Linear(rank, n_in, bias=False)
        nn.init.zeros_(self.up.weight)
        self.project = nn.Linear(n_in, embed)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (B, E)."""
        features = self.norm(features.float())
        return self.project(features + self.up(self.down(features)))


class TowerVision(nn.Module):
    """A frozen OpenCLIP tower whose attention learns low-rank changes: pictures (B, S, S, 3) to (B, E)."""

    def __init__(self, config: TouchEncoderConfig, embed: int, rank: int) -> None:
        """Start from random numbers; `start` takes a tower's weights."""
        super().__init__()
        if config.frames != 1 or config.sensor_tokens:
            raise PalpateError("a vision tower has 1 frame and no sensor tokens: load it with frames=1, sensor_tokens=0")
        self.tower = TouchEncoder(config).requires_grad_(False)
        for colours, buffer in zip(CLIP_COLOURS, (self.tower.mean, self.tower.std), strict=True):
            buffer.copy_(torch.tensor(colours))
        for block in self.tower.blocks:
            assert isinstance(block, Block)
            block.qkv, block.out = LowRank(block.qkv, rank, parts=3), LowRank(block.out, rank)
        self.project = _projection(config.embed, embed)

    def start(self, tower: TouchEncoder) -> None:
        """Take the weights of `load_openclip(path, frames=1, sensor_tokens=0)`."""
        weights = tower.state_dict()
        for name in list(weights):
            head, _, last = name.rpartition(".")
            if head.endswith((".qkv", ".out")):
                weights[f"{head}.base.{last}"] = weights.pop(name)
        self.tower.load_state_dict(weights, strict=False)  # strict would miss the changes, which start at none

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return (B, E)."""
        sensor = torch.full((len(pictures),), UNIVERSAL, device=pictures.device)
        return self.project(self.tower(pictures[:, None], sensor).embedding)


class MatchingHead(nn.Module):
    """Tells from the elementwise product of two embeddings whether they are of one touch (Eq. 5); the order does not matter."""

    def __init__(self, embed: int) -> None:
        """Start from random numbers."""
        super().__init__()
        self.scale = float(embed)  # the product of unit vectors has numbers of about 1 / embed
        self.mlp = nn.Sequential(nn.Linear(embed, embed), nn.GELU(), nn.Linear(embed, 1))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return logits (B,) for unit vectors (B, E)."""
        return self.mlp(self.scale * a * b)[:, 0]


class AlignedTouchNet(nn.Module):
    """Stage 2: touch, pictures and words to unit vectors (B, E).

    Outputs: `touch`, `vision`, `text` (B, E), zeros where absent; `has_vision`, `has_text` (B,); `temperature` (B,), the same for all;
    `match_positive`, `match_negative` (B,) logits, NaN for samples without a pair; with a decoder `reconstruction` and `prediction`
    (`MaskedDecoder.errors`).
    """

    draws = True  # asks the training loop for `draw`

    def __init__(self, config: AlignmentConfig) -> None:
        """Start from random numbers; see `start`."""
        super().__init__()
        self.config = config
        embed = config.encoder.embed
        self.encoder = TouchEncoder(config.encoder)
        self.decoder = None if config.decoder is None else MaskedDecoder(config.decoder, config.encoder)
        if isinstance(config.vision, int):
            self.vision: nn.Module = FeatureVision(config.vision, embed, config.rank)
        else:
            self.vision = TowerVision(config.vision, embed, config.rank)
        self.text = _projection(config.text, embed)
        self.matching = MatchingHead(embed)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.universal = UniversalSchedule(config.universal)

    def start(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take the encoder of a trained net, and its decoder if this one has one too.

        Raises:
            RunError: the weights are of another architecture.
        """
        names = ("encoder.",) if self.decoder is None else ("encoder.", "decoder.")
        taken = {name: tensor for name, tensor in weights.items() if name.startswith(names)}
        wanted = {name: tensor for name, tensor in self.state_dict().items() if name.startswith(names)}
        differ = sorted(
            name
            for name in {*taken, *wanted}
            if name not in taken or name not in wanted or taken[name].shape != wanted[name].shape
        )
        if differ:
            raise RunError(
                f"the weights are of another architecture: {', '.join(differ[:4])}{' and more' if len(differ) > 4 else ''} differ; "
                "give this stage the encoder configuration of the run that it starts from"
            )
        self.load_state_dict(taken, strict=False)

    def progress(self, share: float) -> None:
        """Take note of how much of the training is done: universal tokens become more frequent."""
        self.universal.progress(share)

    def forward(self, inputs: Inputs, presence: Inputs | None = None) -> dict[str, torch.Tensor]:
        """Return the outputs of a batch."""
        presence = presence or {}
        draw = draw_of(inputs)
        touch, positive, negative = self._touch(inputs, presence, draw)
        out = {"touch": touch, "match_positive": positive, "match_negative": negative}
        for name, branch in (("vision", self.vision), ("text", self.text)):
            out[name], out[f"has_{name}"] = _embedded(branch, name, inputs, presence, touch)
        out["temperature"] = torch.exp(-self.log_scale).clamp(min=SHARPEST).expand(len(touch))
        if self.decoder is not None:
            sensor = self._sensor(inputs["sensor"], draw)
            out |= self.decoder.errors(self.encoder, inputs, presence, sensor, draw)
        return out

    def _touch(self, inputs: Inputs, presence: Inputs, draw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return unit vectors (B, E) and the logits (B,) of the positive and the negative pairs."""
        n = len(draw)
        rows = _rows_with("positive", inputs, presence)
        clips, sensors = [inputs["clip"]], [self._sensor(inputs["sensor"], draw)]
        if len(rows):
            for k, name in enumerate(("positive", "negative")):
                clips.append(inputs[name][rows])
                sensors.append(self._sensor(inputs[f"{name}_sensor"][rows], draw[rows] + 1 + k))
        touch, *pair = unit(self.encoder(torch.cat(clips), torch.cat(sensors)).embedding).split(
            [n, *[len(rows)] * (len(clips) - 1)]
        )
        logits = [touch.new_full((n,), torch.nan)] * 2
        if pair:
            with torch.autocast(touch.device.type, enabled=False):
                logits = [
                    whole.index_put((rows,), self.matching(touch[rows], other))
                    for whole, other in zip(logits, pair, strict=True)
                ]
        return touch, logits[0], logits[1]

    def _sensor(self, sensor: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
        return self.universal(sensor, draw) if self.training else sensor


def unit(vectors: torch.Tensor) -> torch.Tensor:
    """Return float32 vectors (..., E) of length 1; zero stays zero."""
    return functional.normalize(vectors.float(), dim=-1)


def align_loss(a: torch.Tensor, b: torch.Tensor, both: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Return the contrastive loss of two modalities over the samples that have both, mean of both directions (Eq. 3, 10).

    Args:
        a: (B, E) unit vectors of one modality.
        b: (B, E) of the other.
        both: (B,) bool.
        temperature: scalar.

    Returns:
        A scalar, exactly zero with gradients of zero if no sample has both.
    """
    a, b = a[both], b[both]
    if not len(a):
        return 0.0 * (a.sum() + b.sum() + temperature)
    logits, own = a @ b.T / temperature, torch.arange(len(a), device=a.device)
    return 0.5 * (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own))


@dataclass(frozen=True, kw_only=True)
class AlignmentObjective:
    """The loss of stage 2 (Eq. 4, 9)."""

    touch_vision: float = 1.0
    """Strength of each pair (paper Section A.6)."""
    touch_text: float = 1.0
    vision_text: float = 0.2
    matching: float = 0.1
    """Weight of telling the same touch from others (paper Section A.6)."""
    masked: float = 1.0
    """Weight of the loss of stage 1, for a net with a decoder (authors' code)."""

    def loss(self, outputs: Inputs, targets: Inputs) -> tuple[torch.Tensor, int]:
        """Return the loss of a batch, and the number of samples."""
        terms = self._terms(outputs)
        return sum((weight * term for weight, term in terms.values()), torch.zeros(())), len(outputs["touch"])

    def measure(self, outputs: Inputs, targets: Inputs) -> dict[str, float]:
        """Return `loss`, its parts, and `match_accuracy` if there are pairs. The contrast is with all samples, not those of a batch."""
        terms = self._terms(outputs)
        out = {name: float(term) for name, (_, term) in terms.items()}
        total = {"loss": sum(weight * out[name] for name, (weight, _) in terms.items())}
        known = ~torch.isnan(outputs["match_positive"])
        if known.any():
            right = (outputs["match_positive"][known] > 0.0).float() + (outputs["match_negative"][known] <= 0.0)
            out["match_accuracy"] = float(0.5 * right.mean())
        return total | out

    def _terms(self, outputs: Inputs) -> dict[str, tuple[float, torch.Tensor]]:
        touch, vision, text = outputs["touch"], outputs["vision"], outputs["text"]
        seen, said, temperature = outputs["has_vision"] > 0.5, outputs["has_text"] > 0.5, outputs["temperature"].mean()
        terms = {
            "touch_vision": (self.touch_vision, align_loss(touch, vision, seen, temperature)),
            "touch_text": (self.touch_text, align_loss(touch, text, said, temperature)),
            "vision_text": (self.vision_text, align_loss(vision, text, seen & said, temperature)),
            "matching": (self.matching, matching_loss(outputs["match_positive"], outputs["match_negative"])),
        }
        if "reconstruction" in outputs:
            terms |= {name: (self.masked, term) for name, term in masked_terms(outputs).items()}
        return terms


def matching_loss(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Return the binary cross-entropy of positive and negative pairs, summed, mean over the samples that have them (Eq. 6).

    Eq. 6 has m- in the second term of the positive pair, where m+ must stand. Logits (B,) are NaN where there is no pair.
    """
    known = ~torch.isnan(positive)
    return (functional.softplus(-positive[known]) + functional.softplus(negative[known])).sum() / max(int(known.sum()), 1)


def _projection(n_in: int, embed: int) -> nn.Module:
    """Nothing where the sizes agree: towers that were trained together, as those of CLIP, already share a space."""
    return nn.Identity() if n_in == embed else nn.Linear(n_in, embed)


def _rows_with(name: str, inputs: Inputs, presence: Inputs) -> torch.Tensor:
    """Return the indices of the samples that have an input."""
    n, device = len(inputs["clip"]), inputs["clip"].device
    if name not in inputs:
        return torch.arange(0, device=device)
    return presence[name].nonzero()[:, 0] if name in presence else torch.arange(n, device=device)


def _embedded(
    branch: nn.Module, name: str, inputs: Inputs, presence: Inputs, like: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the unit vectors (B, E) of an input, zeros where it is absent, and where it is there (B,)."""
    rows = _rows_with(name, inputs, presence)
    vectors, there = torch.zeros_like(like), torch.zeros(len(like), dtype=torch.bool, device=like.device)
    if len(rows):
        vectors = vectors.index_put((rows,), unit(branch(inputs[name][rows])))
    return vectors, there.index_fill(0, rows, True)
