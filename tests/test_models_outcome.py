import numpy as np
import pytest
import torch

from palpate.core.errors import PalpateError, RunError, UnknownNameError
from palpate.models.layers import Dropout, Mlp, Standardise
from palpate.models.outcome import NetScorer, OutcomeNet, OutcomeNetConfig, distinct_rows

SMALL = OutcomeNetConfig(feature_dim=12, width=32, joint_dim=6)


def arrays(rng, n, config=SMALL):
    return {name: rng.standard_normal((n, config.dim(name))).astype(np.float32) for name in config.inputs}


def tensors(values):
    return {name: torch.from_numpy(value) for name, value in values.items()}


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = SMALL.build().eval()
    net.fit_normalisation(arrays(np.random.default_rng(9), 50))
    return net


@pytest.mark.parametrize(
    "inputs",
    [
        ("vision", "touch.thumb", "touch.middle", "motion", "joints"),
        ("motion", "joints"),
        ("vision", "touch.thumb"),
        ("taxels.index", "motion"),
        ("joints",),
    ],
)
def test_any_subset_of_inputs_gives_one_logit_an_outcome(inputs):
    config = OutcomeNetConfig(inputs=inputs, feature_dim=12, taxel_dim=7, width=16, joint_dim=6)
    out = config.build().eval()(tensors(arrays(np.random.default_rng(0), 5, config)))
    assert out.shape == (5, 2)
    assert torch.isfinite(out).all()


def test_unknown_inputs_and_taxels_without_size_are_refused():
    with pytest.raises(UnknownNameError, match=r"smell.*touch\.FINGER"):
        OutcomeNetConfig(inputs=("smell",))
    with pytest.raises(PalpateError, match="taxel_dim"):
        OutcomeNetConfig(inputs=("taxels.index",))


def test_a_missing_action_input_is_an_error(net):
    inputs = tensors(arrays(np.random.default_rng(0), 3))
    del inputs["joints"]
    with pytest.raises(PalpateError, match="joints"):
        net(inputs)


def test_absent_is_not_the_same_as_zero_nor_as_the_mean(net):
    inputs = tensors(arrays(np.random.default_rng(0), 4))
    without = net({name: value for name, value in inputs.items() if name != "touch.thumb"})
    zero = net({**inputs, "touch.thumb": torch.zeros(4, 12)})
    mean = net({**inputs, "touch.thumb": net.branches["touch_thumb"].standardise.mean.expand(4, -1)})
    assert (without - zero).abs().min() > 1e-5
    assert (without - mean).abs().min() > 1e-5


def test_a_missing_input_equals_a_presence_of_false_whatever_the_rows_hold(net):
    inputs = tensors(arrays(np.random.default_rng(0), 4))
    present = torch.tensor([True, False, True, False])
    inputs["vision"][~present] = torch.nan
    out = net(inputs, {"vision": present})
    without = net({name: value for name, value in inputs.items() if name != "vision"})
    torch.testing.assert_close(out[~present], without[~present], rtol=0, atol=1e-6)
    torch.testing.assert_close(out[present], net(inputs)[present], rtol=0, atol=1e-6)


def test_nan_in_absent_rows_does_not_reach_the_gradients(net):
    inputs = tensors(arrays(np.random.default_rng(0), 4))
    inputs["vision"][1] = torch.nan
    net(inputs, {"vision": torch.tensor([True, False, True, True])}).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert net.branches["vision"].absent.grad.abs().sum() > 0


def test_the_sum_of_shares_is_the_papers_layer_over_the_concatenation(net):
    inputs = tensors(arrays(np.random.default_rng(1), 6))
    hidden, blocks = [], []
    for name in SMALL.inputs:
        branch = net.branches[name.replace(".", "_")]
        x = branch.standardise(inputs[name])
        hidden.append(x if branch.mlp is None else branch.mlp(x))
        blocks.append(branch.fuse.weight)
    joined = torch.nn.functional.linear(torch.cat(hidden, 1), torch.cat(blocks, 1), net.bias)
    torch.testing.assert_close(net(inputs), net.head(torch.relu(joined)), rtol=0, atol=1e-5)


