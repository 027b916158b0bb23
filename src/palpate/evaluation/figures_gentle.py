"""Figures 5 to 9 of the gentle-grasping paper, and those that an honest report needs beside them. Each returns a data URI."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from palpate.evaluation import figures as f
from palpate.evaluation.inputs import OUTCOMES, ForceTable, GainCurve, TrialPicture
from palpate.evaluation.intervals import Interval, wilson
from palpate.evaluation.metrics import CLASSES, Reliability, class_index
from palpate.evaluation.tables import model_title

_OUTCOME_COLOURS = {"stable": f.BLUE, "gentle": f.GREEN, "both": f.VERMILION}
_OUTCOME_NAMES = {"stable": "stable", "gentle": "gentle", "both": "both right"}
_CLASS_STYLE = (("stable, gentle", f.GREEN, "o"), ("stable, not gentle", f.VERMILION, "^"))
_CLASS_STYLE += (("not stable, gentle", f.SKY, "s"), ("neither", f.GREY, "X"))
_POLICY_COLOURS = (f.GREY, f.SKY, f.VERMILION, f.GREEN, f.ORANGE, f.BLUE)
_RATE_NAMES = {"stable": "stable", "gentle": "gentle", "both": "stable and\ngentle", "damage": "harsh while\nlooking"}


def accuracy_figure(
    accuracies: Mapping[str, Mapping[str, Interval]], paper_both: Mapping[str, float], names: Mapping[str, str] | None = None
) -> str:
    """Draw Fig. 5 or 6: accuracy by model (or backbone) and outcome, with intervals and the paper's `both` where stated."""
    with f.style():
        made, (axes,) = f.blank(max(5.2, 1.32 * len(accuracies) + 0.8), 3.3)
        series = [
            f.Series(
                name=_OUTCOME_NAMES[outcome],
                colour=_OUTCOME_COLOURS[outcome],
                values=tuple(one[outcome] for one in accuracies.values()),
                paper=tuple(paper_both.get(m) for m in accuracies) if outcome == "both" else (),
            )
            for outcome in OUTCOMES
        ]
        titles = [(names or {}).get(m, model_title(m).replace(" + ", " +\n").replace(" (no", "\n(no")) for m in accuracies]
        f.bars(axes, titles, series, unit="accuracy [%]")
        f.legend_above(axes)
        return f.svg_uri(made)


def force_figure(table: ForceTable) -> str:
    """Draw Fig. 7: fingertip displacement and touch difference against position error, coloured by class."""
    with f.style():
        sensed = bool(np.any(~np.isnan(table.touch_difference)))
        made, axes = f.blank(8.6 if sensed else 4.6, 3.7, 2 if sensed else 1)
        error_mm = 1e3 * table.position_error
        _scatter_classes(axes[0], 1e3 * table.displacement, error_mm, table.labels)
        axes[0].set_xlabel("fingertip displacement, both fingers [mm]")
        axes[0].set_ylabel("fingertip position error, both fingers [mm]")
        if sensed:
            _scatter_classes(axes[1], table.touch_difference / 1e3, error_mm, table.labels)
            axes[1].set_xlabel("touch difference, both fingers [1,000 pixel units]")
            axes[1].set_ylabel("fingertip position error, both fingers [mm]")
        handles, names = axes[0].get_legend_handles_labels()
        made.legend(handles, names, loc="outside upper left", ncols=4, markerscale=2.2, handletextpad=0.2)
        return f.svg_uri(made)


def _scatter_classes(axes: Axes, x: np.ndarray, y: np.ndarray, labels: np.ndarray) -> None:
    """Scatter one point a trial, colour and marker by class; half transparent, so that no class hides another."""
    index = class_index(labels)
    for c in range(len(CLASSES)):
        name, colour, marker = _CLASS_STYLE[c]
        here = index == c
        axes.scatter(
            x[here],
            y[here],
            s=9,
            c=colour,
            marker=marker,
            alpha=0.75,
            linewidths=0,
            label=f"{name} ({here.sum()})",
            rasterized=True,
        )
    axes.grid(visible=True, axis="both")


def tradeoff_figure(table: ForceTable) -> str:
    """Draw Fig. 8: position error against predicted probabilities, with the mean prediction in ten equal shares of trials."""
    with f.style():
        made, axes = f.blank(8.6, 3.5, 2, share_y=True)
        x = 1e3 * table.position_error
        for k, (ax, colour, title) in enumerate(
            zip(axes, (f.SKY, f.GREEN), ("predicted probability of stable", "predicted probability of gentle"), strict=True)
        ):
            known = ~(np.isnan(table.probs[:, k]) | np.isnan(x))
            ax.scatter(x[known], table.probs[known, k], s=8, c=colour, alpha=0.55, linewidths=0, rasterized=True)
            order = np.argsort(x[known], kind="stable")
            shares = [s for s in np.array_split(order, 10) if len(s)]
            middle = [float(np.median(x[known][s])) for s in shares]
            mean = [float(np.mean(table.probs[known, k][s])) for s in shares]
            ax.plot(middle, mean, color=f.INK, marker="o", markersize=4, label="mean prediction of each tenth of the trials")
            ax.set_title(title)
            ax.set_xlabel("fingertip position error, both fingers [mm]")
            ax.set_ylim(-0.03, 1.03)
        axes[0].set_ylabel("probability")
        made.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left")
        return f.svg_uri(made)


