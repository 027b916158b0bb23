"""The report of SoftGrasp: demonstrations, a policy at work, its tables beside the paper's, force feedback, and the glove's mapping."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.records import Episode
from palpate.evaluation import figures_softgrasp as f
from palpate.evaluation import page
from palpate.evaluation.paper_softgrasp import NAME
from palpate.evaluation.tables import NOTHING, Table, percent, plain, points
from palpate.evaluation.tables_softgrasp import (
    Rows,
    Trials,
    feedback_table,
    object_table,
    order_table,
    paired,
    rates_table,
)


@dataclass(frozen=True, kw_only=True)
class LastPicture:
    """What the camera saw at the end of a trial."""

    object: int
    """ID."""
    rgb: np.ndarray
    """(H, W, 3) uint8."""
    verdict: str
    """held, crushed, lost, or not lifted."""


@dataclass(frozen=True, kw_only=True)
class Glove:
    """What is known of the glove: its mapping, and Eq. 1."""

    fits: Sequence[f.MappingFit]
    tracking: Mapping[str, float]
    """Standard deviation of the hand's angle about the mapped angle of the glove in demonstrations, before contact, by joint."""
    law: tuple[np.ndarray, np.ndarray]
    felt: tuple[np.ndarray, np.ndarray, np.ndarray]
    limits: Mapping[str, float]
    """Of `feedback_law_figure`, all three."""
    order: tuple[int, int, int]
    """Joints of all demonstrations that touched, those that clutched, and those that clutched without touching before."""


@dataclass(frozen=True, kw_only=True)
class SoftgraspResults:
    """What a study or a demo found. What is empty is left out of the page."""

    tables: Sequence[Rows] = ()
    demonstrations: Mapping[str, Episode] = field(default_factory=dict)
    """By title."""
    grasps: Mapping[str, Episode] = field(default_factory=dict)
    """Trials of the full policy, by title."""
    attention: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """Mean scores (3,) to image, angle and torque, by class of hardness and stage."""
    shown: Mapping[int, str] = field(default_factory=dict)
    """Objects whose stable torques are drawn: titles by ID."""
    last: Mapping[str, Sequence[LastPicture]] = field(default_factory=dict)
    """By configuration."""
    feedback: tuple[Trials, Trials] | None = None
    """Demonstrations with the glove's torque and without."""
    glove: Glove | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


def attention_table(attention: Mapping[str, Mapping[str, np.ndarray]]) -> Table:
    """Return the mean attention scores by stage and class of hardness (Eq. 8-10)."""
    columns = list(f.STAGES)
    lines = []
    for hardness, by_stage in attention.items():
        told = min((len(scores) for scores in by_stage.values()), default=0)
        for k, name in enumerate(("image", "angle", "torque", "touch")[:told]):
            cells = (plain(float(by_stage[stage][k]), 2) if stage in by_stage else NOTHING for stage in columns)
            lines.append((f"{hardness}: {name}", *cells))
    return Table(
        caption="Mean attention by stage",
        columns=("objects: attention to", *columns),
        rows=tuple(lines),
        note="Over all successful trials of the full policy. The paper: torque highest, angles medium, pictures lowest.",
    )


def mapping_table(glove: Glove) -> Table:
    """Return the mapping's standard deviations by joint."""
    lines = []
    for fit in glove.fits:
        apart = float(np.abs(fit.printed - fit.fitted).max())
        numbers = (fit.printed_deviation, fit.fitted_deviation, apart, glove.tracking.get(fit.joint, float("nan")))
        lines.append((fit.joint.replace("_", " "), *(NOTHING if np.isnan(x) else f"{1e3 * x:.2f}e-3" for x in numbers)))
    return Table(
        caption="Mapping from glove to hand: standard deviations, shares of the range",
        columns=("joint", "Table 1", "fit of samples", "largest distance of the curves", "in demonstrations"),
        rows=tuple(lines),
        note=(
            "Fit of samples: 400 points drawn from Table 1's polynomial with noise of Table 1's deviation, fitted anew: it must come back. "
            "In demonstrations: the simulated hand about the mapped glove before any contact, which has the hand's lag in it and no "
            "noise of a real glove."
        ),
    )


