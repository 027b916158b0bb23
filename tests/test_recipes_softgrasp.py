import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from palpate.core.errors import DataError, PalpateError, RecordError, RunError
from palpate.data.external.softgrasp import import_softgrasp
from palpate.data.reader import open_dataset
from palpate.learning.loop import TrainConfig, run_net
from palpate.recipes.softgrasp import SoftgraspTraining, one_step_lines, train_softgrasp
from palpate.recipes.softgrasp_data import PICTURE, PictureSettings, read_frames, with_pictures
from palpate.recipes.softgrasp_policy import ControlSettings, SoftgraspController, load_softgrasp
from palpate.recipes.softgrasp_samples import Scaling, Windows, held_out
from softgrasp_fakes import LIFT, STEPS, demonstration, observations, write

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "softgrasp_apple21"
TINY = PictureSettings(size=32)
FAST = TrainConfig(epochs=8, batch_size=64, learning_rate=2e-3, lr_decay=0.9, precision="fp32", device="cpu", threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("softgrasp") / "data", [demonstration(i) for i in range(9)])


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("softgrasp-runs")
    common = {"pictures": TINY, "train": FAST, "frame_dim": 16, "hidden": 64}
    configs = {
        "softgrasp": SoftgraspTraining(**common),
        "felt": SoftgraspTraining(modalities=("angle", "torque"), drop_rate=0.2, **common),
        "act": SoftgraspTraining(strategy="act", modalities=("angle",), **common),
    }
    for name, config in configs.items():
        train_softgrasp(data, root / name, config, tell=lambda line: None, progress=False)
    return {name: root / name for name in configs}


def metrics(run):
    return json.loads((run / "run.json").read_text())["metrics"]


# -- frames ----------------------------------------------------------------------------------------------------------------------------


def test_frames_tell_what_comes_one_frame_later_and_never_beyond_their_demonstration(data):
    reader = open_dataset(data)
    frames = read_frames(reader)
    first = reader.episode(0)
    assert frames.target == "command" and len(frames) == 9 * STEPS
    np.testing.assert_allclose(frames.next_angle[10], first.streams["hand.command"].values[10])  # there is no command at time 0
    np.testing.assert_allclose(frames.next_torque[10], first.streams["hand.joint_torque"].values[11])
    ends = np.arange(1, 10) * STEPS - 1
    assert np.isnan(frames.next_angle[ends]).all() and np.isnan(frames.next_torque[ends]).all()
    assert not np.isin(ends, frames.rows(np.arange(9))).any()
    np.testing.assert_allclose(
        read_frames(reader, target="position").next_angle[10], first.streams["hand.joint_position"].values[11]
    )


def test_samples_are_three_frames_five_apart_and_the_first_stands_for_those_before_it(data):
    frames = read_frames(open_dataset(data))
    rows = np.array([STEPS + 0, STEPS + 3, STEPS + 20])
    windows = Windows(
        frames=frames, rows=rows, scaling=Scaling(angle=(0.0, 2.0), torque=(0.0, 1.0)), modalities=("angle",), chunk=4
    )
    batch = windows.batch(np.arange(3))
    expected = frames.angle[STEPS + np.array([[0, 0, 0], [0, 0, 3], [10, 15, 20]])] / 2.0
    np.testing.assert_allclose(batch.inputs["angle"], expected, atol=1e-6)
    np.testing.assert_allclose(batch.targets["angles"], frames.next_angle[rows] / 2.0, atol=1e-6)
    np.testing.assert_allclose(batch.targets["chunk"][2], frames.next_angle[STEPS + 20 : STEPS + 24] / 2.0, atol=1e-6)
    late = replace(windows, rows=np.array([2 * STEPS - 3])).batch(np.arange(1))
    assert np.isnan(late.targets["chunk"][0]).all(axis=1).tolist() == [False, False, True, True]


