"""Intervals: known values, coverage in simulations that can fail, and paired tests."""

import numpy as np
import pytest

from palpate.core.errors import DataError
from palpate.core.randomness import generator
from palpate.evaluation import intervals, loop, metrics
from palpate.evaluation.inputs import GraspTable

NAN = float("nan")


def test_wilson_gives_the_textbook_interval():
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611.
    one, none = intervals.wilson(81, 263), intervals.wilson(0, 20)
    np.testing.assert_allclose([one.low, one.high], [0.2553, 0.3662], atol=5e-5)
    np.testing.assert_allclose([none.value, none.low, none.high], [0.0, 0.0, 0.1611], atol=5e-5)
    assert np.isnan(intervals.wilson(0, 0).value)
    with pytest.raises(DataError, match="21 successes of 20"):
        intervals.wilson(21, 20)


def simulate(rng, clusters=40, size=10, spread=0.25):
    """Yes/no results of toys whose own rates differ, mean 0.6."""
    rates = np.clip(rng.normal(0.6, spread, clusters), 0, 1)
    return (rng.random((clusters, size)) < rates[:, None]).astype(float).ravel(), np.repeat(np.arange(clusters), size), rates


def test_cluster_intervals_cover_the_truth_and_plain_ones_do_not():
    rng = generator(10, 0)
    mean = float(np.clip(rng.normal(0.6, 0.25, 200_000), 0, 1).mean())
    hits = np.zeros(2)
    runs = 300
    for _ in range(runs):
        values, groups, _ = simulate(rng)
        clustered = intervals.cluster_mean(values, groups, rng, resamples=300)
        plain = intervals.wilson(values.sum(), len(values))
        hits += [clustered.low <= mean <= clustered.high, plain.low <= mean <= plain.high]
    covered, plain_covered = hits / runs
    assert 0.90 <= covered <= 0.98
    assert plain_covered < 0.85


def test_cluster_mean_matches_the_mean_and_ignores_unknown_values():
    values, groups, _ = simulate(generator(11, 0))
    values[3] = NAN
    made = intervals.cluster_mean(values, groups, generator(11, 1))
    np.testing.assert_allclose(made.value, np.nanmean(values))
    assert (made.n, made.groups) == (399, 40)
    assert made.low < made.value < made.high


def test_trials_as_groups_give_the_normal_width():
    values = (generator(12, 0).random(1000) < 0.3).astype(float)
    made = intervals.cluster_mean(values, np.arange(1000), generator(12, 1))
    expected = 1.96 * np.sqrt(values.mean() * (1 - values.mean()) / 1000)
    np.testing.assert_allclose(made.half_width, expected, rtol=0.08)


def test_one_group_has_no_interval_and_a_perfect_rate_has_an_open_one():
    single = intervals.cluster_mean(np.array([1.0, 0.0]), np.array(["a", "a"]), generator(0, 0))
    assert single.value == 0.5
    assert np.isnan([single.low, single.high]).all()
    assert not single.excludes_zero
    perfect = intervals.cluster_mean(np.ones(30), np.repeat(np.arange(10), 3), generator(0, 0))
    edge = intervals.wilson(10, 10)
    np.testing.assert_allclose([perfect.low, perfect.high], [edge.low, 1.0])


def test_the_same_seed_gives_the_same_interval():
    values, groups, _ = simulate(generator(13, 0))
    one, two = (intervals.cluster_mean(values, groups, generator(13, 1)) for _ in range(2))
    assert one == two


def test_lengths_that_differ_are_refused():
    with pytest.raises(DataError, match="same length"):
        intervals.cluster_mean(np.ones(3), np.ones(2), generator(0, 0))
    with pytest.raises(DataError, match="same samples"):
        intervals.paired_difference(np.ones(3), np.ones(2), np.ones(3), generator(0, 0))


def test_a_paired_difference_is_narrower_than_two_intervals_and_has_the_right_sign():
    rng = generator(14, 0)
    base, groups, _ = simulate(rng)
    better = np.where((base == 0) & (rng.random(400) < 0.2), 1.0, base)
    gain = intervals.paired_difference(better, base, groups, generator(14, 1))
    np.testing.assert_allclose(gain.value, (better - base).mean())
    assert gain.low > 0
    assert intervals.paired_difference(base, better, groups, generator(14, 1)).high < 0
    assert gain.half_width < 0.5 * intervals.cluster_mean(base, groups, generator(14, 1)).half_width


