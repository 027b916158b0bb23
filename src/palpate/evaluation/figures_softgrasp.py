"""Figures of SoftGrasp, after its Figs. 3, 6-9, 11 and 13. Each function returns a data URI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from palpate.core.records import Episode
from palpate.evaluation import figures as f
from palpate.evaluation.intervals import wilson
from palpate.evaluation.paper_softgrasp import rate
from palpate.evaluation.tables_softgrasp import CLASSES, Rows, Trials

JOINTS = ("little", "ring", "middle", "index", "thumb bend", "thumb swing")
PURPLE = "#cc79a7"
COLOURS = (f.BLUE, f.SKY, f.GREEN, f.ORANGE, f.VERMILION, PURPLE)
STAGES = {"preparation": f.GREY, "closing": f.SKY, "clutching": f.ORANGE, "re-clutching": f.VERMILION, "stable": f.GREEN}
ATTENTION = {"image $S_I$": f.GREEN, "angle $S_A$": f.BLUE, "torque $S_T$": f.VERMILION, "touch": f.GREY}
"""The scores of Eq. 8-10, and one for the touch that a hand may wear."""
STATES = {"no contact": "#eceff2", "contact": f.ORANGE, "clutched": f.VERMILION}
"""Algorithm 1's states, in the order of their numbers."""
PICTURES = 7
FAILED = 0.1
"""A configuration that held an object no more often than in this part of its trials is marked as failed (as in the paper's Fig. 11)."""
BOX = 3
"""Fewer trials are drawn as dots only."""
_WIDTH = 9.4


@dataclass(frozen=True, kw_only=True)
class MappingFit:
    """One joint's mapping: a recording of it, the paper's polynomial, and our fit."""

    joint: str
    glove: np.ndarray
    """(N,) recorded angles, shares of the range."""
    hand: np.ndarray
    grid: np.ndarray
    """(G,) angles of the glove at which the curves are given."""
    printed: np.ndarray
    fitted: np.ndarray
    printed_deviation: float
    fitted_deviation: float


def stages(episode: Episode) -> list[tuple[str, float, float]]:
    """Return the stages of an episode that have begun: name, begin and end [s]."""
    begins = [(event.name, event.time) for event in episode.events if event.name in STAGES]
    end = max(float(stream.times[-1]) for stream in episode.streams.values())
    return [(name, at, until) for (name, at), (_, until) in pairwise([*begins, ("", end)])]


def grasp_figure(episode: Episode) -> str:
    """Draw a trial of a policy (Figs. 7-9): pictures, angles, torques, fingertip forces, and attention, with stages and lift."""
    streams = episode.streams
    panels = [
        ("bend\n0 open, 1 closed", [("hand.joint_position", "-"), ("hand.command", "--")], JOINTS, COLOURS),
        ("joint torque\nN m", [("hand.joint_torque", "-")], JOINTS, COLOURS),
        ("fingertip force\nN", [("hand.fingertip_force", "-")], JOINTS[:5], COLOURS),
    ]
    if "predicted.attention" in streams:
        kinds = dict(list(ATTENTION.items())[: streams["predicted.attention"].values.shape[1]])
        panels.append(("attention", [("predicted.attention", "-")], tuple(kinds), tuple(kinds.values())))
    with f.style():
        made, axes = _stacked(episode, [1.5, 1.2, 1.2, 1.0][: len(panels)])
        for one, (label, series, names, colours) in zip(axes, panels, strict=True):
            _lines(one, episode, series, names, colours)
            one.set_ylabel(label)
        if panels[-1][0] == "attention":
            axes[-1].set_ylim(0, 1)
            axes[-1].legend(loc="lower left", bbox_to_anchor=(0.0, 0.97), ncols=4, handlelength=1.2, borderaxespad=0.0)
        handles, names = axes[0].get_legend_handles_labels()
        made.legend(handles[:6], names[:6], loc="outside lower center", ncols=6, handlelength=1.2)
        return f.svg_uri(made)


