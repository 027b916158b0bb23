"""Taxel features carry over to recordings whose sensors have drifted."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from palpate.core.errors import DataError, UnknownNameError
from palpate.learning.baselines import Baseline, centre_on_calibration
from palpate.perception.taxels import TaxelNormaliser, draw_calibration, session_agreement

SIZE = 6
BTS3 = Path(__file__).parents[1].parent / "shared" / "data" / "bts3_biotac_shadow"


def made_up(rng, recordings=24, rows=40, drift=300.0, flip=False):
    """Three fingers of six taxels; drift common to a finger; with `flip`, finger 0 answers inversely in session 1."""
    pattern = np.tile([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], 3) * 60.0
    x, y, group, session = [], [], [], []
    for r in range(recordings):
        label = np.arange(rows) % 2
        sign = np.ones(3 * SIZE)
        if flip and r % 2:
            sign[:SIZE] = -1.0
        offset = 2500 + np.repeat(rng.normal(0, drift, 3), SIZE) + rng.normal(0, 40, 3 * SIZE)
        if r % 2:
            offset[:SIZE] += 1000.0
        x.append(offset + np.outer(label - 0.5, pattern * sign) + rng.normal(0, 50, (rows, 3 * SIZE)))
        y.append(label)
        group += [f"object{r}"] * rows
        session += [f"pose{r % 2}"] * rows
    return np.concatenate(x), np.concatenate(y), np.array(group), np.array(session)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_without_calibration_the_features_still_tell_the_outcome_under_drift_never_seen(rng):
    x, y, group, _ = made_up(rng)
    normaliser = TaxelNormaliser.fit(x, group)
    model = Baseline("logistic").fit(normaliser.augment(x, group, rng), y)
    new_x, new_y, _, _ = made_up(rng, recordings=20, drift=900.0)
    assert np.mean((model.probability(normaliser.transform(new_x)) > 0.5) == new_y) > 0.85


def test_calibration_makes_features_independent_of_a_large_offset(rng):
    x, _, group, _ = made_up(rng)
    normaliser = TaxelNormaliser.fit(x, group, inflation=100.0)
    rows = np.flatnonzero(group == "object3")
    chosen, rest = rows[:20], rows[20:]
    plain = normaliser.transform(x[rest], x[chosen])
    moved = normaliser.transform(x[rest] + 400.0, x[chosen] + 400.0)
    np.testing.assert_allclose(moved, plain, atol=0.05)
    assert np.abs(normaliser.transform(x[rest] + 400.0)[:, :18] - normaliser.transform(x[rest])[:, :18]).max() > 0.05


def test_many_calibration_grasps_amount_to_centring_by_their_mean(rng):
    x, _, group, _ = made_up(rng, drift=2000.0)
    normaliser = TaxelNormaliser.fit(x, group, inflation=1e3)
    rows = group == "object0"
    calibration = np.repeat(x[rows], 500, axis=0)
    expected = (x[rows] - x[rows].mean(axis=0)) / np.sqrt(np.diag(normaliser.within))
    got = normaliser.transform(x[rows], calibration)
    np.testing.assert_allclose(got[:, :18], 3.0 * np.tanh(expected / 3.0), atol=0.01)
    np.testing.assert_allclose(got[:, -1], 1.0, atol=1e-3)


def test_features_of_a_row_do_not_depend_on_the_other_rows(rng):
    x, _, group, _ = made_up(rng)
    normaliser = TaxelNormaliser.fit(x, group)
    np.testing.assert_allclose(normaliser.transform(x)[7], normaliser.transform(x[7:8])[0], atol=1e-5)


def test_a_finger_that_answers_differently_between_sessions_is_doubtful_and_masked_where_strange(rng):
    x, y, group, session = made_up(rng, flip=True, drift=50.0)
    agreement = session_agreement(x, group, session, y)
    assert agreement[0] < -0.9
    assert agreement[1:].min() > 0.9
    normaliser = TaxelNormaliser.fit(x, group, session, y)
    assert normaliser.doubtful.tolist() == [True, False, False]
    strange = x.copy()
    strange[:, :SIZE] += 5000.0
    features = normaliser.transform(strange)
    assert not features[:, 18].any()
    assert not features[:, :SIZE].any()
    assert features[:, 19:21].all()
    assert normaliser.transform(x)[:, 18].mean() > 0.9


def test_every_finger_is_trusted_without_knowledge_of_sessions(rng):
    x, y, group, _ = made_up(rng, flip=True)
    assert not TaxelNormaliser.fit(x, group, None, y).doubtful.any()
    np.testing.assert_array_equal(session_agreement(x, group, np.full(len(x), "one"), y), np.ones(3))


def test_augmentation_depends_on_the_generator_only_and_covers_cases_with_and_without_calibration(rng):
    x, _, group, _ = made_up(rng)
    normaliser = TaxelNormaliser.fit(x, group)
    first, again = (normaliser.augment(x, group, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    shares = {round(float(v), 3) for v in first[:, -1]}
    assert {0.0, round(3 / 6, 3), round(10 / 13, 3), round(40 / 43, 3)} <= shares
    assert first.shape == (len(x), normaliser.dimension)
    assert first.dtype == np.float32


def test_state_survives_json(rng):
    x, y, group, session = made_up(rng, flip=True)
    normaliser = TaxelNormaliser.fit(x, group, session, y)
    again = TaxelNormaliser.from_dict(json.loads(json.dumps(normaliser.to_dict())))
    for calibration in (None, x[:10]):
        np.testing.assert_array_equal(normaliser.transform(x[:40], calibration), again.transform(x[:40], calibration))
    with pytest.raises(DataError, match="centres"):
        TaxelNormaliser.from_dict({k: v for k, v in normaliser.to_dict().items() if k != "centres"})


def test_wrong_input_is_refused_with_what_is_allowed(rng):
    x, _, group, _ = made_up(rng)
    normaliser = TaxelNormaliser.fit(x, group)
    with pytest.raises(DataError, match="18"):
        normaliser.transform(x[:, :12])
    with pytest.raises(DataError, match="not finite"):
        normaliser.transform(np.where(x > 2500, np.nan, x))
    with pytest.raises(DataError, match="at least 2 recordings"):
        TaxelNormaliser.fit(x, np.full(len(x), "one"))
    with pytest.raises(DataError, match="multiple of 5"):
        TaxelNormaliser.fit(x, group, fingers=5)


def test_calibration_is_drawn_at_random_within_each_recording(rng):
    group = np.repeat(["a", "b"], [50, 5])
    drawn = draw_calibration(group, 10, rng)
    assert len(drawn["a"]) == 10
    assert drawn["a"].max() > 10
    assert drawn["a"].max() < 50
    np.testing.assert_array_equal(drawn["b"], np.arange(50, 55))


@pytest.mark.parametrize("name", ["logistic", "forest"])
def test_baselines_learn_what_is_there_and_nothing_from_shuffled_labels(rng, name):
    x = rng.normal(size=(400, 5))
    y = (x[:, 0] > 0).astype(int)
    good = Baseline(name, trees=30).fit(x[:200], y[:200]).probability(x[200:])
    bad = Baseline(name, trees=30).fit(x[:200], rng.permutation(y[:200])).probability(x[200:])
    assert np.mean((good > 0.5) == y[200:]) > 0.9
    assert abs(np.mean((bad > 0.5) == y[200:]) - 0.5) < 0.2


def test_baselines_refuse_what_they_cannot_use(rng):
    with pytest.raises(UnknownNameError, match="forest"):
        Baseline("boost")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="both outcomes"):
        Baseline("logistic").fit(rng.normal(size=(5, 2)), np.ones(5))
    with pytest.raises(DataError, match="fit it first"):
        Baseline("logistic").probability(rng.normal(size=(5, 2)))


def test_centring_uses_the_calibration_where_there_is_any():
    x = np.array([[3.0, 5.0]])
    np.testing.assert_array_equal(centre_on_calibration(x, np.array([1.0, 1.0])), [[2.0, 4.0]])
    np.testing.assert_array_equal(
        centre_on_calibration(x, np.array([1.0, 1.0]), np.array([[2.0, 4.0], [4.0, 8.0]])), [[0.0, -1.0]]
    )


def test_features_beat_raw_taxels_on_a_pose_left_out_of_real_recordings():
    if not BTS3.is_dir():
        pytest.skip("../shared/data/bts3_biotac_shadow not present")
    rows = []
    for path in sorted(BTS3.glob("bts3v2_palm_*.csv")):
        with path.open(newline="") as file:
            rows += [(path.stem, *row) for row in list(csv.reader(file))[1:]]
    pose, thing = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    y, x = np.array([int(r[2]) for r in rows]), np.array([r[3:] for r in rows], float)
    group = np.char.add(np.char.add(pose, "|"), thing)
    rng = np.random.default_rng(0)
    raw, none, ten = [], [], []
    for held in np.unique(pose):
        train = pose != held
        normaliser = TaxelNormaliser.fit(x[train], group[train], pose[train], y[train])
        assert normaliser.doubtful.tolist() == [True, False, False]
        features = np.concatenate([normaliser.augment(x[train], group[train], rng) for _ in range(2)])
        model = Baseline("logistic", penalty=10.0).fit(features, np.tile(y[train], 2))
        plain = Baseline("logistic").fit(x[train], y[train])
        raw.append(np.mean((plain.probability(x[~train]) > 0.5) == y[~train]))
        none.append(np.mean((model.probability(normaliser.transform(x[~train])) > 0.5) == y[~train]))
        drawn = draw_calibration(np.where(train, "", group), 10, rng)
        for name, chosen in drawn.items():
            if name:
                rest = np.setdiff1d(np.flatnonzero(group == name), chosen)
                ten.append(np.mean((model.probability(normaliser.transform(x[rest], x[chosen])) > 0.5) == y[rest]))
    assert np.mean(raw) < 0.70
    assert np.mean(none) > 0.74
    assert np.mean(ten) > 0.82
