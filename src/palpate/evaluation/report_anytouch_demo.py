"""One page about a touch encoder: what was touched, what it guesses, whose touch and words it finds, what its features tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palpate.evaluation import page
from palpate.evaluation.intervals import Interval
from palpate.evaluation.tables import NOTHING, Table, percent, plain


@dataclass(frozen=True, kw_only=True)
class ShownTouch:
    """One touch by several sensors."""

    title: str
    felt: Mapping[str, np.ndarray]
    """Strongest frame (H, W, 3) uint8 by sensor."""
    seen: np.ndarray | None
    """(H, W, 3) uint8 of the camera."""
    said: str
    """What a person would say of it; empty if nothing is."""


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """How often a touch finds what belongs to it."""

    name: str
    first: Interval
    """Share of touches whose own comes first."""
    among_ten: Interval
    """Share whose own is among the first ten."""
    choices: int
    """Different answers to choose from."""


@dataclass(frozen=True, kw_only=True)
class AnyTouchResults:
    """What the page shows."""

    touches: Sequence[ShownTouch]
    masked: Mapping[str, float]
    """Errors of stage 1 on held-out objects: `reconstruction`, `prediction`, and those of guesses without a net. Empty: none held out."""
    sheet: np.ndarray
    """(H, W, 3) uint8, a row a clip: last frame, what is seen of it, guess, next frame guessed, next frame."""
    maps: Path
    """PNG file of the maps of touches."""
    neighbours: Table
    found: Sequence[Retrieval]
    probes: Sequence[Table]
    config: Mapping[str, object]


def masked_table(masked: Mapping[str, float]) -> Table:
    """Return stage 1's errors beside those of guesses that need no net."""
    rows = (
        ("stage 1", plain(masked["reconstruction"], 4), plain(masked["prediction"], 4)),
        ("mean frame of the sensor", plain(masked["mean_frame"], 4), plain(masked["mean_next_frame"], 4)),
        ("mean of the patches that are seen", plain(masked["visible_mean"], 4), NOTHING),
        ("nothing moves (sees the whole last frame)", NOTHING, plain(masked["last_frame"], 4)),
    )
    note = "Mean squares in normalised colours, over clips of objects that were never trained on. Smaller is better."
    return Table(caption="What is guessed of clips", columns=("guess", "hidden patches", "next frame"), rows=rows, note=note)


def retrieval_table(found: Sequence[Retrieval]) -> Table:
    """Return how often touches find their own picture and words, beside chance."""
    rows = tuple(
        (one.name, percent(one.first), percent(1 / one.choices), percent(one.among_ten), percent(min(1.0, 10 / one.choices)))
        for one in found
    )
    columns = ("a touch finds its own", "first, %", "chance", "among ten, %", "chance ")
    return Table(caption="From touch to vision and language", columns=columns, rows=rows, note="Objects never trained on.")


def summary_text(results: AnyTouchResults) -> str:
    """Return the figures as plain text."""
    tables = [masked_table(results.masked)] if results.masked else []
    tables.append(results.neighbours)
    tables += [retrieval_table(results.found)] if results.found else []
    return "\n\n".join(table.text() for table in (*tables, *results.probes))


def write_page(path: Path, results: AnyTouchResults, commands: Mapping[str, str]) -> Path:
    """Write the page and return its path."""
    sections = (
        _touched(results.touches),
        _guessed(results),
        _aligned(results),
        page.Section(title="What the features tell", parts=_probed(results.probes)),
        page.Section(
            title="How to repeat it",
            parts=(
                page.facts({name: str(value) for name, value in results.config.items()}),
                *(page.code(line, summary=name) for name, line in commands.items()),
            ),
        ),
    )
    return page.Page(
        title="AnyTouch: one representation of touch across sensors",
        subtitle="The same places touched by several sensors, a small encoder trained in two stages, and what it has learnt",
        sections=sections,
    ).write(path)


def _touched(touches: Sequence[ShownTouch]) -> page.Section:
    parts = [
        page.paragraph(
            "Every place is touched by all sensors in turn, by hand: each slides, turns and presses a little differently. Simulated. The "
            "camera saw the place before; the words are made from what the thing is, as a person's notes would be."
        )
    ]
    for touch in touches:
        shown = [] if touch.seen is None else [page.picture(page.picture_uri(touch.seen, width=160), "camera", touch.title)]
        shown += [
            page.picture(page.picture_uri(frame, width=160), sensor, f"{touch.title} felt by {sensor}")
            for sensor, frame in touch.felt.items()
        ]
        parts.append(page.gallery(touch.title, shown, {"said": touch.said} if touch.said else {}))
    return page.Section(title="The same touch by different sensors", parts=tuple(parts))


def _guessed(results: AnyTouchResults) -> page.Section:
    caption = (
        "From left to right: a clip's last frame, the quarter that the encoder sees, its guess of the rest, the next frame as guessed, "
        "and as it was."
    )
    parts = (
        page.paragraph(
            "Stage 1 hides three quarters of the patches and has them guessed, and the next frame. A guess is worth something where it "
            "beats the sensor's mean frame."
        ),
        page.table(masked_table(results.masked)) if results.masked else page.missing("errors on objects held out"),
        page.figure(page.picture_uri(results.sheet, width=960), caption, "Clips, what is seen of them, and guesses"),
    )
    return page.Section(title="Stage 1: guessing what is hidden", parts=parts)


def _aligned(results: AnyTouchResults) -> page.Section:
    uri = page.data_uri("png", results.maps.read_bytes())
    caption = "A colour is a touch, a mark a sensor; lines join the same touch. Good features put touches together, not sensors (Fig. 4)."
    parts = [
        page.paragraph(
            "Stage 2 brings touch, picture and words of one place together, and the same touch by different sensors. Objects shown "
            "here were never trained on."
        ),
        page.figure(uri, caption, "Maps of touches before and after stage 2"),
        page.table(results.neighbours),
    ]
    if results.found:
        parts.append(page.table(retrieval_table(results.found)))
    return page.Section(title="Stage 2: touches, pictures and words", parts=tuple(parts))


def _probed(probes: Sequence[Table]) -> tuple[page.Html, ...]:
    words = page.paragraph(
        "A linear head on frozen features, objects held out. Rows below the first are what it must beat, and controls that must not "
        "tell anything: frames of the same recordings without contact."
    )
    return words, *(page.table(table) for table in probes)