def test_paired_intervals_of_equal_models_include_zero_about_as_often_as_they_claim():
    rng = generator(15, 0)
    inside = 0
    for _ in range(300):
        rates = np.repeat(rng.uniform(0.2, 0.9, 30), 10)
        a, b = (rng.random((2, 300)) < rates).astype(float)
        made = intervals.paired_difference(a, b, np.repeat(np.arange(30), 10), rng, resamples=300)
        inside += not made.excludes_zero
    assert 0.90 <= inside / 300 <= 0.985


def test_extreme_differences_stay_what_they_are():
    groups = np.arange(8)
    worst = intervals.paired_difference(np.zeros(8), np.ones(8), groups, generator(0, 0))
    tie = intervals.paired_difference(np.ones(8), np.ones(8), groups, generator(0, 0))
    assert (worst.value, worst.low, worst.high) == (-1.0, -1.0, -1.0)
    assert (tie.value, tie.low, tie.high) == (0.0, 0.0, 0.0)


def test_cluster_auc_agrees_with_ranks_and_contains_its_value():
    rng = generator(16, 0)
    label = (rng.random(300) < 0.4).astype(float)
    score = np.round(label + rng.normal(0, 1, 300), 1)  # rounded: many ties
    label[0] = NAN
    made = intervals.cluster_auc(label, score, np.arange(300) % 30, rng, resamples=400)
    np.testing.assert_allclose(made.value, metrics.auc(label, score), atol=1e-12)
    assert made.low < made.value < made.high
    assert made.low > 0.6


def test_mcnemar_by_hand():
    a = np.array([1] * 8 + [0] * 1 + [1] * 5 + [NAN])
    b = np.array([0] * 8 + [1] * 1 + [1] * 5 + [1])
    # 9 pairs differ, 1 in favour of b: two-sided 2 (1 + 9) / 512.
    np.testing.assert_allclose(intervals.mcnemar(a, b), 20 / 512)
    assert intervals.mcnemar(b, b) == 1.0


def grasps(policy, both, *, objects=None, trials=None):
    both = np.asarray(both, float)
    n = len(both)
    labels = np.column_stack([both, np.ones(n)])
    return GraspTable(
        policy=policy,
        trial=np.arange(n) if trials is None else np.asarray(trials),
        pose=np.array(["upright", "lying"])[np.arange(n) % 2],
        labels=labels,
        truth=np.full((n, 2), NAN),
        looks=np.ones(n, int),
        damage_while_looking=np.arange(n) < n // 2,
        first_look_harsh=np.zeros(n, bool),
        object=objects,
    )


def test_closed_loop_rates_by_hand():
    t = grasps("random", [1, 1, 0, 0])
    rates = loop.by_pose([t], lambda: generator(0, 0))
    assert list(rates) == ["all", "upright", "lying"]
    everything = rates["all"]["random"]
    assert (everything["both"].value, everything["gentle"].value, everything["damage"].value) == (0.5, 1.0, 0.5)
    assert everything["clean"].value == 0.0
    assert rates["lying"]["random"]["both"].n == 2


def test_policies_are_paired_by_trial_number():
    a = grasps("x", [1, 1, 1, 0], trials=[0, 1, 2, 3])
    b = grasps("y", [0, 0, 1, 1], trials=[3, 2, 1, 9])
    made = loop.difference(a, b, "both", generator(0, 0))
    # common trials 1, 2, 3: a is 1, 1, 0 and b is 1, 0, 0.
    assert made.interval.n == 3
    np.testing.assert_allclose(made.interval.value, 1 / 3)
    with pytest.raises(DataError, match="share no trial"):
        loop.difference(a, grasps("z", [1, 1], trials=[20, 21]), "both", generator(0, 0))


def test_repeated_toys_widen_a_closed_loop_interval():
    both = np.repeat([1, 1, 1, 0, 0, 0, 1, 0], 10)
    rng = generator(17, 0)
    alone = loop.rate(grasps("x", both), both.astype(float), rng)
    toys = loop.rate(grasps("x", both, objects=np.repeat(np.arange(8).astype(str), 10)), both.astype(float), rng)
    assert toys.half_width > 2 * alone.half_width