def test_noise_is_on_what_was_sensed_before_and_never_on_the_present(data):
    frames = read_frames(open_dataset(data))
    rows = frames.rows(np.arange(2))[:40]
    exact = Windows(frames=frames, rows=rows, scaling=Scaling.of(frames, rows), modalities=("angle", "torque"))
    noisy = replace(exact, history_noise=0.05)
    one, two = (next(w.epoch(np.random.default_rng(0), 40)) for w in (exact, noisy))
    for name in ("angle", "torque"):
        off = two.inputs[name] - one.inputs[name]
        assert np.all(off[:, -1] == 0.0) and 0.04 < off[:, :-1].std() < 0.06
        np.testing.assert_array_equal(two.targets["angles"], one.targets["angles"])


def test_the_moments_before_the_lift_are_told_from_earlier_ones(data):
    lift = read_frames(open_dataset(data), lift_window=0.2).lift[:STEPS]
    assert np.flatnonzero(lift == 1).tolist() == list(range(LIFT - 5, LIFT + 1))
    assert np.isnan(lift[LIFT + 1 :]).all() and (lift[: LIFT - 5] == 0).all()


def test_a_slow_torque_stream_is_held_and_a_dead_one_is_absent(tmp_path):
    dead = demonstration(2)
    torque = dead.streams["hand.joint_torque"]
    short = replace(torque, times=torque.times[:20], values=torque.values[:20])
    dead = replace(dead, streams={**dead.streams, "hand.joint_torque": short})
    frames = read_frames(open_dataset(write(tmp_path / "d", [demonstration(1, torque_every=3), dead])))
    np.testing.assert_array_equal(frames.torque[3], frames.torque[5])
    assert (frames.torque[5] != frames.torque[6]).any()
    known = np.isfinite(frames.torque[STEPS:]).all(axis=1)
    assert known[:25].all() and not known[27:].any()


def test_frames_without_a_picture_are_known_as_such(tmp_path):
    reader = open_dataset(write(tmp_path / "d", [demonstration(0, pictures=30), demonstration(1, absent=("camera.rgb",))]))
    frames = with_pictures(read_frames(reader), reader, PictureSettings(backbone="resnet18"), progress=False)
    assert frames.image is not None and frames.image.shape == (2 * STEPS, *PICTURE, 3)
    assert frames.pictured[:36].all() and not frames.pictured[37:].any()
    windows = Windows(
        frames=frames, rows=np.arange(2 * STEPS), scaling=Scaling.of(frames, np.arange(9)), modalities=("image", "angle")
    )
    assert windows.present()[:, 0].sum() == frames.pictured.sum() and windows.present()[:, 1].all()


def test_demonstrations_that_lost_the_object_are_no_examples(tmp_path):
    root = write(tmp_path / "d", [demonstration(0), demonstration(1, held=0.0), demonstration(2)])
    assert read_frames(open_dataset(root)).trial.tolist() == [0, 2]
    with pytest.raises(DataError, match="no demonstration to learn from"):
        read_frames(open_dataset(write(tmp_path / "none", [demonstration(0, held=0.0)])))


def test_a_missing_stream_is_named(tmp_path):
    reader = open_dataset(write(tmp_path / "d", [demonstration(0, absent=("hand.joint_torque", "camera.rgb"))]))
    with pytest.raises(DataError, match=r"hand\.joint_torque"):
        read_frames(reader)
    silent = open_dataset(write(tmp_path / "e", [demonstration(0, absent=("hand.command", "camera.rgb"))]))
    assert read_frames(silent).target == "position"
    with pytest.raises(DataError, match=r"hand\.command"):
        read_frames(silent, target="command")
    with pytest.raises(DataError, match=r"camera\.rgb"):
        with_pictures(read_frames(silent), silent, TINY)


def test_whole_demonstrations_of_every_object_are_held_out(data):
    frames = read_frames(open_dataset(data))
    test = held_out(frames, 0.3, 0)
    assert [int(test[frames.object == name].sum()) for name in np.unique(frames.object)] == [1, 1, 1]
    alone = replace(frames, trial=frames.trial[:1], object=frames.object[:1])
    assert not held_out(alone, 0.3, 0).any()


# -- training --------------------------------------------------------------------------------------------------------------------------


def test_training_learns_and_reports_on_held_out_demonstrations(runs):
    found = metrics(runs["softgrasp"])
    assert found["held_out"] and found["history"][-1]["angles"] < 0.5 * found["history"][0]["angles"]
    for kind in ("angles", "torques"):
        for name in ("policy", "repeat"):
            assert len(found[kind][name]["mae"]) == 6 and min(found[kind][name]["mae"]) > 0
    assert sum(found["attention"].values()) == pytest.approx(1.0, abs=1e-5)
    assert any("held-out" in line for line in one_step_lines(found))
    assert "torques" not in metrics(runs["act"]) and "attention" not in metrics(runs["act"])


