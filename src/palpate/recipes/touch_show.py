"""One press as typed on a command line: read the words, press, draw, and put what came of it into figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palpate.core.errors import PalpateError
from palpate.core.randomness import generator
from palpate.evaluation.figures_touch import draw_reading, write_picture
from palpate.recipes.touch_press import PressRig, Step, find_sensor, press_once, summary
from palpate.sensors.touch.materials import get_material
from palpate.sensors.touch.quantities import quantity
from palpate.sensors.touch.shapes import Pose, Thing, parse_shape

DEPTH = "0.5mm"
"""Taken where neither depth nor force is given."""


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """A press in words with units; see `palpate.cli.commands.Touch`."""

    out: Path
    sensor: str = "digit"
    press: str = "sphere:4mm"
    depth: str | None = None
    force: str | None = None
    shift: str = "0,0"
    twist: str = "0"
    at: str = "0,0"
    yaw: str = "0"
    material: str = "steel"
    unit: int = 0
    noise: bool = False
    optics: Path | None = None


def _pair(text: str, what: str) -> tuple[float, float]:
    parts = text.split(",")
    if len(parts) != 2:
        raise PalpateError(f"{what} {text!r}: give two lengths with a comma between, right and down, for example 0.3mm,0")
    return quantity(parts[0], "length", what), quantity(parts[1], "length", what)


def _step(config: ShowConfig) -> Step:
    """Read how hard and along which way to press.

    Raises:
        PalpateError: both depth and force, neither positive, or words that are no quantity.
    """
    if config.depth is not None and config.force is not None:
        raise PalpateError(f"--depth {config.depth} and --force {config.force}: give only one of them; the other one follows")
    shift, twist = _pair(config.shift, "--shift"), quantity(config.twist, "angle", "--twist")
    name = "--depth" if config.force is None else "--force"
    text = config.force or config.depth or DEPTH
    value = quantity(text, "length" if config.force is None else "force", name)
    if value <= 0:
        raise PalpateError(f"{name} {text}: give more than 0; without a press there is nothing to draw")
    return Step(depth=value, shift=shift, twist=twist) if config.force is None else Step(force=value, shift=shift, twist=twist)


def show_press(config: ShowConfig) -> dict[str, Any]:
    """Press, write the picture, and return the figures as JSON values.

    Raises:
        PalpateError: unknown names, words that are no quantity, a press that the sensor cannot take, a picture that cannot be written.
    """
    step = _step(config)
    x, y = _pair(config.at, "--at")
    pose = Pose(x, y, quantity(config.yaw, "angle", "--yaw"))
    thing = Thing(parse_shape(config.press), get_material(config.material), pose, seed=config.unit)
    if config.out.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        raise PalpateError(f"--out {config.out}: give the name of a picture that ends in .png or .jpg")
    rig = PressRig(find_sensor(config.sensor), unit_seed=config.unit, optics=config.optics)
    pressed = press_once(rig, thing, step, rng=generator(config.unit, 5) if config.noise else None)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_picture(str(config.out), draw_reading(rig.model, pressed.reading, rig.layout))
    return {"picture": str(config.out), **summary(pressed)}


def figures_text(figures: Mapping[str, Any]) -> str:
    """Return the figures of one press as lines of text."""
    shear, torque = figures["shear_force_n"], figures["torque_nm"]
    lines = [
        f"{figures['shape']['name']} of {figures['material']} on {figures['sensor']}, {figures['depth_m'] * 1e3:.3f} mm deep",
        f"  force      {figures['normal_force_n']:.4g} N into the gel, {shear[0]:.3g} N right, {shear[1]:.3g} N down",
        f"  torque     {torque[2] * 1e3:.3g} N mm about the pad's normal",
        f"  contact    {figures['contact_area_m2'] * 1e6:.3g} mm2, as a disc of {figures['contact_radius_m'] * 1e3:.3g} mm radius",
        f"  pressure   {figures['max_pressure_pa'] / 1e3:.4g} kPa at most",
        f"  estimates  {len(figures['estimates'])} figures behind this are no measurements; --json lists them",
    ]
    return "\n".join(lines)
