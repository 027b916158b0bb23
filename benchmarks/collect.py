"""Milliseconds per trial by part: physics, camera, touch, sound, labels, encoding, writing. One process, one thread.

Usage: python benchmarks/collect.py [--trials 60]. Writes benchmarks/results/collect.json.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections import defaultdict
from functools import wraps
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

from palpate.data.writer import EpisodeWriter
from palpate.recipes import collection, gentle_task
from palpate.sensors.camera import Camera
from palpate.sensors.microphone import Microphone
from palpate.sensors.touch.sensor import TouchSensor
from palpate.worlds.gentle_physics import Rig

PARTS = {
    "physics": (Rig, ("move", "__init__")),
    "camera": (Camera, ("observe",)),
    "touch": (TouchSensor, ("frame", "contact", "begin_episode")),
    "touch geometry": (Rig, ("gap",)),
    "sound": (Microphone, ("record",)),
    "locate": (gentle_task, ("locate_object",)),
    "labels": (gentle_task, ("hold_features", "listen")),
    "encoding": (collection, ("encode_episode",)),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=60)
    trials = parser.parse_args().trials
    cv2.setNumThreads(1)
    spent: dict[str, list[float]] = defaultdict(list)
    running: dict[str, float] = defaultdict(float)

    def timed(part, function):
        @wraps(function)
        def wrapper(*arguments, **options):
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                running[part] += time.perf_counter() - start

        return wrapper

    for part, (owner, names) in PARTS.items():
        for name in names:
            setattr(owner, name, timed(part, getattr(owner, name)))
    collection.start_worker(gentle_task.GentleTask(), collection.random_policy, 1)
    collection.run_trial(1, 0, None)
    with tempfile.TemporaryDirectory() as folder, EpisodeWriter.create(Path(folder) / "d", task="gentle") as writer:
        for index in range(trials):
            running.clear()
            start = time.perf_counter()
            trial = collection.run_trial(0, index, None)
            inside = time.perf_counter()
            writer.write(trial.payload, trial.index)
            end = time.perf_counter()
            running["writing"] = end - inside
            for part, seconds in running.items():
                spent[part].append(seconds)
            spent["other"].append(inside - start - sum(v for k, v in running.items() if k != "writing"))
            spent["whole trial"].append(end - start)
    table = {part: {"median_ms": 1e3 * float(np.median(v)), "mean_ms": 1e3 * float(np.mean(v))} for part, v in spent.items()}
    print(f"{'part':16s} {'median ms':>10s} {'mean ms':>9s}")
    for part, row in sorted(table.items(), key=lambda item: item[1]["mean_ms"]):
        print(f"{part:16s} {row['median_ms']:10.1f} {row['mean_ms']:9.1f}")
    result = {
        "trials": trials,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one process, one thread",
        "load_average": os.getloadavg()[0],
        "parts": table,
    }
    path = Path(__file__).parent / "results" / "collect.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