def test_repeating_the_last_value_is_measured_in_the_units_of_the_data(data, runs):
    frames = read_frames(open_dataset(data))
    out = json.loads((runs["felt"] / "run.json").read_text())
    rows = frames.rows(np.flatnonzero(np.isin(frames.trial, out["extra"]["held_out"])))
    off = np.abs(frames.next_torque[rows] - frames.torque[rows])
    np.testing.assert_allclose(out["metrics"]["torques"]["repeat"]["mae"], np.nanmean(off, axis=0), rtol=1e-5)


def test_the_same_seed_trains_the_same_policy(data, tmp_path, runs):
    config = SoftgraspTraining(
        modalities=("angle", "torque"), drop_rate=0.2, pictures=TINY, train=FAST, frame_dim=16, hidden=64
    )
    again = train_softgrasp(data, tmp_path / "again", config, tell=lambda line: None, progress=False)
    assert (again / "weights.safetensors").read_bytes() == (runs["felt"] / "weights.safetensors").read_bytes()


def test_a_finished_run_is_not_overwritten(data, runs):
    with pytest.raises(RunError, match="finished run"):
        train_softgrasp(data, runs["felt"])


def test_a_single_demonstration_is_measured_on_itself_and_says_so(tmp_path):
    root, lines = write(tmp_path / "d", [demonstration(0, lift=False)]), []
    config = SoftgraspTraining(modalities=("angle", "torque"), train=replace(FAST, epochs=1))
    run = train_softgrasp(root, tmp_path / "run", config, tell=lines.append, progress=False)
    assert not metrics(run)["held_out"] and any("TRAINED on" in line for line in lines)
    controller = load_softgrasp(run)
    commands = [controller.act(observation) for observation in observations(demonstration(0))]
    assert not any(command.lift for command in commands) and "lift" not in commands[0].predicted


# -- control ---------------------------------------------------------------------------------------------------------------------------


def test_a_controller_predicts_what_the_net_does_on_the_same_frames(data, runs):
    reader = open_dataset(data)
    frames = with_pictures(read_frames(reader), reader, TINY, progress=False)
    controller = load_softgrasp(runs["softgrasp"])
    windows = Windows(frames=frames, rows=np.arange(STEPS - 1), scaling=controller.scaling, modalities=controller.modalities)
    outputs = run_net(controller.net, windows)
    controller.reset(np.random.default_rng(0))
    commands = [controller.act(observation) for observation in observations(reader.episode(0))][:-1]
    expected = controller.scaling.to_unit("angle", outputs["angles"].numpy())
    np.testing.assert_allclose([command.joints for command in commands], expected, atol=1e-4)
    torques = controller.scaling.to_unit("torque", outputs["torques"].numpy())
    np.testing.assert_allclose([command.predicted["torques"] for command in commands], torques, atol=1e-4)
    scores = np.array([command.predicted["attention"] for command in commands])
    np.testing.assert_allclose(scores, outputs["attention"], atol=1e-3)


def test_a_controller_lifts_when_the_grasp_is_held_and_not_before(runs):
    controller = load_softgrasp(runs["felt"], ControlSettings(lift_periods=3))
    lifts = [controller.act(observation).lift for observation in observations(demonstration(30))]
    assert any(lifts) and LIFT - 15 <= lifts.index(True) <= LIFT + 3


def test_a_policy_that_hesitates_lifts_later_but_lifts(runs, monkeypatch):
    controller = load_softgrasp(runs["felt"], ControlSettings(lift_periods=6))
    seen = list(observations(demonstration(30)))[:20]
    for probability, periods in ((0.99, 7), (0.4, 15), (0.1, None)):
        controller.reset(np.random.default_rng(0))
        out = {"angles": np.full(6, 0.5), "lift": np.log(probability / (1.0 - probability))}
        monkeypatch.setattr(controller, "_predict", lambda out=out: dict(out))
        lifts = [controller.act(observation).lift for observation in seen]
        assert (lifts.index(True) + 1 if any(lifts) else None) == periods
        assert not any(lifts) or all(lifts[lifts.index(True) :])


