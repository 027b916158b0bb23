"""Tables I and II of More Than a Feeling, calibration, least force and the analyses, in full.

Usage: python benchmarks/regrasp.py [--out runs/regrasp] [--trials 10000] [--seeds 3] [--grasps 10] [--on-policy 1000] [--epochs 4].
Writes OUT/report.html and benchmarks/results/regrasp.json; goes on where it was interrupted. About 75 minutes on two idle cores.
"""

import argparse
import json
import os
import platform
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from palpate.core.randomness import generator
from palpate.evaluation.report_regrasp import calibration_lines, gel_lines, loop_lines, summary_text, table_one, write_report
from palpate.evaluation.scores_regrasp import accuracy_figures, grasp_figures
from palpate.recipes.regrasp_study import StudyConfig, run_study


def main() -> None:
    parser = argparse.ArgumentParser()
    defaults = StudyConfig(out=Path("runs") / "regrasp")
    parser.add_argument("--out", type=Path, default=defaults.out)
    for name in ("trials", "seeds", "grasps", "on_policy", "epochs", "image_size", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    options = parser.parse_args()
    results = run_study(StudyConfig(**vars(options)), lambda line: print(line, flush=True))
    print(summary_text(results))
    words = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in vars(options).items())
    write_report(options.out / "report.html", results, "study", {"this run": f"python benchmarks/regrasp.py {words}"})
    found = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "config": {key: value for key, value in results.config.items() if key not in ("out", "workers", "resume")},
        "labels": results.labels,
        "table_one": {row[0]: row[1:] for row in table_one(results).rows},
        "models": {name: accuracy_figures(tables, generator(0)) for name, tables in results.predictions.items()},
        "pictures": {name: accuracy_figures(tables, generator(0)) for name, tables in results.pictures.items()},
        "calibrated": {name: accuracy_figures(tables, generator(0)) for name, tables in results.calibrated.items()},
        "lines": [*calibration_lines(results), *gel_lines(results), *loop_lines(results)],
        "loops": {key: grasp_figures(rows, generator(0)) for key, rows in results.loops.items()},
    }
    path = Path(__file__).parent / "results" / "regrasp.json"
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
