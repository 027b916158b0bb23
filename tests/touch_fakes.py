"""Made-up touches by several sensors: the same bump under other lights, with labels that its size and sharpness give."""

from dataclasses import replace

import numpy as np
import torch

from data_fakes import stream
from palpate.core.records import Episode
from palpate.data.writer import EpisodeWriter
from palpate.learning.checkpoint import Run, save_run
from palpate.models.touch_encoder import TouchEncoder, TouchEncoderConfig
from press_fakes import press

COLOURS = {"digit": (1.0, 0.2, 0.2), "gelsight": (0.2, 1.0, 0.3), "duragel": (0.2, 0.3, 1.0)}
MATERIALS = ("foam", "rubber", "steel")


def frames(sensor, radius, gain, seed, n=14):
    """(T, 24, 32, 3) uint8 of one press; the sensor decides the colours."""
    rng = np.random.default_rng(seed)
    centre = tuple(rng.uniform(0.35, 0.65, 2))
    grey = press(seed=seed, n=n, on=4, off=12, ramp=3, gain=gain, rows=24, cols=32, radius=radius, centre=centre)
    return (grey * np.array(COLOURS[sensor]) * 0.8 + 20).clip(0, 255).astype(np.uint8)


def touch_episode(index, objects, sensors):
    """A touch of object `index % objects`: larger objects are softer and of another material."""
    number = index % objects
    radius, gain = 0.15 + 0.5 * number / objects, 120.0 - 60.0 * number / objects
    times = np.arange(14) / 30
    streams = {
        f"touch.{name}": stream(f"touch.{name}", "touch", frames(name, radius, gain, 100 + index), times, 30.0)
        for name in sensors
    }
    camera = np.full((1, 24, 24, 3), 40 + 180 * number // objects, np.uint8)
    streams["camera.rgb"] = stream("camera.rgb", "rgb", camera, [0.0])
    return Episode(
        index=index,
        seed=0,
        task="touch",
        groups={"object": f"object-{number:04d}", "spot": f"spot-{index}", "material": MATERIALS[number * 3 // objects]},
        streams=streams,
        texts={"touch": f"Number {number} is felt. It is {('soft', 'hard')[number * 2 // objects]}."},
        truth={"young": 1e5 * (objects - number), "rigid": 0.0, "roughness": 1e-6 * (number + 1)},
    )


def write_touches(root, *, touches=24, objects=12, sensors=tuple(COLOURS)):
    """Write a data set of made-up touches and return its folder."""
    with EpisodeWriter.create(root, task="touch", config={"recipe": "touch", "seed": 0}) as out:
        for index in range(touches):
            out.write(touch_episode(index, objects, sensors))
    return root


SHAPE = TouchEncoderConfig(
    size=16, patch=8, width=16, depth=1, heads=2, embed=8, sensors=("digit", "gelsight"), sensor_tokens=2
)


def encoder_run(folder, seed=0, extra=None, **shape):
    """Write a run as `palpate train touch` does, of random weights."""
    config = replace(SHAPE, **shape)
    torch.manual_seed(seed)
    weights = {f"encoder.{name}": tensor for name, tensor in TouchEncoder(config).state_dict().items()}
    weights["decoder.bias"] = torch.zeros(3)
    about = {"recipe": "anytouch", "stage": 1, "data": [], "held_out_share": 0.2} if extra is None else extra
    save_run(folder, Run(net={"encoder": config.to_dict()}, train={}, metrics={}, weights=weights, extra=about))
    return folder
