"""Figures of the regrasp report, after More Than a Feeling, Figs. 4, 7 and 8. Each function returns a data URI."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from palpate.evaluation import figures as f
from palpate.evaluation.intervals import Interval
from palpate.evaluation.material_regrasp import Analysis
from palpate.evaluation.tables import model_title

_ACTIONS = ("across, mm", "along, mm", "up, mm", "turn, deg", "force, N")
_SCALE = np.array([1e3, 1e3, 1e3, 180 / np.pi, 1.0])
_SHOWN = 6
"""Curves of single states in each panel."""


def accuracy_figure(models: Mapping[str, Interval], paper: Mapping[str, float]) -> str:
    """Draw the accuracy of each model over all states, beside the paper's."""
    with f.style():
        made, (axes,) = f.blank(6.6, 3.2)
        names = tuple(models)
        series = f.Series(
            name="this run", colour=f.BLUE, values=tuple(models.values()), paper=tuple(paper.get(name) for name in names)
        )
        f.bars(axes, [model_title(name).replace(" + ", "\n+ ") for name in names], [series])
        f.legend_above(axes)
        return f.svg_uri(made)


def force_figure(analysis: Analysis) -> str:
    """Draw predicted success against force where the gripper stays: states that force helps most, and that it harms most."""
    return _curves(
        analysis.forces,
        analysis.by_force,
        ("more force helps", "more force does not help"),
        "force, N",
    )


def height_figure(analysis: Analysis) -> str:
    """Draw predicted success against a vertical motion: states in which moving down helps most, and in which it harms most."""
    return _curves(1e3 * analysis.heights, -analysis.by_height, ("down helps", "down harms"), "motion up, mm", flip=True)


def _curves(x: np.ndarray, values: np.ndarray, titles: tuple[str, str], label: str, *, flip: bool = False) -> str:
    """Draw the states whose value rises most over x, those whose value falls most, and the mean of all in both panels."""
    order = np.argsort(values[:, 0] - values[:, -1])
    with f.style():
        made, panels = f.blank(6.8, 3.0, 2, share_y=True)
        for axes, title, chosen in zip(panels, titles, (order[:_SHOWN], order[-_SHOWN:]), strict=True):
            for state in chosen:
                axes.plot(x, np.abs(values[state]), color=f.SKY, linewidth=1.1)
            axes.plot(x, np.abs(values.mean(axis=0)), color=f.VERMILION, linewidth=2.2, label=f"mean of all {len(values)}")
            axes.set_title(title)
            axes.set_xlabel(label)
            axes.set_ylim(0, 1)
        panels[0].set_ylabel("predicted success")
        panels[0].legend(loc="lower right" if not flip else "best")
        return f.svg_uri(made)


def action_figure(analysis: Analysis) -> str:
    """Draw histograms of the chosen actions, for the most likely success and for the least force."""
    with f.style():
        made, panels = f.blank(9.2, 2.5, 5)
        for k, (axes, name) in enumerate(zip(panels, _ACTIONS, strict=True)):
            both = [_SCALE[k] * actions[:, k] for actions in (analysis.chosen, analysis.least)]
            edges = np.linspace(min(b.min() for b in both), max(b.max() for b in both) + 1e-9, 13)
            for values, colour, label in zip(both, (f.BLUE, f.ORANGE), ("most likely success", "least force"), strict=True):
                axes.hist(values, edges.tolist(), color=colour, alpha=0.6, label=label)
            axes.set_xlabel(name)
            axes.set_yticks([])
        handles, names = panels[0].get_legend_handles_labels()
        made.legend(handles, names, loc="outside upper left", ncols=2)
        return f.svg_uri(made)


def grip_force_figure(loops: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Draw histograms of the force of successful grasps, a panel a test (Fig. 8a)."""
    with f.style():
        made, panels = f.blank(3.2 * len(loops), 2.6, len(loops), share_y=True)
        for axes, (name, rows) in zip(panels, loops, strict=True):
            good = np.array(rows["stable"], float) == 1.0
            force = np.array(rows["commanded_force"], float)[good]
            axes.hist(force, np.linspace(4, 25, 15).tolist(), color=f.BLUE)
            if len(force):
                axes.axvline(force.mean(), color=f.VERMILION, label=f"mean {force.mean():.1f} N")
                axes.legend(loc="best")
            axes.set_title(name)
            axes.set_xlabel("force of successful grasps, N")
        return f.svg_uri(made)
