"""Fit the optics of a real sensor on pictures of ball presses, and say how good the fit is on presses it has not seen.

A ball's imprint in a bonded layer is known from its contact circle (`imprint`), so the picture's change is linear in all coefficients of
the optics: one regularised solve. What is not linear (thickness of the layer, strength of the penalties, how far the light varies over the
picture, the true circles) is chosen by inner folds over whole presses, a sector of the picture each.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from palpate.core.errors import RecordError
from palpate.sensors.touch.imprint import STEEPEST
from palpate.sensors.touch.optics import Optics
from palpate.sensors.touch.presses import Presses
from palpate.sensors.touch.scores import PressScore, mean_score, press_score
from palpate.sensors.touch.workbench import BallSensor, FitPlan, Sums, Workbench

WORK_COLUMNS = 320
"""Pictures are joined to about this many columns for the fit; the optics are scaled back to the full picture."""
SETTLED_PX = 0.1
"""Refinement stops when the circles move less than this on average."""


@dataclass(frozen=True, kw_only=True)
class CircleError:
    """Linear regression of the true circle on the labelled one, from fitted presses: what a label is worth on this data set."""

    mean_label: np.ndarray
    """(3,) x, y, radius [px]."""
    mean_true: np.ndarray
    """(3,) [px]."""
    gain: np.ndarray
    """(3, 3) change of the true circle with the label; identity: labels are exact."""
    spread_px: np.ndarray
    """(3,) standard deviation of label minus true circle [px]."""
    fitted: np.ndarray
    """(N, 3) circles of the fitted presses where their pictures agree best [px]."""

    def expect(self, centre_xy: np.ndarray, radius_px: float) -> tuple[tuple[float, float], float]:
        """Return the expected true circle of a labelled one [px]."""
        x, y, radius = self.mean_true + (np.array([*centre_xy, radius_px]) - self.mean_label) @ self.gain
        return (float(x), float(y)), float(radius)


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """What was chosen and how good it is; scores are means over presses."""

    thickness: float
    ridge: float
    place: float
    circles: CircleError
    in_sample: PressScore
    """On the fitted presses themselves: no measure of quality."""
    held_out: PressScore
    """Every press drawn from its label by a fit without its sector of the picture; thickness and penalties were chosen with it."""


@dataclass(frozen=True, kw_only=True)
class _Choice:
    thickness: float
    ridge: float
    place: float


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Optics, what they were fitted with, and the report."""

    optics: Optics
    sensor: BallSensor
    report: FitReport

    def draw(self, centre_xy: tuple[float, float], radius_px: float) -> np.ndarray:
        """Return the change (H, W, 3) float32 [grey levels] of a ball press in a full picture."""
        return self.optics.difference(self.sensor.sunk(centre_xy, radius_px), self.optics.pitch)


