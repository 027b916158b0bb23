import json
from collections import Counter

import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.perception.stability import HoldFeatures, StabilityConfig, StabilityLabeller, fit_logistic

NOISE = 0.0003


def hold_trial(rng):
    """Features of one trial and whether the object is still held; joint noise moves every distance by 0.3 mm."""
    kind = rng.choice(["held", "dropped", "missed", "collided"], p=[0.5, 0.25, 0.15, 0.1])
    width, squeeze = rng.uniform(0.042, 0.075), rng.uniform(0.001, 0.012, 2)
    if kind == "held":
        gap, before, after = width - rng.uniform(0, 0.01), squeeze, squeeze * rng.uniform(0.7, 1.1, 2)
    elif kind == "dropped":
        gap, before, after = width - squeeze.sum(), squeeze * rng.uniform(0.3, 1.0, 2), np.zeros(2)
    elif kind == "missed":
        gap, before, after = rng.uniform(0.02, 0.07), np.zeros(2), np.zeros(2)
    else:
        gap, after = rng.uniform(0.0, 0.006), rng.uniform(0.004, 0.015, 2)
        before = after * rng.uniform(0.8, 1.2, 2)
    before, after = (np.abs(e + rng.normal(0, NOISE, 2)) for e in (before, after))
    gap = abs(gap + rng.normal(0, NOISE))
    return HoldFeatures(gap_m=gap, error_lift_m=tuple(before), error_hold_m=tuple(after)), kind


def taught(rng, n=30, config=None):
    labeller = StabilityLabeller(config)
    for _ in range(n):
        features, kind = hold_trial(rng)
        labeller.supervise(features, kind == "held")
    return labeller


def test_the_logistic_fit_is_a_minimum_of_its_loss():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = (x @ [2.0, -1.0, 0.0] + rng.normal(size=200) > 0.5).astype(float)
    weight = rng.uniform(0.3, 1.0, 200)
    w = fit_logistic(x, y, weight, 0.1)
    inputs = np.column_stack([x, np.ones(200)])

    def loss(w):
        z = inputs @ w
        return np.sum(weight * (np.logaddexp(0, z) - y * z)) + 0.05 * np.sum(w[:3] ** 2)

    for i in range(4):
        step = 1e-5 * np.eye(4)[i]
        assert abs(loss(w + step) - loss(w - step)) / 2e-5 < 1e-4


def test_the_logistic_fit_agrees_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 4))
    y = (x[:, 0] - x[:, 1] + rng.logistic(size=300) > 0).astype(float)
    reference = sklearn.LogisticRegression(C=1 / 0.5, tol=1e-10, max_iter=1000).fit(x, y)
    ours = fit_logistic(x, y, np.ones(300), 0.5)
    np.testing.assert_allclose(ours, np.append(reference.coef_, reference.intercept_), atol=1e-4)


def test_separable_classes_give_finite_weights():
    x = np.array([[-1.0], [-0.5], [0.5], [1.0]])
    w = fit_logistic(x, np.array([0.0, 0.0, 1.0, 1.0]), np.ones(4), 0.1)
    assert np.isfinite(w).all()
    assert w[0] > 0


@pytest.mark.parametrize("seed", range(5))
def test_thirty_supervised_trials_label_the_rest(seed):
    rng = np.random.default_rng(seed)
    labeller = taught(rng)
    right, asked = Counter(), Counter()
    total = Counter()
    for _ in range(400):
        features, kind = hold_trial(rng)
        label = labeller.update(features)
        total[kind] += 1
        right[kind] += label.stable == (kind == "held")
        asked[kind] += label.ambiguous
    assert sum(right.values()) / 400 >= 0.97, right
    assert sum(asked.values()) / 400 < 0.12


def test_fingers_that_hit_each_other_are_unstable_though_far_from_their_targets():
    labeller = taught(np.random.default_rng(3), 40)
    for error in (0.005, 0.010, 0.015):
        for gap in (0.0, 0.003, 0.006):
            features = HoldFeatures(gap_m=gap, error_lift_m=(error, error), error_hold_m=(error, error))
            assert not labeller.label(features).stable


