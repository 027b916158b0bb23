"""SoftGrasp end to end: demonstrations through the glove, four policies, closed loop on twelve objects, force feedback, report."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from palpate.evaluation.report_softgrasp import summary_text, write_report
from palpate.recipes.softgrasp import SoftgraspTraining
from palpate.recipes.softgrasp_collection import DemonstrationConfig, collect_demonstrations
from palpate.recipes.softgrasp_story import gather
from palpate.recipes.softgrasp_study import KINDS, SUBSETS, StudyConfig, run_feedback, run_study

KNOWN = (1, 2, 3, 4, 5, 6)
"""Objects that are demonstrated; the policies are tried on all twelve."""
ROWS = {
    5: {name: SUBSETS[name] for name in ("image + angle", "angle + torque", "image + angle + torque")},
    6: {name: KINDS[name] for name in ("SoftGrasp", "direct connection")},
}
"""The rows of the paper's tables that a demo makes."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """How large a demo."""

    out: Path
    demos: int = 8
    """Of each known object, with the glove's torque and again without."""
    trials: int = 2
    """Of each policy on each object."""
    epochs: int = 10
    seed: int = 0
    workers: int = 2
    resume: bool = True


def run_demo(config: DemoConfig, tell: Callable[[str], None]) -> Path:
    """Do what is not done yet in OUT, write OUT/report.html and return its path."""
    data = collect_demonstrations(
        DemonstrationConfig(
            out=config.out / "data",
            demos=config.demos,
            objects=KNOWN,
            seed=config.seed,
            workers=config.workers,
            resume=config.resume,
        )
    )
    feedback = run_feedback(config.out, objects=KNOWN, demos=config.demos, seed=config.seed, workers=config.workers, felt=data)
    base = SoftgraspTraining()
    base = replace(base, train=base.train.over(config.epochs, seed=config.seed))
    study = StudyConfig(
        data=data, out=config.out / "study", tables=ROWS, trials=config.trials, seeds=1, workers=config.workers, base=base
    )
    tables = run_study(study, tell)
    results = replace(gather(study, tables, feedback), config=vars(config))
    text = summary_text(results)
    (config.out / "summary.txt").write_text(text)
    tell(text)
    line = (
        f"palpate demo softgrasp --out {config.out} --demos {config.demos} --trials {config.trials} --epochs {config.epochs} "
        f"--seed {config.seed}"
    )
    return write_report(config.out / "report.html", results, "demo", {"this run": line, "step by step": _steps(config)})


def _steps(config: DemoConfig) -> str:
    """Return the commands that do the same one by one, for the full policy."""
    data, net = config.out / "data", config.out / "net"
    collect = f"palpate collect softgrasp --demos {config.demos} --objects 1-6 --seed {config.seed}"
    return "\n".join(
        (
            f"{collect} --out {data}",
            f"{collect} --no-torque --out {config.out / 'unfelt'}",
            f"palpate train softgrasp --data {data} --epochs {config.epochs} --seed {config.seed} --out {net}",
            f"palpate grasp softgrasp --policy {net} --objects 1-12 --trials {config.trials} --seed 7000",
        )
    )
