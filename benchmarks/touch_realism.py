"""How real simulated touch looks, beyond the scores of ball presses: figures, a round trip, and a classifier.

    python benchmarks/touch_realism.py [--shared ../shared/data] [--out DIR]

Real pictures: ball presses of a GelSight and a GelSight Mini from the `taxim` package (MIT), and recordings under --shared, which are no
part of the project. Without them their rows are left out, with the reason. --out also gets pictures with recordings of --shared beside
simulated ones. Everything is compared at 320 x 240. Optics never saw the presses they are compared with.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from touch_realism_rows import (
    Judge,
    contrast_rows,
    noise_rows,
    print_rows,
    wrongs,
)
from touch_recordings import KEY_FRAMES, digit_rests, mini_clips, nine_d_tact, recordings, sized, wedge_clips

from palpate.core.randomness import generator
from palpate.evaluation.figures_realism import side_by_side
from palpate.recipes import touch_realism as look
from palpate.recipes import touch_roundtrip as trip
from palpate.sensors.touch.calibrate import Fit, fit_optics
from palpate.sensors.touch.catalog import get_sensor
from palpate.sensors.touch.darkness import fit_darkness
from palpate.sensors.touch.optics import Optics
from palpate.sensors.touch.presses import TAXIM_PITCH, Presses, taxim_presses
from palpate.sensors.touch.rest import rest_light
from palpate.sensors.touch.sensor import TouchSensor
from palpate.sensors.touch.workbench import OFF, BallSensor, FitPlan

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "touch_realism.json"
IMAGES = HERE.parent / "docs" / "images" / "touch"
SENSOR = {"gelsight": "gelsight-2017", "gelsight_mini": "gelsight-mini"}
BALL = {"gelsight": 2.38e-3, "gelsight_mini": 3.0e-3}
"""Ball radius [m]: an assumption, in neither data set."""
PLAN = {
    "gelsight": FitPlan(thickness=(6e-3,)),
    # Presses in the middle only: how light changes over the picture cannot be known, and is garbage elsewhere if fitted.
    "gelsight_mini": FitPlan(thickness=(4.5e-3,), place=(OFF,), ridge=(1e-2,), degree=2),
}
"""As the optics that come with palpate are fitted."""
SHAPE = (240, 320)


@dataclass(frozen=True)
class Half:
    """Optics fitted on one half, and the presses of the other."""

    fit: Fit
    train: np.ndarray
    test: np.ndarray

    def circle(self, presses: Presses, k: int) -> tuple[float, float, float]:
        """What the label of a press lets one expect: labels err, by what the fit found on its own half."""
        (x, y), radius = self.fit.report.circles.expect(presses.centre_xy[k], float(presses.radius_px[k]))
        return x, y, radius


def label(presses: Presses, k: int) -> tuple[float, float, float]:
    return float(presses.centre_xy[k, 0]), float(presses.centre_xy[k, 1]), float(presses.radius_px[k])


class Taxim:
    """The real presses of one sensor in the taxim package, and their simulated twins."""

    def __init__(self, kind: str, seed: int) -> None:
        self.kind, self.model = kind, get_sensor(SENSOR[kind])
        self.presses = taxim_presses(kind).shrunk(2)
        order = generator(seed, 0).permutation(len(self.presses))
        cut = len(order) // 2
        self.halves = [self._half(order[:cut], order[cut:], seed), self._half(order[cut:], order[:cut], seed)]

    def _half(self, train: np.ndarray, test: np.ndarray, seed: int) -> Half:
        pitch = (2 * TAXIM_PITCH, 2 * TAXIM_PITCH)
        fit = fit_optics(
            self.presses.take(train), ball_radius=BALL[self.kind], pitch=pitch, rng=generator(seed, 1), plan=PLAN[self.kind]
        )
        return Half(fit, train, test)

    def unit(self, optics: Optics, thickness: float) -> TouchSensor:
        return TouchSensor(trip.seen_by(self.model, optics, thickness), 0, rest_image=self.presses.rest)

    def lamps(self) -> TouchSensor:
        """The catalogue's estimate of the optics, nothing fitted, on the real rest image."""
        return TouchSensor(trip.under_lamps(self.model, SHAPE), 0, rest_image=self.presses.rest)

    def twins(self, half: Half, unit: TouchSensor, index: np.ndarray, rng: np.random.Generator, noise: trip.Noise = "frame"):
        balls = [trip.ball_press(half.fit.sensor, half.circle(self.presses, k), unit.model, SHAPE) for k in index]
        return trip.simulate(unit, balls, rng, noise)

    def all_twins(self, noise: trip.Noise, seed: int, lamps: bool = False) -> np.ndarray:
        """A simulated picture of every press, drawn by optics fitted on the other half."""
        out = np.zeros_like(self.presses.images)
        for n, half in enumerate(self.halves):
            unit = self.lamps() if lamps else self.unit(half.fit.optics, half.fit.sensor.thickness)
            out[half.test] = self.twins(half, unit, half.test, generator(seed, 2, n), noise)[0]
        return out

    def change(self, images: np.ndarray) -> np.ndarray:
        return images.astype(np.float32) - self.presses.rest.astype(np.float32)


