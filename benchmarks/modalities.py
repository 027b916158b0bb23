"""Which sense adds what: five models, three seeds, grouped by trial and by toy, with paired intervals; touch's gain against camera quality.

Usage: python benchmarks/modalities.py --data DATA --out FOLDER [--seeds 3] [--zooms 0.05 0.1 0.2] [--pixels 12]
Interrupted, it goes on with what is not done yet. Writes benchmarks/results/modalities.json.
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from palpate.data.reader import open_dataset
from palpate.evaluation.scores import Study
from palpate.evaluation.tables_gentle import accuracy_table, difference_table
from palpate.recipes.gentle_report import oracle_predictions
from palpate.recipes.gentle_study import StudyConfig, cross_validations, frozen_training, gain_curve
from palpate.recipes.outcome_data import CLEAR, Degradation


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--groups", nargs="+", default=["trial", "object"])
    parser.add_argument("--zooms", type=float, nargs="*", default=[0.05, 0.1, 0.2], help="cameras whose zoom errs by so much")
    parser.add_argument("--pixels", type=int, nargs="*", default=[12], help="cameras of so many pixels across the window")
    parser.add_argument("--curve-seeds", type=int, default=2)
    options = parser.parse_args()
    base = frozen_training(options.data, options.out, epochs=options.epochs, width=options.width, image_size=options.image_size)
    config = StudyConfig(
        data=options.data, out=options.out, seeds=tuple(range(options.seeds)), groups=tuple(options.groups), base=base
    )
    tables = cross_validations(config, print)
    reader = open_dataset(options.data)
    tables += [oracle_predictions(reader, group, 5, 0) for group in options.groups]
    study = Study(tables)
    result = {}
    for split in study.splits():
        print(accuracy_table(study, split, ()).text())
        gains = difference_table(study, split)
        if gains:
            print(gains.text())
        names = study.models(split)
        result[split] = {
            "accuracy": {
                n: {k: [v.value, v.low, v.high] for k, v in study.accuracy(study.select(n, split)).items()} for n in names
            },
            "against_full": {
                n: {
                    k: [v.value, v.low, v.high]
                    for k, v in study.difference(study.select("vision+touch+action", split), study.select(n, split)).items()
                }
                for n in names
                if n not in {"vision+touch+action", "majority", "oracle"}
            },
        }
    result["n_trials"], result["seeds"] = len(reader), options.seeds
    path = Path(__file__).parent / "results" / "modalities.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    if options.zooms or options.pixels:
        cameras = [CLEAR, *(Degradation(zoom_sd=z) for z in options.zooms), *(Degradation(pixels=p) for p in options.pixels)]
        curve = gain_curve(replace(config, seeds=config.seeds[: options.curve_seeds]), cameras, print)
        result["touch_gain"] = {
            "cameras": [{"pixels": c.pixels, "zoom_sd": c.zoom_sd} for c in cameras],
            "size_error_mm": curve.size_error_mm.tolist(),
            "gain": curve.gain.tolist(),
            "low": curve.low.tolist(),
            "high": curve.high.tolist(),
        }
        path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
