"""The LeRobot export, read back with pyarrow and pandas. `scripts/check_lerobot.sh` opens it with LeRobot itself."""

import json

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import data_fakes
from palpate.core.errors import DataError
from palpate.core.records import Episode
from palpate.data import lerobot
from palpate.data.lerobot import export_lerobot
from palpate.data.reader import open_dataset
from palpate.data.writer import EpisodeWriter

FPS = 10
ABSENT = [(), ("touch.thumb", "sound"), ("camera.rgb", "hand.pose")]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lerobot")
    with EpisodeWriter.create(folder / "data", task="gentle") as writer:
        for i, absent in enumerate(ABSENT):
            labels = {"stable": 1.0, "gentle": 0.0} if i == 0 else {"stable": 0.0, "gentle": None}
            writer.write(data_fakes.fake_episode(i, absent=absent, labels=labels))
    report = export_lerobot(folder / "data", folder / "out", fps=FPS)
    table = pq.read_table(folder / "out/data/chunk-000/file-000.parquet")
    return folder / "out", open_dataset(folder / "data"), report, table


def rows(table, episode):
    return table.filter(np.array(table["episode_index"]) == episode)


def column(table, name):
    return np.array(table[name].to_pylist())


def test_the_files_are_those_of_lerobot(exported):
    out = exported[0]
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
    ]
    assert list(out.parent.glob("*.tmp")) == []


