"""Pouring: the scripted person, collecting, learning from demonstrations, and the closed loop."""

import json
from collections import deque
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from palpate.core.errors import DataError, PalpateError, RecordError, RunError
from palpate.core.records import Observation
from palpate.core.units import DEG
from palpate.data.reader import open_dataset
from palpate.learning.checkpoint import Run, load_run, save_run
from palpate.learning.loop import TrainConfig
from palpate.models.touch_encoder import TouchEncoder, TouchEncoderConfig
from palpate.perception.views import changed
from palpate.recipes.pouring import (
    KeyObjective,
    PouringController,
    PouringTraining,
    PouringTrials,
    pour,
    read_steps,
    train_pouring,
)
from palpate.recipes.pouring_collection import PouringCollection, collect_pouring
from palpate.recipes.pouring_encoders import PixelClips, TouchClipEncoder, build_encoder, features_of, seen_by
from palpate.recipes.pouring_task import ACTS, Pourer, PourerConfig, PouringTask, command
from palpate.worlds.pouring import CLIP, STEP, TARGET, PouringConfig, reference

WORLD = PouringConfig(cups="same", picture=32, start=80 * DEG, start_spread=0.0, time_limit=3.0)
TRAINING = PouringTraining(
    encoder="pixels",
    hidden=4,
    validation=0.5,
    keys=TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2, precision="fp32"),
    tune=TrainConfig(epochs=1, batch_size=16, learning_rate=1e-4, precision="fp32"),
)


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    out = tmp_path_factory.mktemp("pouring") / "demos"
    return collect_pouring(PouringCollection(out=out, demos=2, world=WORLD, workers=1))


@pytest.fixture(scope="module")
def policy(demos, tmp_path_factory):
    return train_pouring(demos, tmp_path_factory.mktemp("policy") / "run", TRAINING, progress=False)


@pytest.fixture(scope="module")
def touch_run(tmp_path_factory):
    """Return a run of an encoder that was not trained, as `palpate train touch` would write it."""
    config = TouchEncoderConfig(size=16, width=16, depth=1, heads=2, embed=8, view="change")
    weights = {f"encoder.{name}": tensor for name, tensor in TouchEncoder(config).state_dict().items()}
    folder = tmp_path_factory.mktemp("touch") / "run"
    save_run(folder, Run(net={"encoder": config.to_dict()}, train={}, metrics={}, weights=weights))
    return folder


def keys(readings, **habits):
    """Return what a person without a tremble presses at these readings of the scale [kg]."""
    habits = {"misread": 0.0, "pause": 0.0, "near": (14e-3, 0.0), "lead": (3e-3, 0.0), "patience": (2, 2)} | habits
    left = deque(readings)
    person = Pourer(left.popleft, PourerConfig(**habits))
    person.reset(np.random.default_rng(0))
    steps = [float(person.act(Observation()).joints[0] / STEP) for _ in readings]
    return "".join("-.+"[round(step) + 1] for step in steps)


def test_a_person_pours_on_far_from_the_target_and_goes_step_by_step_near_it():
    assert keys([0.0] * 6) == "++++++"
    assert keys([0.050] * 10, reaction=0)[1:] == "+..+..+.."


def test_a_person_waits_while_beads_fall_near_the_target_and_tilts_back_for_good():
    rising = [0.047 + 1e-3 * i for i in range(8)]
    assert keys(rising)[2:] == "......"
    enough = keys([0.030, 0.058, 0.058, 0.058, 0.040, 0.040])
    assert enough == "++----"  # one period late, and the key is held then


def test_keys_become_tilts_of_a_quarter_of_a_degree():
    assert [float(command(act).joints[0] / DEG) for act in ACTS] == pytest.approx([-0.25, 0.0, 0.25])


def test_collected_demonstrations_are_labelled_by_the_scale(demos):
    reader = open_dataset(demos)
    for episode in reader:
        last = float(episode.streams["scale"].values[-1, 0])
        assert episode.labels["poured_g"] == pytest.approx(1e3 * last)
        assert episode.labels["error_g"] == pytest.approx(1e3 * (last - TARGET))
        assert set(np.unique(episode.streams["arm.command"].values)) <= {-1.0, 0.0, 1.0}


