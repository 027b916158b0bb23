import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from palpate.core.errors import PalpateError, RunError
from palpate.learning.batches import Batch
from palpate.learning.loop import TrainConfig, evaluate, fit
from palpate.models.touch_alignment import (
    AlignedTouchNet,
    AlignmentConfig,
    AlignmentObjective,
    MatchingHead,
    TowerVision,
    align_loss,
    matching_loss,
    unit,
)
from palpate.models.touch_encoder import TouchEncoder, TouchEncoderConfig
from palpate.models.touch_pretraining import DecoderConfig, MaskedConfig, MaskedTouchNet

ENCODER = TouchEncoderConfig(size=16, patch=4, width=32, depth=2, heads=2, embed=16, sensors=("digit", "gelsight"))
DECODER = DecoderConfig(width=24, depth=1, heads=2)
CONFIG = AlignmentConfig(encoder=ENCODER, vision=10, text=6, rank=2)


def net_of(config=CONFIG):
    torch.manual_seed(0)
    return AlignedTouchNet(config)


def inputs_of(n=5, frames=3, seed=0):
    rng = np.random.default_rng(seed)

    def clips():
        return torch.from_numpy(rng.integers(0, 256, (n, frames, 16, 16, 3), dtype=np.uint8))

    def sensors():
        return torch.from_numpy(rng.integers(-1, 2, n))

    inputs = {"clip": clips(), "sensor": sensors(), "positive": clips(), "positive_sensor": sensors()}
    inputs |= {"negative": clips(), "negative_sensor": sensors()}
    vectors = {"vision": 10, "text": 6}
    return inputs | {k: torch.from_numpy(rng.standard_normal((n, d)).astype(np.float32)) for k, d in vectors.items()}


def presence_of(**rows):
    return {name: torch.tensor(there, dtype=torch.bool) for name, there in rows.items()}


def cross_entropy(logits, own):
    return math.log(sum(math.exp(v) for v in logits)) - logits[own]


def test_the_alignment_loss_is_the_mean_of_both_directions():
    a, b = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # products 1, 0.6 / 0, 0.8; over a temperature of 0.5: 2, 1.2 / 0, 1.6
    forth = (cross_entropy([2.0, 1.2], 0) + cross_entropy([0.0, 1.6], 1)) / 2
    back = (cross_entropy([2.0, 0.0], 0) + cross_entropy([1.2, 1.6], 1)) / 2
    loss = align_loss(a, b, torch.tensor([True, True]), torch.tensor(0.5))
    np.testing.assert_allclose(loss.item(), (forth + back) / 2, rtol=1e-6)


def test_samples_without_both_modalities_take_no_part_in_the_alignment():
    rng = np.random.default_rng(0)
    a, b = (unit(torch.from_numpy(rng.standard_normal((6, 4)))) for _ in range(2))
    both = torch.tensor([True, False, True, True, False, True])
    chosen, everyone = torch.tensor([0, 2, 3, 5]), torch.ones(4, dtype=torch.bool)
    loss, expected = align_loss(a, b, both, torch.tensor(0.07)), align_loss(a[chosen], b[chosen], everyone, torch.tensor(0.07))
    torch.testing.assert_close(loss, expected)


def test_no_pair_in_the_batch_gives_exactly_zero_and_a_finite_gradient():
    net = net_of()
    out = net(inputs_of(), presence_of(vision=[1, 0, 1, 0, 0], text=[0, 1, 0, 0, 1], positive=[0] * 5))
    assert align_loss(out["vision"], out["text"], torch.zeros(5, dtype=torch.bool), out["temperature"].mean()).item() == 0.0
    only = AlignmentObjective(touch_vision=0.0, touch_text=0.0)
    loss, n = only.loss(out, {})
    loss.backward()
    assert loss.item() == 0.0 and n == 5
    for parameter in net.parameters():
        assert parameter.grad is None or (parameter.grad == 0.0).all()  # zero, and so finite


def test_the_loss_of_stage_two_weighs_its_parts_as_the_paper_does():
    net, objective = net_of().eval(), AlignmentObjective()
    out = net(inputs_of(), presence_of(vision=[1, 1, 1, 1, 0], text=[1, 0, 1, 1, 1]))
    t = out["temperature"].mean()
    pairs = {("touch", "vision"): ([1, 1, 1, 1, 0], 1.0), ("touch", "text"): ([1, 0, 1, 1, 1], 1.0)}
    pairs[("vision", "text")] = ([1, 0, 1, 1, 0], 0.2)
    expected = sum(w * align_loss(out[a], out[b], torch.tensor(rows) > 0, t) for (a, b), (rows, w) in pairs.items())
    expected = expected + 0.1 * matching_loss(out["match_positive"], out["match_negative"])
    torch.testing.assert_close(objective.loss(out, {})[0], expected)
    measured = objective.measure({k: v.detach().float() for k, v in out.items()}, {})
    np.testing.assert_allclose(measured["loss"], expected.item(), rtol=1e-6)
    assert 0.0 <= measured["match_accuracy"] <= 1.0


