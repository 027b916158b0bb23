"""The importer of LeRobot data sets: made-up ones of v2.1 and v3.0, palpate's own export, and the real one."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import data_fakes
from lerobot_fakes import CAM, FEATURES, FPS, LENGTHS, V2, V3, feature, info, jsonl, make_v2, make_v3, rows, video
from palpate.core.errors import DataError, MissingPackageError
from palpate.core.records import Episode
from palpate.data import codecs
from palpate.data.external.findings import Findings
from palpate.data.external.lerobot import import_lerobot, read_lerobot
from palpate.data.external.lerobot_video import VideoFrames
from palpate.data.lerobot import export_lerobot
from palpate.data.reader import open_dataset
from palpate.data.writer import EpisodeWriter

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "lerobot_g1_inspire"


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lerobot")
    return {"v2.1": make_v2(folder / "v2"), "v3.0": make_v3(folder / "v3")}


def read(folder, **options):
    findings = Findings()
    return list(read_lerobot(folder, findings, **options)), findings


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_every_row_of_every_episode_is_read(sets, version):
    episodes, findings = read(sets[version], units={"observation.state": "rad"})
    assert [e.index for e in episodes] == [0, 1, 2] and findings.left_out == []
    assert [e.groups["task"] for e in episodes] == ["pick", "place", "pick"]
    assert [e.labels for e in episodes] == [{"success": 1.0}, {"success": 0.0}, {"success": 1.0}]
    start = 0
    for i, (episode, n) in enumerate(zip(episodes, LENGTHS, strict=True)):
        table, streams = rows(i, n, start), episode.streams
        assert set(streams) == {
            "state", "action", "touch.index", "count", "wrist.rgb", "touch.thumb", "cam.rgb", "next.reward"
        }  # fmt: skip
        for name, key in {
            "state": "observation.state", "action": "action", "touch.index": "observation.tactile.index",
            "count": "observation.count", "next.reward": "next.reward",
        }.items():  # fmt: skip
            want = np.array(table[key].to_pylist()).reshape(n, *streams[name].spec.shape)
            np.testing.assert_array_equal(streams[name].values, want.astype(streams[name].spec.dtype), err_msg=key)
            np.testing.assert_allclose(streams[name].times, np.arange(n) / FPS, rtol=0, atol=1e-15)
        for name, key in {"wrist.rgb": "observation.images.wrist", "touch.thumb": "observation.images.tactile_thumb"}.items():
            for got, cell in zip(streams[name].values, table[key].to_pylist(), strict=True):
                np.testing.assert_array_equal(got, codecs.read_rgb(cell["bytes"]))
        brightness = streams["cam.rgb"].values.mean(axis=(1, 2, 3))
        np.testing.assert_allclose(brightness, 10.0 * (start + np.arange(n)), atol=4.5)
        start += n
    specs = {name: stream.spec for name, stream in episodes[0].streams.items()}
    assert (specs["state"].names, specs["state"].unit, specs["state"].dtype) == (("a", "b", "c"), "rad", "float32")
    assert specs["action"].names == ("left.pos", "right.pos")
    assert specs["count"].dtype == "int64"
    assert [specs[n].kind for n in ("touch.index", "touch.thumb", "wrist.rgb")] == ["taxels", "touch", "rgb"]
    assert any(note.startswith("observation.images.far: depth maps") for note in findings.notes)
    assert any(note.startswith("observation.note: texts") for note in findings.notes)
    assert any(version in note and "30 rows a second" in note for note in findings.notes)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_an_export_to_v3_holds_every_value_again(sets, version, tmp_path):
    import_lerobot(sets[version], tmp_path / "data")
    report = export_lerobot(tmp_path / "data", tmp_path / "out", fps=FPS)
    assert (report.episodes, report.frames) == (3, sum(LENGTHS))
    got = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
    want = pa.concat_tables([rows(i, n, sum(LENGTHS[:i])) for i, n in enumerate(LENGTHS)])
    for key in want.column_names:
        if key == "observation.note" or key.startswith("observation.images."):
            continue
        a, b = np.array(got[key].to_pylist()), np.array(want[key].to_pylist())
        np.testing.assert_array_equal(a, b, err_msg=key)
        assert report.features[key]["dtype"] == FEATURES[key]["dtype"], key
        assert report.features[key]["shape"] == FEATURES[key]["shape"], key
    for mine, theirs in zip(got["observation.images.tactile_thumb"], want["observation.images.tactile_thumb"], strict=True):
        np.testing.assert_array_equal(codecs.read_rgb(mine["bytes"].as_py()), codecs.read_rgb(theirs["bytes"].as_py()))
    assert report.features["observation.state"]["names"] == ["a", "b", "c"]
    assert report.features["action"]["names"] == ["left.pos", "right.pos"]
    tasks = pq.read_table(tmp_path / "out/meta/tasks.parquet")
    assert (tasks["task"].to_pylist(), tasks["task_index"].to_pylist()) == (["pick", "place"], [0, 1])
    assert json.loads((tmp_path / "out/meta/info.json").read_text())["total_tasks"] == 2


def test_palpates_own_export_gives_its_streams_back(tmp_path):
    absent = [(), ("touch.thumb", "sound"), ("camera.rgb", "hand.pose")]
    with EpisodeWriter.create(tmp_path / "data", task="gentle") as writer:
        for i, names in enumerate(absent):
            labels = {"stable": 1.0, "gentle": None if i else 0.0}
            writer.write(data_fakes.fake_episode(i, absent=names, labels=labels))
    export_lerobot(tmp_path / "data", tmp_path / "out", fps=100)
    episodes, findings = read(tmp_path / "out")
    assert any("sound windows" in note for note in findings.notes)
    for got, want in zip(episodes, open_dataset(tmp_path / "data"), strict=True):
        assert set(got.streams) == set(want.streams) - {"sound", "camera.depth"}
        assert got.labels == {"success": 1.0, "gentle": want.labels["gentle"]}
        np.testing.assert_allclose(got.arrays["action"], want.arrays["action"], rtol=1e-6)
        for name, stream in got.streams.items():
            source = want.streams[name]
            assert (stream.spec.kind, stream.spec.names, stream.spec.unit) == (
                source.spec.kind, source.spec.names, source.spec.unit
            )  # fmt: skip
            at = np.searchsorted(source.times, stream.times + 1e-9, side="right") - 1
            np.testing.assert_allclose(stream.times, source.times[at], atol=1e-9)
            np.testing.assert_allclose(stream.values, source.values[at], rtol=1e-6, err_msg=name)
        for name in got.streams:
            if name != "hand.pose" and name.startswith("hand"):
                assert len(got.streams[name].times) > 290  # 300 samples at 100 Hz on rows at 100 Hz


@pytest.fixture
def v2(tmp_path):
    return make_v2(tmp_path / "v2")


def test_episodes_that_are_promised_and_absent_are_listed(v2):
    (v2 / "data/chunk-000/episode_000000.parquet").unlink()
    (v2 / "data/chunk-000/episode_000002.parquet").write_bytes(b"PAR1 and nothing else")
    episodes, findings = read(v2)
    assert [e.index for e in episodes] == [1]
    said = "\n".join(findings.left_out)
    assert "episodes 0: promised by meta, but absent on disk (1 of 3)" in said
    assert "episode 2" in said and "is damaged" in said
    (v2 / "data/chunk-000/episode_000001.parquet").unlink()
    with pytest.raises(DataError, match=r"nothing could be imported:\n"):
        read(v2)


def test_absent_and_short_videos_are_said_and_nothing_is_padded(v2):
    folder = v2 / "videos/chunk-000" / CAM
    (folder / "episode_000000.mp4").unlink()
    video(folder / "episode_000001.mp4", 0, 3)
    video(folder / "episode_000002.mp4", 0, 15)
    (one, two, three), findings = read(v2)
    assert "cam.rgb" not in one.streams
    assert len(two.streams["cam.rgb"].times) == 3 and len(two.streams["state"].times) == 5
    assert len(three.streams["cam.rgb"].times) == 11
    assert f"episode 0: {CAM}: no video on disk; absent" in findings.notes
    assert f"episode 1: {CAM}: 3 frames for 5 rows; the last rows have none" in findings.notes
    assert all("cam.rgb" not in e.streams for e in read(v2, videos=False)[0])


def test_a_damaged_video_costs_its_episode(v2):
    (v2 / "videos/chunk-000" / CAM / "episode_000001.mp4").write_bytes(b"no video")
    episodes, findings = read(v2)
    assert [e.index for e in episodes] == [0, 2]
    assert "episode_000001.mp4: no video that can be opened" in findings.left_out[0]


def replace_column(path, name, values):
    table = pq.read_table(path)
    table = table.drop_columns([name]) if values is None else table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, path)


def test_columns_that_do_not_fit_are_said(v2):
    paths = [v2 / f"data/chunk-000/episode_{i:06d}.parquet" for i in range(3)]
    replace_column(paths[0], "action", None)
    replace_column(paths[0], "observation.count", pa.array([None] + [1] * 7))
    replace_column(paths[1], "observation.state", pa.array([[1.0, 2.0]] * 5))
    replace_column(paths[2], "timestamp", pa.array(np.arange(11.0)[::-1]))
    with pytest.raises(DataError) as caught:
        read(v2)
    for message in (
        "observation.count: int64 with 1 empty cells",
        "observation.state: 10 numbers in 5 rows, info.json says (3,) a row",
        "time stamps are not finite or go backwards",
    ):
        assert message in str(caught.value)
    replace_column(paths[0], "observation.count", pa.array([1] * 8))
    (episode,), findings = read(v2)
    assert "action" not in episode.streams
    assert "episode 0: action: no such column; absent" in findings.notes


def test_irregular_times_float64_and_wrong_lengths_are_kept_and_said(v2):
    path = v2 / "data/chunk-000/episode_000000.parquet"
    times = np.arange(8) / FPS + 7.0
    times[5:] += 0.5
    replace_column(path, "timestamp", pa.array(times))
    replace_column(path, "next.reward", pa.array(np.full(8, 0.1)))
    jsonl(v2 / "meta/episodes.jsonl", [{"episode_index": 0, "tasks": [], "length": 9}])
    (episode,), findings = read(v2)
    np.testing.assert_allclose(episode.streams["state"].times, times - 7.0, atol=1e-12)
    assert episode.streams["next.reward"].spec.dtype == "float64"
    for said in ("time stamps are not regular (off by up to 0.5 s)", "8 rows, meta promises 9", "next.reward: float64"):
        assert any(said in note for note in findings.notes), said


@pytest.mark.parametrize(
    ("names", "want"),
    [
        (["a", "b", "c"], ("a", "b", "c")),
        ([["a", "b", "c"]], ("a", "b", "c")),
        ({"motors": ["a", "b", "c"]}, ("a", "b", "c")),
        ({"c": 2, "a": 0, "b": 1}, ("a", "b", "c")),
        (None, ()),
        (["a", "b"], ()),
    ],
)
def test_names_come_in_every_shape(v2, names, want):
    info(v2, V2, {**FEATURES, "observation.state": feature("float32", 3, names=names)})
    episodes, findings = read(v2, videos=False)
    assert episodes[0].streams["state"].spec.names == want
    assert ("observation.state: 2 names for 3 components; the names are not kept" in findings.notes) == (names == ["a", "b"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codebase_version": "v1.6"}, "codebase_version is 'v1.6'; v2.1 and v3.0 are read"),
        ({"fps": 0}, "fps is 0"),
        ({"features": {}}, "must name the columns"),
        ({"features": {"a": {"dtype": "float32"}}}, "feature 'a' is damaged"),
        ({"data_path": "data/{nothing}.parquet"}, "'nothing'"),
        ({"codebase_version": "v3.0"}, r"tasks\.parquet does not exist"),
    ],
)
def test_damaged_metadata_is_named(v2, change, message):
    path = v2 / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        read(v2)


def test_what_is_no_lerobot_set_is_told(tmp_path, sets):
    with pytest.raises(DataError, match=r"info\.json does not exist; give the folder"):
        read(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text("{")
    with pytest.raises(DataError, match=r"info\.json is damaged"):
        read(tmp_path)
    with pytest.raises(DataError, match="units for speed, which is no feature"):
        read(sets["v2.1"], units={"speed": "m/s"})


def test_a_recording_that_was_never_finalised_is_told(tmp_path):
    folder = make_v3(tmp_path / "v3")
    (folder / "meta/episodes/chunk-000/file-000.parquet").unlink()
    with pytest.raises(DataError, match="without finalize"):
        read(folder)


def test_frames_are_found_forwards_and_backwards(sets):
    frames = VideoFrames(sets["v3.0"] / V3["video_path"].format(chunk_index=0, file_index=0, video_key=CAM))
    for first, count in ((2, 3), (10, 2), (0, 4)):
        taken = frames.take(first, count)
        np.testing.assert_allclose(taken.mean(axis=(1, 2, 3)), 10.0 * (first + np.arange(count)), atol=4.5)
    assert len(frames.take(22, 10)) == 2 and len(frames.take(40, 2)) == 0


def test_an_action_of_the_trial_and_one_of_the_rows_cannot_be_exported_together(tmp_path):
    stream = data_fakes.stream("action", "series", np.zeros((3, 2), np.float32), np.arange(3.0))
    with EpisodeWriter.create(tmp_path / "d", task="t") as writer:
        writer.write(Episode(index=0, seed=0, task="t", streams={"action": stream}, arrays={"action": np.zeros(2)}))
    with pytest.raises(DataError, match="LeRobot feature action"):
        export_lerobot(tmp_path / "d", tmp_path / "out")


def real():
    if not REAL.is_dir():
        pytest.skip(f"no folder {REAL}")
    return REAL


def test_the_real_set_comes_out_equal_in_every_value(tmp_path):
    done = import_lerobot(real(), tmp_path / "data", videos=False)
    assert done.episodes == 2
    assert done.left_out == ("episodes 0-28, 31-99: promised by meta, but absent on disk (98 of 100)",)
    reader = open_dataset(done.out)
    assert reader.indices.tolist() == [29, 30]
    assert reader.streams["state"].names[14:20][0] == "kLeftHandPinky" and len(reader.streams["state"].names) == 26
    report = export_lerobot(tmp_path / "data", tmp_path / "out", fps=30)
    assert report.frames == 221 + 277
    got = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
    want = pa.concat_tables([pq.read_table(REAL / f"data/chunk-000/episode_{i:06d}.parquet") for i in (29, 30)])
    for key in ("observation.state", "action", "timestamp", "frame_index", "task_index"):
        np.testing.assert_array_equal(np.array(got[key].to_pylist()), np.array(want[key].to_pylist()), err_msg=key)
    tasks = pq.read_table(tmp_path / "out/meta/tasks.parquet")["task"].to_pylist()
    assert tasks == ["Pick up the yellow bottle on the table."]


def test_av1_without_pyav_says_what_to_install(monkeypatch):
    folder = real()
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"is AV1.*palpate\[video\]"):
        read(folder)


def test_the_real_av1_video_has_a_frame_for_every_row():
    folder = real()
    if importlib.util.find_spec("av") is None:
        pytest.skip("PyAV (palpate[video]) is not installed")
    findings = Findings()
    episode = next(read_lerobot(folder, findings))
    frames = episode.streams["cam_high.rgb"]
    assert frames.values.shape == (221, 480, 640, 3)
    np.testing.assert_allclose(frames.values.mean(), 116.0, atol=3.0)
    assert np.abs(np.diff(frames.values[::44].astype(float), axis=0)).mean() > 1.0  # it moves
