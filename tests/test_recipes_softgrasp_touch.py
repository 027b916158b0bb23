import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from palpate.core.errors import DataError, PalpateError, RecordError, RunError
from palpate.data.reader import open_dataset
from palpate.learning.checkpoint import load_run
from palpate.learning.loop import TrainConfig, run_net
from palpate.recipes.softgrasp import SoftgraspTraining, one_step_lines, read_senses, train_softgrasp
from palpate.recipes.softgrasp_collection import DemonstrationConfig, collect_demonstrations
from palpate.recipes.softgrasp_data import RATE_HZ, PictureSettings, read_frames
from palpate.recipes.softgrasp_loop import SoftgraspTrials, grasp_softgrasp
from palpate.recipes.softgrasp_policy import SoftgraspController, load_softgrasp
from palpate.recipes.softgrasp_real import predict_blocks
from palpate.recipes.softgrasp_samples import Windows
from palpate.recipes.softgrasp_touch import FingerTouch, LiveTouch, with_touch
from palpate.recipes.touch_backbone import FOLDER, TouchBackbone
from softgrasp_fakes import STEPS, demonstration, observations, write
from touch_fakes import encoder_run

SENSED = ("angle", "torque", "touch")
FAST = TrainConfig(epochs=2, batch_size=64, learning_rate=2e-3, precision="fp32", device="cpu", threads=1)


def training(encoder, **changes):
    return SoftgraspTraining(
        **{"modalities": SENSED, "frame_dim": 16, "hidden": 32, "train": FAST, "touch_encoder": encoder, **changes}
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return encoder_run(tmp_path_factory.mktemp("encoder") / "run")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    episodes = [demonstration(i, touch=True) for i in range(6)]
    return write(tmp_path_factory.mktemp("touched") / "data", episodes, world={"touch": "digit"})


@pytest.fixture(scope="module")
def run(data, encoder, tmp_path_factory):
    """A policy whose encoder's own folder is gone."""
    out = tmp_path_factory.mktemp("touch-policy") / "run"
    given = shutil.copytree(encoder, out.parent / "encoder")
    said = []
    train_softgrasp(data, out, training(given), tell=said.append, progress=False)
    assert any("digit has its own tokens" in line for line in said)
    shutil.rmtree(given)
    return out


@pytest.mark.parametrize("view", ["picture", "change"])
def test_a_frame_of_touch_is_what_the_encoder_says_of_each_fingers_last_pictures_less_the_gel_at_rest(data, tmp_path, view):
    touch = FingerTouch.of(open_dataset(data), encoder_run(tmp_path / "run", view=view))
    reader = open_dataset(data)
    frames = with_touch(read_frames(reader), reader, touch, progress=False)
    assert touch.fingers == ("middle", "thumb") and touch.sensor == "digit"
    assert frames.touch is not None and frames.touch.shape == (6 * STEPS, touch.dim) and np.isfinite(frames.touch).all()
    episode = reader.episode(2)
    for k in (0, 1, 40):
        parts = []
        for finger in ("middle", "thumb"):
            images = episode.streams[f"touch.{finger}"].values
            clip = images[np.maximum([k - 2, k - 1, k], 0)]
            parts.append(touch.backbone.features(clip[None], "digit", images[0])[0])
        np.testing.assert_allclose(frames.touch[2 * STEPS + k], np.concatenate(parts), atol=1e-5)
    assert (np.abs(frames.touch[2 * STEPS]).max() < 1e-5) == (view == "picture")  # nothing presses yet
    assert np.abs(frames.touch[2 * STEPS + 40] - frames.touch[2 * STEPS]).max() > 1e-2


def test_features_of_touch_are_made_once_for_each_encoder(data, encoder, tmp_path, monkeypatch):
    reader = open_dataset(data)
    first = with_touch(read_frames(reader), reader, FingerTouch.of(reader, encoder), progress=False).touch
    other = FingerTouch.of(reader, encoder_run(tmp_path / "other", seed=1))
    assert np.abs(with_touch(read_frames(reader), reader, other, progress=False).touch - first).max() > 1e-3
    monkeypatch.setattr(TouchBackbone, "features", None)
    again = with_touch(read_frames(reader), reader, FingerTouch.of(reader, encoder), progress=False).touch
    np.testing.assert_array_equal(again, first)


def test_a_demonstration_without_a_fingers_touch_is_without_touch_and_the_policy_may_lack_it(encoder, tmp_path):
    numb = demonstration(1, touch=True, absent=("touch.thumb",))
    data = write(tmp_path / "data", [demonstration(0, touch=True), numb, demonstration(2, touch=True)])
    reader = open_dataset(data)
    frames = with_touch(read_frames(reader), reader, FingerTouch.of(reader, encoder), progress=False)
    assert frames.touch is not None
    assert np.isnan(frames.touch).all(axis=1).nonzero()[0].tolist() == list(range(STEPS, 2 * STEPS))
    said = []
    out = train_softgrasp(data, tmp_path / "run", training(encoder), tell=said.append, progress=False)
    assert any("touch is not known in 33.3%" in line for line in said)
    command = load_softgrasp(out).act(next(observations(numb)))
    assert np.isfinite(command.joints).all() and command.predicted["attention"][3] == 0.0


def test_a_policy_that_feels_does_live_what_its_net_does_on_the_same_frames(data, run):
    controller = load_softgrasp(run)
    reader = open_dataset(data)
    frames, shape, _ = read_senses(reader, training(run / FOLDER), progress=False)
    assert controller.config == shape and shape.scored == ("image", "angle", "torque", "touch")
    windows = Windows(frames=frames, rows=np.arange(STEPS - 1), scaling=controller.scaling, modalities=SENSED)
    outputs = run_net(controller.net, windows)
    for _ in range(2):  # nothing of an episode is left in the next
        controller.reset(np.random.default_rng(0))
        commands = [controller.act(seen) for seen in observations(reader.episode(0))][:-1]
        expected = controller.scaling.to_unit("angle", outputs["angles"].numpy())
        np.testing.assert_allclose([command.joints for command in commands], expected, atol=5e-4)
    scores = np.array([command.predicted["attention"] for command in commands])
    np.testing.assert_allclose(scores, outputs["attention"], atol=1e-3)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-5)
    assert (scores[:, 0] == 0.0).all() and (scores[:, 3] > 0.0).all()


