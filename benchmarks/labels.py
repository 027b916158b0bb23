"""Do labels from the sensors agree with the simulator's truth, and does speech or noise beside the rig change them?

Usage: python benchmarks/labels.py --trials 500 [--seed 77] [--audio FOLDER_OF_WAV] [--data DATA]. Writes results/labels.json.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from palpate.data.reader import open_dataset
from palpate.evaluation.intervals import wilson
from palpate.perception.loudness import hear
from palpate.recipes.collection import SUPERVISED, CollectConfig, collect
from palpate.recipes.gentle_task import GentleTask
from palpate.sensors.microphone import mix

LEVELS = {"65 dB": 65.0, "75 dB": 75.0, "as recorded": None}


def agreement(reader):
    out = {}
    own = reader.indices >= SUPERVISED
    for label, truth, rows in (
        ("stable", "stable", own),
        ("gentle", "gentle", own | True),
        ("gentle_first", "first_gentle", own | True),
    ):
        right = (reader.column(f"label.{label}") == reader.column(f"truth.{truth}"))[rows]
        rate = wilson(float(right.sum()), len(right))
        out[label] = {"agreement": rate.value, "interval": [rate.low, rate.high], "n": rate.n}
        print(f"{label:14s} {100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}] of {rate.n}")
    return out


def surroundings(reader, folder, n):
    gentle = np.flatnonzero(reader.column("label.gentle") == 1.0)[:n]
    harsh = np.flatnonzero((reader.column("label.gentle") == 0.0) & (reader.column("truth.gentle") == 0.0))[:n]
    waves = {
        kind: [reader.episode(int(i), streams=["sound"]).streams["sound"].values[-1] for i in rows]
        for kind, rows in (("gentle stays gentle", gentle), ("harsh stays harsh", harsh))
    }
    out = {}
    for path in tqdm(sorted(folder.glob("*.wav")), desc="clips"):
        clip, rate = soundfile.read(path, dtype="float32")
        for level, db in LEVELS.items():
            for kind, sounds in waves.items():
                right = [
                    hear(mix(wave, clip, rate, level_db=db, start_s=0.37 * i)).gentle == kind.startswith("gentle")
                    for i, wave in enumerate(sounds)
                ]
                out[f"{path.stem}|{level}|{kind}"] = {"rate": float(np.mean(right)), "n": len(right)}
    print(f"{'clip':34s} " + "  ".join(f"{level} gentle/harsh kept" for level in LEVELS))
    for name in sorted({key.split("|")[0] for key in out}):
        cells = []
        for level in LEVELS:
            gentle, harsh = (
                100 * out[f"{name}|{level}|{kind}"]["rate"] for kind in ("gentle stays gentle", "harsh stays harsh")
            )
            cells.append(f"{gentle:5.1f} / {harsh:5.1f}")
        print(f"{name:34s} " + "          ".join(cells))
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--data", type=Path, help="use this data set instead of collecting one")
    parser.add_argument("--clips", type=int, default=100, help="sounds of each kind to mix each clip into")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or collect(
            CollectConfig(out=Path(folder) / "d", task=GentleTask(), trials=options.trials, seed=options.seed)
        )
        reader = open_dataset(data)
        result = {"trials": len(reader), "seed": options.seed, "agreement": agreement(reader)}
        if options.audio:
            result["surroundings"] = surroundings(reader, options.audio, options.clips)
    path = Path(__file__).parent / "results" / "labels.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
