import json
from dataclasses import replace

import numpy as np
import pytest

from palpate.cli.main import main
from palpate.core.errors import DataError, PalpateError, RunError, UnknownNameError
from palpate.core.records import Observation
from palpate.core.rollout import rollout
from palpate.data.reader import open_dataset
from palpate.evaluation.inputs import PredictionTable
from palpate.evaluation.report_gentle import write_report
from palpate.perception.localise import locate_object
from palpate.recipes.gentle_report import gather
from palpate.recipes.gentle_study import frozen_training
from palpate.recipes.grasping import GraspConfig, grasp
from palpate.recipes.outcome import OutcomeConfig, inputs_of, train_outcome
from palpate.recipes.outcome_data import EpisodeViews, gentle_rows
from palpate.recipes.outcome_run import OutcomePredictor
from palpate.worlds.gentle import GentleWorld
from touch_fakes import encoder_run

pytestmark = pytest.mark.slow

FULL = "vision+touch+action"


def test_each_trial_gives_three_rows_and_the_second_moment_does_not_move(gentle_data):
    rows = gentle_rows(open_dataset(gentle_data))
    assert len(rows.trial) == 3 * 48
    assert np.all(rows.actions["motion"][rows.moment == "regrasp"] == 0)
    assert np.all(np.ptp(rows.actions["joints"].reshape(48, 3, 16), axis=1) == 0)


def test_touch_views_are_grey_without_contact_and_coloured_with_it(gentle_data):
    reader = open_dataset(gentle_data)
    views = EpisodeViews(reader, np.arange(len(reader)), ("touch.thumb",))
    force = reader.column("truth.force_initial")
    k = int(np.argmax(force))
    initial, release = views[3 * k].astype(int), views[3 * k + 1].astype(int)
    assert np.abs(release - 128).max() < 12
    assert np.abs(initial - 128).max() > 30


def test_no_toy_crosses_folds(gentle_runs):
    table = PredictionTable.load(gentle_runs[FULL] / "predictions.npz")
    for name in np.unique(table.object):
        assert len(np.unique(table.fold[table.object == name])) == 1


def test_a_run_predicts_in_the_world_what_it_predicts_from_the_episode(gentle_data, gentle_runs):
    """The planner's view of a live observation is the training view of its recording, but for JPEG."""
    model = OutcomePredictor(gentle_runs[FULL])
    reader = open_dataset(gentle_data)
    world = GentleWorld(locate_object, GentleWorld(locate_object).config.__class__(n_toys=8))
    observation = world.begin(3, 0)
    views = EpisodeViews(reader, np.array([0]), ("vision", "touch.thumb", "touch.middle"))
    live = model.views(observation)
    for k, name in enumerate(("vision", "touch.thumb", "touch.middle")):
        assert np.abs(live[name].astype(int) - views[k]).mean() < 3.0, name


def test_an_absent_sensor_changes_the_prediction_and_does_not_crash(gentle_runs):
    model = OutcomePredictor(gentle_runs[FULL])
    world = GentleWorld(locate_object)
    seen = world.begin(1, 0)
    actions = world.action_space.sample(np.random.default_rng(0), 20)
    whole = model.score(model.encode(seen), actions)
    blind = model.score(model.encode(Observation(touch=seen.touch, touch_rest=seen.touch_rest)), actions)
    nothing = model.score(model.encode(Observation()), actions)
    assert whole.shape == (20, 2) and np.all((whole >= 0) & (whole <= 1))
    assert np.abs(whole - blind).max() > 1e-4 and np.isfinite(nothing).all()


