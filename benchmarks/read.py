"""Reading speed of the training cache against episode shards, in samples of three 128x160 images per CPU second.

Run: OMP_NUM_THREADS=1 python benchmarks/read.py [--samples 1200] [--seconds 3]
Writes benchmarks/results/read.json. LeRobot's figures are quoted, not measured here: lerobot 0.4.4, its own writer and
reader, the same size of sample, random access.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from palpate.core.records import Episode, Stream, StreamSpec
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.data.sample_cache import SampleCache
from palpate.data.writer import EpisodeWriter

HEIGHT, WIDTH = 128, 160
INPUTS = {"camera.rgb": "rgb", "touch.left": "touch", "touch.right": "touch"}
STEPS = 4  # samples per trial, as many as a trial of two grasps has
BATCH = 32
QUOTED = {
    "LeRobot, images (PNG in Parquet)": 339,
    "LeRobot, video svtav1": 150,
    "LeRobot, video h264": 126,
    "LeRobot, images, loader of 2 workers (per second of wall time)": 347,
}
FLOOR = 5000


def picture(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    a, b, c = rng.uniform(8, 40, 3)
    smooth = np.stack([128 + 60 * np.sin(x / a), 128 + 60 * np.cos(y / b), 128 + 60 * np.sin((x + y) / c)], -1)
    return (smooth + rng.integers(-1, 2, smooth.shape)).astype(np.uint8)


def write_shards(root: Path, samples: int) -> None:
    rng = np.random.default_rng(0)
    with EpisodeWriter.create(root, task="benchmark") as writer:
        for index in range(samples // STEPS):
            streams = {}
            for name, kind in INPUTS.items():
                spec = StreamSpec(name=name, kind=kind, shape=(HEIGHT, WIDTH, 3), dtype="uint8")
                values = np.stack([picture(rng) for _ in range(STEPS)])
                streams[name] = Stream(spec=spec, times=np.arange(float(STEPS)), values=values)
            writer.write(Episode(index=index, seed=0, task="benchmark", streams=streams))


def write_cache(path: Path, reader: EpisodeReader) -> SampleCache:
    fields = {name: (HEIGHT, WIDTH, 3, "uint8") for name in INPUTS}
    cache = SampleCache.create(path, len(reader) * STEPS, fields, fingerprint=reader.fingerprint())
    for position, episode in enumerate(reader):
        for step in range(STEPS):
            cache.write(position * STEPS + step, {name: episode.streams[name].values[step] for name in INPUTS})
    return cache.finish()


def speed(read: Callable[[], int], seconds: float) -> float:
    """Samples per second of CPU time, after a warm-up call."""
    read()
    count, start, deadline = 0, time.process_time(), time.monotonic() + 4 * seconds
    while time.process_time() - start < seconds and time.monotonic() < deadline:
        count += read()
    return count / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1200)
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU time per measurement")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as scratch:
        write_shards(Path(scratch) / "data", arguments.samples)
        reader = open_dataset(Path(scratch) / "data")
        start = time.process_time()
        cache = write_cache(Path(scratch) / "cache", reader)
        built = len(cache) / (time.process_time() - start)

        buffers, _ = cache.batch(np.arange(BATCH))

        def from_cache() -> int:
            values, _ = cache.batch(rng.integers(len(cache), size=BATCH))
            return len(values["camera.rgb"])

        def from_cache_again() -> int:
            cache.batch(rng.integers(len(cache), size=BATCH), out=buffers)
            return BATCH

        def from_shards() -> int:
            reader.episode(int(rng.integers(len(reader))), streams=tuple(INPUTS))
            return STEPS  # all samples of the trial are decoded; a reader of one at random uses one of them

        shards = speed(from_shards, arguments.seconds)
        measured = {
            f"sample cache, batches of {BATCH}": speed(from_cache, arguments.seconds),
            f"sample cache, batches of {BATCH} over the last one": speed(from_cache_again, arguments.seconds),
            "episode shards, whole trials": shards,
            "episode shards, one sample of a trial at random": shards / STEPS,
            "building the cache from shards": built,
        }
    for title, values in (("measured here, per CPU second", measured), ("quoted, per CPU second", QUOTED)):
        print(f"{title}:")
        for name, value in values.items():
            print(f"  {value:10,.0f}  {name}")
    result = {
        "sample": f"3 images of {HEIGHT}x{WIDTH}x3 uint8, {arguments.samples} samples, page cache warm",
        "samples_per_cpu_second": {name: round(value, 1) for name, value in measured.items()},
        "quoted_lerobot_0.4.4": QUOTED,
        "floor": FLOOR,
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": platform.system(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "pyarrow": pa.__version__,
        },
    }
    out = Path(__file__).parent / "results" / "read.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    fast = measured[f"sample cache, batches of {BATCH}"]
    sys.exit(f"the cache gave {fast:.0f} samples per CPU second, the floor is {FLOOR}" if fast < FLOOR else 0)


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
