import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import palpate.envs  # noqa: F401  (registers the environment)

pytestmark = pytest.mark.slow


def test_gymnasiums_own_checker_accepts_the_environment():
    env = gymnasium.make("palpate/Gentle-v0")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=True)
    assert not [w for w in caught if "palpate" in str(w.filename)]


def test_an_episode_ends_with_the_lift_and_says_whether_it_succeeded():
    env = gymnasium.make("palpate.envs:palpate/Gentle-v0", render_mode="rgb_array")
    observation, info = env.reset(seed=1)
    assert env.observation_space.contains(observation) and info == {"is_success": False}
    look = np.zeros(10, np.float32)
    look[-1] = -1
    _, reward, ended, _, _ = env.step(look)
    assert reward == 0 and not ended
    grip = np.array([0, 0, 0, 0, 0.2, 0.2, 0.2, 0.2, 0.2, 1.0], np.float32)
    _, reward, ended, cut, info = env.step(grip)
    assert ended and not cut and reward == float(info["is_success"]) == float(info["stable"] and info["gentle"])
    assert env.render().shape == (480, 640, 3)