def headline(results: SoftgraspResults) -> list[str]:
    """Return what came out, in sentences."""
    lines = []
    for rows in results.tables:
        if rows.full not in rows.trials:
            continue
        full = rows.trials[rows.full]
        paper = rates_table(rows).rows[list(rows.trials).index(rows.full)][-1]
        lines.append(
            f"{rows.title}: {rows.full} lifted and held {percent(full.mean('success'))} %, without crushing "
            f"{percent(full.mean('good'))} %, of {len(full.good)} trials on {len(np.unique(full.object))} objects (paper: {paper} % held)."
        )
    if results.feedback is not None:
        felt, unfelt = results.feedback
        soft = [trials.chosen(trials.soft) for trials in (felt, unfelt)]
        rates = [100 * float(np.nanmean(trials.crushed)) for trials in soft]
        lines.append(
            f"Demonstrations on soft objects: {rates[0]:.0f} % crushed with the glove's torque, {rates[1]:.0f} % without; difference "
            f"{points(paired(soft[1], soft[0], 'crushed'))} points."
        )
    return lines


def softgrasp_page(results: SoftgraspResults, name: str, commands: Mapping[str, str]) -> page.Page:
    """Return the report as a page; `commands` are those that repeat it, by title."""
    lines = headline(results)
    sections = [page.Section(title="What came out", parts=(page.bullets(lines),))] if lines else []
    if results.demonstrations:
        sections.append(_demonstrations(results))
    if results.grasps:
        sections.append(_grasps(results))
    sections += [_table_section(rows) for rows in results.tables]
    if results.shown and results.tables:
        sections.append(_torques(results))
    if results.last:
        sections.append(_last_pictures(results))
    if results.feedback is not None:
        sections.append(_feedback(*results.feedback))
    if results.glove is not None:
        sections.append(_glove(results.glove))
    facts = page.facts({key: str(value) for key, value in results.config.items()})
    codes = (page.code(line, summary=title) for title, line in commands.items())
    sections.append(page.Section(title="How to repeat it", parts=(facts, *codes)))
    return page.Page(
        title=f"SoftGrasp: {name}",
        subtitle="A person with a force-feedback glove shows six objects; a policy that sees, and feels angles and torques, grasps twelve",
        sections=tuple(sections),
    )


def _demonstrations(results: SoftgraspResults) -> page.Section:
    parts = [
        page.paragraph(
            "A scripted person in the glove closes the hand, feels the torque that comes back, stops squeezing when the thing feels held, "
            "and lifts. Solid lines are what the hand measured, dashed ones what it was told: the glove's angle through the mapping. Where "
            "they part, the finger presses. Colours behind the lines are the five stages, found in the signals. Below, Algorithm 1's state "
            "of each joint: grey nothing touched, orange contact (the glove gives the hand's torque), red clutched (the glove locks)."
        )
    ]
    for title, episode in results.demonstrations.items():
        words = f"A demonstration. Seen by the camera above; {_outcome(episode)}."
        parts += [page.heading(title), page.figure(f.demonstration_figure(episode), words, f"Demonstration on {title}")]
    return page.Section(title="Demonstrations and Algorithm 1", parts=tuple(parts))


def _grasps(results: SoftgraspResults) -> page.Section:
    parts = [
        page.paragraph(
            "The trained policy alone, 30 times a second: it sees the camera, joint angles and joint torques and says where the fingers go "
            "next and when to lift. Attention is what share of the fused features each modality has (Eq. 8-10)."
        )
    ]
    for title, episode in results.grasps.items():
        words = f"One trial in closed loop; solid measured, dashed told; {_outcome(episode)}."
        parts += [page.heading(title), page.figure(f.grasp_figure(episode), words, f"Closed loop on {title}")]
    if results.attention:
        parts.append(page.table(attention_table(results.attention)))
    return page.Section(title="The policy at work (Figs. 7-9)", parts=tuple(parts))


def _outcome(episode: Episode) -> str:
    truth = episode.truth
    end = "held" if truth["success"] else "not held"
    crushed = ", crushed" if truth["crushed"] else ""
    dent = f", deformed by {1e3 * truth['deformation']:.1f} mm" if "stiffness" in truth else ""
    return f"{end}{crushed}, at most {truth['peak_force']:.1f} N at a fingertip{dent}"


