"""The report of the regrasp study: Tables I and II, calibration, and Figs. 4, 7 and 8 of More Than a Feeling."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.randomness import generator
from palpate.evaluation import figures_regrasp as draw
from palpate.evaluation import page
from palpate.evaluation import paper_regrasp as paper
from palpate.evaluation.figures_gentle import reliability_figure
from palpate.evaluation.intervals import Interval, cluster_mean
from palpate.evaluation.material_regrasp import RegraspResults
from palpate.evaluation.metrics import majority_probs, reliability
from palpate.evaluation.scores_regrasp import (
    accuracy_of,
    calibration_error,
    force_ratio,
    gain,
    grasp_figures,
    paired_success,
    right,
    sure_forces,
)
from palpate.evaluation.tables import NOTHING, Table, model_title, percent, points

FULL, TOUCH, VISION, BLIND = "vision+touch+action", "touch+action", "vision+action", "vision+touch"
_EXAMPLES = 6
_ALONE = "vision a picture alone"


def chance(results: RegraspResults) -> Interval:
    """Return the accuracy of always saying what is more frequent in the other folds."""
    table = results.predictions[FULL][0]
    probs = majority_probs(np.column_stack([table.labels, table.labels]), table.fold)[:, :1]
    hit = ((probs >= 0.5) == (table.labels >= 0.5))[:, 0].astype(float)
    return cluster_mean(np.where(np.isnan(table.labels[:, 0]), np.nan, hit), table.object, generator(0))


def table_one(results: RegraspResults) -> Table:
    """Return Table I: accuracy by model over all states and before the regrasp, and the paper's."""
    rng = generator(0)
    rows = [("chance (majority)", percent(chance(results)), NOTHING, NOTHING, f"{100 * paper.TABLE_I['chance']:.1f}")]
    models = [(model_title(name), name, tables) for name, tables in results.predictions.items()]
    models += [(f"{_ALONE}: {model_title(name)}", name, tables) for name, tables in results.pictures.items()]
    for title, name, tables in models:
        rows.append(
            (
                title,
                percent(accuracy_of(tables, rng)),
                percent(accuracy_of(tables, rng, "initial")),
                percent(accuracy_of(tables, rng, "regrasp")),
                f"{100 * paper.TABLE_I[name]:.1f}",
            )
        )
    seeds = len(results.predictions[FULL])
    return Table(
        caption="Accuracy of predicted success, objects held out, per cent",
        columns=("model", "all states", "before the regrasp", "during it", "paper (all states)"),
        rows=tuple(rows),
        note=f"Mean of {seeds} training seed{'s' * (seeds > 1)}, intervals over objects. Vision also tells, as numbers, where depth "
        "finds the object, but where it is called a picture alone, which is what the paper's models see. "
        f"The paper: {paper.EXAMPLES:,} examples of {paper.OBJECTS} real objects, a ResNet-50 trained end to end.",
        strong=(3,),
    )


def gains_table(results: RegraspResults) -> Table:
    """Return the paired differences between the models of Table I."""
    rng, told, alone = generator(0), results.predictions, {**results.predictions, **results.pictures}
    pairs = ((FULL, VISION), (FULL, TOUCH), (TOUCH, VISION))
    compared = [("", a, b, told, told) for a, b in (*pairs, (FULL, BLIND))]
    compared += [(f"{_ALONE}: ", a, b, alone, alone) for a, b in pairs]
    compared += [(f"what the place adds to {_ALONE}: ", FULL, FULL, told, alone)]
    rows = []
    for how, a, b, one, other in compared:
        stated = f"{100 * (paper.TABLE_I[a] - paper.TABLE_I[b]):+.1f}" if a != b else NOTHING
        title = model_title(a) if a == b else f"{model_title(a)} - {model_title(b)}"
        rows.append(
            (
                f"{how}{title}",
                points(gain(one[a], other[b], rng)),
                points(gain(one[a], other[b], rng, "initial")),
                stated,
            )
        )
    return Table(
        caption="Paired differences, points",
        columns=("difference", "all states", "before the regrasp", "paper"),
        rows=tuple(rows),
        note="Over the same samples; intervals from resampling whole objects.",
    )


