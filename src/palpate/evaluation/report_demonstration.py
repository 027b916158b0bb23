"""A page on which demonstrations play: pictures beside joint angles and forces with a moving hand of time, a strip, and what was predicted.

Nothing is loaded from anywhere: a demonstration is one animated WebP picture, which every browser plays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image  # comes with matplotlib

from palpate.core.errors import DataError
from palpate.core.records import Episode, Event, Stream
from palpate.evaluation import figures as f
from palpate.evaluation import page
from palpate.evaluation.tables import Table

CAMERA = "camera.rgb"
PANELS = (
    ("hand.joint_position", "joint angles"),
    ("hand.joint_torque", "joint torques"),
    ("hand.fingertip_force", "fingertip forces"),
)
COMMAND = "hand.command"
"""Streams that are shown."""
PLAY_HZ = 15.0
"""Pictures a second of the film; half of the rig's, at half of the size."""
HEIGHT, CURVES = 380, 640
"""Height of the film and width of its curves [px]."""
STRIP = 8
"""Pictures of the strip."""
_COLOURS = (f.BLUE, f.SKY, f.GREEN, f.ORANGE, f.VERMILION, f.GREY)
_PREDICTORS = (f.GREY, f.SKY, f.ORANGE, f.VERMILION)
_DPI = 110


@dataclass(frozen=True, kw_only=True)
class ErrorTrace:
    """Errors of one-step predictions over time, N frames."""

    title: str
    """What was predicted, with its unit."""
    time: np.ndarray
    """(N,) [s]."""
    errors: Mapping[str, np.ndarray]
    """(N,) by predictor."""


@dataclass(frozen=True, kw_only=True)
class DemonstrationReport:
    """What is shown."""

    episodes: Sequence[Episode]
    """Each with a stream of `PANELS`; events named in `stages` are drawn."""
    stages: tuple[str, ...]
    tables: Sequence[Table] = ()
    """One-step predictions."""
    traces: Sequence[ErrorTrace] = ()
    notes: Sequence[str] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    """What to type to get this page, by what it does."""


def write_demonstrations(path: Path, report: DemonstrationReport, name: str) -> Path:
    """Write the page as one HTML file and return its path.

    Raises:
        DataError: nothing to show, or more demonstrations than fit on a page.
    """
    if not report.episodes:
        raise DataError("there is no demonstration to show")
    sections = [page.Section(title=_title(e), parts=_shown(e, report.stages)) for e in report.episodes]
    if report.tables or report.traces:
        parts = [page.table(table) for table in report.tables]
        parts += [page.figure(_trace_figure(report.traces), _TRACES, "Errors over time")] if report.traces else []
        sections.append(page.Section(title="One-step prediction", parts=tuple(parts)))
    last = [page.bullets(list(report.notes))] if report.notes else []
    last += [page.code(line, summary=what) for what, line in report.commands.items()]
    if last:
        sections.append(page.Section(title="Notes and commands", parts=tuple(last)))
    words = "Pictures, joint angles and forces as they were recorded; the stages of a grasp as found in the signals"
    return page.Page(title=f"Demonstrations: {name}", subtitle=words, sections=tuple(sections)).write(path)


_TRACES = (
    "Mean absolute error over the joints, in thousandths of the unit, of the step after each moment. While the hand rests, "
    "repeating the last value is nearly perfect; what a policy is worth shows where something changes."
)


def _title(episode: Episode) -> str:
    what = [episode.groups[kind] for kind in ("object", "recording", "task") if kind in episode.groups]
    return f"Demonstration {episode.index}" + (f": {', '.join(what)}" if what else "")


def _shown(episode: Episode, stages: tuple[str, ...]) -> tuple[page.Html, ...]:
    """Return film, strip and facts of a demonstration."""
    if not any(name in episode.streams for name, _ in PANELS):
        raise DataError(
            f"demonstration {episode.index} has none of joint angles, torques and forces; it has {sorted(episode.streams)}"
        )
    begins = [event for event in episode.events if event.name in stages]
    parts = [page.figure(film(episode, begins), _film_words(episode), f"Demonstration {episode.index}, playing")]
    camera = episode.streams.get(CAMERA)
    lines = _facts(episode, begins)
    if camera is None:
        return (*parts, page.gallery("No pictures were recorded", [], lines))
    at = np.unique(np.linspace(0, len(camera.times) - 1, STRIP).round().astype(int))
    strip = [
        page.picture(page.picture_uri(camera.values[i], width=240), _moment(float(camera.times[i]), begins), f"Picture {i}")
        for i in at
    ]
    return (*parts, page.gallery("Strip", strip, lines))


def _film_words(episode: Episode) -> str:
    told = " Dotted: what the hand was told." if COMMAND in episode.streams else ""
    return f"In real time, {PLAY_HZ:g} pictures a second, again and again. The line is now; shading shows the stages.{told}"


def _facts(episode: Episode, begins: Sequence[Event]) -> dict[str, str]:
    span = _span(episode)
    lines = {"length": f"{span[1] - span[0]:.1f} s"}
    lines["recorded"] = ", ".join(f"{name} ({len(stream.times)})" for name, stream in episode.streams.items())
    lines["stages"] = ", ".join(f"{e.name} from {e.time:.1f} s" for e in begins) or "none found"
    said = {name: "unknown" if value is None else "yes" if value else "no" for name, value in episode.labels.items()}
    return lines | said


