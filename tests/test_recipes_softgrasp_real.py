import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from palpate.core.errors import DataError, PalpateError, RunError, UnknownNameError
from palpate.core.recording import series
from palpate.core.records import Episode, Stream, StreamSpec
from palpate.data.external.softgrasp import import_softgrasp
from palpate.data.reader import open_dataset
from palpate.data.writer import EpisodeWriter
from palpate.evaluation.report_demonstration import DemonstrationReport, write_demonstrations
from palpate.learning.checkpoint import Run, save_run
from palpate.learning.loop import TrainConfig
from palpate.recipes.softgrasp import SoftgraspTraining, sensing_notes
from palpate.recipes.softgrasp_data import read_frames
from palpate.recipes.softgrasp_loop import SoftgraspTrials, grasp_softgrasp
from palpate.recipes.softgrasp_real import (
    BlockResult,
    block_splits,
    block_table,
    demonstration_report,
    predict_blocks,
    read_blocks,
    run_tables,
    write_blocks,
)
from palpate.robots.glove_mapping import JOINTS

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "softgrasp_apple21"
REACH = 10
SMALL = SoftgraspTraining(
    modalities=("angle", "torque"),
    frame_dim=16,
    hidden=32,
    train=TrainConfig(epochs=3, batch_size=32, learning_rate=2e-3, precision="fp32", device="cpu", threads=1),
)


def demonstration(index, steps=90, *, straight=False, pictures=0):
    """Joints that close along a line or on a bent way, torques that grow, and noise only where the way is bent."""
    rng, times = np.random.default_rng(index), np.arange(steps) / 30.0
    way = 1.0 - np.linspace(0.1, 0.8, steps)[:, None] * np.linspace(0.5, 1.0, 6)
    if not straight:
        way = way + 0.05 * np.sin(6 * times)[:, None] + 0.001 * rng.normal(size=(steps, 6))
    streams = [
        series("hand.joint_position", way, "share", JOINTS, times, 30.0),
        series("hand.joint_torque", 0.5 * (1.0 - way), "N m", JOINTS, times, 30.0),
    ]
    if pictures:
        spec = StreamSpec(name="camera.rgb", kind="rgb", shape=(24, 32, 3), dtype="uint8", rate_hz=30.0)
        rgb = np.broadcast_to(np.arange(pictures, dtype=np.uint8)[:, None, None, None], (pictures, 24, 32, 3)).copy()
        streams.append(Stream(spec=spec, times=times[:pictures], values=rgb))
    return Episode(index=index, seed=0, task="softgrasp", groups={"object": "thing"}, streams={s.spec.name: s for s in streams})


def write(root, *episodes):
    with EpisodeWriter.create(root, task="softgrasp") as writer:
        for episode in episodes:
            writer.write(episode)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    return write(folder / "data", demonstration(0, pictures=90), demonstration(1, steps=120, pictures=60))


@pytest.fixture(scope="module")
def frames(data):
    return read_frames(open_dataset(data))


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """One demonstration whose joints move evenly, so that the last change again is a perfect prediction."""
    folder = write(tmp_path_factory.mktemp("line") / "data", demonstration(0, straight=True))
    return predict_blocks(folder, SMALL, blocks=3, tell=lambda line: None, progress=False)


def test_every_frame_is_predicted_once_and_no_frame_is_seen_by_both_sides(frames):
    tested = []
    for train, test in block_splits(frames, 3, REACH):
        seen = {int(f) for row in train for f in range(row - REACH, row + 2) if f >= frames.first[row]}
        used = {int(f) for row in test for f in range(row - REACH, row + 2) if f >= frames.first[row]}
        assert len(train) > 50 and not seen & used
        tested.append(test)
    rows = frames.rows(np.arange(2))
    np.testing.assert_array_equal(np.sort(np.concatenate(tested)), rows)


def test_a_block_is_one_stretch_of_time_of_each_demonstration(frames):
    for _, test in block_splits(frames, 3, REACH):
        for number in (0, 1):
            own = test[frames.demonstration[test] == number]
            assert len(own) in (29, 30, 39, 40) and np.all(np.diff(own) == 1)


@pytest.mark.parametrize(("blocks", "message"), [(1, "1 blocks: at least 2"), (500, "too short for 500 blocks")])
def test_blocks_that_leave_nothing_to_learn_or_to_predict_are_refused(frames, blocks, message):
    with pytest.raises(PalpateError, match=message):
        list(block_splits(frames, blocks, REACH))


