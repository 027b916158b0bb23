import csv
import json

import numpy as np
import pytest

from palpate.cli.main import main
from palpate.core.errors import PalpateError, UnknownNameError
from palpate.recipes.taxel_outcome import Grasps, TaxelConfig, judge, splits

pytestmark = pytest.mark.slow

COLUMNS = ["object", "slipped", *(f"{f}_biotac_{i}" for f in ("ff", "mf", "th") for i in range(1, 25))]


def write_csv(path, seed, n_objects=8, per_object=30, drift=150.0, first=0):
    """Grasps whose firmness shows in a few taxels of each finger, on top of offsets that differ by recording."""
    rng = np.random.default_rng(seed)
    pattern = np.random.default_rng(99).normal(size=72) * 60
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for k in range(first, first + n_objects):
            offset = 2500 + np.repeat(rng.normal(0, drift, 3), 24) + rng.normal(0, 20, 72)
            for _ in range(per_object):
                firm = rng.normal()
                taxels = offset + firm * pattern + rng.normal(0, 25, 72)
                writer.writerow([f"thing{k}", int(firm + 0.3 * rng.normal() < 0), *np.rint(taxels).astype(int)])
    return path


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    root = tmp_path_factory.mktemp("bts3")
    files = [write_csv(root / f"set_palm_{pose}.csv", i) for i, pose in enumerate(("down", "side"))]
    assert main(["import", "bts3", *map(str, files), "--out", str(root / "data")]) == 0
    new = write_csv(root / "new_palm_45.csv", 5, n_objects=4, drift=300.0, first=50)
    assert main(["import", "bts3", str(new), "--out", str(root / "new")]) == 0
    return root


def test_a_model_trained_on_taxels_beats_chance_on_new_objects_and_calibration_helps(imported, capsys):
    run = imported / "run"
    assert (
        main(["train", "outcome", "--data", str(imported / "data"), "--out", str(run), "--group", "object", "--folds", "2"])
        == 0
    )
    text = capsys.readouterr().out
    assert "logistic, centred" in text and "K = all" in text
    scores = {}
    for k in (0, 10, -1):
        out = imported / f"e{k}.json"
        assert main(["evaluate", str(run), "--data", str(imported / "new"), "--calibrate", str(k), "--json", str(out)]) == 0
        scores[k] = json.loads(out.read_text())
    assert scores[10]["accuracy"] > 0.85 and scores[-1]["accuracy"] > 0.85
    assert scores[10]["accuracy"] >= scores[0]["accuracy"] - 0.01
    assert scores[0]["n"] == 120 and scores[0]["interval"][0] <= scores[0]["accuracy"] <= scores[0]["interval"][1]


def grasps(n_objects=6, poses=("a", "b"), n=5) -> Grasps:
    thing = np.repeat([f"o{i}" for i in range(n_objects)], n * len(poses))
    pose = np.tile(np.repeat(poses, n), n_objects)
    rng = np.random.default_rng(0)
    return Grasps(
        taxels=rng.normal(size=(len(thing), 6)),
        stable=rng.integers(0, 2, len(thing)).astype(float),
        object=thing,
        pose=pose,
        recording=np.char.add(np.char.add(pose, "|"), thing),
        fingers=3,
    )


@pytest.mark.parametrize("group", ["object", "pose", "object+pose"])
def test_what_is_held_out_is_never_trained_on(group, tmp_path):
    data = grasps()
    tested = []
    for train, test in splits(data, TaxelConfig(data=tmp_path, out=tmp_path, group=group, folds=3)):
        if "object" in group:
            assert not set(data.object[train]) & set(data.object[test])
        if "pose" in group:
            assert not set(data.pose[train]) & set(data.pose[test])
        tested.extend(test)
    assert sorted(tested) == list(range(len(data.stable))), "every grasp is tested once"


def test_calibration_grasps_are_not_scored_and_their_labels_are_not_used():
    data = grasps(n=12)
    seen = []

    def predictor(taxels, calibration):
        seen.append((len(taxels), None if calibration is None else len(calibration)))
        return np.ones(len(taxels))

    right = judge(predictor, data, 10, seed=0)
    assert all(k == 10 and n == 2 for n, k in seen)
    scored = np.isfinite(right)
    np.testing.assert_array_equal(right[scored], data.stable[scored])
    seen.clear()
    assert np.isfinite(judge(predictor, data, -1, seed=0)).all() and seen[0] == (12, 12)


def test_bad_requests_are_explained(imported, tmp_path, capsys):
    with pytest.raises(UnknownNameError, match="allowed: object, object\\+pose, pose, trial"):
        next(splits(grasps(), TaxelConfig(data=tmp_path, out=tmp_path, group="weekday")))
    with pytest.raises(PalpateError, match="at least 2 poses"):
        next(splits(grasps(poses=("a",)), TaxelConfig(data=tmp_path, out=tmp_path, group="pose")))
    broken = tmp_path / "broken.csv"
    broken.write_text(",".join(COLUMNS) + "\nmug,0," + ",".join(["12"] * 71 + ["n/a"]) + "\n")
    assert main(["import", "bts3", str(broken), "--out", str(tmp_path / "d")]) == 1
    message = capsys.readouterr().err
    assert ("broken.csv" in message and "row 1" in message) or "row 2" in message
    assert "th_biotac_24" in message
