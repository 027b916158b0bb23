"""Metrics against numbers worked out by hand, and the scores of a study."""

import numpy as np
import pytest

from palpate.core.errors import DataError, UnknownNameError
from palpate.core.randomness import generator
from palpate.evaluation import metrics
from palpate.evaluation.inputs import PredictionTable
from palpate.evaluation.paper import BEST_FOLD, TABLE_I, TABLE_II
from palpate.evaluation.scores import FULL, Study, canonical, per_trial, sort_models

NAN = float("nan")
LABELS = np.array([[1, 1], [1, 0], [0, 1], [0, 0], [1, NAN]])
PROBS = np.array([[0.9, 0.8], [0.6, 0.7], [0.5, 0.4], [0.1, 0.2], [0.3, 0.9]])


def table(labels, probs, *, model=FULL, seed=0, trial=None, moment="initial", **more):
    n = len(labels)
    trial = np.arange(n) if trial is None else np.asarray(trial)
    fields = {
        "model": model,
        "split": "trial",
        "seed": seed,
        "fold": trial % 2,
        "trial": trial,
        "object": np.char.add("toy", (trial % 3).astype(str)),
        "pose": np.full(n, "upright"),
        "moment": np.full(n, moment),
        "labels": np.asarray(labels, float),
        "probs": np.asarray(probs, float),
    }
    return PredictionTable(**{**fields, **more})


def test_accuracy_counts_only_known_labels_and_half_is_a_yes():
    # stable: yes, yes, wrong (0.5 is a yes), yes, wrong = 3/5; gentle: yes, wrong, wrong, yes = 2/4; both: rows 0 and 3 = 2/4.
    np.testing.assert_allclose(metrics.accuracy(LABELS, PROBS), (0.6, 0.5, 0.5), atol=1e-12)
    np.testing.assert_array_equal(metrics.correct(LABELS, PROBS)[:, 2], [1, 0, 0, 1, NAN])


def test_accuracy_without_known_labels_is_unknown():
    assert np.isnan(metrics.accuracy(np.full((2, 2), NAN), PROBS[:2])).all()


def test_classes_are_in_the_papers_order():
    np.testing.assert_array_equal(metrics.class_index(LABELS), [0, 1, 2, 3, -1])
    np.testing.assert_array_equal(metrics.class_counts(np.vstack([LABELS, [[0, 1]]])), [[1, 1], [2, 1]])


def test_confusion_has_actual_rows_and_predicted_columns():
    expected = np.zeros((4, 4), int)
    expected[0, 0] = 1  # (1,1) seen as (1,1)
    expected[1, 0] = 1  # (1,0) seen as (1,1)
    expected[2, 1] = 1  # (0,1) seen as (1,0)
    expected[3, 3] = 1
    np.testing.assert_array_equal(metrics.confusion(LABELS, PROBS), expected)


def test_the_papers_tables_agree_with_its_text():
    assert TABLE_I.sum() == 1500
    np.testing.assert_array_equal(TABLE_II.sum(axis=0), [472, 447, 730, 151])
    np.testing.assert_allclose(np.trace(TABLE_II) / 1800, BEST_FOLD, atol=5e-5)


def test_brier_by_hand():
    np.testing.assert_allclose(metrics.brier(np.array([1, 0, NAN]), np.array([0.8, 0.4, 0.0])), (0.04 + 0.16) / 2)


def test_calibration_error_by_hand():
    # bin 0.2-0.3: mean 0.25, observed 0.5 (2 samples); bin 0.9-1.0: mean 0.95, observed 1 (2 samples, one of them at 1.0).
    label, prob = np.array([0, 1, 1, 1, NAN]), np.array([0.21, 0.29, 0.90, 1.0, 0.5])
    diagram = metrics.reliability(label, prob)
    np.testing.assert_allclose(diagram.predicted, [0.25, 0.95])
    np.testing.assert_allclose(diagram.observed, [0.5, 1.0])
    np.testing.assert_array_equal(diagram.count, [2, 2])
    np.testing.assert_allclose(metrics.expected_calibration_error(label, prob), (0.25 + 0.05) / 2)


def test_auc_by_hand_with_ties():
    # pairs (yes, no): (0.8, 0.3) won, (0.8, 0.5) won, (0.5, 0.3) won, (0.5, 0.5) tied.
    np.testing.assert_allclose(metrics.auc(np.array([1, 1, 0, 0, NAN]), np.array([0.8, 0.5, 0.3, 0.5, 0.9])), 3.5 / 4)
    assert np.isnan(metrics.auc(np.ones(3), np.arange(3.0)))


def test_majority_comes_from_the_other_folds():
    labels = np.array([[1, 1], [1, 1], [1, 1], [0, 1], [0, 1], [NAN, 1]])
    fold = np.array([0, 0, 0, 1, 1, 1])
    probs = metrics.majority_probs(labels, fold)
    np.testing.assert_array_equal(probs[:3], [[0, 1]] * 3)
    np.testing.assert_array_equal(probs[3:], [[1, 1]] * 3)
    with pytest.raises(DataError, match="two folds"):
        metrics.majority_probs(labels, np.zeros(6))
    with pytest.raises(DataError, match="outside fold"):
        metrics.majority_probs(np.full((2, 2), NAN), np.array([0, 1]))


