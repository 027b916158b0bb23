from dataclasses import dataclass, field

import numpy as np
import pytest

from palpate.core.errors import RecordError
from palpate.core.records import Observation
from palpate.core.transforms import pose_from_vector, vector_from_pose
from palpate.planning.estimates import DrawnPolicy, EstimatePolicy, towards

HERE = np.array([0.4, 0.1, 0.2, 0.3, -0.2, 1.0])
PLACES = [np.array([0.5, 0.0, 0.1 * (i + 1), 0.0, 0.0, 0.5]) for i in range(3)]


@dataclass
class Guess:
    hand_pose: np.ndarray
    joints: np.ndarray


@dataclass
class Told:
    status: float
    alternatives: list = field(default_factory=list)
    joints: np.ndarray = field(default_factory=lambda: np.full(22, 0.7))


class Model:
    def __init__(self, *felt):
        self.felt = list(felt)

    def first(self, observation):
        return Told(0.6, [Guess(place, np.full(22, 0.1 * i)) for i, place in enumerate(PLACES)])

    def second(self, observation):
        return Told(self.felt.pop(0))


def policy(model, reachable=lambda hand, seen: hand, **options):
    return EstimatePolicy(model=model, reachable=reachable, draw=lambda seen, rng: (PLACES[0] + 1.0, np.zeros(22)), **options)


def act(chosen, look):
    return chosen.act(Observation(hand_pose=HERE), look, np.random.default_rng(0))


def reached(decision):
    return vector_from_pose(pose_from_vector(HERE) @ pose_from_vector(decision.action.motion))


def test_a_grasp_that_touch_expects_to_hold_is_lifted_as_it_is():
    chosen = policy(Model(0.9))
    first = act(chosen, 0)
    np.testing.assert_allclose(reached(first), PLACES[0], atol=1e-9)
    assert not first.lift and first.predicted == {"stable": 0.6}
    second = act(chosen, 1)
    assert second.lift and second.action is None and second.predicted == {"stable": 0.9}


def test_a_grasp_that_feels_bad_is_adjusted_then_released_and_the_next_one_is_taken():
    chosen = policy(Model(0.2, 0.3, 0.1))
    act(chosen, 0)
    adjusted = act(chosen, 1)
    np.testing.assert_allclose(reached(adjusted), HERE, atol=1e-9)
    np.testing.assert_array_equal(adjusted.action.joints, np.full(22, 0.7))
    released = act(chosen, 2)
    assert released.release and released.action is None and not released.lift
    np.testing.assert_allclose(reached(act(chosen, 3)), PLACES[1], atol=1e-9)


def test_on_the_last_look_whatever_is_held_is_lifted():
    chosen = policy(Model(0.0), max_looks=2)
    assert not act(chosen, 0).lift
    assert act(chosen, 1).lift
    assert act(policy(Model(), feel=False), 0).lift


def test_offers_out_of_reach_are_passed_over_and_chance_fills_in():
    chosen = policy(Model(), reachable=lambda hand, seen: None if hand[2] < 0.15 else hand)
    np.testing.assert_allclose(reached(act(chosen, 0)), PLACES[1], atol=1e-9)
    drawn = act(policy(Model(), reachable=lambda hand, seen: None), 0)
    np.testing.assert_allclose(reached(drawn)[:3], PLACES[0][:3] + 1.0, atol=1e-9)


def test_a_drawn_grasp_is_lifted_at_once_and_needs_to_know_where_the_hand_is():
    drawn = DrawnPolicy(draw=lambda seen, rng: (PLACES[2], np.ones(22)))
    decision = act(drawn, 0)
    assert decision.lift
    np.testing.assert_allclose(reached(decision), PLACES[2], atol=1e-9)
    with pytest.raises(RecordError, match="hand_pose"):
        towards(Observation(), PLACES[0], np.zeros(22))
