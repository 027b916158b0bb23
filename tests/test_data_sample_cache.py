"""The training reader gives back what was put in, and a half-built or stale cache is never taken for whole."""

import multiprocessing
import pickle

import numpy as np
import pytest

from palpate.core.errors import DataError, RecordError, UnknownNameError
from palpate.data.sample_cache import SampleCache

FIELDS = {"vision": (8, 6, 3, "uint8"), "touch": (4, 4, 3, "uint8"), "action": (5, "float32"), "weight": ("float32",)}


def sample(i):
    rng = np.random.default_rng(i)
    return {
        "vision": rng.integers(0, 256, (8, 6, 3), dtype=np.uint8),
        "touch": None if i % 3 == 0 else rng.integers(0, 256, (4, 4, 3), dtype=np.uint8),
        "action": rng.normal(size=5).astype(np.float32),
    } | ({"weight": float(i)} if i != 4 else {})


def build(path, n=10, fingerprint="f"):
    cache = SampleCache.create(path, n, FIELDS, fingerprint=fingerprint)
    for i in range(n):
        cache.write(i, sample(i))
    return cache


def test_batches_hold_what_was_written_with_masks(tmp_path):
    build(tmp_path / "c").finish()
    cache = SampleCache.open(tmp_path / "c", fingerprint="f")
    assert len(cache) == 10
    values, present = cache.batch(np.array([7, 0, 4, 7]))
    for row, i in enumerate([7, 0, 4, 7]):
        for name in FIELDS:
            want = sample(i).get(name)
            assert present[name][row] == (want is not None)
            np.testing.assert_array_equal(values[name][row], np.zeros(FIELDS[name][:-1]) if want is None else want)
    assert values["vision"].dtype == np.uint8 and values["vision"].flags.writeable
    assert type(values["vision"]) is np.ndarray


def test_a_batch_can_be_written_over_an_earlier_one(tmp_path):
    cache = build(tmp_path / "c").finish()
    first, _ = cache.batch(np.array([1, 2]))
    memory = first["vision"]
    second, _ = cache.batch(np.array([8, 5]), out=first)
    assert second["vision"] is memory
    np.testing.assert_array_equal(memory, np.stack([sample(8)["vision"], sample(5)["vision"]]))
    third, _ = cache.batch(np.array([3, 3, 3]), out=second)  # the last batch of an epoch is of another size
    assert third["vision"].shape == (3, 8, 6, 3)


def test_samples_that_do_not_exist_are_refused(tmp_path):
    cache = build(tmp_path / "c").finish()
    for wrong in ([10], [-1]):
        with pytest.raises(IndexError, match="cache of 10"):
            cache.batch(np.array(wrong))


def test_an_unfinished_cache_does_not_open_and_is_built_anew(tmp_path):
    build(tmp_path / "c")
    with pytest.raises(DataError, match="no complete sample cache"):
        SampleCache.open(tmp_path / "c")
    assert not SampleCache.is_current(tmp_path / "c", "f")
    build(tmp_path / "c").finish()
    assert SampleCache.is_current(tmp_path / "c", "f")
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_stale_cache_is_told_and_replaced(tmp_path):
    build(tmp_path / "c", fingerprint="old").finish()
    assert not SampleCache.is_current(tmp_path / "c", "new")
    with pytest.raises(DataError, match="other data or settings"):
        SampleCache.open(tmp_path / "c", fingerprint="new")
    build(tmp_path / "c", n=4, fingerprint="new").finish()
    assert len(SampleCache.open(tmp_path / "c", fingerprint="new")) == 4


def test_samples_of_a_wrong_form_are_refused(tmp_path):
    cache = build(tmp_path / "c")
    with pytest.raises(RecordError, match=r"shape \(4,\)"):
        cache.write(0, {"action": np.zeros(4)})
    with pytest.raises(UnknownNameError, match="vision"):
        cache.write(0, {"visoin": np.zeros(4)})


def fill(cache, start):
    for i in range(start, len(cache), 2):
        cache.write(i, sample(i))


def test_several_processes_can_build_one_cache(tmp_path):
    cache = SampleCache.create(tmp_path / "c", 10, FIELDS)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(fill, [(cache, 0), (cache, 1)])
    got = cache.finish().batch(np.arange(10))[0]
    build(tmp_path / "d").finish()
    for name, values in SampleCache.open(tmp_path / "d").batch(np.arange(10))[0].items():
        np.testing.assert_array_equal(got[name], values)


def test_a_read_cache_can_be_sent_to_a_worker(tmp_path):
    cache = build(tmp_path / "c").finish()
    again = pickle.loads(pickle.dumps(cache))
    np.testing.assert_array_equal(again.batch([3])[0]["vision"], cache.batch([3])[0]["vision"])
