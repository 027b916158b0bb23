"""The action-conditional outcome net: what will come of a grasp, given what is sensed and what would be done.

K. Nakahara and R. Calandra, "Learning Gentle Grasping Using Vision, Sound, and Touch", Section IV-A: the outputs of five
branches (camera, two touch images, end-effector motion, hand pose) are concatenated and passed through one hidden layer to two
logits, stability and gentleness.

The concatenation is written as a sum: a linear layer of `[x_1, ..., x_n]` is `b + W_1 x_1 + ... + W_n x_n`. So every branch
ends in its own block `W_i` and adds a vector of `width` numbers. That lets the state's share be computed once for many actions,
and gives an absent modality a place: a learned vector stands in for its whole share. Missing is not zero.

Axis letters: B batch, N candidate action, W width, D feature, J joint.
"""

import copy
import math
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from palpate.core.errors import PalpateError, RunError, UnknownNameError
from palpate.models.backbones import Backbone, build_backbone
from palpate.models.layers import Dropout, Mlp, Standardise

Inputs = Mapping[str, torch.Tensor]
PLACE = "place"
"""The input that says where perception found the object relative to the hand, as numbers."""
ACTIONS = ("motion", "joints", "action")
"""The inputs that are chosen. A net has the first two, in the order of the action vector, or the third: all numbers in one branch."""


