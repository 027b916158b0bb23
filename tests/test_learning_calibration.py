import numpy as np
import pytest

from palpate.learning.calibration import calibrate, cross_calibrate, fit_calibrators, fit_platt, logit


def overconfident(rng, n):
    """Labels whose log odds are half of what is predicted, and 0.7 higher."""
    z = rng.normal(0, 2, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-(0.5 * z + 0.7)))).astype(float)
    return 1 / (1 + np.exp(-z)), labels


def test_platt_scaling_finds_slope_and_offset():
    a, b = fit_platt(*overconfident(np.random.default_rng(0), 20_000))
    np.testing.assert_allclose([a, b], [0.5, 0.7], atol=0.04)


def test_calibrated_probabilities_are_frequencies_and_keep_their_order():
    rng = np.random.default_rng(1)
    probs, labels = overconfident(rng, 20_000)
    fixed = calibrate(probs[:, None], fit_calibrators(probs[:, None], labels[:, None]))[:, 0]
    for low in (0.2, 0.4, 0.6, 0.8):
        chosen = (fixed >= low) & (fixed < low + 0.1)
        assert abs(fixed[chosen].mean() - labels[chosen].mean()) < 0.04
    np.testing.assert_array_equal(np.argsort(fixed, kind="stable"), np.argsort(probs, kind="stable"))


def test_a_fold_is_calibrated_without_its_own_labels():
    rng = np.random.default_rng(2)
    probs, labels = overconfident(rng, 600)
    fold = np.arange(600) % 3
    before = cross_calibrate(probs[:, None], labels[:, None], fold)
    labels[fold == 0] = 1 - labels[fold == 0]
    after = cross_calibrate(probs[:, None], labels[:, None], fold)
    np.testing.assert_array_equal(before[fold == 0], after[fold == 0])
    assert np.abs(before[fold == 1] - after[fold == 1]).max() > 0.01


@pytest.mark.parametrize("labels", [[1.0, 1.0, 1.0], [np.nan, np.nan, np.nan], [0.0, np.nan, 0.0]])
def test_one_class_alone_changes_nothing(labels):
    assert fit_platt(np.array([0.2, 0.5, 0.9]), np.array(labels)) == (1.0, 0.0)


def test_certain_predictions_stay_finite():
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
    assert np.isfinite(calibrate(np.array([[0.0], [1.0]]), [[2.0, 1.0]])).all()