def test_episodes_do_not_leak_into_each_other(runs):
    for name in ("softgrasp", "act"):
        controller = load_softgrasp(runs[name], ControlSettings(smoothing=0.5))
        seen = list(observations(demonstration(4)))[:25]
        first = [controller.act(observation).joints for observation in seen]
        controller.reset(np.random.default_rng(1))
        np.testing.assert_array_equal(first, [controller.act(observation).joints for observation in seen])


def test_smoothing_keeps_a_share_of_the_last_command(runs):
    plain, smooth = (load_softgrasp(runs["felt"], ControlSettings(smoothing=share)) for share in (0.0, 0.75))
    seen = list(observations(demonstration(4)))[:20]
    raw = np.array([plain.act(observation).joints for observation in seen])
    expected = [raw[0]]
    for angles in raw[1:]:
        expected.append(0.75 * expected[-1] + 0.25 * angles)
    np.testing.assert_allclose([smooth.act(observation).joints for observation in seen], expected, atol=1e-9)


def test_act_averages_what_its_chunks_planned_for_now(runs):
    controller = load_softgrasp(runs["act"])
    seen = list(observations(demonstration(4)))[:3]
    chunks, commands = [], []
    for observation in seen:
        commands.append(controller.act(observation).joints)
        chunks.append(controller.scaling.to_unit("angle", controller.chunks[-1]))
    weights = np.exp(-0.01 * np.arange(3))
    planned = np.stack([chunks[0][2], chunks[1][1], chunks[2][0]])
    np.testing.assert_allclose(commands[2], (weights[:, None] * planned).sum(0) / weights.sum(), atol=1e-9)


def test_a_policy_asked_for_what_it_was_not_trained_on_says_so(runs):
    with pytest.raises(PalpateError, match="not trained on image"):
        SoftgraspController(runs["felt"], modalities=("image", "angle"))
    with pytest.raises(PalpateError, match="cannot do without image"):
        SoftgraspController(runs["softgrasp"], modalities=("angle", "torque"))
    assert SoftgraspController(runs["felt"], modalities=("angle",)).modalities == ("angle",)


def test_a_lost_sensor_is_an_error_unless_training_knew_of_it(runs):
    seen = next(observations(demonstration(4)))
    blind = replace(seen, camera=None)
    with pytest.raises(RecordError, match="needs image"):
        load_softgrasp(runs["softgrasp"]).act(blind)
    numb = replace(seen, joint_torque=np.full(6, np.nan))
    with pytest.raises(RecordError, match="needs torque"):
        load_softgrasp(runs["softgrasp"]).act(numb)
    command = load_softgrasp(runs["felt"]).act(numb)
    assert np.isfinite(command.joints).all() and command.predicted["attention"][2] == 0.0
    with pytest.raises(RecordError, match="angle, torque"):
        load_softgrasp(runs["felt"]).act(replace(numb, joint_position=None))


def test_settings_that_would_never_move_are_refused():
    with pytest.raises(PalpateError, match="smoothing"):
        ControlSettings(smoothing=1.0)
    with pytest.raises(PalpateError, match="frameskip"):
        SoftgraspTraining(frameskip=0)


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/softgrasp_apple21 not present")
def test_the_real_recording_trains_and_is_compared_with_repeating_the_last_value(tmp_path):
    import_softgrasp(REAL, tmp_path / "data")
    config = SoftgraspTraining(modalities=("angle", "torque"), train=FAST, frame_dim=16, hidden=64)
    run = train_softgrasp(tmp_path / "data", tmp_path / "run", config, tell=lambda line: None, progress=False)
    found = metrics(run)
    assert found["frames"] == 149 and not found["held_out"]
    assert max(found["angles"]["policy"]["mae"]) < 0.05 and max(found["angles"]["repeat"]["mae"]) < 0.02
    extra = json.loads((run / "run.json").read_text())["extra"]
    assert (
        extra["target"] == "position" and not extra["lifts"] and extra["units"]["hand.joint_torque"] == "force register / 1000"
    )
