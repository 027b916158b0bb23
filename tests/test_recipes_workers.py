import fcntl
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from palpate.core.errors import PalpateError
from palpate.recipes.workers import LocalWorkers, hire, prepare_worker

pytestmark = pytest.mark.slow


def _number_or_die(path, number, deaths):
    """Return a number; die in its first so many calls, as a worker does that is killed."""
    marks = path / f"{number}"
    marks.mkdir(exist_ok=True)
    if number == 2 and len(list(marks.iterdir())) < deaths:
        (marks / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number, os.getpid()


def test_a_killed_worker_costs_nothing_but_one_that_always_dies_ends_in_a_message(tmp_path):
    for folder, deaths in (("once", 1), ("always", 99)):
        (tmp_path / folder).mkdir()
        tasks = [(tmp_path / folder, number, deaths) for number in range(6)]
        with LocalWorkers(2, prepare_worker, ()) as workers:
            if folder == "once":
                assert [number for number, _ in workers.run(_number_or_die, tasks)] == list(range(6))
                continue
            with pytest.raises(PalpateError, match=r"a worker process died 3 times.*--resume"):
                list(workers.run(_number_or_die, tasks))


def test_workers_are_replaced_after_their_lifetime(tmp_path):
    with LocalWorkers(1, prepare_worker, (), lifetime=2) as workers:
        done = list(workers.run(_number_or_die, [(tmp_path, number, 0) for number in range(5)]))
    numbers, processes = zip(*done, strict=True)
    assert numbers == tuple(range(5)) and os.getpid() not in processes
    assert processes[0] == processes[1] and processes[2] == processes[3] and len(set(processes)) == 3


def _is_free(path):
    """Return whether no process holds the lock of a file."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _hold(path):
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        path.with_suffix(".held").touch()
        time.sleep(60)


def _hire(paths):
    with LocalWorkers(2, prepare_worker, ()) as workers:
        list(workers.run(_hold, [(path,) for path in paths]))


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    paths = [tmp_path / "first", tmp_path / "second"]
    parent = multiprocessing.get_context("spawn").Process(target=_hire, args=(paths,))
    parent.start()
    begin = time.monotonic()
    while not all(path.with_suffix(".held").exists() for path in paths):
        assert time.monotonic() - begin < 50 and parent.is_alive()
        time.sleep(0.05)
    assert not any(_is_free(path) for path in paths)
    parent.kill()
    parent.join()
    begin = time.monotonic()
    while not all(_is_free(path) for path in paths):
        assert time.monotonic() - begin < 20, "a worker outlived the process that hired it"
        time.sleep(0.05)


def test_fewer_than_one_worker_is_refused():
    with pytest.raises(PalpateError, match="at least 1 is needed"):
        LocalWorkers(0, prepare_worker, ())


def _draw(seed):
    return os.getpid(), np.random.default_rng(seed).normal()


def test_a_ray_cluster_of_two_nodes_gives_what_this_machine_gives_and_survives_a_killed_actor(tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="the package ray is not installed (pip install 'palpate[ray]')")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # nodes import the functions of this file by name
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        with hire(1, prepare_worker, (), lifetime=4, ray=cluster.address) as workers:
            done = list(workers.run(_draw, [(seed,) for seed in range(12)]))
            tasks = [(tmp_path, number, 1) for number in range(6)]
            assert [number for number, _ in workers.run(_number_or_die, tasks)] == list(range(6))
    finally:
        cluster.shutdown()
    assert [value for _, value in done] == [_draw(seed)[1] for seed in range(12)]
    assert len({process for process, _ in done}) == 4  # two actors, each replaced once


def test_a_cluster_that_does_not_answer_ends_in_a_message():
    pytest.importorskip("ray", reason="the package ray is not installed (pip install 'palpate[ray]')")
    with pytest.raises(PalpateError, match=r"no Ray cluster answers there"):
        hire(1, prepare_worker, (), ray="127.0.0.1:1")
