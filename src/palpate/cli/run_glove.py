"""Commands of SoftGrasp."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from palpate.cli import commands_glove as commands
from palpate.cli.tell import data_summary, say, tell_import, write_json
from palpate.core.errors import PalpateError

if TYPE_CHECKING:
    from palpate.recipes.softgrasp import SoftgraspTraining


def numbers(text: str, option: str = "--objects") -> tuple[int, ...]:
    """Return the numbers of a list such as 1-6 or 1,3,11, which was given with an option.

    Raises:
        PalpateError: it is no such list.
    """
    try:
        parts = [tuple(int(end) for end in part.split("-")) for part in text.split(",")]
        found = tuple(i for part in parts for i in range(part[0], part[-1] + 1))
    except (ValueError, IndexError) as error:
        raise PalpateError(f"{option} {text!r}: give numbers as 1-6 or 1,3,11") from error
    if not found:
        raise PalpateError(f"{option} {text!r} names nothing; give numbers as 1-6 or 1,3,11")
    return found


def words(text: str) -> tuple[str, ...]:
    """Return the words of a comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def collect_softgrasp(config: commands.CollectSoftgrasp) -> None:
    """Run `palpate collect softgrasp`."""
    from palpate.recipes.softgrasp_collection import DemonstrationConfig, collect_demonstrations

    started = time.perf_counter()
    same = {name: getattr(config, name) for name in ("out", "demos", "seed", "touch", "workers", "resume")}
    folder = collect_demonstrations(DemonstrationConfig(objects=numbers(config.objects), feels=config.torque, **same))
    say(data_summary(folder))
    say(f"collected in {time.perf_counter() - started:.0f} s into {folder}")


def teleop_softgrasp(config: commands.TeleopSoftgrasp) -> None:
    """Run `palpate teleop softgrasp`."""
    from palpate.recipes.softgrasp_teleop import TeleopConfig, teleoperate

    folder = teleoperate(TeleopConfig(**vars(config)), tell=say)
    say(data_summary(folder))


def import_softgrasp(config: commands.ImportSoftgrasp) -> None:
    """Run `palpate import softgrasp`."""
    from palpate.data.external.softgrasp import import_softgrasp as run

    tell_import(run(config.folder, config.out, rate_hz=config.rate_hz))


def import_lerobot(config: commands.ImportLerobot) -> None:
    """Run `palpate import lerobot`."""
    from palpate.data.external.lerobot import import_lerobot as run

    tell_import(run(config.folder, config.out, videos=config.videos))


def calibrate_glove(config: commands.CalibrateGlove) -> None:
    """Run `palpate calibrate glove`."""
    from palpate.robots.glove_mapping import JOINTS, fit_mapping, read_recording, write_mapping

    mapping = fit_mapping(*read_recording(config.recording))
    write_mapping(config.out, mapping)
    for name, joint in zip(JOINTS, mapping, strict=True):
        say(f"{name}: order {len(joint.coefficients) - 1}, standard deviation {joint.deviation:.2e}")
    say(f"mapping written to {config.out}")


def train_softgrasp(config: commands.TrainSoftgrasp) -> None:
    """Run `palpate train softgrasp`."""
    from palpate.recipes.softgrasp import SoftgraspTraining
    from palpate.recipes.softgrasp import train_softgrasp as run

    defaults = SoftgraspTraining(strategy=config.baseline or "softgrasp")
    settings = replace(
        defaults,
        modalities=words(config.modalities),
        touch_encoder=config.touch_encoder,
        objective=replace(defaults.objective, loss_factor=config.loss_factor),
        train=defaults.train.over(config.epochs, seed=config.seed),
        resume=config.resume,
    )
    out = run(config.data, config.out, settings, tell=say)
    _predict_blocks(config, settings)
    say(f"run written to {out}")


def _predict_blocks(config: commands.TrainSoftgrasp, settings: "SoftgraspTraining") -> None:
    """Measure on blocks of time what could not be measured on whole demonstrations, because nothing was held out."""
    from palpate.learning.checkpoint import load_run
    from palpate.recipes.softgrasp_real import block_table, predict_blocks, write_blocks

    if load_run(config.out).metrics["held_out"]:
        return
    say("\nno other demonstration can be held out; blocks of time of this one can:")
    result = predict_blocks(config.data, settings, tell=lambda line: None)
    write_blocks(config.out, result)
    say(block_table(result).text())


def report_demonstration(config: commands.ReportDemonstration) -> None:
    """Run `palpate report demonstration`."""
    from palpate.evaluation.report_demonstration import write_demonstrations
    from palpate.recipes.softgrasp_real import demonstration_report

    report = demonstration_report(config.data, numbers(config.demos, "--demos") if config.demos else (), config.run)
    line = f"palpate report demonstration {config.data} --out {config.out}"
    line += "".join(f" --{name} {getattr(config, name)}" for name in ("demos", "run") if getattr(config, name))
    page = write_demonstrations(config.out, replace(report, commands={"this page again": line}), config.data.name)
    say(f"report written to {page}")


def grasp_softgrasp(config: commands.GraspSoftgrasp) -> None:
    """Run `palpate grasp softgrasp`."""
    from palpate.evaluation.intervals import wilson
    from palpate.recipes.softgrasp_loop import SoftgraspTrials
    from palpate.recipes.softgrasp_loop import grasp_softgrasp as run

    out = config.out or Path("runs") / f"softgrasp-{config.policy.name}"
    values = {key: value for key, value in vars(config).items() if key not in {"json", "out", "objects", "modalities"}}
    rows = run(SoftgraspTrials(**values, out=out, objects=numbers(config.objects), modalities=words(config.modalities)))
    names, success = np.array(rows["object"]), np.array(rows["success"], float)
    crushed, force = np.array(rows["crushed"], float), np.array(rows["peak_force_n"], float)
    for name in [*np.unique(names), "all"]:
        chosen = np.ones(len(names), bool) if name == "all" else names == name
        held = wilson(float(np.nansum(success[chosen])), int(chosen.sum()))
        say(
            f"{name:14s} lifted and held {100 * held.value:5.1f} % [{100 * held.low:.1f}, {100 * held.high:.1f}] of {held.n}; "
            f"crushed {100 * np.nanmean(crushed[chosen]):.0f} %; peak force {np.nanmean(force[chosen]):.1f} N"
        )
    write_json(config.json, {"policy": str(config.policy), "trials": rows})


def demo_softgrasp(config: commands.DemoSoftgrasp) -> None:
    """Run `palpate demo softgrasp`."""
    from palpate.recipes.softgrasp_demo import DemoConfig, run_demo

    started = time.perf_counter()
    report = run_demo(DemoConfig(**vars(config)), say)
    say(f"done in {(time.perf_counter() - started) / 60:.1f} minutes; report: {report}")
