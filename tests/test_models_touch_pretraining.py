import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from palpate.core.errors import PalpateError
from palpate.learning.batches import Batch
from palpate.learning.loop import TrainConfig, evaluate, fit, run_net
from palpate.models.touch_encoder import UNIVERSAL, TouchEncoderConfig, patches_of, pictures_of
from palpate.models.touch_pretraining import (
    NEIGHBOURS,
    DecoderConfig,
    MaskedConfig,
    MaskedObjective,
    MaskedTouchNet,
    NearAttention,
)

ENCODER = TouchEncoderConfig(size=16, patch=4, width=32, depth=2, heads=2, embed=16, sensors=("digit",))
CONFIG = MaskedConfig(encoder=ENCODER, decoder=DecoderConfig(width=24, depth=1, heads=2))


def net_of(config=CONFIG):
    torch.manual_seed(0)
    return MaskedTouchNet(config)


def batch_of(n=6, frames=3, seed=0):
    rng = np.random.default_rng(seed)
    pictures = torch.from_numpy(rng.integers(0, 256, (n, frames + 1, 16, 16, 3), dtype=np.uint8))
    inputs = {"clip": pictures[:, :frames], "sensor": torch.zeros(n, dtype=torch.int64)}
    return inputs | ({"next": pictures[:, frames]} if frames > 1 else {})


class Sliding:
    """Clips of a soft bar that moves sideways over a slope of brightness; half of the batches are stills."""

    def __init__(self, n, seed=0):
        rng = np.random.default_rng(seed)
        x = np.arange(16)
        start, speed = rng.uniform(2, 14, n), rng.uniform(-1.5, 1.5, n)
        bars = np.exp(-0.2 * (x - start[:, None, None] - speed[:, None, None] * np.arange(4)[:, None]) ** 2)  # (N, 4, 16)
        rows = 40 + 100 * rng.random((n, 1, 1, 1)) + 5 * x[:, None] + 40 * bars[:, :, None, :]
        self.pictures = np.repeat(rows[..., None], 3, axis=-1).clip(0, 255).astype(np.uint8)

    def __len__(self):
        return len(self.pictures)

    def batch(self, indices, stills=False):
        n, pictures = len(indices), self.pictures[indices]
        inputs = {"clip": pictures[:, : 1 if stills else 3], "sensor": np.zeros(n, np.int64)}
        return Batch(inputs=inputs if stills else inputs | {"next": pictures[:, 3]}, labels=np.empty((n, 0), np.float32))

    def epoch(self, rng, batch_size):
        order = rng.permutation(len(self))
        for start in range(0, len(order), batch_size):
            yield self.batch(order[start : start + batch_size], stills=bool(rng.random() < 0.5))


TRAIN = TrainConfig(
    epochs=3,
    batch_size=16,
    learning_rate=3e-3,
    schedule="linear",
    warmup_epochs=1.0,
    betas=(0.9, 0.99),
    precision="fp32",
    threads=1,
)


def test_the_reconstruction_error_is_the_mean_square_over_the_hidden_patches_alone():
    net = net_of()
    for layer in (net.decoder.pixels, net.decoder.next):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)  # every guess is 0, the mean colour
    draw = torch.tensor([5, 6])
    _, hidden = net.decoder.mask(draw)
    values = torch.zeros(2, 16).scatter(1, hidden, torch.arange(12.0).expand(2, -1) / 10.0)  # hidden patches: 0, 0.1, ..., 1.1
    values = values[:, :, None].expand(-1, -1, ENCODER.patch_dim)
    clips = pictures_of(values, 4) * net.encoder.std + net.encoder.mean
    following = pictures_of(torch.arange(16.0).expand(2, 16)[:, :, None].expand(-1, -1, 48) / 10.0, 4)[:, 0]
    inputs = {"clip": clips, "sensor": torch.tensor([0, 0]), "draw": draw}
    inputs["next"] = following * net.encoder.std + net.encoder.mean
    out = net(inputs)
    # Eq. 1: (0 + 0.01 + 0.04 + ... + 1.21) / 12 = 5.06 / 12; Eq. 2: (0 + 0.01 + ... + 2.25) / 16 = 12.4 / 16
    np.testing.assert_allclose(out["reconstruction"].detach(), [5.06 / 12] * 2, rtol=1e-5)
    np.testing.assert_allclose(out["prediction"].detach(), [12.4 / 16] * 2, rtol=1e-5)


