"""Stage 1 of AnyTouch: patches of stills and clips are hidden and guessed, and a clip's next frame with them (paper Section 4.2).

BATCH. The nets of both stages read batches by these names; `labels` is (B, 0) and `targets` empty, for the nets put out their own errors.
Every batch is all stills or all clips. Pictures are RGB, uint8 or floats 0 to 1, without normalisation, of the encoder's size H = W.

- `clip`: (B, F, H, W, 3), oldest frame first, or (B, 1, H, W, 3) stills.
- `sensor`: (B,) int64, `TouchEncoderConfig.index` of its name.
- `next`: (B, H, W, 3), the frame after each clip. Left out with stills; `presence` where some clips have none.
- `draw`: (B,) int64 random numbers, put in by the training loop: masks and universal tokens follow from them. Evaluation needs none.

Stage 2 only (`models.touch_alignment`), each with its `presence`, and left out where no sample has it:

- `vision`: (B, V) features of a frozen backbone, or pictures (B, S, S, 3) for a vision tower.
- `text`: (B, T) unit vectors of a frozen text encoder.
- `positive`, `negative`: as `clip`: the same touch by another sensor, and any other touch; samples with a positive have a negative.
- `positive_sensor`, `negative_sensor`: (B,) int64.

Axis letters: B batch, F frame, N patch, K kept patch, M masked patch, P numbers of a patch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from palpate.core.errors import PalpateError
from palpate.models.touch_encoder import (
    UNIVERSAL_SHARE,
    Block,
    TouchEncoder,
    TouchEncoderConfig,
    UniversalSchedule,
    known_keys,
    pictures_of,
    place_code,
    uniform,
)

Inputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """What hides and guesses. The defaults fit a laptop; the paper's decoder is 512 wide with 8 blocks (authors' code: 16 heads)."""

    mask_ratio: float = 0.75
    """Share of the patches that are hidden (paper Section A.6)."""
    width: int = 96
    """Numbers of a token in the decoder."""
    depth: int = 2
    """Blocks of the decoder."""
    heads: int = 8
    """Heads of each block's attention."""
    near: bool = True
    """Attention starts on neighbouring patches and learns where to go from there (d'Ascoli et al., "ConViT", 2021). What it
    gains was not measured."""
    predict: bool = True
    """Guess the frame after a clip too (Eq. 2)."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit."""
        if self.width % self.heads or self.width % 4:
            raise PalpateError(f"the decoder's width {self.width} must be a multiple of 4 and of {self.heads} heads")