def test_a_short_demonstration_cannot_be_cut(tmp_path):
    short = read_frames(open_dataset(write(tmp_path / "data", demonstration(0, steps=20))))
    with pytest.raises(DataError, match=r"demonstrations of \[20\] frames are too short for 2 blocks"):
        list(block_splits(short, 2, REACH))


def test_repeating_is_off_by_the_change_and_the_same_change_by_nothing_on_a_line(blocks):
    change = 0.7 / 89 * np.linspace(0.5, 1.0, 6)
    for kind, scale in (("angles", 1.0), ("torques", 0.5)):
        errors = blocks.errors[kind]
        assert list(errors) == ["repeat", "same change", "ridge", "policy"]
        assert all(e.shape == (89, 6) and np.isfinite(e).all() for e in errors.values())
        np.testing.assert_allclose(errors["repeat"], np.tile(scale * change, (89, 1)), rtol=1e-3)
        np.testing.assert_allclose(errors["same change"][1:], 0.0, atol=1e-6)  # the first frame has no change before it
        np.testing.assert_allclose(errors["ridge"], 0.0, atol=scale * 5e-3)


def test_the_table_compares_with_repeating(blocks):
    table = block_table(blocks)
    rows = {row[0]: row for row in table.rows}
    want = 700 / 89 * 0.75
    assert rows["repeat"][1].startswith(f"{want:.2f} [") and rows["repeat"][3] == "-"
    assert float(rows["same change"][3].split(" ")[0]) == pytest.approx(-want, abs=0.1)
    assert "3 blocks of time" in table.note and "share" in table.heads[1][0] and "N m" in table.heads[2][0]


def test_the_same_seed_gives_the_same_errors(data, tmp_path):
    config = replace(SMALL, train=replace(SMALL.train, epochs=1))
    one, two = (predict_blocks(data, config, blocks=2, tell=lambda line: None, progress=False) for _ in range(2))
    np.testing.assert_array_equal(one.errors["angles"]["policy"], two.errors["angles"]["policy"])
    assert sorted(set(one.block.tolist())) == [0, 1, 2, 3]  # two blocks of each of two demonstrations


def test_the_result_is_kept_in_the_run(blocks, tmp_path):
    assert read_blocks(tmp_path) is None
    write_blocks(tmp_path, blocks)
    again = read_blocks(tmp_path)
    assert isinstance(again, BlockResult) and again.trained_on == blocks.trained_on
    np.testing.assert_allclose(again.errors["angles"]["policy"], blocks.errors["angles"]["policy"])
    tables, traces = run_tables(tmp_path)
    assert tables[0].rows == block_table(blocks).rows
    assert [set(trace.errors) for trace in traces] == [{"repeat", "same change", "ridge", "policy"}] * 2
    (tmp_path / "blocks.json").write_text(json.dumps({"time": []}))
    with pytest.raises(DataError, match=r"blocks\.json is damaged"):
        read_blocks(tmp_path)


def run(folder, recipe="softgrasp", held_out=True):
    errors = {"mae": [0.001] * 6, "rmse": [0.002] * 6}
    metrics = {"frames": 9, "held_out": held_out, "angles": {"policy": errors, "repeat": errors}}
    save_run(folder, Run(net={}, train={}, metrics=metrics, weights={}, extra={"recipe": recipe}))
    return folder


def test_a_run_without_blocks_shows_what_its_training_measured(tmp_path):
    (table,), traces = run_tables(run(tmp_path / "a"))
    assert traces == [] and "9 frames of held-out demonstrations" in table.caption
    assert table.rows[0] == ("angles, policy", *["1.00"] * 6)
    (table,), _ = run_tables(run(tmp_path / "b", held_out=False))
    assert "that were learnt from" in table.caption
    with pytest.raises(RunError, match="is a run of 'hardness'"):
        run_tables(run(tmp_path / "c", recipe="hardness"))


def test_demonstrations_play_on_a_page(data, blocks, tmp_path):
    write_blocks(tmp_path, blocks)
    report = demonstration_report(data, (0,), tmp_path)
    assert [e.index for e in report.episodes] == [0] and "came without stages" in report.notes[0]
    text = write_demonstrations(tmp_path / "page.html", report, "made up").read_text()
    assert text.count("data:image/webp;base64,") == 1 and text.count("data:image/jpeg;base64,") == 8
    assert "0.0 s, preparation" in text and "One-step prediction" in text and "against repeat" in text


def test_a_demonstration_without_pictures_plays_its_curves(tmp_path):
    out = write_demonstrations(tmp_path / "page.html", DemonstrationReport(episodes=[demonstration(0)], stages=()), "no camera")
    text = out.read_text()
    assert "No pictures were recorded" in text and "data:image/webp" in text and "none found" in text


