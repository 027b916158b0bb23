"""A learning curve of gentle grasping with touch seen by AnyTouch's encoder, the same untrained, or the ImageNet network.

Usage: python benchmarks/touch_encoder.py --data DATA --encoder RUN --out FOLDER [--sizes 100 300 1000] [--seeds 2] [--models full touch]
DATA is what `palpate collect gentle` makes, RUN what `palpate train touch` does. Toys are held out; differences are paired by trial and
resampled by toy. A size is learned from on up to --draws sets of trials that share none, each with seeds of its own. Interrupted, it goes
on with what is not done yet. Writes benchmarks/results/touch_encoder.json.
"""

import argparse
import json
import os
import platform
from dataclasses import replace
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from palpate.evaluation.inputs import OUTCOMES
from palpate.recipes.gentle_study import StudyConfig, frozen_training, learning_curve
from palpate.recipes.outcome import model_name

MODELS = {"full": ("vision", "touch", "action"), "touch": ("touch", "action"), "looked-at": ("vision", "touch")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs") / "touch-encoder")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), default=["full", "touch"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--width", type=int, default=1024)
    options = parser.parse_args()
    base = frozen_training(options.data, options.out, epochs=options.epochs, width=options.width, image_size=options.image_size)
    models = tuple(MODELS[name] for name in options.models)
    seeds = tuple(range(options.seeds))
    config = StudyConfig(data=options.data, out=options.out, seeds=seeds, groups=("object",), models=models, base=base)
    curve = learning_curve(config, options.encoder, options.sizes, lambda line: print(line, flush=True), draws=options.draws)
    names = (base.features.name, replace(base.features, touch_encoder=options.encoder).name)
    rows = []
    for size, model in product(options.sizes, map(model_name, models)):
        study = curve[size]["encoder"]
        tables = {"imagenet": study.select(model, "object", backbone=names[0])}
        tables |= {name: other.select(model, "object", backbone=names[1]) for name, other in curve[size].items()}
        figures = {name: study.accuracy(some) for name, some in tables.items()}
        figures |= {f"less {name}": study.difference(tables["encoder"], tables[name]) for name in ("imagenet", "untrained")}
        for outcome in OUTCOMES:
            row = {"trials": size, "model": model, "outcome": outcome, "judged": figures["encoder"][outcome].n}
            rows.append(row | {name: [f[outcome].value, f[outcome].low, f[outcome].high] for name, f in figures.items()})
            cells = (
                f"{name} {100 * f[outcome].value:.1f} [{100 * f[outcome].low:.1f}, {100 * f[outcome].high:.1f}]"
                for name, f in figures.items()
            )
            print(f"{size:5} trials  {model:20} {outcome:7} {'  '.join(cells)}")
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "seeds": options.seeds,
        "draws": options.draws,
        "rows": rows,
    }
    path = Path(__file__).parent / "results" / "touch_encoder.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