def test_the_matching_loss_is_the_cross_entropy_of_both_pairs():
    positive, negative = torch.tensor([0.0, 2.0, torch.nan]), torch.tensor([0.0, -1.0, torch.nan])
    # -log sigmoid(m+) - log(1 - sigmoid(m-)): 2 log 2, then log(1 + e^-2) + log(1 + e^-1); mean of the two known samples
    expected = (2 * math.log(2) + math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2
    np.testing.assert_allclose(matching_loss(positive, negative).item(), expected, rtol=1e-6)
    nothing = torch.full((2,), torch.nan, requires_grad=True)
    matching_loss(nothing, nothing).backward()
    assert matching_loss(nothing, nothing).item() == 0.0 and (nothing.grad == 0.0).all()


def test_matching_does_not_depend_on_which_touch_comes_first():
    torch.manual_seed(0)
    head, a, b = MatchingHead(8), unit(torch.randn(5, 8)), unit(torch.randn(5, 8))
    torch.testing.assert_close(head(a, b), head(b, a), rtol=0, atol=0)
    assert (head(a, b) - head(a, a)).abs().max() > 1e-3
    net, inputs = net_of().eval(), inputs_of()
    swapped = {**inputs, "clip": inputs["positive"], "sensor": inputs["positive_sensor"]}
    swapped |= {"positive": inputs["clip"], "positive_sensor": inputs["sensor"]}
    np.testing.assert_allclose(net(swapped)["match_positive"].detach(), net(inputs)["match_positive"].detach(), atol=1e-5)


def test_what_is_absent_is_zero_marked_absent_and_changes_nothing():
    net, inputs = net_of().eval(), inputs_of()
    presence = presence_of(vision=[1, 0, 1, 1, 0], text=[1, 1, 0, 1, 1], positive=[0, 0, 1, 1, 0])
    other = {name: value.clone() for name, value in inputs.items()}
    other["vision"][1], other["text"][2], other["positive"][0] = torch.nan, torch.nan, 0
    a, b = net(inputs, presence), net(other, presence)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0, equal_nan=True)
    assert a["vision"][1].abs().max() == 0.0 and a["has_vision"].tolist() == [True, False, True, True, False]
    np.testing.assert_array_equal(torch.isnan(a["match_positive"]), ~presence["positive"])
    alone = net({"clip": inputs["clip"], "sensor": inputs["sensor"]})
    np.testing.assert_allclose(alone["touch"].detach(), a["touch"].detach(), atol=1e-6)
    assert alone.keys() == a.keys() and not alone["has_text"].any() and torch.isnan(alone["match_negative"]).all()


class Touches:
    """Stills of a slope of brightness by two sensors, one of which sees it upside down and bluish, with a text vector that says it."""

    def __init__(self, n=96, seed=0):
        rng = np.random.default_rng(seed)
        self.slope, self.noise = rng.uniform(-1, 1, n), rng.normal(0, 4, (3, n, 1, 16, 16, 3))

    def __len__(self):
        return len(self.slope)

    def batch(self, indices):
        def clips(slopes, sensor, noise):
            ramp = 128 + 80 * np.outer(slopes, np.linspace(-1, 1, 16)) * (1 - 2 * sensor)
            tint = sensor[..., None, None, None] * [-40.0, 0.0, 40.0]
            return (ramp[:, None, :, None, None] + tint + noise[indices]).clip(0, 255).astype(np.uint8)

        s, n = self.slope[indices], len(indices)
        sensor = np.arange(n) % 2
        text = np.stack([np.sin((k + 1) * s) for k in range(6)], axis=1).astype(np.float32)
        inputs = {
            "clip": clips(s, sensor[:, None], self.noise[0]),
            "sensor": sensor,
            "positive": clips(s, 1 - sensor[:, None], self.noise[1]),
            "positive_sensor": 1 - sensor,
            "negative": clips(-np.sign(s) * (0.3 + 0.7 * np.abs(s)), sensor[:, None], self.noise[2]),
            "negative_sensor": sensor,
            "text": text,
        }
        return Batch(inputs=inputs, labels=np.empty((n, 0), np.float32))

    def epoch(self, rng, batch_size):
        order = rng.permutation(len(self))
        for start in range(0, len(order), batch_size):
            yield self.batch(order[start : start + batch_size])