def _moment(time: float, begins: Sequence[Event]) -> str:
    now = [event.name for event in begins if event.time <= time + 1e-6]
    return f"{time:.1f} s" + (f", {now[-1]}" if now else "")


def _span(episode: Episode) -> tuple[float, float]:
    """Return when the first stream begins and the last one ends [s]."""
    return min(float(s.times[0]) for s in episode.streams.values()), max(float(s.times[-1]) for s in episode.streams.values())


def film(episode: Episode, begins: Sequence[Event]) -> str:
    """Return the demonstration as an animated WebP data URI, camera at the left, curves with a moving line at the right."""
    curves, (low, high), rows = _curves(episode, begins)
    start, stop = _span(episode)
    camera = episode.streams.get(CAMERA)
    frames = []
    for time in np.arange(start, stop + 1e-9, 1.0 / PLAY_HZ):
        x = round(low + (high - low) * (time - start) / max(stop - start, 1e-9))
        right = curves.copy()
        right[rows, x - 1 : x + 1] = (31, 35, 40)
        frames.append(Image.fromarray(right if camera is None else np.hstack([_picture(camera, time), right])))
    buffer = BytesIO()
    options = {"duration": round(1000 / PLAY_HZ), "loop": 0, "quality": 65, "method": 2}
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], **options)
    return page.data_uri("webp", buffer.getvalue())


def _picture(camera: Stream, time: float) -> np.ndarray:
    """Return what the camera saw last, or grey before its first picture, as high as the film."""
    h, w = camera.spec.shape[:2]
    size = (round(w * HEIGHT / h), HEIGHT)
    if time < camera.times[0] - 1e-9:
        return np.full((HEIGHT, size[0], 3), 128, np.uint8)
    return cv2.resize(camera.at(time), size, interpolation=cv2.INTER_AREA if h > HEIGHT else cv2.INTER_CUBIC)


def _curves(episode: Episode, begins: Sequence[Event]) -> tuple[np.ndarray, tuple[float, float], slice]:
    """Draw angles and forces; return the picture (HEIGHT, W, 3) uint8, the columns where time begins and ends, and the rows of the axes."""
    shown = [(episode.streams[name], words) for name, words in PANELS if name in episode.streams]
    span = _span(episode)
    with f.style():
        made, _ = f.blank(CURVES / _DPI, HEIGHT / _DPI)
        made.clear()
        made.set_facecolor("white")
        panels = made.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (stream, words) in zip(panels, shown, strict=True):
            _draw(axes, stream, episode.streams.get(COMMAND) if stream.spec.name == PANELS[0][0] else None)
            axes.set_title(f"{words} ({stream.spec.unit})" if stream.spec.unit else words, fontsize=7.5)
            axes.tick_params(labelsize=6.5)
            axes.set_xlim(*span)
            _shade(axes, begins, span[1], named=axes is panels[0])
        panels[-1].set_xlabel("time (s)", fontsize=7.5)
        made.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=6.5)
        canvas = FigureCanvasAgg(made)
        made.set_dpi(_DPI)
        canvas.draw()
        upper, lower = panels[0].get_window_extent(), panels[-1].get_window_extent()
        rows = slice(HEIGHT - round(upper.y1), HEIGHT - round(lower.y0))
        return np.asarray(canvas.buffer_rgba())[:HEIGHT, :, :3].copy(), (upper.x0, upper.x1), rows


def _draw(axes: Axes, stream: Stream, told: Stream | None) -> None:
    names = stream.spec.names or tuple(map(str, range(stream.values.shape[1])))
    for i, name in enumerate(names):
        colour = _COLOURS[i % len(_COLOURS)]
        axes.plot(stream.times, stream.values[:, i], color=colour, linewidth=1.0, label=name.replace("_", " "))
        if told is not None:
            axes.plot(told.times, told.values[:, i], color=colour, linewidth=0.8, linestyle=":")


def _shade(axes: Axes, begins: Sequence[Event], stop: float, *, named: bool) -> None:
    """Shade every other stage and, where wanted, write their names over the curves."""
    if named:
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.25 * (high - low))
    moments = [*((e.time, e.name) for e in begins), (stop, "")]
    for k, ((start, name), (end, _)) in enumerate(pairwise(moments)):
        if end > start and k % 2:
            axes.axvspan(start, end, color=f.GREY, alpha=0.15, linewidth=0)
        if end > start and named:
            top = axes.get_xaxis_transform()
            axes.text((start + end) / 2, 0.97, name, transform=top, fontsize=6, ha="center", va="top", color=f.SOFT)


def _trace_figure(traces: Sequence[ErrorTrace]) -> str:
    with f.style():
        made, panels = f.blank(7.6, 2.6, len(traces))
        for axes, trace in zip(panels, traces, strict=True):
            for (name, values), colour in zip(trace.errors.items(), _PREDICTORS, strict=False):
                axes.plot(trace.time, 1000.0 * values, color=colour, linewidth=1.1, label=name)
            axes.set_title(trace.title, fontsize=8.5)
            axes.set_xlabel("time (s)")
        made.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(_PREDICTORS))
        return f.svg_uri(made)