def test_info_counts_what_is_there(exported):
    out, _, report, table = exported
    info = json.loads((out / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["fps"]) == (3, len(table), FPS)
    assert (report.episodes, report.frames) == (3, len(table))
    assert info["splits"] == {"train": "0:3"}
    assert list(info["features"]) == table.column_names
    assert info["features"]["observation.images.camera"]["dtype"] == "image"
    assert info["features"]["observation.images.tactile_thumb"]["shape"] == [24, 32, 3]
    assert info["features"]["observation.state"]["shape"] == [8]
    assert info["features"]["observation.state"]["names"][:4] == [f"hand.joint_position.{c}" for c in "abcd"]
    assert info["features"]["observation.audio.mic"]["shape"] == [4410, 1]
    assert info["features"]["observation.tactile.ring"]["shape"] == [6, 2]
    assert report.left_out == {"camera.depth": "LeRobot v3.0 has no depth images"}
    for key in info["features"]:
        assert "/" not in key and ("image" not in key or key.startswith("observation.images."))


def test_tasks_have_the_text_as_their_pandas_index(exported):
    tasks = pd.read_parquet(exported[0] / "meta/tasks.parquet")
    assert tasks.index.name == "task"
    assert tasks.index.tolist() == ["grasp gently"]
    assert tasks["task_index"].tolist() == [0]


def test_episodes_cover_all_rows_without_gap(exported):
    out, _, _, table = exported
    episodes = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet")
    start, stop, length = (column(episodes, n) for n in ("dataset_from_index", "dataset_to_index", "length"))
    np.testing.assert_array_equal(start, np.append(0, stop[:-1]))
    np.testing.assert_array_equal(stop - start, length)
    assert stop[-1] == len(table)
    np.testing.assert_array_equal(column(table, "index"), range(len(table)))
    assert pq.ParquetFile(out / "data/chunk-000/file-000.parquet").num_row_groups == 3
    assert episodes["tasks"].to_pylist() == [["grasp gently"]] * 3
    for i in range(3):
        np.testing.assert_array_equal(column(rows(table, i), "frame_index"), range(length[i]))
        np.testing.assert_allclose(column(rows(table, i), "timestamp"), np.arange(length[i]) / FPS, atol=1e-5)


def grid_of(reader, position, n):
    episode = reader[position]
    return min(s.times[0] for name, s in episode.streams.items() if name != "camera.depth") + np.arange(n) / FPS


def test_rows_hold_the_last_sample_before_them(exported):
    _, reader, _, table = exported
    for i in range(3):
        part, episode = rows(table, i), reader[i]
        times = grid_of(reader, i, len(part))
        state, effort = column(part, "observation.state"), column(part, "observation.effort")
        for row, time in enumerate(times):
            np.testing.assert_array_equal(state[row, :4], episode.streams["hand.joint_position"].at(time))
            np.testing.assert_array_equal(effort[row], episode.streams["hand.joint_torque"].at(time))
            if "hand.pose" in episode.streams:
                np.testing.assert_array_equal(state[row, 4:], episode.streams["hand.pose"].at(time).astype(np.float32))
        last = max(s.times[-1] for name, s in episode.streams.items() if s.spec.kind != "audio" and name != "camera.depth")
        assert times[-1] >= last - 1e-6
        np.testing.assert_array_equal(
            column(part, "action"), np.tile(episode.arrays["action"].astype(np.float32), (len(part), 1))
        )


def test_touch_images_are_exact_and_stamped(exported):
    _, reader, _, table = exported
    for i in range(3):
        part, episode = rows(table, i), reader[i]
        stream = episode.streams.get("touch.thumb")
        valid, stamp = column(part, "observation.valid.touch.thumb"), column(part, "observation.stamp.touch.thumb")
        for row, time in enumerate(grid_of(reader, i, len(part))):
            image = part["observation.images.tactile_thumb"][row].as_py()
            pixels = cv2.imdecode(np.frombuffer(image["bytes"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            if stream is None or time < stream.times[0]:
                assert not valid[row] and stamp[row] == -1 and not pixels.any()
            else:
                assert valid[row]
                np.testing.assert_array_equal(pixels, stream.at(time))
                captured = stream.times[stream.times <= time + 1e-9][-1]
                assert stamp[row] == round(captured * 1e9)
    assert not column(rows(table, 1), "observation.valid.touch.thumb").any()
    assert column(rows(table, 0), "observation.valid.touch.thumb").any()


def test_colour_images_are_the_files_of_the_data_folder(exported):
    _, reader, _, table = exported
    _, files = reader.encoded(0, "camera.rgb")
    got = [image["bytes"] for image in rows(table, 0)["observation.images.camera"].to_pylist()]
    assert [g for i, g in enumerate(got) if i == 0 or g != got[i - 1]][-2:] == files
    assert reader.encoded(2, "camera.rgb") is None


def test_sound_lies_where_it_was_heard(exported):
    _, reader, _, table = exported
    part, stream = rows(table, 0), reader[0].streams["sound"]
    sound = column(part, "observation.audio.mic")[..., 0]
    valid = column(part, "observation.valid.sound")
    clip = np.rint(stream.values[0] * 32768).astype(np.int16)
    heard = sound.ravel()
    at = np.flatnonzero(heard)[0]
    np.testing.assert_array_equal(heard[at : at + 4410], clip)
    assert not heard[:at].any() and not heard[at + 4410 :].any()
    window_start = grid_of(reader, 0, len(part))[0] - 1 / FPS
    np.testing.assert_allclose(window_start + at / 44100, stream.times[0], atol=1.5 / 44100)
    np.testing.assert_array_equal(valid, (sound != 0).any(axis=1))
    first = column(part, "observation.stamp.sound")[valid][0]
    np.testing.assert_allclose(first * 1e-9, stream.times[0], atol=1.5 / 44100)
    assert not column(rows(table, 1), "observation.valid.sound").any()


def test_the_outcome_stands_in_the_last_row(exported):
    table = exported[3]
    for i, (success, gentle, gentle_known) in enumerate([(True, False, True), (False, False, False), (False, False, False)]):
        part = rows(table, i)
        for name, want in (
            ("next.success", success),
            ("next.gentle", gentle),
            ("next.valid.gentle", gentle_known),
            ("next.done", True),
        ):
            got = column(part, name)
            assert got[-1] == want, name
            assert not got[:-1].any()


def test_statistics_are_those_of_the_rows(exported):
    out, _, _, table = exported
    stats = json.loads((out / "meta/stats.json").read_text())
    assert set(stats) == set(table.column_names)
    for key in ("observation.state", "action", "timestamp", "next.done", "observation.stamp.touch.thumb"):
        values = column(table, key).astype(float).reshape(len(table), -1)
        for name, want in {
            "min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0),
            "q01": np.quantile(values, 0.01, axis=0), "q99": np.quantile(values, 0.99, axis=0),
        }.items():  # fmt: skip
            np.testing.assert_allclose(
                stats[key][name], want, rtol=1e-5, atol=1e-5 * np.abs(values).max(), err_msg=f"{key} {name}"
            )
        assert stats[key]["count"] == [len(table)]
    assert np.shape(stats["observation.images.camera"]["mean"]) == (3, 1, 1)
    assert np.shape(stats["observation.audio.mic"]["mean"]) == (1,)
    assert np.shape(stats["observation.tactile.ring"]["q50"]) == (2,)
    for key, numbers in stats.items():
        ordered = [numbers[n] for n in ("min", "q01", "q10", "q50", "q90", "q99", "max")]
        assert (np.diff(np.array(ordered).reshape(7, -1), axis=0) >= -1e-9).all(), key
    episodes = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet")
    np.testing.assert_allclose(episodes["stats/action/mean"][1].as_py(), column(rows(table, 1), "action").mean(0), rtol=1e-6)


def test_repeated_images_are_stored_once(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)  # 12 kB that do not compress
    clock = data_fakes.stream("x", "series", np.zeros((2, 1)), [0.0, 9.9])
    streams = {"touch.a": data_fakes.stream("touch.a", "touch", image, [0.0]), "x": clock}
    with EpisodeWriter.create(tmp_path / "d", task="t") as writer:
        writer.write(Episode(index=0, seed=0, task="t", streams=streams))
    assert export_lerobot(tmp_path / "d", tmp_path / "out").frames == 100
    assert (tmp_path / "out/data/chunk-000/file-000.parquet").stat().st_size < 30_000


def test_data_files_roll_over(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot, "FILE_MB", 0.01)
    monkeypatch.setattr(lerobot, "CHUNK", 2)
    with EpisodeWriter.create(tmp_path / "d", task="gentle") as writer:
        for i in range(3):
            writer.write(data_fakes.fake_episode(i))
    export_lerobot(tmp_path / "d", tmp_path / "out")
    episodes = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet")
    for chunk, file, start, stop in zip(
        *(column(episodes, n) for n in ("data/chunk_index", "data/file_index", "dataset_from_index", "dataset_to_index")),
        strict=True,
    ):
        table = pq.read_table(tmp_path / f"out/data/chunk-{chunk:03d}/file-{file:03d}.parquet")
        np.testing.assert_array_equal(column(table, "index"), range(start, stop))
    assert (tmp_path / "out/data/chunk-001/file-000.parquet").is_file()


def test_streams_of_one_moment_become_one_row(tmp_path):
    taxels = data_fakes.stream("touch.ff", "taxels", np.arange(24.0, dtype=np.float32).reshape(1, 24, 1), [0.0])
    with EpisodeWriter.create(tmp_path / "d", task="bts3") as writer:
        writer.write(Episode(index=0, seed=0, task="bts3", streams={"touch.ff": taxels}, labels={"stable": 1.0}))
    assert export_lerobot(tmp_path / "d", tmp_path / "out").frames == 1
    table = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
    np.testing.assert_array_equal(column(table, "observation.tactile.ff")[0], taxels.values[0])


def test_wrong_uses_are_told(tmp_path):
    EpisodeWriter.create(tmp_path / "d", task="t").close()
    with pytest.raises(DataError, match="no finished trials"):
        export_lerobot(tmp_path / "d", tmp_path / "out")
    with EpisodeWriter.create(tmp_path / "d", task="t") as writer:
        writer.write(data_fakes.fake_episode(0))
    with pytest.raises(DataError, match="whole numbers"):
        export_lerobot(tmp_path / "d", tmp_path / "out", fps=0)
    with pytest.raises(DataError, match="not empty"):
        export_lerobot(tmp_path / "d", tmp_path)
    assert not (tmp_path / "out").exists()