def test_training_brings_touch_and_text_together_and_tells_the_same_touch_from_another():
    net, test = net_of(), Touches(64, seed=1)
    config = TrainConfig(epochs=13, batch_size=16, learning_rate=5e-3, schedule="linear", precision="fp32", threads=1)
    objective = AlignmentObjective(matching=1.0)  # with the paper's tenth it takes longer
    fit(net, Touches(128), config, objective=objective, progress=False)
    measured = evaluate(net, test, precision="fp32", objective=objective)
    assert measured["touch_text"] < 3.5  # chance: log 64 = 4.16
    assert measured["match_accuracy"] > 0.8 and measured["touch_vision"] == 0.0
    assert abs(net.log_scale.item() + math.log(0.07)) > 1e-3  # the temperature learns


def test_a_batch_in_parts_has_the_contrast_of_the_whole_batch():
    runs = []
    for parts in (1, 3):
        net = net_of(replace(CONFIG, decoder=DECODER))
        config = TrainConfig(epochs=2, batch_size=16, learning_rate=1e-3, accumulate=parts, precision="fp32", threads=1)
        history = fit(net, Touches(40), config, objective=AlignmentObjective(), progress=False)
        runs.append([r.loss for r in history])
    np.testing.assert_allclose(runs[1], runs[0], rtol=2e-5)


def test_stage_two_starts_from_stage_one_and_refuses_another_architecture():
    torch.manual_seed(3)
    masked = MaskedTouchNet(MaskedConfig(encoder=ENCODER, decoder=DECODER))
    for config in (CONFIG, replace(CONFIG, decoder=DECODER)):
        net = net_of(config)
        net.start(masked.state_dict())
        np.testing.assert_array_equal(net.encoder.project.weight.detach(), masked.encoder.project.weight.detach())
    np.testing.assert_array_equal(net.decoder.mask_token.detach(), masked.decoder.mask_token.detach())
    with pytest.raises(RunError, match=r"another architecture: encoder\.blocks\.2"):
        net_of(replace(CONFIG, encoder=replace(ENCODER, depth=3))).start(masked.state_dict())
    with pytest.raises(RunError, match=r"encoder\.sensor differ"):
        net_of(replace(CONFIG, encoder=replace(ENCODER, sensors=("digit",)))).start(masked.state_dict())


def test_with_a_decoder_the_loss_of_stage_one_counts_too():
    net, inputs = net_of(replace(CONFIG, decoder=DECODER)).eval(), inputs_of()
    inputs["next"] = inputs["clip"][:, 2]
    out = net(inputs)
    with_it, without = (AlignmentObjective(masked=w).loss(out, {})[0] for w in (1.0, 0.0))
    expected = out["reconstruction"].mean() + out["prediction"].mean()
    torch.testing.assert_close(with_it - without, expected, rtol=1e-4, atol=1e-4)


TOWER = TouchEncoderConfig(size=8, patch=4, frames=1, width=16, depth=1, heads=2, embed=12, sensor_tokens=0)


def test_a_vision_tower_learns_low_rank_changes_only():
    torch.manual_seed(0)
    tower = TouchEncoder(TOWER)
    net = net_of(replace(CONFIG, vision=TOWER))
    net.vision.start(tower)
    pictures = torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8)
    for buffer, name in ((net.vision.tower.mean, "mean"), (net.vision.tower.std, "std")):
        getattr(tower, name).copy_(buffer)
    expected = net.vision.project(tower(pictures[:, None], torch.full((5,), -1)).embedding)
    torch.testing.assert_close(net.vision(pictures), expected)
    learnt = {name for name, p in net.vision.named_parameters() if p.requires_grad}
    changes = {f"tower.blocks.0.{layer}.{part}" for layer in ("qkv", "out") for part in ("down", "up")}
    assert learnt == changes | {"project.weight", "project.bias"}
    out = net({**inputs_of(), "vision": pictures}, presence_of(vision=[1, 1, 0, 1, 1]))
    AlignmentObjective().loss(out, {})[0].backward()
    assert net.vision.tower.blocks[0].qkv.up.grad.abs().max() > 0.0
    assert net.vision.tower.blocks[0].qkv.base.weight.grad is None
    with pytest.raises(PalpateError, match="frames=1, sensor_tokens=0"):
        TowerVision(ENCODER, 16, 2)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, decoder=DECODER, vision=TOWER)])
def test_configurations_survive_json(config):
    assert AlignmentConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
