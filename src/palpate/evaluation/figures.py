"""One small style for every figure, and figures as SVG data URIs that turn dark with the page.

Colours are of Okabe and Ito's palette, which colour-blind readers can tell apart; classes differ in marker too.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palpate.evaluation.intervals import Interval
from palpate.evaluation.page import data_uri

BLUE, GREEN, ORANGE, VERMILION, SKY, GREY = "#0072b2", "#009e73", "#e69f00", "#d55e00", "#56b4e9", "#8c959f"
INK, SOFT, LINE = "#1f2328", "#59636e", "#d8dee4"
_PAPER = "paper (where stated)"
_DARK = {INK: "#e3e7eb", SOFT: "#9aa5b1", LINE: "#343b44", BLUE: "#3d9be0"}
"""What the inks become on a dark page; the other colours are bright enough on both."""

STYLE: dict[str, object] = {
    "font.size": 9.0,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 9.0,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "path",
    "svg.hashsalt": "palpate",
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True, kw_only=True)
class Series:
    """One colour of bars: a name and a value for each group (None where there is none)."""

    name: str
    colour: str
    values: tuple[Interval | None, ...]
    paper: tuple[float | None, ...] = ()
    """The paper's value for each group, where it states one."""


def blank(width: float, height: float, columns: int = 1, *, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of width x height inches with a row of axes. Call it inside `style()`."""
    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.subplots(1, columns, sharey=share_y, squeeze=False)
    return made, list(axes[0])


def style() -> AbstractContextManager[None]:
    """Return the context in which figures are drawn and saved."""
    return mpl.rc_context(STYLE)  # pyright: ignore[reportArgumentType] - the stubs list every key


def svg_uri(made: Figure) -> str:
    """Return a figure as an SVG data URI whose inks follow the reader's light or dark setting. Call it inside `style()`."""
    buffer = BytesIO()
    made.savefig(buffer, format="svg", dpi=130, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue().decode("utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    rules = []
    for i, (light, dark) in enumerate(_DARK.items()):
        svg = svg.replace(light, f"var(--c{i},{light})")
        rules.append(f"--c{i}:{dark}")
    end = svg.index(">") + 1
    css = f"<style>@media (prefers-color-scheme:dark){{:root{{{';'.join(rules)}}}}}</style>"
    return data_uri("svg+xml", (svg[:end] + css + svg[end:]).encode("utf-8"))


def bars(axes: Axes, groups: Sequence[str], series: Sequence[Series], *, unit: str = "%", numbers: bool = True) -> None:
    """Draw grouped bars of rates in per cent from zero, with intervals, values, and the paper's values as hollow diamonds."""
    width = 0.8 / len(series)
    at = np.arange(len(groups))
    for k, one in enumerate(series):
        x = at - 0.4 + width * (k + 0.5)
        present = [(xi, v) for xi, v in zip(x, one.values, strict=True) if v is not None and not np.isnan(v.value)]
        if not present:
            continue
        xs = np.array([xi for xi, _ in present])
        height = np.array([100 * v.value for _, v in present])
        axes.bar(xs, height, width * 0.92, color=one.colour, label=one.name, linewidth=0)
        axes.errorbar(xs, height, yerr=_arms([v for _, v in present]), fmt="none", ecolor=INK, elinewidth=1.0, capsize=2.0)
        for xi, v in present if numbers else ():
            top = 100 * (v.value if np.isnan(v.high) else v.high)
            axes.annotate(
                f"{100 * v.value:.0f}", (xi, top), (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=7.5
            )
        _paper_marks(axes, x, one)
    axes.set_xticks(at, groups)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.55, len(groups) - 0.45)
    axes.set_ylim(0, 108)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel(unit)


def _paper_marks(axes: Axes, x: np.ndarray, one: Series) -> None:
    """Mark the paper's values on the bars of one colour."""
    marks = [(xi, 100 * p) for xi, p in zip(x, one.paper, strict=False) if p is not None]
    if marks:
        axes.plot(
            [xi for xi, _ in marks],
            [p for _, p in marks],
            marker="D",
            markersize=6.5,
            linestyle="none",
            markerfacecolor="#ffffff",
            markeredgecolor="#000000",
            markeredgewidth=1.1,
            label=_PAPER,
            zorder=5,
        )


def _arms(values: Sequence[Interval]) -> np.ndarray:
    """Return (2, N) lengths of error bars in per cent; zero where there is no interval."""
    arms = np.array([[v.value - v.low for v in values], [v.high - v.value for v in values]])
    return 100 * np.nan_to_num(np.maximum(arms, 0.0))


def legend_above(axes: Axes, *, columns: int = 6) -> None:
    """Put one legend above the axes, each name once."""
    handles, names = axes.get_legend_handles_labels()
    once: Mapping[str, object] = dict(sorted(zip(names, handles, strict=True), key=lambda one: one[0] == _PAPER))
    axes.legend(
        list(once.values()),  # pyright: ignore[reportArgumentType] - the handles of get_legend_handles_labels
        list(once),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        handlelength=1.0,
        handleheight=0.9,
        columnspacing=1.4,
        borderaxespad=0.2,
    )