def fit_optics(
    presses: Presses,
    *,
    ball_radius: float,
    pitch: tuple[float, float],
    rng: np.random.Generator,
    plan: FitPlan | None = None,
) -> Fit:
    """Fit optics to ball presses.

    Args:
        presses: rest image, pictures and circles.
        ball_radius: [m].
        pitch: size of a pixel on the gel, rows and columns [m].
        rng: draws pixels.
        plan: what to choose from; None: the usual.

    Raises:
        RecordError: for fewer than 4 presses, a ball smaller than its contacts or a pitch that is not positive.
    """
    plan = plan or FitPlan()
    _check(presses, ball_radius, pitch)
    shape = presses.rest.shape[0], presses.rest.shape[1]
    full = BallSensor(shape=shape, pitch=pitch, ball_radius=ball_radius, thickness=plan.thickness[0], poisson=plan.poisson)
    factor = _factor(shape)
    small = presses.shrunk(factor)
    labels = np.column_stack([small.centre_xy, small.radius_px])
    seed = int(rng.integers(2**63))
    work = full.resized((shape[0] // factor, shape[1] // factor))
    bench_of = partial(_bench, small, work, plan, seed)
    folds = _folds(labels[:, :2], plan.folds)
    best, bench, sums = _choose(bench_of, labels, folds, plan)
    circles, sums = _refine(bench, labels, sums, best, plan.refine)
    if plan.refine:  # wrong circles hide fine differences between the choices
        best, bench, sums = _choose(bench_of, circles, folds, plan)
        circles, sums = _refine(bench, labels, sums, best, plan.refine, start=circles)
    sensor = replace(full, thickness=best.thickness)
    optics = bench.optics(bench.solve(sums, best.ridge, best.place)).resized(shape)
    scale = np.array([(factor - 1) / 2, (factor - 1) / 2, 0.0])
    wide_labels, wide_circles = labels * factor + scale, circles * factor + scale
    report = FitReport(
        thickness=best.thickness,
        ridge=best.ridge,
        place=best.place,
        circles=_circle_error(wide_labels, wide_circles),
        in_sample=_score(presses, [optics] * len(presses), sensor, wide_circles),
        held_out=_score(presses, _held_out(bench, sums, folds, best, shape), sensor, wide_labels),
    )
    return Fit(optics=optics, sensor=sensor, report=report)


def _check(presses: Presses, ball_radius: float, pitch: tuple[float, float]) -> None:
    if len(presses) < 4:
        raise RecordError(
            f"{len(presses)} presses; a fit needs 4 or more, spread over the picture, and is good from about 20 on"
        )
    if min(pitch) <= 0 or ball_radius <= 0:
        raise RecordError(f"ball radius {ball_radius} m, pitch {pitch} m: both must be positive, in metres")
    widest = float(presses.radius_px.max() * np.sqrt(pitch[0] * pitch[1]))
    if widest > ball_radius:
        raise RecordError(
            f"a contact of radius {widest * 1e3:.2f} mm cannot be made by a ball of radius {ball_radius * 1e3:.2f} mm; "
            "check the ball's radius (not diameter), the pitch and the circles"
        )


def _factor(shape: tuple[int, int]) -> int:
    """Largest divisor of both sides that keeps the working number of columns."""
    most = max(1, round(shape[1] / WORK_COLUMNS))
    return max(f for f in range(1, most + 1) if shape[0] % f == 0 and shape[1] % f == 0)


def _folds(centre_xy: np.ndarray, folds: int) -> list[np.ndarray]:
    """Return the held-out presses of each fold: sectors around the presses' middle.

    Neighbours would give each other away: with random folds the light is allowed to vary so much that it runs off where no press was.
    """
    away = centre_xy - centre_xy.mean(axis=0)
    return np.array_split(np.argsort(np.arctan2(away[:, 1], away[:, 0])), min(folds, len(away)))


def _bench(presses: Presses, sensor: BallSensor, plan: FitPlan, seed: int, thickness: float) -> Workbench:
    """Every thickness looks at the same pixels, so that the folds compare like with like."""
    return Workbench(presses, replace(sensor, thickness=thickness), plan, np.random.default_rng(seed))


def _error(sums: list[Sums], bench: Workbench, folds: list[np.ndarray], choice: _Choice) -> float:
    """Mean over held-out presses of the squared error relative to the real change, from the normal equations alone."""
    errors = []
    for out in folds:
        rest = [s for k, s in enumerate(sums) if k not in out]
        w = bench.solve(rest, choice.ridge, choice.place)
        for k in out:
            s = sums[k]
            errors.append((s.power - 2 * (w * s.cross).sum() + (w * (s.gram @ w)).sum()) / s.power)
    return float(np.mean(errors))


def _choose(
    bench_of: Callable[[float], Workbench], labels: np.ndarray, folds: list[np.ndarray], plan: FitPlan
) -> tuple[_Choice, Workbench, list[Sums]]:
    best: tuple[float, _Choice, Workbench, list[Sums]] | None = None
    for thickness in plan.thickness:
        bench = bench_of(thickness)
        sums = [bench.sums(k, labels[k]) for k in range(len(labels))]
        for ridge, place in itertools.product(plan.ridge, plan.place):
            choice = _Choice(thickness=thickness, ridge=ridge, place=place)
            error = _error(sums, bench, folds, choice)
            if best is None or error < best[0]:
                best = error, choice, bench, sums
    if best is None:
        raise RecordError("the plan of the fit leaves nothing to choose from; thickness, ridge and place need one value each")
    return best[1:]


def _refine(
    bench: Workbench, labels: np.ndarray, sums: list[Sums], choice: _Choice, rounds: int, *, start: np.ndarray | None = None
) -> tuple[np.ndarray, list[Sums]]:
    """Move the circles to where the pictures agree, refit, and again."""
    circles = labels if start is None else start
    for _ in range(rounds):
        optics = bench.optics(bench.solve(sums, choice.ridge, choice.place))
        moved = np.stack([bench.moved(k, circles[k], optics) for k in range(len(labels))])
        moved += (labels - moved).mean(axis=0)  # picture and imprint may slide together; the labels' mean pins them
        moved[:, 2] = np.clip(moved[:, 2], 0.25 * labels[:, 2], STEEPEST * bench.sensor.ball_radius / bench.sensor.pitch[0])
        settled = float(np.abs(moved - circles).mean()) < SETTLED_PX
        circles, sums = moved, [bench.sums(k, moved[k]) for k in range(len(labels))]
        if settled:
            break
    return circles, sums


def _circle_error(labels: np.ndarray, circles: np.ndarray) -> CircleError:
    """Regress the fitted circles on the labels; noise in the labels shows as a gain below 1."""
    mean_label, mean_true = labels.mean(axis=0), circles.mean(axis=0)
    a, b = labels - mean_label, circles - mean_true
    gram = a.T @ a / len(a)
    gain = np.linalg.solve(gram + 1e-9 * np.eye(3), a.T @ b / len(a))
    return CircleError(
        mean_label=mean_label, mean_true=mean_true, gain=gain, spread_px=(labels - circles).std(axis=0), fitted=circles
    )


def _held_out(
    bench: Workbench, sums: list[Sums], folds: list[np.ndarray], choice: _Choice, shape: tuple[int, int]
) -> list[Optics]:
    """Optics for every press, fitted on the folds without it."""
    by_press: dict[int, Optics] = {}
    for out in folds:
        rest = [s for k, s in enumerate(sums) if k not in out]
        optics = bench.optics(bench.solve(rest, choice.ridge, choice.place)).resized(shape)
        by_press |= {int(k): optics for k in out}
    return [by_press[k] for k in range(len(sums))]


def _score(presses: Presses, optics: list[Optics], sensor: BallSensor, circles: np.ndarray) -> PressScore:
    scores = []
    for k, (x, y, radius) in enumerate(circles):
        drawn = optics[k].difference(sensor.sunk((x, y), radius), sensor.pitch)
        centre = float(presses.centre_xy[k, 0]), float(presses.centre_xy[k, 1])
        scores.append(press_score(presses.rest, presses.images[k], drawn, centre, float(presses.radius_px[k])))
    return mean_score(scores)
