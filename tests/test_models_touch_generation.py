import numpy as np
import pytest
import torch

from palpate.core.errors import PalpateError, RunError
from palpate.models.touch_encoder import TouchEncoder, TouchEncoderConfig
from palpate.models.touch_generation import GeneratedObjective, GeneratorConfig, TouchGenerator

SHAPE = TouchEncoderConfig(size=16, patch=8, width=16, depth=1, heads=2, embed=8, sensors=("digit",))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def generator_of(kind, **more):
    torch.manual_seed(0)
    config = GeneratorConfig(kind=kind, encoder=SHAPE, width=24, depth=1, heads=2, hidden=16, reduced=2, side=5, **more)
    return TouchGenerator(config, TouchEncoder(SHAPE))


def clips(n=3):
    rng = np.random.default_rng(1)
    return {
        "clip": torch.from_numpy(rng.integers(0, 256, (n, 3, 16, 16, 3), np.uint8)),
        "sensor": torch.zeros(n, dtype=torch.int64),
    }


def trained(net, steps=30):
    """Fit a net to a made-up change; return the first and the last loss."""
    target = {"change": torch.from_numpy(np.random.default_rng(2).normal(size=net(clips()).shape).astype(np.float32))}
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        loss, n = GeneratedObjective().loss(net(clips()), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert n == 3
    return losses[0], losses[-1]


@pytest.mark.parametrize(("kind", "shape"), [("picture", (3, 16, 16, 3)), ("field", (3, 5, 5, 3))])
def test_a_generator_starts_from_a_target_at_rest_and_learns_each_touch_its_own_change(kind, shape):
    net = generator_of(kind)
    first = net(clips())
    assert first.shape == shape
    np.testing.assert_array_equal(first.detach().numpy(), 0.0)
    before, after = trained(net, 40)
    assert after < 0.6 * before
    said = net(clips()).detach().numpy()
    assert np.abs(said[0] - said[1]).max() > 0.1


@pytest.mark.parametrize("frozen", [True, False])
def test_only_an_encoder_that_is_tuned_changes(frozen):
    net = generator_of("field", frozen=frozen)
    before = net.encoder.patches.weight.detach().clone()
    trained(net, 5)
    assert torch.equal(before, net.encoder.patches.weight) == frozen


def test_features_that_are_given_say_the_same_as_the_clips_that_they_are_of():
    net = generator_of("picture")
    trained(net, 5)
    found = net.features(clips())
    given = {"pooled": found.pooled, "tokens": found.tokens}
    np.testing.assert_allclose(net(given).detach().numpy(), net(clips()).detach().numpy(), atol=1e-6)


def test_of_stills_only_the_last_frame_is_seen():
    moved = clips()
    moved["clip"] = moved["clip"].clone()
    moved["clip"][:, :2] = 0
    for stills in (True, False):
        net = generator_of("field", stills=stills)
        same = torch.allclose(net.features(clips()).pooled, net.features(moved).pooled)
        assert same == stills


def test_a_configuration_survives_json_and_wrong_ones_are_refused():
    config = GeneratorConfig(kind="field", encoder=SHAPE, stills=True)
    assert GeneratorConfig.from_dict(config.to_dict()) == config
    with pytest.raises(RunError, match="smell"):
        GeneratorConfig.from_dict({**config.to_dict(), "smell": 1})
    with pytest.raises(PalpateError, match="'smell'"):
        GeneratorConfig(kind="smell")
    with pytest.raises(PalpateError, match="heads"):
        GeneratorConfig(kind="picture", width=50)


def test_the_objective_is_the_mean_square():
    outputs, targets = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), {"change": torch.tensor([[1.0, 0.0], [0.0, 5.0]])}
    np.testing.assert_allclose(GeneratedObjective().measure(outputs, targets)["loss"], (4.0 + 9.0) / 4.0)
