"""The importer of SoftGrasp demonstrations, on made-up recordings of the authors' layout and on the real one."""

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from palpate.core.errors import DataError
from palpate.data.external.findings import Findings
from palpate.data.external.softgrasp import JOINTS, import_softgrasp, read_softgrasp
from palpate.data.reader import open_dataset

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "softgrasp_apple21"


def recording(folder, name, *, rows=12, pictures=None, size=(24, 32), registers=False, **change):
    """A recording whose picture number t is as bright as 5 t; `change` replaces arrays, None takes one away."""
    rng = np.random.default_rng(0)
    joint, force = rng.uniform(0, 1, (rows, 6)), rng.normal(0.2, 0.1, (rows, 6))
    actions = np.zeros((rows, 18))
    actions[:, :6], actions[:, 6::2] = rng.normal(size=(rows, 6)), joint
    unit = 1000.0 if registers else 1.0
    content = {"joint": joint * unit, "force": force * unit, "actions": actions, "rewards": np.zeros(1, int), **change}
    place = folder / "test_recordings" / name
    (place / name).mkdir(parents=True)
    (place / f"{name}.pickle").write_bytes(pickle.dumps({k: v for k, v in content.items() if v is not None}, protocol=4))
    for t in range(rows) if pictures is None else pictures:
        cv2.imwrite(str(place / name / f"{t}.jpg"), np.full((*size, 3), 5 * t, np.uint8))
    cv2.imwrite(str(place / name / "masked_0.jpg"), np.full((*size, 3), 255, np.uint8))
    return joint, force


def lists(folder, **splits):
    (folder / "data_csv").mkdir(parents=True)
    for split, names in splits.items():
        lines = ["Time,Successful insertion,Duration,Approach end marked", *(f"{name},,," for name in names)]
        (folder / "data_csv" / f"{split}.csv").write_text("\n".join(lines))


def read(folder, **options):
    findings = Findings()
    return list(read_softgrasp(folder, findings, **options)), findings


def test_a_recording_becomes_an_episode(tmp_path):
    joint, force = recording(tmp_path, "exp_red_apple_21")
    (episode,), findings = read(tmp_path, rate_hz=10.0)
    assert (episode.task, episode.groups) == ("softgrasp", {"recording": "exp_red_apple_21", "object": "red_apple"})
    assert set(episode.streams) == {"camera.rgb", "hand.joint_position", "hand.joint_torque", "arm.pose"}
    np.testing.assert_allclose(episode.streams["hand.joint_position"].values, joint, atol=1e-7)
    np.testing.assert_allclose(episode.streams["hand.joint_torque"].values, force, atol=1e-7)
    for stream in episode.streams.values():
        np.testing.assert_allclose(stream.times, np.arange(12) / 10.0, atol=1e-12)
        assert stream.spec.rate_hz == 10.0
    assert episode.streams["hand.joint_position"].spec.names == JOINTS
    assert findings.left_out == []
    assert findings.notes == [f"exp_red_apple_21: joints and forces found to be scaled already (largest joint {joint.max():g})"]


def test_pictures_are_in_order_of_their_numbers_not_of_their_names(tmp_path):
    recording(tmp_path, "exp_apple_1", rows=25)
    (episode,), _ = read(tmp_path)
    brightness = episode.streams["camera.rgb"].values.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(brightness, 5.0 * np.arange(25), atol=1.5)


def test_registers_are_told_from_shares_and_give_the_same(tmp_path):
    recording(tmp_path / "a", "exp_apple_1")
    recording(tmp_path / "b", "exp_apple_1", registers=True)
    ((one,), _), ((two,), findings) = read(tmp_path / "a"), read(tmp_path / "b")
    for name in ("hand.joint_position", "hand.joint_torque"):
        np.testing.assert_allclose(one.streams[name].values, two.streams[name].values, rtol=1e-6)
    assert any("found to be registers" in note and "divided by 1000" in note for note in findings.notes)


def test_the_scale_can_be_told(tmp_path):
    joint, _ = recording(tmp_path, "exp_apple_1")
    (episode,), findings = read(tmp_path, scaled=False)
    np.testing.assert_allclose(episode.streams["hand.joint_position"].values, joint / 1000, rtol=1e-6)
    assert any("told to be registers" in note for note in findings.notes)


def test_an_assumed_rate_is_said(tmp_path):
    recording(tmp_path, "exp_apple_1")
    (episode,), findings = read(tmp_path)
    np.testing.assert_allclose(episode.streams["camera.rgb"].times[-1], 11 / 30)
    assert any("30 rows a second assumed" in note for note in findings.notes)


def test_rows_without_a_picture_and_pictures_without_a_row_are_dropped_and_counted(tmp_path):
    joint, _ = recording(tmp_path, "exp_apple_1", rows=12, pictures=[*range(4), *range(6, 11), 12, 13, 14])
    (tmp_path / "test_recordings/exp_apple_1/exp_apple_1/8.jpg").write_bytes(b"no picture")
    (tmp_path / "test_recordings/exp_apple_1/exp_apple_1/9.jpg").write_bytes(b"")
    (episode,), findings = read(tmp_path, rate_hz=1.0)
    kept = [0, 1, 2, 3, 6, 7, 10]
    for stream in episode.streams.values():
        np.testing.assert_allclose(stream.times, kept)
    np.testing.assert_allclose(episode.streams["hand.joint_position"].values, joint[kept], atol=1e-7)
    np.testing.assert_allclose(episode.streams["camera.rgb"].values.mean(axis=(1, 2, 3)), 5.0 * np.array(kept), atol=1.5)
    for said in ("2 pictures cannot be decoded", "5 of 12 rows have no picture", "3 of 12 pictures have no row"):
        assert any(said in note for note in findings.notes), said


