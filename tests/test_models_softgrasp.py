import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from palpate.core.errors import PalpateError, RunError, UnknownNameError
from palpate.models.backbones import build_backbone
from palpate.models.softgrasp import (
    MARGIN,
    MODALITIES,
    STEP,
    STRATEGIES,
    ImitationObjective,
    PolicyNetConfig,
    SoftgraspNet,
    time_code,
)
from palpate.models.softgrasp_baselines import ActNet, ActObjective, build_policy, objective_of
from palpate.models.softgrasp_encoders import CoordinateResNet

SMALL = PolicyNetConfig(feature_dim=10, frame_dim=16, heads=4, hidden=32, chunk=5, style_dim=4)


def small(strategy, **changes):
    return replace(SMALL, strategy=strategy, modalities=STRATEGIES[strategy], **changes)


def inputs_of(config, n=4, seed=0):
    rng = np.random.default_rng(seed)
    sizes = {"image": config.feature_dim, "angle": 6, "torque": 6, "touch": config.touch_dim}
    return {m: torch.from_numpy(rng.random((n, config.stack, sizes[m])).astype(np.float32)) for m in config.modalities}


def net_of(config):
    torch.manual_seed(0)
    return build_policy(config).eval()


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name].detach(), b[name].detach(), atol=2e-6, err_msg=name)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_gives_next_angles_and_a_lift(strategy):
    config = small(strategy)
    out = net_of(config)(inputs_of(config))
    assert out["angles"].shape == (4, 6) and out["lift"].shape == (4,)
    assert ("torques" in out) == (strategy != "act") and ("attention" in out) == (strategy == "softgrasp")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_input_makes_a_policy_in_use_leave_its_range(strategy):
    config = small(strategy)
    for size in (1e9, -1e9):
        out = net_of(config)({m: torch.full_like(x, size) for m, x in inputs_of(config).items()})
        for name in ("angles", "torques", "chunk"):
            if name in out:
                assert out[name].min() >= -MARGIN and out[name].max() <= 1 + MARGIN


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_a_sample_gives_does_not_depend_on_its_place_in_the_batch(strategy):
    config = small(strategy)
    net, inputs, order = net_of(config), inputs_of(config), torch.tensor([2, 0, 3, 1])
    same(net({m: x[order] for m, x in inputs.items()}), {m: x[order] for m, x in net(inputs).items()})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_order_of_frames_matters(strategy):
    config = small(strategy)
    net, inputs = net_of(config), inputs_of(config)
    swapped = {m: x[:, [1, 0, 2]] for m, x in inputs.items()}  # the last stays, on which the outputs build
    assert (net(inputs)["angles"] - net(swapped)["angles"]).abs().max() > 1e-5


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("lost", ["image", "angle"])
def test_an_absent_modality_is_the_same_masked_or_not_given_whatever_it_holds(strategy, lost):
    config = small(strategy)
    net, inputs = net_of(config), inputs_of(config)
    without = net({m: x for m, x in inputs.items() if m != lost})
    spoilt = inputs | {lost: torch.full_like(inputs[lost], torch.nan)}
    masked = net(spoilt, {lost: torch.zeros(4, dtype=torch.bool)})
    same(masked, without)
    assert (without["angles"] - net(inputs)["angles"]).abs().max() > 1e-4


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_gradients_stay_finite_beside_absent_rows(strategy):
    config = small(strategy)
    net, inputs = net_of(config).train(), inputs_of(config)
    inputs["angle"][1] = torch.nan
    presence = {"angle": torch.tensor([True, False, True, True])}
    future = torch.rand(4, config.chunk, 6)
    targets = {"angles": torch.rand(4, 6), "torques": torch.rand(4, 6), "lift": torch.ones(4), "chunk": future}
    given = inputs | ({"future": future} if strategy == "act" else {})
    loss, n = objective_of(config, ImitationObjective()).loss(net(given, presence), targets)
    loss.backward()
    assert n == 4 and all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_attention_scores_are_those_of_the_equations():
    config = small("softgrasp", heads=1)
    net, inputs = net_of(config), inputs_of(config)
    assert isinstance(net, SoftgraspNet)
    features, _ = net.frames(inputs, {})
    f = features.transpose(1, 2).flatten(2)
    wq, wk, _ = net.attention.in_proj_weight.chunk(3)
    raw = torch.softmax((f @ wq.T) @ (f @ wk.T).transpose(1, 2) / math.sqrt(config.width), dim=2)  # Eq. 2, 3
    summed = raw.sum(dim=1)  # Eq. 8-10
    np.testing.assert_allclose(net(inputs)["attention"].detach(), (summed / summed.sum(1, keepdim=True)).detach(), atol=1e-5)