def loop_figure(rates: Mapping[str, Mapping[str, Mapping[str, Interval]]]) -> str:
    """Draw Fig. 9: rates by pose, policy and kind (as `loop.by_pose` gives), with the damage done while looking."""
    with f.style():
        made, axes = f.blank(3.35 * len(rates) + 0.4, 3.5, len(rates), share_y=True)
        for axis, (pose, policies) in zip(axes, rates.items(), strict=True):
            series = [
                f.Series(name=model_title(name), colour=colour, values=tuple(policies[name][k] for k in _RATE_NAMES))
                for name, colour in zip(policies, _policy_colours(len(policies)), strict=True)
            ]
            f.bars(axis, list(_RATE_NAMES.values()), series, unit="")
            axis.tick_params(axis="x", labelsize=8)
            n = max((v["both"].n for v in policies.values()), default=0)
            axis.set_title(f"{'all poses' if pose == 'all' else pose}, {n} trials a policy")
        axes[0].set_ylabel("share of trials [%]")
        handles, names = axes[0].get_legend_handles_labels()
        made.legend(handles, names, loc="outside upper left", ncols=6, handlelength=1.0, handleheight=0.9)
        return f.svg_uri(made)


def _policy_colours(n: int) -> tuple[str, ...]:
    """Return a colour for each policy, repeating after six."""
    return tuple(_POLICY_COLOURS[i % len(_POLICY_COLOURS)] for i in range(n))


def reliability_figure(diagrams: Mapping[str, Sequence[tuple[str, Reliability]]], seeds: int) -> str:
    """Draw reliability diagrams, one panel an outcome, one line a model.

    Counts pooled over seeds are divided by `seeds` for the intervals: the same trial seen by two seeds is one trial.
    """
    with f.style():
        made, axes = f.blank(3.6 * len(diagrams), 3.7, len(diagrams), share_y=True)
        for axis, (outcome, lines) in zip(axes, diagrams.items(), strict=True):
            axis.plot([0, 1], [0, 1], color=f.SOFT, linewidth=0.9, linestyle=(0, (4, 3)), label="perfect")
            for (name, one), colour, marker in zip(lines, (f.SKY, f.VERMILION, f.GREEN, f.ORANGE), "s^oD", strict=False):
                made_of = [wilson(float(o) * n, n) for o, n in zip(one.observed, _effective(one.count, seeds), strict=True)]
                low = one.observed - np.array([i.low for i in made_of])
                high = np.array([i.high for i in made_of]) - one.observed
                axis.errorbar(
                    one.predicted,
                    one.observed,
                    yerr=np.maximum([low, high], 0.0),
                    color=colour,
                    marker=marker,
                    markersize=4.5,
                    elinewidth=0.9,
                    capsize=1.5,
                    label=model_title(name),
                )
            axis.set_title(outcome)
            axis.set_xlabel("predicted probability")
            axis.set_xlim(-0.02, 1.02)
            axis.set_ylim(-0.02, 1.02)
            axis.set_aspect("equal")
            axis.grid(visible=True, axis="both")
        axes[0].set_ylabel("observed frequency")
        handles, names = axes[0].get_legend_handles_labels()
        made.legend(handles, names, loc="outside upper left", ncols=4)
        return f.svg_uri(made)


def _effective(count: np.ndarray, seeds: int) -> list[int]:
    return [max(1, round(int(n) / seeds)) for n in count]


def gain_figure(curve: GainCurve, paper_gain: float | None) -> str:
    """Draw what touch adds to `both` against how exactly the camera measures the toy's size."""
    with f.style():
        made, (axes,) = f.blank(6.2, 3.3)
        order = np.argsort(curve.size_error_mm)
        x, gain = curve.size_error_mm[order], 100 * curve.gain[order]
        arms = np.nan_to_num(np.maximum([gain - 100 * curve.low[order], 100 * curve.high[order] - gain], 0.0))
        axes.errorbar(x, gain, yerr=arms, color=f.VERMILION, marker="o", markersize=5, elinewidth=1.0, capsize=2.5)
        axes.axhline(0.0, color=f.SOFT, linewidth=0.9)
        if paper_gain is not None:
            axes.axhline(100 * paper_gain, color=f.SOFT, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.annotate(
                f"paper {100 * paper_gain:+.2f}", (0.0, 100 * paper_gain), (4, 3), ha="left", **_IN_AXES_X, color=f.SOFT
            )
        if curve.camera_error_mm is not None:
            axes.axvline(curve.camera_error_mm, color=f.BLUE, linewidth=1.2)
            axes.annotate(
                f"this run's camera: {curve.camera_error_mm:.1f} mm",
                (curve.camera_error_mm, 0.99),
                (4, 0),
                va="top",
                **_IN_AXES_Y,
            )
        axes.set_xlabel("error of the toy's size as the camera sees it [mm]")
        axes.set_ylabel("gain of touch on both [points]")
        axes.margins(y=0.15)
        return f.svg_uri(made)


_IN_AXES_X = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": 8.5}
_IN_AXES_Y = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "fontsize": 8.5}


def spectrogram_figure(picture: TrialPicture) -> str | None:
    """Draw the sound of a trial, loudness by time and frequency; None if it has none."""
    if picture.spectrogram is None or picture.time is None or picture.frequency_hz is None:
        return None
    with f.style():
        made, (axes,) = f.blank(3.4, 2.1)
        top = float(np.nanmax(picture.spectrogram))
        # A mesh, not an image: the rows may be mel bands, which are not equally far apart.
        shown = axes.pcolormesh(
            picture.time,
            picture.frequency_hz / 1e3,
            picture.spectrogram,
            shading="nearest",
            cmap="magma",
            vmin=top - 80.0,
            vmax=top,
            rasterized=True,
        )
        axes.grid(visible=False)
        axes.set_xlabel("time [s]")
        axes.set_ylabel("frequency [kHz]")
        bar = made.colorbar(shown, ax=axes, pad=0.02)
        bar.set_label("[dB]")
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue] - the stubs take the outline for a float
        return f.svg_uri(made)