def _table_section(rows: Rows) -> page.Section:
    parts = [
        page.figure(
            f.rates_figure(rows),
            f"Light: lifted and held, as the paper counts. Dark: and not crushed. Diamonds: {NAME}, on a real hand with real objects.",
            f"{rows.title}: success by configuration",
        ),
        page.table(rates_table(rows)),
        page.table(object_table(rows)),
    ]
    order = order_table(rows)
    if order is not None:
        parts.append(page.table(order))
    return page.Section(title=rows.title, parts=tuple(parts))


def _torques(results: SoftgraspResults) -> page.Section:
    parts = [
        page.paragraph(
            "Joint torque by finger while the lifted object is held still: a dot is the mean of one successful trial's stable stage, a box "
            "their quartiles. Small and alike is gentle and repeatable; a configuration that hardly ever held is marked as failed."
        )
    ]
    for rows in results.tables:
        figure = f.stable_torque_figure(rows.trials, results.shown)
        parts.append(page.figure(figure, f"By configuration of {rows.title}.", f"Stable torques, {rows.title}"))
    return page.Section(title="Torques at the stable stage (Figs. 11, 13)", parts=tuple(parts))


def _last_pictures(results: SoftgraspResults) -> page.Section:
    parts = []
    for name, pictures in results.last.items():
        shown = [
            page.picture(
                page.picture_uri(one.rgb, width=160), f"{one.object}: {one.verdict}", f"Object {one.object}, {one.verdict}"
            )
            for one in pictures
        ]
        parts.append(page.gallery(name, shown, {}))
    words = page.paragraph("The camera's last picture of the first trial on each object, and what became of the grasp.")
    return page.Section(title="How the grasps end (Figs. 10, 12)", parts=(words, *parts))


def _feedback(felt: Trials, unfelt: Trials) -> page.Section:
    words = (
        "The same person, objects and starting states, once with the glove's torque and once with a glove that gives none: then eye and "
        "habit tell when to stop."
    )
    caption = "Left and middle with Wilson's intervals; right every demonstration."
    return page.Section(
        title="Does force feedback matter",
        parts=(
            page.paragraph(words),
            page.figure(f.feedback_effect_figure(felt, unfelt), caption, "Demonstrations with and without torque feedback"),
            page.table(feedback_table(felt, unfelt)),
        ),
    )


def _glove(glove: Glove) -> page.Section:
    touched, clutched, early = glove.order
    return page.Section(
        title="The glove: Table 1 and Eq. 1",
        parts=(
            page.figure(
                f.mapping_figure(glove.fits),
                "Angles of glove and hand: samples drawn from the paper's polynomials with the paper's noise, and our fit of them. "
                "Below, all less the paper's polynomial; dotted is the paper's standard deviation.",
                "Joint mapping",
            ),
            page.table(mapping_table(glove)),
            page.figure(
                f.feedback_law_figure(glove.law, glove.felt, glove.limits),
                "Left: Eq. 1 jumps at the contact, so that contact is felt, and is continuous where it saturates. Right: what the glove "
                "gave; clutched joints get the most whatever the hand feels, contact holds on a little below its threshold.",
                "Torque mapping",
            ),
            page.paragraph(
                f"Algorithm 1 in all demonstrations: {touched} joints came into contact, {clutched} of them were clutched, "
                f"{early} were clutched without contact before."
            ),
        ),
    )


def summary_text(results: SoftgraspResults) -> str:
    """Return headline and tables for a terminal."""
    parts = ["\n".join(f"* {line}" for line in headline(results))]
    for rows in results.tables:
        order = order_table(rows)
        parts += [rates_table(rows).text(), object_table(rows).text(), *([order.text()] if order else [])]
    parts += [attention_table(results.attention).text()] if results.attention else []
    parts += [feedback_table(*results.feedback).text()] if results.feedback is not None else []
    parts += [mapping_table(results.glove).text()] if results.glove is not None else []
    return "\n\n".join(part for part in parts if part) + "\n"


def write_report(path: Path, results: SoftgraspResults, name: str, commands: Mapping[str, str]) -> Path:
    """Write the report as one self-contained HTML file and return its path."""
    return softgrasp_page(results, name, commands).write(path)