def test_scoring_with_the_state_once_equals_the_forward_pass(net):
    rng = np.random.default_rng(2)
    state = {name: value for name, value in tensors(arrays(rng, 1)).items() if name in net.state_inputs}
    actions = torch.from_numpy(rng.standard_normal((40, 10)).astype(np.float32))
    tiled = {name: value.expand(40, -1) for name, value in state.items()}
    with torch.no_grad():
        forward = net({**tiled, "motion": actions[:, :4], "joints": actions[:, 4:]})
        torch.testing.assert_close(net.score(net.state(state), actions), forward, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.02)])
def test_the_scorer_equals_the_net_also_where_candidates_repeat(net, precision, tolerance):
    rng = np.random.default_rng(3)
    state = {name: value for name, value in arrays(rng, 1).items() if name in net.state_inputs}
    grid = np.concatenate(
        [np.repeat(rng.standard_normal((7, 4)), 9, axis=0), np.tile(rng.standard_normal((9, 6)), (7, 1))], axis=1
    ).astype(np.float32)
    actions = np.concatenate([grid, rng.standard_normal((30, 10)).astype(np.float32)])
    scorer = NetScorer(net, precision, batch=50)
    scores = scorer.score(scorer.encode_features(state), actions)
    with torch.no_grad():
        expected = torch.sigmoid(net.score(net.state(tensors(state)), torch.from_numpy(actions))).numpy()
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=0, atol=tolerance)


def test_the_scorer_keeps_its_own_copy_and_knows_absent_modalities(net):
    rng = np.random.default_rng(4)
    state = {name: value for name, value in arrays(rng, 1).items() if name in net.state_inputs}
    actions = rng.standard_normal((5, 10)).astype(np.float32)
    scorer = NetScorer(net)
    before = scorer.score(scorer.encode_features(state), actions)
    del state["touch.middle"]
    blind = scorer.score(scorer.encode_features(state), actions)
    assert np.abs(before - blind).max() > 1e-4
    with torch.no_grad():
        net.head.bias += 1.0
    np.testing.assert_array_equal(scorer.score(scorer.encode_features(state), actions), blind)
    assert scorer.score(scorer.encode_features(state), actions[:0]).shape == (0, 2)
    with pytest.raises(UnknownNameError, match="fp32"):
        NetScorer(net, "fp8")  # type: ignore[arg-type]


def test_distinct_rows_restore_the_rows_and_give_up_where_nothing_repeats():
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((6, 4)).astype(np.float32)[rng.integers(0, 6, 50)]
    values, inverse = distinct_rows(rows)
    assert len(values) <= 6
    np.testing.assert_array_equal(values[inverse], rows)
    values, inverse = distinct_rows(rng.standard_normal((50, 4)).astype(np.float32))
    assert inverse is None
    assert len(values) == 50


def test_standardising_ignores_absent_rows_and_leaves_constants_alone():
    rng = np.random.default_rng(6)
    values = np.concatenate([rng.normal(5.0, 2.0, (4000, 1)), np.full((4000, 1), 0.7)], axis=1).astype(np.float32)
    values[::2] = np.nan
    layer = Standardise(2)
    layer.fit(values, np.arange(4000) % 2 == 1)
    out = layer(torch.from_numpy(values[1::2])).numpy()
    np.testing.assert_allclose(out[:, 0].mean(), 0.0, atol=1e-4)
    np.testing.assert_allclose(out[:, 0].std(), 1.0, atol=1e-4)
    np.testing.assert_allclose(out[:, 1], 0.0, atol=1e-5)
    layer.fit(values, np.zeros(4000, bool))  # nothing present: unchanged
    np.testing.assert_allclose(layer(torch.from_numpy(values[1::2])).numpy(), out, atol=0)


def test_dropout_drops_the_given_share_keeps_the_mean_and_is_off_in_evaluation():
    torch.manual_seed(0)
    layer = Dropout(0.25)
    out = layer(torch.ones(1000, 333))
    assert abs(float((out == 0).float().mean()) - 0.25) < 0.005  # five standard deviations are 0.004
    np.testing.assert_allclose(float(out.max()), 4 / 3, rtol=1e-6)
    assert abs(float(out.mean()) - 1.0) < 0.006
    columns = (out == 0).float().mean(dim=0)
    assert float(columns.std()) < 0.02  # independent elements: sqrt(.25 * .75 / 1000) = 0.0137
    layer.eval()
    x = torch.randn(3, 4)
    assert layer(x) is x


