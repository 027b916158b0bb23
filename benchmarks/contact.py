"""How long a press on a flat pad takes, and how far it is from theory.

    python benchmarks/contact.py [--repeats 15] [--out benchmarks/results/contact.json]

Times are CPU milliseconds a press on one thread, medians. The finite-element comparison is a test: tests/test_sensors_touch_flat.py.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from palpate.core.units import MM
from palpate.sensors.touch.contact import Pad, cell_centres
from palpate.sensors.touch.flat import press

YOUNG, POISSON, RADIUS = 0.2e6, 0.48, 6 * MM
SIZE = (16 * MM, 19 * MM)
SLIDE = (0.1 * MM, 0.03 * MM)


def pad(thickness: float) -> Pad:
    return Pad(width=SIZE[1], height=SIZE[0], thickness=thickness, young=YOUNG, poisson=POISSON, friction=0.6)


def surfaces(shape: tuple[int, int]) -> tuple[tuple[float, float], dict[str, np.ndarray]]:
    """A ball that covers a part of the pad, and a rough surface that touches all over it."""
    pitch = (SIZE[0] / shape[0], SIZE[1] / shape[1])
    y, x = cell_centres(shape, pitch)
    rough = gaussian_filter(np.random.default_rng(0).normal(size=shape), shape[0] / 30)
    gaps = {"ball": (x**2 + y**2) / (2 * RADIUS), "rough": (rough - rough.min()) * 0.5 * MM / np.ptp(rough)}
    return pitch, {name: gap.astype(np.float32) for name, gap in gaps.items()}


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


def speeds(repeats: int) -> list[dict]:
    rows = []
    for shape in ((30, 40), (60, 80), (120, 160)):
        pitch, gaps = surfaces(shape)
        for thickness in (2 * MM, np.inf):
            gel = pad(thickness)
            for name, gap in gaps.items():
                base = press(gel, gap, pitch, depth=0.5 * MM)
                force, batch = float(base.force[2]), np.stack([gap] * 8)
                moved = press(gel, gap, pitch, force=force, shift=SLIDE)
                calls = {
                    "depth": lambda a=(gel, gap, pitch): press(*a, depth=0.5 * MM),
                    "warm": lambda a=(gel, gap, pitch), b=base: press(*a, depth=0.52 * MM, before=b),
                    "force": lambda a=(gel, gap, pitch), f=force: press(*a, force=f),
                    "shift": lambda a=(gel, gap, pitch), f=force: press(*a, force=f, shift=SLIDE),
                    "next": lambda a=(gel, gap, pitch), f=force, b=moved: press(*a, force=f, shift=(0.02 * MM, 0.0), before=b),
                    "coupled": lambda a=(gel, gap, pitch), f=force: press(*a, force=f, shift=SLIDE, coupled=True),
                }
                row = {
                    "grid": f"{shape[1]} x {shape[0]}",
                    "gel": "2 mm" if np.isfinite(thickness) else "half-space",
                    "surface": name,
                }
                row |= {key: milliseconds(call, repeats) for key, call in calls.items()}
                row["batch"] = milliseconds(lambda a=(gel, batch, pitch): press(*a, depth=0.5 * MM), max(repeats // 4, 3)) / 8
                rows.append(row)
    return rows


def theory() -> dict[str, float]:
    """Relative errors of forces against closed forms."""
    pitch, stiffness, gel = (
        0.1 * MM,
        YOUNG / (1 - POISSON**2),
        Pad(width=0.1, height=0.1, thickness=np.inf, young=YOUNG, poisson=POISSON, friction=0.6),
    )
    y, x = cell_centres((81, 81), (pitch, pitch))
    ball = (x**2 + y**2) / (2 * RADIUS)
    pressed = press(gel, ball, (pitch, pitch), depth=0.4 * MM)
    normal, radius = float(pressed.force[2]), np.sqrt(RADIUS * 0.4 * MM)
    full = 3 * 0.6 * normal * (2 - POISSON) / (16 * YOUNG / 2 / (1 + POISSON) * radius)
    slid = press(gel, ball, (pitch, pitch), depth=0.4 * MM, shift=(0.5 * full, 0.0))
    punch = np.hypot(x, y) < 3 * MM
    punched = press(gel, np.where(punch, 0.0, 5 * MM), (pitch, pitch), depth=0.1 * MM)
    thin = Pad(width=0.1, height=0.1, thickness=0.3 * MM, young=YOUNG, poisson=0.2)
    flat = press(thin, (x**2 + y**2) / (2 * 40 * MM), (pitch, pitch), depth=0.1 * MM)
    confined = YOUNG * 0.8 / (1.2 * 0.6)
    return {
        "sphere on a half-space (Hertz)": normal / (4 / 3 * stiffness * np.sqrt(RADIUS) * (0.4 * MM) ** 1.5) - 1,
        "its contact radius": float(pressed.contact_radius) / radius - 1,
        "flat punch on a half-space": float(punched.force[2])
        / (2 * stiffness * np.sqrt(punch.sum() / np.pi) * pitch * 0.1 * MM)
        - 1,
        "sphere on a thin compressible layer": float(flat.force[2])
        / (np.pi * 40 * MM * (0.1 * MM) ** 2 * confined / (0.3 * MM))
        - 1,
        "half slipped sphere (Cattaneo, Mindlin)": float(slid.force[0]) / (0.6 * normal * (1 - 0.5**1.5)) - 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "contact.json")
    options = parser.parse_args()
    errors, rows = theory(), speeds(options.repeats)
    for name, error in errors.items():
        print(f"{name:42s} {100 * error:+.2f} %")
    keys = ("depth", "warm", "force", "shift", "next", "coupled", "batch")
    print(f"{'ms a press':32s}" + "".join(f"{key:>9s}" for key in keys))
    for row in rows:
        print(f"{row['grid']:10s}{row['gel']:12s}{row['surface']:10s}" + "".join(f"{row[key]:9.2f}" for key in keys))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps(
            {"errors": errors, "milliseconds": rows, "machine": platform.machine(), "python": platform.python_version()},
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
