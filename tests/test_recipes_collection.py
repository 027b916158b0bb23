import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from palpate.cli.main import main
from palpate.core.errors import DataError, SimulationError
from palpate.data.reader import open_dataset
from palpate.perception.stability import HoldFeatures
from palpate.recipes import collection
from palpate.recipes.collection import CollectConfig, collect
from palpate.recipes.gentle_labels import force_proxies, hold_features
from palpate.recipes.gentle_task import GentleTask
from palpate.worlds.gentle import GentleConfig

pytestmark = pytest.mark.slow


def test_labels_from_the_sensors_agree_with_the_truth(gentle_data):
    reader = open_dataset(gentle_data)
    stable = reader.column("label.stable") == reader.column("truth.stable")
    gentle = reader.column("label.gentle") == reader.column("truth.gentle")
    first = reader.column("label.gentle_first") == reader.column("truth.first_gentle")
    assert stable.mean() >= 0.95 and gentle.mean() >= 0.95 and first.mean() >= 0.9


def test_the_same_seed_gives_the_same_data_whatever_the_number_of_workers(tmp_path):
    task = GentleTask(world=GentleConfig(n_toys=4))
    for workers in (1, 2):
        collect(CollectConfig(out=tmp_path / str(workers), trials=5, seed=8, workers=workers, task=task))
    one, two = open_dataset(tmp_path / "1"), open_dataset(tmp_path / "2")
    assert len(one) == len(two) == 5
    for a, b in zip(one, two, strict=True):
        assert a.labels == b.labels and a.truth == b.truth and a.events == b.events
        for name in a.streams:
            np.testing.assert_array_equal(a.streams[name].values, b.streams[name].values, err_msg=name)


def test_a_resumed_collection_equals_one_that_was_never_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "SUPERVISED", 4)
    monkeypatch.setattr(collection, "BLOCK", 3)
    task = GentleTask(world=GentleConfig(n_toys=4))
    collect(CollectConfig(out=tmp_path / "whole", trials=8, seed=3, workers=1, task=task))
    collect(CollectConfig(out=tmp_path / "parts", trials=5, seed=3, workers=1, task=task))
    collect(CollectConfig(out=tmp_path / "parts", trials=8, seed=3, workers=1, task=task, resume=True))
    whole, parts = open_dataset(tmp_path / "whole"), open_dataset(tmp_path / "parts")
    np.testing.assert_array_equal(whole.column("array.stability_probability"), parts.column("array.stability_probability"))


def test_twenty_kills_lose_no_finished_trial(tmp_path):
    out, rng, trials = tmp_path / "data", random.Random(7), 24
    command = [sys.executable, "-m", "palpate", "collect", "gentle", "--trials", str(trials), "--toys", "4", "--workers", "1"]
    finished: list[int] = []
    for kill in range(20):
        with subprocess.Popen(
            [*command, "--out", str(out), "--resume"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            time.sleep(rng.uniform(0.8, 3.0))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if (out / "palpate.json").exists():
            now = open_dataset(out).indices.tolist()
            assert now[: len(finished)] == finished, f"kill {kill} lost a finished trial"
            assert now == list(range(len(now))), "trials are in order, each once"
            finished = now
    subprocess.run([*command, "--out", str(out), "--resume"], check=True, capture_output=True)
    reader = open_dataset(out)
    assert reader.indices.tolist() == list(range(max(trials, len(finished))))
    assert all(len(episode.streams) == 10 for episode in reader)


def test_a_trial_whose_simulation_fails_is_reported_and_the_next_one_goes_on(tmp_path, monkeypatch, capsys):
    real = collection.rollout

    def broken(world, policy, seed, index, **options):
        if index == 1:
            raise SimulationError("the simulation became invalid")
        return real(world, policy, seed, index, **options)

    monkeypatch.setattr(collection, "rollout", broken)
    collect(CollectConfig(out=tmp_path / "d", trials=3, seed=0, workers=1, task=GentleTask(world=GentleConfig(n_toys=2))))
    reader = open_dataset(tmp_path / "d")
    assert reader.indices.tolist() == [0, 1, 2]
    assert np.isnan(reader.column("label.stable")).tolist() == [False, True, False]
    assert "trial 1: the simulation became invalid" in capsys.readouterr().err


def test_a_collection_resumed_inside_a_block_labels_as_one_that_was_not_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "SUPERVISED", 4)
    monkeypatch.setattr(collection, "BLOCK", 8)
    for name, stops in (("whole", (11,)), ("parts", (6, 10, 11))):
        for trials in stops:
            collect(CollectConfig(out=tmp_path / name, task=GentleTask(), trials=trials, seed=2, workers=1, resume=True))
    whole, parts = (open_dataset(tmp_path / name).column("array.stability_probability")[:, 0] for name in ("whole", "parts"))
    assert np.ptp(whole[4:]) > 0  # the classifier, not the person
    np.testing.assert_array_equal(whole, parts)


def test_an_existing_folder_is_not_written_over(gentle_data):
    with pytest.raises(DataError, match=r"--resume"):
        collect(CollectConfig(out=gentle_data, task=GentleTask(), trials=2))
    with pytest.raises(DataError, match="another configuration"):
        collect(CollectConfig(out=gentle_data, task=GentleTask(), trials=2, seed=99, resume=True))


def test_info_prints_streams_rates_and_labels(gentle_data, capsys):
    assert main(["info", str(gentle_data), "--json"]) == 0
    text = capsys.readouterr().out
    assert '"episodes": 48' in text and '"rate_hz": 44100.0' in text and '"stable"' in text
    assert main(["info", str(gentle_data)]) == 0
    assert "48 episodes" in capsys.readouterr().out


def test_hold_features_round_trip_through_an_array_and_forces_are_plausible(gentle_data):
    episode = open_dataset(gentle_data).episode(0)
    features = hold_features(episode)
    assert HoldFeatures.restore(features.array()) == features
    forces = force_proxies(episode)
    assert 0.02 < forces.displacement < 0.15 and 0.0 <= forces.position_error < 0.08
