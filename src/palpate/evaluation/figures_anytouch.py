"""The picture of Fig. 4 of AnyTouch: touches on a map, one colour a touch, one marker a sensor, lines between the same touch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palpate.core.errors import PalpateError
from palpate.evaluation import figures as f
from palpate.evaluation.neighbours import NeighbourShares, flat_map

SHOWN = 30
"""Touches on the map, as in the paper (Section 5.3)."""
_MARKERS = "osD^vPX*"


@dataclass(frozen=True, kw_only=True)
class TouchMap:
    """What one panel shows. N felt touches."""

    features: np.ndarray
    """(N, E)."""
    touch: np.ndarray
    """(N,) names."""
    sensor: np.ndarray
    """(N,) names."""
    shares: NeighbourShares
    """Of all touches, also those that are not shown."""


def draw_maps(maps: Mapping[str, TouchMap], *, seed: int = 0) -> Figure:
    """Return a panel for each set of features, by its title; all show the same touches. Call it inside `figures.style()`."""
    made, panels = f.blank(3.3 * len(maps) + 0.2, 3.7, len(maps))
    for axes, (title, one) in zip(panels, maps.items(), strict=True):
        _panel(axes, title, one, seed)
    handles, names = panels[0].get_legend_handles_labels()
    made.legend(handles, names, loc="outside lower center", ncols=6, handletextpad=0.2)
    return made


def _panel(axes: Axes, title: str, one: TouchMap, seed: int) -> None:
    shown = shown_touches(one.touch)
    place, touch, sensor = flat_map(one.features[shown], seed=seed), one.touch[shown], one.sensor[shown]
    names, number = np.unique(touch, return_inverse=True)
    colours = mpl.colormaps["hsv"](np.arange(len(names)) / len(names))
    for k, colour in enumerate(colours):
        own = place[number == k]
        for a in range(len(own)):
            for b in range(a):
                axes.plot(*own[[a, b]].T, color=colour, linewidth=0.6, linestyle="--", alpha=0.6, zorder=1)
    for marker, name in zip(_MARKERS, np.unique(sensor), strict=False):
        rows = sensor == name
        axes.scatter(*place[rows].T, s=22, c=colours[number[rows]], marker=marker, linewidths=0.4, edgecolors=f.INK, zorder=2)
        axes.scatter([], [], s=22, c=f.GREY, marker=marker, linewidths=0.4, edgecolors=f.INK, label=str(name))
    shares = one.shares
    axes.set_title(
        f"{title}\nsame touch {100 * shares.same_touch.value:.0f} % (chance {100 * shares.chance_touch:.1f}), "
        f"same sensor {100 * shares.same_sensor.value:.0f} % ({100 * shares.chance_sensor:.0f})",
        fontsize=7.5,
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)


def shown_touches(touch: np.ndarray) -> np.ndarray:
    """Return the rows of the first `SHOWN` touches among those that most sensors felt."""
    names, counts = np.unique(touch, return_counts=True)
    by_count = names[np.argsort(-counts, kind="stable")]
    return np.flatnonzero(np.isin(touch, by_count[:SHOWN]))


def write_maps(path: Path, maps: Mapping[str, TouchMap], *, seed: int = 0) -> Path:
    """Write the panels to a .png, .svg or .pdf file and return its path; PalpateError for another ending."""
    if path.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise PalpateError(f"--plot {path}: give a name that ends in .png, .svg or .pdf")
    path.parent.mkdir(parents=True, exist_ok=True)
    with f.style():
        draw_maps(maps, seed=seed).savefig(path, dpi=150, facecolor="white")
    return path
