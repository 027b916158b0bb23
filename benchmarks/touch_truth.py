"""Drawn against real touch pictures: `python benchmarks/touch_truth.py`; writes results/touch_truth.json.

Real ball presses of a GelSight and a GelSight Mini (in the `taxim` package) and of two 9DTact units (`../shared`). Whole presses are held
out: random halves, image quadrants, large or small contacts. Nothing is chosen on held-out presses; only their labelled circles are used.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from palpate.sensors.touch.calibrate import Fit, fit_optics
from palpate.sensors.touch.darkness import fit_darkness
from palpate.sensors.touch.imprint import ball_sunk
from palpate.sensors.touch.optics import Optics
from palpate.sensors.touch.presses import TAXIM_PITCH, Presses, TaximSensor, taxim_presses
from palpate.sensors.touch.scores import PressScore, mean_score, press_score
from palpate.sensors.touch.workbench import FitPlan

BALL = {"gelsight": 2.38e-3, "gelsight_mini": 3.0e-3}
"""Ball radius [m]: in neither data set; fits hardly feel it."""
QUOTED = {
    "gelsight": "taxim 1.4.1, in-sample, with shadow: 29.4 dB, correlation 0.88 (measured elsewhere, not run here)",
    "gelsight_mini": "taxim 1.4.1, in-sample, with shadow: 21.3-21.6 dB, correlation 0.42-0.55 (measured elsewhere, not run here)",
}
RANDOM_SPLITS = 4
UNITS = {1: (51.0e-6, (243.6, 188.6), 66.3), 2: (50.0e-6, (279.3, 176.1), 58.9)}
"""9DTact: pitch [m], circle [px]."""
UNIT_BALL, UNIT_THICKNESS = 4.0e-3, (1e-3, 1.5e-3, 2e-3, 2.5e-3, 3e-3, 4e-3)
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "tactile_multisensor" / "9dtact"
RESULTS = Path(__file__).parent / "results" / "touch_truth.json"

Draw = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Split:
    kind: str
    train: np.ndarray
    test: np.ndarray


def splits(presses: Presses) -> Iterator[Split]:
    rng = np.random.default_rng(0)
    count = len(presses)
    for _ in range(RANDOM_SPLITS):
        order = rng.permutation(count)
        yield Split("random half", np.sort(order[: count // 2]), np.sort(order[count // 2 :]))
    middle = np.array(presses.rest.shape[1::-1]) / 2
    corner = (presses.centre_xy > middle) @ np.array([1, 2])
    if len(np.unique(corner)) == 4 and np.ptp(presses.centre_xy, axis=0).min() > middle.min():
        for quadrant in range(4):
            yield Split("held-out quadrant", np.flatnonzero(corner != quadrant), np.flatnonzero(corner == quadrant))
    limit = np.median(presses.radius_px)
    large = presses.radius_px > limit
    yield Split("held-out radius", np.flatnonzero(~large), np.flatnonzero(large))
    yield Split("held-out radius", np.flatnonzero(large), np.flatnonzero(~large))


def moved(change: np.ndarray, by: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(change, np.array([[1, 0, by[0]], [0, 1, by[1]]], np.float32), change.shape[1::-1])


def copies(differences: np.ndarray, source: np.ndarray, wanted: np.ndarray, train: np.ndarray) -> Draw:
    """Nearest real press, shifted: smallest distance of centres plus three times the difference of radii; circles (N, 3)."""

    def draw(k: int) -> np.ndarray:
        gap = np.hypot(*(source[train, :2] - wanted[k, :2]).T) + 3 * np.abs(source[train, 2] - wanted[k, 2])
        j = train[int(np.argmin(gap))]
        return moved(differences[j], wanted[k, :2] - source[j, :2])

    return draw


def drawers(presses: Presses, split: Split, fits: tuple[Fit, Fit]) -> dict[str, Draw]:
    plain, refined = fits
    labels = np.column_stack([presses.centre_xy, presses.radius_px])
    expected, source = labels.copy(), labels.copy()
    source[split.train] = refined.report.circles.fitted
    for k in split.test:
        centre, radius = refined.report.circles.expect(labels[k, :2], labels[k, 2])
        expected[k] = *centre, radius
    differences = presses.differences()
    return {
        "background only": lambda _: np.zeros(presses.rest.shape, np.float32),
        "nearest real press, shifted": copies(differences, labels, labels, split.train),
        "palpate, circles as labelled": lambda k: plain.draw((labels[k, 0], labels[k, 1]), labels[k, 2]),
        "palpate, label error estimated on training presses": lambda k: refined.draw(
            (expected[k, 0], expected[k, 1]), expected[k, 2]
        ),
        "nearest real press, shifted, with the same estimated circles": copies(differences, source, expected, split.train),
    }


def run_split(presses: Presses, split: Split, ball: float) -> tuple[dict[str, list[PressScore]], dict[str, object]]:
    train = presses.take(split.train)
    plans = FitPlan(refine=0), FitPlan()
    pitch = TAXIM_PITCH, TAXIM_PITCH
    plain, refined = (fit_optics(train, ball_radius=ball, pitch=pitch, rng=np.random.default_rng(1), plan=p) for p in plans)
    rows: dict[str, list[PressScore]] = {}
    for name, draw in drawers(presses, split, (plain, refined)).items():
        rows[name] = [
            press_score(presses.rest, presses.images[k], draw(k), tuple(presses.centre_xy[k]), float(presses.radius_px[k]))
            for k in split.test
        ]
    report = refined.report
    chosen = {
        "thickness_mm": report.thickness * 1e3,
        "ridge": report.ridge,
        "place": report.place,
        "label_spread_px": report.circles.spread_px.round(2).tolist(),
        "label_gain": report.circles.gain.diagonal().round(2).tolist(),
        "in_sample": asdict(report.in_sample),
    }
    return rows, chosen


def table(results: list[dict[str, PressScore]]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean over splits and standard deviation between them."""
    out = {}
    for name in results[0]:
        rows = [asdict(result[name]) for result in results]
        values = {key: np.array([row[key] for row in rows]) for key in rows[0]}
        out[name] = {key: {"mean": float(v.mean()), "std": float(v.std())} for key, v in values.items()}
    return out


