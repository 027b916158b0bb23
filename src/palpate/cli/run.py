"""What each command does: translate its options into a recipe's configuration, call it, print what came out."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from palpate.cli import commands
from palpate.core.errors import PalpateError
from palpate.core.randomness import generator
from palpate.data.external.video import Imported
from palpate.data.reader import open_dataset
from palpate.data.review import read_review
from palpate.evaluation import loop
from palpate.evaluation.inputs import GraspTable, PredictionTable
from palpate.evaluation.intervals import Interval, wilson
from palpate.evaluation.scores import Study


def _say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _write_json(path: Path | None, content: Mapping[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:5.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _as_json(interval: Interval) -> dict[str, Any]:
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}


def collect(config: commands.CollectGentle) -> None:
    """Run `palpate collect gentle`."""
    from palpate.recipes.collection import CollectConfig
    from palpate.recipes.collection import collect as run
    from palpate.recipes.gentle_task import GentleTask
    from palpate.worlds.gentle import GentleConfig

    task = GentleTask(world=GentleConfig(n_toys=config.toys, pose=config.pose))
    started = time.perf_counter()
    folder = run(
        CollectConfig(
            out=config.out, trials=config.trials, seed=config.seed, workers=config.workers, resume=config.resume, task=task
        )
    )
    _say(_summary(folder))
    _say(f"collected in {time.perf_counter() - started:.0f} s into {folder}")


def collect_regrasp(config: commands.CollectRegrasp) -> None:
    """Run `palpate collect regrasp`."""
    from palpate.recipes.collection import CollectConfig
    from palpate.recipes.collection import collect as run
    from palpate.recipes.regrasp_task import RegraspTask
    from palpate.worlds.regrasp import RegraspConfig

    started = time.perf_counter()
    values = {name: value for name, value in vars(config).items() if name not in {"policy", "objects"}}
    settings = CollectConfig(task=RegraspTask(world=RegraspConfig(objects=config.objects)), **values)
    if config.policy == "random":
        folder = run(settings)
    else:
        from palpate.recipes.regrasping import collect_with

        folder = collect_with(config.policy, settings)
    _say(_summary(folder))
    _say(f"collected in {time.perf_counter() - started:.0f} s into {folder}")
    doubts = sum(not doubt.person for doubt in read_review(folder))
    if doubts:
        _say(
            f"{doubts} trials whose outcome the touch images do not tell clearly: look at them and fill {folder / 'review.csv'}"
        )


def collect_touch(config: commands.CollectTouch) -> None:
    """Run `palpate collect touch`."""
    from palpate.recipes.touch_collection import TouchConfig
    from palpate.recipes.touch_collection import collect_touch as run

    started = time.perf_counter()
    folder = run(TouchConfig(**vars(config)))
    _say(_summary(folder))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    _say(f"collected in {(time.perf_counter() - started) / 60:.1f} minutes, {size / 1e9:.3f} GB, in {folder}")


def collect_presses(config: commands.CollectPresses) -> None:
    """Run `palpate collect presses`."""
    from palpate.recipes.hardness_sim import PressesConfig
    from palpate.recipes.hardness_sim import collect_presses as run

    started = time.perf_counter()
    folder = run(PressesConfig(**vars(config)))
    _say(_summary(folder))
    _say(f"collected in {time.perf_counter() - started:.0f} s into {folder}")


def touch(config: commands.Touch) -> None:
    """Run `palpate touch`."""
    if config.gallery:
        from palpate.recipes.touch_gallery import GalleryConfig, write_gallery

        for path in write_gallery(GalleryConfig(out=config.out), _say):
            _say(f"written to {path}")
        return
    if config.describe:
        from palpate.recipes.touch_press import find_sensor
        from palpate.sensors.touch.files import write_sensor

        write_sensor(find_sensor(config.sensor), config.out)
        _say(f"constants of {config.sensor} written to {config.out}; change them and try palpate touch --sensor {config.out}")
        return
    from palpate.recipes.touch_show import ShowConfig, figures_text, show_press

    given = {name: value for name, value in vars(config).items() if name not in {"json", "gallery", "describe"}}
    figures = show_press(ShowConfig(**given))
    _write_json(config.json, figures)
    _say(figures_text(figures))
    _say(f"picture written to {config.out}")


def calibrate_touch(config: commands.CalibrateTouch) -> None:
    """Run `palpate calibrate touch`."""
    from palpate.recipes.touch_calibration import calibrate, report_text

    report = calibrate(config.images, config.sensor, config.ball, config.out, config.seed)
    _write_json(config.json, report)
    _say(report_text(report))
    _say(f"optics written to {config.out}; use them with palpate touch --sensor {config.sensor} --optics {config.out}")


def _summary(folder: Path) -> str:
    summary = open_dataset(folder).summary()
    lines = [
        f"{summary['episodes']} episodes, task {summary['task']}, {summary['size_bytes'] / 1e6:.0f} MB, schema {summary['schema_version']}"
    ]
    for name, stream in summary["streams"].items():
        rate = "single moments" if stream["rate_hz"] is None else f"{stream['rate_hz']:g} Hz"
        lines.append(
            f"  {name:22s} {stream['kind']:7s} {tuple(stream['shape'])!s:16s} {rate}, in {stream['present_in']} episodes"
        )
    for name, label in summary["labels"].items():
        counts = ", ".join(f"{value} {count}" for value, count in label.items())
        lines.append(f"  label {name:20s} {counts}")
    for kind, count in summary["groups"].items():
        lines.append(f"  group {kind:20s} {count} different")
    lines += [f"  {key}: {summary[key]}" for key in ("missing", "damaged", "duplicates") if summary[key] not in ([], "none")]
    return "\n".join(lines)


def info(config: commands.Info) -> None:
    """Run `palpate info`."""
    if config.json:
        _say(json.dumps(open_dataset(config.data).summary(), indent=1))
    else:
        _say(_summary(config.data))


def import_bts3(config: commands.ImportBts3) -> None:
    """Run `palpate import bts3`."""
    from palpate.data.external.bts3 import read_bts3
    from palpate.data.writer import EpisodeWriter

    episodes = list(read_bts3(config.files))
    about = {"recipe": "bts3", "files": [path.name for path in config.files]}
    with EpisodeWriter.create(config.out, task="bts3", config=about) as writer:
        for episode in episodes:
            writer.write(episode)
    _say(_summary(config.out))


def import_wedge(config: commands.ImportWedge) -> None:
    """Run `palpate import wedge`."""
    from palpate.data.external.wedge import import_wedge as run

    _tell_import(run(config.folder, config.out))


def import_octopi(config: commands.ImportOctopi) -> None:
    """Run `palpate import octopi`."""
    from palpate.data.external.octopi import import_octopi as run

    _tell_import(run(config.folder, config.out))


def _tell_import(imported: Imported) -> None:
    _say(_summary(imported.out))
    for line in imported.left_out:
        _say(f"  left out: {line}")
    if imported.unlabelled:
        _say(f"  without label, and never scored: {', '.join(imported.unlabelled)}")
    for note in imported.notes:
        _say(f"  note: {note}")


def train(config: commands.TrainOutcome) -> None:
    """Run `palpate train outcome`."""
    if open_dataset(config.data).head.task == "bts3":
        from palpate.recipes.taxel_outcome import TaxelConfig, report_text, train_taxels

        run = TaxelConfig(data=config.data, out=config.out, folds=config.folds, group=config.group, seed=config.seed)
        _say(report_text(train_taxels(run, _say)))
        return
    from palpate.learning.loop import TrainConfig
    from palpate.recipes.outcome import MODALITIES, OutcomeConfig, train_outcome
    from palpate.recipes.outcome_data import FeatureSettings

    modalities = tuple(m.strip() for m in config.modalities.split(",") if m.strip()) or MODALITIES
    features = FeatureSettings(backbone=config.backbone, weights=config.weights, size=config.image_size, crops=config.crops)
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
        _say,
    )
    if config.folds:
        _say(_accuracies([PredictionTable.load(folder / "predictions.npz")]))
    _say(f"run written to {folder}")


def train_hardness(config: commands.TrainHardness) -> None:
    """Run `palpate train hardness`."""
    from palpate.recipes.hardness import HardnessConfig
    from palpate.recipes.hardness import train_hardness as run

    table = run(HardnessConfig(**vars(config)))
    _say(json.dumps(table, indent=1))
    _say(f"run written to {config.out}")


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
        _write_json(config.json, figures)
        _say(json.dumps({name: value for name, value in figures.items() if name != "presses"}, indent=1))
        return
    if recipe == "taxels":
        from palpate.recipes.taxel_outcome import evaluate_taxels

        result = evaluate_taxels(config.run, config.data, config.calibrate or 0, config.seed)
        _write_json(config.json, result)
        low, high = (100 * end for end in result["interval"])
        words = f"n {result['n']}, calibrate {result['calibrate']}"
        _say(f"accuracy {100 * result['accuracy']:.1f} % [{low:.1f}, {high:.1f}], {words}")
        return
    if config.calibrate is not None:
        raise PalpateError("--calibrate re-centres touch that is numbers (taxels); this run is on images, leave it out")
    from palpate.recipes.outcome import evaluate_outcome

    table = evaluate_outcome(config.run, config.data)
    if table.labels.shape[1] == 1:
        from palpate.evaluation.scores_regrasp import accuracy_figures

        _say(_accuracies([table]))
        _write_json(config.json, {"model": table.model, **accuracy_figures([table], generator(0))})
        return
    found = Study([table]).accuracy([table])
    _say(_accuracies([table]))
    both = found["both"]
    _write_json(
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
        _say(f"{table.policy:22s} {name:22s} {_percent(rate)}")
    both = rates["stable_and_gentle"]
    content = {
        "policy": table.policy,
        "accuracy": both.value,
        "interval": [both.low, both.high],
        "n": both.n,
        **{name: _as_json(rate) for name, rate in rates.items()},
    }
    _write_json(config.json, content)


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
    _say(grasp_text(figures))
    _write_json(config.json, {"objects": config.objects, "objective": config.objective, **figures})


def report(config: commands.Report) -> None:
    """Run `palpate report`."""
    from palpate.evaluation.report_gentle import summary_text, write_report
    from palpate.recipes.gentle_report import gather

    line = f"palpate report {' '.join(map(str, config.runs))} --out {config.out}"
    results = gather(config.runs, config.data, [line], config.out.stem)
    write_report(config.out, results)
    _say(summary_text(results))
    _say(f"report written to {config.out}")


def export_lerobot(config: commands.ExportLerobot) -> None:
    """Run `palpate export lerobot`."""
    from palpate.data.lerobot import export_lerobot as export

    export(config.data, config.out, fps=config.fps)
    _say(f"LeRobot v3.0 data set written to {config.out}")


def demo(config: commands.Demo) -> None:
    """Run `palpate demo`: collect, train four models, try three policies, write the report."""
    from palpate.evaluation.report_gentle import summary_text, write_report
    from palpate.recipes.gentle_demo import DemoConfig, run_demo

    started = time.perf_counter()
    results, commands_run = run_demo(DemoConfig(**vars(config)), _say)
    results = replace(results, run=replace(results.run, commands=tuple(commands_run)))
    page = write_report(config.out / "report.html", results)
    text = summary_text(results)
    (config.out / "summary.txt").write_text(text)
    _say(text)
    for table in results.grasps:
        parts = ", ".join(f"{name} {_percent(rate)}" for name, rate in grasp_rates(table).items())
        _say(f"{table.policy:22s} {parts}")
    harsh = results.first_press_harsh
    if harsh is not None:
        _say(f"the first grasp itself squeezed too hard in {100 * float(np.nanmean(harsh)):.0f} % of the collected trials")
    _say(f"\ndone in {time.perf_counter() - started:.0f} s; open {page}")


def demo_regrasp(config: commands.DemoRegrasp) -> None:
    """Run `palpate demo regrasp`: collect, train, calibrate, grasp, write the report."""
    from palpate.evaluation.report_regrasp import summary_text, write_report
    from palpate.recipes.regrasp_study import StudyConfig, run_study

    started = time.perf_counter()
    study = StudyConfig(**vars(config), seeds=1, sets=("easy",), on_policy=0)
    results = run_study(study, _say)
    text = summary_text(results)
    (config.out / "summary.txt").write_text(text)
    line = f"palpate demo regrasp --out {config.out} --trials {config.trials} --grasps {config.grasps} --seed {config.seed}"
    page = write_report(config.out / "report.html", results, "demo", {"this run": line})
    _say(text)
    _say(f"report: {page} ({time.perf_counter() - started:.0f} s)")
