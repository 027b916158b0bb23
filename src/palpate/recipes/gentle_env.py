"""The gentle-grasping world as a Gymnasium environment: `import palpate.envs`, then `gymnasium.make("palpate/Gentle-v0")`.

An episode starts with the initial grasp. Each action is a regrasp; a positive last component lifts after it and ends the episode.
The reward is 1 for a grasp that held and made no sound of too much force, else 0, judged by the sensors as in data collection.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from palpate.core.records import GraspAction, Observation
from palpate.perception.localise import locate_object
from palpate.perception.stability import StabilityLabeller
from palpate.recipes.gentle_labels import hold_features, listen
from palpate.worlds.gentle import GentleConfig, GentleWorld
from palpate.worlds.hand import FINGERS, INITIAL_POSE

MAX_LOOKS = 3

Observations = dict[str, Any]


class GentleEnv(gymnasium.Env[Observations, np.ndarray]):
    """Observation keys follow the field: `pixels` (images, channel last, uint8) and `agent_pos` (float32)."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012  (Gymnasium's own form)
    task_description = "grasp the toy so that it stays in the hand and does not squeak"

    def __init__(self, config: GentleConfig | None = None, max_looks: int = MAX_LOOKS, render_mode: str | None = None) -> None:
        """Build the world. `max_looks` regrasps at most: the last one always lifts."""
        self.render_mode = render_mode
        self._world = GentleWorld(locate_object, config)
        self._max_looks = max_looks
        camera = self._world.config.camera
        rows, cols = self._world.touch_shape
        touch = spaces.Box(0, 255, (rows, cols, 3), np.uint8)
        images: dict[str, spaces.Space[Any]] = {"camera": spaces.Box(0, 255, (camera.height, camera.width, 3), np.uint8)}
        for finger in FINGERS:
            images[f"touch_{finger}"] = touch
            images[f"touch_{finger}_rest"] = touch
        position = spaces.Box(-10.0, 10.0, (16 + 4 + 3,), np.float32)
        self.observation_space = spaces.Dict({"pixels": spaces.Dict(images), "agent_pos": position})
        self.action_space = spaces.Box(-1.0, 1.0, (self._world.action_space.n_free + 1,), np.float32)
        self._labeller: StabilityLabeller | None = None
        self._looks = 0
        self._last: Observation | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observations, dict[str, Any]]:
        """Place a toy and take the initial grasp. Without a seed the environment's own generator goes on."""
        super().reset(seed=seed)
        del options
        self._looks = 0
        self._last = self._world.begin(int(self.np_random.integers(2**31)), int(self.np_random.integers(2**20)))
        return self._observe(self._last), {"is_success": False}

    def step(self, action: np.ndarray) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Regrasp with the scaled action (10,); see the module's docstring."""
        free = np.clip(np.asarray(action, float), -1.0, 1.0)
        vector = self._world.action_space.vectors(free[None, :-1])[0]
        self._looks += 1
        lift = bool(free[-1] > 0) or self._looks >= self._max_looks
        if not lift:
            vector[4:] = INITIAL_POSE
        self._last = self._world.regrasp(GraspAction.from_vector(vector))
        if not lift:
            return self._observe(self._last), 0.0, False, False, {"is_success": False}
        self._world.lift()
        episode = self._world.finish()
        stable = self._stability().label(hold_features(episode)).stable
        heard, harsh_look, _ = listen(episode)
        info = {"is_success": stable and heard.gentle, "stable": stable, "gentle": heard.gentle, "harsh_look": harsh_look}
        return self._observe(self._last), float(info["is_success"]), True, False, info

    def render(self) -> np.ndarray | None:
        """Return the last camera image (480, 640, 3) uint8."""
        if self.render_mode != "rgb_array" or self._last is None or self._last.camera is None:
            return None
        return self._last.camera.rgb

    def _stability(self) -> StabilityLabeller:
        """Return a classifier supervised on a few random grasps, made once: the rig's own calibration."""
        if self._labeller is None:
            self._labeller = calibrated_labeller(self._world.config)
        return self._labeller

    def _observe(self, observation: Observation) -> Observations:
        images: dict[str, np.ndarray] = {}
        if observation.camera is not None:
            images["camera"] = observation.camera.rgb.copy()
        for finger in FINGERS:
            for key, frames in ((f"touch_{finger}", observation.touch), (f"touch_{finger}_rest", observation.touch_rest)):
                image = frames[finger].image
                if image is not None:
                    images[key] = image.copy()
        parts = (observation.joint_position, observation.hand_pose, observation.object_position)
        position = np.concatenate([p for p in parts if p is not None]).astype(np.float32)
        return {"pixels": images, "agent_pos": position}


def calibrated_labeller(config: GentleConfig, trials: int = 24) -> StabilityLabeller:
    """Return a stability classifier from supervised random grasps in a world of its own, the same every time."""
    world = GentleWorld(locate_object, config)
    labeller = StabilityLabeller()
    index = 0
    while index < trials or not labeller.ready:
        world.begin(4242, index)
        rng = np.random.default_rng([4242, index])
        world.regrasp(GraspAction.from_vector(world.action_space.sample(rng, 1)[0]))
        outcome = world.lift()
        labeller.supervise(hold_features(world.finish()), bool(outcome.stable))
        index += 1
    return labeller