def test_attention_goes_to_what_is_there_and_sums_to_one():
    net, inputs = net_of(SMALL), inputs_of(SMALL)
    scores = net(inputs, {"torque": torch.tensor([True, False, True, True])})["attention"]
    np.testing.assert_allclose(scores.sum(1).detach(), 1.0, atol=1e-6)
    assert scores[1, MODALITIES.index("torque")] == 0.0 and (scores[0] > 0).all()
    alone = net_of(replace(SMALL, modalities=("torque",)))({"torque": inputs["torque"]})["attention"]
    np.testing.assert_allclose(alone.detach(), [[0.0, 0.0, 1.0]] * 4)


def with_touch(config):
    return replace(config, modalities=(*config.modalities, "touch"), touch_dim=7)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_touch_is_one_token_more_of_any_strategy_and_may_be_absent(strategy):
    config = with_touch(small(strategy))
    net, inputs = net_of(config), inputs_of(config)
    out, other = net(inputs), net(inputs | {"touch": 1.0 - inputs["touch"]})
    assert np.abs((out["angles"] - other["angles"]).detach()).max() > 1e-6
    nobody = torch.zeros(4, dtype=torch.bool)
    same(net(inputs, {"touch": nobody}), net({m: v for m, v in inputs.items() if m != "touch"}))
    names = net_of(small(strategy)).state_dict().keys()
    assert {name for name in net.state_dict() if "branches.touch" not in name} == set(names)


def test_attention_has_four_scores_with_touch_and_three_without():
    config = with_touch(SMALL)
    scores = net_of(config)(inputs_of(config))["attention"].detach()
    assert scores.shape == (4, 4) and (scores > 0.0).all() and config.scored == (*MODALITIES, "touch")
    np.testing.assert_allclose(scores.sum(1), 1.0, atol=1e-6)
    pair = replace(config, modalities=("touch", "angle"))  # scores keep their order whatever the net's
    two = net_of(pair)(inputs_of(pair))["attention"].detach()
    assert (two[:, [0, 2]] == 0.0).all() and (two[:, [1, 3]] > 0.0).all()
    assert net_of(SMALL)(inputs_of(SMALL))["attention"].shape == (4, 3)


def test_a_net_saved_before_there_was_touch_is_read_as_it_was():
    old = {name: value for name, value in SMALL.to_dict().items() if name != "touch_dim"}
    assert PolicyNetConfig.from_dict(old) == SMALL


def test_outputs_are_changes_of_what_is_seen_last():
    net, inputs = net_of(SMALL), inputs_of(SMALL)
    with torch.no_grad():
        for head in (net.next.angles, net.next.torques):
            head[-1].weight.zero_()
            head[-1].bias.fill_(0.5)
    out = net(inputs)
    np.testing.assert_allclose(out["angles"].detach(), inputs["angle"][:, -1] + 0.5 * STEP, atol=1e-6)
    np.testing.assert_allclose(net({"image": inputs["image"]})["torques"].detach(), 0.5, atol=1e-6)


def test_the_lift_head_does_not_shape_the_features():
    net, inputs = net_of(SMALL).train(), inputs_of(SMALL)
    net(inputs)["lift"].sum().backward()
    assert all(p.grad is not None for p in net.next.lift.parameters())
    assert all(p.grad is None for name, p in net.named_parameters() if not name.startswith("next.lift"))


def test_a_modality_that_was_not_trained_is_refused_by_name():
    net = net_of(replace(SMALL, modalities=("angle", "torque")))
    with pytest.raises(PalpateError, match="not trained on image"):
        net(inputs_of(SMALL))
    with pytest.raises(PalpateError, match="nothing to go by"):
        net({})


def test_settings_that_no_net_has_are_refused():
    with pytest.raises(UnknownNameError, match="torque"):
        PolicyNetConfig(strategy="act", modalities=("image", "torque"))
    with pytest.raises(PalpateError, match="one modality or more"):
        PolicyNetConfig(modalities=())
    with pytest.raises(PalpateError, match="touch_dim"):
        PolicyNetConfig(modalities=("angle", "touch"))
    with pytest.raises(PalpateError, match="heads"):
        PolicyNetConfig(frame_dim=10, heads=4)
    with pytest.raises(PalpateError, match="loss factor"):
        ImitationObjective(loss_factor=1.5)
    assert PolicyNetConfig.from_dict(SMALL.to_dict()) == SMALL
    with pytest.raises(RunError, match="colour"):
        PolicyNetConfig.from_dict({**SMALL.to_dict(), "colour": 1})


def test_time_codes_are_sines_and_cosines():
    code = time_code(3, 4)
    np.testing.assert_allclose(code[0], [0.0, 1.0, 0.0, 1.0])
    np.testing.assert_allclose(code[2], [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)], rtol=1e-5)


