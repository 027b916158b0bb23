"""Latency of one control step of each SoftGrasp strategy on one core, picture included, and training samples per second.

Usage: python benchmarks/policy.py --data DATA [--demos 12] [--steps 300] [--epochs 2]
DATA is what `palpate collect softgrasp` makes; its first demonstrations are copied and trained on. Writes benchmarks/results/policy.json.
30 Hz leaves 33 ms for a step. Times are of the process's CPU (`cpu`) and of the wall, which other programs stretch.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

from palpate.core.records import CameraFrame, Episode, Observation
from palpate.data.reader import open_dataset
from palpate.data.writer import EpisodeWriter
from palpate.models.softgrasp import STRATEGIES
from palpate.recipes.softgrasp import SoftgraspTraining, train_softgrasp
from palpate.recipes.softgrasp_data import ANGLE, CAMERA, TORQUE
from palpate.recipes.softgrasp_policy import load_softgrasp

CASES = {name: SoftgraspTraining(strategy=name) for name in STRATEGIES} | {
    "softgrasp, no pictures": SoftgraspTraining(modalities=("angle", "torque")),
}


def observations(episode: Episode) -> list[Observation]:
    camera, angle, torque = (episode.streams[name] for name in (CAMERA, ANGLE, TORQUE))
    return [
        Observation(time=t, camera=CameraFrame(rgb=camera.at(t), time=t), joint_position=a, joint_torque=torque.at(t))
        for t, a in zip(angle.times.tolist(), angle.values.astype(float), strict=True)
    ]


def latency(run: Path, seen: list[Observation], steps: int) -> dict[str, float]:
    controller = load_softgrasp(run)
    controller.reset(np.random.default_rng(0))
    times = []
    for k in range(steps + 20):
        wall, cpu = time.perf_counter(), time.process_time()
        controller.act(seen[k % len(seen)])
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = 1e3 * np.array(times[20:]).T  # the first steps load and allocate
    return {
        f"{kind}_p{p}_ms": round(float(np.percentile(t, p)), 2) for kind, t in (("cpu", cpu), ("wall", wall)) for p in (50, 99)
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--demos", type=int, default=12)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reader = open_dataset(options.data)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with EpisodeWriter.create(root / "data", task="softgrasp") as writer:
            for position in range(min(options.demos, len(reader))):
                writer.write(reader.episode(position))
        seen = observations(reader.episode(0))
        for name, config in CASES.items():
            train = replace(config.train, epochs=options.epochs, threads=1)
            run = train_softgrasp(
                root / "data", root / name, replace(config, train=train), tell=lambda line: None, progress=False
            )
            metrics = json.loads((run / "run.json").read_text())["metrics"]
            fastest = min(epoch["seconds"] for epoch in metrics["history"])
            found[name] = latency(run, seen, options.steps) | {"samples_per_s": round(metrics["trained_on"] / fastest)}
            print(name, found[name], flush=True)
    machine = f"{platform.machine()}, one core, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    out = Path(__file__).parent / "results" / "policy.json"
    out.write_text(json.dumps({"machine": machine, "strategies": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
