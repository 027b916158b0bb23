import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from palpate.core.errors import DataError, PalpateError, RunError
from palpate.models.touch_encoder import (
    UNIVERSAL,
    LowRank,
    TouchEncoder,
    TouchEncoderConfig,
    UniversalSchedule,
    load_openclip,
    patches_of,
    pictures_of,
    uniform,
)

SMALL = TouchEncoderConfig(size=16, patch=4, width=16, depth=2, heads=2, embed=8, sensors=("digit", "gelsight"))


def encoder_of(config=SMALL):
    torch.manual_seed(0)
    return TouchEncoder(config).eval()


def clips_of(n=3, frames=3, config=SMALL, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (n, frames, config.size, config.size, 3), dtype=np.uint8))


def test_features_have_the_sizes_of_the_configuration():
    features = encoder_of()(clips_of(), torch.tensor([0, 1, UNIVERSAL]))
    assert features.pooled.shape == (3, 16) and features.embedding.shape == (3, 8) and features.tokens.shape == (3, 16, 16)


def test_other_methods_are_given_the_class_token_and_mean_and_largest_of_the_patches():
    features = encoder_of()(clips_of(), torch.tensor([0, 1, UNIVERSAL]))
    for k, summary in enumerate(features.summary):
        patches = features.tokens[k]
        expected = [features.pooled[k], sum(patches) / len(patches), patches.max(dim=0).values]
        torch.testing.assert_close(summary, torch.cat(expected))


def test_patches_are_cut_row_by_row_and_put_together_again():
    clips = clips_of()
    patches = patches_of(clips, 4)
    np.testing.assert_array_equal(
        patches[1, 6].reshape(3, 4, 4, 3), clips[1, :, 4:8, 8:12]
    )  # patch 6 of rows of 4: row 1, column 2
    np.testing.assert_array_equal(pictures_of(patches, 4), clips)


def test_a_still_is_a_clip_of_equal_frames():
    encoder, stills, sensor = encoder_of(), clips_of(frames=1), torch.tensor([0, 1, 0])
    one, repeated = encoder(stills, sensor), encoder(stills.expand(-1, 3, -1, -1, -1), sensor)
    for a, b in zip(one, repeated, strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-6)


def test_bytes_and_floats_of_the_same_picture_give_the_same():
    encoder, clips, sensor = encoder_of(), clips_of(), torch.tensor([0, 0, 1])
    np.testing.assert_allclose(
        encoder(clips, sensor).pooled.detach(), encoder(clips.float() / 255.0, sensor).pooled.detach(), atol=1e-6
    )


def test_patches_that_are_not_kept_do_not_influence_anything():
    encoder, clips, sensor = encoder_of(), clips_of(2), torch.tensor([0, 1])
    keep = torch.tensor([[0, 5, 6], [15, 3, 9]])
    changed = patches_of(clips, 4)
    hidden = torch.ones(2, 16, dtype=torch.bool).scatter(1, keep, False)
    changed[hidden] = 255 - changed[hidden]
    before, after = encoder(clips, sensor, keep), encoder(pictures_of(changed, 4), sensor, keep)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert (encoder(clips, sensor).pooled - encoder(pictures_of(changed, 4), sensor).pooled).abs().max() > 0.01


def test_kept_patches_come_in_the_order_asked_for_and_carry_their_place():
    encoder, clips, sensor = encoder_of(), clips_of(1), torch.tensor([0])
    forward = encoder(clips, sensor, torch.tensor([[2, 7]])).tokens
    backward = encoder(clips, sensor, torch.tensor([[7, 2]])).tokens
    np.testing.assert_allclose(forward.detach(), backward.flip(1).detach(), atol=1e-6)