def test_the_loss_of_stage_one_adds_what_is_there():
    outputs = {"reconstruction": torch.tensor([1.0, 3.0]), "prediction": torch.tensor([0.5, torch.nan])}
    loss, n = MaskedObjective().loss(outputs, {})
    assert n == 2 and loss.item() == 2.5  # Eq. 8: mean of 1 and 3, plus 0.5 of the one clip that has a next frame
    stills = {"reconstruction": outputs["reconstruction"], "prediction": torch.full((2,), torch.nan)}
    assert MaskedObjective().loss(stills, {})[0].item() == 2.0
    assert MaskedObjective().measure(stills, {}) == {"loss": 2.0, "reconstruction": 2.0}


def test_the_encoder_never_sees_a_hidden_patch():
    net, inputs = net_of().eval(), batch_of()
    draw = torch.arange(6)
    seen, hidden = net.decoder.mask(draw)
    patches = patches_of(inputs["clip"], 4)
    changed = patches.scatter(1, hidden[:, :, None].expand(-1, -1, 144), 0)
    assert (changed != patches).any()
    both = [net.encoder.patchify(net.encoder.normalise(pictures_of(rows, 4))) for rows in (patches, changed)]
    before, after = (net.decoder(net.encoder, rows, inputs["sensor"], seen) for rows in both)
    torch.testing.assert_close(before, after, rtol=0, atol=0)


def test_a_mask_hides_three_quarters_and_depends_on_the_samples_own_number_only():
    decoder, draw = net_of().decoder, torch.from_numpy(np.random.default_rng(0).integers(2**63, size=500))
    seen, hidden = decoder.mask(draw)
    assert seen.shape == (500, 4) and hidden.shape == (500, 12)
    np.testing.assert_array_equal(torch.cat([seen, hidden], 1).sort(1).values, np.broadcast_to(np.arange(16), (500, 16)))
    torch.testing.assert_close(decoder.mask(draw[100:103])[0], seen[100:103])
    counts = torch.bincount(hidden.flatten(), minlength=16) / 500
    assert (counts - 0.75).abs().max() < 0.08  # four standard errors of 500 draws


def test_a_clip_without_a_next_frame_counts_for_the_reconstruction_only():
    net, inputs = net_of(), batch_of()
    there = torch.tensor([True, False, True, True, False, True])
    out = net(inputs, {"next": there})
    np.testing.assert_array_equal(torch.isnan(out["prediction"]), ~there)
    loss, _ = MaskedObjective().loss(out, {})
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    stills = net(batch_of(frames=1))
    assert torch.isnan(stills["prediction"]).all() and torch.isfinite(stills["reconstruction"]).all()


def test_universal_tokens_are_used_in_training_only():
    net, inputs = net_of(), batch_of(16)
    sensor_gradient = []
    for training in (True, False):
        net.train(training)
        net.progress(1.0)
        net.zero_grad()
        net(inputs | {"draw": torch.arange(16) * 7919})["reconstruction"].sum().backward()
        sensor_gradient.append(net.encoder.sensor.grad.abs().sum(dim=(1, 2)))
    assert sensor_gradient[0][UNIVERSAL] > 0 and sensor_gradient[0][0] > 0  # three quarters are replaced
    assert sensor_gradient[1][UNIVERSAL] == 0 and sensor_gradient[1][0] > 0


def test_pictures_to_look_at_have_the_seen_patches_where_they_were():
    net, inputs = net_of().eval(), batch_of(2)
    shown = net.guess(inputs)
    assert shown["guessed"].shape == (2, 3, 16, 16, 3) and shown["next"].shape == (2, 1, 16, 16, 3)
    seen, _ = net.decoder.mask(torch.arange(2))
    for sample in range(2):
        rows = [patches_of(p[sample : sample + 1], 4)[0, seen[sample]] for p in (shown["seen"], inputs["clip"].float() / 255)]
        np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)


