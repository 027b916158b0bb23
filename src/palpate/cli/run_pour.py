"""Commands of pouring by touch alone."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from palpate.cli import commands_pour as commands
from palpate.cli.tell import data_summary, say, write_json


def collect_pouring(config: commands.CollectPouring) -> None:
    """Run `palpate collect pouring`."""
    from palpate.recipes.pouring_collection import PouringCollection
    from palpate.recipes.pouring_collection import collect_pouring as run
    from palpate.worlds.pouring import PouringConfig

    values = {key: value for key, value in vars(config).items() if key != "cups"}
    folder = run(PouringCollection(**values, world=PouringConfig(cups=config.cups)))
    say(data_summary(folder))
    say(f"collected into {folder}")


def train_pouring(config: commands.TrainPouring) -> None:
    """Run `palpate train pouring`."""
    from palpate.recipes.pouring import PouringTraining
    from palpate.recipes.pouring import train_pouring as run

    mode: Literal["frozen", "tuned"] = "tuned" if config.tuned else "frozen"
    settings = PouringTraining(encoder=config.encoder, encoder_mode=mode, seed=config.seed)
    tune = replace(settings.tune, epochs=config.epochs)
    say(f"run written to {run(config.data, config.out, replace(settings, tune=tune))}")


def pour(config: commands.Pour) -> None:
    """Run `palpate pour`."""
    from palpate.core.randomness import generator
    from palpate.evaluation.intervals import cluster_mean
    from palpate.recipes.pouring import PouringTrials
    from palpate.recipes.pouring import pour as run
    from palpate.worlds.pouring import PouringConfig

    out = config.out or Path("runs") / f"pour-{config.policy.name}"
    values = {key: value for key, value in vars(config).items() if key not in {"json", "out", "cups"}}
    rows = run(PouringTrials(**values, out=out, world=PouringConfig(cups=config.cups)))
    error = np.array(rows["error_g"], float)
    mean = cluster_mean(np.abs(error), np.array(rows["trial"]), generator(0))
    say(f"mean error {mean.value:.1f} g [{mean.low:.1f}, {mean.high:.1f}] of {mean.n} trials")
    say(f"poured {60 + np.nanmean(error):.1f} g on average")
    write_json(config.json, {"policy": str(config.policy), "trials": rows})
