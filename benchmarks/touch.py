"""How fast touch is drawn: the same ball presses, 320 x 240 pictures, milliseconds a frame.

    python benchmarks/touch.py [--repeats 15] [--also-from DIR] [--out benchmarks/results/touch.json]

Everything runs on one core; numbers are medians of CPU time and calls of the subjects take turns. Contact is solved on 60 x 80 cells in
float32. Beside it taxim 1.4.1 (torch or jax) and TACTO where they can be imported, loaded only when palpate has been timed, for their
threads would count. --also-from names a folder with packages that are looked for last, for example of `pip install --target DIR jax`.
Read as ratios within one run.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"

import argparse
import importlib.util
import json
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from palpate.core.randomness import generator
from palpate.core.units import MM
from palpate.recipes.touch_roundtrip import seen_by
from palpate.sensors.touch.calibrate import fit_optics
from palpate.sensors.touch.catalog import DIGIT, GELSIGHT_2017
from palpate.sensors.touch.contact import Contact, cell_centres
from palpate.sensors.touch.flat import press
from palpate.sensors.touch.model import SensorModel
from palpate.sensors.touch.optics import Optics
from palpate.sensors.touch.presses import TAXIM_PITCH, taxim_presses
from palpate.sensors.touch.sensor import TouchSensor
from palpate.sensors.touch.workbench import FitPlan

CELLS = (60, 80)
PICTURE = (240, 320)
BATCHES = (1, 32)
BALL = 4 * MM
QUOTED = (
    "measured once on two shared cores, 2 threads, wall time, batch 1 / 32 (not measured in this run): taxim torch 30.2 / 99.2 with and "
    "17.7 / 34.9 without shadow; taxim jax 156 / 303 with and 56 / 35.6 without shadow; tacto render_from_depth on a software renderer "
    "236 to 392 (no batch)"
)
"""Figures of other renderers from earlier measurements."""


@dataclass
class Subject:
    """Something to time, per batch size."""

    name: str
    calls: dict[int, Callable[[], object]]
    cpu_ms: dict[int, list[float]] = field(default_factory=dict)
    wall_ms: dict[int, list[float]] = field(default_factory=dict)

    def once(self, batch: int) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        self.calls[batch]()
        self.cpu_ms.setdefault(batch, []).append(1e3 * (time.process_time() - cpu) / batch)
        self.wall_ms.setdefault(batch, []).append(1e3 * (time.perf_counter() - wall) / batch)

    def row(self) -> dict:
        return {
            "name": self.name,
            **{f"cpu_ms_batch_{b}": statistics.median(v) for b, v in self.cpu_ms.items()},
            **{f"wall_ms_batch_{b}": statistics.median(v) for b, v in self.wall_ms.items()},
        }


def places(count: int, size: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the balls (N, 2) x, y [m] and depths (N,) [m]; the first one is in the middle."""
    rng = generator(0)
    at = rng.uniform(-0.25, 0.25, size=(count, 2)) * (size[1], size[0])
    at[0] = 0.0
    return at, rng.uniform(0.4, 0.8, size=count) * MM