def test_a_key_goes_with_the_clip_that_was_seen_before_it(demos):
    reader = open_dataset(demos)
    encoder = PixelClips()
    steps = read_steps(reader, encoder, frozen=False)
    episode = reader[0]
    n = len(episode.streams["arm.command"].values)
    assert steps.inputs["clip"].shape[1:] == (2, 3, 48, 48, 3)
    np.testing.assert_array_equal(steps.act[:n], episode.streams["arm.command"].values[:, 0].astype(int) + 1)
    times, pressed = episode.streams["touch.left"].times, episode.streams["arm.command"].times
    np.testing.assert_allclose(times[2::3][:n], pressed)  # the newest frame of a clip is as old as the key
    frozen = read_steps(reader, encoder, frozen=True)
    with torch.inference_mode():
        features = features_of(encoder, torch.from_numpy(steps.inputs["clip"][:4])).numpy()
    np.testing.assert_allclose(frozen.inputs["features"][:4], features, rtol=1e-6)


def test_a_demonstration_depends_on_its_number_alone_and_not_on_who_made_it(demos):
    kept = open_dataset(demos)[1]
    task = PouringTask(world=WORLD)
    alone = task.demonstrate(task.build(), 0, 1)
    for name in ("touch.left", "touch.right.rest", "arm.command", "scale"):
        np.testing.assert_array_equal(alone.streams[name].values, kept.streams[name].values)


def test_policies_see_the_change_since_the_reference_unless_their_encoder_was_trained_on_pictures(demos):
    episode = open_dataset(demos)[0]
    frames, rest = episode.streams["touch.left"].values[:3], reference(episode.streams["touch.left.rest"].values)
    pixels = PixelClips()
    np.testing.assert_array_equal(seen_by(pixels, rest[None], rest), 128)
    np.testing.assert_array_equal(
        seen_by(pixels, frames, rest)[0], cv2.resize(changed(frames[0], rest), (48, 48), interpolation=3)
    )
    plain = TouchClipEncoder(TouchEncoder(TouchEncoderConfig(size=32, view="picture")), "gelsight-mini")
    np.testing.assert_array_equal(seen_by(plain, frames, rest)[0], cv2.resize(frames[0], (32, 32), interpolation=3))
    steps = read_steps(open_dataset(demos), pixels, frozen=False)
    np.testing.assert_array_equal(steps.inputs["clip"][0, 0], seen_by(pixels, frames, rest))


def test_pixels_keep_changes_of_less_than_a_grey_level():
    clips = np.full((1, CLIP, 48, 48, 3), 128, np.uint8)
    clips[0, :, 0, 0] += 1  # one of the nine pixels that become one
    features = PixelClips()(torch.from_numpy(clips))[0]
    assert features.shape == (PixelClips.dim,)
    np.testing.assert_allclose(features[:3].numpy() - 128, 1 / 9, rtol=1e-4)


def test_a_touch_encoder_gives_its_class_token_and_what_is_in_its_patches(touch_run):
    encoder = build_encoder(str(touch_run), "gelsight-mini")
    assert isinstance(encoder, TouchClipEncoder)
    clips = torch.randint(0, 256, (2, CLIP, 16, 16, 3), dtype=torch.uint8)
    seen = encoder.encoder(clips, torch.tensor([-1, -1]))
    with torch.inference_mode():
        features = encoder(clips)
    assert features.shape == (2, encoder.dim) == (2, 48)
    torch.testing.assert_close(features[:, :16], seen.pooled)
    torch.testing.assert_close(features[:, 16:], seen.patches)
    fresh = build_encoder(f"untrained:{touch_run}", "gelsight-mini", 1)
    assert isinstance(fresh, TouchClipEncoder) and fresh.encoder.config == encoder.encoder.config
    assert not torch.equal(fresh.encoder.class_token, encoder.encoder.class_token)


def test_an_image_network_sees_the_newest_picture_and_how_it_changed():
    encoder = build_encoder("imagenet", "gelsight-mini")
    clips = torch.randint(0, 256, (1, 1, 1, 96, 96, 3), dtype=torch.uint8).expand(1, 2, CLIP, -1, -1, -1)
    with torch.inference_mode():
        features = features_of(encoder, clips)
    half = encoder.dim // 2
    assert features.shape == (1, 2 * encoder.dim)
    torch.testing.assert_close(features[0, half : encoder.dim], torch.zeros(half), rtol=0, atol=1e-4)  # nothing moves
    assert features[0, :half].abs().max() > 0.1


