"""Features of a frozen backbone, computed once and kept on disk.

Training a small net on cached features takes seconds where training through the backbone takes hours on a CPU.
Axis letters: V view, N image, D feature.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from palpate.core.errors import DataError
from palpate.core.randomness import generator
from palpate.learning.loop import Precision, autocast

CHUNK = 256
"""Images computed and stored at a time: what an interruption can cost."""


class Images(Protocol):
    """A sequence of (H, W, 3) uint8 images: an array (N, H, W, 3), or anything that reads them when asked."""

    def __len__(self) -> int:
        """Return N."""
        ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """Return image number `index`, (H, W, 3) uint8 RGB."""
        ...


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How images become features."""

    size: int = 224
    """Side of the square that the backbone sees [px]."""
    random_crops: int = 0
    """Further views, each a random crop. With any, images are resized to 256/224 of `size` and cropped (paper Section IV-A.1);
    view 0 is the crop in the middle. With none, the whole image is resized to `size`."""
    seed: int = 0
    """Determines the places of the crops; the place of image i does not depend on the other images."""
    batch: int = 16
    """Images per call of the backbone."""
    precision: Precision = "auto"
    """`auto`: bf16 where the hardware multiplies it faster, else fp32."""


def extract_features(
    backbone: nn.Module,
    images: Images,
    config: FeatureConfig,
    *,
    cache: Path | None = None,
    key: str | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Return features (V, N, D) float16 with V = 1 + random_crops.

    Args:
        backbone: maps uint8 images (B, H, W, 3) to features (B, D); used in evaluation mode, on the device where it is.
        images: what to encode.
        config: how.
        cache: folder for results. A second call with the same backbone, images and configuration reads them; after an
            interruption the finished parts are kept. Other images or settings get their own entry.
        key: a name that stands for the content of `images` (for example the fingerprint of a data set), so that they need not
            be read to look them up in the cache; if None, their content is hashed.
        progress: show a bar.

    Raises:
        DataError: an image is not (H, W, 3) uint8.
    """
    folder = None if cache is None else Path(cache) / fingerprint(backbone, images, config, key)
    was_training, parts = backbone.training, []
    backbone.eval()
    try:
        with tqdm(total=len(images), desc="features", unit="image", disable=not progress) as bar:
            for start in range(0, len(images), CHUNK):
                stop = min(start + CHUNK, len(images))
                parts.append(_chunk(backbone, images, config, range(start, stop), folder))
                bar.update(stop - start)
    finally:
        backbone.train(was_training)
    if not parts:
        raise DataError("there are no images to extract features from")
    return np.concatenate(parts, axis=1)


def fingerprint(backbone: nn.Module, images: Images, config: FeatureConfig, key: str | None = None) -> str:
    """Return a name for the result that changes with the weights, the images and the configuration."""
    digest = hashlib.sha256()
    settings = {name: value for name, value in asdict(config).items() if name != "batch"}
    digest.update(json.dumps([type(backbone).__name__, getattr(backbone, "name", ""), settings, len(images), key]).encode())
    for part in weight_bytes(backbone):
        digest.update(part)
    for index in range(len(images)) if key is None else ():
        image = _image(images, index)
        digest.update(str(image.shape).encode() + np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()[:24]


def weight_bytes(net: nn.Module) -> Iterator[bytes]:
    """Yield what tells one net's weights from another's, for a hash."""
    for name, tensor in sorted({**dict(net.named_parameters()), **dict(net.named_buffers())}.items()):
        yield name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _chunk(backbone: nn.Module, images: Images, config: FeatureConfig, indices: range, folder: Path | None) -> np.ndarray:
    path = None if folder is None else folder / f"{indices.start:08d}.npy"
    if path is not None and path.exists():
        return np.load(path, allow_pickle=False)
    features = _compute(backbone, images, config, indices)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            np.save(file, features)
        temporary.replace(path)  # in one move: what exists is complete
    return features


@torch.inference_mode()
def _compute(backbone: nn.Module, images: Images, config: FeatureConfig, indices: range) -> np.ndarray:
    device = next((p.device for p in backbone.parameters()), torch.device("cpu"))
    views: list[list[np.ndarray]] = [[] for _ in range(1 + config.random_crops)]
    for start in range(0, len(indices), config.batch):
        batch = [list(_views(_image(images, i), config, i)) for i in indices[start : start + config.batch]]
        for view, out in enumerate(views):
            pixels = torch.from_numpy(np.stack([crops[view] for crops in batch])).to(device)
            with autocast(device, config.precision):
                out.append(backbone(pixels).half().cpu().numpy())
    return np.stack([np.concatenate(parts) for parts in views])


def _views(image: np.ndarray, config: FeatureConfig, index: int) -> Iterator[np.ndarray]:
    if config.random_crops == 0:
        yield _resized(image, config.size)
        return
    side = round(config.size * 256 / 224)
    spare = side - config.size
    whole = _resized(image, side)
    corners = generator(config.seed, index).integers(0, spare + 1, (config.random_crops, 2))
    for top, left in [(spare // 2, spare // 2), *corners.tolist()]:
        yield whole[top : top + config.size, left : left + config.size]


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    shrink = side < min(image.shape[:2])
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)


def _image(images: Images, index: int) -> np.ndarray:
    image = np.asarray(images[index])
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(f"image {index} must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    return image
