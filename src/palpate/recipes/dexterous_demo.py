"""The many-fingered hand end to end: collect, judge, train both estimates, grasp in closed loop, report."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from palpate.core.records import Episode
from palpate.data.reader import EpisodeReader, open_dataset
from palpate.evaluation.report_dexterous import DexterousResults, GraspExample, summary_text, write_report
from palpate.perception.views import object_view
from palpate.recipes.collection import CollectConfig
from palpate.recipes.dexterous import DexterousConfig, train_dexterous
from palpate.recipes.dexterous_study import StudyConfig, run_study, study_table
from palpate.recipes.dexterous_task import DexterousGraspConfig, DexterousTask, collect_dexterous, grasp_dexterous
from palpate.sensors.touch.fingertip import SHADOW_THUMB_TIP, SHADOW_TIP, Fingertip
from palpate.worlds.shadow import FINGERS

EXAMPLES = 6


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """How large a demo."""

    out: Path
    grasps: int = 800
    trials: int = 60
    epochs: int = 15
    seed: int = 0
    workers: int = 2
    resume: bool = True


def run_demo(config: DemoConfig, tell: Callable[[str], None]) -> Path:
    """Do what is not done yet in OUT, write OUT/report.html and return its path."""
    data = config.out / "data"
    collect_dexterous(
        CollectConfig(
            out=data, task=DexterousTask(), trials=config.grasps, seed=config.seed, workers=config.workers, resume=config.resume
        )
    )
    base = DexterousConfig(folds=3, seed=config.seed, resume=config.resume)
    base = replace(base, train=replace(base.train, epochs=config.epochs, threads=1))
    study = StudyConfig(data=data, out=config.out / "folds", seeds=1, workers=config.workers, base=base)
    table = study_table(run_study(study, tell))
    run = config.out / "run"
    if not (run / "run.json").exists():
        train_dexterous(data, run, replace(base, train=replace(base.train, threads=config.workers)), tell=tell)
    loops = []
    for policy, feel in (("random", False), (str(run), False), (str(run), True)):
        name = "random" if policy == "random" else ("second" if feel else "first")
        loops.append(
            grasp_dexterous(
                DexterousGraspConfig(
                    policy=policy,
                    out=config.out / "loops" / name,
                    trials=config.trials,
                    feel=feel,
                    seed=config.seed + 5000,
                    workers=config.workers,
                    resume=config.resume,
                )
            )
        )
    results = replace(gather(open_dataset(data)), table=table, loops=loops, config=vars(config))
    text = summary_text(results)
    (config.out / "summary.txt").write_text(text)
    tell(text)
    line = f"palpate demo dexterous --out {config.out} --grasps {config.grasps} --trials {config.trials} --seed {config.seed}"
    return write_report(config.out / "report.html", results, taxel_places(), "demo", {"this run": line})


def taxel_places() -> dict[str, np.ndarray]:
    """Return (P, 2) x and y of each finger's taxels [m], gel frame."""
    finger, thumb = (Fingertip(model).taxels.positions[:, :2] for model in (SHADOW_TIP, SHADOW_THUMB_TIP))
    return {name: thumb if name == "th" else finger for name in FINGERS}


def gather(reader: EpisodeReader) -> DexterousResults:
    """Return what a data set of grasps tells: outcomes, and examples that held, slipped, and held against the quality."""
    stable, quality = reader.column("label.stable"), reader.column("label.quality")
    fingers = np.array([_fingers(reader.episode(row, streams=())) for row in range(len(reader))])
    good, bad = (quality > 0.5) & (stable == 1), (quality <= 0.5) & (stable == 0) & (fingers >= 1)
    odd = np.isfinite(quality) & np.isfinite(stable) & ((quality > 0.5) != (stable == 1)) & (fingers >= 2)
    half = EXAMPLES // 3
    chosen = [
        *(("held, as its quality says", row) for row in np.flatnonzero(good)[:half]),
        *(("lost, as its quality says", row) for row in np.flatnonzero(bad)[:half]),
        *(("quality and lift disagree", row) for row in np.flatnonzero(odd)[:half]),
    ]
    return DexterousResults(
        quality=quality,
        stable=stable,
        fingers=fingers,
        object=reader.column("group.object").astype(str),
        examples=[_example(title, reader.episode(int(row))) for title, row in chosen],
    )


def _fingers(episode: Episode) -> int:
    rows = episode.arrays.get("contacts", np.zeros(0)).reshape(-1, 10)
    return len({int(number) for number in rows[:, 0]} - {len(FINGERS)})


def _example(title: str, episode: Episode) -> GraspExample:
    time, streams = episode.event("contact"), episode.streams
    pictures = streams["camera.rgb"]
    pixel = episode.arrays["object_pixel"]
    touch = {
        name.removeprefix("touch."): (stream.at(time) - stream.values[0]).astype(float)
        for name, stream in streams.items()
        if stream.spec.kind == "taxels"
    }
    lines = {"object": episode.groups["object"], "fingers": str(_fingers(episode))}
    quality, held = episode.labels.get("quality"), episode.labels["stable"]
    lines |= {} if quality is None else {"q": f"{quality:.2f}"}
    lines |= {} if held is None else {"held": "yes" if held else "no"}
    return GraspExample(
        title=title,
        before=object_view(pictures.at(episode.event("before")), pixel, side=256, size=256),
        contact=object_view(pictures.at(time), pixel, side=256, size=256),
        touch=touch,
        lines=lines,
    )
