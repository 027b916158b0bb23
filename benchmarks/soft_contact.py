"""How far soft contact of the Shadow hand's fingertips is from theory and from full finite elements, and how long a press takes.

    python benchmarks/soft_contact.py [--presses 300] [--out benchmarks/results/soft_contact.json]

Errors are the largest over the loads tried. Times are CPU milliseconds a press on one thread, with friction and all read-outs.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from palpate.sensors.touch.fingertip import SHADOW_TIP, Fingertip, FingertipTouch
from palpate.sensors.touch.tip import SoftTip, press
from palpate.sensors.touch.tip_mesh import TipShape, assemble

SHAPE = SHADOW_TIP.shape
RADIUS = SHAPE.height
OUT = np.array([0.0, 1.0, 1.0]) / np.sqrt(2)
UP = np.array([0.0, 0.0, 1.0])
SIDE = np.array([1.0, 0.0, 0.0])
LOADS = (0.5, 1.0, 2.0, 5.0)
MIRROR = np.array([-1.0, 1.0, 1.0])

Thing = Callable[[np.ndarray], np.ndarray]


def sphere(radius: float, centre: np.ndarray) -> Thing:
    return lambda points: np.linalg.norm(points - centre, axis=1) - radius


def ball(radius: float, into: np.ndarray, y: float = 0.0) -> Thing:
    """A ball that touches the tip where its normal is `into`, at y along the cylinder."""
    return sphere(radius, np.array([0.0, y, RADIUS]) - (RADIUS + radius) * into)


def face(into: np.ndarray) -> Thing:
    """A plane that touches the tip where its normal is `into`."""
    return lambda points: (points - [0.0, 0.0, RADIUS]) @ into + RADIUS


def box(turn: np.ndarray, centre: np.ndarray, half: float) -> Thing:
    def distance(points: np.ndarray) -> np.ndarray:
        apart = np.abs((points - centre) @ turn) - half
        return np.linalg.norm(np.maximum(apart, 0), axis=1) + np.minimum(apart.max(axis=1), 0)

    return distance


def felt(touch: FingertipTouch | None) -> FingertipTouch:
    assert touch is not None
    return touch


def tip(cache: Path, **constants: object) -> Fingertip:
    return Fingertip(replace(SHADOW_TIP, shape=replace(SHAPE, **constants)), cache)


def round_tip(**constants: object) -> TipShape:
    """A tip with one radius all round."""
    radius = constants.pop("radius")
    return TipShape(**{name: radius for name in ("half_width", "distal", "proximal", "height")}, friction=0.0, **constants)


def hertz(cache: Path) -> dict[str, float]:
    """Soft balls on a stiff tip of the real size and mesh; both bodies soft on a gently curved thick skin."""
    stiff, young, poisson = tip(cache, young=1e10), 0.5e6, 0.45
    depths, arms = [], []
    for radius in (10e-3, 20e-3):
        for load in (1.0, 2.0, 3.0):
            touch = felt(stiff.press(ball(radius, OUT), load * OUT, young=young, poisson=poisson))
            reduced = 1 / (1 / radius + 1 / RADIUS)
            patch = (0.75 * load * reduced * (1 - poisson**2) / young) ** (1 / 3)
            depths.append(touch.depth / (patch**2 / reduced) - 1)
            arms.append(touch.torsion_radius / (3 * np.pi / 16 * patch) - 1)
    shape = round_tip(radius=0.03, skin=0.012, reach=0.6, young=0.2e6, poisson=0.45, cells=(9, 9, 9, 4), focus=0.85)
    bulk, thing, reduced = SoftTip(shape, cache), sphere(6e-3, np.array([0.0, 0.0, -6e-3])), 1 / (1 / 6e-3 + 1 / 0.03)
    forces: dict[float | None, list[float]] = {None: [], 0.2e6: [], 0.05e6: []}
    for soft, errors in forces.items():
        share = 0.0 if soft is None else (1 - 0.45**2) / soft
        combined = 1 / ((1 - 0.45**2) / 0.2e6 + share)
        for depth in (2e-4, 3e-4, 4e-4):
            contact = press(bulk, thing, depth=depth, object_young=soft, object_poisson=0.45)
            errors.append(contact.force[2] / (4 / 3 * combined * np.sqrt(reduced) * depth**1.5) - 1)
    return {
        "Hertz, soft ball on the stiff tip: depth": worst(depths),
        "Hertz, soft ball on the stiff tip: torsion radius": worst(arms),
        "Hertz, rigid ball on a thick skin: force": worst(forces[None]),
        "Hertz, combined modulus, ball as soft as the skin: force": worst(forces[0.2e6]),
        "Hertz, combined modulus, ball four times softer: force": worst(forces[0.05e6]),
    }


def thin_layer(cache: Path) -> dict[str, float]:
    errors, skin, poisson = [], 0.25e-3, 0.3
    shape = round_tip(radius=RADIUS, skin=skin, reach=0.7, young=0.25e6, poisson=poisson, cells=(12, 12, 12, 2), focus=0.6)
    confined = shape.young * (1 - poisson) / ((1 + poisson) * (1 - 2 * poisson))
    for depth in (0.5e-4, 1e-4, 1.5e-4):
        force = press(SoftTip(shape, cache), lambda p: p[:, 2], depth=depth).force[2]
        errors.append(force / (np.pi * RADIUS * confined * depth**2 / skin) - 1)
    return {"thin compressible skin, elastic foundation: force": worst(errors)}


def full_solve(cache: Path) -> dict[str, float]:
    """An active set on all unknowns of the same mesh, no condensation; frictionless faces, whose gap is known exactly."""
    errors = []
    finger = tip(cache, cells=(8, 8, 12, 2), friction=0.0)
    stiffness, loads, _ = assemble(finger.tip.shape)
    stiffness = (stiffness * SHAPE.young).tocsc()
    for into in (UP, OUT):
        for load in LOADS:
            touch = felt(finger.press(face(into), load * into))
            gap = finger.tip.surface.points @ into
            first = RADIUS * into[2] - RADIUS  # where the plane first touches the capsule
            force = active_set(stiffness, loads, np.tile(into, (gap.size, 1)), gap - first - touch.depth)
            errors.append(force.sum() / load - 1)
    return {"full finite-element solve of the same mesh: force": worst(errors)}


def active_set(stiffness: sp.csc_matrix, loads: sp.csc_matrix, normals: np.ndarray, gap: np.ndarray) -> np.ndarray:
    n = gap.size
    along = sp.csc_matrix((normals.ravel(), (np.arange(3 * n), np.repeat(np.arange(n), 3))), shape=(3 * n, n))
    push = (loads @ along).tocsc()
    active = gap < 0
    for _ in range(30):
        some = np.flatnonzero(active)
        system = sp.bmat([[stiffness, -push[:, some]], [push[:, some].T, None]]).tocsc()
        answer = spla.spsolve(system, np.concatenate([np.zeros(stiffness.shape[0]), -gap[some]]))
        force = np.zeros(n)
        force[some] = answer[stiffness.shape[0] :]
        fresh = np.where(active, force > 0, push.T @ answer[: stiffness.shape[0]] + gap < -1e-12)
        if (fresh == active).all():
            return force
        active = fresh
    raise RuntimeError("the full solve does not settle")


def refined(cache: Path) -> dict[str, float]:
    """The mesh in use against one with twice the facets; fewer than 8 facets touch below about 0.3 N."""
    errors: dict[str, list[float]] = {
        "depth": [],
        "torsion radius": [],
        "centre of pressure, mm": [],
        "taxels, of the force": [],
    }
    used, fine = tip(cache), tip(cache, cells=(14, 14, 22, 3))
    for thing, into in ((ball(20e-3, OUT), OUT), (ball(10e-3, UP, 5e-3), UP), (face(OUT), OUT)):
        for load in LOADS:
            wanted = load * (into + 0.3 * SIDE)
            one, other = (felt(finger.press(thing, wanted)) for finger in (used, fine))
            errors["depth"].append(one.depth / other.depth - 1)
            errors["torsion radius"].append(one.torsion_radius / other.torsion_radius - 1)
            errors["centre of pressure, mm"].append(1e3 * float(np.linalg.norm(one.centre - other.centre)))
            errors["taxels, of the force"].append(float(np.abs(one.taxels - other.taxels).max()) / load)
    return {f"a mesh with twice the facets: {name}": worst(values) for name, values in errors.items()}


def exactness(cache: Path) -> dict[str, float]:
    finger = tip(cache)
    wanted_off, taxels_off, mirrored_off = [], [], []
    for into in (OUT, np.array([0.4, 0.5, 0.8]) / np.linalg.norm([0.4, 0.5, 0.8])):
        for load in LOADS:
            for young in (None, 1e6):
                wanted = load * (into + 0.3 * np.cross(into, UP))
                one = felt(finger.press(ball(12e-3, into), wanted, young=young))
                other = felt(finger.press(ball(12e-3, into * MIRROR), wanted * MIRROR, young=young))
                wanted_off.append(float(np.linalg.norm(one.force - wanted)) / load)
                taxels_off.append(float(np.abs(one.taxels.sum(axis=0) - one.force).max()) / load)
                mirrored_off.append(float(np.abs(other.force * MIRROR - one.force).max()) / load)
    return {
        "wanted force against the force": worst(wanted_off),
        "sum of taxels against the force": worst(taxels_off),
        "mirrored press against the mirrored force": worst(mirrored_off),
    }


def worst(errors: list[float]) -> float:
    return float(max(errors, key=abs))


def random_object(name: str, place: np.ndarray, into: np.ndarray, rng: np.random.Generator) -> Thing:
    if name == "ball":
        radius = rng.uniform(10e-3, 50e-3)
        return sphere(radius, place - radius * into)
    if name == "face":
        return lambda points: (points - place) @ into
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return box(turn, place - turn @ (np.sign(turn.T @ into) * 15e-3), 15e-3)


class Counted:
    """A distance function that counts the points it is asked for."""

    def __init__(self, thing: Thing) -> None:
        self.thing, self.points = thing, 0

    def __call__(self, points: np.ndarray) -> np.ndarray:
        self.points += len(points)
        return self.thing(points)


def speeds(cache: Path, presses: int) -> list[dict]:
    """Random places, forces of 0.5-5 N with up to 0.6 of them across, the object up to 0.3 mm off its place."""
    finger, rows = tip(cache), []
    surface = finger.tip.surface
    for name, young in (("ball", None), ("face", None), ("corner", None), ("ball", 1e6), ("ball", 1e5)):
        rng, times, facets, points, states = np.random.default_rng(0), [], [], [], []
        for number in range(presses + 5):
            at = int(rng.integers(surface.areas.size))
            into = surface.normals[at]
            thing = Counted(random_object(name, surface.points[at] + rng.uniform(-3e-4, 3e-4) * into, into, rng))
            side = np.cross(into, rng.normal(size=3))
            wanted = 10 ** rng.uniform(-0.3, 0.7) * (into + rng.uniform(0, 0.6) * side / np.linalg.norm(side))
            start = time.process_time()
            touch = felt(finger.press(thing, wanted, young=young))
            if number >= 5:  # the first ones compile
                times.append(1e3 * (time.process_time() - start))
                points.append(thing.points)
                facets.append(int((touch.contact.pressure > 0).sum()))
                states.append("saturated" if touch.saturated else "slipping" if touch.slipping else "held")
        rows.append(
            {
                "object": name if young is None else f"{name}, {young / 1e6:g} MPa",
                "median_ms": float(np.median(times)),
                "p95_ms": float(np.quantile(times, 0.95)),
                "max_ms": float(np.max(times)),
                "facets": float(np.median(facets)),
                "distances": float(np.median(points)),
                "saturated": states.count("saturated") / presses,
                "slipping": states.count("slipping") / presses,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presses", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "soft_contact.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        start = time.process_time()
        facets = tip(cache).tip.surface.areas.size
        first = time.process_time() - start
        size = sum(file.stat().st_size for file in cache.iterdir())
        errors = hertz(cache) | thin_layer(cache) | full_solve(cache) | refined(cache) | exactness(cache)
        rows = speeds(cache, options.presses)
    print(f"{facets} facets; compliance {first:.1f} CPU s once, {size / 1e6:.1f} MB on disk")
    for name, error in errors.items():
        print(f"{name:62s} {error:+.2e}")
    for row in rows:
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value:14s}" for key, value in row.items()))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps(
            {
                "facets": facets,
                "compliance_s": first,
                "compliance_mb": size / 1e6,
                "errors": errors,
                "milliseconds": rows,
                "machine": platform.machine(),
                "python": platform.python_version(),
            },
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
