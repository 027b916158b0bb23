import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from palpate.cli.main import main
from palpate.core.errors import DataError, PalpateError, RecordError, RunError
from palpate.core.records import Observation
from palpate.data.reader import open_dataset
from palpate.data.writer import EpisodeWriter
from palpate.evaluation.inputs import PredictionTable
from palpate.learning.checkpoint import load_run, save_run
from palpate.learning.loop import TrainConfig
from palpate.models.touch_encoder import UNIVERSAL
from palpate.perception.localise import locate_object
from palpate.recipes.grasping import make_policy
from palpate.recipes.outcome import OutcomeConfig, train_outcome
from palpate.recipes.outcome_data import FeatureSettings, touch_features
from palpate.recipes.outcome_run import OutcomePredictor, evaluate_outcome
from palpate.recipes.touch_backbone import FOLDER, TouchBackbone, sensor_of
from palpate.recipes.touch_frames import square
from palpate.worlds.gentle import GentleConfig, GentleWorld
from touch_fakes import SHAPE, encoder_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return encoder_run(tmp_path_factory.mktemp("touch") / "run")


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 24, 32, 3), dtype=np.uint8)


def test_features_are_the_encoders_for_stills_and_clips_of_any_size_and_length(run, pictures):
    backbone = TouchBackbone.open(run)
    stills = backbone.features(pictures, "digit")
    assert stills.shape == (5, 3 * 16) and stills.dtype == np.float32
    small = np.stack([square(picture, 16) for picture in pictures])
    with torch.inference_mode():
        direct = backbone.encoder(torch.from_numpy(small[:, None]), torch.zeros(5, dtype=torch.int64)).summary.numpy()
    np.testing.assert_allclose(stills, direct, atol=1e-6)
    clip = np.stack([pictures[:4], pictures[1:]])  # (2, 4, ...): one frame more than the encoder's
    np.testing.assert_allclose(backbone.features(clip, "digit"), backbone.features(clip[:, 1:], "digit"), atol=1e-6)
    assert np.abs(backbone.features(clip, "digit") - stills[3:]).max() > 1e-3  # what went before the last frame counts
    np.testing.assert_allclose(backbone.features(clip[:, :2], "digit"), stills[1:3], atol=1e-6)
    standing = np.rot90(pictures, -1, axes=(1, 2))  # the longer side lies across whatever way the picture is stored
    np.testing.assert_allclose(backbone.features(standing, "digit"), stills, atol=1e-6)
    assert backbone.features(pictures[:0], "digit").shape == (0, 3 * 16)
    with pytest.raises(RecordError, match="float64"):
        backbone.features(pictures / 255.0, "digit")


