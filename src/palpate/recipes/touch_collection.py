"""Collecting touches: the same things pressed by several touch sensors, as episodes with a clock for every sensor.

Beside touch an episode holds a camera's picture of the touched place and sentences that describe how it feels. The sentences are made
from the object's true properties: they are annotation, as a person's would be, and no sensor's (TacQuad of AnyTouch, Section 3). One
episode is one touch of one object by all sensors. It depends on the seed and its number only, whatever the number of workers.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from palpate.core.errors import PalpateError
from palpate.core.randomness import generator
from palpate.core.recording import Recorder
from palpate.core.records import Episode, StreamSpec
from palpate.recipes.recording import Made, Recording, record
from palpate.recipes.touch_motion import Mode, Touch, draw_path, draw_touch
from palpate.recipes.touch_motion import Path as Motion
from palpate.recipes.touch_press import COARSE, AnyContact, PressRig, Step, find_sensor, resized
from palpate.recipes.workers import prepare_worker
from palpate.sensors.touch.model import SensorModel
from palpate.sensors.touch.photo import photograph
from palpate.sensors.touch.sensor import Reading
from palpate.sensors.touch.words import describe_touch

FORCE_LIMIT = 12.0
"""No sensor is pressed harder; where one would be, the depth is less for all [N]."""
DEEPEST = 0.55
"""Largest depth as a share of the thinnest gel."""
CLOCK_HZ = 100.0
"""Of the stand's or hand's own streams."""
CAMERA = "camera.rgb"
PHOTO = 96
"""Side of the camera's picture [px]."""
SHORT = {"gelsight": "gelsight-2017"}
"""What the papers call a sensor, and which one of the catalogue it is."""
_TEXT, _PHOTO, _UNIT = 4, 5, 6
"""Keys of the generators of words, of pictures and of units."""


@dataclass(frozen=True, kw_only=True)
class TouchConfig:
    """Where touches go, how many, by which sensors."""

    out: Path
    sensors: Sequence[str] = ("digit", "gelsight-mini", "9dtact", "tac3d")
    mode: Mode = "fine"
    touches: int = 1000
    seed: int = 0
    workers: int = 2
    resume: bool = False
    objects: int = 120
    picture: int = 128
    """Longer side of stored pictures [px]; 0: the sensor's own size."""
    rate_hz: float = 0.0
    """Most frames a second of any sensor; 0: each sensor's own rate."""
    camera: bool = True
    """Take a picture of the touched place."""
    unit: int = 0
    """Which unit of each kind of sensor, the first if there are several."""
    units: int = 1
    """Units of each kind, one drawn for each touch; they differ as real ones do. Group `unit` tells which."""
    optics: Sequence[str] = ()
    """NAME=FILE for sensors that were calibrated."""


@dataclass(frozen=True)
class _Plan:
    """What a worker needs to know; small and picklable."""

    sensors: tuple[str, ...]
    optics: tuple[tuple[str, Path], ...]
    mode: Mode
    objects: int
    picture: int
    rate_hz: float
    camera: bool
    unit: int
    units: int


_worker: dict[str, Any] = {}


def start_worker(plan: _Plan) -> None:
    """Build the sensors, once per process."""
    prepare_worker()
    _worker.update(rigs={}, plan=plan)


def _rigs(plan: _Plan, unit: int) -> list[PressRig]:
    files = dict(plan.optics)
    models = [_model(name, plan) for name in plan.sensors]
    names = [model.name for model in models]
    if not names or len(set(names)) < len(names):
        raise PalpateError(f"--sensors {' '.join(plan.sensors)}: give one or more different sensors")
    stray = sorted(set(files) - set(names))
    if stray:
        raise PalpateError(f"--optics names {', '.join(stray)}, which --sensors does not: {', '.join(names)}")
    return [PressRig(model, unit_seed=unit, optics=files.get(model.name), cell=COARSE) for model in models]


def _model(name: str, plan: _Plan) -> SensorModel:
    """Return a sensor with pictures as small and as rare as asked for."""
    model = resized(find_sensor(SHORT.get(name, name)), plan.picture or None)
    return replace(model, rate_hz=min(model.rate_hz, plan.rate_hz)) if plan.rate_hz else model


def run_touch(seed: int, index: int) -> Made:
    """Do one touch with the sensors of this process."""
    plan: _Plan = _worker["plan"]
    touch = draw_touch(seed, index, plan.objects)
    unit = plan.unit + int(generator(seed, _UNIT, index).integers(plan.units))
    if unit not in _worker["rigs"]:
        _worker["rigs"][unit] = _rigs(plan, unit)
    which = {"unit": str(unit)} if plan.units > 1 else {}
    try:
        episode = touch_episode(_worker["rigs"][unit], touch, plan.mode, seed, index, camera=plan.camera)
    except PalpateError as error:
        empty = Episode(index=index, seed=seed, task="touch", groups=_groups(touch) | which)
        return Made.of(empty, f"{touch.thing.shape.text}: {error}")
    return Made.of(replace(episode, groups={**episode.groups, **which}))


