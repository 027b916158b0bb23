import json
import re
from pathlib import Path

import numpy as np
import pytest

from palpate.cli.main import main
from palpate.core.errors import PalpateError
from palpate.core.records import Observation
from palpate.data.reader import open_dataset
from palpate.perception.hand_held import HandEvidence
from palpate.quality.friction import grasp_qualities
from palpate.recipes.collection import CollectConfig
from palpate.recipes.dexterous_task import DexterousTask, collect_dexterous, draw_grasp, recorded_contacts
from palpate.worlds.dexterous import DexterousConfig

pytestmark = pytest.mark.slow

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "dexgraspnet_shadow"
TASK = DexterousTask(world=DexterousConfig(n_objects=4))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole demo, as small as it can be; its data serve the other tests."""
    out = tmp_path_factory.mktemp("hand") / "demo"
    assert (
        main(["demo", "dexterous", "--out", str(out), "--grasps", "30", "--trials", "2", "--epochs", "1", "--workers", "1"])
        == 0
    )
    return out


def test_the_demo_ends_in_a_page_with_pictures_and_tables(demo):
    page, text = (demo / "report.html").read_text(), (demo / "summary.txt").read_text()
    assert page.count("data:image/jpeg") >= 4 and "data:image/svg" in page
    assert not re.search(r"(?:src|href)=['\"](?:https?:|//)", page)
    for words in (
        "30 random reachable grasps",
        "second: RGB-D + joints + touch",
        "first estimate",
        "second estimate",
        "random",
    ):
        assert words in text
    loop = open_dataset(demo / "loops" / "second")
    assert len(loop) == 2 and np.isfinite(loop.column("array.predicted")).all()


def test_a_grasp_is_labelled_by_touch_and_joints_and_quality_comes_back_from_the_file(demo, tmp_path):
    reader = open_dataset(demo / "data")
    episode = reader.episode(0)
    evidence = DexterousTask().evidence(episode)
    assert HandEvidence.restore(evidence.array()) == evidence
    assert evidence.force[0] == pytest.approx(sum(_net(episode, "contact")), abs=1e-6)
    touched = reader.column("truth.reachable") == 1
    contacts = recorded_contacts(demo / "data")
    assert len(contacts) == touched.sum()
    q = [found.q for found in grasp_qualities(contacts)]
    np.testing.assert_allclose(q, reader.column("label.quality")[touched], atol=2e-4)
    assert main(["quality", str(demo / "data"), "--json", str(tmp_path / "q.json")]) == 0
    np.testing.assert_allclose([row["q"] for row in json.loads((tmp_path / "q.json").read_text())["grasps"]], q, atol=1e-9)


def _net(episode, event):
    streams = (s for s in episode.streams.values() if s.spec.kind == "taxels")
    return [float(np.linalg.norm((s.at(episode.event(event)) - s.values[0]).sum(axis=0))) for s in streams]


def test_equal_seeds_give_equal_grasps_with_any_number_of_workers_and_after_a_resume(tmp_path):
    one = CollectConfig(out=tmp_path / "one", task=TASK, trials=5, seed=3, workers=1)
    collect_dexterous(one)
    for trials in (2, 5):
        collect_dexterous(
            CollectConfig(out=tmp_path / "two", task=TASK, trials=trials, seed=3, workers=2, lifetime=2, resume=True)
        )
    a, b = open_dataset(tmp_path / "one"), open_dataset(tmp_path / "two")
    for row in range(5):
        first, second = a.episode(row), b.episode(row)
        assert first.labels == second.labels and first.streams.keys() == second.streams.keys()
        for name, stream in first.streams.items():
            np.testing.assert_array_equal(stream.values, second.streams[name].values)


def test_closed_loop_trials_start_alike_and_their_rates_are_written(tmp_path):
    line = ["grasp", "dexterous", "--policy", "random", "--trials", "3", "--objects", "3", "--workers", "1"]
    assert main([*line, "--out", str(tmp_path / "a"), "--json", str(tmp_path / "a.json")]) == 0
    rates = json.loads((tmp_path / "a.json").read_text())
    assert rates["n"] == 3 and 0 <= rates["accuracy"] <= 1 and rates["policy"] == "random"
    assert rates["trials"]["looks"] == [1.0, 1.0, 1.0]


def test_a_grasp_of_nothing_is_refused():
    with pytest.raises(PalpateError, match="object_position"):
        draw_grasp(Observation(), np.random.default_rng(0))


def test_quality_of_a_file_of_contacts_and_of_a_folder_without_any(tmp_path, capsys):
    pinch = {
        "object_radius_m": 0.04,
        "contacts": [
            {"position_m": [side * 0.04, 0, 0], "normal": [-side, 0, 0], "friction": 0.5, "torsion_radius_m": 0.002}
            for side in (1, -1)
        ],
        "external_wrench": [0, 0, -0.15, 0, 0, 0],
    }
    (tmp_path / "pinch.json").write_text(json.dumps(pinch))
    assert main(["quality", str(tmp_path / "pinch.json")]) == 0
    assert "q 0.7408" in capsys.readouterr().out  # exp(-.15 / .5)
    assert main(["quality", str(tmp_path / "pinch.json"), "--solver", "epsilon"]) == 0
    (tmp_path / "bad.json").write_text(json.dumps({**pinch, "object_radius_m": -1}))
    assert main(["quality", str(tmp_path / "bad.json")]) == 1
    assert "object_radius_m" in capsys.readouterr().err


def test_grasps_of_dexgraspnet_close_in_the_world_and_are_scored(tmp_path, capsys):
    if not SHARED.is_dir():
        pytest.skip(f"../shared/data/{SHARED.name} not present")
    out = tmp_path / "dgn"
    assert main(["import", "dexgraspnet", str(SHARED), "--out", str(out), "--grasps", "2", "--workers", "1"]) == 0
    reader = open_dataset(out)
    assert len(reader) == 4 and (reader.column("array.fingers")[:, 0] >= 2).sum() >= 2
    text = capsys.readouterr().out
    assert (out / "grasps.html").read_text().count("data:image/jpeg") == 8
    assert "two fingers" in text and "beyond the hand's range" in text
    assert reader.episode(0).streams["camera.front"].values.shape == (1, 360, 480, 3)
