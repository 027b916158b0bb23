"""Pouring: the scripted person, collecting, learning from demonstrations, and the closed loop."""

from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import torch

from palpate.core.errors import PalpateError, RecordError, RunError
from palpate.core.records import Observation
from palpate.core.units import DEG
from palpate.data.reader import open_dataset
from palpate.learning.loop import TrainConfig
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
from palpate.recipes.pouring_encoders import PixelClips, build_encoder, features_of
from palpate.recipes.pouring_task import ACTS, Pourer, PourerConfig, command
from palpate.worlds.pouring import STEP, TARGET, PouringConfig

WORLD = PouringConfig(cups="same", picture=32, start=80 * DEG, start_spread=0.0, time_limit=3.0)
TRAINING = PouringTraining(
    encoder="pixels",
    hidden=16,
    validation=0.5,
    train=TrainConfig(epochs=3, batch_size=16, learning_rate=1e-3, precision="fp32"),
)


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    out = tmp_path_factory.mktemp("pouring") / "demos"
    return collect_pouring(PouringCollection(out=out, demos=2, world=WORLD, workers=1))


@pytest.fixture(scope="module")
def policy(demos, tmp_path_factory):
    return train_pouring(demos, tmp_path_factory.mktemp("policy") / "run", TRAINING, progress=False)


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
    assert steps.inputs["clip"].shape[1:] == (2, 3, 16, 16, 3)
    np.testing.assert_array_equal(steps.act[:n], episode.streams["arm.command"].values[:, 0].astype(int) + 1)
    times, pressed = episode.streams["touch.left"].times, episode.streams["arm.command"].times
    np.testing.assert_allclose(times[2::3][:n], pressed)  # the newest frame of a clip is as old as the key
    frozen = read_steps(reader, encoder, frozen=True)
    with torch.inference_mode():
        features = features_of(encoder, torch.from_numpy(steps.inputs["clip"][:4])).numpy()
    np.testing.assert_allclose(frozen.inputs["features"][:4], features, rtol=1e-6)


def test_rare_keys_weigh_as_much_as_frequent_ones_and_the_scale_is_guessed_too():
    acts = np.array([0, 1, 1, 2, 2, 2, 2, 2])
    objective = KeyObjective.of(acts, 2.0)
    np.testing.assert_allclose(objective.weights, [8 / 3, 8 / 6, 8 / 15])
    targets = {"act": torch.from_numpy(acts).float(), "scale": torch.full((8,), 0.5)}
    loss, n = objective.loss(torch.zeros(8, 4), targets)
    assert n == 8
    assert float(loss) == pytest.approx(np.log(3.0) * np.mean(np.array(objective.weights)[acts]) + 2.0 * 0.25)
    measured = objective.measure(torch.eye(4)[torch.from_numpy(acts)], targets)
    assert [measured[f"recall.{act}"] for act in ACTS] == [1.0, 1.0, 1.0]
    assert measured["scale_mae_g"] == pytest.approx(30.0)


def test_a_trained_policy_pours_in_closed_loop_from_touch_alone(policy, tmp_path):
    config = PouringTrials(policy=policy, out=tmp_path / "trials", trials=1, world=replace(WORLD, time_limit=0.8), workers=1)
    rows = pour(config)
    assert rows["trial"] == [0]
    assert rows["error_g"][0] == pytest.approx(rows["poured_g"][0] - 60.0)
    controller = PouringController(policy)
    controller.reset(np.random.default_rng(0))
    with pytest.raises(RecordError, match="clip needs"):
        controller.act(Observation(joint_position=np.array([1.4])))


def test_an_encoder_is_trained_along_where_asked(demos, tmp_path):
    config = replace(TRAINING, encoder="untrained", encoder_mode="tuned", train=replace(TRAINING.train, epochs=1))
    run = train_pouring(demos, tmp_path / "run", config, progress=False)
    tuned, fresh = PouringController(run).net.encoder, build_encoder("untrained", "gelsight-mini", 0)
    before, after = dict(fresh.named_parameters()), dict(tuned.named_parameters())
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_wrong_uses_are_refused_with_a_word(policy, demos, tmp_path):
    with pytest.raises(PalpateError, match="at least 1"):
        collect_pouring(PouringCollection(out=tmp_path / "x", demos=0))
    with pytest.raises(RunError, match="allowed: pixels"):
        build_encoder("nothing", "gelsight-mini")
    with pytest.raises(RunError, match="another --out"):
        train_pouring(demos, policy, TRAINING)
    with pytest.raises(RunError):
        pour(PouringTrials(policy=tmp_path, out=tmp_path / "y"))
