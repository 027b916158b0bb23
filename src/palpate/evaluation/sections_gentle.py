"""The sections of the gentle-grasping report, one function each. A section without its data says so."""

import json
from collections.abc import Callable

import numpy as np

from palpate.evaluation import figures_gentle as draw
from palpate.evaluation import loop, page, paper
from palpate.evaluation import tables_gentle as tables
from palpate.evaluation.inputs import TrialPicture
from palpate.evaluation.material import Material
from palpate.evaluation.metrics import reliability
from palpate.evaluation.page import Html, Section
from palpate.evaluation.scores import FULL, MAJORITY, ORACLE
from palpate.evaluation.summary_gentle import summary_cards, summary_lines
from palpate.evaluation.tables import Table, model_title

_PICTURE_BUDGET = 8_000_000
"""Bytes of trial pictures in a page; the rest are left out by name."""
_PREDICTIONS = "Predictions on held-out trials"


def _table_or(content: Table | None, what: str) -> Html:
    return page.missing(what) if content is None else page.table(content)


def summary(m: Material) -> Section:
    """Return the headline."""
    parts = [page.cards(summary_cards(m))] if summary_cards(m) else []
    parts.append(page.bullets(summary_lines(m)))
    return Section(title="Summary", parts=tuple(parts))


def setup(m: Material) -> Section:
    """Return world, seeds, versions and commands."""
    run = m.run
    known = {
        "run": run.name,
        "made": run.created,
        "data": run.data,
        "seeds": ", ".join(map(str, run.seeds)),
        "device": run.device,
        "backbone": m.study.backbone,
    }
    parts = [page.facts({name: value for name, value in known.items() if value})]
    parts.append(page.bullets(run.world) if run.world else page.missing("A description of the world"))
    if run.notes:
        parts += [page.heading("Notes"), page.bullets(run.notes)]
    return Section(title="Setup", parts=tuple(parts))


def data(m: Material) -> Section:
    """Return Table I."""
    labels = m.trial_labels()
    parts = [page.missing("Table I, labels of the trials")] if labels is None else [page.table(tables.label_table(labels))]
    return Section(title="Labels of the data", parts=tuple(parts))


def prediction(m: Material) -> Section:
    """Return Fig. 5 with its tables, by split, and the moments apart."""
    if m.split is None:
        return Section(title="Prediction before acting", parts=(page.missing(f"{_PREDICTIONS} (Fig. 5)"),))
    parts = [
        page.paragraph(
            "Each model sees the state during the initial grasp and one regrasp action, and predicts whether that regrasp will "
            "be stable and gentle. A trial is predicted by a model that never saw it; both right counts trials with two "
            "right answers."
        )
    ]
    if m.study.group == "trial":
        few = "Intervals resample trials, not toys: they hold for these toys and say little about new ones."
        parts.append(page.caution(few))
    for split in m.study.splits():
        parts += _prediction_by(m, split)
    for split in ("trial", "object"):
        if split not in m.study.splits():
            parts.append(page.missing(f"Prediction {tables.split_name(split)}"))
    parts.append(page.heading("The second moment apart"))
    parts.append(_table_or(tables.moment_table(m.study, m.split), "Predictions from a second moment"))
    return Section(title="Prediction before acting", parts=tuple(parts))


def _prediction_by(m: Material, split: str) -> list[Html]:
    accuracies = {model: m.study.accuracy(m.study.select(model, split)) for model in m.study.models(split)}
    uri = draw.accuracy_figure(accuracies, paper.BOTH if split == "trial" else {})
    held = tables.split_name(split)
    source = " (the paper's Fig. 5)" if split == "trial" else ""
    caption = f"Accuracy by modality, {held}{source}, with 95 % intervals from resampling {tables.unit_name(m.study)}."
    baselines = m.run.baselines if split == m.split else ()
    parts = [
        page.heading(held.capitalize()),
        page.figure(uri, caption, f"Bar chart of accuracy by modality, {held}; the table below holds its numbers"),
        page.table(tables.accuracy_table(m.study, split, baselines)),
    ]
    named = [*m.study.models(split), *(b.name for b in baselines)]
    for name in (MAJORITY, ORACLE):
        if not any(name in n for n in named):
            parts.append(page.missing(f"The {name} baseline {held}"))
    parts.append(_table_or(tables.difference_table(m.study, split), f"Differences between modalities {held}"))
    return parts


def backbones(m: Material) -> Section:
    """Return Fig. 6."""
    title = "Image backbones"
    names = m.study.backbones(m.split) if m.split else ()
    if m.split is None or len(names) < 2:
        return Section(title=title, parts=(page.missing("A comparison of backbones (Fig. 6)"),))
    accuracies = {b: m.study.accuracy(m.study.select(FULL, m.split, backbone=b)) for b in names}
    labels = {b: b + (f"\n{m.run.model_bytes[b] / 1e6:.0f} MB" if b in m.run.model_bytes else "") for b in names}
    uri = draw.accuracy_figure(accuracies, {}, labels)
    caption = f"Accuracy of {model_title(FULL)} by backbone, {tables.split_name(m.split)} (the paper's Fig. 6)."
    return Section(title=title, parts=(page.figure(uri, caption, "Bar chart of accuracy by image backbone"),))