def show(title: str, rows: dict[str, dict[str, dict[str, float]]]) -> None:
    print(f"\n{title}\n{'':62} {'PSNR dB':>12} {'corr':>13} {'inside':>7} {'ring':>7} {'NRMSE':>13} {'inside':>7} {'ring':>7}")
    for name, r in rows.items():
        pair = "{mean:.3f}+-{std:.3f}".format
        print(
            f"{name:62} {r['psnr_db']['mean']:6.2f}+-{r['psnr_db']['std']:4.2f} {pair(**r['correlation']):>13} "
            f"{r['correlation_inside']['mean']:7.3f} {r['correlation_ring']['mean']:7.3f} {pair(**r['nrmse']):>13} "
            f"{r['nrmse_inside']['mean']:7.3f} {r['nrmse_ring']['mean']:7.3f}"
        )


def gelsights(sensor: TaximSensor) -> dict[str, object]:
    presses = taxim_presses(sensor)
    by_kind: dict[str, list[dict[str, PressScore]]] = {}
    chosen: dict[str, list[dict[str, object]]] = {}
    wins = []
    for split in splits(presses):
        rows, choice = run_split(presses, split, BALL[sensor])
        by_kind.setdefault(split.kind, []).append({name: mean_score(scores) for name, scores in rows.items()})
        chosen.setdefault(split.kind, []).append(choice)
        own, copy = (rows[n] for n in ("palpate, label error estimated on training presses", "nearest real press, shifted"))
        wins += [a.correlation > b.correlation for a, b in zip(own, copy, strict=True)]
    tables = {kind: table(results) for kind, results in by_kind.items()}
    for kind, rows in tables.items():
        show(f"{sensor}, {kind} ({len(by_kind[kind])} splits)", rows)
    print(f"quoted: {QUOTED[sensor]}")
    print(f"presses that palpate draws better than the nearest copy (correlation): {np.mean(wins):.0%} of {len(wins)}")
    return {"tables": tables, "chosen": chosen, "quoted": QUOTED[sensor], "presses_better_than_copy": float(np.mean(wins))}