def table_two(results: RegraspResults) -> Table:
    """Return Table II: success in the closed loop by set, policy and objective."""
    rng, rows = generator(0), []
    for key, loop in results.loops.items():
        policy, objects, objective = key.split(" ")
        found = grasp_figures(loop, rng)
        sure = found["sure"]
        stated = paper.TABLE_II.get(objects, {}).get(policy) if objective == "success" else None
        rows.append(
            (
                f"{objects}: {_title(policy)}" + (", least force" if objective == "min-force" else ""),
                percent(
                    Interval(
                        value=found["accuracy"], low=found["interval"][0], high=found["interval"][1], n=found["n"], groups=0
                    )
                ),
                NOTHING if found["force_when_stable"] is None else f"{found['force_when_stable']:.1f}",
                f"{found['average_grip_force']['value']:.1f} / {found['maximum_grip_force']['value']:.1f}",
                f"{found['looks']:.1f}",
                f"{100 * sure['success']['value']:.0f} of {sure['lifts']}" if sure and sure["lifts"] else NOTHING,
                f"{100 * stated:.1f}" if stated else NOTHING,
            )
        )
    return Table(
        caption="Closed loop on unseen objects",
        columns=(
            "objects: policy",
            "success, %",
            "force of successes, N",
            "average / maximum grip force, N",
            "regrasps",
            "% of sure lifts that held",
            "paper, %",
        ),
        rows=tuple(rows),
        note="Each policy begins in the same states, the gripper open around the object. + : trained on on-policy data too. Sure lifts "
        "were predicted to hold with more than 0.9. Forces are the gripper's own measurement from the lift on.",
    )


def object_table(results: RegraspResults) -> Table:
    """Return successes by object, the layout of the paper's Table II."""
    rng = generator(0)
    found = {key: grasp_figures(loop, rng)["per_object"] for key, loop in results.loops.items()}
    keys = [key for key in found if key.endswith("success")]
    objects = list(dict.fromkeys(name for key in keys for name in found[key]))
    rows = []
    for name in objects:
        cells = [
            "/".join(map(str, found[key][name])) if name in found[key] else NOTHING
            for key in keys
            if _set(key) == _set_of(name)
        ]
        rows.append((name, *cells))
    policies = [_title(key.split(" ")[0]) for key in keys if _set(key) == _set(keys[0])]
    return Table(caption="Successes / trials by object", columns=("object", *policies), rows=tuple(rows))


def _set(key: str) -> str:
    return key.split(" ")[1]


def _set_of(name: str) -> str:
    return name.split("-", 1)[0]


def _title(policy: str) -> str:
    again = policy.endswith("+")
    return model_title(policy.rstrip("+")) + (" +" if again else "")


def loop_lines(results: RegraspResults) -> list[str]:
    """Return the paired comparisons of the closed loop in words."""
    rng, lines = generator(0), []
    for objects in dict.fromkeys(_set(key) for key in results.loops):
        full = results.loops[f"{FULL} {objects} success"]
        for name in (VISION, "cylinder"):
            difference = paired_success(full, results.loops[f"{name} {objects} success"], rng)
            lines.append(f"{objects}: {model_title(FULL)} - {_title(name)} {points(difference)}")
        for policy, how in ((FULL, ""), (f"{FULL}+", ", after on-policy training")):
            if least := results.loops.get(f"{policy} {objects} min-force"):
                lines += _force_lines(f"{objects}{how}", least, results.loops[f"{policy} {objects} success"], rng)
    return lines


def _force_lines(title: str, least: dict[str, Any], full: dict[str, Any], rng: np.random.Generator) -> list[str]:
    """Return what the least force costs in success and saves in force, over all trials and where a grasp is sure enough."""
    lines = [
        f"{title}: least force - most likely success {points(paired_success(least, full, rng))} in success, with "
        f"{100 * force_ratio(least, full):.0f} % of the force"
    ]
    n, low, high = sure_forces(least, full)
    if n:
        lines.append(
            f"{title}: in the {n} trials with a grasp that is sure enough, least force takes {low:.1f} N, "
            f"the most likely success {high:.1f} N"
        )
    return lines


def calibration_lines(results: RegraspResults) -> list[str]:
    """Return the expected calibration errors before and after Platt scaling, in words."""
    return [
        f"{model_title(name)}: expected calibration error {calibration_error(tables):.3f}, "
        f"after Platt scaling {calibration_error(results.calibrated[name]):.3f}"
        for name, tables in results.predictions.items()
    ]


def gel_lines(results: RegraspResults) -> list[str]:
    """Return the accuracy on gels never seen beside that on known ones, in words."""
    rng = generator(0)
    words = {"unseen": "gels never seen", "seen": "gels seen in training"}
    return [f"{words[kind]}: {percent(accuracy_of([table], rng))} %" for kind, table in results.unseen_gels.items()]


def headline(results: RegraspResults) -> list[str]:
    """Return what the run says, in a few lines."""
    rng = generator(0)
    labels = results.labels
    full = results.predictions[FULL]
    n, objects = len(right(full)[0]), len(np.unique(full[0].object))
    return [
        f"{n:,} states of {objects} objects; labels by touch agree with the simulator in {100 * labels['agreement']:.1f} % of trials; "
        f"{100 * labels['stable']:.0f} % of random grasps hold",
        f"vision + touch + action {percent(accuracy_of(full, rng))} %; over vision {points(gain(full, results.predictions[VISION], rng))}",
        *loop_lines(results),
    ]