def test_the_loss_is_that_of_the_paper_over_what_is_known():
    objective = ImitationObjective(loss_factor=0.25, angle_delta=0.2, torque_delta=0.1)
    outputs = {"angles": torch.tensor([[0.1, 0.5]]), "torques": torch.tensor([[0.05, 9.0]]), "lift": torch.zeros(1)}
    nan = torch.nan
    targets = {"angles": torch.zeros(1, 2), "torques": torch.tensor([[0.0, nan]]), "lift": torch.tensor([nan])}
    angles = (0.1**2 / 2 + 0.2 * 0.5 - 0.2**2 / 2) / 2  # Eq. 5 on both sides of its threshold
    torques = 0.05**2 / 2
    measured = objective.measure(outputs, targets)
    assert measured["loss"] == pytest.approx(0.75 * angles + 0.25 * torques, rel=1e-5)
    assert measured["angles"] == pytest.approx(angles, rel=1e-5) and measured["lift"] == 0.0
    total, n = objective.loss(outputs, targets | {"lift": torch.ones(1)})
    assert n == 1 and float(total) == pytest.approx(measured["loss"] + math.log(2), rel=1e-5)


def test_act_reads_what_followed_in_training_only_and_not_beyond_the_end():
    config = small("act")
    net, inputs = net_of(config), inputs_of(config)
    assert isinstance(net, ActNet)
    future = torch.rand(4, config.chunk, 6)
    same(net(inputs), net(inputs | {"future": future}))
    net.train()
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, torch.nn.MultiheadAttention):
            module.dropout = 0.0
    net.frames.branches["image"].dropout.rate = 0.0
    future[:, 3:] = torch.nan
    ended = net(inputs | {"future": future})["mean"]
    other = future.clone()
    other[:, 0] += 1.0
    assert torch.isfinite(ended).all()
    assert (net(inputs | {"future": other})["mean"] - ended).abs().max() > 1e-4


def test_the_loss_of_act_is_absolute_error_and_divergence():
    outputs = {
        "chunk": torch.full((1, 2, 6), 0.5),
        "mean": torch.ones(1, 3),
        "log_variance": torch.zeros(1, 3),
        "lift": torch.zeros(1),
    }
    chunk = torch.stack([torch.full((1, 6), 0.2), torch.full((1, 6), torch.nan)], dim=1)
    targets = {"chunk": chunk, "lift": torch.full((1,), torch.nan), "angles": chunk[:, 0]}
    loss, _ = ActObjective(divergence=10.0).loss(outputs, targets)
    assert float(loss) == pytest.approx(0.3 + 10.0 * 1.5, rel=1e-5)
    assert ActObjective().measure(outputs, targets)["loss"] == pytest.approx(0.3, rel=1e-5)


def test_pictures_train_a_resnet_that_knows_where_things_are(tmp_path):
    config = replace(SMALL, end_to_end=True, feature_dim=512, modalities=("image",))
    net = net_of(config)
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 12, 16, 3), dtype=np.uint8))
    branch = net.frames.branches["image"]
    features = branch.see(pictures[0])
    same(net({"image": pictures}), net({"image": features[None]}))
    net.train()({"image": pictures})["angles"].sum().backward()
    first = branch.network.body.conv1
    assert first.in_channels == 5 and first.stride == (1, 1) and first.weight.grad[:, 3:].abs().max() > 0
    whole = build_backbone("resnet18", pretrained=False).body.state_dict()
    known = {name: tensor.contiguous() for name, tensor in whole.items()}
    save_file(known, tmp_path / "resnet18.safetensors")
    net.frames.start_pictures(tmp_path / "resnet18.safetensors")
    np.testing.assert_allclose(first.weight.detach()[:, :3], known["conv1.weight"])
    assert (first.weight[:, 3:] == 0).all()
    np.testing.assert_allclose(branch.network.body.layer3[0].conv1.weight.detach(), known["layer3.0.conv1.weight"])
    with pytest.raises(PalpateError, match="no use for weights"):
        net_of(SMALL).frames.start_pictures(tmp_path / "resnet18.safetensors")


def test_colours_change_in_training_only():
    torch.manual_seed(0)
    network = CoordinateResNet()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.0
    picture = torch.full((2, 16, 16, 3), 100, dtype=torch.uint8)
    np.testing.assert_allclose(*network.eval()(picture).detach(), atol=1e-5)
    brighter = network.train()(picture)
    assert (brighter[0] - brighter[1]).abs().max() > 1e-4


def test_a_net_of_features_refuses_pixels():
    with pytest.raises(PalpateError, match="extract features"):
        net_of(SMALL)({"image": torch.zeros(1, 3, 24, 32, 3, dtype=torch.uint8)})


def test_huber_is_that_of_torch():
    x = torch.linspace(-1, 1, 12).view(2, 6)
    targets = {"angles": torch.zeros(2, 6), "torques": torch.zeros(2, 6), "lift": torch.zeros(2)}
    measured = ImitationObjective().measure({"angles": x, "torques": x, "lift": torch.zeros(2)}, targets)
    assert measured["torques"] == pytest.approx(float(functional.huber_loss(x, torch.zeros(2, 6), delta=0.2)), rel=1e-5)
