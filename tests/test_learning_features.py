import numpy as np
import pytest
import torch
from torch import nn

from palpate.core.errors import DataError
from palpate.learning import features as module
from palpate.learning.features import FeatureConfig, extract_features, fingerprint


class Colours(nn.Module):
    """Mean colour of each quarter of the image; counts what it was asked."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.seen = 0

    def forward(self, images):
        self.seen += len(images)
        pixels = images.permute(0, 3, 1, 2).float() / 255.0
        return nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(1) * self.gain


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (23, 40, 56, 3), dtype=np.uint8)


CONFIG = FeatureConfig(size=16, batch=4, precision="fp32")


def test_features_are_float16_in_the_order_of_the_images(images):
    out = extract_features(Colours(), images, CONFIG, progress=False)
    assert out.shape == (1, 23, 12)
    assert out.dtype == np.float16
    one = extract_features(Colours(), images[7:8], CONFIG, progress=False)
    np.testing.assert_allclose(out[0, 7], one[0, 0], atol=1e-3)
    quarter = images[7, :20, :28].reshape(-1, 3).mean(axis=0) / 255.0
    np.testing.assert_allclose(out[0, 7].reshape(3, 2, 2)[:, 0, 0], quarter, atol=0.01)  # half a pixel of resampling, float16


def test_random_views_are_seeded_by_image_and_differ_from_the_middle(images):
    config = FeatureConfig(size=14, random_crops=2, batch=4, precision="fp32", seed=3)
    out = extract_features(Colours(), images, config, progress=False)
    assert out.shape == (3, 23, 12)
    part = extract_features(Colours(), images[:5], config, progress=False)
    np.testing.assert_array_equal(out[:, :5], part)
    assert np.abs(out[0].astype(float) - out[1]).max() > 0.005
    assert np.abs(out[1].astype(float) - out[2]).max() > 0.005


def test_an_interrupted_extraction_goes_on_where_it_stopped(images, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 8)

    class Failing:
        def __init__(self, limit):
            self.limit = limit

        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            if index >= self.limit:
                raise KeyboardInterrupt
            return images[index]

    with pytest.raises(KeyboardInterrupt):
        extract_features(Colours(), Failing(18), CONFIG, cache=tmp_path, key="images", progress=False)
    net = Colours()
    out = extract_features(net, Failing(99), CONFIG, cache=tmp_path, key="images", progress=False)
    assert net.seen == 23 - 16  # two chunks of eight were kept
    np.testing.assert_array_equal(out, extract_features(Colours(), images, CONFIG, progress=False))
    again = Colours()
    np.testing.assert_array_equal(
        extract_features(again, Failing(0), CONFIG, cache=tmp_path, key="images", progress=False), out
    )
    assert again.seen == 0
    assert not [path for path in tmp_path.rglob(".*")]


def test_the_fingerprint_follows_weights_images_and_settings(images):
    net = Colours()
    base = fingerprint(net, images, CONFIG)
    assert fingerprint(net, images.copy(), CONFIG) == base
    assert fingerprint(net, images, FeatureConfig(size=16, batch=9, precision="fp32")) == base  # the batch changes nothing
    changed = images.copy()
    changed[3, 2, 1, 0] ^= 1
    others = [fingerprint(net, changed, CONFIG), fingerprint(net, images, FeatureConfig(size=15, precision="fp32"))]
    with torch.no_grad():
        net.gain += 0.5
    others.append(fingerprint(net, images, CONFIG))
    assert len({base, *others}) == 4


def test_images_of_a_wrong_form_are_refused_by_number():
    with pytest.raises(DataError, match=r"image 0 must be \(H, W, 3\) uint8 RGB, got \(8, 8, 3\) float64"):
        extract_features(Colours(), np.zeros((2, 8, 8, 3)), CONFIG, progress=False)
    with pytest.raises(DataError, match="no images"):
        extract_features(Colours(), np.zeros((0, 8, 8, 3), np.uint8), CONFIG, progress=False)
