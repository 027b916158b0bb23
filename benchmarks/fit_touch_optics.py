"""Fit the optics that come with palpate, from all real presses in the `taxim` package (MIT); writes src/palpate/sensors/touch/fitted/.

Usage: python benchmarks/fit_touch_optics.py
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from palpate.sensors.touch.calibrate import fit_optics
from palpate.sensors.touch.presses import TAXIM_PITCH, TaximSensor, taxim_presses
from palpate.sensors.touch.workbench import OFF, FitPlan

OUT = Path(__file__).resolve().parents[1] / "src" / "palpate" / "sensors" / "touch" / "fitted"
SENSORS: dict[str, tuple[TaximSensor, float, FitPlan]] = {
    "gelsight-2017": ("gelsight", 2.38e-3, FitPlan(thickness=(6e-3,), ridge=(1e-5,), place=(1.0,))),
    "gelsight-mini": ("gelsight_mini", 3.0e-3, FitPlan(thickness=(4.5e-3,), place=(OFF,), ridge=(1e-2,), degree=2)),
}
"""Name, data set, ball radius [m] (in neither data set; the fits hardly feel it), and what the fit may choose from.

Thickness is the catalogue's: for the GelSight what its presses prefer, for the Mini what its pad has (they would prefer 2 mm). The Mini's
presses all lie in the middle of the picture, so its light is taken to be the same everywhere and its polynomial is kept low: with the usual
plan balls are drawn better (benchmarks/touch_truth.py), but everything else than a ball in the middle turns into garish colours.

On the GelSight the folds by sectors would choose stronger penalties (correlation of held-out sectors .967, with these .953). Balls have no
small slopes beside large ones, and with those penalties a coin or a letter is drawn far fainter than GelSights show them; pictures decided.
"""


def main() -> None:
    for name, (source, ball, plan) in SENSORS.items():
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
