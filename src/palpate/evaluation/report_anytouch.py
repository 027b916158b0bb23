"""AnyTouch's tables beside the paper's: sensors added one by one, parts left out, a sensor never seen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palpate.evaluation import page
from palpate.evaluation.intervals import Interval
from palpate.evaluation.tables import NOTHING, Table, plain

WHOLE = "AnyTouch"
PAPER_TASKS = ("TAG material", "Feel grasp", "OF 1.0 material", "OF 2.0 material")
PAPER_WHOLE = (80.82, 80.53, 49.62, 76.02)
PAPER_ABLATIONS: Mapping[str, tuple[float, ...]] = {
    "w/o text": (75.91, 78.93, 48.87, 75.52),
    "w/o vision": (74.55, 77.30, 48.12, 75.22),
    "w/o stage 1": (78.34, 78.62, 48.75, 76.08),
    "w/o stage 2": (68.64, 72.39, 46.50, 73.09),
    "w/o matching": (80.54, 79.43, 49.25, 75.80),
    "w/o clips": (77.93, 79.28, 48.62, 75.70),
    "w/o universal tokens": (80.79, 79.03, 48.40, 75.40),
}
"""Table 6: accuracy in per cent of `PAPER_TASKS`."""
PAPER_SENSORS: Sequence[tuple[str, tuple[float, ...]]] = (
    ("CLIP", (52.96, 72.37, 41.00, 73.16)),
    ("GelSight", (83.55, 79.12, 46.12, 75.10)),
    ("+ GelSlim", (79.67, 79.28, 47.55, 75.53)),
    ("+ DIGIT", (79.61, 79.10, 48.00, 75.57)),
    ("+ GelSight Mini", (79.70, 79.40, 48.75, 75.66)),
)
"""Table 1: sensors added one by one."""

Figures = Mapping[str, Any]
"""What `recipes.anytouch_study.run_study` returns: `rows` by name, each with `value` and `less_whole` by task, and settings."""


def sign(change: Interval) -> str:
    """Return + or - where an interval leaves zero out, else the sign in brackets."""
    mark = "+" if change.value > 0 else "-"
    return mark if change.excludes_zero else f"({mark})"


def paper_signs(values: Sequence[float]) -> str:
    """Return the sign of each of the paper's changes: it prints no intervals."""
    return " ".join("+" if value > whole else "-" for value, whole in zip(values, PAPER_WHOLE, strict=True))


def ablation_table(figures: Figures) -> Table:
    """Return Table 6 in our setting: change to the whole by task, its signs, and the paper's."""
    tasks = list(figures["rows"][WHOLE])
    tasks = [task for task in tasks if all(task in figures["rows"].get(name, {task: 0}) for name in PAPER_ABLATIONS)]
    rows = [(WHOLE, *(_value(figures, WHOLE, task) for task in tasks), NOTHING, NOTHING)]
    for name, paper in PAPER_ABLATIONS.items():
        if name not in figures["rows"]:
            continue
        changes = [Interval(**figures["rows"][name][task]["less_whole"]) for task in tasks]
        signs = " ".join(sign(change) for change in changes)
        rows.append((name, *(plain(change) for change in changes), signs, paper_signs(paper)))
    return Table(
        caption=f"Parts left out (Table 6): change to the whole, {_seeds(figures)}",
        columns=("model", *tasks, "signs", "paper's signs"),
        rows=tuple(rows),
        note=(
            "First row: Spearman over objects, for material accuracy, for the same touch the share of neighbours. In brackets: zero lies "
            f"within the interval. The paper's signs are of {', '.join(PAPER_TASKS)}, without intervals."
        ),
    )


def sensors_table(figures: Figures) -> Table:
    """Return Table 1 in our setting: what is told by features of models that saw more and more sensors."""
    names = ["untrained", "imagenet", "hand-made", *figures["sensor_rows"], "all sensors but the last", WHOLE]
    return _values(
        figures,
        names,
        f"Sensors added one by one (Table 1): {', '.join(figures['sensors'])}; {_seeds(figures)}",
        "The last sensor is unseen in all rows but that of AnyTouch.",
    )


def paper_sensors_table() -> Table:
    """Return Table 1 as the paper prints it."""
    rows = tuple((name, *(f"{value:.2f}" for value in values)) for name, values in PAPER_SENSORS)
    return Table(
        caption="The paper's Table 1: accuracy, %",
        columns=("trained on", *PAPER_TASKS),
        rows=rows,
        note="TAG is seen in training; Feel is of a sensor seen, both sets of OF are of sensors never seen.",
    )


def unseen_table(figures: Figures) -> Table:
    """Return what is told about touches of the last sensor by models that never saw it, by the tokens that stand for it."""
    last = figures["sensors"][-1]
    names = ("all sensors but the last", "all sensors but the last, w/o universal tokens", WHOLE)
    rows = []
    for name in (name for name in names if name in figures["rows"]):
        tasks = [task for task in figures["rows"][name] if "last sensor" in task]
        plainly = [task for task in tasks if "nearest" not in task]
        seen = name == WHOLE
        for label, suffix in (
            ("own tokens" if seen else "universal tokens", ""),
            ("nearest sensor's tokens", ", nearest tokens"),
        ):
            if all(task + suffix in tasks for task in plainly):
                rows.append((f"{name}: {label}", *(_value(figures, name, task + suffix) for task in plainly)))
    heads = [task for task in figures["rows"][WHOLE] if "last sensor" in task]
    return Table(
        caption=f"A sensor never seen: {last}; {_seeds(figures)}",
        columns=("model", *heads),
        rows=tuple(rows),
        note="Universal tokens of a model that was trained without replacing any by them are random numbers.",
    )


def study_tables(figures: Figures) -> list[Table]:
    """Return the tables that a study has the rows for."""
    out = []
    if set(PAPER_ABLATIONS) & set(figures["rows"]):
        out.append(ablation_table(figures))
    if "all sensors but the last" in figures["rows"]:
        out += [sensors_table(figures), paper_sensors_table(), unseen_table(figures)]
    return out


def write_study(path: Path, figures: Figures, commands: Mapping[str, str], maps: Sequence[tuple[str, str]] = ()) -> Path:
    """Write a study as one page and return its path; `maps` are figures as data URIs with their captions."""
    shown = tuple(page.figure(uri, caption, caption) for uri, caption in maps)
    settings = {key: str(figures[key]) for key in ("sensors", "seeds", "epochs", "encoder")}
    sections = (
        page.Section(title="Tables", parts=tuple(page.table(table) for table in study_tables(figures))),
        *((page.Section(title="Neighbours", parts=shown),) if shown else ()),
        page.Section(
            title="How to repeat it",
            parts=(page.facts(settings), *(page.code(line, summary=name) for name, line in commands.items())),
        ),
    )
    return page.Page(
        title="AnyTouch: one representation across sensors",
        subtitle="Sensors, parts, and a sensor never seen",
        sections=sections,
    ).write(path)


def _values(figures: Figures, names: Sequence[str], caption: str, note: str) -> Table:
    tasks = list(figures["rows"][WHOLE])
    rows = [(name, *(_value(figures, name, task) for task in tasks)) for name in names if name in figures["rows"]]
    return Table(caption=caption, columns=("model", *tasks), rows=tuple(rows), note=note)


def _value(figures: Figures, name: str, task: str) -> str:
    found = figures["rows"][name].get(task)
    return NOTHING if found is None else plain(Interval(**found["value"]))


def _seeds(figures: Figures) -> str:
    return f"{figures['seeds']} training seed{'s' if figures['seeds'] > 1 else ''}, 95 % intervals over objects"