def touch_episode(rigs: Sequence[PressRig], touch: Touch, mode: Mode, seed: int, index: int, *, camera: bool = True) -> Episode:
    """Touch one object with every sensor in turn and return what was recorded.

    Args:
        rigs: the sensors.
        touch: what is touched, where, how deep.
        mode: `fine` or `coarse`.
        seed: of the data set.
        index: number of the touch.
        camera: take a picture of the touched place.

    Raises:
        PalpateError: a contact that cannot be solved.
    """
    touch = replace(touch, depth=bearable_depth(rigs, touch))
    pause = 1.2 / min(rig.model.rate_hz for rig in rigs)
    recorder = Recorder()
    motions: list[Motion] = []
    truth = _truth(touch)
    for rig in rigs:
        rng = generator(seed, 3, index, zlib.crc32(rig.model.name.encode()))
        motion = draw_path(touch, mode, rng, pause=pause)
        motions.append(motion)
        peak = _record(recorder, rig, touch, motion, rng)
        truth |= {f"force.{rig.model.name}": peak, f"young.{rig.model.name}": rig.model.pad.young}
    if camera:
        _record_photo(recorder, touch, generator(seed, _PHOTO, index))
    _record_motion(recorder, [rig.model.name for rig in rigs], motions, mode)
    for name, time in zip(("contact", "hold", "release", "free"), motions[0].times, strict=False):
        recorder.mark(name, time)
    return Episode(
        index=index,
        seed=seed,
        task="touch",
        groups=_groups(touch),
        streams=recorder.streams(),
        events=recorder.events(),
        arrays={"spot": np.array([touch.thing.pose.x, touch.thing.pose.y, touch.thing.pose.yaw])},
        texts={"touch": describe_touch(touch.thing, generator(seed, _TEXT, index))},
        truth=truth,
    )


def bearable_depth(rigs: Sequence[PressRig], touch: Touch) -> float:
    """Return the touch's depth, or less, such that no gel is pressed too deep or too hard [m]."""
    depth = min([touch.depth, *(DEEPEST * rig.depth_limit for rig in rigs)])
    for rig in rigs:
        limit = min(FORCE_LIMIT, 0.5 * rig.model.max_force)
        meeting = rig.meet(touch.thing)
        if meeting.press(Step(depth=depth), guard=False).force[2] > limit:
            meeting.release()
            depth = min(depth, float(meeting.press(Step(force=limit)).approach))
    return depth


def _record(recorder: Recorder, rig: PressRig, touch: Touch, motion: Motion, rng: np.random.Generator) -> float:
    """Record one sensor's stream on its own clock; return its largest normal force [N]."""
    rate, name = rig.model.rate_hz, rig.model.name
    times = np.arange(rng.uniform(0, 1 / rate), motion.times[-1], 1 / rate)
    rig.unit.begin_episode(rng)
    recorder.declare(
        StreamSpec(
            name=f"press.force.{name}",
            kind="series",
            shape=(3,),
            dtype="float32",
            rate_hz=rate,
            unit="N",
            frame="gel",
            names=("x", "y", "z"),
        )
    )
    peak = 0.0
    for time, contact in zip(times, _contacts(rig, touch, motion, times), strict=True):
        force = np.zeros(3) if contact is None else contact.force
        peak = max(peak, float(force[2]))
        recorder.add(f"press.force.{name}", float(time), force)
        for spec, value in _samples(rig, rig.unit.sense(contact, rng)):
            recorder.declare(spec)
            recorder.add(spec.name, float(time), value)
    return peak


def _contacts(rig: PressRig, touch: Touch, motion: Motion, times: np.ndarray) -> Iterator[AnyContact | None]:
    """Yield the state of the gel at each time, each going on from the one before; None without contact."""
    meeting = rig.meet(replace(touch.thing, pose=motion.pose))
    last = np.zeros(4)
    contact: AnyContact | None = None
    for state in motion.at(times):
        if state[0] <= 0:
            meeting.release()
            contact = None
        elif contact is None or (state != last).any():  # what is held still does not change
            step = state - last
            contact = meeting.press(Step(depth=float(state[0]), shift=(float(step[1]), float(step[2])), twist=float(step[3])))
        last = state
        yield contact


def _samples(rig: PressRig, reading: Reading) -> Iterator[tuple[StreamSpec, np.ndarray]]:
    """Yield the streams of one reading: pictures, markers, and what else a sensor gives as numbers."""
    name, rate = rig.model.name, rig.model.rate_hz
    frame = reading.frame(0.0)
    if frame.image is not None:
        shape = frame.image.shape
        yield StreamSpec(name=f"touch.{name}", kind="touch", shape=shape, dtype="uint8", rate_hz=rate, frame="gel"), frame.image
    if frame.taxels is not None:
        unit = "m,N" if reading.taxels is None and reading.displacement is not None else "N"
        values = frame.taxels
        yield _numbers(f"taxels.{name}", values, rate, unit), values
    if reading.markers is not None and frame.image is not None:
        values = reading.markers.astype(np.float32)
        yield _numbers(f"markers.{name}", values, rate, "px"), values


