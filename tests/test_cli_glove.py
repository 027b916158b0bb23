import json
from pathlib import Path

import numpy as np
import pytest

from palpate.cli.main import main
from palpate.data.reader import open_dataset
from palpate.robots.glove_mapping import SOFTGRASP_TABLE_1, map_angles

SHARED = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.mark.slow
def test_demonstrations_are_collected_resumed_and_alike_with_any_number_of_workers(tmp_path):
    line = ["collect", "softgrasp", "--objects", "6,1", "--seed", "4"]
    assert main([*line, "--demos", "1", "--workers", "1", "--out", str(tmp_path / "one")]) == 0
    assert main([*line, "--demos", "1", "--workers", "2", "--out", str(tmp_path / "two")]) == 0
    a, b = open_dataset(tmp_path / "one"), open_dataset(tmp_path / "two")
    assert len(a) == 2 and a.column("truth.success").tolist() == [1.0, 1.0]
    for row in range(2):
        first, second = a.episode(row), b.episode(row)
        assert first.events == second.events and {"lift", "stable"} <= {event.name for event in first.events}
        for name, stream in first.streams.items():
            np.testing.assert_array_equal(stream.values, second.streams[name].values)


def test_objects_that_are_none_are_refused(tmp_path, capsys):
    for given in ("0-2", "x", "6-1"):
        assert main(["collect", "softgrasp", "--objects", given, "--out", str(tmp_path / "d")]) == 1
        assert "object" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_a_mapping_is_fitted_on_a_recording_and_written(tmp_path, capsys):
    rng = np.random.default_rng(0)
    glove = np.stack([rng.uniform(joint.low, joint.high, 400) for joint in SOFTGRASP_TABLE_1], axis=1)
    np.savez(tmp_path / "both.npz", glove=glove, hand=map_angles(SOFTGRASP_TABLE_1, glove) + rng.normal(0, 0.005, glove.shape))
    assert main(["calibrate", "glove", str(tmp_path / "both.npz"), "--out", str(tmp_path / "m.json")]) == 0
    assert json.loads((tmp_path / "m.json").read_text())
    assert "thumb" in capsys.readouterr().out
    assert main(["calibrate", "glove", str(tmp_path / "absent.npz"), "--out", str(tmp_path / "m.json")]) == 1


@pytest.mark.parametrize(("kind", "folder"), [("softgrasp", "softgrasp_apple21"), ("lerobot", "lerobot_g1_inspire")])
def test_recordings_of_others_are_imported(kind, folder, tmp_path, capsys):
    if not (SHARED / folder).is_dir():
        pytest.skip(f"../shared/data/{folder} not present")
    options = ["--no-videos"] if kind == "lerobot" else []
    assert main(["import", kind, str(SHARED / folder), "--out", str(tmp_path / "d"), *options]) == 0
    assert len(open_dataset(tmp_path / "d")) >= 1
    assert "note:" in capsys.readouterr().out


@pytest.mark.slow
def test_a_policy_is_trained_on_demonstrations_and_tried_in_closed_loop(tmp_path, capsys):
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    assert main(["collect", "softgrasp", "--objects", "6", "--demos", "5", "--workers", "1", "--out", data]) == 0
    assert main(["train", "softgrasp", "--data", data, "--out", run, "--modalities", "angle,torque", "--epochs", "1"]) == 0
    line = [
        "grasp",
        "softgrasp",
        "--policy",
        run,
        "--objects",
        "6",
        "--trials",
        "1",
        "--workers",
        "1",
        "--out",
        str(tmp_path / "l"),
    ]
    assert main([*line, "--json", str(tmp_path / "l.json")]) == 0
    trials = json.loads((tmp_path / "l.json").read_text())["trials"]
    assert trials["trial"] == [0] and 0 <= trials["peak_force_n"][0] < 30
    assert "lifted and held" in capsys.readouterr().out