def test_keys_count_by_their_likelihood_and_the_scale_by_its_distance():
    acts = np.array([0, 1, 1, 2, 2, 2, 2, 2])
    objective = KeyObjective(0.1)
    targets = {"act": torch.from_numpy(acts).float(), "scale": torch.full((8,), 0.5)}
    loss, n = objective.loss(torch.zeros(8, 4), targets)
    assert n == 8
    assert float(loss) == pytest.approx(np.log(3.0) + 0.5 * (0.5 / 0.1) ** 2)
    assert float(KeyObjective(np.inf).loss(torch.zeros(8, 4), targets)[0]) == pytest.approx(np.log(3.0))
    measured = objective.measure(torch.eye(4)[torch.from_numpy(acts)], targets)
    assert [measured[f"recall.{act}"] for act in ACTS] == [1.0, 1.0, 1.0]
    assert measured["scale_g"] == measured["scale_late_g"] == pytest.approx(30.0)


def test_the_guess_of_the_scale_is_the_ridge_regression_of_the_features(demos, policy):
    net = PouringController(policy).net
    steps = read_steps(open_dataset(demos), PixelClips(), frozen=True)
    metrics = json.loads((policy / "run.json").read_text())["metrics"]
    means = [steps.inputs["features"][steps.trial == trial].mean(axis=0) for trial in (0, 1)]
    known = int(np.argmin([np.abs(mean - net.standard.mean.numpy()).max() for mean in means]))
    rows = steps.trial == known
    with torch.inference_mode():
        x = net.standard(torch.from_numpy(steps.inputs["features"][rows])).double().numpy()
    y = steps.scale[rows]
    penalty = metrics["penalty"] * (x**2).mean()
    # the same by the other form: as many unknowns as periods
    weights = x.T @ np.linalg.solve(x @ x.T + penalty * len(x) * np.eye(len(x)), y - y.mean())
    np.testing.assert_allclose(net.reading.weight.detach().numpy()[0], weights, rtol=0.02, atol=2e-4)
    assert float(net.reading.bias.detach()) == pytest.approx(y.mean(), rel=1e-5)


def test_a_trained_policy_pours_in_closed_loop_from_touch_alone(policy, tmp_path):
    config = PouringTrials(policy=policy, out=tmp_path / "trials", trials=1, world=replace(WORLD, time_limit=0.8), workers=1)
    rows = pour(config)
    assert rows["trial"] == [0]
    assert rows["error_g"][0] == pytest.approx(rows["poured_g"][0] - 60.0)
    controller = PouringController(policy)
    controller.reset(np.random.default_rng(0))
    with pytest.raises(RecordError, match="clip needs"):
        controller.act(Observation(joint_position=np.array([1.4])))
    seen = PouringTask(world=WORLD).build().begin(0, 0)
    assert abs(controller.act(seen).joints[0]) in (0.0, STEP)
    with pytest.raises(RecordError, match="needs the reference of finger 'left'"):
        controller.act(replace(seen, touch_rest={}))


def test_an_encoder_is_trained_along_where_asked(demos, touch_run, tmp_path):
    config = replace(TRAINING, encoder=f"untrained:{touch_run}", encoder_mode="tuned")
    run = train_pouring(demos, tmp_path / "run", config, progress=False)
    tuned, fresh = PouringController(run).net.encoder, build_encoder(config.encoder, "gelsight-mini", 0)
    before, after = dict(fresh.named_parameters()), dict(tuned.named_parameters())
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert "before_tuning" in json.loads((run / "run.json").read_text())["metrics"]


def test_wrong_uses_are_refused_with_a_word(policy, demos, tmp_path):
    with pytest.raises(PalpateError, match="at least 1"):
        collect_pouring(PouringCollection(out=tmp_path / "x", demos=0))
    with pytest.raises(RunError, match="allowed: pixels"):
        build_encoder("nothing", "gelsight-mini")
    with pytest.raises(RunError, match="another --out"):
        train_pouring(demos, policy, TRAINING)
    with pytest.raises(DataError, match="cannot be split"):
        train_pouring(demos, tmp_path / "z", replace(TRAINING, validation=0.01))
    with pytest.raises(PalpateError, match="penalties be positive"):
        replace(TRAINING, penalties=(0.0,))
    with pytest.raises(RunError):
        pour(PouringTrials(policy=tmp_path, out=tmp_path / "y"))
    run = load_run(policy)
    save_run(tmp_path / "other", replace(run, extra={**run.extra, "encoder": "untrained"}))
    with pytest.raises(RunError, match="another architecture"):
        PouringController(tmp_path / "other")
