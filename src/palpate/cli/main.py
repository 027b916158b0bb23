"""Entry point of `palpate`: parse, then load the heavy parts of the one command that was called."""

import errno
import sys
from importlib import import_module
from typing import Any

import tyro

from palpate.cli import commands, commands_glove, commands_hand, commands_pour, commands_touch
from palpate.core.errors import PalpateError

COMMANDS: dict[str, dict[str, tuple[type, str]]] = {
    "collect": {
        "gentle": (commands.CollectGentle, "run_data.collect"),
        "regrasp": (commands.CollectRegrasp, "run_data.collect_regrasp"),
        "touch": (commands.CollectTouch, "run_data.collect_touch"),
        "presses": (commands.CollectPresses, "run_data.collect_presses"),
        "dexterous": (commands_hand.CollectDexterous, "run_hand.collect_dexterous"),
        "softgrasp": (commands_glove.CollectSoftgrasp, "run_glove.collect_softgrasp"),
        "pouring": (commands_pour.CollectPouring, "run_pour.collect_pouring"),
    },
    "teleop": {"softgrasp": (commands_glove.TeleopSoftgrasp, "run_glove.teleop_softgrasp")},
    "touch": {"": (commands.Touch, "run_data.touch")},
    "calibrate": {
        "touch": (commands.CalibrateTouch, "run_data.calibrate_touch"),
        "glove": (commands_glove.CalibrateGlove, "run_glove.calibrate_glove"),
    },
    "import": {
        "bts3": (commands.ImportBts3, "run_data.import_bts3"),
        "wedge": (commands.ImportWedge, "run_data.import_wedge"),
        "octopi": (commands.ImportOctopi, "run_data.import_octopi"),
        "softgrasp": (commands_glove.ImportSoftgrasp, "run_glove.import_softgrasp"),
        "lerobot": (commands_glove.ImportLerobot, "run_glove.import_lerobot"),
        "tacquad": (commands_touch.ImportTacquad, "run_touch.import_touch"),
        "tag": (commands_touch.ImportTag, "run_touch.import_touch"),
        "visgel": (commands_touch.ImportVisgel, "run_touch.import_touch"),
        "cloth": (commands_touch.ImportCloth, "run_touch.import_touch"),
        "objectfolder-real": (commands_touch.ImportObjectfolderReal, "run_touch.import_touch"),
        "objectfolder1": (commands_touch.ImportObjectfolder1, "run_touch.import_touch"),
        "objectfolder2": (commands_touch.ImportObjectfolder2, "run_touch.import_touch"),
        "tvl": (commands_touch.ImportTvl, "run_touch.import_touch"),
        "ssvtp": (commands_touch.ImportSsvtp, "run_touch.import_touch"),
        "ycb-slide": (commands_touch.ImportYcbSlide, "run_touch.import_touch"),
        "feel": (commands_touch.ImportFeel, "run_touch.import_touch"),
        "dexgraspnet": (commands_hand.ImportDexgraspnet, "run_hand.import_dexgraspnet"),
    },
    "info": {"": (commands.Info, "run_data.info")},
    "quality": {"": (commands_hand.Quality, "run_hand.quality")},
    "train": {
        "outcome": (commands.TrainOutcome, "run.train"),
        "hardness": (commands.TrainHardness, "run.train_hardness"),
        "dexterous": (commands_hand.TrainDexterous, "run_hand.train_dexterous"),
        "softgrasp": (commands_glove.TrainSoftgrasp, "run_glove.train_softgrasp"),
        "touch": (commands_touch.TrainTouch, "run_touch.train_touch"),
        "pouring": (commands_pour.TrainPouring, "run_pour.train_pouring"),
    },
    "probe": {"": (commands_touch.Probe, "run_touch.probe")},
    "embed": {"": (commands_touch.Embed, "run_touch.embed")},
    "generate": {"": (commands_touch.Generate, "run_touch.generate")},
    "evaluate": {"": (commands.Evaluate, "run.evaluate")},
    "grasp": {
        "gentle": (commands.GraspGentle, "run.grasp"),
        "regrasp": (commands.GraspRegrasp, "run.grasp_regrasp"),
        "dexterous": (commands_hand.GraspDexterous, "run_hand.grasp_dexterous"),
        "softgrasp": (commands_glove.GraspSoftgrasp, "run_glove.grasp_softgrasp"),
    },
    "pour": {"": (commands_pour.Pour, "run_pour.pour")},
    "report": {
        "": (commands.Report, "run.report"),
        "demonstration": (commands_glove.ReportDemonstration, "run_glove.report_demonstration"),
    },
    "export": {"lerobot": (commands.ExportLerobot, "run.export_lerobot")},
    "demo": {
        "gentle": (commands.Demo, "run.demo"),
        "regrasp": (commands.DemoRegrasp, "run.demo_regrasp"),
        "dexterous": (commands_hand.DemoDexterous, "run_hand.demo_dexterous"),
        "softgrasp": (commands_glove.DemoSoftgrasp, "run_glove.demo_softgrasp"),
        "anytouch": (commands_touch.DemoAnytouch, "run_touch.demo_anytouch"),
    },
}
"""Verb -> object -> (configuration, module.function in `palpate.cli`)."""

