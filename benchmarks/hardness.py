"""How well is hardness told from a press, and does the interval hold? Also where training and test presses come from different solvers.

Usage: python benchmarks/hardness.py [--seeds 3] [--train 300] [--test 100] [--work FOLDER]. Writes results/hardness.json.
"""

import argparse
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from palpate.core.randomness import generator
from palpate.data.reader import open_dataset
from palpate.evaluation.intervals import cluster_mean
from palpate.perception.hardness_scale import HARDEST, SOFTEST
from palpate.recipes.hardness import find_optics, fit_estimators, judge, read_presses, score
from palpate.recipes.hardness_sim import PressesConfig, collect_presses

ROWS = {
    "image only": (),
    "+ radius ±10 %": ("radius",),
    "+ approach": ("approach",),
    "+ force": ("force",),
    "+ radius ±10 % + force": ("radius", "force"),
    "+ radius ±10 % + approach": ("radius", "approach"),
}
PAPER = "Yuan, Srinivasan and Adelson 2016, real hemispheres of 8 Shore 00 to 45 Shore A: about 4 %"
SPAN = HARDEST - SOFTEST


def measured(folder, solver, seed, presses):
    """Presses of samples and gels that no other seed has."""
    out = folder / f"{solver}-{seed}-{presses}"
    collect_presses(PressesConfig(out=out, presses=presses, seed=seed, per_object=1, solver=solver, resume=True))
    reader = open_dataset(out)
    return read_presses(reader, find_optics(reader)[1])


def line(row):
    low, high = row["error_interval"]
    held = "{:.2f} [{:.2f}, {:.2f}]".format(row["coverage"], *row["coverage_interval"])
    return (
        f"{row['trained']:10s} -> {row['test']:6s} {row['inputs']:26s} {row['error_percent']:5.2f} % [{low:.2f}, {high:.2f}]  "
        f"bias {row['bias_points']:+.1f}  coverage {held}  width {row['width_points']:.0f}  rho {row['spearman']:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=300)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--work", type=Path, help="keep the presses here and use them again")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    threadpool_limits(1)
    sets = [("image", *extras) for extras in ROWS.values()]
    said: dict[tuple[str, str, str], list] = {}
    unusable: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        for seed in range(options.seeds):
            tests = {
                solver: measured(folder, solver, 100 + 10 * seed + k, options.test)
                for k, solver in enumerate(("layer", "finite"))
            }
            for solver, presses in tests.items():
                unusable.setdefault(solver, []).append(len(presses.unusable))
            for trained in ("layer", "half-space") if seed == 0 else ("layer",):  # the naive one needs no intervals over seeds
                train = measured(folder, trained, 10 * seed, options.train)
                models = fit_estimators(train, seed, sets)
                for solver, presses in tests.items():
                    for row, extras in ROWS.items():
                        said.setdefault((trained, solver, row), []).append((judge(models, presses, extras)[0], presses))
    table = []
    for (trained, solver, row), parts in said.items():
        each = [score(*part) for part in parts]
        objects = np.concatenate([p.object for _, p in parts])
        error = np.concatenate([s.value - p.shore00 for s, p in parts])
        inside = np.concatenate([(s.low <= p.shore00) & (p.shore00 <= s.high) for s, p in parts]).astype(float)
        wrong = cluster_mean(100 * np.abs(error) / SPAN, objects, generator(0))
        held = cluster_mean(inside, objects, generator(0))
        table.append(
            {
                "trained": trained,
                "test": solver,
                "inputs": row,
                "error_percent": wrong.value,
                "error_interval": [wrong.low, wrong.high],
                "error_by_seed": [100 * s["mae"] / SPAN for s in each],
                "bias_points": float(error.mean()),
                "coverage": held.value,
                "coverage_interval": [held.low, held.high],
                "width_points": float(np.mean([s["width"] for s in each])),
                "spearman": float(np.mean([s["spearman"] for s in each])),
                "n": wrong.n,
                "objects": wrong.groups,
            }
        )
        print(line(table[-1]))
    result = {
        "paper": PAPER,
        "span_shore00": SPAN,
        "train": options.train,
        "seeds": options.seeds,
        "unusable": unusable,
        "rows": table,
    }
    path = Path(__file__).parent / "results" / "hardness.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