def test_a_sensor_is_known_by_its_name_and_any_other_gets_the_universal_tokens():
    encoder, clip = encoder_of(), clips_of(1)
    assert [SMALL.index(name) for name in ("digit", "gelsight", "tac3d")] == [0, 1, UNIVERSAL]
    pooled = [encoder(clip, torch.tensor([k])).pooled for k in (0, 1, UNIVERSAL)]
    with torch.no_grad():
        encoder.sensor[:2, 0] += torch.arange(16.0)  # a constant would vanish in the norm
    torch.testing.assert_close(encoder(clip, torch.tensor([UNIVERSAL])).pooled, pooled[2], rtol=0, atol=0)
    assert (encoder(clip, torch.tensor([0])).pooled - pooled[0]).abs().max() > 1e-3
    assert (pooled[0] - pooled[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("clips", "sensor", "says"),
    [
        (clips_of(1, frames=2), [0], r"3, 16, 16, 3\) or stills with 1 frame, got \(1, 2, 16"),
        (torch.zeros(1, 3, 16, 12, 3), [0], "resize the pictures"),
        (torch.zeros(1, 16, 16, 3), [0], "takes clips"),
        (clips_of(1), [2], "-1 to 1 .digit, gelsight., got 2"),
    ],
)
def test_what_the_encoder_cannot_take_is_answered_with_what_it_takes(clips, sensor, says):
    with pytest.raises(PalpateError, match=says):
        encoder_of()(clips, torch.tensor(sensor))


def test_configurations_survive_json_and_refuse_what_does_not_fit():
    assert TouchEncoderConfig.from_dict(json.loads(json.dumps(SMALL.to_dict()))) == SMALL
    with pytest.raises(RunError, match="has no colour"):
        TouchEncoderConfig.from_dict({**SMALL.to_dict(), "colour": 1})
    for change in ({"patch": 5}, {"heads": 3}, {"sensors": ("digit", "digit")}):
        with pytest.raises(PalpateError):
            replace(SMALL, **change)


def test_a_samples_random_numbers_are_those_of_splitmix64_and_its_own():
    def splitmix(state):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return state, (z ^ (z >> 31)) >> 40

    expected, state = [], 2**62 + 12345
    for _ in range(5):
        state, value = splitmix(state)
        expected.append(value / 2**24)
    np.testing.assert_array_equal(uniform(torch.tensor([7, 2**62 + 12345]), 5)[1], np.float32(expected))


def test_universal_tokens_replace_a_share_that_rises_with_the_training():
    draw = torch.from_numpy(np.random.default_rng(0).integers(2**63, size=4000))
    sensor, schedule = torch.ones(4000, dtype=torch.int64), UniversalSchedule()
    for share in (0.0, 0.5, 1.0):
        schedule.progress(share)
        replaced = schedule(sensor, draw)
        assert set(replaced.tolist()) <= {1, UNIVERSAL}
        assert abs((replaced == UNIVERSAL).float().mean() - 0.75 * share) < 0.025  # three standard errors of 4,000 draws
    torch.testing.assert_close(schedule(sensor[100:300], draw[100:300]), replaced[100:300])


def test_a_low_rank_change_starts_at_none_and_keeps_the_layer_and_its_parts_apart():
    torch.manual_seed(0)
    base, x = nn.Linear(6, 9), torch.randn(4, 6)
    before = base(x).detach()
    layer = LowRank(base, 2, alpha=4.0, parts=3)
    torch.testing.assert_close(layer(x), before)
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"down", "up"}
    with torch.no_grad():
        layer.up[1] = 1.0
    change = 4.0 / 2 * (x @ layer.down[1].T).sum(1, keepdim=True)  # alpha / rank, then ones
    np.testing.assert_allclose((layer(x) - before)[:, 3:6].detach(), change.expand(-1, 3).detach(), atol=1e-5)
    torch.testing.assert_close(layer(x)[:, [0, 1, 2, 6, 7, 8]], before[:, [0, 1, 2, 6, 7, 8]])


