"""The report of the many-fingered hand: both estimates, grasp quality against what held, the closed loop, and grasps to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.randomness import generator
from palpate.evaluation import figures as f
from palpate.evaluation import page
from palpate.evaluation.intervals import Interval, cluster_mean, paired_difference
from palpate.evaluation.tables import NOTHING, Table, percent, points

BINS = np.array([0.0, 0.05, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
"""Edges of quality in the figure of what held: q is nearly 0 or above e^-1."""


@dataclass(frozen=True, kw_only=True)
class GraspExample:
    """One grasp to look at."""

    title: str
    before: np.ndarray
    """(H, W, 3) uint8, before the hand comes."""
    contact: np.ndarray
    """(H, W, 3) uint8, with the hand closed."""
    touch: Mapping[str, np.ndarray]
    """(P, 3) force of each taxel [N] by finger; absent sensors have no entry."""
    lines: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class DexterousResults:
    """What a study or a demo found."""

    quality: np.ndarray
    """(N,) q of the collected grasps, NaN unknown."""
    stable: np.ndarray
    """(N,) whether they held, by the sensors."""
    fingers: np.ndarray
    """(N,) how many fingers touched."""
    object: np.ndarray
    """(N,) names."""
    table: Table | None = None
    """First against second estimate."""
    loops: Sequence[Mapping[str, Any]] = ()
    """Columns by trial of each closed-loop test; all from the same starting states."""
    examples: Sequence[GraspExample] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def loop_table(loops: Sequence[Mapping[str, Any]]) -> Table:
    """Return the closed loop by policy: held after the lift, with paired differences to the first policy."""
    rng = generator(0)
    rows = []
    for number, loop in enumerate(loops):
        held, objects = np.array(loop["stable"], float), np.array(loop["object"])
        base = np.array(loops[0]["stable"], float)
        gain = points(paired_difference(held, base, objects, rng)) if number and len(held) == len(base) else NOTHING
        truth = np.array(loop["truth"], float)
        rows.append(
            (
                str(loop["policy"]),
                percent(cluster_mean(held, objects, rng)),
                gain,
                f"{100 * np.nanmean(truth):.1f}",
                f"{np.nanmean(np.array(loop['looks'], float)):.1f}",
            )
        )
    return Table(
        caption="Closed loop on objects that no training saw",
        columns=("policy", "held, %", f"against {loops[0]['policy']}, points", "simulator's truth, %", "decisions"),
        rows=tuple(rows),
        note="Held is told by touch and joint angles after the lift. Intervals resample objects; every policy starts from the same states.",
    )


def quality_figure(results: DexterousResults) -> str:
    """Draw the share of grasps that held against their quality before the lift."""
    known = np.isfinite(results.quality) & np.isfinite(results.stable)
    q, held, names = results.quality[known], results.stable[known], results.object[known]
    rng, place = generator(0), np.digitize(q, BINS[1:-1])
    shares: list[Interval | None] = [
        cluster_mean(held[place == k], names[place == k], rng) if (place == k).sum() >= 5 else None
        for k in range(len(BINS) - 1)
    ]
    labels = [f"{low:g}-{high:g}\nn={int((place == k).sum())}" for k, (low, high) in enumerate(pairwise(BINS))]
    with f.style():
        made, (axes,) = f.blank(6.8, 3.0)
        f.bars(axes, labels, [f.Series(name="held after the lift", colour=f.BLUE, values=tuple(shares))])
        axes.set_xlabel("grasp quality q before the lift")
        return f.svg_uri(made)


def touch_figure(touch: Mapping[str, np.ndarray], places: Mapping[str, np.ndarray]) -> str:
    """Draw what the fingertips feel: force into the skin as colour and size, force along it as arrows.

    Args:
        touch: (P, 3) by finger [N], gel frame.
        places: (P, 2) of the taxels, x and y in the gel frame [m], by finger.
    """
    top = max([float(np.linalg.norm(taxels, axis=1).max()) for taxels in touch.values()] + [1e-3])
    with f.style():
        made, panels = f.blank(6.8, 2.0, max(len(touch), 1))
        for axes, (finger, taxels) in zip(panels, touch.items(), strict=False):
            x, y = 1e3 * places[finger].T
            force = np.linalg.norm(taxels, axis=1)
            axes.scatter(x, -y, s=4 + 120 * force / top, c=taxels[:, 2], cmap="viridis", vmin=0, vmax=top, linewidths=0)
            axes.quiver(
                x, -y, taxels[:, 0], -taxels[:, 1], color=f.VERMILION, angles="xy", scale_units="xy", scale=top / 5, width=0.012
            )
            axes.set_title(f"{finger}: {np.linalg.norm(taxels.sum(axis=0)):.1f} N")
            axes.set_aspect("equal")
            axes.axis("off")
        return f.svg_uri(made)


def headline(results: DexterousResults) -> list[str]:
    """Return what came out, in sentences."""
    rng = generator(0)
    held = cluster_mean(results.stable, results.object, rng)
    known = np.isfinite(results.quality)
    agree = np.mean(((results.quality > 0.5) & (results.fingers >= 2))[known] == (results.stable == 1)[known])
    lines = [
        f"{len(results.stable)} random reachable grasps of {len(np.unique(results.object))} objects: {percent(held)} % held after the "
        f"lift; q > 0.5 with two fingers before it says the same as the lift in {100 * agree:.0f} %.",
    ]
    for loop in results.loops:
        share = cluster_mean(np.array(loop["stable"], float), np.array(loop["object"]), rng)
        lines.append(f"{loop['policy']}: {percent(share)} % held.")
    return lines


def dexterous_page(
    results: DexterousResults, places: Mapping[str, np.ndarray], name: str, commands: Mapping[str, str]
) -> page.Page:
    """Return the report as a page; `places` as in `touch_figure`."""
    shown = []
    for example in results.examples:
        pictures = [
            page.picture(page.picture_uri(example.before), "before", "The object, before the hand comes"),
            page.picture(page.picture_uri(example.contact), "at contact", "The hand closed on the object"),
        ]
        shown.append(page.gallery(example.title, pictures, example.lines))
        if example.touch:
            words = "Force on each taxel: into the skin (colour, size) and along it (arrows)."
            shown.append(page.figure(touch_figure(example.touch, places), words, "Touch of the fingertips"))
    sections = (
        page.Section(title="What came out", parts=(page.bullets(headline(results)),)),
        page.Section(title="Grasps", parts=tuple(shown)),
        page.Section(
            title="Quality and what held",
            parts=(page.figure(quality_figure(results), "Random grasps; intervals over objects.", "Held by quality"),),
        ),
        page.Section(title="First and second estimate", parts=tuple(page.table(t) for t in (results.table,) if t)),
        page.Section(title="Closed loop", parts=(page.table(loop_table(results.loops)),) if results.loops else ()),
        page.Section(
            title="How to repeat it",
            parts=(
                page.facts({key: str(value) for key, value in results.config.items()}),
                *(page.code(line, summary=key) for key, line in commands.items()),
            ),
        ),
    )
    return page.Page(
        title=f"A many-fingered hand: {name}",
        subtitle="Rigid and soft contact, friction-optimal quality, estimates before and during touch",
        sections=sections,
    )


def summary_text(results: DexterousResults) -> str:
    """Return the headline and the tables for a terminal."""
    lines = "\n".join(f"* {line}" for line in headline(results))
    tables = [results.table] if results.table else []
    tables += [loop_table(results.loops)] if results.loops else []
    return "\n\n".join([lines, *(table.text() for table in tables)]) + "\n"


def write_report(
    path: Path, results: DexterousResults, places: Mapping[str, np.ndarray], name: str, commands: Mapping[str, str]
) -> Path:
    """Write the report as one self-contained HTML file and return its path."""
    return dexterous_page(results, places, name, commands).write(path)