def test_what_cannot_be_shown_is_told(data, tmp_path):
    with pytest.raises(DataError, match=r"has no demonstrations \[7\]; it has \[0, 1\]"):
        demonstration_report(data, (7,))
    with pytest.raises(DataError, match="no demonstration to show"):
        write_demonstrations(tmp_path / "page.html", DemonstrationReport(episodes=[], stages=()), "nothing")
    bare = replace(demonstration(0, pictures=5), streams={"camera.rgb": demonstration(0, pictures=5).streams["camera.rgb"]})
    with pytest.raises(DataError, match="none of joint angles, torques and forces"):
        write_demonstrations(tmp_path / "page.html", DemonstrationReport(episodes=[bare], stages=()), "bare")


def test_frames_before_the_first_command_are_left_out(tmp_path):
    episode = demonstration(0)
    told = episode.streams["hand.joint_position"]
    late = series("hand.command", told.values[1:], "share", JOINTS, told.times[1:] + 0.001, 30.0)
    folder = write(tmp_path / "data", replace(episode, streams={**episode.streams, "hand.command": late}))
    config = replace(SMALL, train=replace(SMALL.train, epochs=1))
    result = predict_blocks(folder, config, blocks=2, tell=lambda line: None, progress=False)
    assert 80 < len(result.time) < 89
    assert all(np.isfinite(errors).all() for rows in result.errors.values() for errors in rows.values())


def test_the_real_recording_is_predicted_in_blocks(tmp_path):
    if not REAL.is_dir():
        pytest.skip(f"no folder {REAL}")
    import_softgrasp(REAL, tmp_path / "data")
    result = predict_blocks(tmp_path / "data", SMALL, tell=lambda line: None, progress=False)
    assert len(result.time) == 149 and len(set(result.block.tolist())) == 5
    mean = {kind: {name: 1000 * float(e.mean()) for name, e in rows.items()} for kind, rows in result.errors.items()}
    np.testing.assert_allclose([mean["angles"]["repeat"], mean["torques"]["repeat"]], [2.09, 10.67], atol=0.01)
    np.testing.assert_allclose([mean["angles"]["same change"], mean["torques"]["same change"]], [2.45, 8.43], atol=0.01)
    assert mean["angles"]["policy"] < 100.0


def test_a_slow_torque_stream_is_told(tmp_path):
    episode = demonstration(0, pictures=40)
    torque = episode.streams["hand.joint_torque"]
    slow = replace(torque, times=torque.times[:30:3], values=torque.values[:30:3])
    reader = open_dataset(write(tmp_path / "data", replace(episode, streams={**episode.streams, "hand.joint_torque": slow})))
    frames = read_frames(reader)
    known = np.arange(90) / 30.0 <= 27 / 30.0 + 0.2 + 1e-6
    rate, lost = sensing_notes(frames, reader)
    assert rate == "hand.joint_torque comes 10 times a second, the policy works at 30: a sample is held for at most 0.2 s"
    assert lost == f"hand.joint_torque is not known in {np.mean(~known):.1%} of the frames; they count as without it"
    pictured = np.arange(90) < 46
    last = sensing_notes(replace(frames, image=np.zeros((90, 1)), pictured=pictured), reader)[-1]
    assert last == "camera.rgb is not known in 48.9% of the frames; they count as without it"


def test_the_data_of_another_hand_are_refused(tmp_path):
    spec = {"unit": "rad", "names": ("a", "b"), "times": np.arange(9) / 30.0, "rate_hz": 30.0}
    streams = {n: series(n, np.zeros((9, 2)), **spec) for n in ("hand.joint_position", "hand.joint_torque")}
    with EpisodeWriter.create(tmp_path / "data", task="gentle") as writer:
        writer.write(Episode(index=0, seed=0, task="gentle", streams=streams))
    with pytest.raises(DataError, match=r"task 'gentle' .* has \(2,\) values a sample; a SoftGrasp policy moves a hand of 6"):
        read_frames(open_dataset(tmp_path / "data"))


def test_an_unknown_object_is_refused_before_any_worker_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("palpate.recipes.softgrasp_loop.SoftgraspController", lambda folder, modalities: None)
    with pytest.raises(UnknownNameError, match="unknown object of SoftGrasp '13'"):
        grasp_softgrasp(SoftgraspTrials(policy=tmp_path, out=tmp_path / "out", objects=(1, 13), trials=1))
    assert not (tmp_path / "out").exists()
