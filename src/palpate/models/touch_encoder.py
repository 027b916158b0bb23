"""The touch encoder of AnyTouch: stills and clips of any optical touch sensor to one feature vector.

R. Feng et al., "AnyTouch: Learning unified static-dynamic representation across multiple visuo-tactile sensors", ICLR 2025, Sections 4.1
and 4.5. A still is a clip of equal frames. Each patch of all frames becomes one token; learnt tokens of the sensor, or universal ones,
stand beside them without a place; a vision transformer mixes them.

Axis letters: B batch, F frame, H = W side of the picture, N patch, K kept patch, D width, E embedding, P numbers of a patch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from palpate.core.errors import DataError, PalpateError, RunError
from palpate.models.backbones import IMAGENET

CHANGE = ((128 / 255,) * 3, (16 / 255,) * 3)
"""Mean and spread of the colours where the view is `change`: no change is 0. The spread is that of simulated touches by four sensors."""
UNIVERSAL = -1
"""Index of a sensor that has no tokens of its own."""
UNIVERSAL_SHARE = 0.75
"""Chance at the end of training that a sample's sensor tokens are replaced by the universal ones (paper Section A.6)."""


@dataclass(frozen=True, kw_only=True)
class TouchEncoderConfig:
    """How large, and which sensors. The defaults train on a laptop; the paper's are 224, 14, 3, 1024, 24, 16 and 768."""

    size: int = 64
    """Side H = W of the picture [px]."""
    patch: int = 8
    """Side of a patch [px]."""
    frames: int = 3
    """F, frames of a clip."""
    width: int = 128
    """D."""
    depth: int = 4
    """Transformer blocks."""
    heads: int = 4
    """Heads of each block's attention."""
    embed: int = 128
    """E, numbers of the embedding that is aligned with others."""
    sensors: tuple[str, ...] = ()
    """Names of the sensors with tokens of their own, in order; any other gets the universal tokens."""
    sensor_tokens: int = 5
    """Tokens of each sensor (paper Section A.6); 0 for an encoder that is not told the sensor."""
    view: Literal["picture", "change"] = "picture"
    """What it is given: pictures as they are, as in the paper, or 128 and their change since the gel was at rest
    (`perception.views.touch_view`)."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit each other, and a sensor named twice."""
        if self.size % self.patch or self.width % self.heads or self.width % 4:
            raise PalpateError(
                f"size {self.size} must be a multiple of patch {self.patch}, width {self.width} of 4 and of {self.heads} heads"
            )
        if len(set(self.sensors)) < len(self.sensors):
            raise PalpateError(f"each sensor must be named once, got {', '.join(self.sensors)}")

    @property
    def side(self) -> int:
        """Patches along a side of the picture."""
        return self.size // self.patch

    @property
    def patch_dim(self) -> int:
        """P, numbers of a patch over all frames."""
        return self.frames * self.patch**2 * 3

    def index(self, sensor: str) -> int:
        """Return the index of a sensor's tokens, `UNIVERSAL` if it has none."""
        return self.sensors.index(sensor) if sensor in self.sensors else UNIVERSAL

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TouchEncoderConfig":
        """Invert `to_dict`; RunError names an unknown key."""
        return cls(**known_keys(cls, values))


def known_keys(config: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a JSON file as arguments of a configuration; RunError names an unknown key."""
    unknown = set(values) - {field.name for field in fields(config)}
    if unknown:
        raise RunError(f"{config.__name__} has no {', '.join(sorted(unknown))}; another version of palpate wrote it")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


class TouchFeatures(NamedTuple):
    """What the encoder gives."""

    pooled: torch.Tensor
    """(B, D) class token after the last norm."""
    embedding: torch.Tensor
    """(B, E) its projection, not normalised."""
    tokens: torch.Tensor
    """(B, N, D) patches after the last norm, or (B, K, D) of those kept."""

    @property
    def patches(self) -> torch.Tensor:
        """(B, 2 D) mean and largest of each number over the patches: what a class token that no label has trained may miss."""
        return torch.cat([self.tokens.mean(dim=1), self.tokens.amax(dim=1)], dim=1)

    @property
    def summary(self) -> torch.Tensor:
        """(B, 3 D) class token, and mean and largest of the patches: what other methods are given.

        The class token was trained to tell touches of different things apart; where and how far a thing presses is in the patches.
        """
        return torch.cat([self.pooled, self.patches], dim=1)


class Block(nn.Module):
    """A transformer block, norms first, as in CLIP."""

    def __init__(self, width: int, heads: int) -> None:
        """Start from random numbers."""
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv: nn.Module = nn.Linear(width, 3 * width)
        self.out: nn.Module = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """Return (B, N, D); `bias` (heads, N, N) is added to the logits of the attention."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(_attention(q, k, v, bias).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return (B, heads, N, D / heads); on a CPU always in fp32, since torch's gradient of it in bf16 takes 13 times as long there."""
    if q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q, k, v, bias)
    with torch.autocast("cpu", enabled=False):
        return functional.scaled_dot_product_attention(q.float(), k.float(), v.float(), None if bias is None else bias.float())