@dataclass(frozen=True, kw_only=True)
class OutcomeNetConfig:
    """Which inputs the net has, and how large it is. The defaults are the paper's."""

    inputs: tuple[str, ...] = ("vision", "touch.thumb", "touch.middle", "motion", "joints")
    """Images or their features: `vision`, `touch.FINGER`. Touch as numbers: `taxels.FINGER`. Where the object was found: `place`. The
    action: `motion` and `joints`, or `action`."""
    outcomes: tuple[str, ...] = ("stable", "gentle")
    """Names of the logits."""
    feature_dim: int = 1280
    """Size of an image's feature vector; with an `encoder` it is set by the backbone."""
    touch_dim: int = 0
    """Likewise of a touch picture's, where another network made it; 0: as `feature_dim`."""
    taxel_dim: int = 0
    """Numbers of one finger's taxels, flattened; needed for `taxels.FINGER` inputs."""
    joint_dim: int = 16
    """Number of hand joints J."""
    action_dim: int = 0
    """Numbers of the input `action`, which needs it."""
    place_dim: int = 0
    """Numbers of the input `place`, which needs it."""
    width: int = 1024
    """Hidden units W of every layer."""
    dropout: float = 0.25
    """Dropout rate."""
    encoder: str = ""
    """Name of a backbone to train with the net, from raw images; empty if the image inputs are cached features."""
    sharing: Literal["shared", "touch", "separate"] = "separate"
    """Whether all images pass through one encoder, all touch images through one (Calandra et al., 2018), or each through its own."""
    image_size: int = 224
    """Raw images larger than this are cropped to it: at random in training, else in the middle [px]."""

    def __post_init__(self) -> None:
        """Refuse unknown inputs and taxels without a size."""
        for name in self.inputs:
            if name not in ("vision", PLACE, *ACTIONS) and name.split(".")[0] not in ("touch", "taxels"):
                raise UnknownNameError("model input", name, ("vision", "touch.FINGER", "taxels.FINGER", PLACE, *ACTIONS))
        if self.taxel_inputs and self.taxel_dim < 1:
            raise PalpateError(f"inputs {self.taxel_inputs} need taxel_dim, the numbers of one finger; got {self.taxel_dim}")
        if PLACE in self.inputs and self.place_dim < 1:
            raise PalpateError(f"the input 'place' needs place_dim; got {self.place_dim}")
        if "action" in self.inputs and (self.action_dim < 1 or {"motion", "joints"} & set(self.inputs)):
            raise PalpateError(
                f"the input 'action' needs action_dim (got {self.action_dim}), and motion and joints left out; got inputs {self.inputs}"
            )

    @property
    def image_inputs(self) -> tuple[str, ...]:
        """The inputs that are images or features of images."""
        return tuple(name for name in self.inputs if name == "vision" or name.startswith("touch."))

    @property
    def taxel_inputs(self) -> tuple[str, ...]:
        """The inputs that are taxels."""
        return tuple(name for name in self.inputs if name.startswith("taxels."))

    def dim(self, name: str) -> int:
        """Return the size of an input as it enters its branch."""
        if name in ACTIONS:
            return {"motion": 4, "joints": self.joint_dim, "action": self.action_dim}[name]
        if name == PLACE:
            return self.place_dim
        if name in self.taxel_inputs:
            return self.taxel_dim
        return (self.touch_dim if name.startswith("touch.") else 0) or self.feature_dim

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "OutcomeNetConfig":
        """Invert `to_dict`; RunError names an unknown key."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise RunError(f"net configuration has unknown keys {sorted(unknown)}; another version of palpate wrote it")
        plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**plain)

    def build(self, *, pretrained: bool = False) -> "OutcomeNet":
        """Build the net; `pretrained` loads ImageNet weights into a trainable encoder."""
        if not self.encoder:
            return OutcomeNet(self)
        kinds = {"shared": "shared", "touch": "touch", "separate": ""}
        shared = kinds[self.sharing]
        names = dict.fromkeys(shared if shared in ("shared", name.split(".")[0]) else name for name in self.image_inputs)
        return OutcomeNet(self, {name: build_backbone(self.encoder, pretrained=pretrained) for name in names})


class Branch(nn.Module):
    """One input's way to the fusion layer: standardise, an optional MLP, and the block W_i of the fusion layer."""

    def __init__(self, dim: int, width: int, rate: float | None, bound: float) -> None:
        """Map (B, dim) to (B, width); `rate` is the MLP's dropout, None for no MLP; `bound` limits the initial weights."""
        super().__init__()
        self.standardise = Standardise(dim)
        self.mlp = None if rate is None else Mlp(dim, width, rate)
        self.fuse = nn.Linear(dim if rate is None else width, width, bias=False)
        self.absent = nn.Parameter(torch.empty(width))
        nn.init.uniform_(self.fuse.weight, -bound, bound)
        nn.init.uniform_(self.absent, -bound, bound)

    def forward(self, x: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
        """Return this input's share (B, W); rows that are not `present` (B,) get the learned vector, whatever they hold."""
        if present is not None:
            x = torch.where(present[:, None], x, 0)  # a NaN there would spoil the gradient even with weight zero
        hidden = self.standardise(x)
        if self.mlp is not None:
            hidden = self.mlp(hidden)
        share = self.fuse(hidden.to(self.fuse.weight.dtype)).float()
        return share if present is None else torch.where(present[:, None], share, self.absent)


class OutcomeNet(nn.Module):
    """Predicts the logit of each outcome from a state and an action.

    Two modes, one class. Without encoders the image inputs are cached features (B, D) of a frozen backbone; with encoders they
    are raw images (B, H, W, 3) uint8 and the backbone is trained too, as in the paper. Pass `presence`, name to (B,) bool,
    where a modality is absent from some samples; a state input that is missing from the mapping is absent from all.
    """

    def __init__(self, config: OutcomeNetConfig, encoders: Mapping[str, Backbone] | None = None) -> None:
        """Build from a configuration; `encoders` by input name, or one named `shared`. Prefer `config.build()`."""
        super().__init__()
        encoders = dict(encoders or {})
        self.config = config
        self.encoders = nn.ModuleDict({_key(name): encoder for name, encoder in encoders.items()})
        dims = {name: config.dim(name) for name in config.inputs}
        for name in config.image_inputs if encoders else ():
            dims[name] = encoders[_encoder_of(name, encoders)].feature_dim
        has_mlp = {name: name not in config.image_inputs for name in config.inputs}
        fan_in = sum(config.width if has_mlp[name] else dims[name] for name in config.inputs)
        bound = 1.0 / math.sqrt(max(fan_in, 1))  # torch's default for the one layer that these blocks make up
        self.branches = nn.ModuleDict(
            {_key(n): Branch(dims[n], config.width, config.dropout if has_mlp[n] else None, bound) for n in config.inputs}
        )
        self.bias = nn.Parameter(torch.empty(config.width).uniform_(-bound, bound))
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(config.width, len(config.outcomes))

    @property
    def state_inputs(self) -> tuple[str, ...]:
        """The inputs that are sensed, not chosen."""
        return tuple(name for name in self.config.inputs if name not in ACTIONS)

    @property
    def action_inputs(self) -> tuple[str, ...]:
        """The inputs that are chosen: any of `motion` and `joints`, or `action`."""
        return tuple(name for name in ACTIONS if name in self.config.inputs)

    def fit_normalisation(self, arrays: Mapping[str, np.ndarray], presence: Mapping[str, np.ndarray] | None = None) -> None:
        """Fit the stored means and spreads on the training fold; raw images are left alone (their backbone normalises)."""
        for name in self.config.inputs:
            if name in arrays and not self._encodes(name):
                self._branch(name).standardise.fit(arrays[name], (presence or {}).get(name))

    def training_mean(self, name: str) -> np.ndarray:
        """Return the mean (D,) of an input over the samples that `fit_normalisation` saw."""
        return self._branch(name).standardise.mean.cpu().numpy()

    def forward(self, inputs: Inputs, presence: Inputs | None = None) -> torch.Tensor:
        """Return logits (B, len(outcomes)), float32."""
        hidden = self.state(inputs, presence)
        for name in self.action_inputs:
            if name not in inputs:
                raise PalpateError(f"the net needs the action input {name!r}; the batch has {sorted(inputs)}")
            hidden = hidden + self._branch(name)(inputs[name])
        return self.decide(hidden)

    def state(self, inputs: Inputs, presence: Inputs | None = None) -> torch.Tensor:
        """Return the state's share of the fusion layer, bias included: (B, W), or (1, W) if nothing is sensed."""
        hidden = self.bias[None]
        for name in self.state_inputs:
            branch = self._branch(name)
            if name in inputs:
                present = (presence or {}).get(name)
                hidden = hidden + branch(self._encode(name, inputs[name]), present)
            else:
                hidden = hidden + branch.absent
        return hidden

    def score(self, state: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Return logits (N, len(outcomes)) of actions (N, 4 + J), or (N, action_dim), in one state (1, W); equals `forward`."""
        hidden = state
        for name, part in self.split(actions).items():
            hidden = hidden + self._branch(name)(part)
        return self.decide(hidden.expand(len(actions), -1))

    def split(self, actions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cut actions (N, 4 + J) into the action inputs that the net has; `action` takes them whole."""
        parts = {"motion": actions[:, :4], "joints": actions[:, 4:], "action": actions}
        return {name: parts[name] for name in self.action_inputs}

    def share(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Return one action input's share (N, W) of the fusion layer."""
        return self._branch(name)(values)

    def decide(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits of the summed shares (N, W); the two last layers compute in float32."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self.head(self.dropout(functional.relu(hidden.float())))

    def _branch(self, name: str) -> Branch:
        branch = self.branches[_key(name)]
        assert isinstance(branch, Branch)
        return branch

    def _encodes(self, name: str) -> bool:
        return name in self.config.image_inputs and len(self.encoders) > 0

    def _encode(self, name: str, values: torch.Tensor) -> torch.Tensor:
        if not self._encodes(name):
            return values
        encoder = self.encoders[_encoder_of(_key(name), self.encoders)]
        return encoder(_crop(values, self.config.image_size, random=self.training)).float()


def _encoder_of(name: str, encoders: Container[str]) -> str:
    """Return the encoder of an image input: its own, that of all touch, or that of all images."""
    return next(key for key in (name, "touch", "shared") if key in encoders and (key != "touch" or name.startswith("touch")))


def _key(name: str) -> str:
    """Module names must not hold dots."""
    return name.replace(".", "_")


def _crop(images: torch.Tensor, size: int, *, random: bool) -> torch.Tensor:
    """Crop images (B, H, W, 3) to `size`, each at its own place (random) or all in the middle."""
    spare = (images.shape[1] - size, images.shape[2] - size)
    if max(spare) <= 0:
        return images
    spare = (max(spare[0], 0), max(spare[1], 0))
    if not random:
        top, left = spare[0] // 2, spare[1] // 2
        return images[:, top : top + size, left : left + size]
    tops, lefts = (torch.randint(0, extra + 1, (len(images),)).tolist() for extra in spare)
    return torch.stack([im[t : t + size, s : s + size] for im, t, s in zip(images, tops, lefts, strict=True)])


class NetScorer:
    """A trained net as a scorer of many actions in one state: `encode_features` once, `score` as often as wanted.

    The net is copied, so later training does not change the scorer. Two things make it fast. The state's share of the fusion
    layer is computed once. And the net's motion and joints meet only in a sum, so each distinct motion and each distinct hand
    pose among the candidates passes its branch once: a grid of 32 motions by 32 poses costs 64 branch passes, not 2,048.
    """

    def __init__(self, net: OutcomeNet, precision: Literal["fp32", "bf16"] = "fp32", batch: int = 1024) -> None:
        """Copy `net`; bf16 rounds the wide layers only (inputs, sums and head stay float32); `batch` candidates at a time."""
        if precision not in ("fp32", "bf16"):
            raise UnknownNameError("precision", precision, ("fp32", "bf16"))
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.outcomes = net.config.outcomes
        self.batch = batch
        if precision == "bf16":
            for module in self.net.modules():
                if isinstance(module, Branch):
                    module.fuse.to(torch.bfloat16)
                if isinstance(module, Mlp):
                    module.second.to(torch.bfloat16)

    @torch.inference_mode()
    def encode_features(self, arrays: Mapping[str, np.ndarray]) -> torch.Tensor:
        """Return the state's share (1, W) of the fusion layer.

        Args:
            arrays: by state input name, (1, D) features or taxels (or a (1, H, W, 3) uint8 image for a net with an encoder).
                Leave an absent modality out.
        """
        inputs = {name: self._tensor(value) for name, value in arrays.items() if name in self.net.state_inputs}
        return self.net.state(inputs)

    @torch.inference_mode()
    def score(self, state: torch.Tensor, actions: np.ndarray) -> np.ndarray:
        """Return probabilities (N, len(outcomes)) float32 of actions (N, 4 + J) or (N, action_dim) in a state."""
        parts = [self._score(state, actions[i : i + self.batch]) for i in range(0, len(actions), self.batch)]
        return torch.cat(parts).cpu().numpy() if parts else np.empty((0, len(self.outcomes)), np.float32)

    def _score(self, state: torch.Tensor, actions: np.ndarray) -> torch.Tensor:
        hidden = state
        for name, columns in (("motion", actions[:, :4]), ("joints", actions[:, 4:]), ("action", actions)):
            if name in self.net.action_inputs:
                values, inverse = distinct_rows(columns)
                share = self.net.share(name, self._tensor(values))
                if inverse is not None:
                    share = share.index_select(0, self._tensor(inverse))  # eight times as fast as share[inverse] on a CPU
                hidden = hidden + share
        return torch.sigmoid(self.net.decide(hidden)).expand(len(actions), -1)

    def _tensor(self, value: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(value)).to(self.net.bias.device)


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the distinct rows of (N, K) and, for each row, its place among them; (rows, None) if hardly any repeat."""
    rows = np.ascontiguousarray(rows, np.float32)
    weights = np.random.default_rng(0).standard_normal(rows.shape[1])  # any fixed direction: equal rows project equally
    _, first, inverse = np.unique(rows.astype(np.float64) @ weights, return_index=True, return_inverse=True)
    if len(first) > 0.9 * len(rows) or not np.array_equal(rows[first][inverse], rows):
        return rows, None
    return rows[first], inverse
