"""Evaluation tables survive a round trip and refuse what contradicts itself."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from palpate.core.errors import DataError, RecordError, SchemaError, UnknownNameError
from palpate.evaluation.inputs import (
    BaselineRow,
    ClosingZone,
    ForceTable,
    GainCurve,
    GraspTable,
    PredictionTable,
    RunInfo,
    TrialPicture,
)

N = 3
PAIRS = np.array([[1.0, 0.0], [0.0, np.nan], [1.0, 1.0]])
PREDICTIONS = PredictionTable(
    model="vision+action",
    split="object",
    seed=4,
    fold=np.arange(N),
    trial=np.array([7, 8, 9]),
    object=np.array(["a", "bé", "c"]),
    pose=np.array(["upright", "lying", "lying"]),
    moment=np.array(["initial", "release", "regrasp"]),
    labels=PAIRS,
    probs=np.full((N, 2), 0.25),
    ablation="touch:zero",
    backbone="small",
)
GRASPS = GraspTable(
    policy="random",
    trial=np.arange(N),
    pose=np.array(["upright", "lying", "lying"]),
    labels=PAIRS,
    truth=PAIRS,
    looks=np.array([1, 2, 3]),
    damage_while_looking=np.array([True, False, True]),
    first_look_harsh=np.array([False, False, True]),
)
FORCES = ForceTable(
    trial=np.arange(N),
    displacement=np.full(N, 0.05),
    position_error=np.full(N, 0.004),
    touch_difference=np.array([1e5, np.nan, 2e5]),
    labels=PAIRS,
    probs=PAIRS,
)
PICTURE = TrialPicture(
    index=2,
    title="t",
    touch_before={"thumb": np.zeros((4, 3, 3), np.uint8)},
    touch_after={"thumb": np.full((4, 3, 3), 9, np.uint8), "middle": np.ones((2, 2, 3), np.uint8)},
    spectrogram=np.zeros((2, 3)),
    frequency_hz=np.array([100.0, 200.0]),
    time=np.arange(3.0),
)
RUN = RunInfo(
    name="run",
    seeds=(1, 2),
    versions={"numpy": "2"},
    commands=("a", "b"),
    config={"x": {"y": [1, 2]}},
    baselines=(BaselineRow(name="oracle", stable=0.9, gentle=0.9, both=0.8, trials=10),),
    model_bytes={"small": 123},
)
ZONE = ClosingZone(low=0.024, high=0.036, trial=np.arange(N), closing=np.full(N, 0.03))
GAIN = GainCurve(size_error_mm=np.ones(2), gain=np.zeros(2), low=-np.ones(2), high=np.ones(2), camera_error_mm=2.5)


def same(a, b):
    for f in fields(a):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype
        elif isinstance(x, dict) and any(isinstance(v, np.ndarray) for v in x.values()):
            assert x.keys() == y.keys()
            for key in x:
                np.testing.assert_array_equal(x[key], y[key])
        else:
            assert x == y, f.name


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("table", [PREDICTIONS, GRASPS, FORCES, PICTURE, RUN, ZONE, GAIN], ids=lambda t: type(t).__name__)
def test_every_table_survives_a_round_trip(table, suffix, tmp_path):
    path = table.save(tmp_path / "deep" / f"table{suffix}")
    same(table, type(table).load(path))


def test_a_toy_column_survives_and_stays_absent_when_it_is(tmp_path):
    named = replace(GRASPS, object=np.array(["a", "b", "a"]))
    same(named, GraspTable.load(named.save(tmp_path / "g.npz")))
    assert GraspTable.load(GRASPS.save(tmp_path / "h.json")).object is None


def test_a_json_table_is_strict_json(tmp_path):
    path = FORCES.save(tmp_path / "f.json")
    json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_files_of_another_kind_or_schema_are_refused(tmp_path):
    path = GRASPS.save(tmp_path / "g.json")
    with pytest.raises(DataError, match="holds a 'GraspTable', not a 'ForceTable'"):
        ForceTable.load(path)
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "schema": 99}))
    with pytest.raises(SchemaError, match="schema 99"):
        GraspTable.load(path)
    stored["values"]["strange"] = 1
    path.write_text(json.dumps(stored))
    with pytest.raises(SchemaError, match="strange"):
        GraspTable.load(path)


def test_unreadable_files_and_other_suffixes_are_named(tmp_path):
    with pytest.raises(DataError, match=r"missing\.npz"):
        GraspTable.load(tmp_path / "missing.npz")
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"bad\.npz"):
        GraspTable.load(tmp_path / "bad.npz")
    with pytest.raises(DataError, match=r"\.npz or \.json"):
        GRASPS.save(tmp_path / "g.csv")


def test_tables_that_contradict_themselves_are_refused():
    with pytest.raises(UnknownNameError, match="object, pose, trial"):
        replace(PREDICTIONS, split="toy")
    with pytest.raises(UnknownNameError, match="unknown moment 'later'"):
        replace(PREDICTIONS, moment=np.array(["initial", "later", "initial"]))
    with pytest.raises(RecordError, match=r"\[0, 1\]"):
        replace(PREDICTIONS, probs=np.full((N, 2), np.nan))
    with pytest.raises(RecordError, match="3 rows"):
        replace(PREDICTIONS, labels=PAIRS[:2])
    with pytest.raises(RecordError, match="comes twice"):
        replace(GRASPS, trial=np.array([1, 1, 2]))
    with pytest.raises(RecordError, match="does not fit its axes"):
        replace(PICTURE, time=None)
    with pytest.raises(RecordError, match="below high"):
        replace(ZONE, low=0.05)
