"""Small made-up episodes for the tests of the data room."""

import numpy as np

from palpate.core.records import Episode, Event, Stream, StreamSpec
from palpate.data import layout, reader, shards, writer


def stream(name, kind, values, times, rate_hz=None, **more):
    spec = StreamSpec(name=name, kind=kind, shape=values.shape[1:], dtype=str(values.dtype), rate_hz=rate_hz, **more)
    return Stream(spec=spec, times=np.asarray(times, float), values=values)


def smooth_image(rng, height, width):
    y, x = np.mgrid[:height, :width]
    a, b, c = rng.uniform(8, 40, 3)
    return np.stack([128 + 60 * np.sin(x / a), 128 + 60 * np.cos(y / b), 128 + 60 * np.sin((x + y) / c)], -1)


def noisy_image(rng, height, width):
    return (smooth_image(rng, height, width) + rng.integers(-1, 2, (height, width, 3))).astype(np.uint8)


def fake_episode(index, seed=0, *, size=(24, 32), absent=(), labels=None):
    """One trial with every kind of stream on its own clock; `absent` names streams to leave out."""
    rng = np.random.default_rng([seed, index])
    h, w = size
    clock = np.sort(rng.uniform(0, 3, 5))
    streams = [
        stream("camera.rgb", "rgb", np.stack([noisy_image(rng, h, w) for _ in range(2)]), clock[:2], frame="camera"),
        stream("camera.depth", "depth", rng.uniform(0.3, 1.5, (2, h, w)).astype(np.float32), clock[:2], unit="m"),
        stream("touch.thumb", "touch", np.stack([noisy_image(rng, h, w) for _ in range(3)]), clock[1:4]),
        stream("touch.index", "touch", np.stack([noisy_image(rng, h, w) for _ in range(2)]), clock[2:4]),
        stream("touch.ring", "taxels", rng.normal(size=(4, 6, 2)).astype(np.float32), clock[:4]),
        stream("sound", "audio", rng.uniform(-1, 1, (1, 4410)).astype(np.float32), clock[4:], 44100.0, unit="1"),
        stream("hand.joint_position", "series", rng.normal(size=(300, 4)).astype(np.float32), np.arange(300) / 100, 100.0,
               unit="rad", names=("a", "b", "c", "d")),
        stream("hand.joint_torque", "series", rng.normal(size=(300, 4)).astype(np.float32), np.arange(300) / 100, 100.0,
               unit="N m"),
        stream("hand.pose", "series", rng.normal(size=(30, 4)), np.arange(30) / 10, 10.0, frame="world"),
    ]  # fmt: skip
    return Episode(
        index=index,
        seed=seed,
        task="gentle",
        groups={"object": f"object-{index % 5}", "pose": "palm_down"},
        streams={s.spec.name: s for s in streams if s.spec.name not in absent},
        events=(Event(name="grasp", time=0.5), Event(name="lift", time=2.0)),
        arrays={"action": rng.normal(size=8), "object_pixel": rng.uniform(0, 30, 2)},
        labels={"stable": float(rng.integers(2)), "gentle": None} if labels is None else labels,
        truth={"mass": float(rng.uniform(0.01, 0.5))},
    )


def write_until_killed(root, block, connection=None):
    """Go on with a data set for ever, telling the number of each trial that is finished."""
    for module in (layout, reader, shards, writer):
        module.BLOCK = block
    writer.KEEP_SINGLE = 0
    with writer.EpisodeWriter.create(root, task="gentle", config={"seed": 0}, resume=True) as out:
        for index in range(out.next_index, 10**6):
            out.write(fake_episode(index, size=(8, 8)))
            if connection is not None:
                connection.send(index)