@dataclass(frozen=True, kw_only=True)
class MaskedConfig:
    """The net of stage 1."""

    encoder: TouchEncoderConfig = field(default_factory=TouchEncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    universal: float = UNIVERSAL_SHARE
    """Chance at the end of training that a sample's sensor tokens are replaced by the universal ones."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MaskedConfig":
        """Invert `to_dict`; RunError names an unknown key."""
        known = known_keys(cls, values)
        known["encoder"] = TouchEncoderConfig.from_dict(values["encoder"])
        known["decoder"] = DecoderConfig(**known_keys(DecoderConfig, values["decoder"]))
        return cls(**known)


class MaskedDecoder(nn.Module):
    """Guesses the hidden patches, and the next frame, from what an encoder says about the others."""

    places: torch.Tensor

    def __init__(self, config: DecoderConfig, encoder: TouchEncoderConfig) -> None:
        """Start from random numbers."""
        super().__init__()
        self.config = config
        self.hidden = round(config.mask_ratio * encoder.side**2)
        if not 1 <= self.hidden < encoder.side**2:
            raise PalpateError(
                f"mask_ratio {config.mask_ratio:g} must hide one of {encoder.side**2} patches or more, and leave one"
            )
        self.enter = nn.Linear(encoder.embed, config.width)
        self.mask_token = nn.Parameter(torch.randn(config.width) * 0.02)
        self.register_buffer("places", place_code(encoder.side, config.width), persistent=False)
        self.blocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.near = nn.ModuleList(NearAttention(encoder.side, config.heads) for _ in range(config.depth * config.near))
        self.pixels = nn.Linear(config.width, encoder.patch_dim)
        self.next = nn.Linear(config.width, encoder.patch_dim // encoder.frames) if config.predict else None

    def forward(self, encoder: TouchEncoder, patches: torch.Tensor, sensor: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, N, width) of all patches (B, N, P), of which the encoder sees those at `seen` (B, K)."""
        features = encoder.encode(patches, sensor, seen)
        # It reads the projection, and the class token too: so stage 1 shapes both that later stages and tasks read.
        tokens = self.enter(encoder.project(features.tokens))
        first = self.enter(features.embedding)[:, None]
        whole = self.mask_token.to(tokens.dtype).expand(*patches.shape[:2], -1)
        whole = whole.scatter(1, seen[:, :, None].expand(-1, -1, tokens.shape[-1]), tokens)
        x = torch.cat([first, whole + self.places], dim=1)
        for k, block in enumerate(self.blocks):
            x = block(x, self.near[k]().to(x.dtype) if len(self.near) else None)
        return self.norm(x)[:, 1:]

    def mask(self, draw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the indices of seen (B, K) and hidden patches (B, M) that each sample's draw (B,) decides."""
        order = uniform(draw, 1 + len(self.places))[:, 1:].argsort(dim=1)  # the first number decides about the sensor
        return order[:, self.hidden :], order[:, : self.hidden]

    def errors(
        self, encoder: TouchEncoder, inputs: Inputs, presence: Inputs, sensor: torch.Tensor, draw: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return each sample's mean squares over patches and their numbers, in normalised colours.

        Args:
            encoder: what sees the rest.
            inputs: `clip` and, of clips, `next`.
            presence: of `next`, where some have none.
            sensor: (B,) indices of sensors, universal ones replaced.
            draw: (B,) what decides about the masks.

        Returns:
            `reconstruction` (B,) of the hidden patches (Eq. 1), `prediction` (B,) of the next frame (Eq. 2), NaN where there is none.
        """
        patches = encoder.patchify(encoder.normalise(inputs["clip"]))
        seen, hidden = self.mask(draw)
        decoded = self(encoder, patches, sensor, seen)
        with torch.autocast(patches.device.type, enabled=False):
            decoded = decoded.float()
            reconstruction = (self.pixels(rows_at(decoded, hidden)) - rows_at(patches, hidden)).square().mean(dim=(1, 2))
            prediction = reconstruction.new_full((len(patches),), torch.nan)
            if self.next is not None and "next" in inputs:
                each = (self.next(decoded) - encoder.patchify_frame(inputs["next"])).square().mean(dim=(1, 2))
                prediction = torch.where(presence["next"], each, prediction) if "next" in presence else each
        return {"reconstruction": reconstruction, "prediction": prediction}


NEIGHBOURS = ((-1, 0), (0, 1), (1, 0), (0, -1), (-1, -1), (-1, 1), (1, 1), (1, -1))
"""Rows and columns from a patch to those beside it."""
NEARNESS = 1.5
"""How fast attention falls at the start with the squared distance [patches] from a head's neighbour."""


class NearAttention(nn.Module):
    """What is added to attention's logits for each head and way from a patch to another: (heads, 1 + N, 1 + N), first the class token."""

    which: torch.Tensor

    def __init__(self, side: int, heads: int) -> None:
        """Let each head begin at a neighbour of its own, in turn; `side` patches lie along a side."""
        super().__init__()
        ways = torch.arange(1 - side, side)
        apart = torch.stack(torch.meshgrid(ways, ways, indexing="ij"), dim=-1).float()
        aims = torch.tensor([NEIGHBOURS[h % len(NEIGHBOURS)] for h in range(heads)])
        self.logits = nn.Parameter(-NEARNESS * (apart - aims[:, None, None]).square().sum(dim=-1).clamp(max=9.0))
        place = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), dim=-1).flatten(0, 1)
        way = place[None] - place[:, None] + side - 1
        self.register_buffer("which", way[..., 0] * (2 * side - 1) + way[..., 1], persistent=False)

    def forward(self) -> torch.Tensor:
        """Return (heads, 1 + N, 1 + N)."""
        return functional.pad(self.logits.flatten(1)[:, self.which], (1, 0, 1, 0))


class MaskedTouchNet(nn.Module):
    """Stage 1: the encoder sees a quarter of the patches, a decoder guesses the others (He et al. 2022) and the next frame.

    Outputs, (B,) each: `reconstruction` and `prediction` errors (`MaskedDecoder.errors`).
    """

    draws = True  # asks the training loop for `draw`

    def __init__(self, config: MaskedConfig) -> None:
        """Start from random numbers."""
        super().__init__()
        self.config = config
        self.encoder = TouchEncoder(config.encoder)
        self.decoder = MaskedDecoder(config.decoder, config.encoder)
        self.universal = UniversalSchedule(config.universal)

    def progress(self, share: float) -> None:
        """Take note of how much of the training is done: universal tokens become more frequent."""
        self.universal.progress(share)

    def forward(self, inputs: Inputs, presence: Inputs | None = None) -> dict[str, torch.Tensor]:
        """Return the outputs of a batch (see BATCH above)."""
        draw = draw_of(inputs)
        sensor = self.universal(inputs["sensor"], draw) if self.training else inputs["sensor"]
        return self.decoder.errors(self.encoder, inputs, presence or {}, sensor, draw)

    @torch.no_grad()
    def guess(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Return pictures to look at, floats 0 to 1: `seen` and `guessed` (B, F, H, W, 3), and `next` (B, 1, H, W, 3)."""
        patches = self.encoder.patchify(self.encoder.normalise(inputs["clip"]))
        seen, _ = self.decoder.mask(draw_of(inputs))
        decoded = self.decoder(self.encoder, patches, inputs["sensor"], seen)
        shown = torch.zeros_like(patches).scatter(1, seen[:, :, None].expand(-1, -1, patches.shape[-1]), rows_at(patches, seen))
        out = {"seen": shown, "guessed": self.decoder.pixels(decoded)}
        if self.decoder.next is not None:
            out["next"] = self.decoder.next(decoded)
        mean, std, patch = self.encoder.mean, self.encoder.std, self.config.encoder.patch
        return {name: (pictures_of(rows.float(), patch) * std + mean).clamp(0.0, 1.0) for name, rows in out.items()}


def draw_of(inputs: Inputs) -> torch.Tensor:
    """Return the random number (B,) of each sample; in evaluation its place in the batch, so that figures are repeatable."""
    clips = inputs["clip"]
    return inputs["draw"] if "draw" in inputs else torch.arange(len(clips), device=clips.device)


def rows_at(patches: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Return the rows (B, K, P) of patches (B, N, P) at each sample's indices (B, K)."""
    return patches.gather(1, indices[:, :, None].expand(-1, -1, patches.shape[-1]))


@dataclass(frozen=True)
class MaskedObjective:
    """The loss of stage 1 (Eq. 8), one kind of batch at a time: `reconstruction`, and of clips `prediction` beside it."""

    def loss(self, outputs: Inputs, targets: Inputs) -> tuple[torch.Tensor, int]:
        """Return the loss of a batch, and the number of samples."""
        terms = masked_terms(outputs)
        return torch.stack(list(terms.values())).sum(), len(outputs["reconstruction"])

    def measure(self, outputs: Inputs, targets: Inputs) -> dict[str, float]:
        """Return `loss`, `reconstruction`, and `prediction` if any sample has a next frame."""
        terms = {name: float(term) for name, term in masked_terms(outputs).items()}
        return {"loss": sum(terms.values()), **terms}


def masked_terms(outputs: Inputs) -> dict[str, torch.Tensor]:
    """Return the means of a batch: `reconstruction`, and `prediction` over the samples with a next frame, if there are any."""
    terms = {"reconstruction": outputs["reconstruction"].mean()}
    known = ~torch.isnan(outputs["prediction"])
    if known.any():
        terms["prediction"] = outputs["prediction"][known].mean()
    return terms
