"""Grouped folds keep together what belongs together."""

import numpy as np
import pytest

from palpate.core.errors import DataError
from palpate.data.splits import grouped_folds, leave_one_group_out


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_folds", [2, 5, 9])
def test_a_group_never_crosses_folds_and_no_fold_is_empty(seed, n_folds):
    rng = np.random.default_rng(seed)
    groups = rng.choice([f"object-{i}" for i in range(12)], 500, p=rng.dirichlet(np.ones(12)))
    groups = np.concatenate([groups, [f"object-{i}" for i in range(12)]])
    folds = grouped_folds(groups, n_folds, seed)
    assert all(len(set(folds[groups == name])) == 1 for name in set(groups))
    assert set(folds) == set(range(n_folds))


def test_folds_are_balanced():
    groups = np.repeat(np.arange(41), np.random.default_rng(0).integers(107, 128, 41))
    sizes = np.bincount(grouped_folds(groups, 5, 0))
    assert sizes.max() - sizes.min() <= 127
    assert sizes.sum() == len(groups)


def test_folds_depend_on_the_seed_and_on_nothing_else():
    groups = np.repeat([f"o{i}" for i in range(20)], 10)
    np.testing.assert_array_equal(grouped_folds(groups, 5, 3), grouped_folds(groups, 5, 3))
    assert not np.array_equal(grouped_folds(groups, 5, 3), grouped_folds(groups, 5, 4))


def test_leaving_one_group_out_tests_every_row_once():
    groups = np.array(["b", "a", "b", "c", "a"], object)
    parts = list(leave_one_group_out(groups))
    assert [name for name, _, _ in parts] == ["a", "b", "c"]
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, _, test in parts])), range(5))
    for name, train, test in parts:
        assert set(groups[test]) == {name}
        assert name not in groups[train]


def test_rows_without_a_group_and_too_few_groups_are_refused():
    with pytest.raises(DataError, match="no group"):
        grouped_folds(np.array(["a", None, "b"], object), 2, 0)
    with pytest.raises(DataError, match="choose 2 to 3 folds"):
        grouped_folds(np.array(["a", "b", "c"]), 4, 0)
    with pytest.raises(DataError, match="only one group"):
        list(leave_one_group_out(np.array(["a", "a"])))
