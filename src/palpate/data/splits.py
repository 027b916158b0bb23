"""Splits for honest tests: what belongs together (one object, one pose) never lies on both sides."""

from collections.abc import Iterator

import numpy as np

from palpate.core.errors import DataError
from palpate.core.randomness import generator


def grouped_folds(groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Assign every row to a fold so that all rows of one group share it and the folds are about equally large.

    Groups go in random order, larger ones first, each to the fold that is smallest so far. With folds `f`, fold `k` is
    tested by `f == k` and trained by `f != k`.

    Args:
        groups: (N,) str or int: object, pose, ... of each row.
        n_folds: At least 2 and at most the number of groups.
        seed: Determines the order of groups of equal size.

    Returns:
        (N,) int64 fold of each row, 0 to n_folds - 1.

    Raises:
        DataError: Too few groups, or a row without a group.
    """
    names, of_row, sizes = _groups(groups)
    if not 2 <= n_folds <= len(names):
        raise DataError(f"{n_folds} folds of {len(names)} groups; choose 2 to {len(names)} folds, or a finer group")
    order = generator(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(n_folds, np.int64)
    fold_of_group = np.empty(len(names), np.int64)
    for group in order:
        fold = int(np.argmin(filled))
        fold_of_group[group] = fold
        filled[fold] += sizes[group]
    return fold_of_group[of_row]


def leave_one_group_out(groups: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, training rows and test rows of every group in turn, sorted by name.

    Args:
        groups: (N,) str or int.

    Raises:
        DataError: Fewer than two groups, or a row without a group.
    """
    names, of_row, _ = _groups(groups)
    if len(names) < 2:
        raise DataError(f"only one group ({names[0]}): nothing to leave out; choose a finer group")
    for number, name in enumerate(names):
        yield str(name), np.flatnonzero(of_row != number), np.flatnonzero(of_row == number)


def _groups(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the names of groups, the group number of each row, and the rows per group."""
    groups = np.asarray(groups)
    if groups.ndim != 1 or len(groups) == 0:
        raise DataError(f"groups must be (N,) with N > 0, got {groups.shape}")
    missing = [i for i, group in enumerate(groups.tolist()) if group is None or group != group]  # noqa: PLR0124 - NaN differs from itself
    if missing:
        raise DataError(
            f"{len(missing)} rows have no group (first: row {missing[0]}); drop them or split by another kind of group"
        )
    names, of_row, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return names, of_row, sizes