def demonstration_figure(episode: Episode) -> str:
    """Draw a demonstration (Fig. 6) and Algorithm 1 in it: angles, torques of hand and glove, and each joint's state."""
    contact = episode.streams["glove.contact"]
    with f.style():
        made, axes = _stacked(episode, [1.4, 1.1, 1.1, 1.0])
        _lines(axes[0], episode, [("hand.joint_position", "-"), ("hand.command", "--")], JOINTS, COLOURS)
        _lines(axes[1], episode, [("hand.joint_torque", "-")], JOINTS, COLOURS)
        _lines(axes[2], episode, [("glove.torque", "-")], JOINTS, COLOURS)
        for one, label in zip(axes, ("bend\n0 open, 1 closed", "hand torque\nN m", "glove torque\nN m", ""), strict=True):
            one.set_ylabel(label)
        edges = np.append(contact.times, contact.times[-1] + np.diff(contact.times).mean())
        axes[3].pcolormesh(
            edges,
            np.arange(7) - 0.5,
            contact.values.T,
            cmap=ListedColormap(list(STATES.values())),
            vmin=0,
            vmax=2,
            rasterized=True,
        )
        axes[3].set_yticks(range(6), JOINTS)
        axes[3].tick_params(axis="y", labelsize=7.5, length=0)
        axes[3].grid(visible=False)
        axes[3].invert_yaxis()
        handles, names = axes[0].get_legend_handles_labels()
        states = [Patch(facecolor=colour, edgecolor=f.SOFT, linewidth=0.5, label=name) for name, colour in STATES.items()]
        made.legend(
            [*handles[:6], *states],
            [*names[:6], *STATES],
            loc="outside lower center",
            ncols=9,
            handlelength=1.0,
            columnspacing=1.0,
        )
        return f.svg_uri(made)