def _numbers(name: str, values: np.ndarray, rate: float, unit: str) -> StreamSpec:
    return StreamSpec(name=name, kind="taxels", shape=values.shape, dtype="float32", rate_hz=rate, unit=unit, frame="gel")


def _record_photo(recorder: Recorder, touch: Touch, rng: np.random.Generator) -> None:
    """Record one picture of the place, taken before anything touches it."""
    picture = photograph(touch.thing, rng, PHOTO)
    recorder.declare(StreamSpec(name=CAMERA, kind="rgb", shape=picture.shape, dtype="uint8", frame="camera"))
    recorder.add(CAMERA, 0.0, picture)


def _record_motion(recorder: Recorder, names: Sequence[str], motions: Sequence[Motion], mode: Mode) -> None:
    """Record what stand or hand did, a column for each sensor."""
    times = np.arange(0.0, max(motion.times[-1] for motion in motions), 1 / CLOCK_HZ)
    states = np.stack([motion.at(times) for motion in motions], axis=1)
    streams = {"press.depth": (0, "m")}
    if mode == "coarse":
        streams |= {"press.slide.x": (1, "m"), "press.slide.y": (2, "m"), "press.twist": (3, "rad")}
    for name, (column, unit) in streams.items():
        recorder.declare(
            StreamSpec(
                name=name,
                kind="series",
                shape=(len(names),),
                dtype="float32",
                rate_hz=CLOCK_HZ,
                unit=unit,
                frame="gel",
                names=tuple(names),
            )
        )
        for time, row in zip(times, states[:, :, column], strict=True):
            recorder.add(name, float(time), row)


def _groups(touch: Touch) -> dict[str, str]:
    thing = touch.thing
    return {"object": touch.object_name, "spot": touch.spot, "material": thing.material.name, "shape": thing.shape.name}


def _truth(touch: Touch) -> dict[str, float]:
    """Return the object's properties; a rigid one has no Young's modulus."""
    thing, material = touch.thing, touch.thing.material
    out = {"rigid": float(material.young is None), "poisson": material.poisson, "friction": material.friction}
    out |= {} if material.young is None else {"young": material.young}
    out |= {"roughness": material.roughness, "hurst": material.hurst, "depth": touch.depth, "speed": touch.speed}
    out |= {"spot.x": thing.pose.x, "spot.y": thing.pose.y, "spot.yaw": thing.pose.yaw}
    return out | {f"shape.{name}": value for name, value in thing.shape.numbers.items()}


def _optics_files(given: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    out = []
    for text in given:
        name, equals, file = text.partition("=")
        if not equals or not Path(file).is_file():
            raise PalpateError(f"--optics {text!r}: give SENSOR=FILE, a file that `palpate calibrate touch` wrote")
        out.append((name, Path(file)))
    return tuple(out)


def collect_touch(config: TouchConfig) -> Path:
    """Collect the touches that are still missing; return the folder of the data set.

    Raises:
        PalpateError: unknown sensors, counts below 1, a folder with other data, a worker that died, a full disk.
    """
    if min(config.touches, config.objects, config.units) < 1:
        raise PalpateError(
            f"--touches {config.touches}, --objects {config.objects}, --units {config.units}: at least 1 of each is needed"
        )
    if config.picture and config.picture < 16:
        raise PalpateError(f"--picture {config.picture}: give 16 pixels or more, or 0 for the sensor's own size")
    if config.rate_hz and not 5.0 <= config.rate_hz <= 1000.0:
        raise PalpateError(f"--rate-hz {config.rate_hz:g}: give 5 to 1000 frames a second, or 0 for each sensor's own rate")
    plan = _Plan(
        sensors=tuple(name.strip() for given in config.sensors for name in given.split(",") if name.strip()),
        optics=_optics_files(config.optics),
        mode=config.mode,
        objects=config.objects,
        picture=config.picture,
        rate_hz=config.rate_hz,
        camera=config.camera,
        unit=config.unit,
        units=config.units,
    )
    models = [rig.model for rig in _rigs(plan, plan.unit)]  # a wrong name is found before the folder is made
    about = {
        "recipe": "touch",
        "mode": config.mode,
        "seed": config.seed,
        "objects": config.objects,
        "picture": config.picture,
        "rate_hz": config.rate_hz,
        "camera": config.camera,
        "unit": config.unit,
        "sensors": [model.name for model in models],
        "optics": {name: file.name for name, file in plan.optics},
    } | ({"units": config.units} if config.units > 1 else {})
    made = Recording(
        out=config.out,
        task="touch",
        about=about,
        count=config.touches,
        unit="touch",
        workers=config.workers,
        resume=config.resume,
    )
    return record(made, run_touch, lambda index: (config.seed, index), start_worker, (plan,))