def _reliability(results: RegraspResults) -> page.Html:
    def pooled(tables: list[Any]) -> Any:
        return reliability(np.concatenate([t.labels[:, 0] for t in tables]), np.concatenate([t.probs[:, 0] for t in tables]))

    names = [name for name in (VISION, TOUCH, FULL) if name in results.predictions]
    diagrams = {
        "as trained": [(name, pooled(results.predictions[name])) for name in names],
        "after Platt scaling": [(name, pooled(results.calibrated[name])) for name in names],
    }
    uri = reliability_figure(diagrams, len(results.predictions[FULL]))
    return page.figure(uri, "Held-out objects; the calibration of each fold is fitted on the others.", "Reliability diagrams")


def _pictures(results: RegraspResults) -> tuple[page.Html, ...]:
    a = results.analysis
    if not len(a.cameras):
        return (page.missing("pictures: the trials have no camera"),)
    order = np.argsort(a.lowered)
    out = []
    for title, chosen in (
        ("Moving down by 10 mm helps", order[::-1][:_EXAMPLES]),
        ("Moving down by 10 mm harms", order[:_EXAMPLES]),
    ):
        pictures = [
            page.picture(
                page.picture_uri(a.cameras[i]), f"{a.object[i]}: {100 * a.lowered[i]:+.0f} points", "Camera view of a grasp"
            )
            for i in chosen
        ]
        out.append(page.gallery(title, pictures, {}))
    return tuple(out)


def regrasp_page(results: RegraspResults, name: str, commands: Mapping[str, str]) -> page.Page:
    """Return the report as a page."""
    rng = generator(0)
    models = {"chance": chance(results), **{m: accuracy_of(t, rng) for m, t in results.predictions.items()}}
    a = results.analysis
    force = [
        (f"{_set(key)}: {'least force' if key.endswith('min-force') else 'most likely'}", loop)
        for key, loop in results.loops.items()
        if key.split(" ")[0] == FULL
    ]
    sections = (
        page.Section(title="What came out", parts=(page.bullets(headline(results)),)),
        page.Section(
            title="Predicting success (Table I)",
            parts=(
                page.table(table_one(results)),
                page.figure(draw.accuracy_figure(models, paper.TABLE_I), "All states, objects held out.", "Accuracy by model"),
                page.table(gains_table(results)),
                page.heading("New gels"),
                page.bullets(gel_lines(results)),
            ),
        ),
        page.Section(title="Calibration", parts=(_reliability(results), page.bullets(calibration_lines(results)))),
        page.Section(
            title="Closed loop (Table II)",
            parts=(
                page.table(table_two(results)),
                page.bullets(loop_lines(results)),
                page.table(object_table(results)),
            ),
        ),
        page.Section(
            title="Least force (Fig. 8)",
            parts=(page.figure(draw.grip_force_figure(force), "Commanded force of grasps that held.", "Histograms of force"),),
        ),
        page.Section(
            title="What the model has learnt (Figs. 4 to 7)",
            parts=(
                page.figure(
                    draw.force_figure(a), "Predicted success when the gripper closes again in place.", "Success by force"
                ),
                page.figure(draw.height_figure(a), "Predicted success when the gripper moves up or down.", "Success by height"),
                page.figure(
                    draw.action_figure(a), f"Chosen actions in {len(a.object)} grasps of unseen objects.", "Chosen actions"
                ),
                *_pictures(results),
            ),
        ),
        page.Section(
            title="How to repeat it",
            parts=(
                page.facts({key: str(value) for key, value in results.config.items()}),
                *(page.code(line, summary=key) for key, line in commands.items()),
            ),
        ),
    )
    return page.Page(
        title=f"Regrasping: {name}",
        subtitle="Success and force with a parallel gripper, from vision, touch and action",
        sections=sections,
    )


def summary_text(results: RegraspResults) -> str:
    """Return the headline and the tables for a terminal."""
    lines = "\n".join(f"* {line}" for line in headline(results))
    parts = [lines, table_one(results).text(), gains_table(results).text(), "\n".join(calibration_lines(results))]
    return "\n\n".join([*parts, "\n".join(gel_lines(results)), table_two(results).text(), object_table(results).text()]) + "\n"


def write_report(path: Path, results: RegraspResults, name: str, commands: Mapping[str, str]) -> Path:
    """Write the report as one self-contained HTML file and return its path."""
    return regrasp_page(results, name, commands).write(path)