def test_the_gel_at_rest_is_taken_off_features_or_pictures_as_the_encoder_sees(run, pictures, tmp_path):
    backbone = TouchBackbone.open(run)
    less = backbone.features(pictures, "digit", pictures[0])
    np.testing.assert_allclose(less[0], 0.0, atol=1e-6)
    np.testing.assert_allclose(less, backbone.features(pictures, "digit") - backbone.features(pictures[:1], "digit"), atol=1e-6)
    np.testing.assert_allclose(backbone.features(pictures, "digit", pictures), 0.0, atol=1e-6)
    changes = TouchBackbone.open(encoder_run(tmp_path / "changes", view="change"))
    dark = np.full((16, 16, 3), 40, np.uint8)
    pressed = dark[None] + np.random.default_rng(1).integers(0, 30, (2, 16, 16, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        changes.features(pressed, "digit", dark),
        changes.features(pressed + np.uint8(50), "digit", dark + np.uint8(50)),
        atol=1e-6,
    )
    assert np.abs(changes.features(pressed, "digit", dark)).max() > 0.1
    with pytest.raises(PalpateError, match="give `rest`"):
        changes.features(pressed, "digit")


def test_a_sensor_without_tokens_gets_the_universal_ones_and_a_line_says_so(run, pictures):
    backbone = TouchBackbone.open(run)
    digit, gelsight, strange = (backbone.features(pictures, name) for name in ("digit", "gelsight", "tac3d"))
    assert np.abs(digit - gelsight).max() > 1e-3 and np.abs(digit - strange).max() > 1e-3
    small = torch.from_numpy(np.stack([square(picture, 16) for picture in pictures])[:, None])
    with torch.inference_mode():
        universal = backbone.encoder(small, torch.full((5,), UNIVERSAL)).summary.numpy()
    np.testing.assert_allclose(strange, universal, atol=1e-6)
    assert "digit has its own tokens, tac3d gets the universal tokens" in backbone.words(["tac3d", "digit", "digit"])


def test_a_run_keeps_the_encoder_when_the_folder_it_came_from_is_gone(pictures, tmp_path):
    backbone = TouchBackbone.open(encoder_run(tmp_path / "touch"))
    assert TouchBackbone.kept(tmp_path / "policy", None) is None
    backbone.keep(tmp_path / "policy")
    shutil.rmtree(tmp_path / "touch")
    about = {"fingerprint": backbone.fingerprint()}
    kept = TouchBackbone.kept(tmp_path / "policy", about)
    assert kept is not None and kept.fingerprint() == backbone.fingerprint()
    np.testing.assert_array_equal(kept.features(pictures, "digit"), backbone.features(pictures, "digit"))
    assert all(name.startswith("encoder.") for name in load_run(tmp_path / "policy" / FOLDER).weights)  # without the decoder
    kept.keep(tmp_path / "policy")
    other = TouchBackbone.open(encoder_run(tmp_path / "other", seed=1))
    assert other.fingerprint() != backbone.fingerprint()
    with pytest.raises(RunError, match="begun with another touch encoder"):
        other.keep(tmp_path / "policy")
    with pytest.raises(RunError, match=r"other features of it.*train it again"):
        TouchBackbone.kept(tmp_path / "policy", {"fingerprint": "of a version that read the class token alone"})


def test_the_untrained_control_is_of_the_same_architecture_and_its_run_says_what_it_is(pictures, tmp_path):
    trained = TouchBackbone.open(encoder_run(tmp_path / "trained", seed=2))  # any weights but those of the control
    trained.untrained().keep(tmp_path)
    control = TouchBackbone.open(tmp_path / FOLDER)
    assert control.encoder.config == trained.encoder.config and control.fingerprint() == trained.untrained().fingerprint()
    assert control.fingerprint() != trained.fingerprint() != trained.untrained(seed=1).fingerprint() != control.fingerprint()
    assert control.run.extra["untrained"] and not control.run.metrics and "untrained" not in trained.run.extra
    assert np.abs(control.features(pictures, "digit") - trained.features(pictures, "digit")).max() > 1e-3


def test_runs_of_another_kind_or_architecture_are_refused_with_a_way_out(run, tmp_path):
    way_out = "give the folder of a finished run of `palpate train touch`"
    with pytest.raises(RunError, match=f"run.json is missing.*{way_out}"):
        TouchBackbone.open(tmp_path / "nowhere")
    with pytest.raises(RunError, match=f"recipe 'outcome'.*'anytouch'.*{way_out}"):
        TouchBackbone.open(encoder_run(tmp_path / "outcome", extra={"recipe": "outcome"}))
    loaded = load_run(run)
    save_run(tmp_path / "odd", replace(loaded, net={"encoder": replace(SHAPE, width=32).to_dict()}))
    with pytest.raises(RunError, match=f"another architecture.*{way_out}"):
        TouchBackbone.open(tmp_path / "odd")
    save_run(tmp_path / "newer", replace(loaded, net={"encoder": {**SHAPE.to_dict(), "smell": 1}}))
    with pytest.raises(RunError, match=f"smell.*{way_out}"):
        TouchBackbone.open(tmp_path / "newer")


class Head:
    """A reader whose data set says this of itself."""

    def __init__(self, **config):
        self.head = self
        self.config = config


@pytest.mark.parametrize(
    ("config", "stream", "told", "name"),
    [
        ({"world": {"touch": "digit"}}, "touch.thumb", None, "digit"),
        ({"sensor": "gelsight-2017"}, "touch.pad", None, "gelsight"),
        ({"source": "octopi_physiclear"}, "touch.pad", None, "gelsight-mini"),
        ({}, "touch.pad", "tac3d", "tac3d"),
        ({}, "touch.duragel", None, "duragel"),
    ],
)
def test_the_sensor_is_the_one_that_the_data_name(config, stream, told, name):
    assert sensor_of(Head(**config), stream, told) == name


# -- the outcome model ---------------------------------------------------------------------------------------------------------


def outcome_config(data, out, encoder, **kwargs):
    return OutcomeConfig(
        data=data,
        out=out,
        width=16,
        folds=kwargs.pop("folds", 0),
        features=FeatureSettings(size=32, crops=1, touch_encoder=encoder),
        train=TrainConfig(epochs=1, batch_size=32, threads=1),
        **kwargs,
    )


@pytest.fixture(scope="module")
def outcome(gentle_data, tmp_path_factory):
    """A run that was trained with a touch encoder whose own folder is gone, and what was told."""
    root = tmp_path_factory.mktemp("outcome")
    lines = []
    folder = train_outcome(outcome_config(gentle_data, root / "run", encoder_run(root / "touch"), folds=2), lines.append)
    shutil.rmtree(root / "touch")
    return folder, lines


@pytest.mark.slow
def test_an_outcome_run_feels_live_what_it_was_trained_on(gentle_data, outcome):
    folder, lines = outcome
    assert any("digit has its own tokens" in line for line in lines)
    model, reader = OutcomePredictor(folder), open_dataset(gentle_data)
    cached = touch_features(reader, np.array([0]), ("touch.thumb", "touch.middle"), TouchBackbone.open(folder / FOLDER))
    world = GentleWorld(locate_object, GentleConfig(n_toys=8))
    observation = world.begin(3, 0)  # the first trial of the data
    live = model.felt(observation)
    assert set(live) == {"touch.thumb", "touch.middle"} and set(model.views(observation)) == {"vision"}
    for name, found in live.items():
        assert np.abs(found).max() > 1e-3
        np.testing.assert_allclose(found[0], cached[name][0], atol=1e-5)
    actions = world.action_space.sample(np.random.default_rng(0), 4)
    feels, sees = model.score(model.encode(observation), actions), model.score(model.encode(Observation()), actions)
    assert feels.shape == (4, 2) and np.abs(feels - sees).max() > 1e-4
    alone = model.score(model.encode(replace(observation, touch={})), actions)
    assert np.isfinite(alone).all() and np.abs(feels - alone).max() > 1e-5  # an absent sensor is absent, not zero


@pytest.mark.slow
def test_an_outcome_run_is_evaluated_and_acts_with_the_encoder_that_it_keeps(gentle_data, outcome, tmp_path):
    folder, _ = outcome
    assert load_run(folder).net["touch_dim"] == 3 * SHAPE.width and load_run(folder).net["feature_dim"] == 1280
    table = evaluate_outcome(folder, gentle_data)
    assert table.probs.shape == (3 * 48, 2) and table.backbone == "efficientnet_lite0+touch encoder"
    ablated = PredictionTable.load(folder / "ablation-touch-zero.npz")
    assert not np.allclose(ablated.probs, PredictionTable.load(folder / "predictions.npz").probs)
    world = GentleWorld(locate_object)
    policy = make_policy(world, policy=str(folder), candidates=200, search="exhaustive", max_looks=1)
    decision = policy.act(world.begin(7, 0), 0, np.random.default_rng(0))
    assert decision.lift and set(decision.predicted) == {"stable", "gentle"}
    shutil.copytree(folder, tmp_path / "robbed", ignore=shutil.ignore_patterns(FOLDER))
    with pytest.raises(RunError, match=f"{FOLDER}.*is missing"):
        OutcomePredictor(tmp_path / "robbed")


@pytest.mark.slow
def test_touch_features_are_computed_once_for_each_data_set_and_encoder(gentle_data, run, monkeypatch):
    reader, inputs, first = open_dataset(gentle_data), ("touch.middle", "touch.thumb"), np.arange(3)
    backbone = TouchBackbone.open(run)
    found = touch_features(reader, first, inputs, backbone, progress=False)
    assert found["touch.thumb"].shape == (9, 3 * 16) and found["touch.thumb"].dtype == np.float32
    monkeypatch.setattr(TouchBackbone, "features", lambda *_: pytest.fail("computed again"))
    again = touch_features(reader, first, inputs, backbone, progress=False)
    np.testing.assert_array_equal(again["touch.thumb"], found["touch.thumb"])
    with pytest.raises(pytest.fail.Exception):
        touch_features(reader, first + 1, inputs, backbone, progress=False)


@pytest.mark.slow
def test_a_touch_encoder_that_cannot_be_used_is_refused(gentle_data, outcome, run, tmp_path, capsys):
    with pytest.raises(PalpateError, match="--fine-tune"):
        train_outcome(outcome_config(gentle_data, tmp_path / "a", run, fine_tune=True), print)
    with pytest.raises(RunError, match="another touch encoder"):
        other = encoder_run(tmp_path / "other", seed=2)
        train_outcome(outcome_config(gentle_data, outcome[0], other, resume=True), print)
    reader = open_dataset(gentle_data)
    with EpisodeWriter.create(tmp_path / "blind", task="gentle", config=reader.head.config) as writer:
        first = reader.episode(0)
        writer.write(replace(first, streams={n: s for n, s in first.streams.items() if not n.startswith("touch.")}))
    with pytest.raises(DataError, match=r"blind has none, but camera"):
        train_outcome(outcome_config(tmp_path / "blind", tmp_path / "b", run), print)
    given = ["--data", str(gentle_data), "--out", str(tmp_path / "c"), "--touch-encoder", str(run)]
    assert main(["train", "outcome", *given, "--modalities", "vision,action"]) == 1
    assert "add touch, or leave the encoder out" in capsys.readouterr().err
