"""The same things pressed by several sensors, as one table of pictures and a page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from palpate.core.errors import PalpateError
from palpate.evaluation.figures_touch import PictureTable, draw_difference, draw_reading, write_picture
from palpate.evaluation.page import Page, Section, bullets, caution, figure, paragraph, picture_uri
from palpate.recipes.touch_press import COARSE, Pressed, PressRig, Step, find_sensor, press_once
from palpate.sensors.touch.materials import get_material
from palpate.sensors.touch.shapes import Thing, parse_shape

SENSORS = ("digit", "gelsight-2017", "gelsight-mini", "gelslim", "9dtact", "tac3d", "biotac-sp")
"""Sensors of the gallery."""

THINGS = (
    ("sphere:4mm", "steel"),
    ("cylinder:3mm", "steel"),
    ("edge:90deg", "plastic"),
    ("ring:3.5mm,wire=0.7mm", "steel"),
    ("coin:6mm,relief=0.3mm", "steel"),
    ("key:22mm", "steel"),
    ("letter:R,size=8mm,relief=0.6mm", "plastic"),
    ("nut:8mm", "steel"),
    ("thread:3mm,pitch=1.2mm", "steel"),
    ("knurl:2mm,height=0.6mm", "rubber"),
    ("weave:1.2mm,height=0.2mm", "cloth"),
    ("sphere:8mm", "tomato"),
)
"""Things of the gallery with their materials."""

FORCE = 3.0
"""Every thing is pressed with the same force [N]."""


@dataclass(frozen=True, kw_only=True)
class GalleryConfig:
    """Where the gallery goes and what it shows."""

    out: Path
    sensors: Sequence[str] = SENSORS
    things: Sequence[tuple[str, str]] = THINGS
    force: float = FORCE
    cell: float = COARSE / 1.5


def write_gallery(config: GalleryConfig, say: Callable[[str], None]) -> tuple[Path, Path]:
    """Press everything and write `gallery.png` and `index.html`; return their paths.

    Raises:
        PalpateError: unknown names, or a press that a sensor cannot take.
    """
    if not config.sensors or not config.things:
        raise PalpateError("a gallery needs at least one sensor and one thing")
    rigs = [PressRig(find_sensor(name), cell=config.cell) for name in config.sensors]
    things = [Thing(parse_shape(shape), get_material(material)) for shape, material in config.things]
    rows: list[list[Pressed]] = []
    for thing, (name, material) in zip(things, config.things, strict=True):
        rows.append([press_once(rig, thing, Step(force=config.force)) for rig in rigs])
        say(f"{name} of {material}: " + ", ".join(_note(pressed) for pressed in rows[-1]))
    table = PictureTable(
        rows=[_title(shape, material) for shape, material in config.things],
        columns=[rig.model.name for rig in rigs],
        cells=[[_pictures(pressed) for pressed in row] for row in rows],
        notes=[[_note(pressed) for pressed in row] for row in rows],
    )
    config.out.mkdir(parents=True, exist_ok=True)
    whole = table.draw()
    picture = config.out / "gallery.png"
    write_picture(str(picture), whole)
    return picture, _page(config, rigs, whole).write(config.out / "index.html")


def _title(shape: str, material: str) -> str:
    return f"{shape.partition(':')[0]}, {material}"


def _pictures(pressed: Pressed) -> list[np.ndarray]:
    model = pressed.rig.model
    shown = draw_reading(model, pressed.reading, pressed.rig.layout)
    change = draw_difference(model, pressed.reading, pressed.rest)
    return [shown] if change is None else [shown, change]


def _note(pressed: Pressed) -> str:
    contact = pressed.contact
    return f"{float(contact.approach) * 1e3:.2f} mm deep, {float(contact.contact_area) * 1e6:.0f} mm2"


def _page(config: GalleryConfig, rigs: Sequence[PressRig], whole: np.ndarray) -> Page:
    pressed = f"Every thing is pressed straight in with {config.force:g} N, in the middle of the pad, at the same angle."
    key = (
        "Of sensors with a camera: the picture free of noise, and its change against the rest image, twice as strong about grey. Of Tac3D: "
        "normal force in colour, displacement along the surface as arrows. Of BioTac: each taxel's push in colour and size."
    )
    guesses = [f"{rig.model.name}: {rig.guess}" for rig in rigs if rig.guess]
    guesses += [f"{rig.model.name}: {rig.layout.estimate}" for rig in rigs if rig.layout is not None and rig.layout.estimate]
    things = [f"{_title(shape, material)}: {shape}" for shape, material in config.things]
    uri = picture_uri(whole, width=whole.shape[1], quality=88)
    sections = [
        Section(
            title="Things and sensors",
            parts=(
                paragraph(f"{pressed} {key}"),
                figure(uri, "Rows are things, columns are sensors.", "table of touch pictures"),
            ),
        ),
        Section(title="What was pressed", parts=(bullets(things),)),
    ]
    if guesses:
        words = caution("These pictures are simulated with constants that nobody measured on the real sensor:")
        sections.append(Section(title="What is a guess", parts=(words, bullets(guesses))))
    return Page(title="What touch sensors show", subtitle="The same things, pressed alike", sections=tuple(sections))