@pytest.fixture(scope="module")
def trained():
    net, data = net_of(), Sliding(256)
    config = replace(TRAIN, epochs=8)
    return net, fit(net, data, config, objective=MaskedObjective(), validation=Sliding(64, seed=1), progress=False)


def test_training_beats_the_mean_picture_at_hidden_patches_and_next_frames(trained):
    net, history = trained
    data, test = Sliding(256), Sliding(64, seed=1)
    colours = [net.encoder.normalise(torch.from_numpy(source.pictures)) for source in (data, test)]
    mean_frame = (colours[1] - colours[0].mean(dim=(0, 1))).square().mean().item()
    assert history[-1].validation["reconstruction"] < 0.6 * mean_frame
    assert history[-1].validation["prediction"] < 0.6 * mean_frame
    again = evaluate(net, test, precision="fp32", objective=MaskedObjective())
    assert again == history[-1].validation  # masks of an evaluation are fixed


class Interruption(Exception):
    pass


class Interrupted(Sliding):
    """Breaks off at a batch that is counted over the epochs."""

    left = 7

    def epoch(self, rng, batch_size):
        for batch in super().epoch(rng, batch_size):
            self.left -= 1
            if self.left < 0:
                raise Interruption
            yield batch


def test_a_training_interrupted_within_an_epoch_goes_on_as_if_it_had_not_been(tmp_path):
    config, path = replace(TRAIN, checkpoint_period=0.0), tmp_path / "state.safetensors"
    whole, resumed = net_of(), net_of(replace(CONFIG))
    expected = fit(whole, Sliding(80), config, objective=MaskedObjective(), progress=False)
    with pytest.raises(Interruption):  # 5 batches an epoch: in the middle of the second
        fit(net_of(), Interrupted(80), config, objective=MaskedObjective(), checkpoint=path, progress=False)
    assert path.exists()
    history = fit(resumed, Sliding(80), config, objective=MaskedObjective(), checkpoint=path, progress=False)
    np.testing.assert_allclose([r.loss for r in history], [r.loss for r in expected], rtol=1e-6)
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not path.exists()


def test_a_batch_in_parts_teaches_the_same_as_a_whole_one():
    nets = [net_of(), net_of()]
    histories = [
        fit(net, Sliding(60), replace(TRAIN, accumulate=parts), objective=MaskedObjective(), progress=False)
        for net, parts in zip(nets, (1, 3), strict=True)
    ]
    np.testing.assert_allclose([r.loss for r in histories[1]], [r.loss for r in histories[0]], rtol=1e-5)
    outputs = [run_net(net, Sliding(20, seed=2), precision="fp32") for net in nets]
    for name in outputs[
        0
    ]:  # not the weights: Adam blows up the rounding of gradients that should be zero, as of the keys' bias
        np.testing.assert_allclose(outputs[1][name], outputs[0][name], rtol=2e-4)


def test_configurations_survive_json_and_masks_that_hide_nothing_are_refused():
    assert MaskedConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG
    for ratio in (0.0, 1.0):
        with pytest.raises(PalpateError, match="must hide one of 16 patches or more, and leave one"):
            MaskedTouchNet(replace(CONFIG, decoder=replace(CONFIG.decoder, mask_ratio=ratio)))
    with pytest.raises(PalpateError, match="multiple of 4"):
        DecoderConfig(width=30, heads=3)


def test_each_head_starts_at_a_neighbour_of_its_own():
    bias = NearAttention(4, 9)().detach()
    assert bias.shape == (9, 17, 17) and not bias[:, 0].any() and not bias[:, :, 0].any()
    inner = 1 + 1 * 4 + 2  # row 1, column 2
    for head, (row, column) in enumerate((*NEIGHBOURS, NEIGHBOURS[0])):
        assert int(bias[head, inner, 1:].argmax()) == (1 + row) * 4 + 2 + column
    np.testing.assert_array_equal(bias[:, 1 + 5, 1 + 6], bias[:, 1 + 9, 1 + 10], "the same way counts the same everywhere")
