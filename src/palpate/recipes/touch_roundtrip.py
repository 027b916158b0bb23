"""Round trip: a small estimator of the gel's slope learns from simulated presses and is tried on real ones.

If simulated pictures were like real ones, it would do as well as the same estimator that learned from real presses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import torch
from scipy.optimize import least_squares
from torch import nn

from palpate.core.errors import DataError, PalpateError
from palpate.core.units import MM
from palpate.sensors.touch import shading
from palpate.sensors.touch.catalog import lit
from palpate.sensors.touch.contact import Contact
from palpate.sensors.touch.flat import press
from palpate.sensors.touch.imprint import STEEPEST, ball_profile
from palpate.sensors.touch.materials import MATERIALS
from palpate.sensors.touch.model import SensorModel
from palpate.sensors.touch.optics import Optics
from palpate.sensors.touch.sensor import TouchSensor
from palpate.sensors.touch.shapes import Pose, Thing, make_shape, parse_shape
from palpate.sensors.touch.workbench import BallSensor

CELL = 0.12e-3
"""Cells of contact [m]."""
THINGS = (
    *("sphere:2mm", "sphere:3mm", "sphere:5mm", "cylinder:2mm", "cylinder:4mm", "ellipsoid:5mm", "flat", "block", "edge"),
    *("corner", "cone", "pyramid", "ring", "dots", "grid", "knurl", "waves", "thread", "coin", "key", "letter:R", "nut"),
    *("gear", "star", "screw", "weave", "rough:0.1mm"),
)
"""What is pressed to learn from: no ball of the size that real sensors were calibrated with."""
_FINISH = ("steel", "plastic", "wood", "stone")
_SCALE = 20.0
"""Grey levels that count as 1 for the estimator."""
_BLURS = (1.0, 3.0, 9.0)
"""Softening of what the estimator sees [px at 320 columns]."""
_PIXELS = 1500
_HIDDEN = 64
_THIN = 2
"""A ball is looked for in a picture this many times smaller."""


Noise = Literal["none", "frame", "episode"]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture's change with the truth about the gel."""

    change: np.ndarray
    """(H, W, 3) float32 [grey levels]."""
    slopes: np.ndarray
    """(H, W, 2) float32, right and down, components of the unit normal's fall."""
    contact: np.ndarray
    """(H, W) bool; where half of the pixels to learn from are taken."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Errors of an estimator on ball presses, means over presses."""

    slope_deg: float
    """Mean angle between estimated and true normal inside the contact."""
    slope_bias: float
    """Slope of the regression of estimated on true slope inside the contact; below 1: too flat."""
    flat_deg: float
    """The same angle for an estimator that says flat everywhere."""
    centre_mm: float
    radius_mm: float
    """Mean absolute error."""
    radius_bias_mm: float
    presses: int


def seen_by(model: SensorModel, optics: Optics, thickness: float) -> SensorModel:
    """Return a sensor with other optics and another thickness of its gel, which gives only pictures of the optics' size."""
    given = {"markers", "optics"}
    return replace(
        model,
        read_outs=("image",),
        markers=None,
        picture_shape=optics.shape,
        pad=replace(model.pad, thickness=thickness),
        optics=optics,
        sources={k: v for k, v in model.sources.items() if k not in given},
        estimates={k: v for k, v in model.estimates.items() if k not in given} | {"optics": "given by the caller"},
    )


def under_lamps(model: SensorModel, shape: tuple[int, int]) -> SensorModel:
    """Return a sensor of pictures under three lamps of Lambert's law: what one has that nobody calibrated."""
    bare = replace(model, optics=None, sources={k: v for k, v in model.sources.items() if k != "optics"})
    optics = lit(bare).optics
    if not isinstance(optics, Optics):
        raise PalpateError(f"{model.name} gives no picture, so that no lamps can be drawn; take a sensor of pictures")
    return seen_by(model, optics.resized(shape), model.pad.thickness)


def random_things(
    count: int, model: SensorModel, rng: np.random.Generator, *, reach: float = 0.3, deepest: float = 1.3 * MM
) -> list[tuple[Thing, float]]:
    """Draw things of all kinds, their places within `reach` of the view's size from its middle, and depths up to `deepest` [m]."""
    drawn: list[tuple[Thing, float]] = []
    far = reach * model.field_of_view[1], reach * model.field_of_view[0]
    for index in range(count):
        place = Pose(
            x=float(rng.uniform(-1, 1)) * far[0], y=float(rng.uniform(-1, 1)) * far[1], yaw=float(rng.uniform(0, 2 * np.pi))
        )
        material = MATERIALS[_FINISH[int(rng.integers(len(_FINISH)))]]
        shape = parse_shape(THINGS[index % len(THINGS)])
        drawn.append((Thing(shape, material, place, int(rng.integers(2**31))), float(rng.uniform(0.12, 1.0)) * deepest))
    return drawn