def confusions(m: Material) -> Section:
    """Return Table II."""
    content = tables.confusion_table(m.study, m.split) if m.split else None
    return Section(title="Which outcomes are confused", parts=(_table_or(content, "Table II, confusion of the full model"),))


def where_touch_pays(m: Material) -> Section:
    """Return the hard zone and the gain against the camera's size error."""
    parts: list[Html] = []
    if m.zone is not None and m.split is not None:
        parts.append(page.table(tables.zone_table(m.study, m.split, m.zone)))
    else:
        parts.append(page.missing("Accuracy inside and outside the hard closing zone"))
    if m.gain is not None:
        caption = (
            "What touch adds to both right, against how exactly the camera tells the toy's size, with 95 % intervals. "
            "A claim about touch holds for cameras like the one it was measured with."
        )
        parts.append(
            page.figure(draw.gain_figure(m.gain, paper.TOUCH_GAIN), caption, "Gain of touch by size error of the camera")
        )
        if m.gain.camera_error_mm is None:
            parts.append(page.missing("The size error measured on this run's own camera pictures"))
    else:
        parts.append(page.missing("The gain of touch against the camera's size error"))
    return Section(title="Where touch pays", parts=tuple(parts))


def first_look(m: Material) -> Section:
    """Return how often looking itself squeezes too hard."""
    title = "Looking has a price"
    if m.first_press_harsh is None and not m.grasps:
        return Section(title=title, parts=(page.missing("How often the first look itself squeezes too hard"),))
    text = (
        "The robot touches the toy to look at it. A press firm enough to inform can already be too hard for the toy, and no "
        "score of the final grasp shows that."
    )
    content = tables.look_table(m.study, m.grasps, m.first_press_harsh)
    parts = [page.paragraph(text), page.table(content)]
    if m.first_press_harsh is None:
        parts.append(page.missing("The rate of harsh initial grasps during data collection"))
    return Section(title=title, parts=tuple(parts))


def forces(m: Material) -> Section:
    """Return Fig. 7 and the numbers behind it."""
    title = "Stand-ins for force"
    if m.forces is None:
        return Section(title=title, parts=(page.missing("Force proxies by class (Fig. 7)"),))
    caption = "Fingertip displacement, position error and touch difference of each trial, by class (the paper's Fig. 7)."
    parts = [
        page.figure(draw.force_figure(m.forces), caption, "Scatter plots of three force proxies by class of outcome"),
        page.table(tables.force_table(m.study, m.forces)),
    ]
    if np.isnan(m.forces.touch_difference).all():
        parts.append(page.missing("The touch difference"))
    return Section(title=title, parts=tuple(parts))


def tradeoff(m: Material) -> Section:
    """Return Fig. 8."""
    title = "The trade-off the model learned"
    if m.forces is None or np.isnan(m.forces.probs).all():
        return Section(title=title, parts=(page.missing("Predicted probabilities against force (Fig. 8)"),))
    caption = (
        "Predicted probabilities against the fingertip position error, held-out trials (the paper's Fig. 8). More force should "
        "raise the one and lower the other."
    )
    uri = draw.tradeoff_figure(m.forces)
    return Section(title=title, parts=(page.figure(uri, caption, "Scatter plots of predicted probabilities by force"),))


def closed_loop(m: Material) -> Section:
    """Return Fig. 9 with pairwise differences."""
    title = "Choosing grasps: the closed loop"
    if not m.grasps:
        return Section(title=title, parts=(page.missing("Grasps chosen by the models (Fig. 9)"),))
    rates = loop.by_pose(m.grasps, m.study.rng, resamples=m.study.resamples)
    truth = {}
    for g in m.grasps:
        known = loop.events(g, truth=True)["both"]
        truth[g.policy] = None if np.isnan(known).all() else loop.rate(g, known, m.study.rng(), resamples=m.study.resamples)
    caption = (
        "Rates of final grasps by policy and pose, with 95 % intervals, and of trials in which a look before the last was "
        "harsh (the paper's Fig. 9)."
    )
    parts = [
        page.figure(draw.loop_figure(rates), caption, "Bar charts of closed-loop rates by policy and pose"),
        page.table(tables.loop_table(rates["all"], truth)),
        _table_or(tables.loop_difference_table(m.study, m.grasps), "Differences between policies"),
    ]
    absent = [p for p in ("random", "vision+action", FULL) if p not in rates["all"]]
    parts += [page.missing(f"The policy {model_title(p)}") for p in absent]
    return Section(title=title, parts=tuple(parts))


def ablations(m: Material) -> Section:
    """Return what is lost when a modality is disturbed."""
    content = tables.ablation_table(m.study, m.split) if m.split else None
    return Section(title="Does the model use its senses?", parts=(_table_or(content, "Zeroing and shuffling of modalities"),))