def test_the_mlp_has_two_layers_of_the_given_width():
    layer = Mlp(3, 8, 0.0)
    assert [tuple(p.shape) for p in layer.parameters()] == [(8, 3), (8,), (8, 8), (8,)]
    with torch.no_grad():
        assert float(layer(torch.randn(10, 3)).min()) >= 0.0  # ends in a ReLU


def test_the_configuration_survives_a_round_trip_and_unknown_keys_are_named():
    assert OutcomeNetConfig.from_dict(SMALL.to_dict()) == SMALL
    with pytest.raises(RunError, match="depth"):
        OutcomeNetConfig.from_dict({**SMALL.to_dict(), "depth": 3})


class Pixels(torch.nn.Module):
    """An encoder small enough for a test: mean colour."""

    feature_dim = 3

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(3))

    def forward(self, images):
        assert images.shape[1:3] == (8, 8)
        return images.float().mean(dim=(1, 2)) / 255.0 * self.gain


@pytest.mark.parametrize("names", [("shared",), ("vision", "touch.thumb")])
def test_raw_images_pass_through_trainable_encoders_after_cropping(names):
    config = OutcomeNetConfig(inputs=("vision", "touch.thumb", "motion"), width=16, image_size=8)
    net = OutcomeNet(config, {name: Pixels() for name in names})
    rng = np.random.default_rng(0)
    images = {name: torch.from_numpy(rng.integers(0, 256, (4, 10, 12, 3), dtype=np.uint8)) for name in config.image_inputs}
    inputs = {**images, "motion": torch.zeros(4, 4)}
    torch.manual_seed(1)
    first, second = net.train()(inputs), net(inputs)
    assert (first - second).abs().max() > 0  # other crops, other dropout
    first.sum().backward()
    assert all(encoder.gain.grad.abs().sum() > 0 for encoder in net.encoders.values())
    net.eval()
    torch.testing.assert_close(net(inputs), net(inputs), rtol=0, atol=0)
    cropped = {name: image[:, 1:9, 2:10] for name, image in images.items()}
    torch.testing.assert_close(net(inputs), net({**cropped, "motion": inputs["motion"]}), rtol=0, atol=1e-6)


WHOLE = OutcomeNetConfig(
    inputs=("vision", "place", "touch.left", "touch.right", "action"),
    outcomes=("stable",),
    feature_dim=12,
    width=32,
    action_dim=13,
    place_dim=5,
)


def test_an_action_in_one_branch_scores_as_the_forward_pass_and_may_lack_the_place():
    torch.manual_seed(0)
    net = WHOLE.build().eval()
    values = arrays(np.random.default_rng(1), 40, WHOLE)
    net.fit_normalisation(values)
    scorer = NetScorer(net)
    state = {name: values[name][:1] for name in WHOLE.inputs if name != "action"}
    whole = {**{name: np.repeat(value, 40, axis=0) for name, value in state.items()}, "action": values["action"]}
    with torch.inference_mode():
        expected = torch.sigmoid(net(tensors(whole))).numpy()
    found = scorer.score(scorer.encode_features(state), values["action"])
    assert found.shape == (40, 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    del state["place"]
    assert np.abs(scorer.score(scorer.encode_features(state), values["action"]) - found).max() > 1e-4


def test_an_action_in_one_branch_excludes_motion_and_joints_and_needs_its_size():
    with pytest.raises(PalpateError, match="action_dim"):
        OutcomeNetConfig(inputs=("action",))
    with pytest.raises(PalpateError, match="motion and joints left out"):
        OutcomeNetConfig(inputs=("motion", "action"), action_dim=3)
    with pytest.raises(PalpateError, match="place_dim"):
        OutcomeNetConfig(inputs=("place",))


@pytest.mark.slow
def test_touch_encoders_are_tied_and_the_camera_has_its_own():
    config = OutcomeNetConfig(
        inputs=("vision", "touch.left", "touch.right", "action"),
        action_dim=3,
        width=8,
        encoder="resnet18",
        sharing="touch",
        image_size=64,
    )
    net = config.build().eval()
    assert set(net.encoders) == {"vision", "touch"}
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8))
    left, right = (net._encode(name, image) for name in ("touch.left", "touch.right"))
    torch.testing.assert_close(left, right)
    assert (net._encode("vision", image) - left).abs().max() > 1e-3
