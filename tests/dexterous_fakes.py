"""Made-up episodes of the dexterous hand, in the layout of the real ones, with something to learn in each stage.

The picture shows a bar on a table; grasps along it succeed, from either side. How hard the fingers press decides whether it is held,
and that can be felt but not seen.
"""

from pathlib import Path

import cv2
import numpy as np

from palpate.core.records import Episode, Event, Stream, StreamSpec
from palpate.core.transforms import rotation_z, vector_from_rotation
from palpate.data.writer import EpisodeWriter
from palpate.worlds.shadow import FINGERS, JOINTS, RANGES, coupled

SIZE = (96, 128)
PALM_DOWN = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])
TIMES = (0.0, 1.0, 3.0)
"""Rest, picture before the hand comes, contact."""


def _stream(name, kind, values, times, **more):
    spec = StreamSpec(name=name, kind=kind, shape=values.shape[1:], dtype=str(values.dtype), **more)
    return Stream(spec=spec, times=np.asarray(times, float), values=values)


def _picture(rng, centre, yaw, length, colour, hand):
    h, w = SIZE
    rgb = np.full((h, w, 3), 110, np.uint8) + rng.integers(0, 6, (h, w, 3), np.uint8)
    depth = np.full((h, w), 0.9, np.float32)
    box = cv2.boxPoints((tuple(centre), (length, 9.0), float(np.rad2deg(yaw)))).round().astype(int)
    cv2.fillPoly(rgb, [box], colour)
    cv2.fillPoly(depth, [box], 0.86)
    if hand:
        cv2.circle(rgb, (int(centre[0]), int(centre[1]) - 14), 9, (60, 60, 60), -1)
        cv2.circle(depth, (int(centre[0]), int(centre[1]) - 14), 9, 0.8, -1)
    depth[rng.random((h, w)) < 0.03] = 0.0
    return rgb, depth


def fake_grasp(index, seed=0, *, objects=10, absent=()):
    """One grasp; `absent` names streams to leave out."""
    rng = np.random.default_rng([seed, index])
    number = index % objects
    colour = tuple(int(v) for v in np.random.default_rng(number).integers(0, 255, 3))
    yaw, length = rng.uniform(0, np.pi), rng.uniform(18, 36)
    centre = np.array([SIZE[1] / 2, SIZE[0] / 2]) + rng.uniform(-12, 12, 2)
    pictures = [_picture(rng, centre, yaw, length, colour, hand) for hand in (False, True)]
    good, side = rng.random() < 0.6, rng.integers(2)
    turn = yaw + side * np.pi + (0.0 if good else rng.uniform(0.6, 2.4))
    bend = RANGES[:, 0] + (0.3 + 0.4 * (length - 18) / 18) * (RANGES[:, 1] - RANGES[:, 0])
    joints = coupled(bend + rng.normal(0, 0.03, len(JOINTS)).clip(-0.1, 0.1))
    found = np.array([0.55 + centre[1] / 1000, centre[0] / 1000, 0.04])
    palm = found + [0.02 * (-1) ** side, 0.0, 0.11] + rng.normal(0, 0.003, 3)
    force = rng.uniform(1.2, 2.0) if good else rng.uniform(0.1, 0.9)  # the sum over the fingers [N]
    touches = {}
    for finger in FINGERS:
        taxels = np.zeros((2, 24, 3), np.float32)
        taxels[1, 4:8, 2] = force / len(FINGERS) / 4
        touches[finger] = taxels + rng.normal(0, 0.002, taxels.shape).astype(np.float32) + 0.05  # an offset that rest shows too
    clock = np.linspace(0, 3.2, 30)
    position = np.linspace(0.2, 1.0, 30)[:, None] * joints
    streams = [
        _stream("camera.rgb", "rgb", np.stack([p[0] for p in pictures]), TIMES[1:]),
        _stream("camera.depth", "depth", np.stack([p[1] for p in pictures]), TIMES[1:], unit="m"),
        _stream("hand.joint_position", "series", position.astype(np.float32), clock, unit="rad", names=JOINTS),
        _stream("hand.joint_torque", "series", np.zeros((30, 20), np.float32), clock, unit="N m"),
        *(_stream(f"touch.{f}", "taxels", touches[f], (TIMES[0], TIMES[2]), unit="N") for f in FINGERS),
        *(_stream(f"region.{f}", "series", touches[f][:, 4:8, 2].sum(1, keepdims=True), (TIMES[0], TIMES[2])) for f in FINGERS),
    ]
    pose = np.concatenate([palm, vector_from_rotation(rotation_z(turn) @ PALM_DOWN)])
    held = float(force > 1.0)
    return Episode(
        index=index,
        seed=seed,
        task="dexterous",
        groups={"object": f"bar-{number}"},
        streams={s.spec.name: s for s in streams if s.spec.name not in absent},
        events=(Event(name="before", time=TIMES[1]), Event(name="contact", time=TIMES[2])),
        arrays={
            "action": np.concatenate([pose, joints]),
            "hand_pose": pose,
            "object_position": found,
            "object_pixel": centre,
            "object_size": np.array([length / 2000, 0.04]),
        },
        labels={"stable": held, "quality": float(1 / (1 + np.exp(-4 * (force - 1.0)))), "status": held},
    )


def write_grasps(root: Path, n: int, *, seed: int = 0, objects: int = 10, dead=None) -> Path:
    """Write a data set; `dead` names a stream that every third grasp lacks."""
    with EpisodeWriter.create(root, task="dexterous", config={"seed": seed}) as out:
        for index in range(n):
            out.write(fake_grasp(index, seed, objects=objects, absent=(dead,) if dead and index % 3 == 0 else ()))
    return root
