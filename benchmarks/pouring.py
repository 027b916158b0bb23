"""AnyTouch's Table 4 in our setting: how far from 60 g policies pour that only feel, beside the person and two that feel nothing.

Usage: python benchmarks/pouring.py --demos DEMOS --runs AnyTouch=RUN ["stills only=RUN" ...] [--seeds 2] [--trials 20]
DEMOS is what `palpate collect pouring --cups same` makes (80 demonstrations), RUN are folders of `palpate train touch --stage 2 --view
change`, the second one of stills only (--without clips). An untrained encoder of the first one's shape, an ImageNet network and plain
pixels are always judged too. Goes on where it was interrupted. Writes benchmarks/results/pouring.json and a page beside it, and prints the
tables. A trial takes about 3 s of one core, the training of a frozen row about half a minute, of a tuned one about three minutes.
"""

import argparse
import json
import os
import platform
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from palpate.evaluation.report_pouring import pouring_tables, write_pouring
from palpate.recipes.pouring_study import MODES, PLAIN, PouringStudy, run_pouring_study
from palpate.worlds.pouring import PouringConfig


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--demos", type=Path, required=True)
    parser.add_argument("--runs", nargs="+", required=True, metavar="NAME=RUN")
    parser.add_argument("--out", type=Path, default=Path("runs") / "pouring-study")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--cups", choices=("same", "varied"), default="same")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tuned-seeds", type=int)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--plain", nargs="*", choices=tuple(PLAIN), default=tuple(PLAIN))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = PouringStudy(
        demos=options.demos,
        runs={name: run for name, _, run in (given.partition("=") for given in options.runs)},
        out=options.out,
        seeds=options.seeds,
        tuned_seeds=options.tuned_seeds,
        trials=options.trials,
        modes=tuple(options.modes),
        plain=tuple(options.plain),
        world=PouringConfig(cups=options.cups),
        workers=options.workers,
    )
    found = run_pouring_study(config, lambda line: print(line, flush=True))
    for table in pouring_tables(found):
        print(f"\n{table.text()}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, no GPU"
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "pouring.json").write_text(json.dumps({"machine": machine, **found}, indent=1) + "\n")
    command = 'python benchmarks/pouring.py --demos DEMOS --runs AnyTouch=RUN "stills only=RUN"'
    write_pouring(options.results / "pouring.html", found, {"study": command})


if __name__ == "__main__":
    main()
