"""Fit the optics that come with palpate, from all real presses in the `taxim` package (MIT); writes src/palpate/sensors/touch/fitted/.

Usage: python benchmarks/fit_touch_optics.py
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from palpate.sensors.touch.calibrate import fit_optics
from palpate.sensors.touch.presses import TAXIM_PITCH, TaximSensor, taxim_presses
from palpate.sensors.touch.workbench import FitPlan

OUT = Path(__file__).resolve().parents[1] / "src" / "palpate" / "sensors" / "touch" / "fitted"
SENSORS: dict[str, tuple[TaximSensor, float, float]] = {
    "gelsight-2017": ("gelsight", 2.38e-3, 6e-3),
    "gelsight-mini": ("gelsight_mini", 3.0e-3, 4.5e-3),
}
"""Name, data set, ball radius [m] (in neither data set; the fits hardly feel it), thickness of the gel in the catalogue [m]: for the
GelSight what the presses themselves prefer, for the Mini what its pad has (they would prefer 2 mm)."""


def main() -> None:
    for name, (source, ball, thickness) in SENSORS.items():
        plan = FitPlan(thickness=(thickness,))
        fit = fit_optics(
            taxim_presses(source), ball_radius=ball, pitch=(TAXIM_PITCH, TAXIM_PITCH), rng=np.random.default_rng(0), plan=plan
        )
        OUT.mkdir(exist_ok=True)
        fit.optics.save(OUT / f"{name}.npz")
        about = {
            "presses": len(fit.report.circles.fitted),
            "thickness_m": fit.report.thickness,
            "held_out": asdict(fit.report.held_out),
            "in_sample": asdict(fit.report.in_sample),
        }
        print(name, json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