def ball_press(
    sensor: BallSensor, circle: tuple[float, float, float], model: SensorModel, shape: tuple[int, int]
) -> tuple[Thing, float]:
    """Return the ball and the depth [m] that make a contact circle x, y, radius [px of a picture of `shape`]."""
    pitch = model.field_of_view[0] / shape[0], model.field_of_view[1] / shape[1]
    x, y = (circle[0] - (shape[1] - 1) / 2) * pitch[1], (circle[1] - (shape[0] - 1) / 2) * pitch[0]
    radius = min(circle[2] * float(np.sqrt(pitch[0] * pitch[1])), STEEPEST * sensor.ball_radius)
    _, depth = ball_profile(sensor.ball_radius, radius, sensor.thickness, sensor.poisson, np.zeros(1))
    return Thing(make_shape("sphere", radius=sensor.ball_radius), pose=Pose(x=x, y=y)), depth


def pressed(model: SensorModel, thing: Thing, depth: float) -> Contact:
    """Press a thing on the gel of a sensor, straight down."""
    pad = model.pad
    shape = round(pad.height / CELL), round(pad.width / CELL)
    pitch = pad.height / shape[0], pad.width / shape[1]
    gap = thing.gap(pad, shape, pitch)
    return press(pad, gap, pitch, depth=min(depth, 0.9 * pad.thickness), object_young=thing.material.young)


def simulate(
    unit: TouchSensor, presses: Sequence[tuple[Thing, float]], rng: np.random.Generator, noise: Noise = "frame"
) -> tuple[np.ndarray, list[Scene]]:
    """Return pictures (N, H, W, 3) uint8 as sensed, and scenes with the truth.

    Args:
        unit: a sensor whose model has optics of `palpate.sensors.touch.optics`.
        presses: things and depths [m].
        rng: of the noise.
        noise: `none`, that of each `frame`, or also contrast, brightness and pattern anew for every picture as in an `episode`.

    Raises:
        PalpateError: for other optics.
    """
    optics = unit.model.optics
    if not isinstance(optics, Optics):
        raise PalpateError(f"{unit.name} has no optics that tell its relief; give its model fitted or Lambert optics")
    rest = unit.ideal(None).image
    pictures, scenes = [], []
    for thing, depth in presses:
        contact = pressed(unit.model, thing, depth)
        if noise == "episode":
            unit.begin_episode(rng)
        picture = (unit.ideal(contact) if noise == "none" else unit.sense(contact, rng)).image
        if picture is None or rest is None:
            raise PalpateError(f"{unit.name} gives no picture")
        relief = optics.relief(contact.sunk)
        touched = cv2.resize((contact.pressure > 0).astype(np.float32), optics.shape[::-1]) > 0.5
        slopes = np.stack(shading.slopes(relief.sunk, relief.pitch), axis=-1)
        pictures.append(picture)
        scenes.append(Scene(change=picture.astype(np.float32) - rest, slopes=slopes, contact=touched))
    return np.stack(pictures), scenes


def real_scene(change: np.ndarray, sensor: BallSensor, circle: tuple[float, float, float]) -> Scene:
    """Return a real ball press (H, W, 3) with the truth that follows from its circle x, y, radius [px]."""
    sunk = sensor.sunk((circle[0], circle[1]), circle[2])
    return Scene(
        change=change.astype(np.float32),
        slopes=np.stack(shading.slopes(sunk, sensor.pitch), axis=-1),
        contact=_distance(sunk.shape, circle) <= circle[2],
    )


def _distance(shape: tuple[int, ...], circle: tuple[float, float, float]) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(x - circle[0], y - circle[1])


def _inputs(change: np.ndarray) -> np.ndarray:
    """Return what the estimator sees of every pixel (H, W, 11): colours near and around it, and its place."""
    rows, cols = change.shape[:2]
    scale = cols / 320
    parts = [cv2.GaussianBlur(change, (0, 0), b * scale) / np.float32(_SCALE) for b in _BLURS]
    y, x = np.meshgrid(shading.places(rows), shading.places(cols), indexing="ij")
    return np.concatenate([*parts, x[..., None], y[..., None]], axis=2)


class SlopeNet(nn.Module):
    """Slope of each pixel from its colours and place."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(3 * len(_BLURS) + 2, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, 2)
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map (B, 11) to slope right and slope down (B, 2)."""
        return self.body(pixels)

    @torch.inference_mode()
    def estimate(self, change: np.ndarray) -> np.ndarray:
        """Return slopes (H, W, 2) of a change (H, W, 3) [grey levels]."""
        seen = _inputs(np.asarray(change, np.float32))
        return self(torch.from_numpy(seen.reshape(-1, seen.shape[-1]))).numpy().reshape(*seen.shape[:2], 2)