def _stacked(episode: Episode, heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Return a figure with a strip of pictures above panels that share the time axis, stages shaded and the lift marked."""
    camera = episode.streams.get("camera.rgb")
    made = Figure(figsize=(_WIDTH, sum(heights) * 1.2 + (1.7 if camera else 0.7)), layout="constrained")
    grid = made.add_gridspec(len(heights) + 1, PICTURES, height_ratios=[1.0 if camera else 0.01, *heights])
    axes = [made.add_subplot(grid[1, :])]
    axes += [made.add_subplot(grid[k, :], sharex=axes[0]) for k in range(2, len(heights) + 1)]
    spans = stages(episode)
    begin, end = spans[0][1], spans[-1][2]
    for one in axes:
        for name, start, stop in spans:
            one.axvspan(start, stop, color=STAGES[name], alpha=0.13, linewidth=0)
        for event in episode.events:
            if event.name == "lift":
                one.axvline(event.time, color=f.INK, linestyle=":", linewidth=1.4)
        one.tick_params(labelbottom=one is axes[-1])
        one.set_xlim(begin, end)
    axes[-1].set_xlabel("time, s (dotted: the lift begins)")
    _stage_names(axes[0], spans)
    for k, time in enumerate(np.linspace(begin, end, PICTURES) if camera else ()):
        picture = made.add_subplot(grid[0, k])
        picture.imshow(camera.at(float(time)))  # pyright: ignore[reportOptionalMemberAccess] - there is a camera here
        picture.set_title(f"{time:.1f} s", loc="center", fontweight="normal", fontsize=8, pad=2)
        picture.axis("off")
    return made, axes


def _stage_names(axes: Axes, spans: Sequence[tuple[str, float, float]]) -> None:
    """Write the stages above the panel; a short one's name goes a line higher."""
    whole = spans[-1][2] - spans[0][1]
    for k, (name, start, stop) in enumerate(spans):
        narrow = (stop - start) / whole < 0.12 and k % 2
        axes.annotate(
            name,
            ((start + stop) / 2, 1.0),
            (0, 12 if narrow else 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=f.SOFT,
        )


def _lines(
    axes: Axes, episode: Episode, series: Sequence[tuple[str, str]], names: Sequence[str], colours: Sequence[str]
) -> None:
    """Draw the components of streams over time; positions and commands as bends, 0 open to 1 closed."""
    for stream_name, dash in series:
        stream = episode.streams.get(stream_name)
        if stream is None:
            continue
        values = 1.0 - stream.values if stream_name in {"hand.joint_position", "hand.command"} else stream.values
        for k, (name, colour) in enumerate(zip(names, colours, strict=False)):
            axes.plot(
                stream.times,
                values[:, k],
                dash,
                color=colour,
                linewidth=1.4 if dash == "-" else 0.9,
                label=name if dash == "-" else None,
            )


def stable_torque_figure(trials: Mapping[str, Trials], objects: Mapping[int, str]) -> str:
    """Draw the joint torques of the stable stage (Figs. 11, 13): a panel an object, by finger within each configuration.

    Args:
        trials: by configuration.
        objects: titles of the objects to show, by ID.
    """
    with f.style():
        made = Figure(figsize=(_WIDTH, 1.95 * len(objects) + 0.5), layout="constrained")
        panels = made.subplots(len(objects), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (number, title) in zip(panels, objects.items(), strict=True):
            for k, one in enumerate(trials.values()):
                _stable_torques(axes, k, one.chosen(one.object == number))
            axes.set_title(title, pad=14)
            axes.set_ylabel("torque, N m")
        panels[-1].set_xticks(range(len(trials)), [name.replace(" + ", "\n+ ") for name in trials])
        panels[-1].set_xlim(-0.5, len(trials) - 0.5)
        handles = [Patch(facecolor=colour, label=name) for name, colour in zip(JOINTS[:5], COLOURS, strict=False)]
        made.legend(handles=handles, loc="outside lower center", ncols=5, handlelength=1.0)
        return f.svg_uri(made)


def _stable_torques(axes: Axes, at: int, own: Trials) -> None:
    """Draw the torques of the trials of one configuration on one object, or say why there are none."""
    held = int(np.nansum(own.success))
    above = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom", "fontsize": 7, "color": f.SOFT}
    axes.annotate(f"{held}/{len(own.success)} held", (at, 1.0), **above)
    stable = own.stable_torque[(own.success == 1) & np.isfinite(own.stable_torque).all(axis=1)]
    words = "failed" if held <= FAILED * len(own.success) else "" if len(stable) else "never still"
    if words:
        axes.text(at, 0.5, words, transform=axes.get_xaxis_transform(), ha="center", color=f.VERMILION)
    else:
        _finger_boxes(axes, at, stable)


def _finger_boxes(axes: Axes, at: float, torque: np.ndarray) -> None:
    """Draw a box and the trials (N, 6) of each finger beside each other around a place."""
    for finger in range(5):
        x = at + 0.16 * (finger - 2)
        if len(torque) >= BOX:
            axes.boxplot(
                torque[:, finger],
                positions=[x],
                widths=0.12,
                showfliers=False,
                manage_ticks=False,
                patch_artist=True,
                boxprops={"facecolor": COLOURS[finger], "edgecolor": COLOURS[finger], "alpha": 0.55, "linewidth": 0.8},
                medianprops={"color": f.INK, "linewidth": 1.2},
                whiskerprops={"color": COLOURS[finger], "linewidth": 0.8},
                capprops={"linewidth": 0},
            )
        axes.plot(np.full(len(torque), x), torque[:, finger], ".", color=COLOURS[finger], markersize=4, markeredgewidth=0)


def rates_figure(rows: Rows) -> str:
    """Draw held, and held and not crushed, by configuration, the paper's success as diamonds."""
    names = list(rows.trials)
    paper = [
        rate(rows.paper.get(name), tuple(int(i) for i in np.unique(trials.object))) for name, trials in rows.trials.items()
    ]
    with f.style():
        made, (axes,) = f.blank(max(4.0, 1.25 * len(names) + 1.0), 3.0)
        series = [
            f.Series(
                name="held", colour=f.SKY, values=tuple(t.mean("success") for t in rows.trials.values()), paper=tuple(paper)
            ),
            f.Series(name="held, not crushed", colour=f.BLUE, values=tuple(t.mean("good") for t in rows.trials.values())),
        ]
        f.bars(axes, [name.replace(" + ", "\n+ ").replace("loss factor ", "") for name in names], series)
        if names[0].startswith("loss factor"):
            axes.set_xlabel("loss factor")
        f.legend_above(axes)
        return f.svg_uri(made)


def feedback_effect_figure(felt: Trials, unfelt: Trials) -> str:
    """Draw what the glove's torque does to demonstrations: crushed, held, and peak forces, by class of hardness."""
    classes = [name for name in CLASSES if (felt.hardness == name).any() and (unfelt.hardness == name).any()]
    sides = (("torque felt", felt, f.BLUE), ("no torque", unfelt, f.ORANGE))
    with f.style():
        made, panels = f.blank(_WIDTH, 2.9, 3)
        for axes, title, measure in zip(panels, ("crushed", "held and not crushed"), ("crushed", "good"), strict=False):
            series = []
            for name, trials, colour in sides:
                chosen = [getattr(trials, measure)[trials.hardness == one] for one in classes]
                values = tuple(wilson(float(np.nansum(v)), int(np.isfinite(v).sum())) for v in chosen)
                series.append(f.Series(name=name, colour=colour, values=values))
            f.bars(axes, classes, series)
            axes.set_title(title)
        for side, (_, trials, colour) in enumerate(sides):
            for k, one in enumerate(classes):
                force = trials.peak_force[trials.hardness == one]
                x = k + 0.4 * (side - 0.5) + 0.22 * (np.linspace(0, 1, len(force)) - 0.5)
                panels[2].plot(x, force, "o" if side == 0 else "^", color=colour, markersize=3.5, markeredgewidth=0, alpha=0.8)
                panels[2].hlines(np.median(force), x.min(), x.max(), color=f.INK, linewidth=1.6)
        panels[2].set_xticks(range(len(classes)), classes)
        panels[2].set_title("peak force; bar: median")
        panels[2].set_ylabel("N")
        panels[2].set_ylim(bottom=0)
        handles, names = panels[0].get_legend_handles_labels()
        made.legend(handles, names, loc="outside lower center", ncols=2)
        return f.svg_uri(made)


def mapping_figure(fits: Sequence[MappingFit]) -> str:
    """Draw the joints' mapping (Fig. 3): samples, the paper's polynomial (Table 1) and our fit; below, both less the polynomial."""
    with f.style():
        made = Figure(figsize=(_WIDTH, 4.0), layout="constrained")
        panels = made.subplots(2, len(fits), sharex="col", sharey="row", height_ratios=(1.3, 1.0), squeeze=False)
        for (above, below), fit in zip(panels.T, fits, strict=True):
            above.plot(fit.glove, fit.hand, "^", color=f.SKY, markersize=2.5, markeredgewidth=0, label="samples with noise")
            above.plot(fit.grid, fit.printed, color=f.INK, linewidth=2.2, label="Table 1")
            above.plot(fit.grid, fit.fitted, "--", color=f.VERMILION, linewidth=1.4, label="our fit")
            above.set_title(fit.joint.replace("_", " "))
            off = 1e3 * (fit.hand - np.interp(fit.glove, fit.grid, fit.printed))
            below.plot(fit.glove, off, "^", color=f.SKY, markersize=2.5, markeredgewidth=0)
            below.plot(fit.grid, 1e3 * (fit.fitted - fit.printed), "--", color=f.VERMILION)
            for side in (-1e3, 1e3):
                below.axhline(side * fit.printed_deviation, color=f.INK, linestyle=":", linewidth=1.0)
            below.set_xlabel("glove, share")
        panels[0, 0].set_ylabel("hand, share")
        panels[1, 0].set_ylabel("less Table 1, 1e-3")
        handles, names = panels[0, 0].get_legend_handles_labels()
        made.legend(handles, names, loc="outside lower center", ncols=3)
        return f.svg_uri(made)


def feedback_law_figure(
    law: tuple[np.ndarray, np.ndarray], felt: tuple[np.ndarray, np.ndarray, np.ndarray], limits: Mapping[str, float]
) -> str:
    """Draw Eq. 1, and what came back in a demonstration.

    Args:
        law: (G,) torque of the hand and of the glove [N m].
        felt: (N,) torque of the hand, of the glove [N m], and state of each joint and moment of a demonstration.
        limits: torques to mark on the axes [N m], by name.
    """
    with f.style():
        made, (left, right) = f.blank(_WIDTH, 3.0, 2, share_y=True)
        jump = int(np.argmax(law[1] > 0))
        for part in (slice(0, jump), slice(jump, None)):
            left.plot(law[0][part], law[1][part], color=f.BLUE, linewidth=2.2)
        left.plot(law[0][jump - 1], 0, "o", color=f.BLUE, markerfacecolor="none")
        left.plot(law[0][jump], law[1][jump], "o", color=f.BLUE)
        left.set_title("Eq. 1: torque felt over torque of the hand")
        left.set_ylabel("glove torque, N m")
        for number, (name, colour) in enumerate(STATES.items()):
            own = felt[2] == number
            right.plot(felt[0][own], felt[1][own], ".", color=f.GREY if number == 0 else colour, markersize=3.5, label=name)
        right.set_title("A demonstration: every joint, every moment")
        right.legend(loc="center right")
        for axes in (left, right):
            axes.set_xlabel("hand torque, N m")
            for value in limits.values():
                axes.axvline(value, color=f.SOFT, linestyle=":", linewidth=1.0)
        for name, value in limits.items():
            left.annotate(
                name,
                (value, 0.6),
                (3, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                rotation=90,
                color=f.SOFT,
            )
        return f.svg_uri(made)
