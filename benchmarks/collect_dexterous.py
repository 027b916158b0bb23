"""Where the time of a dexterous grasp goes, what it weighs on disk, and whether memory stays flat; one process, one core.

Usage: python benchmarks/collect_dexterous.py [--grasps 200] [--seed 1]
Writes benchmarks/results/collect_dexterous.json.
"""

import argparse
import json
import os
import platform
import resource
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from palpate.core.rollout import rollout
from palpate.data.table import encode_episode
from palpate.data.writer import EpisodeWriter
from palpate.recipes.dexterous_task import DexterousTask, drawn_policy
from palpate.recipes.workers import prepare_worker

WARM_UP = 120
"""Grasps before counting: every object's scene is compiled once (120 objects, of which 64 are kept)."""


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--grasps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs") / "collect-dexterous")
    options = parser.parse_args()
    prepare_worker()
    world = DexterousTask().build()
    policy = drawn_policy(world)
    sizes, memory, parts = [], [], {"encoding": 0.0, "writing": 0.0}
    with EpisodeWriter.create(options.out / f"{os.getpid()}", task="dexterous", config={}) as writer:
        for index in range(WARM_UP + options.grasps):
            if index == WARM_UP:
                start, begun = time.perf_counter(), dict(world.seconds)
                parts = dict.fromkeys(parts, 0.0)
            episode = rollout(world, policy, options.seed, index).episode
            mark = time.perf_counter()
            data = encode_episode(episode)
            parts["encoding"] += time.perf_counter() - mark
            mark = time.perf_counter()
            writer.write(data, index)
            parts["writing"] += time.perf_counter() - mark
            sizes.append(len(data))
            memory.append(resident_mb())
    whole = (time.perf_counter() - start) / options.grasps
    each = {name: (seconds - begun[name]) / options.grasps for name, seconds in world.seconds.items()}
    each |= {name: seconds / options.grasps for name, seconds in parts.items()}
    each["rest"] = whole - sum(each.values())
    kilobytes = float(np.mean(sizes)) / 1e3
    found = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "grasps": options.grasps,
        "seconds_per_grasp": whole,
        "seconds_by_part": each,
        "grasps_per_minute_and_core": 60 / whole,
        "kilobytes_per_grasp": kilobytes,
        "resident_mb": {"after_warm_up": memory[WARM_UP], "end": memory[-1]},
        "projected_500k": {"hours_on_16_cores": 500_000 * whole / 16 / 3600, "gigabytes": 500_000 * kilobytes / 1e6},
    }
    for name, seconds in each.items():
        print(f"{name:10s} {1e3 * seconds:7.1f} ms")
    print(f"{'all':10s} {1e3 * whole:7.1f} ms; {60 / whole:.0f} grasps a minute and core; {kilobytes:.0f} kB a grasp")
    print(f"resident memory {memory[WARM_UP]:.0f} MB after the warm-up, {memory[-1]:.0f} MB at the end")
    planned = found["projected_500k"]
    print(f"500,000 grasps: {planned['hours_on_16_cores']:.1f} h on 16 such cores, {planned['gigabytes']:.0f} GB")
    (Path(__file__).parent / "results" / "collect_dexterous.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
