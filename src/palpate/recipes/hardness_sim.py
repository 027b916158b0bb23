"""Presses of soft hemispheres on a touch sensor, as episodes: what an estimator of hardness learns from and is tried on.

Sample, gel, place and motion are random: irregular speed, hesitation, unknown depth, a start before contact. One episode depends on the
seed and its number only. Two solvers can make the presses (`soft`, `soft_fem`), so that no estimator need be tried on its own physics.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from scipy.interpolate import PchipInterpolator

from palpate.core.errors import PalpateError, UnknownNameError
from palpate.core.randomness import generator
from palpate.core.recording import Recorder
from palpate.core.records import Episode, StreamSpec
from palpate.core.units import MM
from palpate.perception.hardness_scale import HARDEST, SOFTEST, young_of_shore_00
from palpate.recipes.recording import Made, Recording, record
from palpate.recipes.touch_press import COARSE, find_sensor, resized
from palpate.recipes.workers import prepare_worker
from palpate.sensors.touch.contact import Contact, Pad
from palpate.sensors.touch.model import SensorModel
from palpate.sensors.touch.sensor import TouchSensor
from palpate.sensors.touch.soft import BONDED, SoftBall, press_soft
from palpate.sensors.touch.soft_fem import press_finite

Solver = Literal["layer", "half-space", "finite"]
"""`layer`: FFT, the sample a half-space that its plate holds back by an unknown amount; `half-space`: without a plate; `finite`: finite
elements of the whole sample."""

RADII = (6 * MM, 18 * MM)
WIDEST = 5 * MM
"""No contact gets wider than about this [m], so that it stays in the picture."""
STEEPEST = 0.2
"""Largest approach as a share of the sample's radius: small strain."""
DEEPEST = 0.5
"""Likewise as a share of the gel's thickness."""
GEL_SPREAD = {"young": 0.05, "thickness": 0.03}
"""Standard deviation of the log between gels of one kind: a guess; nobody published one."""
RADIUS_ERROR = 0.1
"""A known radius is off by up to this share."""
FORCE_NOISE, FORCE_GAIN = 0.02, 0.02
"""Of a gripper's force: standard deviation of each reading [N], and of its gain."""
APPROACH_NOISE = 0.02 * MM
"""Standard deviation of each reading of a gripper's travel [m]."""
_OFF_CENTRE = 1.0 * MM
_SAMPLE, _GEL, _PRESS = 1, 2, 3
"""Keys of generators."""


@dataclass(frozen=True, kw_only=True)
class PressesConfig:
    """Which presses, and where they go."""

    out: Path
    presses: int = 400
    seed: int = 0
    workers: int = 1
    resume: bool = False
    solver: Solver = "layer"
    per_object: int = 2
    """Presses of one sample; every sample meets another unit of the sensor, with its own gel."""
    sensor: str = "gelsight-2017"
    picture: int = 160
    """Longer side of the pictures [px]."""
    rate_hz: float = 15.0
    """Pictures a second."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How a sample is pressed on: where it is at each picture."""

    times: np.ndarray
    """(T,) [s]"""
    depth: np.ndarray
    """(T,) [m] approach beyond first contact; below 0 before it."""
    contact: float
    """Moment of first contact [s]."""


def draw_sample(seed: int, number: int) -> tuple[SoftBall, float, float]:
    """Return sample `number` of a seed, its Shore 00, and how much its plate holds it back if it is drawn as a half-space."""
    rng = generator(seed, _SAMPLE, number)
    shore = float(rng.uniform(SOFTEST, HARDEST))
    ball = SoftBall(young=float(young_of_shore_00(shore)), radius=float(rng.uniform(*RADII)))
    return ball, shore, float(rng.uniform(0.0, BONDED))


def draw_gel(model: SensorModel, seed: int, number: int) -> tuple[TouchSensor, Pad]:
    """Return the unit of the sensor that meets sample `number` of a seed, somewhat worn, and its gel."""
    rng = generator(seed, _GEL, number)
    young, thickness = (float(np.exp(rng.normal(0.0, GEL_SPREAD[key]))) for key in ("young", "thickness"))
    unit = TouchSensor(model, int(rng.integers(2**31)), presses=float(rng.uniform(0, 1000)))
    return unit, replace(model.pad, young=model.pad.young * young, thickness=model.pad.thickness * thickness)


def draw_motion(radius: float, thickness: float, rate_hz: float, rng: np.random.Generator) -> Motion:
    """Draw how a hand presses a ball of this radius [m] on: uneven, with halts and small retreats, to some depth.

    Args:
        radius: of the ball [m].
        thickness: of the gel [m].
        rate_hz: pictures a second.
        rng: of this press.
    """
    # The contact's radius is about sqrt(radius * depth), a little more on a thin gel.
    peak = rng.uniform(0.4, 1.0) * min(STEEPEST * radius, WIDEST**2 / (1.25 * radius), DEEPEST * thickness)
    count = int(rng.integers(4, 9))
    steps = rng.gamma(0.8, size=count) + 0.02
    halt = int(rng.integers(1, count))
    steps[halt] = -rng.uniform(0.0, 0.1) * steps[:halt].sum() if rng.random() < 0.5 else 0.0
    depth = np.r_[0.0, np.maximum(np.cumsum(steps), 0.0)]
    depth *= peak / depth.max()
    lead = rng.uniform(0.28, 0.6)
    moments = lead + np.r_[0.0, np.cumsum(rng.dirichlet(np.full(count, 2.0)))] * rng.uniform(0.6, 1.6)
    start = -rng.uniform(0.2, 1.0) * MM
    path = PchipInterpolator(np.r_[0.0, moments], np.r_[start, depth])
    end = moments[-1] + rng.uniform(0.1, 0.3)
    times = np.arange(rng.uniform(0.0, 1 / rate_hz), end, 1 / rate_hz)
    return Motion(times=times, depth=path(np.minimum(times, moments[-1])), contact=float(moments[0]))