def calibration(m: Material) -> Section:
    """Return reliability diagrams and scores."""
    title = "Calibration"
    if m.split is None:
        return Section(title=title, parts=(page.missing("Calibration of the probabilities"),))
    shown = [name for name in ("vision+action", FULL) if m.study.select(name, m.split)]
    seeds = max((len(m.study.select(name, m.split)) for name in shown), default=1)
    diagrams = {}
    for k, outcome in enumerate(("stable", "gentle")):
        lines = []
        for name in shown:
            chosen = [
                (t.labels[t.moment == "initial", k], t.probs[t.moment == "initial", k]) for t in m.study.select(name, m.split)
            ]
            label, prob = (np.concatenate(column) for column in zip(*chosen, strict=True))
            lines.append((name, reliability(label, prob)))
        diagrams[outcome] = lines
    caption = (
        "Observed frequency by predicted probability in ten bins, with Wilson's 95 % intervals; on the diagonal is perfect."
    )
    parts = [page.figure(draw.reliability_figure(diagrams, seeds), caption, "Reliability diagrams")] if shown else []
    return Section(title=title, parts=(*parts, page.table(tables.calibration_table(m.study, m.split))))


def trials(m: Material) -> Section:
    """Return pictures of single trials."""
    title = "Single trials"
    if not m.pictures:
        return Section(title=title, parts=(page.missing("Pictures and sounds of single trials"),))
    parts: list[Html] = []
    used = 0
    for picture in m.pictures:
        fragment = _trial(picture)
        if used + len(fragment) > _PICTURE_BUDGET:
            break
        used += len(fragment)
        parts.append(fragment)
    if len(parts) < len(m.pictures):
        parts.append(
            page.caution(f"{len(parts)} of {len(m.pictures)} trials are shown; the rest would make the page too large.")
        )
    return Section(title=title, parts=tuple(parts))


def _trial(picture: TrialPicture) -> Html:
    """Return one trial: what was seen, felt and heard."""
    name = f"trial {picture.index}"
    shown: list[Html] = []
    if picture.camera is not None:
        shown.append(page.picture(page.picture_uri(picture.camera), "camera", f"{name}, camera"))
    for finger in sorted({*picture.touch_before, *picture.touch_after}):
        for when, images in (("before", picture.touch_before), ("during", picture.touch_after)):
            if finger in images:
                shown.append(
                    page.picture(page.picture_uri(images[finger]), f"{finger}, {when}", f"{name}, {finger} {when} contact")
                )
    sound = draw.spectrogram_figure(picture)
    if sound is not None:
        shown.append(page.picture(sound, "sound during the regrasp", f"{name}, spectrogram"))
    lines = {"action": picture.action, "predicted": picture.predicted, "came of it": picture.labels}
    absent = {"camera": picture.camera is None, "touch": not picture.touch_after, "sound": sound is None}
    lines["not recorded"] = ", ".join(what for what, gone in absent.items() if gone)
    return page.gallery(f"Trial {picture.index}: {picture.title}", shown, {k: v for k, v in lines.items() if v})


def differences(m: Material) -> Section:
    """Return what differs from the paper: the run's own list, and how this evaluation differs."""
    parts = [page.bullets(m.run.differences) if m.run.differences else page.missing("The run's own list of differences")]
    parts += [
        page.heading("In the evaluation"),
        page.bullets(
            (
                "Headline accuracies are of the initial grasp only; the paper mixes both moments and crops of one trial.",
                "No fold or iteration is picked: Table II holds all folds of one seed; the paper's is the best iteration.",
                "The majority baseline takes its class from the training folds; the paper's from the validation set.",
                f"Intervals are 95 % and resample {tables.unit_name(m.study)}; the paper gives standard errors over folds.",
                "Policies meet the same starting states and are compared in pairs; damage done while looking is counted.",
                "A probability of exactly 0.5 counts as a yes.",
            )
        ),
    ]
    return Section(title="What differs from the paper", parts=tuple(parts))


def provenance(m: Material) -> Section:
    """Return versions, commands and configuration."""
    run = m.run
    parts = [page.facts(run.versions) if run.versions else page.missing("Versions")]
    parts.append(page.code("\n".join(run.commands)) if run.commands else page.missing("Command lines"))
    config = json.dumps(dict(run.config), indent=2, sort_keys=True, default=str)
    parts.append(page.code(config, "Configuration") if run.config else page.missing("Configuration"))
    parts.append(page.paragraph(f"Paper compared with: {paper.NAME}."))
    return Section(title="Provenance", parts=tuple(parts))


SECTIONS: tuple[Callable[[Material], Section], ...] = (
    summary,
    setup,
    data,
    prediction,
    backbones,
    confusions,
    where_touch_pays,
    first_look,
    forces,
    tradeoff,
    closed_loop,
    ablations,
    calibration,
    trials,
    differences,
    provenance,
)
"""In the order of the page."""
