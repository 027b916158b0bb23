"""What each command does: translate its options into a recipe's configuration, call it, print what came out."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from palpate.cli import commands
from palpate.cli.tell import say, write_json
from palpate.core.errors import DataError, PalpateError
from palpate.core.randomness import generator
from palpate.data.reader import open_dataset
from palpate.evaluation import loop
from palpate.evaluation.inputs import GraspTable, PredictionTable
from palpate.evaluation.intervals import Interval, wilson
from palpate.evaluation.scores import Study


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:5.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _as_json(interval: Interval) -> dict[str, Any]:
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}


def train(config: commands.TrainOutcome) -> None:
    """Run `palpate train outcome`."""
    if open_dataset(config.data).head.task == "bts3":
        if config.touch_encoder is not None:
            raise DataError(f"{config.data} holds touch as numbers, and --touch-encoder sees pictures; leave it out")
        from palpate.recipes.taxel_outcome import TaxelConfig, report_text, train_taxels

        run = TaxelConfig(data=config.data, out=config.out, folds=config.folds, group=config.group, seed=config.seed)
        say(report_text(train_taxels(run, say)))
        return
    from palpate.learning.loop import TrainConfig
    from palpate.recipes.outcome import MODALITIES, OutcomeConfig, train_outcome
    from palpate.recipes.outcome_data import FeatureSettings

    modalities = tuple(m.strip() for m in config.modalities.split(",") if m.strip()) or MODALITIES
    if config.touch_encoder is not None and "touch" not in modalities:
        raise PalpateError(f"--touch-encoder with --modalities {config.modalities}: add touch, or leave the encoder out")
    same = {name: getattr(config, name) for name in ("backbone", "weights", "crops", "touch_encoder")}
    features = FeatureSettings(**same, size=config.image_size)
    defaults = OutcomeConfig(data=config.data, out=config.out).train
    schedule = TrainConfig(**{**vars(defaults), "epochs": config.epochs, "threads": config.threads, "seed": config.seed})
    folder = train_outcome(
        OutcomeConfig(
            data=config.data,
            out=config.out,
            also=config.also,
            modalities=modalities,
            folds=config.folds,
            group=config.group,
            seed=config.seed,
            features=features,
            train=schedule,
            resume=config.resume,
            fine_tune=config.fine_tune,
        ),
        say,
    )
    if config.folds:
        say(_accuracies([PredictionTable.load(folder / "predictions.npz")]))
    say(f"run written to {folder}")


def train_hardness(config: commands.TrainHardness) -> None:
    """Run `palpate train hardness`."""
    from palpate.recipes.hardness import HardnessConfig
    from palpate.recipes.hardness import train_hardness as run

    table = run(HardnessConfig(**vars(config)))
    say(json.dumps(table, indent=1))
    say(f"run written to {config.out}")


def _accuracies(tables: list[PredictionTable]) -> str:
    if tables[0].labels.shape[1] == 1:
        from palpate.evaluation.scores_regrasp import accuracy_text

        return accuracy_text(tables)
    study = Study(tables)
    lines = []
    for moment, words in (
        ("initial", "before the regrasp"),
        ("release", "after the release"),
        ("regrasp", "during the regrasp"),
    ):
        chosen = [t for t in tables if (t.moment == moment).any()]
        if chosen:
            parts = ", ".join(f"{name} {_percent(value)}" for name, value in study.accuracy(chosen, moment=moment).items())
            lines.append(f"{words:20s} {parts}")
    return "\n".join(lines)


def evaluate(config: commands.Evaluate) -> None:
    """Run `palpate evaluate`."""
    from palpate.learning.checkpoint import load_run

    recipe = load_run(config.run).extra.get("recipe")
    if config.without and recipe != "hardness":
        raise PalpateError("--without is about runs of `palpate train hardness`; leave it out")
    if recipe == "hardness":
        from palpate.recipes.hardness import EXTRAS, evaluate_hardness

        figures = evaluate_hardness(config.run, config.data, extras=[name for name in EXTRAS if name not in config.without])
        write_json(config.json, figures)
        say(json.dumps({name: value for name, value in figures.items() if name != "presses"}, indent=1))
        return
    if recipe == "taxels":
        from palpate.recipes.taxel_outcome import evaluate_taxels

        result = evaluate_taxels(config.run, config.data, config.calibrate or 0, config.seed)
        write_json(config.json, result)
        low, high = (100 * end for end in result["interval"])
        words = f"n {result['n']}, calibrate {result['calibrate']}"
        say(f"accuracy {100 * result['accuracy']:.1f} % [{low:.1f}, {high:.1f}], {words}")
        return
    if config.calibrate is not None:
        raise PalpateError("--calibrate re-centres touch that is numbers (taxels); this run is on images, leave it out")
    from palpate.recipes.outcome_run import evaluate_outcome

    table = evaluate_outcome(config.run, config.data)
    if table.labels.shape[1] == 1:
        from palpate.evaluation.scores_regrasp import accuracy_figures

        say(_accuracies([table]))
        write_json(config.json, {"model": table.model, **accuracy_figures([table], generator(0))})
        return
    found = Study([table]).accuracy([table])
    say(_accuracies([table]))
    both = found["both"]
    write_json(
        config.json,
        {
            "accuracy": both.value,
            "interval": [both.low, both.high],
            "n": both.n,
            "model": table.model,
            **{name: _as_json(value) for name, value in found.items()},
        },
    )


def grasp(config: commands.GraspGentle) -> None:
    """Run `palpate grasp gentle`."""
    from palpate.recipes.grasping import GraspConfig
    from palpate.recipes.grasping import grasp as run

    values = {name: value for name, value in vars(config).items() if name != "json"}
    table = run(GraspConfig(**values))
    rates = grasp_rates(table)
    for name, rate in rates.items():
        say(f"{table.policy:22s} {name:22s} {_percent(rate)}")
    both = rates["stable_and_gentle"]
    content = {
        "policy": table.policy,
        "accuracy": both.value,
        "interval": [both.low, both.high],
        "n": both.n,
        **{name: _as_json(rate) for name, rate in rates.items()},
    }
    write_json(config.json, content)


def grasp_rates(table: GraspTable) -> dict[str, Interval]:
    """Return the rates of a closed-loop test with intervals: stable, gentle, both, and damage done while looking."""
    events = loop.events(table)
    rng = generator(0)
    out = {
        "stable": loop.rate(table, events["stable"], rng),
        "gentle": loop.rate(table, events["gentle"], rng),
        "stable_and_gentle": loop.rate(table, events["both"], rng),
    }
    harsh = table.damage_while_looking
    out["harsh_while_looking"] = wilson(float(harsh.sum()), len(harsh))
    return out


def grasp_regrasp(config: commands.GraspRegrasp) -> None:
    """Run `palpate grasp regrasp`."""
    from palpate.evaluation.scores_regrasp import grasp_figures, grasp_text
    from palpate.planning.grip import GripObjective
    from palpate.recipes.regrasping import RegraspGraspConfig
    from palpate.recipes.regrasping import grasp as run

    name = Path(config.policy).name
    out = config.out or Path("runs") / f"regrasp-{name}-{config.objects}-{config.objective}"
    objective = GripObjective(kind=config.objective, threshold=config.threshold, weight=config.weight)
    values = {key: value for key, value in vars(config).items() if key not in {"json", "threshold", "weight"}}
    rows = run(RegraspGraspConfig(**{**values, "out": out, "objective": objective}))
    figures = grasp_figures(rows, generator(0), config.threshold)
    say(grasp_text(figures))
    write_json(config.json, {"objects": config.objects, "objective": config.objective, **figures})


def report(config: commands.Report) -> None:
    """Run `palpate report`."""
    from palpate.evaluation.report_gentle import summary_text, write_report
    from palpate.recipes.gentle_report import gather

    line = f"palpate report {' '.join(map(str, config.runs))} --out {config.out}"
    results = gather(config.runs, config.data, [line], config.out.stem)
    write_report(config.out, results)
    say(summary_text(results))
    say(f"report written to {config.out}")


def export_lerobot(config: commands.ExportLerobot) -> None:
    """Run `palpate export lerobot`."""
    from palpate.data.lerobot import export_lerobot as export

    export(config.data, config.out, fps=config.fps)
    say(f"LeRobot v3.0 data set written to {config.out}")


def demo(config: commands.Demo) -> None:
    """Run `palpate demo`: collect, train four models, try three policies, write the report."""
    from palpate.evaluation.report_gentle import summary_text, write_report
    from palpate.recipes.gentle_demo import DemoConfig, run_demo

    started = time.perf_counter()
    results, commands_run = run_demo(DemoConfig(**vars(config)), say)
    results = replace(results, run=replace(results.run, commands=tuple(commands_run)))
    page = write_report(config.out / "report.html", results)
    text = summary_text(results)
    (config.out / "summary.txt").write_text(text)
    say(text)
    for table in results.grasps:
        parts = ", ".join(f"{name} {_percent(rate)}" for name, rate in grasp_rates(table).items())
        say(f"{table.policy:22s} {parts}")
    harsh = results.first_press_harsh
    if harsh is not None:
        say(f"the first grasp itself squeezed too hard in {100 * float(np.nanmean(harsh)):.0f} % of the collected trials")
    say(f"\ndone in {time.perf_counter() - started:.0f} s; open {page}")


def demo_regrasp(config: commands.DemoRegrasp) -> None:
    """Run `palpate demo regrasp`: collect, train, calibrate, grasp, write the report."""
    from palpate.evaluation.report_regrasp import summary_text, write_report
    from palpate.recipes.regrasp_study import StudyConfig, run_study

    started = time.perf_counter()
    study = StudyConfig(**vars(config), seeds=1, sets=("easy",), on_policy=0)
    results = run_study(study, say)
    text = summary_text(results)
    (config.out / "summary.txt").write_text(text)
    line = f"palpate demo regrasp --out {config.out} --trials {config.trials} --grasps {config.grasps} --seed {config.seed}"
    page = write_report(config.out / "report.html", results, "demo", {"this run": line})
    say(text)
    say(f"report: {page} ({time.perf_counter() - started:.0f} s)")