def read_unit(unit: int) -> Presses:
    pictures = []
    for what in ("ref", "sample"):
        path = SHARED / f"sensor_{unit}__depth_calibration__rectify_crop_{what}.png"
        pictures.append(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])
    _, centre, radius = UNITS[unit]
    return Presses(rest=pictures[0], images=pictures[1][None], centre_xy=np.array([centre]), radius_px=np.array([radius]))


def white_lit() -> dict[str, object]:
    """9DTact: thickness and table from unit 1 alone, scored on unit 2."""
    presses = {unit: read_unit(unit) for unit in UNITS}

    def score(unit: int, optics: Optics, thickness: float) -> PressScore:
        pitch, centre, radius = UNITS[unit]
        seen = Optics(shape=optics.shape, pitch=(pitch, pitch), stages=optics.stages, blur=optics.blur)
        sunk = ball_sunk(seen.shape, seen.pitch, centre, radius * pitch, ball_radius=UNIT_BALL, thickness=thickness)
        p = presses[unit]
        return press_score(p.rest, p.images[0], seen.difference(sunk, seen.pitch), centre, radius)

    pitch = UNITS[1][0], UNITS[1][0]
    fits = {h: fit_darkness(presses[1], ball_radius=UNIT_BALL, pitch=pitch, thickness=h) for h in UNIT_THICKNESS}
    best = min(fits, key=lambda h: score(1, fits[h], h).nrmse)
    p = presses[2]
    shift = np.array(UNITS[2][1]) - np.array(UNITS[1][1])
    copy = press_score(p.rest, p.images[0], moved(presses[1].differences()[0], shift), UNITS[2][1], UNITS[2][2])
    blank = press_score(p.rest, p.images[0], np.zeros(p.rest.shape), UNITS[2][1], UNITS[2][2])
    rows = {
        "background only, unit 2": blank,
        "press of unit 1, shifted, unit 2": copy,
        "palpate, fitted on unit 1, unit 2": score(2, fits[best], best),
        "palpate, fitted on unit 1, unit 1 (in-sample)": score(1, fits[best], best),
    }
    tables = table([rows])
    show(f"9DTact, thickness {best * 1e3:g} mm chosen on unit 1 (one press per unit)", tables)
    return {"tables": tables, "thickness_mm": best * 1e3}


def speed() -> dict[str, float]:
    """Milliseconds of processor time a frame of 320 x 240, contact grid 80 x 60: least and median of repetitions."""
    presses = taxim_presses("gelsight").take(np.arange(0, 48, 4))
    plan = FitPlan(thickness=(4e-3,), ridge=(1e-4,), place=(10.0,), refine=0)
    fit = fit_optics(
        presses, ball_radius=BALL["gelsight"], pitch=(TAXIM_PITCH, TAXIM_PITCH), rng=np.random.default_rng(0), plan=plan
    )
    optics, rest = fit.optics.resized((240, 320)), presses.shrunk(2).rest
    coarse = fit.sensor.resized((60, 80))
    out: dict[str, float] = {}
    for batch in (1, 32):
        places = np.random.default_rng(1).uniform((20, 15), (60, 45), (batch, 2))
        sunk = np.stack([coarse.sunk((x, y), 7.5) for x, y in places])
        times = []
        for _ in range(8 + 200 // batch):
            start = time.process_time()
            optics.render(rest, sunk, coarse.pitch)
            times.append((time.process_time() - start) / batch * 1e3)
        out |= {f"batch {batch}, least": min(times[2:]), f"batch {batch}, median": float(np.median(times[2:]))}
    print("\nms a frame, 320 x 240: " + ", ".join(f"{name} {value:.2f}" for name, value in out.items()))
    return out


def main() -> None:
    cv2.setNumThreads(1)
    results: dict[str, object] = {sensor: gelsights(sensor) for sensor in ("gelsight", "gelsight_mini")}
    if SHARED.is_dir():
        results["9dtact"] = white_lit()
    else:
        print(f"9DTact left out: {SHARED.name} is not there")
    results["ms_per_frame_320x240"] = speed()
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
