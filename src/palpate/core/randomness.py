"""Seeded randomness: every draw comes from a generator that a seed and a key path determine."""

import numpy as np

from palpate.core.errors import RecordError


def generator(seed: int, *keys: int) -> np.random.Generator:
    """Return a generator that depends only on `seed` and the path of integer keys.

    `generator(0, 7)` is trial 7 of seed 0, whichever process draws it and in whatever order.

    Raises:
        RecordError: a seed or key below 0.
    """
    if min((seed, *keys)) < 0:
        raise RecordError(f"seeds, units and numbers of trials must be 0 or more, got {min((seed, *keys))}")
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=tuple(keys)))
