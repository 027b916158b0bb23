"""Ordinal regression on samples whose order is known."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit

from palpate.core.errors import DataError
from palpate.learning.ordinal import _loss, fit_ordinal


def samples(seed=0, n=4000):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    latent = x @ np.array([1.5, -0.7, 0.0]) + rng.logistic(size=n)
    return x, np.digitize(latent, [-1.0, 0.5]).astype(float)


def test_weights_and_cuts_of_the_true_model_are_found():
    x, y = samples()
    model = fit_ordinal(x, y, penalty=1e-3)
    np.testing.assert_allclose(model.weights / model.scale, [1.5, -0.7, 0.0], atol=0.12)
    shift = model.weights / model.scale @ model.mean
    np.testing.assert_allclose(model.cuts + shift, [-1.0, 0.5], atol=0.12)


def test_the_gradient_is_that_of_the_loss():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 4)), rng.integers(0, 4, 40)
    theta = rng.normal(size=7)
    numeric = approx_fprime(theta, lambda t: _loss(t, x, y, 0.7)[0], 1e-7)
    np.testing.assert_allclose(_loss(theta, x, y, 0.7)[1], numeric, atol=1e-4)


def test_two_classes_are_logistic_regression():
    x, y = samples()
    y = (y > 0).astype(float)
    model = fit_ordinal(x, y, penalty=1e-3)
    probability = model.probability(x)[:, 1]
    np.testing.assert_allclose(probability, expit(model.score(x) - model.cuts[0]), atol=1e-12)
    assert probability.mean() == pytest.approx(y.mean(), abs=1e-3)


def test_probabilities_add_up_and_class_values_are_kept():
    x, y = samples(n=300)
    model = fit_ordinal(x, 10 * y + 5)
    assert model.classes.tolist() == [5, 15, 25]
    np.testing.assert_allclose(model.probability(x).sum(axis=1), 1.0)
    assert set(model.predict(x)) <= {5.0, 15.0, 25.0}
    assert (np.diff(model.cuts) > 0).all()
    np.testing.assert_array_equal(np.argsort(model.expected(x)), np.argsort(model.score(x)))


def test_units_of_features_do_not_matter_and_constants_get_no_weight():
    x, y = samples(n=300)
    a = fit_ordinal(x, y).expected(x)
    scaled = np.column_stack([x * [1e-3, 1e3, 1.0] + [5, -2, 0], np.full(300, 7.0)])
    model = fit_ordinal(scaled, y)
    np.testing.assert_allclose(model.expected(scaled), a, atol=1e-4)
    assert model.weights[3] == 0.0


def test_a_larger_penalty_shrinks_the_weights():
    x, y = samples(n=300)
    sizes = [np.linalg.norm(fit_ordinal(x, y, penalty=p).weights) for p in (0.1, 10, 1000)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_what_cannot_be_fitted_is_refused():
    x, y = samples(n=20)
    for features, labels, penalty, message in (
        (x, np.ones(20), 1.0, "at least two"),
        (x, y[:5], 1.0, "are needed"),
        (np.where(x > 0, np.nan, x), y, 1.0, "not finite"),
        (x, y, 0.0, "more than 0"),
    ):
        with pytest.raises(DataError, match=message):
            fit_ordinal(features, labels, penalty=penalty)
    with pytest.raises(DataError, match="as in training"):
        fit_ordinal(x, y).score(x[:, :2])
