"""What another touch sensor would give of the same touch, from the features of one: its picture, or its field of forces.

R. Feng et al., "AnyTouch: Learning unified static-dynamic representation across multiple visuo-tactile sensors", ICLR 2025, Section A.10.
As there, a transformer decodes pictures and a perceptron the field. Pictures are learnt by their squared error, the paper's own measure,
and not against a discriminator: that would ask for more data than a small study has. What is generated is the change since the target
sensor was at rest, since that sensor shows its own rest whenever nothing touches it.

Axis letters: B batch, F frame, H = W side of the picture, R = C rows and columns of the field, N patch, D width of the encoder.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from palpate.core.errors import PalpateError
from palpate.models.touch_encoder import (
    Block,
    TouchEncoder,
    TouchEncoderConfig,
    TouchFeatures,
    known_keys,
    pictures_of,
    place_code,
)

Inputs = Mapping[str, torch.Tensor]
Kind = Literal["picture", "field"]


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """An encoder, and what decodes its features."""

    kind: Kind
    """What is generated."""
    encoder: TouchEncoderConfig = field(default_factory=TouchEncoderConfig)
    frozen: bool = True
    """Whether the encoder stays as it is."""
    stills: bool = False
    """Whether it sees the last frame of a clip only."""
    width: int = 96
    """Numbers of a token in the decoder of pictures."""
    depth: int = 2
    """Blocks of the decoder of pictures."""
    heads: int = 3
    """Heads of each block's attention."""
    hidden: int = 256
    """Width of the perceptron."""
    reduced: int = 8
    """Numbers of each patch that the perceptron reads."""
    side: int = 20
    """R = C of the field."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit, and a kind that does not exist."""
        if self.kind not in ("picture", "field") or self.width % self.heads or self.width % 4:
            raise PalpateError(
                f"a generator makes a picture or a field, with a width that is a multiple of 4 and of its heads; got {self.kind!r}, "
                f"width {self.width} and {self.heads} heads"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "GeneratorConfig":
        """Invert `to_dict`; RunError names an unknown key."""
        known = known_keys(cls, values)
        known["encoder"] = TouchEncoderConfig.from_dict(values["encoder"])
        return cls(**known)


class PictureDecoder(nn.Module):
    """Tokens of the patches, and the class token, to a picture (B, H, W, 3)."""

    places: torch.Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        """Start from random numbers."""
        super().__init__()
        encoder = config.encoder
        self.patch = encoder.patch
        self.enter = nn.Linear(encoder.width, config.width)
        self.register_buffer("places", place_code(encoder.side, config.width), persistent=False)
        self.blocks = nn.Sequential(
            *(Block(config.width, config.heads) for _ in range(config.depth)), nn.LayerNorm(config.width)
        )
        self.pixels = _from_nothing(nn.Linear(config.width, encoder.patch**2 * 3))

    def forward(self, features: TouchFeatures) -> torch.Tensor:
        """Return (B, H, W, 3)."""
        first, rest = self.enter(features.pooled)[:, None], self.enter(features.tokens) + self.places
        return pictures_of(self.pixels(self.blocks(torch.cat([first, rest], dim=1))[:, 1:]), self.patch)[:, 0]


class FieldDecoder(nn.Module):
    """The class token, and a few numbers of each patch, to a field (B, R, C, 3)."""

    def __init__(self, config: GeneratorConfig) -> None:
        """Start from random numbers."""
        super().__init__()
        encoder = config.encoder
        self.shape = (config.side, config.side, 3)
        self.reduce = nn.Linear(encoder.width, config.reduced)
        self.layers = nn.Sequential(
            nn.Linear(encoder.width + encoder.side**2 * config.reduced, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.hidden),
            nn.GELU(),
            _from_nothing(nn.Linear(config.hidden, config.side**2 * 3)),
        )

    def forward(self, features: TouchFeatures) -> torch.Tensor:
        """Return (B, R, C, 3)."""
        read = torch.cat([features.pooled, self.reduce(features.tokens).flatten(1)], dim=1)
        return self.layers(read).unflatten(1, self.shape)


def _from_nothing(layer: nn.Linear) -> nn.Linear:
    """Return a layer that at first says 0: training starts from a target at rest."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class TouchGenerator(nn.Module):
    """An encoder of one sensor's touch and a decoder of another's, in parts of the usual change.

    Batches hold `clip` (B, F, H, W, 3) and `sensor` (B,) as those of stage 1 (`models.touch_pretraining`), or, where the encoder stays
    as it is, its features of them: `pooled` (B, D) and `tokens` (B, N, D).
    """

    spread: torch.Tensor

    def __init__(self, config: GeneratorConfig, encoder: TouchEncoder | None = None, spread: float = 1.0) -> None:
        """Take an encoder, or start from random numbers; `spread` is the usual change, of colours 0 to 1 or in N."""
        super().__init__()
        self.config = config
        self.encoder = TouchEncoder(config.encoder) if encoder is None else encoder
        self.encoder.requires_grad_(not config.frozen)
        self.decoder = PictureDecoder(config) if config.kind == "picture" else FieldDecoder(config)
        self.register_buffer("spread", torch.tensor(spread))

    def forward(self, inputs: Inputs, presence: Inputs | None = None) -> torch.Tensor:
        """Return the change since rest, in parts of `spread`: (B, H, W, 3) colours, or (B, R, C, 3) forces."""
        return self.decoder(self.features(inputs))

    def features(self, inputs: Inputs) -> TouchFeatures:
        """Return what the decoder reads; `embedding` of features that were given is left empty."""
        if "tokens" in inputs:
            pooled = inputs["pooled"].float()
            return TouchFeatures(pooled, pooled[:, :0], inputs["tokens"].float())
        clips = inputs["clip"][:, -1:] if self.config.stills else inputs["clip"]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            return self.encoder(clips, inputs["sensor"])


class GeneratedObjective:
    """The squared error of what is generated, in parts of the usual change."""

    def loss(self, outputs: torch.Tensor, targets: Inputs) -> tuple[torch.Tensor, int]:
        """Return the mean over a batch, and the number of samples."""
        return (outputs - targets["change"]).square().mean(), len(outputs)

    def measure(self, outputs: torch.Tensor, targets: Inputs) -> dict[str, float]:
        """Return `loss`."""
        return {"loss": float(self.loss(outputs, targets)[0])}
