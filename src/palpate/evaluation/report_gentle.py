"""The report of the gentle-grasping method: every table and figure of the paper that a run can make, the rest named as absent.

Source: K. Nakahara and R. Calandra, arXiv 2503.07926.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from palpate.evaluation.inputs import ClosingZone, ForceTable, GainCurve, GraspTable, PredictionTable, RunInfo, TrialPicture
from palpate.evaluation.intervals import RESAMPLES
from palpate.evaluation.material import Material
from palpate.evaluation.page import Page
from palpate.evaluation.scores import Study, canonical, sort_models
from palpate.evaluation.sections_gentle import SECTIONS
from palpate.evaluation.summary_gentle import summary_lines
from palpate.evaluation.tables_gentle import accuracy_table, difference_table, loop_difference_table


@dataclass(frozen=True, kw_only=True)
class GentleResults:
    """Everything a report can be made from. What is absent appears in the report as not part of the run."""

    run: RunInfo
    predictions: Sequence[PredictionTable] = ()
    grasps: Sequence[GraspTable] = ()
    """One a policy."""
    forces: ForceTable | None = None
    pictures: Sequence[TrialPicture] = ()
    gain: GainCurve | None = None
    zone: ClosingZone | None = None
    first_press_harsh: np.ndarray | None = None
    """(N,) float, 1 if the initial grasp of a collected trial sounded too hard, 0 if not, nan unknown."""


def _material(results: GentleResults, group: str, resamples: int, seed: int) -> Material:
    grasps = [replace(g, policy=canonical(g.policy)) for g in results.grasps]
    by_name = {g.policy: g for g in grasps}
    order = sorted(by_name, key=lambda name: (name != "random", sort_models(list(by_name)).index(name)))
    return Material(
        run=results.run,
        study=Study(results.predictions, group=group, resamples=resamples, seed=seed),
        grasps=tuple(by_name[name] for name in order),
        forces=results.forces,
        pictures=tuple(results.pictures),
        gain=results.gain,
        zone=results.zone,
        first_press_harsh=results.first_press_harsh,
    )


def gentle_page(results: GentleResults, *, group: str = "auto", resamples: int = RESAMPLES, seed: int = 0) -> Page:
    """Return the report as a page.

    `group` says what the intervals resample: `trial`, `object` (whole toys), or `auto` (toys if there are ten or more).
    `seed` seeds the resampling only.
    """
    material = _material(results, group, resamples, seed)
    run = results.run
    subtitle = "Predicting and choosing stable and gentle grasps from vision, touch and action"
    return Page(
        title=f"Gentle grasping: {run.name}",
        subtitle=subtitle,
        sections=tuple(make(material) for make in SECTIONS),
    )


def write_report(
    path: Path | str, results: GentleResults, *, group: str = "auto", resamples: int = RESAMPLES, seed: int = 0
) -> Path:
    """Write the report as one self-contained HTML file and return its path (see `gentle_page`)."""
    return gentle_page(results, group=group, resamples=resamples, seed=seed).write(path)


def summary_text(results: GentleResults, *, group: str = "auto", resamples: int = RESAMPLES, seed: int = 0) -> str:
    """Return the headline and the main tables for a terminal."""
    material = _material(results, group, resamples, seed)
    study = material.study
    parts = [results.run.name, "\n".join(f"* {line}" for line in summary_lines(material))]
    for split in study.splits():
        parts.append(accuracy_table(study, split, results.run.baselines if split == material.split else ()).text())
        gains = difference_table(study, split)
        parts += [gains.text()] if gains else []
    pairs = loop_difference_table(study, material.grasps)
    parts += [pairs.text()] if pairs else []
    return "\n\n".join(parts) + "\n"
