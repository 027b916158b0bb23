"""AnyTouch's Tables 1 and 6 and the unseen sensor in our setting: a small encoder on simulated aligned touch.

Usage: python benchmarks/anytouch.py --data DATA [DATA ...] --probe PROBE [--real PHYSICLEAR] [--size small|full] [--view change|picture]
       [--pool class|patches]
       [--seeds 1]
DATA and PROBE are what `palpate collect touch` makes with the sensors gelsight, digit, duragel and gelsight-mini, PROBE with a seed of its
own (or one of DATA: then only the objects held out count); PHYSICLEAR is what `palpate import octopi` makes. Goes on where it was
interrupted. Writes benchmarks/results/anytouch.json and a page beside it. With 600 touches `small` takes about an hour of one core a
seed, `full` ten times as much.
"""

import argparse
import json
import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from palpate.evaluation.report_anytouch import study_tables, write_study
from palpate.models.touch_encoder import TouchEncoderConfig
from palpate.recipes.anytouch_study import StudyConfig, run_study

SIZES: dict[str, dict[str, Any]] = {
    "small": {"shape": TouchEncoderConfig(size=48, width=96, depth=4, embed=64), "epochs": (4, 3), "batch_size": 32},
    "full": {"shape": TouchEncoderConfig(), "epochs": (10, 10), "batch_size": 64},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--probe", type=Path, required=True)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs") / "anytouch-study")
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--view", choices=("change", "picture"), default="change")
    parser.add_argument("--pool", choices=("class", "patches"), default="class")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tables", nargs="+", default=["ablations", "sensors", "unseen"])
    options = parser.parse_args()
    size = SIZES[options.size]
    config = StudyConfig(
        data=tuple(options.data),
        probe=options.probe,
        real=options.real,
        out=options.out / f"{options.size}-{options.view}",
        shape=replace(size["shape"], view=options.view),
        epochs=size["epochs"],
        batch_size=size["batch_size"],
        seeds=options.seeds,
        pool=options.pool,
        workers=options.workers,
        tables=tuple(options.tables),
    )
    found = run_study(config, lambda line: print(line, flush=True))
    for table in study_tables(found):
        print(f"\n{table.text()}")
    results = Path(__file__).parent / "results"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, no GPU"
    (results / "anytouch.json").write_text(
        json.dumps({"machine": machine, "size": options.size, "view": options.view, **found}, indent=1) + "\n"
    )
    write_study(
        results / "anytouch.html",
        found,
        {"study": f"python benchmarks/anytouch.py --size {options.size} --view {options.view} ..."},
    )


if __name__ == "__main__":
    main()