DEFAULTS = {"demo": "gentle"}
"""Object of a verb that is called without one."""


def _usage(only: str | None = None) -> str:
    """Return the list of commands, or of those of one verb."""
    lines = ["palpate: see, hear and feel a gentle grasp", "", f"usage: palpate {only or 'COMMAND'} [options]", ""]
    for verb, objects in COMMANDS.items():
        for noun, (config, _) in objects.items():
            if only not in (None, verb):
                continue
            summary = (config.__doc__ or "").strip().splitlines()[0]
            lines.append(f"  {(verb + ' ' + noun).strip():25s} {summary}")
    return "\n".join(
        [*lines, "", "palpate COMMAND --help lists the options of a command; palpate --version prints the version."]
    )


def _select(argv: list[str]) -> tuple[type, str, str, list[str]]:
    """Return configuration, function name, program name and remaining arguments."""
    verb, rest = argv[0], argv[1:]
    if verb in COMMANDS and "" not in COMMANDS[verb] and len(COMMANDS[verb]) == 1 and rest[:1] in (["-h"], ["--help"]):
        rest = [next(iter(COMMANDS[verb])), *rest]
    if verb not in COMMANDS:
        raise PalpateError(f"unknown command {verb!r}; allowed: {', '.join(COMMANDS)}. See palpate --help")
    objects = COMMANDS[verb]
    if verb in DEFAULTS and (not rest or rest[0].startswith("-")):
        rest = [DEFAULTS[verb], *rest]
    if rest and rest[0] in objects and rest[0]:
        return *objects[rest[0]], f"palpate {verb} {rest[0]}", rest[1:]
    if "" in objects:
        return *objects[""], f"palpate {verb}", rest
    given = rest[0] if rest else "nothing"
    raise PalpateError(
        f"palpate {verb}: got {given!r}; allowed: {', '.join(objects)}. Try: palpate {verb} {next(iter(objects))} --help"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0 (done), 1 (a problem that the message explains), 2 (wrong use) or 130 (interrupted)."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in {"-h", "--help"}:
        sys.stdout.write(_usage() + "\n")
        return 0 if argv else 2
    if argv[0] == "--version":
        from palpate import __version__

        sys.stdout.write(f"palpate {__version__}\n")
        return 0
    objects = COMMANDS.get(argv[0], {})
    if len(objects) > 1 and "" not in objects and argv[1:2] in (["-h"], ["--help"]):
        sys.stdout.write(_usage(argv[0]) + "\n")
        return 0
    try:
        config_type, function, program, rest = _select(argv)
    except PalpateError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    config: Any = tyro.cli(config_type, prog=program, args=rest)
    return _run(program, function, config)


def _run(program: str, function: str, config: Any) -> int:
    """Run one command; turn what a user can cause into a message."""
    code = 1
    try:
        module, _, name = function.partition(".")
        getattr(import_module(f"palpate.cli.{module}"), name)(config)
        code = 0
    except PalpateError as error:
        sys.stderr.write(f"{program}: {error}\n")
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{program}: interrupted; finished work is on disk, the same command with --resume goes on\n")
        code = 130
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = error.filename or error
        sys.stderr.write(f"{program}: the disk is full ({where}); finished work is safe: free space, then use --resume\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
