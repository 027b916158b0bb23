import numpy as np
import pytest

from palpate.core.errors import DataError
from palpate.learning.hardness import IntervalRegressor


def confounded(rng, objects, *, radius, noise=0.02, each=2):
    """Presses whose picture tells stiffness less radius; `radius` adds the radius as a feature, `noise` blurs the soft ones."""
    stiffness, size = rng.uniform(0, 4, objects).repeat(each), rng.uniform(-0.5, 0.5, objects).repeat(each)
    n = len(stiffness)
    picture = np.tanh((stiffness - size - 2) / 2) + noise * (1 + 3 * (stiffness < 2)) * rng.normal(size=n)
    other = rng.normal(size=n)
    columns = [picture, other] + ([size + 0.05 * rng.normal(size=n)] if radius else [])
    return np.column_stack(columns), 10 + 20 * stiffness, np.arange(objects).repeat(each)


def judged(seed, *, radius, **options):
    rng = np.random.default_rng(seed)
    features, target, groups = confounded(rng, 70, radius=radius, **options)
    model = IntervalRegressor.fit(features, target, groups, rng)
    features, target, _ = confounded(rng, 300, radius=radius, **options)
    return model, features, target, model.predict(features)


@pytest.mark.parametrize("radius", [False, True])
def test_intervals_hold_for_nine_of_ten_new_objects(radius):
    inside = [np.mean((s.low <= y) & (y <= s.high)) for _, _, y, s in (judged(seed, radius=radius) for seed in range(3))]
    assert 0.85 <= np.mean(inside) <= 0.95


def test_what_is_confounded_gets_a_wide_interval_and_what_is_known_a_narrow_one():
    (_, _, y, alone), (_, _, z, known) = (judged(0, radius=r, noise=0.005) for r in (False, True))
    assert np.median(alone.high - alone.low) > 2 * np.median(known.high - known.low)
    assert np.abs(alone.value - y).mean() > 2 * np.abs(known.value - z).mean()


def test_intervals_are_wider_where_errors_are_larger():
    _, _, y, said = judged(1, radius=True, noise=0.03)
    width = said.high - said.low
    middle = (y > 20) & (y < 80)
    assert np.median(width[middle & (y < 50)]) > 1.3 * np.median(width[middle & (y >= 50)])


def test_nothing_beyond_what_was_learned_is_said():
    model, features, _, said = judged(2, radius=False)
    assert (said.low >= 10).all() and (said.high <= 90).all()
    assert (said.low <= said.value).all() and (said.value <= said.high).all()
    far = model.predict(features + 100)
    assert (far.low >= 10).all() and (far.high <= 90).all()


def test_a_saved_estimator_says_the_same():
    model, features, _, said = judged(3, radius=True)
    again = IntervalRegressor.of({name: array.copy() for name, array in model.arrays().items()}).predict(features)
    for name in ("value", "low", "high"):
        np.testing.assert_array_equal(getattr(again, name), getattr(said, name))
    with pytest.raises(DataError, match="lacks"):
        IntervalRegressor.of({"mean": np.zeros(2)})


def test_too_few_objects_or_missing_features_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="10 objects"):
        IntervalRegressor.fit(*confounded(rng, 5, radius=False, each=8), rng)
    features, target, groups = confounded(rng, 20, radius=False)
    features[3, 1] = np.nan
    with pytest.raises(DataError, match="1 features that are not finite"):
        IntervalRegressor.fit(features, target, groups, rng)