class ClipTower(nn.Module):
    """A vision tower with the names of OpenCLIP's, for still pictures (B, 3, H, W); 2 blocks, 128 wide."""

    def __init__(self, side=4, patch=4, width=128, embed=8):
        super().__init__()
        torch.manual_seed(1)
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(self._block(width) for _ in range(2))
        self.proj = nn.Parameter(torch.randn(width, embed))
        for parameter in self.parameters():  # none stays at 0 or 1, so that each is seen to be read
            parameter.data += 0.1 * torch.randn_like(parameter)

    def _block(self, width):
        block = nn.Module()
        block.ln_1, block.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        block.attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
        block.mlp = nn.Sequential()
        for name, layer in (
            ("c_fc", nn.Linear(width, 4 * width)),
            ("gelu", nn.GELU()),
            ("c_proj", nn.Linear(4 * width, width)),
        ):
            block.mlp.add_module(name, layer)
        return block

    def forward(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.positional_embedding
        x = self.ln_pre(x)
        for block in self.transformer.resblocks:
            y = block.ln_1(x)
            x = x + block.attn(y, y, y, need_weights=False)[0]
            x = x + block.mlp(block.ln_2(x))
        return self.ln_post(x[:, 0]) @ self.proj

    def saved(self):
        return {f"visual.{name}": tensor for name, tensor in self.state_dict().items()} | {"logit_scale": torch.tensor(4.6)}


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    net, folder = ClipTower().eval(), tmp_path_factory.mktemp("openclip")
    save_file(net.saved(), folder / "open_clip_model.safetensors")
    torch.save(net.saved(), folder / "weights.bin")
    return net, folder


@pytest.mark.parametrize("name", ["", "open_clip_model.safetensors", "weights.bin"])
def test_an_openclip_tower_gives_the_same_features_in_the_encoder(tower, name):
    net, folder = tower
    encoder = load_openclip(folder / name, frames=1, sensor_tokens=0).eval()
    stills = clips_of(frames=1)
    expected = net(encoder.normalise(stills[:, 0]).permute(0, 3, 1, 2))
    np.testing.assert_allclose(encoder(stills, torch.full((3,), UNIVERSAL)).embedding.detach(), expected.detach(), atol=2e-4)


def test_an_openclip_tower_becomes_an_encoder_of_clips_whose_patches_add_up_over_frames(tower):
    encoder = load_openclip(tower[1], sensors=("digit",), size=24)
    assert encoder.config == TouchEncoderConfig(
        size=24, patch=4, frames=3, width=128, depth=2, heads=2, embed=8, sensors=("digit",)
    )
    clips = clips_of(2, config=encoder.config)
    patches = encoder.patches(encoder.patchify(encoder.normalise(clips)))
    expected = sum(tower[0].conv1(encoder.normalise(clips[:, f]).permute(0, 3, 1, 2)) for f in range(3))
    np.testing.assert_allclose(patches.detach(), expected.flatten(2).transpose(1, 2).detach(), atol=1e-4)
    assert encoder(clips, torch.tensor([0, -1])).embedding.shape == (2, 8)


def test_interpolated_places_keep_what_is_constant(tmp_path):
    net = ClipTower()
    net.positional_embedding.data[1:] = torch.linspace(-1.0, 1.0, 128)
    save_file(net.saved(), tmp_path / "tower.safetensors")
    places = load_openclip(tmp_path / "tower.safetensors", size=40).places
    np.testing.assert_allclose(places[1:].detach(), np.broadcast_to(np.linspace(-1.0, 1.0, 128), (100, 128)), atol=1e-5)


def test_files_that_hold_no_openclip_tower_are_refused_by_name(tower, tmp_path):
    with pytest.raises(DataError, match=r"open_clip_model.safetensors is missing"):
        load_openclip(tmp_path)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no OpenCLIP model"):
        load_openclip(tmp_path / "broken.safetensors")
    save_file({"text.proj": torch.zeros(2)}, tmp_path / "text.safetensors")
    with pytest.raises(DataError, match=r"visual\.conv1\.weight"):
        load_openclip(tmp_path / "text.safetensors")
    save_file(tower[0].saved() | {"visual.ln_pre.gain": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="another build"):
        load_openclip(tmp_path / "other.safetensors")


def test_attention_on_a_cpu_is_in_single_precision_whatever_the_layers_are_in():
    encoder, clips, sensor = encoder_of(), clips_of(), torch.tensor([0, 1, UNIVERSAL])
    seen = []
    attend = functional.scaled_dot_product_attention

    def watched(q, k, v, bias):
        seen.append((q.dtype, k.dtype, v.dtype))
        return attend(q, k, v, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, "scaled_dot_product_attention", watched)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = encoder(clips, sensor).embedding
    assert half.dtype == torch.bfloat16 and set(seen) == {(torch.float32,) * 3}
    torch.testing.assert_close(half.float(), encoder(clips, sensor).embedding, rtol=0.1, atol=0.05)