def learn(scenes: Sequence[Scene], rng: np.random.Generator, *, steps: int = 2500, batch: int = 2048) -> SlopeNet:
    """Train an estimator.

    Args:
        scenes: to learn from.
        rng: draws pixels, batches and first weights.
        steps: of Adam.
        batch: pixels per step.

    Raises:
        DataError: no scenes.
    """
    if not scenes:
        raise DataError("no scenes to learn from; give one or more")
    parts = [_sampled(scene, rng) for scene in scenes]
    pixels, slopes = (torch.from_numpy(np.concatenate(p)) for p in zip(*parts, strict=True))
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**31)))
        net = SlopeNet()
    optimiser = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for _ in range(steps):
        pick = torch.from_numpy(rng.integers(len(pixels), size=batch))
        loss = nn.functional.mse_loss(net(pixels[pick]), slopes[pick])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def _sampled(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw pixels, half of them in contact."""
    seen, slopes = _inputs(scene.change), scene.slopes.reshape(-1, 2)
    parts = np.flatnonzero(scene.contact), np.flatnonzero(~scene.contact)
    pick = np.concatenate([rng.choice(part, min(_PIXELS // 2, len(part)), replace=False) for part in parts])
    return seen.reshape(-1, seen.shape[-1])[pick], slopes[pick].astype(np.float32)


def find_ball(slopes: np.ndarray, sensor: BallSensor) -> tuple[float, float, float]:
    """Return the circle x, y, radius [px] of the ball press whose imprint has the nearest slopes (H, W, 2), by least squares."""
    steep = np.hypot(slopes[..., 0], slopes[..., 1])
    top = steep > 0.5 * np.percentile(steep, 99)
    rows, cols = np.nonzero(top)
    highest = STEEPEST * sensor.ball_radius / sensor.pitch[0]
    start = np.array([np.median(cols), np.median(rows), np.clip(np.sqrt(top.sum() / np.pi), 4.0, 0.95 * highest)])
    small = sensor.resized((sensor.shape[0] // _THIN, sensor.shape[1] // _THIN))
    seen = cv2.resize(np.ascontiguousarray(slopes), small.shape[::-1], interpolation=cv2.INTER_AREA)

    def off(circle: np.ndarray) -> np.ndarray:
        x, y = (circle[:2] + 0.5) / _THIN - 0.5
        drawn = shading.slopes(small.sunk((float(x), float(y)), float(circle[2]) / _THIN), small.pitch)
        return (np.stack(drawn, axis=-1) - seen).ravel()

    bounds = ([0.0, 0.0, 2.0], [sensor.shape[1] - 1.0, sensor.shape[0] - 1.0, highest])
    x, y, radius = least_squares(
        off, np.clip(start, bounds[0], bounds[1]), bounds=bounds, diff_step=1e-3, loss="soft_l1", f_scale=0.1
    ).x
    return float(x), float(y), float(radius)


def try_on_balls(
    net: SlopeNet, changes: np.ndarray, sensor: BallSensor, circles: Sequence[tuple[float, float, float]]
) -> Errors:
    """Measure an estimator on ball presses against what their circles say.

    Args:
        net: the estimator.
        changes: (N, H, W, 3) [grey levels].
        sensor: ball and pixels.
        circles: of the contacts, x, y, radius [px].
    """
    pixel = float(np.sqrt(sensor.pitch[0] * sensor.pitch[1])) / MM
    highest = STEEPEST * sensor.ball_radius / sensor.pitch[0]
    angles, flats, gains, found = [], [], [], []
    for change, circle in zip(changes, circles, strict=True):
        slopes = net.estimate(change)
        y, x = np.mgrid[: change.shape[0], : change.shape[1]]
        inside = _distance(change.shape[:2], circle) < 0.9 * min(circle[2], highest)
        true = -np.stack([(x - circle[0]) * sensor.pitch[1], (y - circle[1]) * sensor.pitch[0]], axis=-1) / sensor.ball_radius
        got, want = slopes[inside], true[inside]
        angles.append(_angle_deg(got, want))
        flats.append(_angle_deg(np.zeros_like(want), want))
        gains.append(float((got * want).sum() / (want * want).sum()))
        found.append(find_ball(slopes, sensor))
    off = pixel * (np.array(found) - np.array(circles))
    return Errors(
        slope_deg=float(np.mean(angles)),
        slope_bias=float(np.mean(gains)),
        flat_deg=float(np.mean(flats)),
        centre_mm=float(np.hypot(off[:, 0], off[:, 1]).mean()),
        radius_mm=float(np.abs(off[:, 2]).mean()),
        radius_bias_mm=float(off[:, 2].mean()),
        presses=len(circles),
    )


def _angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    """Mean angle between unit normals given by their flat components (P, 2) [deg]."""
    up = [np.sqrt(np.maximum(1 - (part**2).sum(axis=1), 0)) for part in (a, b)]
    length = np.sqrt(((a**2).sum(axis=1) + up[0] ** 2) * ((b**2).sum(axis=1) + up[1] ** 2))
    cosine = ((a * b).sum(axis=1) + up[0] * up[1]) / length
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).mean())
