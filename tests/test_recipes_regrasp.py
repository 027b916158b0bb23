"""Regrasping end to end, small: collect, train, calibrate, grasp, collect on-policy, report."""

import json
import shutil

import numpy as np
import pytest

from palpate.cli.main import main
from palpate.core.errors import DataError, RunError
from palpate.data.reader import open_dataset
from palpate.evaluation.report_regrasp import summary_text, write_report
from palpate.learning.checkpoint import load_run
from palpate.learning.loop import TrainConfig
from palpate.recipes.outcome import OutcomeConfig, train_outcome
from palpate.recipes.outcome_data import FeatureSettings
from palpate.recipes.outcome_run import evaluate_outcome
from palpate.recipes.regrasp_analysis import observation_at
from palpate.recipes.regrasp_data import ACTION_NAMES, action_input, regrasp_rows
from palpate.recipes.regrasp_study import FULL, StudyConfig, run_study
from palpate.recipes.regrasping import RegraspPredictor
from palpate.worlds.regrasp_physics import CLOSING_YAW

pytestmark = pytest.mark.slow
TRIALS = 36


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("regrasp") / "study"
    config = StudyConfig(
        out=out,
        trials=TRIALS,
        seeds=1,
        folds=2,
        grasps=1,
        sets=("easy",),
        on_policy=10,
        epochs=2,
        image_size=96,
        seed=3,
        max_looks=2,
        analysed=4,
        workers=1,
    )
    return out, run_study(config, lambda line: None)


def test_the_whole_study_runs_and_its_page_holds_every_part(study, tmp_path):
    _, results = study
    assert set(results.predictions) == {FULL, "vision+action", "touch+action", "vision+touch"}
    assert len(results.predictions[FULL][0].trial) == 3 * TRIALS
    assert set(results.pictures) == {FULL, "vision+action"}
    assert set(results.loops) >= {
        f"{FULL} easy success",
        f"{FULL} easy min-force",
        "cylinder easy success",
        f"{FULL}+ easy success",
        f"{FULL}+ easy min-force",
    }
    text = summary_text(results)
    assert "vision a picture alone: vision + action" in text
    assert "chance (majority)" in text and "gels never seen" in text and "expected calibration error" in text
    page = write_report(tmp_path / "report.html", results, "small", {"all": "palpate demo regrasp"}).read_text()
    for title in ("Table I", "Calibration", "Table II", "Least force", "What the model has learnt"):
        assert title in page


def test_a_model_whose_vision_is_a_picture_alone_never_sees_where_depth_finds_the_object(study, tmp_path):
    out, results = study
    assert {len(tables) for tables in results.pictures.values()} == {1}
    config = OutcomeConfig(
        data=out / "data",
        out=tmp_path / "run",
        modalities=("vision", "action"),
        numbers=False,
        folds=0,
        group="object",
        features=FeatureSettings(size=96, crops=0),
        train=TrainConfig(epochs=1, threads=1),
    )
    run = load_run(train_outcome(config, lambda line: None))
    assert list(run.net["inputs"]) == ["vision", "action"]
    known = load_run(out / "runs" / "vision+action-0")
    assert "place" in known.net["inputs"]
    table = evaluate_outcome(config.out, out / "data")
    assert np.ptp(table.probs) > 0 and np.isfinite(table.probs).all()


def test_labels_by_touch_agree_with_the_simulator(study):
    reader = open_dataset(study[0] / "data")
    assert np.mean(reader.column("label.stable") == reader.column("truth.stable")) >= 0.9


def test_objects_never_cross_folds(study):
    table = study[1].predictions[FULL][0]
    for name in np.unique(table.object):
        assert len(np.unique(table.fold[table.object == name])) == 1


def test_the_motion_in_the_world_is_that_of_the_gripper_turned(study):
    pose, action = np.array([0.5, 0.1, 0.05, 0.3]), np.array([[0.01, -0.004, 0.002, 0.1, 12.0]])
    row = dict(zip(ACTION_NAMES, action_input(action, pose, 9.0)[0].tolist(), strict=True))
    turn = pose[3] + CLOSING_YAW
    np.testing.assert_allclose(row["dx"], np.cos(turn) * 0.01 + np.sin(turn) * 0.004, atol=1e-6)
    np.testing.assert_allclose([row["dforce"], row["force"], row["gripper dx"]], [3.0, 9.0, 0.01], atol=1e-6)
    rows = regrasp_rows(open_dataset(study[0] / "data"))
    still = rows.actions["action"][rows.moment == "regrasp"]
    np.testing.assert_array_equal(still[:, [0, 1, 2, 3, 4, 10, 11, 12]], 0.0)
    np.testing.assert_array_equal(rows.actions["action"][rows.moment == "release"][:, 5], 0.0)


def test_the_predictor_agrees_with_cross_validation_code_on_a_recorded_state(study):
    """An observation rebuilt from disk goes through views, features, net and calibration to a probability."""
    reader = open_dataset(study[0] / "data")
    episode = reader.episode(0)
    model = RegraspPredictor(study[0] / "runs" / f"{FULL}-0")
    actions = np.array([[0, 0, 0, 0, f] for f in (5.0, 20.0)], np.float32)
    first = model.score(model.encode(observation_at(episode, "initial")), actions)
    assert first.shape == (2, 1) and (first > 0).all() and (first < 1).all()
    blind = observation_at(episode, "initial")
    blind = type(blind)(**{**vars(blind), "touch": {}})
    assert np.abs(model.score(model.encode(blind), actions) - first).max() > 1e-6


def test_a_model_without_actions_cannot_plan_and_says_so(study):
    run = study[0] / "runs" / "vision+touch-0"
    assert not (run / "run.json").exists()
    with pytest.raises(RunError):
        RegraspPredictor(run)


def test_commands_collect_evaluate_and_grasp(study, tmp_path, capsys):
    run = str(study[0] / "runs" / f"{FULL}-0")
    assert main(["collect", "regrasp", "--trials", "12", "--out", str(tmp_path / "d"), "--seed", "9", "--workers", "1"]) == 0
    assert main(["evaluate", run, "--data", str(tmp_path / "d"), "--json", str(tmp_path / "e.json")]) == 0
    found = json.loads((tmp_path / "e.json").read_text())
    assert 0 <= found["accuracy"] <= 1 and found["n"] == 36
    command = ["grasp", "regrasp", "--policy", "cylinder", "--objects", "hard", "--trials", "1", "--workers", "1"]
    assert main([*command, "--out", str(tmp_path / "g"), "--json", str(tmp_path / "g.json")]) == 0
    found = json.loads((tmp_path / "g.json").read_text())
    assert found["n"] == 11 and set(found) >= {"per_object", "average_grip_force", "maximum_grip_force"}
    assert found["commanded_force"]["value"] == 10.0
    assert "hard-" in capsys.readouterr().out


def test_a_run_of_the_other_task_is_refused_by_name(study, tmp_path, capsys):
    run = study[0] / "runs" / f"{FULL}-0"
    assert main(["grasp", "gentle", "--policy", str(run), "--out", str(tmp_path / "g")]) == 1
    assert "trained on 'regrasp' trials" in capsys.readouterr().err


def test_data_without_an_initial_grasp_are_refused(study, tmp_path):
    shutil.copytree(study[0] / "grasps" / "cylinder-easy-success", tmp_path / "open")
    with pytest.raises(DataError, match="initial grasp"):
        regrasp_rows(open_dataset(tmp_path / "open"))