def test_what_is_absent_stays_absent(tmp_path):
    recording(tmp_path, "Sunday_12_30", pictures=[], actions=None)
    (episode,), findings = read(tmp_path)
    assert set(episode.streams) == {"hand.joint_position", "hand.joint_torque"}
    assert "object" not in episode.groups
    assert any("12 rows without camera" in note for note in findings.notes)


def test_splits_are_kept_and_leaks_are_told(tmp_path):
    for name in ("exp_a_1", "exp_b_1"):
        recording(tmp_path, name)
    lists(tmp_path, train=["exp_a_1", "exp_b_1", "2024-01-01 12:00"], val=["exp_b_1"])
    (one, two), findings = read(tmp_path)
    assert one.groups["split"] == "train" and "split" not in two.groups
    assert any("1 recordings are in more than one split" in note and "exp_b_1" in note for note in findings.notes)
    assert findings.left_out == ["2024-01-01 12_00: named by train.csv, but there is no 2024-01-01 12_00.pickle"]


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_bad_recordings_are_left_out_and_named_and_the_others_come(tmp_path):
    trap = tmp_path / "trap"
    rows = np.zeros((12, 6))
    recording(tmp_path, "good_1")
    for name, change in {
        "evil": {"rewards": Malicious(trap)},
        "narrow": {"joint": rows[:, :5]},
        "short": {"force": rows[:11]},
        "holes": {"joint": np.where(np.arange(12)[:, None] == 3, np.nan, rows)},
        "forceless": {"force": None},
        "other": {"joint": rows + 3000.0},
        "words": {"joint": [["a"]]},
        "empty": {"joint": rows[:0], "force": rows[:0], "actions": np.zeros((0, 18))},
    }.items():
        recording(tmp_path, name, **change)
    recording(tmp_path, "small", size=(12, 16))
    (tmp_path / "test_recordings/cut.pickle").write_bytes(pickle.dumps({"joint": rows})[:40])
    (tmp_path / "test_recordings/list.pickle").write_bytes(pickle.dumps([1]))
    episodes, findings = read(tmp_path)
    assert [(e.index, e.groups["recording"]) for e in episodes] == [(0, "good_1")]
    said = "\n".join(findings.left_out)
    assert len(findings.left_out) == 11
    for message in (
        "evil.pickle is refused: it asks for posix.mkdir",
        "joint is (12, 5) float64; it must be numbers (T, 6)",
        "'joint': 12, 'force': 11, 'actions': 12} rows",
        "joint has 1 rows that are not finite, the first is row 3",
        "has no 'force', only ['actions', 'joint', 'rewards']",
        "the largest joint value is 3000",
        "joint is list",
        "joint is (0, 6) float64",
        "pictures of (12, 16, 3), those before have (24, 32, 3)",
        "cut.pickle is refused",
        "list.pickle holds a list",
    ):
        assert message in said, message
    assert not trap.exists()


def test_nothing_to_import_is_an_error_with_the_reasons(tmp_path):
    with pytest.raises(DataError, match=r"no NAME\.pickle"):
        read(tmp_path)
    recording(tmp_path, "exp_a_1", joint=np.full((12, 6), 1e6))
    with pytest.raises(DataError, match=r"nothing could be imported:\n.*largest joint value"):
        import_softgrasp(tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="rate_hz is 0"):
        read(tmp_path, rate_hz=0.0)


def test_the_data_folder_holds_what_was_read(tmp_path):
    recording(tmp_path / "in", "exp_apple_1")
    done = import_softgrasp(tmp_path / "in", tmp_path / "out", rate_hz=10.0)
    assert (done.episodes, done.left_out) == (1, ())
    (want,), _ = read(tmp_path / "in", rate_hz=10.0)
    got = open_dataset(done.out)[0]
    for name in ("hand.joint_position", "hand.joint_torque", "arm.pose"):
        np.testing.assert_array_equal(got.streams[name].values, want.streams[name].values)
    np.testing.assert_allclose(got.streams["camera.rgb"].values, want.streams["camera.rgb"].values, atol=3)  # JPEG again


def test_the_real_recording_reads():
    if not REAL.is_dir():
        pytest.skip(f"no folder {REAL}")
    (episode,), findings = read(REAL)
    assert episode.groups["object"] == "apple"
    assert episode.streams["camera.rgb"].values.shape == (150, 480, 640, 3)
    joint, torque = (episode.streams[name].values for name in ("hand.joint_position", "hand.joint_torque"))
    assert joint.shape == torque.shape == (150, 6)
    np.testing.assert_allclose([joint.max(), torque.min(), torque.max()], [0.997, -0.035, 1.193], atol=1e-6)
    assert np.flatnonzero(torque.sum(axis=1) > 0.5)[0] == 55
    np.testing.assert_allclose(episode.streams["arm.pose"].values[0, 2], 0.0435, atol=1e-6)
    assert any("scaled already" in note for note in findings.notes)
    assert any("exp_apple_21 (train, val, test)" in note for note in findings.notes)
