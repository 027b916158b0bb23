"""First against second estimate of the dexterous networks, objects held out; and status from touch alone on real grasps.

Usage: python benchmarks/dexterous.py --data DATA [--out RUNS] [--seeds 3] [--folds 3] [--epochs 20] [--status stable|status]
       python benchmarks/dexterous.py --bts3 BTS3
DATA is what `palpate collect dexterous` makes, BTS3 what `palpate import bts3` makes. Goes on where it was interrupted. Writes
benchmarks/results/dexterous.json, or dexterous_bts3.json. About half an hour for 2,000 grasps on two idle cores.
"""

import argparse
import json
import os
import platform
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from palpate.recipes.dexterous import DexterousConfig
from palpate.recipes.dexterous_bts3 import bts3_figures, bts3_text
from palpate.recipes.dexterous_study import StudyConfig, run_study, study_table


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--bts3", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs") / "dexterous-study")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--status", choices=("stable", "status"), default="stable")
    options = parser.parse_args()
    if (options.data is None) == (options.bts3 is None):
        parser.error("give either --data or --bts3")
    results = Path(__file__).parent / "results"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, no GPU"
    if options.bts3 is not None:
        found = bts3_figures(options.bts3, options.seeds, lambda line: print(line, flush=True))
        print(bts3_text(found))
        (results / "dexterous_bts3.json").write_text(json.dumps({"machine": machine, **found}, indent=1) + "\n")
        return
    base = DexterousConfig(folds=options.folds, status=options.status)
    base = replace(base, train=replace(base.train, epochs=options.epochs, threads=1))
    config = StudyConfig(data=options.data, out=options.out, seeds=options.seeds, workers=options.workers, base=base)
    found = run_study(config, lambda line: print(line, flush=True))
    print(study_table(found).text())
    (results / "dexterous.json").write_text(json.dumps({"machine": machine, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