def solve_press(
    solver: Solver,
    pad: Pad,
    ball: SoftBall,
    motion: Motion,
    model: SensorModel,
    *,
    centre: tuple[float, float],
    support: float,
) -> list[Contact | None]:
    """Return the gel's state at each picture, None without contact."""
    view = model.field_of_view
    shape = round(view[0] / COARSE), round(view[1] / COARSE)
    pitch = view[0] / shape[0], view[1] / shape[1]
    order = np.argsort(motion.depth)
    order = order[motion.depth[order] > 0]
    depths = motion.depth[order]
    if solver == "finite":
        solved = press_finite(pad, ball, depths, shape=shape, pitch=pitch, centre=centre)
    else:
        extra = support if solver == "layer" else 0.0
        solved = press_soft(pad, ball, depths, shape=shape, pitch=pitch, centre=centre, support=extra)
    out: list[Contact | None] = [None] * len(motion.depth)
    for t, contact in zip(order, solved, strict=True):
        out[t] = contact
    return out


def press_episode(config: PressesConfig, model: SensorModel, index: int) -> Episode:
    """Press one sample once and return what was recorded.

    Args:
        config: of the data set.
        model: the sensor at the config's picture size.
        index: number of the press.
    """
    number = index // config.per_object
    ball, shore, support = draw_sample(config.seed, number)
    rng = generator(config.seed, _PRESS, index)
    motion = draw_motion(ball.radius, model.pad.thickness, config.rate_hz, rng)
    centre = tuple(float(v) for v in rng.uniform(-_OFF_CENTRE, _OFF_CENTRE, 2))
    unit, pad = draw_gel(model, config.seed, number)
    contacts = solve_press(config.solver, pad, ball, motion, model, centre=(centre[0], centre[1]), support=support)
    recorder = _record(config, unit, motion, contacts, rng)
    known = ball.radius * (1 + rng.uniform(-RADIUS_ERROR, RADIUS_ERROR))
    recorder.mark("contact", motion.contact)
    return Episode(
        index=index,
        seed=config.seed,
        task="press",
        groups={"object": f"sample-{config.seed}-{number:04d}"},
        streams=recorder.streams(),
        events=recorder.events(),
        arrays={"radius": np.array([known])},
        labels={"shore00": shore},
        truth={
            "young": ball.young,
            "radius": ball.radius,
            "support": support,
            "gel.young": pad.young,
            "gel.thickness": pad.thickness,
            "depth": float(motion.depth.max()),
        },
    )


def _record(
    config: PressesConfig, unit: TouchSensor, motion: Motion, contacts: list[Contact | None], rng: np.random.Generator
) -> Recorder:
    """Record pictures, force and travel, each with its noise."""
    recorder = Recorder()
    shape = (*unit.image_shape, 3)
    recorder.declare(
        StreamSpec(name="touch.pad", kind="touch", shape=shape, dtype="uint8", rate_hz=config.rate_hz, frame="gel")
    )
    for name, sign in (("press.force", "N"), ("press.approach", "m")):
        recorder.declare(
            StreamSpec(name=name, kind="series", shape=(1,), dtype="float32", rate_hz=config.rate_hz, unit=sign, frame="gel")
        )
    unit.begin_episode(rng)
    gain = 1 + rng.normal(0.0, FORCE_GAIN)
    for time, depth, contact in zip(motion.times, motion.depth, contacts, strict=True):
        image = unit.sense(contact, rng).image
        force = 0.0 if contact is None else float(contact.force[2])
        recorder.add("touch.pad", float(time), np.asarray(image))
        recorder.add("press.force", float(time), np.array([gain * force + rng.normal(0.0, FORCE_NOISE)]))
        travel = depth - motion.depth[0] + rng.normal(0.0, APPROACH_NOISE)
        recorder.add("press.approach", float(time), np.array([travel]))
    return recorder


_worker: dict[str, Any] = {}


def start_worker(config: PressesConfig) -> None:
    """Build the sensor, once per process."""
    prepare_worker()
    _worker.update(config=config, model=resized(find_sensor(config.sensor), config.picture))


def run_press(index: int) -> Made:
    """Press one ball and return the episode."""
    config: PressesConfig = _worker["config"]
    return Made.of(press_episode(config, _worker["model"], index))


def collect_presses(config: PressesConfig) -> Path:
    """Collect the presses that are still missing; return the folder of the data set.

    Raises:
        PalpateError: counts below 1, an unknown solver, a sensor without pictures, a folder with other data, a worker that died.
    """
    if min(config.presses, config.per_object, config.workers) < 1 or not config.rate_hz >= 10:
        raise PalpateError(
            f"--presses {config.presses}, --per-object {config.per_object}, --workers {config.workers} must be 1 or more, "
            f"--rate-hz {config.rate_hz:g} 10 or more"
        )
    if config.solver not in get_args(Solver):
        raise UnknownNameError("solver", config.solver, get_args(Solver))
    if find_sensor(config.sensor).picture_shape is None or config.picture < 64:
        raise PalpateError(
            f"--sensor {config.sensor} --picture {config.picture}: a sensor of pictures of 64 px or more is needed"
        )
    names = ("seed", "solver", "per_object", "sensor", "picture", "rate_hz")
    about = {"recipe": "presses", **{name: getattr(config, name) for name in names}}
    made = Recording(
        out=config.out,
        task="press",
        about=about,
        count=config.presses,
        unit="press",
        workers=config.workers,
        resume=config.resume,
    )
    return record(made, run_press, lambda index: (index,), start_worker, (config,))
