"""Fitting the optics of a real touch sensor on a folder of ball presses."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from palpate.core.errors import PalpateError
from palpate.core.randomness import generator
from palpate.evaluation.tables import Table
from palpate.recipes.touch_press import find_sensor
from palpate.sensors.touch.calibrate import fit_optics
from palpate.sensors.touch.presses import check_labels, read_ball_presses
from palpate.sensors.touch.quantities import quantity


def calibrate(images: Path, sensor: str, ball: str, out: Path, seed: int = 0) -> dict[str, Any]:
    """Fit, write the optics, and return what was found as JSON values.

    Args:
        images: folder with rest.png, pictures and presses.csv.
        sensor: name, or a file that describes it; its field of view gives the size of a pixel.
        ball: radius of the ball with its unit.
        out: the optics file, .npz.
        seed: of folds and pixels.

    Raises:
        PalpateError: pictures or table that cannot be read, too few presses, pictures of another part of the gel.
    """
    model = find_sensor(sensor)
    radius = quantity(ball, "length", "--ball")
    if out.suffix != ".npz":
        raise PalpateError(f"--out {out}: give a name that ends in .npz")
    if model.picture_shape is None:
        raise PalpateError(f"--sensor {sensor}: it gives no picture, so there are no optics to fit; it gives {model.read_outs}")
    presses = read_ball_presses(images)
    check_labels(presses)
    shape = presses.rest.shape[:2]
    pitch = (model.field_of_view[0] / shape[0], model.field_of_view[1] / shape[1])
    if abs(pitch[0] / pitch[1] - model.pixel[0] / model.pixel[1]) > 0.05 * model.pixel[0] / model.pixel[1]:
        raise PalpateError(
            f"the pictures are {shape[0]} x {shape[1]} pixels, {model.name} gives {model.picture_shape}: another part of the gel is seen; "
            "crop them as the sensor does, or describe it in a file of its own (palpate touch --describe) with field_of_view_mm "
            "and picture_shape"
        )
    fit = fit_optics(presses, ball_radius=radius, pitch=pitch, rng=generator(seed, 11))
    out.parent.mkdir(parents=True, exist_ok=True)
    fit.optics.save(out)
    report = fit.report
    return {
        "sensor": model.name,
        "presses": len(presses),
        "picture_shape": list(shape),
        "ball_radius_m": radius,
        "pixel_m": list(pitch),
        "effective_thickness_m": report.thickness if report.thickness < 1.0 else None,
        "ridge": report.ridge,
        "place": report.place,
        "label_spread_px": [float(v) for v in report.circles.spread_px],
        "held_out": {name: float(value) for name, value in asdict(report.held_out).items()},
        "in_sample": {name: float(value) for name, value in asdict(report.in_sample).items()},
    }


def report_text(report: Mapping[str, Any]) -> str:
    """Return what a calibration found as lines of text."""
    names = list(report["held_out"])
    thickness = report["effective_thickness_m"]
    table = Table(
        caption=f"{report['sensor']}: {report['presses']} ball presses, change against the rest image",
        columns=("score", "held out", "in sample"),
        rows=tuple((name, f"{report['held_out'][name]:.3f}", f"{report['in_sample'][name]:.3f}") for name in names),
        note="held out: every press drawn by optics fitted without it. in sample is no measure of quality.",
    )
    layer = "none (half-space)" if thickness is None else f"{thickness * 1e3:.1f} mm"
    spread = ", ".join(f"{value:.2f}" for value in report["label_spread_px"])
    return f"{table.text()}\neffective thickness of the gel {layer}; labels are off by {spread} px (x, y, radius)"
