"""AnyTouch's Table 7 in our setting: another sensor's picture or field of forces from the features of several encoders.

Usage: python benchmarks/touch_generation.py --data DATA --runs NAME=RUN [NAME=RUN ...] [--seeds 3] [--tune]
DATA is what `palpate collect touch --mode fine --sensors gelsight-mini,duragel,digit,tac3d` makes, best with a seed of its own: then no
encoder saw its objects. RUN are folders of `palpate train touch`, for example one of each stage and one of stills only (--without clips);
an untrained encoder is always judged too. Goes on where it was interrupted. Writes benchmarks/results/touch_generation.json and prints
the tables. Made to take about two minutes of CPU for each encoder, seed and direction with 300 touches.
"""

import argparse
import json
import os
import platform
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from palpate.recipes.touch_generation_study import GenerationStudy, generation_study_tables, run_generation_study


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", nargs="+", required=True, metavar="NAME=RUN")
    parser.add_argument("--out", type=Path, default=Path("runs") / "touch-generation-study")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "touch_generation.json")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args()
    runs = {name: run for name, _, run in (given.partition("=") for given in options.runs)}
    config = GenerationStudy(runs=runs, data=options.data, out=options.out, seeds=options.seeds, tune=options.tune)
    train = replace(config.train, threads=1, epochs=options.epochs or config.train.epochs)
    found = run_generation_study(replace(config, train=train), lambda line: print(line, flush=True))
    for table in generation_study_tables(found):
        print(f"\n{table.text()}")
    found["data"] = options.data.name
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": machine, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