def around_presses(sensor: Taxim, sets: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """What is left of the difference by distance from the press, sharpness of the rim and grain far from it."""
    rows, presses = [], sensor.presses
    real = sensor.change(presses.images)
    for name, images in sets.items():
        change = sensor.change(images)
        rings, errors, rims, grains = [], [], [], []
        for k in range(len(presses)):
            x, y, radius = label(presses, k)
            rings.append(look.ring_profile(change[k], (x, y), radius))
            errors.append(look.ring_profile(change[k] - real[k], (x, y), radius))
            rims.append(look.rim_steepness(change[k], (x, y), radius))
            grains.append(look.grain(change[k], look.far(SHAPE, (x, y), radius)))
        row = {"sensor": sensor.kind, "set": name, "rim": float(np.mean(rims)), "grain": float(np.mean(grains))}
        spans = [f"{a:g}-{b:g}" for a, b in zip(look.RINGS[:-1], look.RINGS[1:], strict=True)]
        row |= {f"rms {s}": float(v) for s, v in zip(spans, np.nanmean(rings, axis=0), strict=True)}
        row |= {f"error {s}": float(v) for s, v in zip(spans, np.nanmean(errors, axis=0), strict=True)}
        rows.append(row)
    return rows


def round_trip(sensor: Taxim, seed: int, steps: int, things: int) -> list[dict[str, Any]]:
    """Errors on real held-out balls, and for comparison on their simulated twins; both directions."""
    rows, presses = [], sensor.presses
    real = presses.differences()
    for n, half in enumerate(sensor.halves):
        unit, rng = sensor.unit(half.fit.optics, half.fit.sensor.thickness), generator(seed, 3, n)
        ball = half.fit.sensor
        reach = float(np.abs(presses.centre_xy[half.train] / (320, 240) - 0.5).max())
        shapes = trip.random_things(things, unit.model, rng, reach=reach)
        known = {
            "simulated, many shapes": trip.simulate(unit, shapes, rng)[1],
            "simulated, the training balls": sensor.twins(half, unit, half.train, rng)[1],
            "simulated, the training balls, optics not fitted": sensor.twins(half, sensor.lamps(), half.train, rng)[1],
            "real training half": [trip.real_scene(real[k], ball, half.circle(presses, k)) for k in half.train],
        }
        twins = np.stack([scene.change for scene in sensor.twins(half, unit, half.test, rng)[1]])
        truth = [label(presses, k) for k in half.test]
        expected = [half.circle(presses, k) for k in half.test]
        for name, scenes in known.items():
            net = trip.learn(scenes, rng, steps=steps)
            on_real = trip.try_on_balls(net, real[half.test], ball, truth)
            on_twins = trip.try_on_balls(net, twins, ball, expected)
            for where, errors in (("real", on_real), ("simulated twins", on_twins)):
                rows.append({"sensor": sensor.kind, "half": n, "learned from": name, "tried on": where, **asdict(errors)})
        spread = half.fit.report.circles.spread_px * 2 * TAXIM_PITCH * 1e3
        rows.append({"sensor": sensor.kind, "half": n, "labels_spread_mm": spread.tolist()})
    return rows


def taxim_part(kind: str, judge: Judge, options: argparse.Namespace) -> dict[str, Any]:
    began = time.time()
    sensor = Taxim(kind, options.seed)
    presses = sensor.presses
    sets = {
        "real": presses.images,
        "fitted, frame noise": sensor.all_twins("frame", options.seed),
        "fitted, no noise": sensor.all_twins("none", options.seed),
        "fitted, episode noise": sensor.all_twins("episode", options.seed),
        "lamps not fitted, frame noise": sensor.all_twins("frame", options.seed, lamps=True),
    }
    contrasts = contrast_rows(kind, {name: (images, sensor.change(images)) for name, images in sets.items()})
    groups = np.arange(len(presses))
    apart = judge.halves(kind, presses.images, presses.rest, groups)
    for name, images in sets.items():
        if name != "real":
            apart += judge.sets(kind, name, (presses.images, presses.rest, groups), (images, presses.rest, groups))
    around = around_presses(sensor, sets)
    trips = round_trip(sensor, options.seed, options.steps, options.things)
    shown = [label(presses, k) for k in range(len(presses))]
    side_by_side(IMAGES / f"realism-{kind}.png", presses.rest, presses.images, sets["fitted, frame noise"], shown)
    print(f"{kind}: {time.time() - began:.0f} s")
    scores = {f"half {n}": asdict(h.fit.report.held_out) for n, h in enumerate(sensor.halves)}
    return {"contrast": contrasts, "classifier": apart, "around": around, "round_trip": trips, "fit": scores, "sensor": sensor}


def recorded_part(judge: Judge, mini: Taxim, options: argparse.Namespace) -> dict[str, Any]:
    """PhysiCLeAR's GelSight Mini: another unit than the one whose presses the optics were fitted on."""
    real = recordings(mini_clips(options.shared, options.takes), KEY_FRAMES)
    print(f"PhysiCLeAR: {len(real.presses)} presses, {real.skipped} clips without a background or a press")
    rests = np.stack([p.rest for p in real.presses])
    images = np.stack([p.image for p in real.presses])
    groups = np.array([p.group for p in real.presses])
    rng, half = generator(options.seed, 4), mini.halves[0]
    fitted = trip.seen_by(mini.model, half.fit.optics, half.fit.sensor.thickness)
    plain = trip.under_lamps(mini.model, SHAPE)
    sets: dict[str, tuple[np.ndarray, np.ndarray]] = {"real": (images, rests)}
    for name, model, real_rest in (
        ("optics of another unit, real rest", fitted, True),
        ("lamps not fitted, real rest", plain, True),
        ("lamps not fitted, drawn rest", plain, False),
    ):
        pictures, backs = [], []
        for k, thing in enumerate(trip.random_things(len(images), model, rng)):
            rest = np.clip(np.rint(rests[k]), 0, 255).astype(np.uint8)
            unit = TouchSensor(model, k, rest_image=rest if real_rest else None)
            pictures.append(trip.simulate(unit, [thing], rng, "frame")[0][0])
            backs.append(unit.ideal(None).image)
        sets[name] = np.stack(pictures), np.stack(backs)
    kind = "gelsight-mini, PhysiCLeAR"
    changes = {name: (a, a.astype(np.float32) - b) for name, (a, b) in sets.items()}
    contrasts = contrast_rows(kind, changes)
    apart = judge.halves(kind, images, rests, groups)
    for name, (pictures, backs) in sets.items():
        if name != "real":
            drawn = np.array([f"drawn {k}" for k in range(len(pictures))])
            apart += judge.sets(kind, name, (images, rests, groups), (pictures, backs, drawn))
    other = mini.presses
    balls = np.array([f"ball {k}" for k in range(len(other))])
    apart += judge.sets(kind, "another real unit (balls)", (images, rests, groups), (other.images, other.rest, balls))
    if options.out:
        side_by_side(options.out / "physiclear.png", rests[0], images, sets["lamps not fitted, real rest"][0], None)
    return {"contrast": contrasts, "classifier": apart, "still": real.still, "rests": rests}


def wedge_part(judge: Judge, options: argparse.Namespace) -> dict[str, Any]:
    corners = options.shared / "gelsight_wedge_compliance" / "wedge_config" / "config_100.csv"
    days = {d: recordings(wedge_clips(options.shared, d), 1, corners) for d in ("2023-12-06", "2024-01-10")}
    kind, rows, sets = "gelsight wedge (not in the catalogue)", [], {}
    for day, real in days.items():
        images, rests = np.stack([p.image for p in real.presses]), np.stack([p.rest for p in real.presses])
        sets[day] = (images, rests, np.array([f"{day} {k}" for k in range(len(images))]))
        rows += contrast_rows(kind, {f"real {day}": (images, images - rests)})
    first, second = sets.values()
    apart = judge.halves(kind, *first) + judge.sets(kind, "another real gel (other day, other things)", first, second)
    return {"contrast": rows, "classifier": apart, "still": [s for real in days.values() for s in real.still]}


def white_part(options: argparse.Namespace) -> list[dict[str, Any]]:
    """9DTact: optics fitted on one unit draw the other unit's press on its rest image."""
    units, rows = nine_d_tact(options.shared), []
    circles = {1: (243.6, 188.6, 66.3), 2: (279.3, 176.1, 58.9)}
    pitch = {1: 51.0e-6, 2: 50.0e-6}
    model, thickness = get_sensor("9dtact"), 2e-3
    for unit, (rest, sample) in units.items():
        other = 3 - unit
        x, y, radius = circles[other]
        presses = Presses(
            rest=units[other][0], images=units[other][1][None], centre_xy=np.array([[x, y]]), radius_px=np.array([radius])
        )
        optics = fit_darkness(presses, ball_radius=4e-3, pitch=(pitch[other],) * 2, thickness=thickness)
        optics = replace(optics, pitch=model.pixel)
        drawn_by = TouchSensor(trip.seen_by(model, optics, thickness), 0, rest_image=rest)
        ball = BallSensor(shape=rest.shape[:2], pitch=model.pixel, ball_radius=4e-3, thickness=thickness, poisson=0.48)
        press = trip.ball_press(ball, circles[unit], drawn_by.model, rest.shape[:2])
        drawn = trip.simulate(drawn_by, [press], generator(options.seed, 5, unit))[0]
        sets = {"real": sample[None], "fitted on the other unit, frame noise": drawn}
        small = {
            n: (np.stack([sized(i) for i in s]), np.stack([sized(i).astype(np.float32) - sized(rest) for i in s]))
            for n, s in sets.items()
        }
        rows += contrast_rows(f"9dtact, unit {unit}", small)
    return rows


def rest_part(options: argparse.Namespace, rests: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Rest images: real ones against ones drawn for twelve units."""
    rows = []
    real = {
        f"digit, real {name}": image for name, image in (digit_rests(options.shared) if options.shared.is_dir() else {}).items()
    }
    if options.shared.is_dir():
        real |= {f"9dtact, real unit {u}": sized(rest) for u, (rest, _) in nine_d_tact(options.shared).items()}
    for name, image in {**real, **{f"{k}, real": v for k, v in rests.items()}}.items():
        rows += contrast_rows("rest images", {name: (image[None], None)})
    for name in ("digit", "9dtact", "gelsight-2017", "gelsight-mini"):
        model = get_sensor(name)
        assert model.look is not None
        shape = (320, 240) if name == "digit" else SHAPE
        drawn = [rest_light(model.look, shape, generator(k, 0), generator(k, 1)) for k in range(12)]
        rows += contrast_rows("rest images", {f"{name}, 12 drawn units": (np.stack(drawn), None)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=None, help="folder for pictures with recordings of --shared")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--takes", type=int, default=1, help="clips per object")
    parser.add_argument("--steps", type=int, default=1500, help="of training the estimator")
    parser.add_argument("--things", type=int, default=108, help="simulated presses of many shapes to learn from")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="frozen network for the classifier; '' for none")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    began, judge = time.time(), Judge(options.backbone, options.seed)
    parts = {kind: taxim_part(kind, judge, options) for kind in SENSOR}
    sensors = {kind: part.pop("sensor") for kind, part in parts.items()}
    rests = {kind: sensor.presses.rest for kind, sensor in sensors.items()}
    still: dict[str, list[np.ndarray]] = {}
    skipped = []
    if options.shared.is_dir():
        parts["mini"] = recorded_part(judge, sensors["gelsight_mini"], options)
        parts["wedge"] = wedge_part(judge, options)
        parts["9dtact"] = {"contrast": white_part(options)}
        still = {"gelsight-mini, PhysiCLeAR": parts["mini"].pop("still"), "gelsight wedge": parts["wedge"].pop("still")}
        rests |= {
            "gelsight-mini, PhysiCLeAR": np.clip(np.rint(np.median(parts["mini"].pop("rests"), axis=0)), 0, 255).astype(
                np.uint8
            )
        }
    else:
        skipped.append(f"{options.shared} not present: no rows of PhysiCLeAR, GelSight Wedge, 9DTact and DIGIT")
    parts["rests"] = {"contrast": rest_part(options, rests)}
    result: dict[str, Any] = {
        name: [row for part in parts.values() for row in part.get(name, [])]
        for name in ("contrast", "classifier", "around", "round_trip")
    }
    result |= {"noise": noise_rows(still, sensors), "skipped": skipped, "fit": {k: parts[k]["fit"] for k in SENSOR}}
    result["still_wrong"] = wrongs(result)
    result["minutes"] = (time.time() - began) / 60
    print_rows(result)
    options.results.parent.mkdir(exist_ok=True)
    options.results.write_text(json.dumps(result, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
