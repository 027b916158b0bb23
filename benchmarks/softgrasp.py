"""Tables 4, 5 and 6 of SoftGrasp in simulation, and what force feedback does to demonstrations.

Usage: python benchmarks/softgrasp.py --data DATA [--out RUNS] [--tables 4 5 6] [--objects 1 2 ...] [--trials 5] [--seeds 2]
       [--epochs 20] [--workers 2] [--feedback [--demos 10]] [--show]
DATA is what `palpate collect softgrasp` makes. Goes on where it was interrupted; --show runs nothing and tells what there is. Writes
RUNS/report.html and benchmarks/results/softgrasp.json. Seventeen configurations with two nets each: about four hours on two idle cores.
"""

import argparse
import json
import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from palpate.evaluation.report_softgrasp import summary_text, write_report
from palpate.evaluation.tables_softgrasp import feedback_figures, figures_of
from palpate.recipes.softgrasp import SoftgraspTraining
from palpate.recipes.softgrasp_story import gather
from palpate.recipes.softgrasp_study import TABLES, StudyConfig, read_study, run_feedback, run_study


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs") / "softgrasp-study")
    parser.add_argument("--tables", type=int, nargs="+", choices=sorted(TABLES), default=sorted(TABLES))
    parser.add_argument("--objects", type=int, nargs="+", default=list(range(1, 13)))
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--feedback", action="store_true")
    parser.add_argument("--demos", type=int, default=10)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    base = SoftgraspTraining(history_noise=0.0, validation=0.2)  # no noise, as in the paper; one more row of Table 6 has it
    config = StudyConfig(
        data=options.data,
        out=options.out,
        tables={number: TABLES[number] for number in options.tables},
        objects=tuple(options.objects),
        trials=options.trials,
        seeds=options.seeds,
        workers=options.workers,
        base=replace(base, train=replace(base.train, epochs=options.epochs, lr_decay=0.85)),
    )
    feedback = None
    if options.feedback:
        feedback = run_feedback(options.out / "feedback", objects=config.objects, demos=options.demos, workers=options.workers)
    tables = read_study(config) if options.show else run_study(config, lambda line: print(line, flush=True))
    asked = {name: value.name if isinstance(value, Path) else str(value) for name, value in vars(options).items()}
    asked.pop("show")
    results = replace(gather(config, tables, feedback), config=asked)
    print(summary_text(results))
    command = f"python benchmarks/softgrasp.py --data {options.data} --out {options.out} --epochs {options.epochs}"
    print(write_report(options.out / "report.html", results, "study", {"this study": command}))
    found: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU", "config": asked}
    found |= figures_of(tables) | ({"feedback": feedback_figures(*feedback)} if feedback else {})
    (Path(__file__).parent / "results" / "softgrasp.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