class LowRank(nn.Module):
    """A frozen linear layer and a low-rank change to each of its parts, at first none (Hu et al., "LoRA", 2022)."""

    def __init__(self, base: nn.Module, rank: int, alpha: float = 16.0, *, parts: int = 1) -> None:
        """Cut the outputs of `base` into equal `parts`, each with a change of its own, scaled by alpha / rank."""
        super().__init__()
        assert isinstance(base, nn.Linear)
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.randn(parts, rank, base.in_features) * base.in_features**-0.5)
        self.up = nn.Parameter(torch.zeros(parts, base.out_features // parts, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., out)."""
        change = torch.einsum("...i,pri,por->...po", x, self.down, self.up)
        return self.base(x) + self.scale * change.flatten(-2)


class TouchEncoder(nn.Module):
    """Clips and the sensor that they come from, to features."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, config: TouchEncoderConfig) -> None:
        """Start from random numbers; `load_openclip` starts from a file."""
        super().__init__()
        self.config = config
        width = config.width
        mean, std = CHANGE if config.view == "change" else IMAGENET
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)
        self.patches = nn.Linear(config.patch_dim, width, bias=False)
        self.class_token = nn.Parameter(torch.randn(width) * width**-0.5)
        self.sensor = nn.Parameter(
            torch.randn(len(config.sensors) + 1, config.sensor_tokens, width) * width**-0.5
        )  # last: universal
        self.places = nn.Parameter(functional.pad(place_code(config.side, width), (0, 0, 1, 0)))  # first: of the class token
        self.norm_first, self.norm_last = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(Block(width, config.heads) for _ in range(config.depth)))
        self.project = nn.Linear(width, config.embed, bias=False)

    def forward(self, clips: torch.Tensor, sensor: torch.Tensor, keep: torch.Tensor | None = None) -> TouchFeatures:
        """Return features of clips.

        Args:
            clips: (B, F, H, W, 3), or (B, 1, H, W, 3) stills, RGB: uint8, or floats 0 to 1.
            sensor: (B,) int64 index of each sample's sensor (`TouchEncoderConfig.index`).
            keep: (B, K) indices of the patches that are seen; all if None. The others never enter.

        Raises:
            PalpateError: clips of another shape, or a sensor's index that has no tokens.
        """
        return self.encode(self.patchify(self.normalise(clips)), sensor, keep)

    def encode(self, patches: torch.Tensor, sensor: torch.Tensor, keep: torch.Tensor | None = None) -> TouchFeatures:
        """Return features of patches (B, N, P) of normalised clips; the other arguments as in `forward`."""
        places = self.places[1:].expand(len(patches), -1, -1)
        if keep is not None:
            patches, places = (rows.gather(1, keep[:, :, None].expand(-1, -1, rows.shape[-1])) for rows in (patches, places))
        first = (self.class_token + self.places[0]).expand(len(patches), 1, -1)
        x = torch.cat([first, self.sensor_of(sensor), self.patches(patches) + places], dim=1)
        x = self.norm_last(self.blocks(self.norm_first(x)))
        return TouchFeatures(x[:, 0], self.project(x[:, 0]), x[:, 1 + self.config.sensor_tokens :])

    def sensor_of(self, sensor: torch.Tensor) -> torch.Tensor:
        """Return the tokens (B, L, D) of sensors (B,); the universal ones where it is `UNIVERSAL`."""
        known = len(self.config.sensors)
        if sensor.numel() and not -1 <= int(sensor.min()) <= int(sensor.max()) < known:
            raise PalpateError(
                f"sensor indices must lie in -1 to {known - 1} ({', '.join(self.config.sensors) or 'no sensor has tokens'}), "
                f"got {int(sensor.min())} to {int(sensor.max())}; take them from the configuration's index()"
            )
        return self.sensor[torch.where(sensor < 0, known, sensor)]

    def normalise(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return pictures (..., H, W, 3), uint8 or floats 0 to 1, by ImageNet's mean and spread, or `CHANGE`."""
        scaled = pictures.float() / 255.0 if pictures.dtype == torch.uint8 else pictures.float()
        return (scaled - self.mean) / self.std

    def patchify(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the patches (B, N, P) of clips (B, F, H, W, 3), row by row; within one: frame, row, column, colour."""
        c = self.config
        if clips.ndim != 5 or clips.shape[2:] != (c.size, c.size, 3) or clips.shape[1] not in (1, c.frames):
            raise PalpateError(
                f"the touch encoder takes clips (B, {c.frames}, {c.size}, {c.size}, 3) or stills with 1 frame, got "
                f"{tuple(clips.shape)}; resize the pictures, and give a clip that is too short as a still of its last frame"
            )
        return patches_of(clips.expand(-1, c.frames, -1, -1, -1), c.patch)

    def patchify_frame(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the normalised patches (B, N, P / F) of single frames (B, H, W, 3)."""
        return patches_of(self.normalise(frames)[:, None], self.config.patch)


def patches_of(clips: torch.Tensor, patch: int) -> torch.Tensor:
    """Return the patches (B, N, F * patch * patch * 3) of clips (B, F, H, W, 3)."""
    b, f, h, w, _ = clips.shape
    grid = clips.reshape(b, f, h // patch, patch, w // patch, patch, 3)
    return grid.permute(0, 2, 4, 1, 3, 5, 6).reshape(b, (h // patch) * (w // patch), -1)


def pictures_of(patches: torch.Tensor, patch: int) -> torch.Tensor:
    """Invert `patches_of` for square pictures: (B, N, F * patch * patch * 3) to (B, F, H, W, 3)."""
    b, n, p = patches.shape
    side, frames = round(n**0.5), p // (3 * patch**2)
    grid = patches.reshape(b, side, side, frames, patch, patch, 3)
    return grid.permute(0, 3, 1, 4, 2, 5, 6).reshape(b, frames, side * patch, side * patch, 3)


def place_code(side: int, width: int) -> torch.Tensor:
    """Return (side * side, width) sines and cosines of each patch's row and column (He et al., "Masked autoencoders", 2022)."""
    rates = 10_000.0 ** -(torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.cat([line.repeat_interleave(side, 0), line.repeat(side, 1)], dim=1)


OPENCLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_OPENCLIP_BLOCK = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "attn.in_proj_": "qkv.",
    "attn.out_proj": "out",
    "mlp.c_fc": "mlp.0",
    "mlp.c_proj": "mlp.2",
}


def load_openclip(
    path: Path,
    *,
    frames: int = 3,
    sensors: tuple[str, ...] = (),
    sensor_tokens: int = 5,
    size: int | None = None,
    head_width: int = 64,
) -> TouchEncoder:
    """Build an encoder from the vision tower of an OpenCLIP model on disk, for example ViT-L/14 trained on DataComp.

    The kernel of the patches is copied for each frame, not divided (authors' code); sensor tokens start from random numbers. Towers of
    OpenAI's own weights have another activation (QuickGELU) and are not what this builds.

    Args:
        path: a `.safetensors` or `.bin` file, or a folder with one of `OPENCLIP_FILES`.
        frames: F.
        sensors: names of the sensors with tokens of their own.
        sensor_tokens: tokens of each.
        size: side of the pictures [px]; the codes of the places are interpolated if it is not the tower's.
        head_width: numbers of an attention head, which the file does not tell.

    Raises:
        DataError: no such file, or no vision tower of this kind in it.
    """
    tower = {
        name.removeprefix("visual."): tensor.float()
        for name, tensor in _openclip(Path(path)).items()
        if name.startswith("visual.")
    }
    wanted = ("conv1.weight", "class_embedding", "positional_embedding", "proj", "transformer.resblocks.0.mlp.c_fc.weight")
    if missing := [name for name in wanted if name not in tower]:
        raise DataError(f"{path} holds no OpenCLIP vision transformer: visual.{', visual.'.join(missing)} missing")
    width, _, patch, _ = tower["conv1.weight"].shape
    side = round((len(tower["positional_embedding"]) - 1) ** 0.5)
    config = TouchEncoderConfig(
        size=size or side * patch,
        patch=patch,
        frames=frames,
        width=width,
        depth=len({name.split(".")[2] for name in tower if name.startswith("transformer.")}),
        heads=width // head_width,
        embed=tower["proj"].shape[1],
        sensors=sensors,
        sensor_tokens=sensor_tokens,
    )
    encoder = TouchEncoder(config)
    weights = _from_openclip(tower, config, side) | {"sensor": encoder.sensor.detach()}
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"{path} holds a vision tower of another build than OpenCLIP's plain ViT: {error}") from error
    return encoder


def _openclip(path: Path) -> dict[str, torch.Tensor]:
    if path.is_dir():
        path = next((path / name for name in OPENCLIP_FILES if (path / name).is_file()), path / OPENCLIP_FILES[0])
    if not path.is_file():
        raise DataError(
            f"{path} is missing: give an OpenCLIP model's file, or the folder that holds {' or '.join(OPENCLIP_FILES)}"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)  # weights_only: tensors, no code
    except (SafetensorError, UnpicklingError, RuntimeError) as error:
        raise DataError(f"{path} is no OpenCLIP model: {error}") from error


def _from_openclip(tower: Mapping[str, torch.Tensor], config: TouchEncoderConfig, side: int) -> dict[str, torch.Tensor]:
    """Return the tower's weights by the names of the encoder's."""
    places = tower["positional_embedding"]
    grid = places[1:].unflatten(0, (side, side)).permute(2, 0, 1)[None]
    if config.side != side:
        grid = functional.interpolate(grid, (config.side, config.side), mode="bicubic", antialias=True)
    out = {
        "patches.weight": tower["conv1.weight"].permute(0, 2, 3, 1).flatten(1).repeat(1, config.frames),
        "class_token": tower["class_embedding"],
        "places": torch.cat([places[:1], grid[0].flatten(1).T]),
        "project.weight": tower["proj"].T.contiguous(),
    }
    for name, tensor in tower.items():
        if name.startswith("transformer.resblocks."):
            index, rest = name.removeprefix("transformer.resblocks.").split(".", 1)
            known = next((key for key in _OPENCLIP_BLOCK if rest.startswith(key)), None)
            out[f"blocks.{index}.{rest if known is None else rest.replace(known, _OPENCLIP_BLOCK[known], 1)}"] = tensor
        elif name.startswith(("ln_pre.", "ln_post.")):
            out[name.replace("ln_pre", "norm_first").replace("ln_post", "norm_last")] = tensor
    return out


class UniversalSchedule:
    """Replaces sensors by `UNIVERSAL` in training, with a chance that rises linearly with the progress of it (paper Section 4.5)."""

    def __init__(self, end: float = UNIVERSAL_SHARE) -> None:
        """Rise from 0 to `end`."""
        self.end, self.chance = end, 0.0

    def progress(self, share: float) -> None:
        """Take note that so much of the training, 0 to 1, is done."""
        self.chance = self.end * share

    def __call__(self, sensor: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
        """Return sensors (B,), some of them replaced as each sample's `draw` (B,) int64 decides."""
        return torch.where(uniform(draw, 1)[:, 0] < self.chance, UNIVERSAL, sensor)


def uniform(draw: torch.Tensor, n: int) -> torch.Tensor:
    """Return (B, n) numbers in [0, 1) that only each sample's own draw (B,) int64 determines, on any device.

    So a sample gets the same mask in whatever part of a batch, and in whichever process, it is computed.
    """
    x = draw[:, None] + torch.arange(1, n + 1, device=draw.device) * -0x61C8864680B583EB  # SplitMix64 (Steele et al. 2014)
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ ((x >> shift) & ((1 << 64 - shift) - 1))) * factor
    x = x ^ ((x >> 31) & ((1 << 33) - 1))
    return ((x >> 40) & 0xFFFFFF).float() / 2.0**24