def test_values_are_averaged_per_trial_then_over_seeds():
    one = table([[1, 1], [1, 1], [0, 1]], [[0.9, 0.9], [0.1, 0.9], [0.1, 0.9]], trial=[4, 4, 7])
    two = table([[1, 1], [0, 1]], [[0.1, 0.9], [0.9, 0.9]], trial=[4, 7], seed=1)
    values = per_trial([one, two], "initial", metrics.correct)
    np.testing.assert_array_equal(values.trial, [4, 7])
    # trial 4: stable (1 + 0) / 2 by seed 0, 0 by seed 1; trial 7: 1 and 0.
    np.testing.assert_allclose(values.values[:, 0], [0.25, 0.5])
    np.testing.assert_allclose(values.per_seed[:, 0], [0.75, 0.0])
    with pytest.raises(DataError, match="no prediction at moment 'regrasp'"):
        per_trial([one], "regrasp", metrics.correct)


def test_moments_do_not_mix():
    rng = generator(7, 0)
    labels = rng.integers(0, 2, (60, 2)).astype(float)
    first = table(labels, 1 - labels)
    both = table(
        np.vstack([labels, labels]),
        np.vstack([1 - labels, labels]),
        trial=np.tile(np.arange(60), 2),
        moment=np.repeat(["initial", "regrasp"], 60),
    )
    for t in (first, both):
        assert Study([t], resamples=50).accuracy([t])["both"].value == 0.0
    assert Study([both], resamples=50).accuracy([both], "regrasp")["both"].value == 1.0


def test_a_difference_is_paired_on_common_trials_and_has_the_sign_of_the_first():
    rng = generator(8, 0)
    labels = rng.integers(0, 2, (200, 2)).astype(float)
    good = table(labels, np.where(rng.random((200, 2)) < 0.9, labels, 1 - labels))
    bad = table(
        labels[50:],
        np.where(rng.random((150, 2)) < 0.6, labels[50:], 1 - labels[50:]),
        trial=np.arange(50, 200),
        model="action",
    )
    study = Study([good, bad], group="trial", resamples=300)
    gain, loss = study.difference([good], [bad])["both"], study.difference([bad], [good])["both"]
    assert gain.n == 150
    assert gain.low > 0.2
    assert gain.excludes_zero
    np.testing.assert_allclose([loss.value, loss.low, loss.high], [-gain.value, -gain.high, -gain.low], atol=1e-12)
    apart = table(labels, labels, trial=np.arange(1000, 1200), model="action", seed=3)
    with pytest.raises(DataError, match="share no trial"):
        study.difference([good], [apart])


def test_a_study_adds_the_majority_and_keeps_a_given_one():
    labels = np.tile([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]], (10, 1))
    made = Study([table(labels, labels)])
    assert made.models("trial") == ("majority", FULL)
    np.testing.assert_allclose(made.accuracy(made.select("majority", "trial"))["both"].value, 2 / 3)
    given = Study([table(labels, labels), table(labels, 1 - labels, model="majority")])
    assert given.accuracy(given.select("majority", "trial"))["both"].value == 0.0


def test_a_study_refuses_twins_and_unknown_groupings():
    t = table(LABELS, PROBS)
    with pytest.raises(DataError, match="two prediction tables"):
        Study([t, table(LABELS, PROBS)])
    with pytest.raises(UnknownNameError, match="auto, object, trial"):
        Study([t], group="hand")


def test_toys_are_resampled_only_if_there_are_enough():
    n = 40
    labels = generator(9, 0).integers(0, 2, (n, 2)).astype(float)
    few = table(labels, labels)
    many = table(labels, labels, object=np.char.add("toy", (np.arange(n) % 10).astype(str)))
    assert Study([few]).group == "trial"
    assert Study([many]).group == "object"
    assert Study([many], group="trial").group == "trial"


def test_calibration_averages_over_seeds():
    labels = np.array([[1.0, 1], [0, 1], [1, 0], [0, 0]])
    sure = table(labels, np.abs(labels - 0.1))
    poor = table(labels, np.abs(labels - 0.7), seed=1)
    c = Study([sure, poor], resamples=50).calibration([sure, poor], 0)
    np.testing.assert_allclose(c.brier.value, (0.01 + 0.49) / 2)
    np.testing.assert_allclose(c.error, (0.1 + 0.7) / 2)
    np.testing.assert_allclose(c.auc.value, (1.0 + 0.0) / 2)


def test_model_names_are_brought_into_one_form_and_order():
    assert canonical("action + touch+vision") == FULL
    assert canonical("random") == "random"
    assert sort_models([FULL, "oracle", "action", "majority", "vision+audio+action"]) == (
        "majority",
        "action",
        "vision+audio+action",
        FULL,
        "oracle",
    )
