"""What survives a killed process, a damaged file and a full disk."""

import contextlib
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import data_fakes
from palpate.core.errors import DataError
from palpate.data import layout
from palpate.data.files import FolderLock, write_atomic
from palpate.data.reader import open_dataset
from palpate.data.writer import EpisodeWriter

HERE = Path(__file__).parent

LOCKER = """
import os, sys
from pathlib import Path
from palpate.data.files import FolderLock
FolderLock(Path(sys.argv[1]))
os._exit(0)
"""


@pytest.fixture
def small_blocks(monkeypatch):
    for module in ("layout", "writer", "shards", "reader"):
        monkeypatch.setattr(f"palpate.data.{module}.BLOCK", 4)


def collect(root, n, **more):
    with EpisodeWriter.create(root, task="gentle", **more) as writer:
        while writer.next_index < n:
            writer.write(data_fakes.fake_episode(writer.next_index, size=(8, 8)))


@pytest.mark.slow
def test_a_killed_writer_loses_no_finished_trial_in_twenty_kills(tmp_path, monkeypatch):
    root = tmp_path / "d"
    rng = np.random.default_rng(0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["palpate.data.writer", "palpate.data.reader"])
    reported = -1
    for _ in range(20):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=data_fakes.write_until_killed, args=(str(root), 7, theirs))
        process.start()
        theirs.close()
        assert ours.poll(30), "the writer did not start"
        first = ours.recv()  # it has written one; now any moment may be its last
        assert first in (reported + 1, reported + 2), "it went on elsewhere than after the last finished trial"
        time.sleep(rng.uniform(0.0, 0.12))
        process.kill()
        process.join()
        reported = first
        with contextlib.suppress(EOFError):
            while True:
                reported = ours.recv()
    for module in ("layout", "writer", "shards", "reader"):
        monkeypatch.setattr(f"palpate.data.{module}.BLOCK", 7)
    EpisodeWriter.create(root, task="gentle", config={"seed": 0}, resume=True).close()
    reader = open_dataset(root)
    assert len(reader) in (reported + 1, reported + 2), "every reported trial, and at most one that was not reported any more"
    np.testing.assert_array_equal(reader.indices, range(len(reader)))
    assert not reader.duplicates
    assert not list(root.rglob("*.tmp"))
    assert len(list(root.glob("shards/*.parquet"))) == len(reader) // 7
    for position in range(len(reader)):
        want = data_fakes.fake_episode(position, size=(8, 8))
        got = reader[position]
        np.testing.assert_array_equal(got.streams["touch.thumb"].values, want.streams["touch.thumb"].values)
        np.testing.assert_array_equal(got.streams["hand.joint_position"].values, want.streams["hand.joint_position"].values)


def test_a_resumed_set_equals_one_made_in_one_go(tmp_path, small_blocks):
    collect(tmp_path / "a", 10)
    collect(tmp_path / "b", 6)
    collect(tmp_path / "b", 10, resume=True)
    names = [sorted(str(p.relative_to(tmp_path / d)) for p in (tmp_path / d).rglob("*.parquet")) for d in "ab"]
    assert names[0] == names[1]
    for name in names[0]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_existing_trials_are_not_overwritten_without_resume(tmp_path):
    collect(tmp_path / "d", 1)
    with pytest.raises(DataError, match=r"--resume.*--out"):
        EpisodeWriter.create(tmp_path / "d", task="gentle")


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="other files"):
        EpisodeWriter.create(tmp_path, task="gentle")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_resuming_with_another_configuration_shows_the_difference(tmp_path):
    collect(tmp_path / "d", 1, config={"seed": 1, "world": {"name": "gentle", "noise": 0.5}})
    with pytest.raises(DataError) as caught:
        EpisodeWriter.create(
            tmp_path / "d", task="gentle", config={"seed": 2, "world": {"name": "gentle", "noise": 0.25}}, resume=True
        )
    assert "config.seed: was 1, now 2" in str(caught.value)
    assert "config.world.noise: was 0.5, now 0.25" in str(caught.value)
    assert "name" not in str(caught.value).replace("folder", "")


def test_two_writers_cannot_share_a_folder(tmp_path):
    root = tmp_path / "d"
    with EpisodeWriter.create(root, task="gentle"), pytest.raises(DataError, match="in this process"):
        EpisodeWriter.create(root, task="gentle", resume=True)
    with EpisodeWriter.create(root, task="gentle"):
        other = subprocess.run(
            [sys.executable, "-c", LOCKER, str(root / layout.LOCK)], capture_output=True, text=True, check=False
        )
        assert f"being written by process {os.getpid()}" in other.stderr
    EpisodeWriter.create(root, task="gentle", resume=True).close()


