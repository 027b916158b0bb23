"""Ferrari-Canny epsilon."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from palpate.quality.epsilon import epsilon
from palpate.quality.friction import grasp_qualities
from palpate.quality.samples import random_grasp
from palpate.quality.wrenches import wrench_table


@pytest.fixture(scope="module")
def grasps():
    rng = np.random.default_rng(5)
    return [random_grasp(rng, 2 + i % 4) for i in range(200)]


@pytest.fixture(scope="module")
def found(grasps):
    return np.array([epsilon(g) for g in grasps])


def test_a_pinch_of_point_contacts_resists_no_moment_about_its_line(grasps):
    pinch = replace(grasps[0], positions=np.array([[0.04, 0, 0], [-0.04, 0, 0]]), normals=np.array([[-1.0, 0, 0], [1.0, 0, 0]]))
    assert epsilon(replace(pinch, torsion_radius=np.zeros(2))) == 0.0
    # with torsion it resists friction times torsion length, a little less in directions that lean from that axis
    np.testing.assert_allclose(epsilon(pinch), pinch.friction[0] * 0.05, rtol=3e-3)


def test_no_contacts_and_one_are_no_force_closure(grasps):
    one = replace(grasps[0], **{k: getattr(grasps[0], k)[:1] for k in ("positions", "normals", "friction", "torsion_radius")})
    none = replace(grasps[0], **{k: getattr(grasps[0], k)[:0] for k in ("positions", "normals", "friction", "torsion_radius")})
    assert epsilon(one) == 0.0
    assert epsilon(none) == 0.0


def test_no_direction_resists_less_than_epsilon_and_a_search_finds_the_weakest(grasps, found):
    rng = np.random.default_rng(2)
    for index in np.flatnonzero(found > 0.02)[:5]:
        columns = wrench_table([grasps[index]]).columns
        angle = np.arange(8) * np.pi / 4
        turns = np.vstack([np.c_[np.ones(8), np.cos(angle), np.sin(angle), np.zeros(8)], [[1, 0, 0, 1], [1, 0, 0, -1]]])
        wrenches = np.einsum("ek,mkc->emc", turns, columns).reshape(-1, 6)
        directions = rng.normal(size=(400, 6))
        least = np.inf
        for step in range(400):  # walk down the support function on the sphere
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            support = directions @ wrenches.T
            least = min(least, support.max(axis=1).min())
            directions -= 0.3 / (step + 1) * wrenches[support.argmax(axis=1)]
        assert least > found[index] - 1e-6
        np.testing.assert_allclose(least, found[index], rtol=0.05)


def test_quality_ranks_grasps_as_epsilon_does(grasps, found):
    q = [quality.q for quality in grasp_qualities(grasps)]
    assert 0.3 < np.mean(found > 0) < 0.8
    assert spearmanr(q, found).statistic > 0.8
