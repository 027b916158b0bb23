"""AnyTouch's Table 4 beside ours: how far from 60 g policies pour by touch alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palpate.evaluation import page
from palpate.evaluation.intervals import Interval
from palpate.evaluation.tables import NOTHING, Table, percent, plain

PERSON, STEPS, TILT = "the person", "same number of steps", "same tilt"
"""Rows that do not learn."""
WITHIN = 3.0
"""An error that counts as small [g]: three beads."""
PAPER: Mapping[str, tuple[float, float]] = {
    "CLIP": (5.22, 49.1),
    "T3": (2.33, 9.74),
    "AnyTouch, stills only": (2.45, 9.60),
    "AnyTouch": (1.56, 8.22),
}
"""Table 4: mean error [g] with the encoder tuned and frozen, of ten trials each."""

Figures = Mapping[str, Any]
"""What `recipes.pouring_study.run_pouring_study` returns."""


def pouring_tables(figures: Figures) -> list[Table]:
    """Return Table 4 in our setting, and the paper's."""
    ours = Table(
        caption=(
            f"Pouring 60 g by touch (Table 4): {figures['seeds']} training seeds, {figures['trials']} trials each, "
            "95 % intervals over starting states"
        ),
        columns=(
            "policy",
            "mean error [g]",
            f"less {STEPS}",
            f"less {TILT}",
            "bias [g]",
            f"within {WITHIN:g} g [%]",
            "paper [g]",
        ),
        rows=tuple((_title(name, row, figures), *_cells(row), paper_error(name)) for name, row in figures["rows"].items()),
        note=(
            f"The person sees the scale, '{TILT}' the tilt, '{STEPS}' nothing; the others see pictures of touch. All start from the "
            "same states."
        ),
    )
    paper = Table(
        caption="The paper's Table 4: mean error [g] of ten trials on a real arm",
        columns=("encoder", "tuned", "frozen"),
        rows=tuple((name, *(f"{value:.2f}" for value in values)) for name, values in PAPER.items()),
    )
    return [ours, paper]


def paper_error(name: str) -> str:
    """Return the paper's error of the row that is most alike, `-` if there is none."""
    encoder, _, mode = name.partition(", ")
    like = {"ImageNet": "CLIP", "stills only": "AnyTouch, stills only", "AnyTouch": "AnyTouch"}.get(encoder)
    if like is None or mode not in ("tuned", "frozen"):
        return NOTHING
    return f"{PAPER[like][mode == 'frozen']:.2f} ({like})"


def _title(name: str, row: Mapping[str, Any], figures: Figures) -> str:
    """Return the name of a row, with its number of training seeds where it is another than the study's."""
    seeds = len(row["by_seed"])
    return name if name not in figures["held_out"] or seeds == figures["seeds"] else f"{name} (seeds: {seeds})"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        plain(Interval(**row["mean_error_g"]), 2),
        *(NOTHING if row[key] is None else plain(Interval(**row[key]), 2) for key in ("less_steps_g", "less_tilt_g")),
        plain(Interval(**row["bias_g"]), 2),
        percent(Interval(**row["within"])),
    )


def write_pouring(path: Path, figures: Figures, commands: Mapping[str, str]) -> Path:
    """Write the study as one page and return its path."""
    world, training = figures["world"], figures["training"]
    settings = {
        "world": f"cups {world['cups']}, {world['touch']}, pictures of {world['picture']} px",
        "demonstrations": str(figures["demonstrations"]),
        "epochs of tuning": str(training["tune"]["epochs"]),
        "numbers": ", ".join(f"{name} {number:.3g}" for name, number in figures["numbers"].items()),
    }
    how = (page.facts(settings), *(page.code(line, summary=name) for name, line in commands.items()))
    return page.Page(
        title="Pouring by touch alone",
        subtitle="60 g of 100 g of beads out of a cup that is felt, not seen",
        sections=(
            page.Section(title="Tables", parts=tuple(page.table(table) for table in pouring_tables(figures))),
            page.Section(title="How to repeat it", parts=how),
        ),
    ).write(path)
