"""Demonstrations of SoftGrasp that nobody made, for tests."""

import numpy as np

from palpate.core.recording import series
from palpate.core.records import CameraFrame, Episode, Event, Observation, Stream, StreamSpec, TactileFrame
from palpate.data.writer import EpisodeWriter
from palpate.recipes.softgrasp_data import RATE_HZ
from palpate.robots.glove_mapping import JOINTS

STEPS, LIFT = 60, 45
FINGERS = ("thumb", "middle")


def demonstration(index, *, absent=(), held=1.0, torque_every=1, pictures=STEPS, lift=True, touch=False):
    """A hand that closes until it touches a thing of its own size, presses as much as it is told beyond that, and lifts.

    With `touch` it wears a sensor on thumb and middle finger whose gel darkens in a spot that grows with the torque.
    """
    rng = np.random.default_rng(index)
    size = 0.3 + 0.1 * (index % 3) + 0.02 * rng.normal()
    times = np.arange(STEPS) / RATE_HZ
    told = np.maximum(1.0 - 0.03 * np.arange(STEPS), size - 0.05)[:, None] * np.linspace(0.9, 1.0, 6)
    command = np.vstack([told[1:], told[-1:]])  # at each time what brought the hand there
    at = np.maximum(told, size * np.linspace(0.9, 1.0, 6))
    torque = 2.0 * (at - told) + 0.001 * rng.normal(size=(STEPS, 6))
    picture = np.full((STEPS, 24, 32, 3), 40, np.uint8)
    picture[:, :, : int(32 * size)] = 200
    streams = {
        "hand.joint_position": series("hand.joint_position", at, "share", JOINTS, times, RATE_HZ),
        "hand.joint_torque": series("hand.joint_torque", torque[::torque_every], "N m", JOINTS, times[::torque_every], RATE_HZ),
        "hand.command": series("hand.command", command[:-1], "share", JOINTS, times[1:], RATE_HZ),
        "camera.rgb": Stream(
            spec=StreamSpec(name="camera.rgb", kind="rgb", shape=(24, 32, 3), dtype="uint8", rate_hz=RATE_HZ),
            times=times[:pictures],
            values=picture[:pictures],
        ),
    }
    for k, finger in enumerate(FINGERS if touch else ()):
        streams[f"touch.{finger}"] = Stream(
            spec=StreamSpec(name=f"touch.{finger}", kind="touch", shape=(24, 18, 3), dtype="uint8", rate_hz=RATE_HZ),
            times=times,
            values=pressed(torque[:, 2 * k + 2]),
        )
    return Episode(
        index=index,
        seed=0,
        task="softgrasp",
        groups={"object": f"thing-{index % 3}"},
        streams={name: stream for name, stream in streams.items() if name not in absent},
        events=(Event(name="lift", time=LIFT / RATE_HZ),) if lift else (),
        labels={"held": held},
    )


def pressed(torque):
    y, x = np.mgrid[-11.5:12, -8.5:9]
    spot = np.hypot(y, x) < 20.0 * torque[:, None, None]
    return np.where(spot[..., None], [60, 70, 80], [150, 140, 130]).astype(np.uint8)


def write(root, episodes, **about):
    with EpisodeWriter.create(root, task="softgrasp", config=about) as writer:
        for episode in episodes:
            writer.write(episode)
    return root


def observations(episode):
    at, torque, rgb = (episode.streams[name].values for name in ("hand.joint_position", "hand.joint_torque", "camera.rgb"))
    for k, time in enumerate(episode.streams["hand.joint_position"].times):
        touch = {
            name.split(".")[1]: [TactileFrame(image=stream.values[i], time=float(stream.times[i])) for i in (k, 0)]
            for name, stream in episode.streams.items()
            if name.startswith("touch.")
        }
        yield Observation(
            time=float(time),
            camera=CameraFrame(rgb=rgb[k], time=float(time)),
            joint_position=at[k].astype(float),
            joint_torque=torque[k].astype(float),
            touch={finger: now for finger, (now, _) in touch.items()},
            touch_rest={finger: rest for finger, (_, rest) in touch.items()},
        )