def test_the_lock_of_a_dead_process_is_taken_over_with_a_message(tmp_path, caplog):
    path = tmp_path / ".lock"
    subprocess.run([sys.executable, "-c", LOCKER, str(path)], check=True)
    FolderLock(path).release()
    assert "ended without closing" in caplog.text
    caplog.clear()
    FolderLock(path).release()
    assert not caplog.text


def test_leftovers_of_a_crash_are_cleared_on_resume(tmp_path, small_blocks):
    root = tmp_path / "d"
    collect(root, 3)
    single = layout.episode_path(root, 1).read_bytes()
    collect(root, 5, resume=True)
    (root / "episodes/episode-000007.parquet.tmp").write_bytes(b"half")
    (root / "shards/shard-000001.parquet.tmp").write_bytes(b"half")
    layout.episode_path(root, 1).write_bytes(single)  # the crash came between the shard and the deletion of its singles
    assert len(open_dataset(root)) == 5
    assert not open_dataset(root).duplicates
    collect(root, 5, resume=True)
    assert sorted(p.name for p in root.rglob("*.parquet*")) == ["episode-000004.parquet", "shard-000000.parquet"]


def damage(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def test_a_damaged_trial_is_named_and_the_rest_can_be_read(tmp_path, small_blocks):
    root = tmp_path / "d"
    collect(root, 9)
    shard = layout.shard_path(root, 1)
    episode = layout.episode_path(root, 8)
    episode.write_bytes(episode.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"episode-000008\.parquet.*trials 8.*skip_damaged"):
        open_dataset(root)
    reader = open_dataset(root, skip_damaged=True)
    assert reader.indices.tolist() == list(range(8))
    assert [d.trials for d in reader.damaged] == ["8"]
    episode.unlink()
    damage(shard, shard.stat().st_size // 2)  # sensor data of one trial: opening cannot see it, reading that trial must
    lost = []
    reader = open_dataset(root)
    for position in range(len(reader)):
        try:
            reader[position]
        except DataError as error:
            assert "shard-000001.parquet" in str(error)
            lost.append(position)
    assert len(lost) == 1
    reader = open_dataset(root, skip_damaged=True)
    assert reader.indices.tolist() == [i for i in range(8) if i not in lost]
    assert reader.missing == lost
    assert reader.summary()["damaged"] == [f"{shard}: trials {lost[0]}"]


def test_a_flipped_byte_anywhere_is_found_or_harmless(tmp_path):
    root = tmp_path / "d"
    collect(root, 1)
    path = layout.episode_path(root, 0)
    whole = path.read_bytes()
    want = open_dataset(root)[0]
    rng = np.random.default_rng(0)
    found = 0
    for at in rng.integers(0, len(whole), 150):
        damage(path, at)
        try:
            got = open_dataset(root)[0]
        except DataError:
            found += 1
        else:
            assert got.labels == want.labels
            assert got.truth == want.truth
            for name, stream in want.streams.items():
                np.testing.assert_array_equal(got.streams[name].values, stream.values)
        path.write_bytes(whole)
    assert found > 100


def limit_file_size(size):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_says_so_and_leaves_no_half_file(tmp_path):
    root = tmp_path / "d"
    collect(root, 2)
    code = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import data_fakes
from palpate.data.writer import EpisodeWriter
with EpisodeWriter.create({str(root)!r}, task="gentle", resume=True) as writer:
    writer.write(data_fakes.fake_episode(2, size=(8, 8)))
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, preexec_fn=lambda: limit_file_size(8000)
    )
    assert "disk full" in out.stderr and "finished trials are safe" in out.stderr
    assert len(open_dataset(root)) == 2
    assert not list(root.rglob("*.tmp"))
    collect(root, 3, resume=True)
    assert len(open_dataset(root)) == 3


def test_a_disk_that_fills_while_merging_leaves_the_single_files(tmp_path):
    root = tmp_path / "d"
    collect(root, 6, config={"seed": 0})
    size = max(p.stat().st_size for p in (root / "episodes").iterdir()) + 1000
    code = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import data_fakes
data_fakes.write_until_killed({str(root)!r}, 7)
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, preexec_fn=lambda: limit_file_size(size)
    )
    assert "disk full" in out.stderr
    assert len(open_dataset(root)) == 7
    assert not list(root.rglob("*.tmp")) and not list(root.glob("shards/*"))


def test_an_atomic_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