def test_a_run_tells_its_fingers_and_its_attention_to_touch(run):
    written = load_run(run)
    assert written.extra["touch"]["fingers"] == ["middle", "thumb"] and written.extra["touch"]["sensor"] == "digit"
    assert set(written.metrics["attention"]) == {"image", "angle", "torque", "touch"}
    assert any(line.startswith("attention:") and "touch 0." in line for line in one_step_lines(written.metrics))


def test_a_finger_that_gives_nothing_is_an_error_unless_training_knew_of_it(run, tmp_path):
    seen = list(observations(demonstration(3, touch=True)))[:4]
    numb = replace(seen[2], touch={"middle": seen[2].touch["middle"]})
    controller = load_softgrasp(run)
    controller.act(seen[0])
    with pytest.raises(RecordError, match="needs touch"):
        controller.act(numb)
    live = LiveTouch(FingerTouch.kept(run, load_run(run).extra["touch"]))
    assert [live.features(o) is not None for o in (seen[0], numb, *seen, seen[3])] == [
        True,
        False,
        False,
        False,
        True,
        True,
        True,
    ]
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / FOLDER)
    with pytest.raises(RunError, match=FOLDER):
        load_softgrasp(tmp_path / "run")


def test_touch_that_cannot_be_had_is_refused_with_a_way_out(data, encoder, run, tmp_path):
    with pytest.raises(PalpateError, match="--touch-encoder RUN"):
        SoftgraspTraining(modalities=SENSED)
    with pytest.raises(PalpateError, match="add touch"):
        training(encoder, modalities=("angle",))
    bare = write(tmp_path / "bare", [demonstration(i) for i in range(2)])
    with pytest.raises(DataError, match="collect softgrasp --touch"):
        train_softgrasp(bare, tmp_path / "run", training(encoder), progress=False)
    with pytest.raises(RunError, match="'softgrasp'"):
        train_softgrasp(data, tmp_path / "run", training(run), progress=False)
    one = demonstration(0, touch=True, absent=("touch.thumb",)), demonstration(1, touch=True, absent=("touch.middle",))
    with pytest.raises(DataError, match="middle and thumb at once"):
        train_softgrasp(write(tmp_path / "one", one), tmp_path / "run", training(encoder), progress=False)
    other = encoder_run(tmp_path / "other", seed=1)
    with pytest.raises(RunError, match="another touch encoder"):
        train_softgrasp(data, run, training(other, resume=True), progress=False)


def test_a_touch_encoder_alone_adds_touch_to_what_a_strategy_sees(encoder):
    assert SoftgraspTraining(touch_encoder=encoder).net(1280, 32).modalities == ("image", "angle", "torque", "touch")
    assert SoftgraspTraining(touch_encoder=encoder, strategy="act").net(1280, 32).modalities == ("image", "angle", "touch")


def test_blocks_of_one_demonstration_are_predicted_with_touch_too(encoder, tmp_path):
    data = write(tmp_path / "data", [demonstration(0, touch=True)])
    result = predict_blocks(data, training(encoder, target="position"), blocks=2, tell=lambda line: None, progress=False)
    assert "touch" in result.trained_on and np.isfinite(result.errors["angles"]["policy"]).all()


@pytest.mark.slow
def test_demonstrations_with_touch_train_a_policy_that_grasps_with_it(encoder, tmp_path):
    data = collect_demonstrations(DemonstrationConfig(out=tmp_path / "data", demos=1, objects=(6,), touch=True, workers=1))
    reader = open_dataset(data)
    assert reader.head.config["world"] == {"touch": "digit"} and {"touch.thumb", "touch.middle"} <= set(reader.streams)
    pictures = PictureSettings(size=32)
    config = training(encoder, modalities=(), pictures=pictures, drop_rate=0.2, train=replace(FAST, epochs=1))
    out = train_softgrasp(data, tmp_path / "run", config, tell=lambda line: None, progress=False)
    assert json.loads((out / "run.json").read_text())["extra"]["touch"]["sensor"] == "digit"
    trials = SoftgraspTrials(
        policy=out, out=tmp_path / "felt", objects=(6,), trials=1, workers=1, modalities=("angle", "touch")
    )
    rows = grasp_softgrasp(trials)
    assert rows["object"] == ["softgrasp-06"]
    episode = open_dataset(tmp_path / "felt").episode(0)
    scores = episode.streams["predicted.attention"].values
    assert episode.streams["touch.thumb"].spec.rate_hz == RATE_HZ and (scores[:, [1, 3]] > 0.0).all()
    numb = replace(trials, out=tmp_path / "numb", modalities=("angle", "torque"))
    grasp_softgrasp(numb)
    assert "touch.thumb" not in open_dataset(tmp_path / "numb").streams
    assert SoftgraspController(out, modalities=("angle",)).modalities == ("angle",)