def gaps(shape: tuple[int, int], size: tuple[float, float], at: np.ndarray) -> np.ndarray:
    """Distance of the balls (N, H, W) float32 [m] from the gel's plane."""
    y, x = cell_centres(shape, (size[0] / shape[0], size[1] / shape[1]))
    square = (x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2
    return (BALL - np.sqrt(np.maximum(BALL**2 - square, 0))).astype(np.float32)


def ours(model: SensorModel, name: str, cells: tuple[int, int], mechanics: bool) -> list[Subject]:
    size = model.pad.height, model.pad.width
    pitch = size[0] / cells[0], size[1] / cells[1]
    at, depth = places(max(BATCHES), size)
    unit, optics, rng = TouchSensor(model, 0), model.optics, generator(1)
    assert isinstance(optics, Optics)
    rest = unit.ideal(None).image
    assert rest is not None
    calls: dict[str, dict[int, Callable[[], object]]] = {}
    for count in BATCHES:
        gap, deep = gaps(cells, size, at[:count]), depth[:count]
        before = press(model.pad, gap, pitch, depth=0.95 * deep)
        solved = press(model.pad, gap, pitch, depth=deep)
        sunk = solved.sunk.astype(np.float32)

        def mechanics_of(gap: np.ndarray = gap, deep: np.ndarray = deep, before: Contact | None = None) -> Contact:
            return press(model.pad, gap, pitch, depth=deep, before=before)

        def follow(of: Callable[..., Contact] = mechanics_of, before: Contact = before) -> Contact:
            return of(before=before)

        def draw(sunk: np.ndarray = sunk) -> object:
            return optics.render(rest, sunk, pitch)

        def whole(of: Callable[..., Contact] = mechanics_of) -> object:
            return unit.sense(of(), rng)

        def whole_next(of: Callable[..., Contact] = follow) -> object:
            return unit.sense(of(), rng)

        parts = {"optics": draw, "whole, first press, with noise": whole, "whole, next frame, with noise": whole_next}
        if mechanics:
            parts |= {"mechanics, first press": mechanics_of, "mechanics, next frame": follow}
        for part, call in parts.items():
            calls.setdefault(part, {})[count] = call
    return [Subject(f"palpate {name}: {part}", call) for part, call in calls.items()]


def fitted_gelsight() -> SensorModel:
    """Optics fitted on real presses; few are enough for timing, since the number of coefficients is always the same."""
    presses = taxim_presses("gelsight").shrunk(2).take(np.arange(0, 48, 6))
    plan = FitPlan(thickness=(4 * MM,), ridge=(1e-4,), place=(10.0,), refine=0)
    pitch = (2 * TAXIM_PITCH, 2 * TAXIM_PITCH)
    fit = fit_optics(presses, ball_radius=2.38 * MM, pitch=pitch, rng=generator(2), plan=plan)
    return seen_by(GELSIGHT_2017, fit.optics, 2.5 * MM)


def taxim(backend: str, skipped: dict[str, str]) -> list[Subject]:
    """Taxim's GelSight on the same balls, given as heights; its own model of the gel is part of every call."""
    needs = ("taxim", "torch_scatter") if backend == "torch" else ("taxim", "jax")
    if missing := [name for name in needs if importlib.util.find_spec(name) is None]:
        skipped[f"taxim {backend}"] = f"{', '.join(missing)} not installed"
        return []
    warnings.simplefilter("ignore")
    from taxim import CALIB_GELSIGHT, Taxim  # noqa: PLC0415 - optional, and slow to load

    renderer = Taxim(calib_folder=CALIB_GELSIGHT, backend=backend)
    size = GELSIGHT_2017.field_of_view
    at, depth = places(max(BATCHES), size)
    gel = np.load(Path(CALIB_GELSIGHT) / "gelmap.npy").astype(np.float32)
    gel = cv2.resize((gel - gel.max()) * np.float32(0.0295), PICTURE[::-1], interpolation=cv2.INTER_AREA)
    row, col = (
        np.clip(np.rint((at[:, k] / size[1 - k] + 0.5) * PICTURE[1 - k]).astype(int), 0, PICTURE[1 - k] - 1) for k in (1, 0)
    )
    heights = (gaps(PICTURE, size, at) - depth[:, None, None].astype(np.float32)) / np.float32(MM) + gel[row, col][
        :, None, None
    ]
    subjects = []
    for shadow in (False, True):
        calls: dict[int, Callable[[], object]] = {}
        for count in BATCHES:

            def render(count: int = count, shadow: bool = shadow) -> object:
                return np.asarray(renderer.render(heights[:count], with_shadow=shadow))

            calls[count] = render
        subjects.append(Subject(f"taxim {backend}, gel and optics, {'with' if shadow else 'no'} shadow", calls))
    return subjects


def tacto(skipped: dict[str, str]) -> None:
    found = importlib.util.find_spec("tacto") is not None
    skipped["tacto"] = (
        "installed, but a scene of a mesh in OpenGL is no same press; not timed"
        if found
        else "tacto not installed; its last release imports on no current NumPy"
    )


def measure(subjects: list[Subject], repeats: dict[int, int]) -> None:
    for count, times in repeats.items():
        for subject in subjects:
            subject.calls[count]()  # compile and warm up
        for _ in range(times):
            for subject in subjects:
                subject.once(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--also-from", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results" / "touch.json")
    options = parser.parse_args()
    if options.also_from:
        sys.path.append(str(options.also_from))
    cv2.setNumThreads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    skipped: dict[str, str] = {}
    digit = seen_by(DIGIT, DIGIT.optics, DIGIT.pad.thickness) if isinstance(DIGIT.optics, Optics) else DIGIT
    subjects = ours(fitted_gelsight(), "gelsight-2017, fitted", CELLS, True) + ours(digit, "digit, lamps", CELLS[::-1], True)
    load = os.getloadavg()[0]
    measure(subjects, dict.fromkeys(BATCHES, options.repeats))
    others = taxim("jax", skipped) + taxim("torch", skipped)
    tacto(skipped)
    measure(others, {1: options.repeats, 32: min(options.repeats, 5)})
    rows = [subject.row() for subject in subjects + others]
    print(f"{'CPU ms a frame':52}{'batch 1':>10}{'batch 32':>10}{'wall 1':>10}{'wall 32':>10}")
    for row in rows:
        keys = (*(f"cpu_ms_batch_{b}" for b in BATCHES), *(f"wall_ms_batch_{b}" for b in BATCHES))
        print(f"{row['name']:52}" + "".join(f"{row[key]:10.2f}" for key in keys))
    for name, reason in skipped.items():
        print(f"{name}: skipped, {reason}")
    print(f"other renderers, quoted: {QUOTED}")
    result = {
        "rows": rows,
        "skipped": skipped,
        "quoted": QUOTED,
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "load_before": load,
        "picture": PICTURE,
        "cells": CELLS,
    }
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