def test_the_closed_loop_report_and_evaluation_work_together(gentle_data, gentle_runs, tmp_path, capsys):
    for policy in ("random", *gentle_runs):
        folder = "random" if policy == "random" else str(gentle_runs[policy])
        config = GraspConfig(policy=folder, out=tmp_path / policy, trials=4, seed=5, workers=1, search="sampling", max_looks=2)
        table = grasp(config)
        assert table.policy == policy and len(table.trial) == 4 and set(table.pose) == {"upright", "lying"}
    first = [open_dataset(tmp_path / p).column("array.object_position") for p in ("random", FULL)]
    np.testing.assert_array_equal(first[0], first[1], err_msg="every policy meets the same starting states")
    folders = [*gentle_runs.values(), *(tmp_path / p for p in ("random", *gentle_runs))]
    page = write_report(tmp_path / "report.html", gather(folders, gentle_data), resamples=50)
    text = page.read_text()
    assert "88.24" in text and "data:image" in text and "Traceback" not in text
    out = tmp_path / "e.json"
    assert main(["evaluate", str(gentle_runs[FULL]), "--data", str(tmp_path / "random"), "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["n"] == 4 and {"accuracy", "interval", "stable", "gentle"} <= set(result)


def test_grasp_writes_the_rates_with_intervals(tmp_path):
    out = tmp_path / "g.json"
    assert (
        main(
            [
                "grasp",
                "gentle",
                "--policy",
                "random",
                "--trials",
                "2",
                "--workers",
                "1",
                "--out",
                str(tmp_path / "g"),
                "--json",
                str(out),
            ]
        )
        == 0
    )
    rates = json.loads(out.read_text())
    for name in ("stable", "gentle", "stable_and_gentle"):
        assert rates[name]["low"] <= rates[name]["value"] <= rates[name]["high"] and rates[name]["n"] == 2


def test_bad_requests_say_what_is_allowed(gentle_data, gentle_runs, tmp_path, capsys):
    assert main(["train", "outcome", "--data", str(gentle_data), "--out", str(tmp_path / "r"), "--modalities", "smell"]) == 1
    assert "unknown modality 'smell'; allowed: action, touch, vision" in capsys.readouterr().err
    assert main(["train", "outcome", "--data", str(gentle_data), "--out", str(tmp_path / "r"), "--backbone", "vgg"]) == 1
    assert "efficientnet_lite0" in capsys.readouterr().err
    assert main(["train", "outcome", "--data", str(tmp_path), "--out", str(tmp_path / "r")]) == 1
    assert "is not a palpate data folder" in capsys.readouterr().err
    assert main(["grasp", "gentle", "--policy", str(tmp_path / "no-run"), "--out", str(tmp_path / "g")]) == 1
    assert "missing" in capsys.readouterr().err
    assert main(["evaluate", str(gentle_runs[FULL]), "--data", str(gentle_data), "--calibrate", "3"]) == 1
    assert "--calibrate" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r.html")]) == 1
    assert "neither predictions" in capsys.readouterr().err
    with pytest.raises(RunError, match="holds a finished run"):
        train_outcome(OutcomeConfig(data=gentle_data, out=gentle_runs[FULL]), lambda line: None)
    with pytest.raises(PalpateError, match="no touch"):
        inputs_of(("touch",), ())
    with pytest.raises(UnknownNameError):
        inputs_of(("smell",), ())
    assert inputs_of(("vision", "action"), (), "regrasp") == ("vision", "place", "action")
    assert inputs_of(("vision", "action"), (), "regrasp", numbers=False) == ("vision", "action")


def test_fine_tuning_runs_end_to_end_from_raw_views(gentle_data, tmp_path):
    from palpate.learning.loop import TrainConfig
    from palpate.recipes.outcome_data import FeatureSettings

    config = OutcomeConfig(
        data=gentle_data,
        out=tmp_path / "fine",
        modalities=("touch", "action"),
        folds=0,
        width=16,
        fine_tune=True,
        features=FeatureSettings(size=32),
        train=TrainConfig(epochs=1, batch_size=16, threads=1),
    )
    folder = train_outcome(config, lambda line: None)
    model = OutcomePredictor(folder)
    world = GentleWorld(locate_object)
    state = model.encode(world.begin(1, 0))
    assert model.score(state, world.action_space.sample(np.random.default_rng(0), 3)).shape == (3, 2)


def test_the_random_policy_and_a_model_use_one_rollout_loop(gentle_runs):
    from palpate.recipes.grasping import make_policy

    world = GentleWorld(locate_object)
    policy = make_policy(world, policy=str(gentle_runs[FULL]), candidates=400, search="exhaustive", max_looks=2)
    result = rollout(world, policy, 6, 0, max_looks=2)
    assert 1 <= len(result.decisions) <= 2 and result.decisions[-1].lift
    assert set(result.decisions[-1].predicted) == {"stable", "gentle"}


def small_training(data, out):
    base = frozen_training(data, out, epochs=1, width=16, image_size=64)
    return replace(base, folds=2, train=replace(base.train, batch_size=32))


def test_the_modality_study_and_the_touch_gain_curve_run_small(gentle_data, tmp_path):
    from palpate.recipes.gentle_study import FULL as BOTH
    from palpate.recipes.gentle_study import VISION, StudyConfig, cross_validations, gain_curve
    from palpate.recipes.outcome_data import CLEAR, Degradation

    base = small_training(gentle_data, tmp_path)
    config = StudyConfig(
        data=gentle_data, out=tmp_path, seeds=(0, 1), groups=("trial",), models=(BOTH, VISION), base=base, workers=1
    )
    lines = []
    tables = cross_validations(config, lines.append)
    assert len(lines) == 4 and {t.model for t in tables} == {FULL, "vision+action"} and {t.seed for t in tables} == {0, 1}
    assert {t.ablation for t in tables} == {
        "none",
        *(f"{m}:{h}" for m in ("vision", "touch", "action") for h in ("zero", "shuffle")),
    }
    with pytest.raises(RunError, match="study with other settings"):  # what was trained with them would be taken for these
        cross_validations(replace(config, base=replace(base, width=32)), lines.append)
    curve = gain_curve(config, (CLEAR, Degradation(pixels=8), Degradation(zoom_sd=0.2)), lines.append)
    assert curve.size_error_mm.shape == (3,) and np.all(curve.low <= curve.gain) and np.all(curve.gain <= curve.high)
    assert 0.5 < curve.camera_error_mm < 20


def test_a_learning_curve_compares_two_networks_for_touch_on_the_same_trials(gentle_data, tmp_path):
    from palpate.recipes.gentle_study import FULL as BOTH
    from palpate.recipes.gentle_study import StudyConfig, learning_curve

    encoder = encoder_run(tmp_path / "encoder", seed=2)
    base = small_training(gentle_data, tmp_path)
    config = StudyConfig(
        data=gentle_data, out=tmp_path / "out", seeds=(0,), groups=("trial",), models=(BOTH,), base=base, workers=1
    )
    studies = learning_curve(config, encoder, (6, 40), lambda line: None, draws=2)
    networks = (base.features.name, replace(base.features, touch_encoder=encoder).name)
    for size, by_network in studies.items():
        trained, random = (study.select(FULL, "trial", backbone=networks[1])[0] for study in by_network.values())
        assert list(by_network) == ["encoder", "untrained"] and not np.array_equal(trained.probs, random.probs)
        study = by_network["encoder"]
        plain, felt = (study.select(FULL, "trial", backbone=name) for name in networks)
        draws = 2 if size == 6 else 1  # of 48 trials
        for tables in (plain, felt):
            drawn = [set(table.trial.tolist()) for table in tables]
            assert len(drawn) == len({table.seed for table in tables}) == draws
            assert all(len(some) == size for some in drawn) and len(set.union(*drawn)) == draws * size
        assert not np.array_equal(plain[0].probs, felt[0].probs)
        assert set(study.difference(felt, plain)) == {"stable", "gentle", "both"}
    with pytest.raises(DataError, match="ask for 2 to"):
        train_outcome(replace(base, trials=(0, 100_000)), lambda line: None)
