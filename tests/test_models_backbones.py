import sys

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from palpate.core.errors import DataError, UnknownNameError
from palpate.models import backbones
from palpate.models.backbones import BACKBONES, build_backbone, import_torchvision


@pytest.fixture(scope="module")
def lite0():
    return build_backbone("efficientnet_lite0")


def picture(seed):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(coarse, (128, 128), interpolation=cv2.INTER_CUBIC)


def test_importing_torchvision_twice_gives_the_same_module():
    first = import_torchvision()
    library = backbones._Shim.library
    assert import_torchvision() is first
    assert backbones._Shim.library is library
    assert sys.modules["torchvision"] is first


def test_an_unknown_backbone_is_answered_with_the_known_names():
    with pytest.raises(UnknownNameError, match=r"alexnet.*densenet121.*efficientnet_lite0.*resnet18"):
        build_backbone("alexnet")


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_a_backbone_turns_uint8_images_into_features_of_the_stated_size(name):
    net = build_backbone(name, pretrained=False)
    with torch.inference_mode():
        out = net(torch.from_numpy(np.stack([picture(0), picture(1)])))
    assert out.shape == (2, BACKBONES[name].feature_dim) == (2, net.feature_dim)
    assert not net.training


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "efficientnetv2_b0", "resnet50"])
def test_the_papers_backbones_give_features_of_the_stated_size(name):
    net = build_backbone(name, pretrained=False)
    with torch.inference_mode():
        assert net(torch.from_numpy(picture(0)[None, :64, :64])).shape == (1, BACKBONES[name].feature_dim)


def test_pretrained_features_are_deterministic_and_depend_little_on_brightness_noise(lite0):
    images = np.stack([picture(seed) for seed in range(4)])
    rng = np.random.default_rng(0)
    noisy = np.clip(images.astype(int) + rng.integers(-2, 3, images.shape), 0, 255).astype(np.uint8)
    with torch.inference_mode():
        a, again, b = (lite0(torch.from_numpy(x)) for x in (images, images, noisy))
    torch.testing.assert_close(a, again, rtol=0, atol=0)
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    similarity = a @ b.T
    assert similarity.diagonal().min() > similarity[~torch.eye(4, dtype=torch.bool)].max()


def test_the_weights_package_loads_strictly_and_its_classifier_knows_a_drawn_ball(lite0):
    body = backbones._timm().create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000)
    weights = backbones._lite0_weights(body)
    assert set(weights) == set(body.state_dict())
    body.load_state_dict(weights, strict=True)
    loaded = dict(lite0.body.state_dict())
    assert all(torch.equal(loaded[key], weights[key]) for key in loaded)
    # The classifier must be sure of something on a clean drawing: a network with scrambled weights spreads its answer.
    image = np.full((224, 224, 3), 255, np.uint8)
    cv2.circle(image, (112, 112), 80, (255, 140, 0), -1, cv2.LINE_AA)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    with torch.inference_mode():
        sure = torch.softmax(body.eval()(pixels), dim=1).max()
    assert sure > 0.2


def test_missing_weights_warn_with_a_way_out():
    with pytest.warns(UserWarning, match=r"weights=FILE.*efficientnet_lite0"):
        build_backbone("resnet18")


def test_local_weights_are_loaded_and_their_classifier_is_left_out(tmp_path):
    torch.manual_seed(0)
    full = backbones._timm().create_model("resnet18", pretrained=False, num_classes=10)
    save_file(full.state_dict(), tmp_path / "resnet18.safetensors")
    net = build_backbone("resnet18", weights=tmp_path / "resnet18.safetensors")
    torch.testing.assert_close(net.body.state_dict()["conv1.weight"], full.state_dict()["conv1.weight"], rtol=0, atol=0)
    with pytest.raises(DataError, match="timm"):
        build_backbone("efficientnet_lite0", weights=tmp_path / "resnet18.safetensors")
