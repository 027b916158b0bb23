"""What the regrasp model has learnt: success against force and height, and which actions it chooses. More Than a Feeling, Section VI-C."""

import numpy as np

from palpate.core.records import CameraFrame, Episode, Observation, TactileFrame
from palpate.data.reader import EpisodeReader
from palpate.evaluation.material_regrasp import Analysis
from palpate.perception.views import object_view
from palpate.planning.grip import GripPolicy
from palpate.recipes.regrasping import RegraspPredictor
from palpate.worlds.gripper import FORCE_RANGE

FORCES = np.linspace(*FORCE_RANGE, 22)
"""[N]"""
HEIGHTS = np.linspace(-0.020, 0.020, 21)
"""Vertical motion of the gripper [m]."""


def observation_at(episode: Episode, moment: str) -> Observation:
    """Return what was sensed at a moment of a recorded regrasp trial, as the policy saw it: `initial` or `regrasp`."""
    time, rest = episode.event(f"look_{moment}"), episode.event("before")
    touch = {n.split(".", 1)[1]: s for n, s in episode.streams.items() if s.spec.kind == "touch"}
    camera = episode.streams.get("camera.rgb")
    force = episode.arrays.get("force") if moment == "initial" else episode.arrays["action"][4:5]
    return Observation(
        time=time,
        camera=None if camera is None else CameraFrame(rgb=camera.at(time), time=time),
        touch={name: TactileFrame(image=stream.at(time), time=time) for name, stream in touch.items()},
        touch_rest={name: TactileFrame(image=stream.at(rest), time=rest) for name, stream in touch.items()},
        object_position=episode.arrays["object_position"],
        object_pixel=episode.arrays["object_pixel"],
        object_size=episode.arrays["cylinder"],
        hand_pose=episode.arrays["start_pose" if moment == "initial" else "hand_pose"],
        grip_force=None if force is None else float(force[0]),
    )


def analyse(model: RegraspPredictor, reader: EpisodeReader, policy: GripPolicy, least: GripPolicy, seed: int = 0) -> Analysis:
    """Ask the model about the initial grasp of every trial of a data set."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[np.ndarray]] = {"force": [], "height": [], "chosen": [], "least": [], "camera": []}
    for position in range(len(reader)):
        episode = reader.episode(position)
        seen = observation_at(episode, "initial")
        state = model.encode(seen)
        still = np.zeros((len(FORCES), 5), np.float32)
        still[:, 4] = FORCES
        moved = np.zeros((len(HEIGHTS), 5), np.float32)
        moved[:, 2], moved[:, 4] = HEIGHTS, seen.grip_force or FORCES.mean()
        rows["force"].append(model.score(state, still)[:, 0])
        rows["height"].append(model.score(state, moved)[:, 0])
        for name, chooser in (("chosen", policy), ("least", least)):
            action = chooser.act(seen, 0, rng).action
            if action is not None:
                rows[name].append(action.vector())
        if seen.camera is not None and seen.object_pixel is not None:
            rows["camera"].append(object_view(seen.camera.rgb, seen.object_pixel))
    by_height = np.array(rows["height"])
    middle, down = len(HEIGHTS) // 2, int(np.argmin(np.abs(HEIGHTS + 0.010)))
    return Analysis(
        forces=FORCES,
        heights=HEIGHTS,
        object=tuple(reader.column("group.object").astype(str)),
        by_force=np.array(rows["force"]),
        by_height=by_height,
        chosen=np.array(rows["chosen"]),
        least=np.array(rows["least"]),
        cameras=np.array(rows["camera"]),
        lowered=by_height[:, down] - by_height[:, middle],
    )
