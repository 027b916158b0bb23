"""Rows and tables of touch_realism.py: the classifier, contrast, camera noise, and what is still wrong."""

from dataclasses import asdict
from typing import Any

import numpy as np
from touch_recordings import KEY_FRAMES

from palpate.core.randomness import generator
from palpate.evaluation.intervals import Interval
from palpate.learning.features import FeatureConfig, extract_features
from palpate.models.backbones import build_backbone
from palpate.recipes import touch_realism as look

Pictures = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Images (N, H, W, 3), rest images of each or of all, groups (N,)."""
CLIPS = 40
"""Clips that camera noise is measured on."""
LONGEST = 40


def interval(value: Interval) -> dict[str, float]:
    return {"auc": value.value, "low": value.low, "high": value.high, "groups": value.groups}


class Judge:
    """Tells sets of pictures apart, on whole pictures and on changes against rest, by simple and by a frozen network's features."""

    def __init__(self, backbone: str, seed: int) -> None:
        self.seed, self.net = seed, build_backbone(backbone) if backbone else None
        self.name = backbone
        self.cache: dict[tuple[int, str, str], np.ndarray] = {}
        self.kept: list[np.ndarray] = []

    def features(self, images: np.ndarray, rests: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        change = images.astype(np.float32) - rests
        inputs = {"picture": images, "change": change}
        found = {(view, "simple"): np.stack([look.describe(p) for p in pictures]) for view, pictures in inputs.items()}
        if self.net is not None:
            seen = {"picture": images, "change": np.clip(np.rint(128 + change), 0, 255).astype(np.uint8)}
            for view, pictures in seen.items():
                deep = extract_features(self.net, pictures, FeatureConfig(), progress=False)[0]
                found[view, self.name] = deep.astype(np.float32)
        return found

    def of(self, pictures: Pictures) -> dict[tuple[str, str], np.ndarray]:
        images, rests, _ = pictures
        if not any(images is kept for kept in self.kept):
            for (view, how), values in self.features(images, rests).items():
                self.cache[id(images), view, how] = values
            self.kept.append(images)
        return {key[1:]: values for key, values in self.cache.items() if key[0] == id(images)}

    def sets(self, sensor: str, name: str, real: Pictures, other: Pictures) -> list[dict[str, Any]]:
        first, second, rows = self.of(real), self.of(other), []
        for view, how in first:
            rng = generator(self.seed, 6)
            auc = look.told_apart(first[view, how], second[view, how], (real[2], other[2]), rng)
            rows.append({"sensor": sensor, "real against": name, "seen": view, "features": how, **interval(auc)})
        return rows

    def halves(self, sensor: str, images: np.ndarray, rests: np.ndarray, groups: np.ndarray) -> list[dict[str, Any]]:
        rows = []
        for (view, how), values in self.of((images, rests, groups)).items():
            found = look.halves_apart(values, groups, generator(self.seed, 7))
            areas = np.array([f.value for f in found])
            rows.append(
                {
                    **{"sensor": sensor, "real against": "real, random halves", "seen": view, "features": how},
                    **{
                        "auc": float(areas.mean()),
                        "low": float(areas.min()),
                        "high": float(areas.max()),
                        "groups": found[0].groups,
                    },
                }
            )
        return rows


def contrast_rows(sensor: str, sets: dict[str, tuple[np.ndarray, np.ndarray | None]]) -> list[dict[str, Any]]:
    rows = []
    for name, (images, change) in sets.items():
        for view, pictures in (("picture", images), ("change", change)):
            if pictures is not None:
                figures = asdict(look.contrast(pictures))
                rows.append({"sensor": sensor, "set": name, "seen": view, "pictures": len(pictures), **figures})
    return rows


def noise_rows(still: dict[str, list[np.ndarray]], sensors: dict[str, Any]) -> list[dict[str, Any]]:
    """Camera noise of recordings beside what the simulated sensor adds to each frame."""
    rows = []
    for name, clips in still.items():
        if not clips:
            continue
        lag = KEY_FRAMES if "PhysiCLeAR" in name else 1
        found = [look.flicker(clip[:LONGEST], lag) for clip in clips[:CLIPS]]
        means = {key: float(np.median([asdict(f)[key] for f in found])) for key in asdict(found[0])}
        rows.append({"sensor": name, "set": "real", "clips": len(found), "lag": lag, **means})
    for kind, sensor in sensors.items():
        unit = sensor.lamps()
        rng = generator(0, 8)
        frames = np.stack([unit.sense(None, rng).image for _ in range(9)])
        rows.append({"sensor": kind, "set": "simulated, same rest image", "clips": 1, "lag": 1, **asdict(look.flicker(frames))})
    return rows


def wrongs(result: dict[str, Any]) -> list[str]:
    """What is measurably wrong, in words, worst ratio first."""
    found: list[tuple[float, str]] = []
    for row in result["around"]:
        if row["set"] != "fitted, frame noise":
            continue
        real = next(r for r in result["around"] if r["set"] == "real" and r["sensor"] == row["sensor"])
        for key in [k for k in row if k.startswith("rms") or k in ("rim", "grain")]:
            words = {"rim": "sharpness of the rim [levels/px]", "grain": "grain far from the press [levels]"}
            what = words.get(key, f"strength at {key.removeprefix('rms ')} contact radii [levels]")
            found.append(_ratio(row["sensor"], what, real[key], row[key]))
        for key in [k for k in row if k.startswith("error")]:
            span = key.removeprefix("error ")
            share = row[key] / max(real[f"rms {span}"], 1e-9)
            size = f"({row[key]:.1f} of {real[f'rms {span}']:.1f} levels)"
            text = f"{row['sensor']}: error at {span} contact radii is {share:.0%} of the real change {size}"
            if share > 0.5:
                found.append((share, text))
    for row in result["noise"]:
        if row["set"] != "real":
            real = next((r for r in result["noise"] if r["set"] == "real"), None)
            if real is not None:
                for key in ("std", "std_small", "neighbour", "correlation"):
                    found.append(
                        _ratio(f"{row['sensor']} against {real['sensor']}", f"camera noise, {key}", real[key], row[key])
                    )
    return [text for size, text in sorted(found, reverse=True) if size > 0.22]


def _ratio(sensor: str, what: str, real: float, drawn: float) -> tuple[float, str]:
    size = abs(np.log(max(abs(drawn), 1e-3) / max(abs(real), 1e-3)))
    return float(size), f"{sensor}: {what}: real {real:.2f}, simulated {drawn:.2f}"


def line(*values: object) -> str:
    """Text in columns of 26, numbers in columns of 7."""
    parts = [f"{v:7.2f}" if isinstance(v, float) else f"{str(v)[:44]:{26 if n else 28}}" for n, v in enumerate(values)]
    return " ".join(parts)


def print_rows(result: dict[str, Any]) -> None:
    print(
        "\nContrast: std of red, green, blue; 1 % and 99 %; difference of colours; correlation rg, rb, gb; spectrum slope; steepness"
    )
    for r in result["contrast"]:
        print(
            line(
                r["sensor"],
                r["set"],
                r["seen"],
                *r["std"],
                r["low"],
                r["high"],
                r["colour"],
                *r["correlation"],
                r["slope"],
                r["steep"],
            )
        )
    print(f"\nAround presses [grey levels]: rms of the change and of its error between {look.RINGS} contact radii; rim, grain")
    for r in result["around"]:
        print(line(r["sensor"], r["set"], *(v for k, v in r.items() if k.startswith(("rms", "error"))), r["rim"], r["grain"]))
    print("\nCamera noise: std, std at 64 rows, spectrum slope, correlation of colours, of neighbours, frozen blocks")
    for r in result["noise"]:
        print(line(r["sensor"], r["set"], *(r[k] for k in ("std", "std_small", "slope", "correlation", "neighbour", "frozen"))))
    print(
        "\nRound trip, errors on held-out balls: slope and what `flat` would have [deg], gain; centre, radius, bias of radius [mm]"
    )
    keys = ("slope_deg", "flat_deg", "slope_bias", "centre_mm", "radius_mm", "radius_bias_mm")
    for r in result["round_trip"]:
        if "learned from" in r:
            print(line(r["sensor"], r["learned from"], f"on {r['tried on']}", *(r[k] for k in keys)))
    print("\nTold apart from real (area under the curve, 0.5: not at all; random halves: mean and range of nine)")
    for r in result["classifier"]:
        print(line(r["sensor"], r["real against"], f"{r['seen']}, {r['features']}", r["auc"], r["low"], r["high"]))
    print("\nStill wrong, worst first")
    for text in result["still_wrong"]:
        print(f"- {text}")
    for text in result["skipped"]:
        print(f"skipped: {text}")
    print(f"{result['minutes']:.1f} minutes")
