"""Round trips of the episode format, and what it refuses."""

import dataclasses
import json
import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest

import data_fakes
from palpate.core.errors import DataError, RecordError, SchemaError, UnknownNameError
from palpate.core.records import Episode
from palpate.data import codecs, layout
from palpate.data.reader import open_dataset
from palpate.data.table import decode_episode, encode_episode
from palpate.data.writer import EpisodeWriter


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 4 trials instead of 100, so that merging happens early."""
    for module in ("layout", "writer", "shards", "reader"):
        monkeypatch.setattr(f"palpate.data.{module}.BLOCK", 4)


def assert_same(got: Episode, want: Episode):
    assert (got.index, got.seed, got.task, got.groups, got.events) == (
        want.index,
        want.seed,
        want.task,
        want.groups,
        want.events,
    )
    assert got.labels == want.labels
    assert got.truth == want.truth
    assert set(got.arrays) == set(want.arrays)
    for name, value in want.arrays.items():
        np.testing.assert_array_equal(got.arrays[name], value)
    assert set(got.streams) == set(want.streams)
    for name, stream in want.streams.items():
        assert got.streams[name].spec == stream.spec
        np.testing.assert_array_equal(got.streams[name].times, stream.times)
        assert_close(got.streams[name].values, stream)


def assert_close(values, stream):
    assert values.dtype == stream.values.dtype
    if stream.spec.kind == "depth":
        np.testing.assert_allclose(values, stream.values, atol=codecs.DEPTH_STEP / 2 + 1e-7)
    elif stream.spec.kind == "rgb":
        # JPEG of quality 90 on colour noise of one level: a few levels on average, seldom more.
        assert np.abs(values.astype(int) - stream.values).mean() < 4
    elif stream.spec.kind == "audio" and stream.spec.dtype == "float32":
        np.testing.assert_allclose(values, stream.values, atol=1.01 / 32768)
    else:
        np.testing.assert_array_equal(values, stream.values)


def test_an_episode_comes_back_as_it_was_apart_from_stated_losses():
    episode = data_fakes.fake_episode(3)
    assert_same(decode_episode(encode_episode(episode)), episode)


def test_encoding_what_was_decoded_loses_nothing_more():
    once = decode_episode(encode_episode(data_fakes.fake_episode(1)))
    twice = decode_episode(encode_episode(once))
    for name in ("camera.depth", "sound", "touch.thumb", "hand.pose"):
        np.testing.assert_array_equal(twice.streams[name].values, once.streams[name].values)


def test_colours_keep_their_order():
    red = np.zeros((1, 16, 16, 3), np.uint8)
    red[..., 0] = 200
    streams = {n: data_fakes.stream(n, k, red, [0.0]) for n, k in (("camera.rgb", "rgb"), ("touch.thumb", "touch"))}
    got = decode_episode(encode_episode(Episode(index=0, seed=0, task="t", streams=streams)))
    np.testing.assert_array_equal(got.streams["touch.thumb"].values, red)
    np.testing.assert_allclose(got.streams["camera.rgb"].values[0, 8, 8], [200, 0, 0], atol=3)


def test_depth_that_is_not_there_is_zero_and_stays_so():
    depth = np.array([[[0.0, np.nan, np.inf], [-1.0, 20.0, 16.38]]], np.float32)
    got = codecs.read_depth(codecs.depth_png(depth[0]))
    np.testing.assert_allclose(got, [[0, 0, 0], [0, 0, 16.38]], atol=codecs.DEPTH_STEP / 2 + 1e-6)


def test_sound_of_integers_is_exact_and_loud_floats_clip():
    rng = np.random.default_rng(0)
    clip = rng.integers(-32768, 32768, 4410).astype(np.int16)
    np.testing.assert_array_equal(codecs.read_flac(codecs.flac(clip, 44100), "int16"), clip)
    got = codecs.read_flac(codecs.flac(np.array([2.0, -2.0, 0.5] * 40, np.float32), 44100), "float32")
    np.testing.assert_allclose(got[:3], [32767 / 32768, -1.0, 0.5], atol=1e-7)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float64"])
def test_series_of_every_dtype_are_exact(dtype):
    values = np.random.default_rng(1).integers(0, 2, (7, 3, 2)).astype(dtype)
    stream = data_fakes.stream("x", "taxels", values, np.arange(7.0))
    got = decode_episode(encode_episode(Episode(index=0, seed=0, task="t", streams={"x": stream})))
    np.testing.assert_array_equal(got.streams["x"].values, values)
    assert got.streams["x"].values.flags.writeable


def test_absent_streams_are_null_and_come_back_absent(tmp_path, small_blocks):
    absent = [(), ("touch.thumb", "sound"), ("camera.rgb",), ("touch.ring", "hand.pose")]
    with EpisodeWriter.create(tmp_path / "d", task="gentle") as writer:
        for i, names in enumerate(absent):
            writer.write(data_fakes.fake_episode(i, absent=names))
    table = pq.read_table(tmp_path / "d/shards/shard-000000.parquet")
    assert [v.is_valid for v in table["stream.touch.thumb"]] == [True, False, True, True]
    reader = open_dataset(tmp_path / "d")
    for i, names in enumerate(absent):
        assert_same(reader[i], data_fakes.fake_episode(i, absent=names))
    np.testing.assert_array_equal(reader.present("sound"), [True, False, True, True])


def test_a_stream_without_samples_is_refused():
    empty = data_fakes.stream("x", "series", np.zeros((0, 2)), [])
    with pytest.raises(RecordError, match="leave it out"):
        encode_episode(Episode(index=0, seed=0, task="t", streams={"x": empty}))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("rgb", np.zeros((1, 4, 4), np.uint8), r"must be \(H, W, 3\) uint8"),
        ("depth", np.zeros((1, 4, 4)), r"must be \(H, W\) float32"),
        ("audio", np.zeros((1, 100), np.float32), "sampling rate"),
        ("audio", np.zeros((1, 100, 2), np.float32), r"must be \(S,\)"),
        ("series", np.zeros((1, 2), complex), "boolean, integer or float"),
        ("series", np.zeros(3), "at least one axis"),
    ],
)
def test_streams_that_their_kind_cannot_hold_are_refused(kind, values, message):
    stream = data_fakes.stream("x", kind, values, np.arange(len(values), dtype=float))
    with pytest.raises(RecordError, match=message):
        encode_episode(Episode(index=0, seed=0, task="t", streams={"x": stream}))


def test_a_label_that_is_nan_is_refused():
    with pytest.raises(RecordError, match="None where it is not known"):
        encode_episode(data_fakes.fake_episode(0, labels={"stable": float("nan")}))


def test_columns_and_summary_tell_of_all_trials(tmp_path, small_blocks):
    labels = [{"stable": 1.0}, {"stable": 0.0, "gentle": 1.0}, {"stable": None}, {}, {"stable": 1.0}]
    with EpisodeWriter.create(tmp_path / "d", task="gentle", config={"seed": 7}) as writer:
        for i in range(5):
            writer.write(data_fakes.fake_episode(i, seed=7, labels=labels[i], absent=("sound",) if i % 2 else ()))
    reader = open_dataset(tmp_path / "d")
    np.testing.assert_array_equal(reader.indices, range(5))
    np.testing.assert_array_equal(reader.column("label.stable"), [1, 0, np.nan, np.nan, 1])
    np.testing.assert_array_equal(reader.column("label.gentle"), [np.nan, 1, np.nan, np.nan, np.nan])
    assert reader.column("group.object").tolist() == [f"object-{i}" for i in range(5)]
    np.testing.assert_array_equal(
        reader.column("array.action"), [data_fakes.fake_episode(i, seed=7).arrays["action"] for i in range(5)]
    )
    summary = reader.summary()
    assert summary["episodes"] == 5
    assert summary["labels"]["stable"] == {"yes": 2, "no": 1, "unknown": 2}
    assert summary["groups"] == {"object": 5, "pose": 1}
    assert summary["streams"]["sound"] == {"kind": "audio", "shape": [4410], "rate_hz": 44100.0, "samples": 3, "present_in": 3}
    assert summary["size_bytes"] == sum(p.stat().st_size for p in (tmp_path / "d").rglob("*.parquet"))
    assert summary["schema_version"] == 1
    assert reader[0].labels == reader[3].labels | {"stable": 1.0} == {"stable": 1.0, "gentle": None}
    json.dumps(summary)
    with pytest.raises(UnknownNameError, match=r"label\.stable"):
        reader.column("label.stabel")


def test_only_named_streams_are_decoded(tmp_path):
    with EpisodeWriter.create(tmp_path / "d", task="gentle") as writer:
        writer.write(data_fakes.fake_episode(0))
    reader = open_dataset(tmp_path / "d")
    assert set(reader.episode(0, streams=("touch.thumb", "hand.pose")).streams) == {"touch.thumb", "hand.pose"}
    assert not reader.episode(0, streams=()).streams
    with pytest.raises(UnknownNameError, match=r"touch\.thumb"):
        reader.episode(0, streams=("touch.tumb",))
    with pytest.raises(IndexError):
        reader.episode(1)


def test_stream_names_that_begin_alike_do_not_mix(tmp_path):
    rng = np.random.default_rng(0)
    names = ("a", "a.time", "a.b", "a.b.c")
    streams = {n: data_fakes.stream(n, "series", rng.normal(size=(3, 2)), rng.uniform(size=1).repeat(3)) for n in names}
    with EpisodeWriter.create(tmp_path / "d", task="t") as writer:
        writer.write(Episode(index=0, seed=0, task="t", streams=streams))
    reader = open_dataset(tmp_path / "d")
    for name in names:
        got = reader.episode(0, streams=(name,)).streams
        assert set(got) == {name}
        np.testing.assert_array_equal(got[name].values, streams[name].values)
        np.testing.assert_array_equal(got[name].times, streams[name].times)


def test_a_reader_can_be_sent_to_another_process(tmp_path):
    with EpisodeWriter.create(tmp_path / "d", task="gentle") as writer:
        writer.write(data_fakes.fake_episode(0))
    reader = open_dataset(tmp_path / "d")
    first = reader[0]
    assert_same(pickle.loads(pickle.dumps(reader))[0], first)


def test_an_empty_data_set_opens(tmp_path):
    EpisodeWriter.create(tmp_path / "d", task="gentle").close()
    reader = open_dataset(tmp_path / "d")
    assert len(reader) == 0
    assert reader.summary()["episodes"] == 0
    assert list(reader) == []


def test_a_folder_that_is_no_data_set_is_told_apart(tmp_path):
    with pytest.raises(SchemaError, match="not a palpate data folder"):
        open_dataset(tmp_path)


def test_another_schema_version_names_both(tmp_path):
    EpisodeWriter.create(tmp_path / "d", task="gentle").close()
    head = tmp_path / "d" / layout.HEAD
    head.write_text(head.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    with pytest.raises(SchemaError, match=r"version 99.*reads version 1"):
        open_dataset(tmp_path / "d")


def test_a_broken_head_is_told(tmp_path):
    EpisodeWriter.create(tmp_path / "d", task="gentle").close()
    (tmp_path / "d" / layout.HEAD).write_text("{")
    with pytest.raises(SchemaError, match="damaged"):
        open_dataset(tmp_path / "d")


def test_one_name_cannot_stand_for_two_streams(tmp_path):
    with EpisodeWriter.create(tmp_path / "d", task="gentle") as writer:
        writer.write(data_fakes.fake_episode(0))
        with pytest.raises(DataError, match="another name"):
            writer.write(data_fakes.fake_episode(1, size=(16, 16)))
        assert writer.finished == {0}


def test_a_fingerprint_follows_the_data(tmp_path):
    with EpisodeWriter.create(tmp_path / "d", task="gentle") as writer:
        writer.write(data_fakes.fake_episode(0))
        before = open_dataset(tmp_path / "d").fingerprint()
        assert open_dataset(tmp_path / "d").fingerprint() == before
        writer.write(data_fakes.fake_episode(1))
    assert open_dataset(tmp_path / "d").fingerprint() != before


def test_bytes_of_another_process_are_written_under_their_own_number(tmp_path):
    data = encode_episode(data_fakes.fake_episode(5))
    with EpisodeWriter.create(tmp_path / "d", task="gentle") as writer:
        with pytest.raises(DataError, match="trial 5 was given to write as trial 4"):
            writer.write(data, 4)
        with pytest.raises(DataError, match="no encoded episode"):
            writer.write(data[:-10], 5)
        writer.write(data, 5)
        with pytest.raises(DataError, match="finished already"):
            writer.write(data, 5)
        assert writer.next_index == 0
    reader = open_dataset(tmp_path / "d")
    assert reader.missing == [0, 1, 2, 3, 4]
    assert reader.summary()["missing"] == "0-4"
    assert dataclasses.replace(reader[0], streams={}).index == 5