def test_wide_open_fingers_without_an_object_are_unstable():
    labeller = taught(np.random.default_rng(4), 40)
    assert not labeller.label(HoldFeatures(gap_m=0.07, error_lift_m=(0.0002, 0.0004), error_hold_m=(0.0003, 0.0001))).stable
    assert labeller.label(HoldFeatures(gap_m=0.05, error_lift_m=(0.006, 0.005), error_hold_m=(0.006, 0.005))).stable


def test_a_trial_between_the_classes_is_flagged():
    labeller = taught(np.random.default_rng(5), 40)
    errors = np.linspace(0.0, 0.006, 200)
    labels = [labeller.label(HoldFeatures(gap_m=0.05, error_lift_m=(0.006, 0.006), error_hold_m=(e, e))) for e in errors]
    assert not labels[0].stable
    assert labels[-1].stable
    assert any(label.ambiguous for label in labels)
    for label in labels:
        assert label.stable == (label.probability > 0.5)
        assert label.ambiguous == (0.2 < label.probability < 0.8)
    assert np.all(np.diff([label.probability for label in labels]) > -0.02)


def test_refitting_on_own_labels_sharpens_and_does_not_harm():
    gains, unsure = [], []
    for seed in range(10):
        frozen, learning = (taught(np.random.default_rng(seed), 12) for _ in range(2))
        rng = np.random.default_rng(100 + seed)
        for _ in range(150):
            learning.update(hold_trial(rng)[0])
        test = [hold_trial(rng) for _ in range(200)]

        def judged(labeller, test=test):
            labels = [labeller.label(features) for features, _ in test]
            right = np.mean([label.stable == (kind == "held") for label, (_, kind) in zip(labels, test, strict=True)])
            return right, np.mean([label.ambiguous for label in labels])

        before, after = judged(frozen), judged(learning)
        gains.append(after[0] - before[0])
        unsure.append(after[1] - before[1])
    assert np.mean(gains) > -0.005
    assert np.mean(unsure) < 0.0


def test_an_interrupted_collection_goes_on_as_if_it_had_not_been():
    whole = taught(np.random.default_rng(7), 20, StabilityConfig(refit_every=10))
    rng = np.random.default_rng(8)
    first, rest = [hold_trial(rng)[0] for _ in range(34)], [hold_trial(rng)[0] for _ in range(40)]
    for features in first:
        whole.update(features)
    resumed = StabilityLabeller.from_dict(json.loads(json.dumps(whole.to_dict())))
    assert [resumed.update(f) for f in rest] == [whole.update(f) for f in rest]
    assert resumed.to_dict() == whole.to_dict()


def test_labelling_before_both_kinds_are_known_is_refused():
    labeller = StabilityLabeller()
    features, _ = hold_trial(np.random.default_rng(0))
    with pytest.raises(RecordError, match="0 stable and 0 unstable"):
        labeller.label(features)
    labeller.supervise(features, True)
    assert not labeller.ready
    with pytest.raises(RecordError, match="1 stable and 0 unstable"):
        labeller.update(features)


def test_a_foreign_state_is_refused():
    with pytest.raises(RecordError, match="state"):
        StabilityLabeller.from_dict({"config": {"ambiguous": [0.2, 0.8], "speed": 3}})


@pytest.mark.parametrize(
    ("gap", "lift", "hold"),
    [
        (-0.01, (0, 0), (0, 0)),
        (np.nan, (0, 0), (0, 0)),
        (50.0, (1, 1), (1, 1)),
        (0.05, (0.001,), (0.001,)),
        (0.05, (0, 0), (0,)),
    ],
)
def test_impossible_features_are_refused(gap, lift, hold):
    with pytest.raises(RecordError):
        HoldFeatures(gap_m=gap, error_lift_m=lift, error_hold_m=hold)
